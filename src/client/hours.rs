//! Weekly hours as people write them: `Mon-Fri 08:00-18:00`, `Sat 22:00-06:00`.
//!
//! A range of days repeats the hours on each of them; hours that end before they begin reach into the next day; `24:00`
//! is the end of a day. What does not belong: time zones and their steps (`peri_roster::hours`).

use peri_roster::hours::{Minutes, WEEK_MINUTES};

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const DAY: u16 = 24 * 60;

/// Spans of the week from the lines of a command line, ascending and joined where they touch.
///
/// # Errors
/// Says what is no time and shows how one is written.
pub fn parse(lines: &[String]) -> Result<Vec<Minutes>, String> {
    let mut spans: Vec<(u16, u16)> = Vec::new();
    for line in lines {
        let bad =
            || format!("{line:?} are no weekly hours; write them like \"Mon-Fri 08:00-18:00\" or \"Sun 22:00-06:00\"");
        let (days, hours) = line.trim().split_once(' ').ok_or_else(bad)?;
        let (first, last) = days.split_once('-').unwrap_or((days, days));
        let day = |name: &str| DAYS.iter().position(|day| name.eq_ignore_ascii_case(day)).ok_or_else(bad);
        let (first, last) = (day(first)?, day(last)?);
        let (from, until) = hours.trim().split_once('-').ok_or_else(bad)?;
        let (from, until) = (minute(from).ok_or_else(bad)?, minute(until).ok_or_else(bad)?);
        if from == until || from == DAY {
            return Err(bad());
        }
        let length = if until > from { until - from } else { DAY - from + until };
        let count = (last + 7 - first) % 7 + 1;
        for day in (first..first + count).map(|day| day % 7) {
            let from = u16::try_from(day).unwrap_or(0) * DAY + from;
            let until = from + length;
            spans.push((from, until.min(WEEK_MINUTES)));
            if until > WEEK_MINUTES {
                spans.push((0, until - WEEK_MINUTES));
            }
        }
    }
    spans.sort_unstable();
    let mut joined: Vec<Minutes> = Vec::new();
    for (from, until) in spans {
        match joined.last_mut().filter(|last| from <= last.until) {
            Some(last) => last.until = last.until.max(until),
            None => joined.push(Minutes { from, until }),
        }
    }
    Ok(joined)
}

fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.trim().split_once(':')?;
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u16>().ok()).flatten();
    let (hour, minute) = (digits(hour)?, digits(minute)?);
    let of_day = hour.checked_mul(60)?.checked_add(minute)?;
    (minute < 60 && of_day <= DAY).then_some(of_day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(lines: &[&str]) -> Result<Vec<(u16, u16)>, String> {
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        parse(&lines).map(|spans| spans.iter().map(|span| (span.from, span.until)).collect())
    }

    #[test]
    fn days_hours_and_nights_become_minutes_of_the_week() {
        assert_eq!(spans(&["Mon 08:00-18:00"]), Ok(vec![(480, 1080)]));
        assert_eq!(spans(&["Mon-Tue 08:00-18:00"]), Ok(vec![(480, 1080), (1920, 2520)]));
        assert_eq!(spans(&["sun 22:00-06:00"]), Ok(vec![(0, 360), (9960, 10_080)]));
        assert_eq!(spans(&["Mon-Sun 00:00-24:00"]), Ok(vec![(0, 10_080)]));
        assert_eq!(spans(&["Sat-Mon 10:00-12:00"]).map(|s| s.len()), Ok(3));
        assert_eq!(spans(&["Mon 08:00-12:00", "Mon 12:00-13:00", "Mon 11:00-12:30"]), Ok(vec![(480, 780)]));
    }

    #[test]
    fn what_is_no_hours_is_refused_with_an_example() {
        for text in [
            "",
            "Mon",
            "Mon 8-18",
            "Mond 08:00-18:00",
            "Mon 08:00",
            "Mon 08:60-09:00",
            "Mon 25:00-26:00",
            "Mon 08:00-08:00",
            "Mon 24:00-01:00",
            "Mon +8:00-09:00",
            "Mon-Fri-Sun 08:00-09:00",
        ] {
            assert!(spans(&[text]).unwrap_err().contains("Mon-Fri 08:00-18:00"), "{text}");
        }
    }
}
