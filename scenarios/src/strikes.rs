//! What is done at observed moments: see [`Strike`].

use std::sync::Arc;
use std::time::Duration;
use veridical_raft::NodeId;
use veridical_world::{CrashKind, Fault, World};

use crate::cluster::Cluster;
use crate::impatient_operators::ImpatientOperators;
use crate::observer::Observer;
use crate::plan::{Act, HastyCall, Plan, Strike, Who, Whose};

/// After so many ms an operator who came in between gives up.
const PATIENCE_MS: u64 = 1_000;

/// Waits for the moments of a plan until its faults end.
#[derive(Clone)]
pub struct Strikes {
    /// The world of the run.
    pub world: World,
    /// Its members.
    pub cluster: Cluster,
    /// What is told of it.
    pub observer: Observer,
    /// Who asks, if the plan has such operators.
    pub operators: Option<ImpatientOperators>,
    /// The plan.
    pub plan: Arc<Plan>,
}

impl Strikes {
    /// Each strike waits for its moment by itself.
    pub fn start(self) {
        for strike in self.plan.strikes.clone() {
            self.world.spawn(self.clone().strike(strike));
        }
    }

    async fn strike(self, strike: Strike) {
        let wait = Duration::from_millis(strike.from_ms).saturating_sub(self.world.now());
        if !wait.is_zero() {
            self.world.sleep(wait).await;
        }
        let member = self.cluster.observes(strike.moment).await;
        if strike.after_us > 0 {
            self.world
                .sleep(Duration::from_micros(strike.after_us))
                .await;
        }
        // What is asked for has to be over when the faults end.
        if self.world.now() + Duration::from_millis(PATIENCE_MS) >= self.plan.heal_at() {
            return;
        }
        let Some(fault) = self.fault(&strike.act, member) else {
            return self.ask(strike.act);
        };
        self.observer.count("moments.struck");
        self.world.inject(&fault);
    }

    fn fault(&self, act: &Act, member: NodeId) -> Option<Fault> {
        let site = |whose: Whose| {
            let members = self.cluster.members();
            let own = members.iter().find(|(_, id)| **id == member);
            match (whose, own) {
                (Whose::Own, Some((site, _))) => *site,
                (Whose::Own, None) | (Whose::Leader, _) => self.cluster.elections().borrow().leader,
            }
        };
        match *act {
            Act::Cut { whose, duration_ms } => Some(self.cluster.cut(site(whose), duration_ms)),
            Act::Crash {
                whose,
                restart_after_ms,
            } => Some(Fault::Crash {
                process: self.cluster.process(site(whose)),
                kind: CrashKind::PowerLoss,
                restart_after_ms: Some(restart_after_ms),
            }),
            Act::Hold {
                whose,
                task,
                duration_ms,
            } => Some(Fault::HoldTask {
                process: self.cluster.process(site(whose)),
                task,
                duration_ms: Some(duration_ms),
            }),
            Act::Ask { .. } => None,
        }
    }

    fn ask(self, act: Act) {
        if let (Act::Ask { call }, Some(operators)) = (act, self.operators) {
            self.observer.count("moments.asked");
            let call = HastyCall {
                at_ms: 0,
                asked: Who::Leader,
                call,
                patience_ms: PATIENCE_MS,
            };
            self.world.spawn(operators.make(call));
        }
    }
}
