//! The tables against the compiled filters (an interpreter of BPF), and against the kernel (children that try).

use super::*;
use crate::probe::{self, ATTACKS, Outcome, Wall, in_child};
use crate::spawn::Exit;

const ALLOW: u32 = 0x7fff_0000;
const KILL: u32 = 0x8000_0000;
const ENOSYS: u32 = 0x0005_0000 | 38;
/// AUDIT_ARCH_X86_64 and AUDIT_ARCH_I386 (linux/audit.h).
const X86_64: u32 = 0xc000_003e;
const I386: u32 = 0x4000_0003;

/// Runs a filter as the kernel would (only the instructions that seccompiler emits).
fn verdict(filter: &[seccompiler::sock_filter], arch: u32, number: i64, args: [u64; 6]) -> u32 {
    let word = |offset: u32| match offset {
        0 => u32::try_from(number).unwrap(),
        4 => arch,
        16.. => {
            let half = args[(offset as usize - 16) / 8] >> (32 * ((offset / 4) % 2));
            (half & 0xffff_ffff) as u32
        }
        _ => panic!("offset {offset}"),
    };
    let (mut at, mut a) = (0_usize, 0_u32);
    loop {
        let i = &filter[at];
        at += 1;
        let mut jump = |hit: bool| at += usize::from(if hit { i.jt } else { i.jf });
        match i.code {
            0x20 => a = word(i.k),
            0x54 => a &= i.k,
            0x15 => jump(a == i.k),
            0x25 => jump(a > i.k),
            0x35 => jump(a >= i.k),
            0x05 => at += i.k as usize,
            0x06 => return i.k,
            code => panic!("instruction {code:#x}"),
        }
    }
}

fn holds(arg: &Arg, args: [u64; 6]) -> bool {
    let cut = |v: u64| if arg.wide { v } else { v & 0xffff_ffff };
    let (is, want) = (cut(args[usize::from(arg.index)]), cut(arg.value));
    match arg.op {
        Op::Eq => is == want,
        Op::Ne => is != want,
        Op::Ge => is >= want,
        Op::Gt => is > want,
        Op::Le => is <= want,
        Op::Lt => is < want,
        Op::MaskedEq(mask) => is & cut(mask) == want & cut(mask),
    }
}

fn allowed(role: Role, number: i64, args: [u64; 6]) -> bool {
    table(role).iter().any(|r| r.number == number && r.args.iter().all(|a| holds(a, args)))
}

/// Arguments that a rule allows; those it does not look at are `fill`.
fn satisfying(rule: &Rule, fill: u64) -> [u64; 6] {
    let mut args = [fill; 6];
    for arg in rule.args {
        args[usize::from(arg.index)] = match arg.op {
            Op::Eq | Op::Ge | Op::Le | Op::MaskedEq(_) => arg.value,
            Op::Ne | Op::Gt => arg.value.wrapping_add(1),
            Op::Lt => arg.value.wrapping_sub(1),
        };
    }
    assert!(rule.args.iter().all(|a| holds(a, args)), "{rule:?}");
    args
}

/// Every change of one bit of one argument that breaks its condition, among arguments of all zeros and of all ones.
fn mutations(rule: &Rule) -> impl Iterator<Item = (u8, [u64; 6])> + '_ {
    let starts = [0, u64::MAX].into_iter().flat_map(|fill| rule.args.iter().map(move |arg| (fill, arg)));
    starts.flat_map(move |(fill, arg)| {
        let good = satisfying(rule, fill);
        (0..if arg.wide { 64 } else { 32 }).filter_map(move |bit| {
            let mut args = good;
            args[usize::from(arg.index)] ^= 1 << bit;
            (!holds(arg, args)).then_some((arg.index, args))
        })
    })
}

#[test]
fn each_filter_allows_its_table_and_nothing_else() {
    for role in Role::ALL {
        for rule in table(role) {
            let args = satisfying(rule, 0);
            assert_eq!(verdict(role.filter(), X86_64, rule.number, args), ALLOW, "{role} {rule:?}");
        }
        for number in 0..700 {
            if !table(role).iter().any(|r| r.number == number) {
                assert_eq!(verdict(role.filter(), X86_64, number, [0; 6]), KILL, "{role} {number}");
            }
        }
    }
}

#[test]
fn each_mutated_argument_dies_unless_another_rule_allows_it() {
    for role in Role::ALL {
        for rule in table(role).iter().filter(|r| !r.args.is_empty()) {
            let mut deadly = [false; 6];
            for (index, args) in mutations(rule) {
                let expected = if allowed(role, rule.number, args) { ALLOW } else { KILL };
                assert_eq!(verdict(role.filter(), X86_64, rule.number, args), expected, "{role} {rule:?} {args:x?}");
                deadly[usize::from(index)] |= expected == KILL;
            }
            for arg in rule.args {
                assert!(deadly[usize::from(arg.index)], "{role}: no mutation of argument {} dies: {rule:?}", arg.index);
            }
        }
    }
}

#[test]
fn the_kernel_kills_a_mutated_argument_of_each_rule() {
    for role in Role::ALL {
        // The envelope's rules are those of the roles; what is its own stands in its own file.
        let own = |r: &&Rule| !r.args.is_empty() && (role != Role::Supervisor || r.source == "supervisor");
        for rule in table(role).iter().filter(own) {
            let (_, args) = mutations(rule).find(|(_, args)| !allowed(role, rule.number, *args)).unwrap();
            let exit = in_child(|| {
                apply(role).unwrap();
                probe::raw(rule.number, args);
            });
            assert_eq!(exit, Exit::Violation, "{role} {rule:?} {args:x?}");
        }
    }
}

#[test]
fn other_architectures_and_x32_numbers_die() {
    for role in Role::ALL {
        for rule in table(role) {
            let args = satisfying(rule, 0);
            assert_eq!(verdict(role.filter(), I386, rule.number, args), KILL, "{role} {rule:?}");
            assert_eq!(verdict(role.filter(), X86_64, rule.number | 0x4000_0000, args), KILL, "{role} {rule:?}");
        }
    }
}

#[test]
fn the_envelope_allows_what_its_roles_need_and_every_rule_has_a_reason() {
    for role in Role::ALL {
        for rule in table(role) {
            assert!(allowed(Role::Supervisor, rule.number, satisfying(rule, 0)), "{role} {rule:?}");
            assert!(rule.comment.len() >= 8 && !rule.source.is_empty(), "{role} {rule:?}");
            assert!(!crate::policy::NEVER.contains(&rule.syscall), "{role} {rule:?}");
        }
    }
}

#[test]
fn only_recorder_reaches_the_network_and_only_supervisor_and_postgres_fork() {
    let inet = [2, 1, 0, 0, 0, 0];
    let fork = [0x0120_0011, 0, 0, 0, 0, 0];
    for role in Role::ALL {
        assert_eq!(allowed(role, libc::SYS_socket, inet), matches!(role, Role::Recorder | Role::Supervisor), "{role}");
        assert_eq!(allowed(role, libc::SYS_clone, fork), matches!(role, Role::Postgres | Role::Supervisor), "{role}");
        let files = matches!(role, Role::Recorder | Role::Portal | Role::Migrate);
        assert_eq!(!table(role).iter().any(|r| r.syscall == "openat"), files, "{role}: opens files");
        let listens = table(role).iter().any(|r| r.syscall == "listen");
        assert_eq!(listens, matches!(role, Role::Postgres | Role::Supervisor), "{role}: listens");
    }
    assert!(table(Role::Keeper).iter().all(|r| !["socket", "connect", "accept4"].contains(&r.syscall)));
}

#[test]
fn no_role_survives_or_succeeds_in_an_attack() {
    let mut wrong = Vec::new();
    for role in Role::ALL {
        for attack in ATTACKS {
            let outcome = probe::attempt(role, attack.name).unwrap();
            let permitted = attack.permitted.iter().any(|(r, _)| *r == role);
            let good = match (attack.wall, outcome) {
                (_, Outcome::Succeeded) => permitted,
                (_, Outcome::Killed) => !permitted,
                // What production permits by a file or port, these empty rules refuse.
                (Wall::Refusal, Outcome::Refused) => true,
                _ => false,
            };
            if !good {
                wrong.push(format!("{role} {}: {outcome:?}", attack.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_attacks_would_succeed_without_walls() {
    for name in [
        "mmap-rwx",
        "mprotect-exec",
        "memfd",
        "socket-inet",
        "socket-unix",
        "connect-foreign",
        "listen-tcp",
        "fork",
        "open-foreign",
        "open-root",
        "create-foreign",
        "signal-parent",
        "ptrace",
        "make-dumpable",
    ] {
        assert_eq!(probe::attempt_without_walls(name).unwrap(), Outcome::Succeeded, "{name}");
    }
    for name in ["exec", "exec-by-descriptor", "exec-as-own-binary", "exec-absolute-path"] {
        let outcome = probe::attempt_without_walls(name).unwrap();
        assert_eq!(outcome, Outcome::Unclear(Exit::Code(0)), "{name}: became /bin/true");
    }
}

#[test]
fn clone3_is_answered_so_that_threads_start_where_the_role_has_them() {
    assert_eq!(verdict(&FALLBACK_BPF, X86_64, libc::SYS_clone3, [0; 6]), ENOSYS);
    for role in [Role::Scribe, Role::Portal, Role::Migrate] {
        let exit = in_child(|| {
            apply(role).unwrap();
            assert_eq!(probe::raw(libc::SYS_clone3, [0; 6]), -1);
            assert_eq!(nix::errno::Errno::last(), nix::errno::Errno::ENOSYS);
            let thread = std::thread::Builder::new().name("named".to_owned());
            assert_eq!(thread.spawn(|| vec![7_u8; 1 << 20].len()).unwrap().join().unwrap(), 1 << 20);
        });
        assert_eq!(exit, Exit::Code(0), "{role}");
    }
    let exit = in_child(|| {
        apply(Role::Keeper).unwrap();
        let _ = std::thread::spawn(|| {});
    });
    assert_eq!(exit, Exit::Violation, "keeper has no threads");
}

#[test]
fn a_filter_for_all_threads_reaches_a_thread_that_was_there_before() {
    let exit = in_child(|| {
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            wait.recv().unwrap();
            probe::raw(libc::SYS_getpriority, [0; 6])
        });
        apply_all_threads(Role::Scribe).unwrap();
        go.send(()).unwrap();
        let _ = thread.join();
    });
    assert_eq!(exit, Exit::Violation);
}
