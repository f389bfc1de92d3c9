//! What is done to the system, and what is checked of it.

use std::io;
use std::sync::Arc;
use std::time::Duration;
use veridical_checkers::{ObjectKind, ObjectModel};
use veridical_env::{Clock, Environment};
use veridical_harness::object_recorder::shown_operations;
use veridical_harness::recording::no_frames;
use veridical_harness::run::{Conditions, Observed, Run, Settings};
use veridical_harness::simulate::simulate;
use veridical_harness::style::{ShownOperation, Style};
use veridical_harness::timed_fault::{inject_at_times, sleep_until};
use veridical_harness::{
    About, Ending, Named, ObjectRecorder, PlantedName, Scenario, TimedFault, TimedOperation,
    TimedPlan,
};
use veridical_histories::object::{Action, Answer, ObjectEvent, Request, Value};
use veridical_world::{Fault, ProcessId, Rng, SimEnvironment, Stream, World};

use crate::system::{Failover, read, serve, write};

const PRIMARY: &str = "primary:1";
const BACKUP: &str = "backup:1";
const CLIENTS: u64 = 3;
const OPERATIONS: u64 = 60;
const FAULTS_MAX: u64 = 6;
const DURATION_MS: u64 = 5_000;
const CLIENT_TIMEOUT: Duration = Duration::from_millis(300);
/// A client goes on under a new session after each operation.
const SESSIONS_PER_CLIENT: u64 = 1_000;

/// What a client does: it writes this value, or reads if there is none.
type Op = Option<i64>;
type Plan = TimedPlan<Op>;

/// A register on two machines.
pub struct Register;

impl Scenario for Register {
    type Plan = Plan;
    type Event = ObjectEvent;
    type State = ();

    fn about(&self) -> About {
        About {
            command: "cargo sim-example",
            text: "A register on a primary and a backup, simulated",
            version: env!("CARGO_PKG_VERSION"),
        }
    }

    fn names(&self) -> Vec<Named> {
        vec![Named {
            name: "register",
            about: "machines that are cut off, paused and split",
        }]
    }

    fn planted_bugs(&self) -> Vec<PlantedName> {
        vec![PlantedName {
            name: "eager-failover",
            hidden: None,
        }]
    }

    fn plan(&self, name: &str, seed: u64) -> Option<Plan> {
        if name != "register" {
            return None;
        }
        let mut plan = Plan::new(name, seed);
        plan.heal_at_ms = DURATION_MS;
        plan.end_at_ms = 2 * DURATION_MS;
        let mut rng = Rng::for_stream(seed, Stream::Workload);
        plan.operations = (1..=OPERATIONS)
            .map(|number| TimedOperation {
                at_ms: rng.below(DURATION_MS),
                client: rng.below(CLIENTS),
                op: rng.chance(0.4).then_some(number as i64),
            })
            .collect();
        let mut rng = Rng::for_stream(seed, Stream::Nemesis);
        plan.faults = (0..rng.below(FAULTS_MAX + 1))
            .map(|_| fault(&mut rng))
            .collect();
        plan.sort();
        Some(plan)
    }

    fn run(&self, plan: &Plan, settings: Settings) -> Run<ObjectEvent, ()> {
        let conditions = Conditions {
            network: plan.network,
            disk: plan.disk,
            schedule: plan.schedule.clone(),
            nodes: 2,
            knobs: Default::default(),
            decode: no_frames,
        };
        let (keep, until) = (settings.keep, settings.until);
        let shared = Arc::new(plan.clone());
        simulate(self.about(), plan, conditions, settings, |world, _| {
            let model = ObjectModel::new(ObjectKind::Register);
            let recorder = ObjectRecorder::new(world.clone(), model, keep);
            watched(world, shared, recorder, until)
        })
    }

    fn operations(&self, _: &Plan, history: &[ObjectEvent]) -> Vec<ShownOperation> {
        shown_operations(history, |session| {
            format!("client-{}", session / SESSIONS_PER_CLIENT)
        })
    }

    /// Sessions of a client have one track.
    fn style(&self) -> Style<()> {
        Style {
            client_of: |session| session / SESSIONS_PER_CLIENT,
            ..Style::default()
        }
    }
}

fn fault(rng: &mut Rng) -> TimedFault {
    let process = ProcessId(rng.below(2 + CLIENTS) as u32);
    let duration_ms = Some(rng.between(50, 1_500));
    let fault = match rng.below(3) {
        0 => Fault::Isolate {
            process,
            duration_ms,
        },
        1 => Fault::Pause {
            process,
            duration_ms,
        },
        _ => Fault::Partition {
            groups: vec![
                vec![ProcessId(0), ProcessId(2)],
                vec![ProcessId(1), ProcessId(3)],
            ],
            duration_ms,
        },
    };
    let at_ms = rng.below(DURATION_MS);
    TimedFault { at_ms, fault }
}

/// The run, ended as soon as something is wrong.
async fn watched(
    world: World,
    plan: Arc<Plan>,
    recorder: ObjectRecorder,
    until: Option<Duration>,
) -> Observed<ObjectEvent> {
    let work = drive(world, plan, recorder.clone());
    recorder.watch(work, until).await
}

/// Starts everybody, injects the faults, and waits for the end.
async fn drive(world: World, plan: Arc<Plan>, recorder: ObjectRecorder) {
    let failover = match plan.planted {
        Some(_) => Failover::Eager,
        None => Failover::Never,
    };
    world.add_process("primary", move |environment| {
        serve(environment, PRIMARY, Some(BACKUP), failover)
    });
    world.add_process("backup", move |environment| {
        serve(environment, BACKUP, None, failover)
    });
    for client in 0..CLIENTS {
        let (world, plan, recorder) = (world.clone(), plan.clone(), recorder.clone());
        let now = world.clone();
        world.add_process(&format!("client-{client}"), move |environment| {
            work(
                environment,
                client,
                plan.clone(),
                recorder.clone(),
                now.clone(),
            )
        });
    }
    inject_at_times(&world, &plan.faults, Duration::from_millis(plan.heal_at_ms)).await;
    world.heal_all();
    sleep_until(&world, Duration::from_millis(plan.end_at_ms)).await;
}

/// The model begins with nil, the register with 0, which nobody writes.
fn shown(value: i64) -> Value {
    if value == 0 { Value::Nil } else { value.into() }
}

/// A client: it stays with a machine until that one does not answer.
async fn work(
    environment: SimEnvironment,
    client: u64,
    plan: Arc<Plan>,
    recorder: ObjectRecorder,
    world: World,
) -> io::Result<()> {
    let mut server = PRIMARY;
    for (number, planned) in plan.operations_of(client).enumerate() {
        let early = Duration::from_millis(planned.at_ms).saturating_sub(world.now());
        environment.clock().sleep(early).await;
        let session = client * SESSIONS_PER_CLIENT + number as u64;
        let action = planned
            .op
            .map_or(Action::Read, |value| Action::Write(value.into()));
        let key = Value::Nil;
        let op = recorder.called(session, Request { key, action });
        let answer = match planned.op {
            Some(value) => write(&environment, server, value, CLIENT_TIMEOUT)
                .await
                .then_some(Answer::Done),
            None => read(&environment, server, CLIENT_TIMEOUT)
                .await
                .map(|value| Answer::Value(shown(value))),
        };
        if answer.is_none() {
            server = if server == PRIMARY { BACKUP } else { PRIMARY };
        }
        recorder.ended(session, op, answer.map_or(Ending::Unknown, Ending::Done));
    }
    Ok(())
}
