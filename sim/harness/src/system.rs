//! The easy door to the harness: a [`System`] of nodes and of clients that use one object,
//! such as a register, a map or a queue. Whoever implements it has a [`Scenario`].
//!
//! | an implementor writes | as |
//! |---|---|
//! | the program of a node | [`System::serve`] |
//! | what the object is | [`System::model`] |
//! | an operation, drawn | [`System::draw`] |
//! | what the operation means to the model | [`System::request`] |
//! | the operation, carried out | [`System::call`] |
//!
//! The plan, its faults, the run, the clients, the history and the check follow from that.
//! A system with a plan or a check of its own implements [`Scenario`] itself.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use veridical_checkers::ObjectModel;
use veridical_env::{Clock, Environment};
use veridical_histories::object::{ObjectEvent, Request};
use veridical_world::{CrashKind, Fault, ProcessId, Rng, SimEnvironment, Stream, World};

use crate::object_recorder::{Ending, ObjectRecorder, shown_operations};
use crate::recording::no_frames;
use crate::run::{Conditions, Run, Settings};
use crate::scenario::{About, Named, PlantedName, Scenario};
use crate::simulate::simulate;
use crate::style::{ShownOperation, Style};
use crate::timed_fault::{TimedFault, inject_at_times, sleep_until};
use crate::timed_plan::{TimedOperation, TimedPlan};

/// Sessions that a client may use up, so that the client follows from the session. Each
/// operation has a session of its own: one whose outcome is unknown holds up nothing.
const SESSIONS_PER_CLIENT: u64 = 1_000_000;

/// How much is done in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Clients, each of which does one operation after the other.
    pub clients: u64,
    /// Operations of all clients together.
    pub operations: u64,
    /// Faults that are injected at most.
    pub faults_max: u64,
    /// In which time operations and faults begin, in ms. Then all faults end, and the run
    /// goes on for as long again.
    pub duration_ms: u64,
    /// Whether nodes also crash and start again: their memory is lost, and what they have
    /// not synchronised to their disks.
    pub crashes: bool,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            clients: 3,
            operations: 60,
            faults_max: 6,
            duration_ms: 5_000,
            crashes: false,
        }
    }
}

/// A system of nodes, and of clients that use one object that the nodes provide.
pub trait System: Copy + Send + Sync + 'static {
    /// What a client does.
    type Op: Clone + Debug + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static;

    /// What a client remembers from one operation to the next, such as the node that it
    /// talks to.
    type Client: Default + 'static;

    /// How the program is called.
    fn about(&self) -> About;

    /// The name of the scenario, and what it is about.
    fn scenario(&self) -> Named;

    /// What the object is.
    fn model(&self) -> ObjectModel;

    /// The names of the nodes: whoever connects to `name:port` reaches that node.
    fn nodes(&self) -> &'static [&'static str];

    /// The program of the node with that number, with the planted bug if there is one.
    ///
    /// # Errors
    /// The node cannot go on; the run does.
    fn serve(
        self,
        environment: SimEnvironment,
        node: usize,
        planted: Option<&'static str>,
    ) -> impl Future<Output = io::Result<()>> + 'static;

    /// An operation. Its number is unique in the run, from 1, so that values can be.
    fn draw(&self, rng: &mut Rng, number: u64) -> Self::Op;

    /// What an operation means to the model.
    fn request(&self, op: &Self::Op) -> Request;

    /// Carries an operation out and says how it ended. What has had no answer is unknown.
    fn call(
        &self,
        environment: &SimEnvironment,
        client: &mut Self::Client,
        op: &Self::Op,
    ) -> impl Future<Output = Ending>;

    /// How much is done in a run.
    fn load(&self) -> Load {
        Load::default()
    }

    /// The bugs that can be planted.
    fn planted_bugs(&self) -> Vec<PlantedName> {
        Vec::new()
    }
}

impl<S: System> Scenario for S {
    type Plan = TimedPlan<S::Op>;
    type Event = ObjectEvent;
    type State = ();

    fn about(&self) -> About {
        System::about(self)
    }

    fn names(&self) -> Vec<Named> {
        vec![self.scenario()]
    }

    fn planted_bugs(&self) -> Vec<PlantedName> {
        System::planted_bugs(self)
    }

    fn plan(&self, name: &str, seed: u64) -> Option<Self::Plan> {
        if name != self.scenario().name {
            return None;
        }
        let load = self.load();
        let mut plan = TimedPlan::new(name, seed);
        plan.heal_at_ms = load.duration_ms;
        plan.end_at_ms = 2 * load.duration_ms;
        let mut rng = Rng::for_stream(seed, Stream::Workload);
        plan.operations = (1..=load.operations)
            .map(|number| TimedOperation {
                at_ms: rng.below(load.duration_ms),
                client: rng.below(load.clients),
                op: self.draw(&mut rng, number),
            })
            .collect();
        let mut rng = Rng::for_stream(seed, Stream::Nemesis);
        plan.faults = (0..rng.below(load.faults_max + 1))
            .map(|_| TimedFault {
                at_ms: rng.below(load.duration_ms),
                fault: fault(&mut rng, self.nodes().len() as u64, load),
            })
            .collect();
        plan.sort();
        Some(plan)
    }

    fn run(&self, plan: &Self::Plan, settings: Settings) -> Run<ObjectEvent, ()> {
        let conditions = Conditions {
            network: plan.network,
            disk: plan.disk,
            schedule: plan.schedule.clone(),
            nodes: self.nodes().len() as u32,
            knobs: Default::default(),
            decode: no_frames,
        };
        let (keep, limits, until) = (settings.keep, settings.limits, settings.until);
        let (system, shared) = (*self, Arc::new(plan.clone()));
        let about = System::about(self);
        simulate(about, plan, conditions, settings, |world, _| async move {
            let recorder = ObjectRecorder::new(world.clone(), system.model(), keep, limits);
            let work = drive(system, world, shared, recorder.clone());
            recorder.watch(work, until).await
        })
    }

    fn operations(&self, _: &Self::Plan, history: &[ObjectEvent]) -> Vec<ShownOperation> {
        shown_operations(history, |session| {
            format!("client-{}", session / SESSIONS_PER_CLIENT)
        })
    }

    /// The sessions of a client have one track.
    fn style(&self) -> Style<()> {
        Style {
            client_of: |session| session / SESSIONS_PER_CLIENT,
            ..Style::default()
        }
    }
}

/// A fault that a system without its own ideas has to stand: somebody is cut off, or halted,
/// or the network falls into two halves; or a node crashes, where the load says so.
fn fault(rng: &mut Rng, nodes: u64, load: Load) -> Fault {
    let processes = nodes + load.clients;
    let process = ProcessId(rng.below(processes) as u32);
    let duration_ms = Some(rng.between(50, load.duration_ms.div_ceil(3)));
    match rng.below(if load.crashes { 4 } else { 3 }) {
        0 => Fault::Isolate {
            process,
            duration_ms,
        },
        1 => Fault::Pause {
            process,
            duration_ms,
        },
        2 => {
            let (left, right) = (0..processes as u32)
                .map(ProcessId)
                .partition(|_| rng.chance(0.5));
            Fault::Partition {
                groups: vec![left, right],
                duration_ms,
            }
        }
        _ => Fault::Crash {
            process: ProcessId(rng.below(nodes) as u32),
            kind: CrashKind::PowerLoss,
            restart_after_ms: duration_ms,
        },
    }
}

/// Starts everybody, injects the faults, and waits for the end.
async fn drive<S: System>(
    system: S,
    world: World,
    plan: Arc<TimedPlan<S::Op>>,
    recorder: ObjectRecorder,
) {
    let bugs = System::planted_bugs(&system);
    let planted = bugs
        .iter()
        .map(|bug| bug.name)
        .find(|name| plan.planted.as_deref() == Some(*name));
    for (node, name) in system.nodes().iter().enumerate() {
        world.add_process(name, move |environment| {
            system.serve(environment, node, planted)
        });
    }
    for client in 0..system.load().clients {
        let (plan, recorder, clock) = (plan.clone(), recorder.clone(), world.clone());
        world.add_process(&format!("client-{client}"), move |environment| {
            let clients = Client {
                system,
                environment,
                client,
                recorder: recorder.clone(),
                world: clock.clone(),
            };
            clients.work(plan.clone())
        });
    }
    inject_at_times(&world, &plan.faults, Duration::from_millis(plan.heal_at_ms)).await;
    world.heal_all();
    sleep_until(&world, Duration::from_millis(plan.end_at_ms)).await;
}

/// A client of a system.
struct Client<S> {
    system: S,
    environment: SimEnvironment,
    client: u64,
    recorder: ObjectRecorder,
    /// For the true time, by which the plan goes.
    world: World,
}

impl<S: System> Client<S> {
    /// Does the planned operations one after the other, none before its time.
    async fn work(self, plan: Arc<TimedPlan<S::Op>>) {
        let mut memory = S::Client::default();
        for (number, planned) in plan.operations_of(self.client).enumerate() {
            let early = Duration::from_millis(planned.at_ms).saturating_sub(self.world.now());
            self.environment.clock().sleep(early).await;
            let session = self.client * SESSIONS_PER_CLIENT + number as u64;
            let op = self
                .recorder
                .called(session, self.system.request(&planned.op));
            let ending = self
                .system
                .call(&self.environment, &mut memory, &planned.op)
                .await;
            self.recorder.ended(session, op, ending);
        }
    }
}
