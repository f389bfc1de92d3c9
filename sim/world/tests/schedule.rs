//! Schedules that are not left to chance: that they act, that they find what hides behind
//! an order of events, that they change nothing else, and that a run with one replays.
#![cfg(madsim)]

use bytes::{Bytes, BytesMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use veridical_env::{Clock, Environment, Listener, Network, StreamReader, StreamWriter, task};
use veridical_world::{
    DecisionMode, DelayBounded, Fault, MessageDelay, NetworkFaults, Pct, RunOutcome, Schedule,
    SimEnvironment, World, WorldConfig,
};

const MS: Duration = Duration::from_millis(1);

/// Seeds that each schedule is given to find a bug.
const SEEDS: u64 = 40;

fn pct(task_changes: &[u64], message_changes: &[u64]) -> Schedule {
    Schedule::Pct(Pct {
        task_changes: task_changes.to_vec(),
        message_changes: message_changes.to_vec(),
        hold_max_ms: 100,
        settle_us: 20,
    })
}

fn delayed(message: u64, delay_ms: u64) -> Schedule {
    Schedule::DelayBounded(DelayBounded {
        task_delays: Vec::new(),
        message_delays: vec![MessageDelay { message, delay_ms }],
    })
}

fn config(schedule: &Schedule) -> WorldConfig {
    WorldConfig {
        schedule: schedule.clone(),
        ..WorldConfig::default()
    }
}

fn count(outcome: &RunOutcome<bool>, name: &str) -> u64 {
    outcome.counters.get(name).copied().unwrap_or_default()
}

/// Two tasks hand a ball to and fro; the bug shows if a third, which is ready from the
/// beginning, comes only after they are done. It takes one decision, that the third is
/// the last, which chance would have to take anew at each pass.
async fn ball(late: Arc<AtomicBool>) {
    const PASSES: u64 = 16;
    let (to_a, mut a) = mpsc::channel::<u64>(1);
    let (to_b, mut b) = mpsc::channel::<u64>(1);
    let passes = Arc::new(AtomicU64::new(0));
    let (done, mut over) = mpsc::channel::<()>(3);
    let (finished, counted) = (done.clone(), Arc::clone(&passes));
    task::spawn(async move {
        while let Some(pass) = a.recv().await {
            counted.store(pass, Ordering::Relaxed);
            if pass >= PASSES || to_b.send(pass + 1).await.is_err() {
                break;
            }
        }
        let _ = finished.send(()).await;
    });
    let starter = to_a.clone();
    task::spawn(async move {
        let _ = starter.send(1).await;
        while let Some(pass) = b.recv().await {
            if to_a.send(pass + 1).await.is_err() {
                break;
            }
        }
    });
    task::spawn(async move {
        late.store(
            passes.load(Ordering::Relaxed) + 1 >= PASSES,
            Ordering::Relaxed,
        );
        let _ = done.send(()).await;
    });
    over.recv().await;
    over.recv().await;
}

fn play(seed: u64, schedule: &Schedule) -> RunOutcome<bool> {
    World::run(seed, config(schedule), |world| async move {
        let late = Arc::new(AtomicBool::new(false));
        let shared = Arc::clone(&late);
        let id = world.add_process("p", move |_| ball(Arc::clone(&shared)));
        world.exited(id).await;
        late.load(Ordering::Relaxed)
    })
}

fn found(run: impl Fn(u64) -> RunOutcome<bool>) -> usize {
    (0..SEEDS).filter(|seed| run(*seed).output).count()
}

#[test]
fn an_order_of_tasks_that_chance_hardly_finds_is_found_by_priorities() {
    let by_chance = found(|seed| play(seed, &Schedule::Uniform));
    let by_priorities = found(|seed| play(seed, &pct(&[], &[])));
    assert!(by_chance <= 1, "by chance {by_chance}");
    assert!(by_priorities >= 5, "by priorities {by_priorities}");
    assert!(count(&play(1, &pct(&[], &[])), "schedule.task_choice") > 0);
}

#[test]
fn changes_of_tasks_are_carried_out_and_counted() {
    let changed = play(3, &pct(&[0, 2], &[]));
    assert_eq!(count(&changed, "schedule.task_change"), 2);
    let delays = Schedule::DelayBounded(DelayBounded {
        task_delays: vec![0],
        message_delays: Vec::new(),
    });
    assert_eq!(count(&play(3, &delays), "schedule.task_change"), 1);
}

/// Passes on what it gets to the next, or back, until it has gone round often enough.
async fn relay(environment: SimEnvironment, next: Option<&'static str>, seen: Arc<AtomicU64>) {
    let mut listener = environment
        .network()
        .listen("0.0.0.0:1")
        .await
        .expect("a free port");
    while let Ok((mut reader, _writer, _)) = listener.accept().await {
        let (environment, seen) = (environment.clone(), Arc::clone(&seen));
        task::spawn(async move {
            let mut onward = match next {
                Some(next) => environment.network().connect(next).await.ok(),
                None => None,
            };
            let mut buffer = BytesMut::new();
            while reader
                .read(&mut buffer)
                .await
                .is_ok_and(|length| length > 0)
            {
                for byte in buffer.split() {
                    if let Some((_, writer)) = &mut onward {
                        let _ = writer.write(Bytes::copy_from_slice(&[byte])).await;
                    } else if byte == b'd' {
                        // What came directly tells how much had come round before it.
                        seen.fetch_add(100, Ordering::Relaxed);
                    } else if seen.load(Ordering::Relaxed) < 100 {
                        seen.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        });
    }
}

/// One message goes to `c` directly, and after it others by way of `a` and `b`. The bug
/// shows if they all overtake it.
fn overtake(seed: u64, schedule: &Schedule, mut config: WorldConfig) -> RunOutcome<bool> {
    const ROUND: u64 = 6;
    config.schedule = schedule.clone();
    config.network = NetworkFaults::none();
    World::run(seed, config, |world| async move {
        let seen = Arc::new(AtomicU64::new(0));
        for (name, next) in [("a", Some("b:1")), ("b", Some("c:1")), ("c", None)] {
            let seen = Arc::clone(&seen);
            world.add_process(name, move |environment| {
                relay(environment, next, Arc::clone(&seen))
            });
        }
        world.add_process("sender", |environment: SimEnvironment| async move {
            environment.clock().sleep(10 * MS).await;
            let network = environment.network();
            let (_r, mut direct) = network.connect("c:1").await?;
            let (_s, mut round) = network.connect("a:1").await?;
            // By now the connections onward are there, too.
            environment.clock().sleep(10 * MS).await;
            direct.write(Bytes::from_static(b"d")).await?;
            for _ in 0..ROUND {
                round.write(Bytes::from_static(b"r")).await?;
            }
            environment.clock().sleep(500 * MS).await;
            Ok::<(), std::io::Error>(())
        });
        world.sleep(400 * MS).await;
        seen.load(Ordering::Relaxed) == 100 + ROUND
    })
}

fn messages(seed: u64, schedule: &Schedule) -> RunOutcome<bool> {
    overtake(seed, schedule, WorldConfig::default())
}

#[test]
fn a_message_that_all_others_overtake_is_found_by_priorities_and_by_a_delay() {
    let by_chance = found(|seed| messages(seed, &Schedule::Uniform));
    let by_priorities = found(|seed| messages(seed, &pct(&[], &[])));
    assert!(by_chance <= 1, "by chance {by_chance}");
    assert!(by_priorities >= 4, "by priorities {by_priorities}");
    // The first message of the run that is no attempt to connect is the direct one.
    let by_delay = messages(1, &delayed(0, 50));
    assert!(by_delay.output);
    assert_eq!(count(&by_delay, "schedule.message_delay"), 1);
    assert!(!messages(1, &delayed(1, 50)).output);
}

#[test]
fn messages_on_low_links_are_held_and_changes_of_links_are_counted() {
    let outcomes: Vec<_> = (0..SEEDS)
        .map(|seed| messages(seed, &pct(&[], &[1])))
        .collect();
    let held: u64 = outcomes
        .iter()
        .map(|outcome| count(outcome, "schedule.message_held"))
        .sum();
    assert!(held > 0);
    for outcome in &outcomes {
        assert_eq!(count(outcome, "schedule.link_change"), 1);
    }
}

#[test]
fn a_run_with_a_schedule_is_the_same_each_time_and_from_its_record() {
    for schedule in [pct(&[1, 5], &[2, 7]), delayed(3, 20)] {
        for seed in 0..10 {
            let keeping = WorldConfig {
                decisions: DecisionMode {
                    keep: true,
                    record: None,
                },
                ..WorldConfig::default()
            };
            let first = overtake(seed, &schedule, keeping);
            assert_eq!(messages(seed, &schedule).digest, first.digest);
            let replaying = WorldConfig {
                decisions: DecisionMode {
                    keep: false,
                    record: Some(first.decisions),
                },
                ..WorldConfig::default()
            };
            let again = overtake(seed, &schedule, replaying);
            assert_eq!(again.digest, first.digest);
            let replay = again.replay.expect("it was made from a record");
            assert_eq!(replay.diverged, 0);
        }
    }
}

#[test]
fn crashes_pauses_and_panics_of_gated_processes_hold_nobody_up() {
    for seed in 0..SEEDS {
        let ticks = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&ticks);
        let silent = WorldConfig {
            quiet_panics: true,
            ..config(&pct(&[0, 3, 9], &[]))
        };
        World::run(seed, silent, |world| async move {
            for name in ["a", "b", "c"] {
                let counted = Arc::clone(&counted);
                world.add_process(name, move |environment: SimEnvironment| {
                    let counted = Arc::clone(&counted);
                    async move {
                        let (ball, mut hands) = mpsc::channel::<u64>(1);
                        task::spawn(async move {
                            while let Some(number) = hands.recv().await {
                                assert!(number < 7 || environment.incarnation() > 0, "planted");
                                counted.fetch_add(1, Ordering::Relaxed);
                                environment.clock().sleep(MS).await;
                            }
                        });
                        for number in 0.. {
                            if ball.send(number).await.is_err() {
                                break;
                            }
                        }
                    }
                });
            }
            let all = world.processes();
            let (paused, crashed) = (all[0], all[1]);
            world.sleep(3 * MS).await;
            world.inject(&Fault::Pause {
                process: paused,
                duration_ms: Some(20),
            });
            world.crash(crashed);
            world.sleep(2 * MS).await;
            world.crash(paused);
            for id in &all {
                world.restart(*id);
            }
            world.sleep(100 * MS).await;
        });
        assert!(ticks.load(Ordering::Relaxed) > 150, "seed {seed}");
    }
}
