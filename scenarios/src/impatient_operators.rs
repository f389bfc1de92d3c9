//! Carries out the calls of operators who are many, impatient and wrong; see
//! [`impatience`](crate::impatience).

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use veridical_client::CallError;
use veridical_harness::report::{Class, Finding};
use veridical_node::Directory;
use veridical_proto::etcdserverpb as api;
use veridical_proto::native::request::Body as Ask;
use veridical_proto::native::response::Body as Answer;
use veridical_world::{SimEnvironment, World};

use crate::cluster::{Cluster, peer_url};

use crate::observer::Observer;
use crate::operator::ask_member;
use crate::plan::{AdminCall, HastyCall, Plan, Who, Whom};

/// The id of a member that there never was.
const NOBODY: u64 = 0x000b_ad1d;

/// What a leader answers whose hand-over comes to nothing.
const TIMED_OUT: &str = "etcdserver: request timed out";

/// Many operators, who share a machine.
#[derive(Clone)]
pub struct ImpatientOperators {
    world: World,
    cluster: Cluster,
    observer: Observer,
    environment: SimEnvironment,
    plan: Arc<Plan>,
    /// Newcomers that were ever started: none of them is started anew on an empty disk.
    started: Arc<Mutex<BTreeSet<u64>>>,
}

impl ImpatientOperators {
    /// Operators who work from the machine of `environment`.
    pub fn new(
        world: World,
        cluster: Cluster,
        observer: Observer,
        environment: SimEnvironment,
        plan: Arc<Plan>,
    ) -> Self {
        Self {
            world,
            cluster,
            observer,
            environment,
            plan,
            started: Arc::default(),
        }
    }

    /// Makes each call at its time, whatever has become of those before.
    pub async fn run(self) {
        let plan = Arc::clone(&self.plan);
        for hasty in &plan.hasty {
            let left = Duration::from_millis(hasty.at_ms).saturating_sub(self.world.now());
            if !left.is_zero() {
                self.world.sleep(left).await;
            }
            let operator = self.clone();
            self.world.spawn(operator.make(hasty.clone()));
        }
    }

    /// Makes one call, whatever comes of it.
    pub async fn make(self, hasty: HastyCall) {
        let site = match hasty.asked {
            Who::Leader => self.cluster.elections().borrow().leader,
            Who::Site(site) => site,
        };
        let directory = self.directory(site);
        let ask = match hasty.call {
            AdminCall::Add {
                machine,
                is_learner,
            } => Ask::MemberAdd(api::MemberAddRequest {
                peer_ur_ls: vec![peer_url(machine)],
                is_learner,
            }),
            AdminCall::Remove { whom } => {
                let id = self.resolve(whom, &directory);
                self.cluster.expect_removal(id);
                Ask::MemberRemove(api::MemberRemoveRequest { id })
            }
            AdminCall::Promote { whom } => Ask::MemberPromote(api::MemberPromoteRequest {
                id: self.resolve(whom, &directory),
            }),
            AdminCall::HandOver { whom } => Ask::MoveLeader(api::MoveLeaderRequest {
                target_id: self.resolve(whom, &directory),
            }),
            AdminCall::Start { machine } => return self.start(machine, &directory).await,
        };
        let target = match &ask {
            Ask::MoveLeader(hand_over) => Some(hand_over.target_id),
            _ => None,
        };
        let is_no_voter = |id| self.is_no_voter(site, id);
        let was_no_voter = target.is_some_and(is_no_voter);
        let patience = Duration::from_millis(hasty.patience_ms);
        let answer = ask_member(&self.environment, &self.observer, site, ask, patience).await;
        // Learners become voters, and never the other way round.
        if let Some(id) = target
            && was_no_voter
            && is_no_voter(id)
        {
            self.check_hand_over(id, &answer);
        }
        self.observer.count(match &answer {
            Ok(_) => "membership.hasty_call_carried_out",
            Err(CallError::Refused { .. }) => "membership.hasty_call_refused",
            Err(CallError::Unknown(_)) => "membership.hasty_call_given_up",
            Err(CallError::Unavailable(_)) => "membership.hasty_call_to_nobody",
        });
        if let Ok(Answer::MemberAdd(answer)) = answer {
            self.check(&answer.members);
        }
    }

    /// The members as one of them knows them.
    fn directory(&self, site: u32) -> Directory {
        let running = self.cluster.running();
        let asked = running.into_iter().find(|(of, _)| *of == site);
        asked.map_or_else(Directory::default, |(_, node)| node.directory())
    }

    /// Whether a member knows that the id is a learner's, or it is nobody's at all.
    fn is_no_voter(&self, site: u32, id: u64) -> bool {
        let directory = self.directory(site);
        let member = directory.get(id);
        [0, NOBODY].contains(&id) || member.is_some_and(|member| member.is_learner)
    }

    fn is_bootstrap_member(&self, id: u64) -> bool {
        (1..=u64::from(self.plan.members)).contains(&id)
    }

    fn resolve(&self, whom: Whom, directory: &Directory) -> u64 {
        match whom {
            Whom::BootstrapMember(site) => u64::from(site) + 1,
            Whom::Newcomer(number) => {
                let ids = directory.iter().map(|(id, _)| id);
                let newcomers: Vec<u64> = ids.filter(|id| !self.is_bootstrap_member(*id)).collect();
                match newcomers.len() {
                    0 => NOBODY,
                    count => newcomers[number as usize % count],
                }
            }
            Whom::Nobody => NOBODY,
            Whom::Zero => 0,
        }
    }

    /// Starts the newcomer that belongs on a machine which nobody uses.
    async fn start(&self, machine: u32, directory: &Directory) {
        if machine >= self.plan.sites() || self.cluster.members().contains_key(&machine) {
            return;
        }
        let url = peer_url(machine);
        let added = directory.iter().find(|(id, member)| {
            !self.is_bootstrap_member(*id) && member.peer_ur_ls.contains(&url)
        });
        let Some((id, _)) = added else { return };
        if !self.started().insert(id) {
            return;
        }
        self.observer.count("membership.newcomer_started");
        let members = directory.iter().map(|(id, member)| (id, member.clone()));
        self.cluster.install(machine, id, members.collect()).await;
    }

    fn started(&self) -> std::sync::MutexGuard<'_, BTreeSet<u64>> {
        self.started
            .lock()
            .expect("no panic while the started newcomers are locked")
    }

    /// A leader never tries to hand over to who is no voter: meanwhile it would serve nobody.
    fn check_hand_over(&self, id: u64, answer: &Result<Answer, CallError>) {
        let was_tried = match answer {
            Ok(_) => true,
            Err(CallError::Unknown(text)) => text.contains(TIMED_OUT),
            Err(CallError::Refused { message, .. }) => message.contains(TIMED_OUT),
            Err(CallError::Unavailable(_)) => false,
        };
        if was_tried {
            let text =
                format!("leadership is handed over to {id:x}, which is no voter: {answer:?}");
            self.observer.report(Finding::new(
                Class::Violation,
                "handed-over-to-no-voter",
                text,
            ));
        }
    }

    /// What etcd never lets come about, whatever is asked for: two voters that have not
    /// started, and more learners than are allowed.
    fn check(&self, members: &[api::Member]) {
        let (learners, voters): (Vec<_>, Vec<_>) =
            members.iter().partition(|member| member.is_learner);
        let started = self.started();
        let silent = voters
            .iter()
            .filter(|voter| !self.is_bootstrap_member(voter.id) && !started.contains(&voter.id));
        let silent = silent.count();
        if silent > 1 {
            let text = format!("{silent} voters have not started: {members:x?}");
            self.observer.report(Finding::new(
                Class::Violation,
                "voters-that-never-started",
                text,
            ));
        }
        if learners.len() > self.plan.knobs.max_learners {
            let text = format!("{} learners: {members:x?}", learners.len());
            self.observer
                .report(Finding::new(Class::Violation, "too-many-learners", text));
        }
    }
}
