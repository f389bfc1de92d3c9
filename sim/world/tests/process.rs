//! Starting, crashing, pausing and ending of processes, one property each.
#![cfg(madsim)]

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use veridical_env::{Clock, Disk, DiskFile, Environment, OpenMode};
use veridical_world::{
    CrashKind, CrashPoint, CrashRules, DelayBounded, DiskFaults, Fault, Pct, ProcessExit,
    ProcessId, Schedule, SimEnvironment, World, WorldConfig,
};

const MS: Duration = Duration::from_millis(1);

fn quiet() -> WorldConfig {
    WorldConfig {
        quiet_panics: true,
        ..WorldConfig::default()
    }
}

/// A program that counts every 10 ms.
fn ticker(ticks: &Arc<AtomicU64>) -> impl Fn(SimEnvironment) -> TickFuture + Send + Sync + 'static {
    let ticks = ticks.clone();
    move |environment| Box::pin(count(environment, ticks.clone()))
}

/// Counts every 10 ms.
async fn count(environment: SimEnvironment, ticks: Arc<AtomicU64>) {
    loop {
        environment.clock().sleep(10 * MS).await;
        ticks.fetch_add(1, Ordering::Relaxed);
    }
}

type TickFuture = std::pin::Pin<Box<dyn Future<Output = ()>>>;

#[test]
fn a_crashed_process_does_nothing_until_it_is_restarted() {
    let ticks = Arc::new(AtomicU64::new(0));
    World::run(1, WorldConfig::default(), |world| {
        let ticks = ticks.clone();
        async move {
            let id = world.add_process("p", ticker(&ticks));
            world.sleep(105 * MS).await;
            assert_eq!(ticks.load(Ordering::Relaxed), 10);
            world.crash(id);
            assert!(!world.is_running(id));
            world.sleep(100 * MS).await;
            assert_eq!(ticks.load(Ordering::Relaxed), 10);
            world.restart(id);
            world.sleep(106 * MS).await;
            assert!(world.is_running(id));
            assert_eq!(ticks.load(Ordering::Relaxed), 20);
            world.restart(id);
            world.sleep(106 * MS).await;
            assert_eq!(
                ticks.load(Ordering::Relaxed),
                30,
                "only one start of it runs"
            );
            assert_eq!(world.environment(id).expect("it runs").incarnation(), 2);
        }
    });
}

#[test]
fn a_restart_that_was_planned_waits_until_the_old_tasks_are_gone() {
    World::run(1, WorldConfig::default(), |world| async move {
        let host = world.add_host("host");
        let id = world.add_process("p", |_| std::future::pending::<()>());
        let kind = CrashKind::PowerLoss;
        world.inject(&Fault::Crash {
            process: id,
            kind,
            restart_after_ms: Some(10),
        });
        world.restart(id);
        host.clock().sleep(Duration::from_micros(9_900)).await;
        assert!(world.is_running(id));
        world.crash(id);
        host.clock().sleep(Duration::from_micros(500)).await;
        assert!(
            !world.is_running(id),
            "the start planned for 10 ms has to wait"
        );
        world.sleep(MS).await;
        assert!(world.is_running(id));
    });
}

#[test]
fn a_paused_process_catches_up_with_its_timers_when_it_goes_on() {
    let late = Arc::new(AtomicU64::new(0));
    World::run(1, WorldConfig::default(), |world| {
        let late = late.clone();
        async move {
            let id = world.add_process("p", move |environment: SimEnvironment| {
                let late = late.clone();
                async move {
                    for wait in [10, 20, 30] {
                        let (clock, late) = (environment.clock().clone(), late.clone());
                        tokio::spawn(async move {
                            let begun = clock.monotonic();
                            clock.sleep(wait * MS).await;
                            late.fetch_add(
                                (clock.monotonic() - begun).as_millis() as u64,
                                Ordering::Relaxed,
                            );
                        });
                    }
                    std::future::pending::<()>().await;
                }
            });
            world.sleep(5 * MS).await;
            world.inject(&Fault::Pause {
                process: id,
                duration_ms: Some(100),
            });
            world.sleep(98 * MS).await;
            assert!(world.is_running(id));
            world.sleep(10 * MS).await;
        }
    });
    let late = late.load(Ordering::Relaxed);
    assert!(
        late.abs_diff(3 * 105) <= 3,
        "all three fired when it went on: {late}"
    );
}

#[test]
fn a_starved_process_runs_its_share_and_all_of_the_time_afterwards() {
    let ticks = Arc::new(AtomicU64::new(0));
    World::run(1, WorldConfig::default(), |world| {
        let ticks = ticks.clone();
        async move {
            let id = world.add_process("p", ticker(&ticks));
            world.sleep(MS).await;
            world.inject(&Fault::Starve {
                process: id,
                run_ms: 10,
                stop_ms: 90,
                duration_ms: Some(1_000),
            });
            world.sleep(999 * MS).await;
            let starved = ticks.load(Ordering::Relaxed);
            assert!((9..=21).contains(&starved), "{starved} instead of 100");
            assert_eq!(world.counters()["process.starve"], 10);
            world.sleep(1_000 * MS).await;
            let later = ticks.load(Ordering::Relaxed) - starved;
            assert!((98..=101).contains(&later), "{later}: it is over");
        }
    });
}

#[test]
fn a_held_task_gets_no_time_while_the_others_of_its_process_go_on() {
    let schedules = [
        Schedule::Uniform,
        Schedule::Pct(Pct::default()),
        Schedule::DelayBounded(DelayBounded::default()),
    ];
    for schedule in schedules {
        let ticks = [0; 3].map(|_| Arc::new(AtomicU64::new(0)));
        let counted = || ticks.each_ref().map(|ticks| ticks.load(Ordering::Relaxed));
        let config = WorldConfig {
            schedule: schedule.clone(),
            ..WorldConfig::default()
        };
        World::run(1, config, |world| {
            let ticks = ticks.clone();
            async move {
                let id = world.add_process("p", move |environment: SimEnvironment| {
                    for ticks in &ticks[1..] {
                        veridical_env::task::spawn(count(environment.clone(), ticks.clone()));
                    }
                    count(environment, ticks[0].clone())
                });
                world.sleep(5 * MS).await;
                world.inject(&Fault::HoldTask {
                    process: id,
                    task: 2 + 3,
                    duration_ms: Some(100),
                });
                world.sleep(110 * MS).await;
                assert_eq!(world.counters()["process.held_task"], 1);
                world.sleep(100 * MS).await;
            }
        });
        // Its timer had fired when it went on, at 105 ms, and is set anew from then on.
        assert_eq!(counted(), [21, 21, 11], "{schedule}");
    }
}

#[test]
fn a_suspended_process_has_not_noticed_the_time() {
    World::run(1, WorldConfig::default(), |world| async move {
        let id = world.add_process("p", |_| std::future::pending::<()>());
        let environment = world.environment(id).expect("it runs");
        let (monotonic, wall) = (environment.clock().monotonic(), environment.clock().wall());
        world.inject(&Fault::Suspend {
            process: id,
            duration_ms: Some(5_000),
        });
        world.sleep(Duration::from_secs(6)).await;
        let passed = environment.clock().monotonic() - monotonic;
        assert!((999..1_002).contains(&passed.as_millis()), "{passed:?}");
        assert!((environment.clock().wall() - wall).as_secs() >= 6);
    });
}

#[test]
fn pauses_add_up_and_outlive_a_crash() {
    let ticks = Arc::new(AtomicU64::new(0));
    World::run(1, WorldConfig::default(), |world| {
        let ticks = ticks.clone();
        async move {
            let id = world.add_process("p", ticker(&ticks));
            world.pause(id);
            world.pause(id);
            world.sleep(50 * MS).await;
            world.resume(id);
            world.restart(id);
            world.sleep(50 * MS).await;
            assert_eq!(ticks.load(Ordering::Relaxed), 0);
            world.heal_all();
            world.sleep(50 * MS).await;
            assert_eq!(
                ticks.load(Ordering::Relaxed),
                0,
                "not a fault: the driver's own pause"
            );
            world.resume(id);
            world.sleep(51 * MS).await;
            assert_eq!(ticks.load(Ordering::Relaxed), 5);
        }
    });
}

#[test]
fn a_process_that_ends_is_reported_and_the_world_goes_on() {
    let outcome = World::run(1, quiet(), |world| async move {
        let well = world.add_process("well", |_| async {});
        let badly = world.add_process("badly", |_| async { Err::<(), _>("no luck") });
        let boot = world.add_process("boot", |environment| async move {
            environment.clock().sleep(MS).await;
            assert_ne!(environment.incarnation(), 0, "in the main future");
        });
        let task = world.add_process("task", |environment| async move {
            tokio::spawn(async move {
                environment.clock().sleep(MS).await;
                panic!("in a task");
            });
            std::future::pending::<()>().await;
        });
        assert_eq!(world.exited(well).await, ProcessExit::Returned(Ok(())));
        assert_eq!(
            world.exited(badly).await,
            ProcessExit::Returned(Err("no luck".to_owned()))
        );
        for (id, text) in [(boot, "in the main future"), (task, "in a task")] {
            match world.exited(id).await {
                ProcessExit::Panicked(found) => {
                    assert!(
                        found.contains(text) && found.contains("process.rs:"),
                        "{found}"
                    );
                }
                other => panic!("{other:?}"),
            }
            assert!(!world.is_running(id));
        }
        // Longer than madsim waits before it starts a node anew that panicked.
        world.restart(task);
        world.sleep(Duration::from_secs(20)).await;
        assert!(matches!(
            world.exit_of(task),
            Some(ProcessExit::Panicked(_))
        ));
    });
    // One of them was started again after its panic and panicked again: both are findings.
    assert_eq!(outcome.exits.len(), 5);
    assert_eq!(outcome.counters["process.panic"], 3);
    assert_eq!(
        outcome.counters["process.start"], 5,
        "{:?}",
        outcome.counters
    );
}

#[test]
fn a_process_restarted_after_a_panic_is_not_disturbed_by_madsim() {
    let ticks = Arc::new(AtomicU64::new(0));
    World::run(1, quiet(), |world| {
        let ticks = ticks.clone();
        async move {
            let first = AtomicU64::new(0);
            let tick = ticker(&ticks);
            let id = world.add_process("p", move |environment| -> TickFuture {
                if first.fetch_add(1, Ordering::Relaxed) > 0 {
                    return tick(environment);
                }
                Box::pin(async {
                    tokio::spawn(async { panic!("the first time") });
                    std::future::pending().await
                })
            });
            world.exited(id).await;
            world.restart(id);
            world.sleep(Duration::from_secs(20)).await;
            assert!(world.is_running(id));
        }
    });
    let ticks = ticks.load(Ordering::Relaxed);
    assert!((1_995..2_000).contains(&ticks), "{ticks}");
}

#[test]
fn a_panic_ends_the_run_if_asked_to() {
    for in_task in [false, true] {
        let config = WorldConfig {
            stop_on_panic: true,
            ..quiet()
        };
        let outcome = World::run_catching(1, config, |world| async move {
            world.add_process("p", move |environment| async move {
                environment.clock().sleep(10 * MS).await;
                if in_task {
                    tokio::spawn(async { panic!("enough") });
                    environment.clock().sleep(10 * MS).await;
                } else {
                    panic!("enough");
                }
            });
            world.sleep(Duration::from_secs(1)).await;
        });
        let text = outcome.output.expect_err("the run ended");
        assert!(text.starts_with("enough"), "{text}");
        assert!(outcome.simulated < 50 * MS && outcome.events > 0);
    }
}

#[test]
fn a_run_that_never_ends_is_ended() {
    let config = WorldConfig {
        time_limit: Some(Duration::from_secs(5)),
        ..quiet()
    };
    let outcome = World::run_catching(1, config, |world| async move {
        world.add_process("p", ticker(&Arc::default()));
        std::future::pending::<()>().await;
    });
    assert!(outcome.output.expect_err("it ended").contains("time limit"));
    let outcome = World::run_catching(1, quiet(), |_| std::future::pending::<()>());
    assert!(
        outcome
            .output
            .expect_err("it ended")
            .contains("block forever")
    );
}

/// Writes and synchronises one byte after another; says how many it was told are safe.
async fn appender(environment: SimEnvironment, acknowledged: Arc<AtomicU64>) -> io::Result<()> {
    let disk = environment.disk();
    let path = Path::new("log");
    let file = match disk.open(path, OpenMode::CreateNew).await {
        Ok(file) => file,
        Err(_) => disk.open(path, OpenMode::ReadWrite).await?,
    };
    disk.sync_dir(Path::new("/")).await?;
    let start = file.len().await?;
    for at in start.. {
        file.write_all_at(at, b"x").await?;
        file.sync().await?;
        acknowledged.store(at + 1, Ordering::Relaxed);
    }
    Ok(())
}

async fn stored_length(world: &World, id: ProcessId) -> u64 {
    let environment = world.environment(id).expect("it runs");
    let file = environment
        .disk()
        .open(Path::new("log"), OpenMode::Read)
        .await
        .expect("it was created");
    file.len().await.expect("a length")
}

/// Crashes at a point, after eight that are passed; returns what was acknowledged, and
/// what is on the disk.
fn crash_at(point: CrashPoint, crash: CrashRules) -> (u64, u64) {
    let disk = DiskFaults {
        crash,
        ..DiskFaults::none()
    };
    let config = WorldConfig {
        disk,
        ..WorldConfig::default()
    };
    World::run(1, config, |world| async move {
        let acknowledged = Arc::new(AtomicU64::new(0));
        let ours = acknowledged.clone();
        let stop = Arc::new(AtomicU64::new(0));
        let ours_stop = stop.clone();
        let id = world.add_stopped_process("p", move |environment| {
            let (acknowledged, stop) = (ours.clone(), ours_stop.clone());
            async move {
                if stop.load(Ordering::Relaxed) == 0 {
                    appender(environment, acknowledged)
                        .await
                        .expect("nothing is at fault");
                }
                std::future::pending::<()>().await;
            }
        });
        let kind = CrashKind::PowerLoss;
        world.inject(&Fault::CrashAt {
            process: id,
            point,
            skip: 8,
            kind,
            restart_after_ms: Some(10),
        });
        world.inject(&Fault::Restart { process: id });
        world.sleep(2 * MS).await;
        while world.is_running(id) {
            world.sleep(MS).await;
        }
        stop.store(1, Ordering::Relaxed);
        world.sleep(20 * MS).await;
        assert!(world.is_running(id), "it was restarted");
        assert_eq!(world.counters()["process.crash_point"], 1);
        (
            acknowledged.load(Ordering::Relaxed),
            stored_length(&world, id).await,
        )
    })
    .output
}

#[test]
fn a_crash_point_is_hit_exactly() {
    let (lose, keep) = (CrashRules::lose_all(), CrashRules::keep_all());
    assert_eq!(crash_at(CrashPoint::BeforeWrite, keep), (8, 8));
    assert_eq!(crash_at(CrashPoint::AfterWrite, keep), (8, 9));
    assert_eq!(crash_at(CrashPoint::AfterWrite, lose), (8, 8));
    assert_eq!(crash_at(CrashPoint::BeforeSync, lose), (8, 8));
    assert_eq!(crash_at(CrashPoint::AfterSync, lose), (8, 9));
}

#[test]
fn a_kill_keeps_the_page_cache_and_a_loss_of_power_does_not() {
    for (kind, left) in [(CrashKind::Kill, 5), (CrashKind::PowerLoss, 0)] {
        World::run(1, WorldConfig::default(), |world| async move {
            let id = world.add_process("p", |_| std::future::pending::<()>());
            let environment = world.environment(id).expect("it runs");
            let disk = environment.disk();
            let file = disk
                .open(Path::new("f"), OpenMode::CreateNew)
                .await
                .expect("a new disk");
            disk.sync_dir(Path::new("/"))
                .await
                .expect("nothing is at fault");
            file.write_all_at(0, b"dirty")
                .await
                .expect("nothing is at fault");
            world.inject(&Fault::Crash {
                process: id,
                kind,
                restart_after_ms: Some(5),
            });
            let over = file.len().await.expect_err("that start is over");
            assert_eq!(over.kind(), io::ErrorKind::NotConnected);
            world.sleep(10 * MS).await;
            let environment = world.environment(id).expect("it was restarted");
            let file = environment
                .disk()
                .open(Path::new("f"), OpenMode::Read)
                .await
                .expect("its name");
            assert_eq!(file.len().await.expect("a length"), left);
        });
    }
}

#[test]
fn power_can_be_lost_after_the_process_has_ended() {
    for (crash, left) in [(false, 5), (true, 0)] {
        World::run(1, WorldConfig::default(), |world| async move {
            let id = world.add_process("p", |environment| async move {
                let disk = environment.disk();
                if let Ok(file) = disk.open(Path::new("f"), OpenMode::CreateNew).await {
                    disk.sync_dir(Path::new("/")).await?;
                    file.write_all_at(0, b"dirty").await?;
                    return Ok::<(), io::Error>(());
                }
                std::future::pending().await
            });
            world.exited(id).await;
            if crash {
                world.crash(id);
            }
            world.restart(id);
            world.sleep(10 * MS).await;
            let environment = world.environment(id).expect("it was restarted");
            let file = environment
                .disk()
                .open(Path::new("f"), OpenMode::Read)
                .await
                .expect("its name");
            assert_eq!(file.len().await.expect("a length"), left);
        });
    }
}

#[test]
fn a_disk_can_be_wiped_and_an_old_image_put_back() {
    World::run(1, WorldConfig::default(), |world| async move {
        let acknowledged = Arc::new(AtomicU64::new(0));
        let ours = acknowledged.clone();
        let id = world.add_process("p", move |environment| appender(environment, ours.clone()));
        world.sleep(50 * MS).await;
        let old = world.snapshot_disk(id);
        let then = stored_length(&world, id).await;
        world.sleep(50 * MS).await;
        assert!(stored_length(&world, id).await > then + 10);
        world.crash(id);
        world.restore_disk(id, &old);
        acknowledged.store(0, Ordering::Relaxed);
        world.restart(id);
        while acknowledged.load(Ordering::Relaxed) == 0 {
            world.sleep(MS).await;
        }
        assert!(acknowledged.load(Ordering::Relaxed).abs_diff(then) < 5);
        world.inject(&Fault::WipeDisk { process: id });
        assert!(!world.is_running(id));
        acknowledged.store(0, Ordering::Relaxed);
        world.restart(id);
        while acknowledged.load(Ordering::Relaxed) == 0 {
            world.sleep(MS).await;
        }
        assert!(acknowledged.load(Ordering::Relaxed) < 5);
    });
}

#[test]
fn a_fault_puts_back_the_image_that_another_one_kept_and_empties_the_disk_without_one() {
    World::run(1, WorldConfig::default(), |world| async move {
        let acknowledged = Arc::new(AtomicU64::new(0));
        let ours = acknowledged.clone();
        let process =
            world.add_process("p", move |environment| appender(environment, ours.clone()));
        world.sleep(50 * MS).await;
        let kept = stored_length(&world, process).await;
        world.inject(&Fault::KeepDisk { process });
        let restored = async |expected: u64| {
            world.sleep(50 * MS).await;
            assert!(stored_length(&world, process).await > expected + 10);
            world.inject(&Fault::RestoreDisk {
                process,
                restart_after_ms: Some(3),
            });
            assert!(!world.is_running(process));
            acknowledged.store(0, Ordering::Relaxed);
            while acknowledged.load(Ordering::Relaxed) == 0 {
                world.sleep(MS).await;
            }
            assert!(acknowledged.load(Ordering::Relaxed).abs_diff(expected) < 5);
        };
        restored(kept).await;
        // The image is still there.
        restored(kept).await;
        assert_eq!(world.counters()["fault.restore_disk"], 2);
    });
    World::run(2, WorldConfig::default(), |world| async move {
        let acknowledged = Arc::new(AtomicU64::new(0));
        let ours = acknowledged.clone();
        let process =
            world.add_process("p", move |environment| appender(environment, ours.clone()));
        world.sleep(50 * MS).await;
        world.inject(&Fault::RestoreDisk {
            process,
            restart_after_ms: None,
        });
        acknowledged.store(0, Ordering::Relaxed);
        world.restart(process);
        while acknowledged.load(Ordering::Relaxed) == 0 {
            world.sleep(MS).await;
        }
        assert!(acknowledged.load(Ordering::Relaxed) < 5);
    });
}

#[test]
fn seeds_for_a_process_never_repeat_and_follow_from_the_seed_of_the_run() {
    let draw = |seed| {
        World::run(seed, WorldConfig::default(), |world| async move {
            let (a, b) = (world.add_host("a"), world.add_host("b"));
            (0..100)
                .flat_map(|_| [a.random_seed(), b.random_seed()])
                .collect::<Vec<_>>()
        })
        .output
    };
    let (first, second) = (draw(1), draw(2));
    assert_eq!(first, draw(1));
    let distinct: std::collections::BTreeSet<_> = first.iter().chain(&second).collect();
    assert_eq!(distinct.len(), 400);
}

/// Three steps with a failpoint between them; counts those that were made.
async fn steps(made: Arc<AtomicU64>) {
    made.fetch_add(1, Ordering::Relaxed);
    veridical_probe::failpoint!("test.first-made");
    made.fetch_add(1, Ordering::Relaxed);
    veridical_probe::failpoint!("test.second-made");
    made.fetch_add(1, Ordering::Relaxed);
    std::future::pending::<()>().await;
}

/// The steps that a process makes before it crashes at a failpoint, and together with those
/// after its restart.
fn steps_before_and_after(name: &str, skip: u64) -> (u64, u64) {
    let name = name.to_owned();
    World::run(1, WorldConfig::default(), |world| async move {
        let made = Arc::new(AtomicU64::new(0));
        let ours = made.clone();
        let id = world.add_stopped_process("p", move |_| steps(ours.clone()));
        let other = world.add_process("other", |_| std::future::pending::<()>());
        world.inject(&Fault::CrashAtFailpoint {
            process: id,
            name,
            skip,
            kind: CrashKind::Kill,
            restart_after_ms: Some(10),
        });
        world.inject(&Fault::Restart { process: id });
        world.sleep(5 * MS).await;
        let before = made.load(Ordering::Relaxed);
        world.sleep(20 * MS).await;
        assert!(world.is_running(id) && world.is_running(other));
        (before, made.load(Ordering::Relaxed))
    })
    .output
}

#[test]
fn a_process_crashes_at_the_failpoint_that_was_named_and_goes_on_after_its_restart() {
    assert_eq!(steps_before_and_after("test.first-made", 0), (1, 4));
    assert_eq!(steps_before_and_after("test.second-made", 0), (2, 5));
    assert_eq!(steps_before_and_after("test.second-made", 1), (3, 3));
    assert_eq!(steps_before_and_after("test.nowhere", 0), (3, 3));
}
