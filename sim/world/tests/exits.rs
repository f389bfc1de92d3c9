//! How processes ended, over their restarts; and what becomes of a process that is not there.
#![cfg(madsim)]

use std::time::Duration;
use veridical_world::{CrashKind, Fault, ProcessExit, ProcessId, World, WorldConfig};

const MS: Duration = Duration::from_millis(1);

fn quiet() -> WorldConfig {
    WorldConfig {
        quiet_panics: true,
        ..WorldConfig::default()
    }
}

#[test]
fn a_panic_is_reported_although_a_fault_starts_the_process_again() {
    let outcome = World::run(1, quiet(), |world| async move {
        let id = world.add_process("p", |environment| async move {
            if environment.incarnation() == 0 {
                panic!("the first time");
            }
            std::future::pending::<()>().await;
        });
        world.exited(id).await;
        world.inject(&Fault::Crash {
            process: id,
            kind: CrashKind::PowerLoss,
            restart_after_ms: Some(5),
        });
        world.sleep(50 * MS).await;
        assert!(world.is_running(id) && world.exit_of(id).is_none());
    });
    match &outcome.exits[..] {
        [(ProcessId(0), ProcessExit::Panicked(text))] => {
            assert!(text.starts_with("the first time"), "{text}");
        }
        others => panic!("{others:?}"),
    }
}

#[test]
fn a_return_is_not_reported_when_the_process_was_started_again() {
    let outcome = World::run(1, quiet(), |world| async move {
        let id = world.add_process("p", |environment| async move {
            if environment.incarnation() > 0 {
                std::future::pending::<()>().await;
            }
        });
        world.exited(id).await;
        world.restart(id);
        world.sleep(50 * MS).await;
    });
    assert_eq!(outcome.exits, []);
}

#[test]
fn a_process_that_is_not_there_is_named_in_the_error() {
    let nobody = ProcessId(7);
    let acts: [fn(&World, ProcessId); 6] = [
        |world, id| world.crash(id),
        |world, id| world.restart(id),
        |world, id| world.pause(id),
        |world, id| {
            let _ = world.name(id);
        },
        |world, id| {
            let _ = world.is_cut(ProcessId(0), id);
        },
        |world, process| {
            let _ = world.inject(&Fault::Restart { process });
        },
    ];
    for act in acts {
        let outcome = World::run_catching(1, quiet(), |world| async move {
            world.add_process("a", |_| async {});
            world.add_process("b", |_| async {});
            act(&world, nobody);
        });
        let text = outcome.output.expect_err("there is no such process");
        let expected = "there is no process p7: the world has 2, p0 to p1";
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn a_fault_that_names_a_process_that_is_not_there_is_refused_and_does_nothing() {
    let outcome = World::run(1, quiet(), |world| async move {
        let id = world.add_process("p", |_| std::future::pending::<()>());
        let fault = Fault::Isolate {
            process: ProcessId(3),
            duration_ms: None,
        };
        let unknown = world.try_inject(&fault).expect_err("there is none");
        assert_eq!((unknown.process, unknown.processes), (ProcessId(3), 1));
        let fault = Fault::Crash {
            process: id,
            kind: CrashKind::Kill,
            restart_after_ms: None,
        };
        world.try_inject(&fault).expect("it is there");
    });
    assert!(!outcome.counters.contains_key("fault.isolate"));
    assert_eq!(outcome.counters["fault.crash"], 1);
}
