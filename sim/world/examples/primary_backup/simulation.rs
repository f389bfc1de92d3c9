//! What is done to the system, and what is checked of it.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use veridical_checkers::picture::{Picture, PictureOperation};
use veridical_checkers::{CheckerOptions, ObjectChecker, ObjectKind, ObjectModel, Verdict};
use veridical_env::{Clock, Environment};
use veridical_histories::object::{Action, Answer, ObjectEvent, Request, Value};
use veridical_histories::{EventKind, OperationId};
use veridical_world::{Fault, ProcessId, Rng, SimEnvironment, Stream, World, WorldConfig};

use crate::system::{Failover, read, serve, write};

const PRIMARY: &str = "primary:1";
const BACKUP: &str = "backup:1";
const CLIENTS: u64 = 3;
const OPERATIONS: u64 = 60;
const FAULTS_MAX: u64 = 6;
const DURATION_MS: u64 = 5_000;
const CLIENT_TIMEOUT: Duration = Duration::from_millis(300);

/// One operation of a client.
#[derive(Clone, Debug)]
pub struct Planned {
    pub at_ms: u64,
    pub client: u64,
    /// The value that is written; a read if there is none.
    pub write: Option<i64>,
}

/// All that happens in a run, and when.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub operations: Vec<Planned>,
    pub faults: Vec<(u64, Fault)>,
}

impl Plan {
    pub fn of_seed(seed: u64) -> Self {
        let mut rng = Rng::for_stream(seed, Stream::Workload);
        let mut operations: Vec<Planned> = (1..=OPERATIONS)
            .map(|number| Planned {
                at_ms: rng.below(DURATION_MS),
                client: rng.below(CLIENTS),
                write: rng.chance(0.4).then_some(number as i64),
            })
            .collect();
        operations.sort_by_key(|operation| operation.at_ms);
        let mut rng = Rng::for_stream(seed, Stream::Nemesis);
        let faults = (0..rng.below(FAULTS_MAX + 1))
            .map(|_| {
                let process = ProcessId(rng.below(2 + CLIENTS) as u32);
                let duration_ms = rng.between(50, 1_500);
                let fault = match rng.below(3) {
                    0 => Fault::Isolate {
                        process,
                        duration_ms: Some(duration_ms),
                    },
                    1 => Fault::Pause {
                        process,
                        duration_ms: Some(duration_ms),
                    },
                    _ => Fault::Partition {
                        groups: vec![
                            vec![ProcessId(0), ProcessId(2)],
                            vec![ProcessId(1), ProcessId(3)],
                        ],
                        duration_ms: Some(duration_ms),
                    },
                };
                (rng.below(DURATION_MS), fault)
            })
            .collect();
        Self {
            seed,
            operations,
            faults,
        }
    }
}

/// What came of a run.
pub struct Run {
    pub verdict: Verdict,
    pub history: Vec<ObjectEvent>,
}

/// Runs a plan. Every run of the same plan is the same.
pub fn run(plan: &Plan, failover: Failover) -> Run {
    let history = Arc::new(Mutex::new(Vec::new()));
    World::run(plan.seed, WorldConfig::default(), |world| {
        let history = history.clone();
        async move {
            world.add_process("primary", move |environment| {
                serve(environment, PRIMARY, Some(BACKUP), failover)
            });
            world.add_process("backup", move |environment| {
                serve(environment, BACKUP, None, failover)
            });
            for client in 0..CLIENTS {
                let operations: Vec<Planned> = plan
                    .operations
                    .iter()
                    .filter(|operation| operation.client == client)
                    .cloned()
                    .collect();
                let (history, now) = (history.clone(), world.clone());
                world.add_process(&format!("client-{client}"), move |environment| {
                    work(
                        environment,
                        operations.clone(),
                        history.clone(),
                        now.clone(),
                    )
                });
            }
            let mut faults = plan.faults.clone();
            faults.sort_by_key(|(at_ms, _)| *at_ms);
            for (at_ms, fault) in faults {
                world
                    .sleep(Duration::from_millis(at_ms).saturating_sub(world.now()))
                    .await;
                world.inject(&fault);
            }
            world
                .sleep(Duration::from_millis(2 * DURATION_MS).saturating_sub(world.now()))
                .await;
        }
    });
    let history = std::mem::take(&mut *history.lock().expect("the run has ended"));
    let model = ObjectModel::new(ObjectKind::Register);
    let mut checker = ObjectChecker::new(model, CheckerOptions::default());
    for event in &history {
        if checker.observe(event).is_err() {
            break;
        }
    }
    Run {
        verdict: checker.finish(),
        history,
    }
}

/// The model begins with nil, the register with 0, which nobody writes.
fn shown(value: i64) -> Value {
    if value == 0 { Value::Nil } else { value.into() }
}

/// A client: it stays with a machine until that one does not answer.
async fn work(
    environment: SimEnvironment,
    operations: Vec<Planned>,
    history: Arc<Mutex<Vec<ObjectEvent>>>,
    world: World,
) {
    let record = |event| history.lock().expect("nobody panics with it").push(event);
    let now_ns = || world.now().as_nanos() as u64;
    let mut server = PRIMARY;
    for (number, planned) in operations.into_iter().enumerate() {
        let early = Duration::from_millis(planned.at_ms).saturating_sub(world.now());
        environment.clock().sleep(early).await;
        // A session that lost an operation goes on under a new number.
        let op = OperationId(planned.client * 1_000 + number as u64);
        let action = planned
            .write
            .map_or(Action::Read, |value| Action::Write(value.into()));
        record(ObjectEvent::call(
            now_ns(),
            op.0,
            op,
            Request {
                key: Value::Nil,
                action,
            },
        ));
        let answer = match planned.write {
            Some(value) => write(&environment, server, value, CLIENT_TIMEOUT)
                .await
                .then_some(Answer::Done),
            None => read(&environment, server, CLIENT_TIMEOUT)
                .await
                .map(|value| Answer::Value(shown(value))),
        };
        match answer {
            Some(answer) => record(ObjectEvent::returned(now_ns(), op.0, op, answer)),
            None => {
                record(ObjectEvent::unknown(now_ns(), op.0, op));
                server = if server == PRIMARY { BACKUP } else { PRIMARY };
            }
        }
    }
}

/// Draws the history with the operations that contradict each other.
pub fn draw(run: &Run, sink: &mut impl io::Write) -> io::Result<()> {
    let mut picture = Picture::new("a primary and its backup");
    for event in &run.history {
        let EventKind::Call { op, input } = &event.kind else {
            continue;
        };
        let end = run
            .history
            .iter()
            .find(|end| !end.is_call() && end.operation() == Some(*op));
        let (return_ns, answer) = match end.map(|end| (end.time_ns, &end.kind)) {
            Some((time_ns, EventKind::Return { output, .. })) => {
                (Some(time_ns), output.to_string())
            }
            _ => (None, "unknown".to_owned()),
        };
        picture.push(PictureOperation {
            op: *op,
            client: op.0 / 1_000,
            call_ns: event.time_ns,
            return_ns,
            key: "register".to_owned(),
            text: format!("{input} → {answer}"),
            point_ns: None,
        });
    }
    picture.show(&run.verdict);
    picture.write_html(sink)
}
