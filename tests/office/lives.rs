//! Random lives of an office: people and posts come and go, grants are given, renewed and revoked, cameras are mounted.
//!
//! What does not belong: what follows from a life for anybody's rights.

use super::*;
use peri_roster::body::Minutes;
use proptest::prelude::*;
use std::ops::Range;

/// What happens in a random life of the roster.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    Grant {
        to: Holder,
        rights: u8,
        cameras: u8,
        from: i64,
        length: i64,
        hours: Option<(&'static str, i64, i64)>,
    },
    /// The next version of a post, with those of [`MEMBERS`] whose bit is set.
    Man {
        post: usize,
        members: u8,
    },
    Renew {
        nth: usize,
        until: i64,
    },
    RevokeGrant {
        nth: usize,
    },
    RevokeKey {
        of: usize,
    },
    RemoveAccount {
        of: usize,
    },
    ChangeKey {
        of: usize,
        to: usize,
        reset: bool,
    },
    Register {
        camera: u8,
    },
    Dismantle {
        camera: u8,
    },
}

/// Whom a grant is for: a person, or a post by its present key.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Holder {
    Person(usize),
    Post(usize),
}

/// Who may come to belong to a post, the auditor by mistake.
const MEMBERS: [usize; 5] = [VIEWER, EXTERNAL, TECHNICIAN, OTHER_TECHNICIAN, AUDITOR];
/// Keys of posts, one for each version.
const POST_KEYS: Range<usize> = FREE + 3..FREE + 9;

/// Edges meet often on a grid of ten minutes.
pub(crate) fn moment() -> impl Strategy<Value = i64> {
    (-4..=4_i64).prop_map(|tick| tick * 600)
}

/// Anything that may happen.
pub(crate) fn event() -> impl Strategy<Value = Event> {
    let person = || prop::sample::select(vec![VIEWER, VIEWER, EXTERNAL, TECHNICIAN, OTHER_TECHNICIAN, AUDITOR]);
    let holder = prop_oneof![2 => person().prop_map(Holder::Person), 1 => (0..2_usize).prop_map(Holder::Post)];
    let hours =
        prop::option::weighted(0.4, (prop::sample::select(vec!["UTC", "Europe/Berlin"]), -4..=4_i64, 1..=6_i64));
    prop_oneof![
        8 => (holder, 1..8_u8, 0..8_u8, moment(), 1..=6_i64, hours).prop_map(
            |(to, rights, cameras, from, ticks, hours)| {
                Event::Grant { to, rights, cameras, from, length: ticks * 600, hours }
            }
        ),
        4 => (0..2_usize, prop_oneof![9 => 1..16_u8, 1 => 16..32_u8])
            .prop_map(|(post, members)| Event::Man { post, members }),
        1 => POST_KEYS.prop_map(|of| Event::RevokeKey { of }),
        1 => (0..4_usize, moment()).prop_map(|(nth, until)| Event::Renew { nth, until }),
        1 => (0..4_usize).prop_map(|nth| Event::RevokeGrant { nth }),
        1 => person().prop_map(|of| Event::RevokeKey { of }),
        1 => person().prop_map(|of| Event::RemoveAccount { of }),
        2 => (person(), 0..3_usize, any::<bool>())
            .prop_map(|(of, to, reset)| Event::ChangeKey { of, to: FREE + to, reset }),
        3 => (1..=3_u8).prop_map(|camera| Event::Register { camera }),
        1 => (1..=3_u8).prop_map(|camera| Event::Dismantle { camera }),
    ]
}

/// Before anything happened: three cameras, the first one registered.
pub(crate) static MOUNTED: LazyLock<Office> = LazyLock::new(|| {
    let mut office = Office::staffed(VM);
    (1..=3).for_each(|number| office.mount(number));
    office.register(1);
    office
});

/// The office after these events; what its roster does not accept has no effect.
pub(crate) fn lived(events: &[Event]) -> Office {
    let mut office = MOUNTED.clone();
    let (mut grants, mut spare, mut posts) = (Vec::new(), POST_KEYS, [(0, FREE + 3); 2]);
    for event in events {
        match *event {
            Event::Grant { to, rights, cameras, from, length, hours } => {
                let list: Vec<_> = (1..=3).filter(|number| cameras & (1 << (number - 1)) != 0).map(camera).collect();
                let cameras = if list.is_empty() { Cameras::All } else { Cameras::List(list) };
                let rights = Rights::from_bits(rights).expect("three bits");
                let to = match to {
                    Holder::Person(index) => index,
                    Holder::Post(number) if posts[number].0 > 0 => posts[number].1,
                    Holder::Post(_) => continue,
                };
                let weekly = hours.map(|(zone, from, length)| hours_around_now(zone, from, length));
                grants.push(office.grant_in(weekly, to, rights, cameras, (from, from + length)));
            }
            Event::Man { post, members } => {
                let Some(key) = spare.next() else { continue };
                posts[post] = (posts[post].0 + 1, key);
                let named = MEMBERS.into_iter().enumerate().filter(|(bit, _)| members & (1 << bit) != 0);
                let named: Vec<_> = named.map(|(_, index)| index).collect();
                office.man(post, posts[post].0, key, &named);
            }
            Event::Renew { nth, until } => grants.get(nth).into_iter().for_each(|grant| office.renew(*grant, until)),
            Event::RevokeGrant { nth } => grants.get(nth).into_iter().for_each(|grant| office.revoke(&[], &[*grant])),
            Event::RevokeKey { of } => office.revoke(&[of], &[]),
            Event::RemoveAccount { of } => office.remove(of),
            Event::ChangeKey { of, to, reset } => {
                office.change_key(of, of, to, if reset { ChangedBy::Reset } else { ChangedBy::Holder });
            }
            Event::Register { camera } => office.register(camera),
            Event::Dismantle { camera } => office.dismantle(camera),
        }
    }
    office
}

/// Hours of ten-minute ticks around the time of day of [`NOW`], 08:00 in UTC and 09:00 in Berlin, with a break of one tick
/// if they are long.
fn hours_around_now(zone: &str, from: i64, length: i64) -> WeeklyHours {
    let now = 4 * 1440 + if zone == "UTC" { 8 * 60 } else { 9 * 60 };
    let minutes = |from: i64, until: i64| Minutes {
        from: u16::try_from(now + from * 10).expect("in the week"),
        until: u16::try_from(now + until * 10).expect("in the week"),
    };
    let spans = if length < 4 {
        vec![minutes(from, from + length)]
    } else {
        vec![minutes(from, from + 2), minutes(from + 3, from + length)]
    };
    WeeklyHours { zone: zone.into(), spans }
}
