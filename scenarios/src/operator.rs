//! The operator: changes the membership of the cluster while other things go on, by the
//! same calls as anybody, and looks at the list of members when an outcome is unknown.
//!
//! It does one thing after the other and each to its end, so at most one voter at a time
//! is without its disk or not yet started. What it was told, it holds the cluster to: a
//! member that was added stays until it is removed, and a removed one never comes back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use veridical_client::{CallError, Connection};
use veridical_env::{Clock, Environment};
use veridical_node::DataFormat;
use veridical_proto::etcdserverpb as api;
use veridical_proto::native::request::Body as Ask;
use veridical_proto::native::response::Body as Answer;
use veridical_world::{CrashKind, Fault, SimEnvironment, World};

use crate::cluster::{Cluster, client_address, peer_url};
use crate::membership_model::MembershipModel;
use crate::observer::Observer;
use crate::plan::{Change, Plan, Who};
use veridical_harness::report::{Class, Finding};

/// Connecting to a member.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(800);

/// One call.
const CALL_TIMEOUT: Duration = Duration::from_secs(6);

/// Between two looks at the list of members.
const PAUSE: Duration = Duration::from_millis(200);

/// A removal or a wipe leaves at least this many voters whose disks are sound. With fewer
/// nobody could fail any more.
const VOTERS_LEFT_MIN: usize = 2;

/// What is to become of a machine.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Goal {
    /// It has a member that votes.
    Votes,
    /// It has none that belongs to the cluster.
    Free,
}

/// Changes the membership.
pub struct Operator {
    world: World,
    cluster: Cluster,
    observer: Observer,
    environment: SimEnvironment,
    plan: Arc<Plan>,
    membership: MembershipModel,
    /// Members that were ever started.
    started: BTreeSet<u64>,
    /// For how long the leader is to be cut off when it is asked for the next thing.
    cut_leader_ms: Option<u64>,
    /// The machine that is asked first: the one that answered last, or the one after it
    /// if it did not.
    site: u32,
}

impl Operator {
    /// An operator who works from the machine of `environment`.
    pub fn new(
        world: World,
        cluster: Cluster,
        observer: Observer,
        environment: SimEnvironment,
        plan: Arc<Plan>,
    ) -> Self {
        let bootstrap_members: BTreeSet<u64> = cluster.members().into_values().collect();
        Self {
            world,
            cluster,
            observer,
            environment,
            plan,
            membership: MembershipModel::new(bootstrap_members.iter().copied()),
            started: bootstrap_members,
            cut_leader_ms: None,
            site: 0,
        }
    }

    /// Does what is planned. After the heal nothing new is begun, and everything is
    /// brought in order.
    pub async fn run(mut self) {
        let plan = Arc::clone(&self.plan);
        for planned in &plan.changes {
            self.sleep_until(Duration::from_millis(planned.at_ms)).await;
            if self.world.now() >= plan.heal_at() {
                break;
            }
            self.cut_leader_ms = planned.cut_leader_ms;
            self.execute(&planned.change).await;
            self.cut_leader_ms = None;
        }
        self.sleep_until(plan.heal_at() + PAUSE).await;
        self.settle().await;
    }

    async fn sleep_until(&self, at: Duration) {
        let left = at.saturating_sub(self.world.now());
        if !left.is_zero() {
            self.world.sleep(left).await;
        }
    }

    fn site_of(&self, member: &api::Member) -> Option<u32> {
        (0..self.plan.sites()).find(|site| member.peer_ur_ls.contains(&peer_url(*site)))
    }

    fn resolve(&self, who: Who) -> u32 {
        match who {
            Who::Leader => self.cluster.elections().borrow().leader,
            Who::Site(site) => site,
        }
    }

    /// The voters by machine.
    async fn voters(&mut self) -> BTreeMap<u32, u64> {
        let list = self.member_list().await;
        let voters = list.iter().filter(|member| !member.is_learner);
        voters
            .filter_map(|member| Some((self.site_of(member)?, member.id)))
            .collect()
    }

    async fn execute(&mut self, change: &Change) {
        if let Change::Reformat { site, previous } = *change {
            return self.reformat(site, previous);
        }
        if let Change::HandOver { to } = *change {
            return self.hand_over(to).await;
        }
        if let Change::Terminate { who } = *change {
            self.observer.count("upgrade.told_to_end");
            return self.cluster.terminate(self.resolve(who));
        }
        let voters = self.voters().await;
        let has_member = |site: &u32| self.cluster.members().contains_key(site);
        let may_lose_one = |site: &u32| {
            voters.contains_key(site) && has_member(site) && voters.len() > VOTERS_LEFT_MIN
        };
        match *change {
            Change::Join { site } => {
                if voters.contains_key(&site) {
                    return;
                }
                self.observer.count("membership.join");
                self.bring(site, Goal::Votes).await;
            }
            Change::Trial { site, learns_ms } => {
                if voters.contains_key(&site) || has_member(&site) {
                    return;
                }
                self.observer.count("membership.trial");
                self.trial(site, learns_ms).await;
            }
            Change::Leave { who, power_off } => {
                let site = self.resolve(who);
                if may_lose_one(&site) {
                    self.leave(who, site, power_off).await;
                }
            }
            Change::Replace {
                who,
                by,
                cut_ms,
                add_first,
            } => {
                let site = self.resolve(who);
                if voters.contains_key(&by) || by == site || !may_lose_one(&site) {
                    return;
                }
                self.isolate_for_replacement(site, cut_ms);
                if add_first {
                    self.bring(by, Goal::Votes).await;
                    self.bring(site, Goal::Free).await;
                } else {
                    self.bring(site, Goal::Free).await;
                    self.bring(by, Goal::Votes).await;
                }
            }
            Change::Reformat { .. } | Change::HandOver { .. } | Change::Terminate { .. } => {}
            Change::Wipe { who } => {
                let site = self.resolve(who);
                if !may_lose_one(&site) {
                    return;
                }
                self.observer.count("membership.wipe");
                self.cluster.vacate(site).await;
                self.bring(site, Goal::Votes).await;
            }
        }
    }

    /// Has a voter leave the cluster, of which the machine may have lost power before.
    async fn leave(&mut self, who: Who, site: u32, power_off: bool) {
        if power_off {
            self.power_off(site);
        }
        self.observer.count(match (who, power_off) {
            (_, true) => "membership.leave_of_one_that_is_down",
            (Who::Leader, false) => "membership.leave_of_the_leader",
            (Who::Site(_), false) => "membership.leave",
        });
        self.bring(site, Goal::Free).await;
    }

    /// Cuts off who is about to be replaced, if that is planned.
    fn isolate_for_replacement(&self, site: u32, cut_ms: Option<u64>) {
        let Some(cut_ms) = cut_ms else {
            return self.observer.count("membership.replace");
        };
        self.world.inject(&Fault::Isolate {
            process: self.cluster.process(site),
            duration_ms: Some(cut_ms),
        });
        self.observer.count("membership.replace_during_a_partition");
    }

    fn reformat(&self, site: u32, previous: bool) {
        let (format, name) = if previous {
            (DataFormat::Previous, "upgrade.back_to_previous_format")
        } else {
            (DataFormat::Current, "upgrade.to_current_format")
        };
        self.observer.count(name);
        self.cluster.reformat(site, format);
    }

    /// Has a member learn on a machine for a while.
    async fn trial(&mut self, site: u32, learns_ms: u64) {
        self.cluster.vacate(site).await;
        self.add(site).await;
        let list = self.member_list().await;
        let url = peer_url(site);
        let added = list.iter().find(|member| member.peer_ur_ls.contains(&url));
        if let Some(member) = added {
            let members = list.iter().map(|member| (member.id, member.clone()));
            self.started.insert(member.id);
            self.cluster
                .install(site, member.id, members.collect())
                .await;
            self.world.sleep(Duration::from_millis(learns_ms)).await;
        }
        self.bring(site, Goal::Free).await;
    }

    /// Has leadership handed over; whoever cannot have it does not get it.
    async fn hand_over(&mut self, to: u32) {
        let Some(target_id) = self.cluster.members().get(&to).copied() else {
            return;
        };
        let request = Ask::MoveLeader(api::MoveLeaderRequest { target_id });
        let is_done = self.ask(request).await.is_ok();
        self.observer.count(if is_done {
            "membership.leadership_handed_over"
        } else {
            "membership.leadership_kept"
        });
    }

    /// Cuts the leader off from the other members, if that is planned, and turns to it.
    fn cut_leader(&mut self) {
        let Some(cut_ms) = self.cut_leader_ms.take() else {
            return;
        };
        let leader = self.resolve(Who::Leader);
        self.observer.count("membership.asked_of_a_leader_cut_off");
        self.world.inject(&self.cluster.cut(leader, cut_ms));
        self.site = leader;
    }

    fn power_off(&self, site: u32) {
        self.world.inject(&Fault::Crash {
            process: self.cluster.process(site),
            kind: CrashKind::PowerLoss,
            restart_after_ms: None,
        });
    }

    /// Does the next thing that is missing, until the machine is as it shall be.
    async fn bring(&mut self, site: u32, goal: Goal) {
        loop {
            let list = self.member_list().await;
            let url = peer_url(site);
            let here = list.iter().find(|member| member.peer_ur_ls.contains(&url));
            let installed = self.cluster.members().get(&site).copied();
            match (goal, here) {
                (Goal::Free, None) => return,
                (Goal::Free, Some(member)) => self.remove(member.id).await,
                (Goal::Votes, None) => {
                    // Whoever was here before belongs to nobody any more.
                    self.cluster.vacate(site).await;
                    self.add(site).await;
                }
                (Goal::Votes, Some(member)) if installed == Some(member.id) => {
                    if !member.is_learner {
                        return;
                    }
                    self.promote(member.id).await;
                }
                // Its disk is gone: what it promised is forgotten.
                (Goal::Votes, Some(member)) if self.started.contains(&member.id) => {
                    self.remove(member.id).await;
                }
                (Goal::Votes, Some(member)) => {
                    let members = list.iter().map(|member| (member.id, member.clone()));
                    self.started.insert(member.id);
                    self.cluster
                        .install(site, member.id, members.collect())
                        .await;
                }
            }
            self.world.sleep(PAUSE).await;
        }
    }

    /// Brings everything in order: whoever is in the list runs and votes, nobody else has a
    /// machine, and who was added under the address of none is removed.
    async fn settle(&mut self) {
        loop {
            let list = self.member_list().await;
            let listed: BTreeMap<u32, u64> = list
                .iter()
                .filter_map(|member| Some((self.site_of(member)?, member.id)))
                .collect();
            for (site, id) in self.cluster.members() {
                if listed.get(&site) != Some(&id) {
                    self.cluster.vacate(site).await;
                }
            }
            if let Some(nowhere) = list.iter().find(|member| self.site_of(member).is_none()) {
                self.remove(nowhere.id).await;
                self.world.sleep(PAUSE).await;
                continue;
            }
            let installed = self.cluster.members();
            let unfinished = list.iter().find_map(|member| {
                let site = self.site_of(member)?;
                let is_done = !member.is_learner && installed.get(&site) == Some(&member.id);
                (!is_done).then_some(site)
            });
            match unfinished {
                None => return,
                Some(site) => self.bring(site, Goal::Votes).await,
            }
        }
    }

    /// After the faults, where members were added, every machine goes on with the current version.
    /// The previous one does not say in its greetings where it is reached, so a member that was
    /// away when others were added or replaced cannot answer such a leader and never catches up.
    fn finish_upgrade(&self) {
        let has_added_any = self.started.len() > self.plan.members as usize;
        if !has_added_any || self.world.now() < self.plan.heal_at() {
            return;
        }
        for site in 0..self.plan.sites() {
            if self.cluster.format(site) == DataFormat::Previous {
                self.reformat(site, false);
            }
        }
    }

    async fn add(&mut self, site: u32) {
        let request = api::MemberAddRequest {
            peer_ur_ls: vec![peer_url(site)],
            is_learner: true,
        };
        self.cut_leader();
        if let Ok(Answer::MemberAdd(answer)) = self.ask(Ask::MemberAdd(request)).await
            && let Some(member) = answer.member
        {
            self.observer.count("membership.added");
            self.membership.added(member.id);
        }
    }

    async fn remove(&mut self, id: u64) {
        self.membership.leaves(id);
        self.cluster.expect_removal(id);
        let request = Ask::MemberRemove(api::MemberRemoveRequest { id });
        self.cut_leader();
        if self.ask(request).await.is_ok() {
            self.observer.count("membership.removed");
            self.membership.removed(id);
        }
    }

    async fn promote(&mut self, id: u64) {
        let request = Ask::MemberPromote(api::MemberPromoteRequest { id });
        self.cut_leader();
        match self.ask(request).await {
            Ok(_) => self.observer.count("membership.promoted"),
            Err(_) => self.observer.count("membership.promotion_refused"),
        }
    }

    /// The members, as of now.
    async fn member_list(&mut self) -> Vec<api::Member> {
        let request = api::MemberListRequest { linearizable: true };
        loop {
            if let Ok(Answer::MemberList(list)) = self.ask(Ask::MemberList(request)).await {
                for id in self.cluster.removals() {
                    self.membership.may_leave(id);
                }
                let ids = list.members.iter().map(|member| member.id).collect();
                if let Some(text) = self.membership.listed(&ids) {
                    self.observer
                        .report(Finding::new(Class::Violation, "member-list", text));
                }
                return list.members;
            }
            self.world.sleep(PAUSE).await;
        }
    }

    /// Asks one member after the other, until one does it or may have done it.
    async fn ask(&mut self, ask: Ask) -> Result<Answer, CallError> {
        // Whatever is asked for may wait for this, also what was begun before the heal.
        self.finish_upgrade();
        let sites: Vec<u32> = self.cluster.members().into_keys().collect();
        let first = sites.iter().position(|site| *site >= self.site);
        let order = sites.iter().cycle().skip(first.unwrap_or(0));
        let mut last = CallError::Unavailable("there is no member".to_owned());
        for site in order.take(sites.len()) {
            match self.ask_at(*site, ask.clone()).await {
                Ok(answer) => {
                    self.site = *site;
                    return Ok(answer);
                }
                Err(error @ CallError::Unknown(_)) => {
                    self.site = site + 1;
                    return Err(error);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn ask_at(&self, site: u32, ask: Ask) -> Result<Answer, CallError> {
        ask_member(&self.environment, &self.observer, site, ask, CALL_TIMEOUT).await
    }
}

/// Asks one member for one thing, and gives up after a while.
pub(crate) async fn ask_member(
    environment: &SimEnvironment,
    observer: &Observer,
    site: u32,
    ask: Ask,
    patience: Duration,
) -> Result<Answer, CallError> {
    let (network, clock) = (environment.network(), environment.clock());
    let address = client_address(site);
    let (connection, _watches) =
        Connection::open(network, clock, &address, CONNECT_TIMEOUT).await?;
    let asked = observer.judge().asks(Some(site));
    let result = tokio::select! {
        biased;
        result = connection.call(ask.clone()) => result,
        () = clock.sleep(patience) => {
            Err(CallError::Unknown("no answer in time".to_owned()))
        }
    };
    observer.judged(&asked, &ask, result)
}
