//! The members of a run: on which machines they run, and what is checked of them from
//! outside.
//!
//! A *site* is a machine with a name, an address and a disk. The sites of the bootstrap members come
//! first, then spare ones, on which nothing runs until a member is installed there. Which
//! member a site has may change; the process of a site without one only waits.

mod invariants;
mod member;
mod moments;
mod names;
mod seen;
mod shared;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::watch;
use tracing::info;
use veridical_node::{DataFormat, Directory, Node, NodeConfig};
use veridical_proto::command::MemberAttributes;
use veridical_proto::etcdserverpb::{HashKvRequest, Member};
use veridical_raft::{NodeId, Role};
use veridical_storage::engine::MemoryEngine;
use veridical_world::{CrashKind, Fault, ProcessExit, ProcessId, SimEnvironment, World};

use crate::cluster::invariants::Invariants;
use crate::cluster::member::{Outside, boot};
use crate::cluster::moments::Moments;
use crate::cluster::names::DATA_DIR;
pub use crate::cluster::names::{client_address, member_name, peer_address, peer_url};
use crate::cluster::seen::Seen;
pub use crate::cluster::shared::Election;
use crate::cluster::shared::{Shared, Site, lock};
use crate::observer::Observer;
use crate::plan::{Moment, Plan};
use crate::properties::finding;
use crate::properties::leases::LeaseDeadlines;
use crate::properties::log_size;
use crate::view::MemberState;
use veridical_harness::recording::Recorder;
use veridical_harness::report::{Class, Finding};

/// The cluster that all members of a run belong to.
pub const CLUSTER_ID: u64 = 0x5eed;

/// The restart of a process takes a moment.
const RESTART_PAUSE: Duration = Duration::from_millis(5);

/// A member that was lost with its machine, as it was.
#[derive(Debug)]
pub struct LostMember {
    /// Its machine.
    pub site: u32,
    config: NodeConfig,
    engine: Option<MemoryEngine>,
}

/// The members of a run, seen from outside.
#[derive(Clone)]
pub struct Cluster {
    world: World,
    observer: Observer,
    processes: Vec<ProcessId>,
    shared: Arc<Mutex<Shared>>,
    elections: Arc<watch::Sender<Election>>,
    moments: Arc<Moments>,
    invariants: Invariants,
    plan: Arc<Plan>,
}

impl Cluster {
    /// Adds the sites to the world and starts the bootstrap members.
    pub fn start(
        world: &World,
        observer: &Observer,
        plan: &Arc<Plan>,
        recorder: Option<Recorder<MemberState>>,
    ) -> Self {
        let moments = Arc::new(Moments::default());
        let invariants = Invariants::new(
            world.clone(),
            observer.clone(),
            Arc::clone(&moments),
            &plan.knobs,
        );
        let sites = (0..plan.sites()).map(|site| {
            let is_bootstrap_member = site < plan.members;
            Site {
                config: is_bootstrap_member.then(|| bootstrap_member(plan, site, &invariants)),
                engine: (is_bootstrap_member && plan.engine).then(MemoryEngine::new),
                format: if plan.previous_format.contains(&site) {
                    DataFormat::Previous
                } else {
                    DataFormat::Current
                },
                stop_asked: false,
                is_used: is_bootstrap_member,
            }
        });
        let shared = Arc::new(Mutex::new(Shared {
            sites: sites.collect(),
            nodes: BTreeMap::new(),
            removals: BTreeSet::new(),
            seen: Seen::default(),
        }));
        let elections = Arc::new(watch::Sender::new(Election::default()));
        let processes = (0..plan.sites())
            .map(|site| {
                let outside = Outside {
                    world: world.clone(),
                    site,
                    shared: Arc::clone(&shared),
                    elections: Arc::clone(&elections),
                    observer: observer.clone(),
                    may_forget: plan.loses_disks(),
                    is_rotten: plan.rotten_member == Some(site),
                    recorder: recorder.clone(),
                };
                world.add_process(&member_name(site), move |environment| {
                    boot(environment, outside.clone())
                })
            })
            .collect();
        Self {
            world: world.clone(),
            observer: observer.clone(),
            processes,
            shared,
            elections,
            moments,
            invariants,
            plan: Arc::clone(plan),
        }
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        lock(&self.shared)
    }

    /// Waits until a member's commit index has risen, or until it has stopped.
    pub async fn commits_something(&self, site: u32) {
        let node = self.shared().nodes.get(&site).cloned();
        let Some(node) = node else { return };
        let mut status = node.watch_status();
        let before = status.borrow().commit_index;
        // A member that has stopped commits nothing more.
        let _ = status.wait_for(|status| status.commit_index > before).await;
    }

    /// Tells of each new leader.
    pub fn elections(&self) -> watch::Receiver<Election> {
        self.elections.subscribe()
    }

    /// Waits for the next such moment. Returns the member.
    pub async fn observes(&self, moment: Moment) -> NodeId {
        self.moments.next(moment).await
    }

    /// The fault that cuts a member off from all others for so long, and from no client.
    pub fn cut(&self, site: u32, duration_ms: u64) -> Fault {
        let others = self.members().into_keys().filter(|other| *other != site);
        Fault::Partition {
            groups: vec![
                vec![self.process(site)],
                others.map(|other| self.process(other)).collect(),
            ],
            duration_ms: Some(duration_ms),
        }
    }

    /// The process of a site.
    pub fn process(&self, site: u32) -> ProcessId {
        self.processes[site as usize]
    }

    /// The sites that have a member, and its id.
    pub fn members(&self) -> BTreeMap<u32, u64> {
        let shared = self.shared();
        let members = shared.sites.iter().zip(0..);
        members
            .filter_map(|(site, number)| Some((number, site.config.as_ref()?.member_id)))
            .collect()
    }

    /// The members that run now, by site.
    pub fn running(&self) -> Vec<(u32, Node<SimEnvironment>)> {
        let shared = self.shared();
        shared
            .nodes
            .iter()
            .filter(|(site, _)| self.world.is_running(self.processes[**site as usize]))
            .map(|(site, node)| (*site, node.clone()))
            .collect()
    }

    /// Installs a member that joins: with an empty disk, told of the members that there
    /// are. Whatever was on the machine is gone.
    pub async fn install(&self, site: u32, id: u64, members: BTreeMap<u64, Member>) {
        self.vacate(site).await;
        {
            let mut shared = self.shared();
            let site_state = &mut shared.sites[site as usize];
            site_state.config = Some(NodeConfig {
                member_id: id,
                initial_members: members,
                join: true,
                ..bootstrap_member(&self.plan, site, &self.invariants)
            });
            site_state.engine = self.plan.engine.then(MemoryEngine::new);
            site_state.is_used = true;
        }
        self.world.restart(self.process(site));
        self.world.sleep(RESTART_PAUSE).await;
    }

    /// Takes a machine out of service and empties its disk.
    pub async fn vacate(&self, site: u32) {
        let was_used = {
            let mut shared = self.shared();
            shared.nodes.remove(&site);
            let site_state = &mut shared.sites[site as usize];
            site_state.config = None;
            site_state.engine = None;
            std::mem::replace(&mut site_state.is_used, false)
        };
        let process = self.process(site);
        if was_used {
            self.world.inject(&Fault::WipeDisk { process });
            self.world.sleep(RESTART_PAUSE).await;
        }
        if !self.world.is_running(process) {
            self.world.restart(process);
            self.world.sleep(RESTART_PAUSE).await;
        }
    }

    /// The version of the data formats that is written on a machine.
    pub fn format(&self, site: u32) -> DataFormat {
        self.shared().sites[site as usize].format
    }

    /// Stops the member of a machine; whoever supervises it starts it again, and from then
    /// on it writes another version of the data formats.
    pub fn reformat(&self, site: u32, format: DataFormat) {
        self.shared().sites[site as usize].format = format;
        self.terminate(site);
    }

    /// Tells the member of a machine to end, as SIGTERM does; whoever supervises it starts it
    /// again.
    pub fn terminate(&self, site: u32) {
        let node = {
            let mut shared = self.shared();
            shared.sites[site as usize].stop_asked = true;
            shared.nodes.get(&site).cloned()
        };
        if let Some(node) = node {
            self.world.spawn(async move {
                node.hand_over().await;
                node.stop();
            });
        }
    }

    /// All members but that of one machine are lost at this moment, with all that is on their disks.
    /// Returns what they were.
    pub async fn lose_all_but(&self, survivor: u32) -> Vec<LostMember> {
        let lost: Vec<LostMember> = {
            let mut shared = self.shared();
            let sites = shared.sites.iter_mut().zip(0..);
            let others = sites.filter(|(_, site)| *site != survivor);
            others
                .filter_map(|(state, site)| {
                    Some(LostMember {
                        site,
                        config: state.config.take()?,
                        engine: state.engine.take(),
                    })
                })
                .collect()
        };
        for member in &lost {
            let process = self.process(member.site);
            self.world.inject(&Fault::KeepDisk { process });
            self.world.inject(&Fault::WipeDisk { process });
            self.expect_removal(member.config.member_id);
        }
        for member in &lost {
            self.vacate(member.site).await;
        }
        lost
    }

    /// Starts the member of a machine anew, so that it goes on alone; the starts after this one are
    /// as usual.
    pub async fn force(&self, site: u32) {
        self.set_force(site, true);
        let process = self.process(site);
        self.world.inject(&Fault::Crash {
            process,
            kind: CrashKind::Kill,
            restart_after_ms: None,
        });
        self.world.sleep(RESTART_PAUSE).await;
        self.world.restart(process);
        self.world.sleep(RESTART_PAUSE).await;
        self.set_force(site, false);
    }

    fn set_force(&self, site: u32, is_forced: bool) {
        let mut shared = self.shared();
        let config = shared.sites[site as usize].config.as_mut();
        config.expect("it has a member").force_new_cluster = is_forced;
    }

    /// Starts a member that was lost on its machine, with the disk that it had.
    pub fn bring_back(&self, member: LostMember) {
        let process = self.process(member.site);
        {
            let mut shared = self.shared();
            let site = &mut shared.sites[member.site as usize];
            (site.config, site.engine) = (Some(member.config), member.engine);
            site.is_used = true;
        }
        self.world.inject(&Fault::RestoreDisk {
            process,
            restart_after_ms: Some(RESTART_PAUSE.as_millis() as u64),
        });
    }

    /// Member `id` may find itself removed from now on.
    pub fn expect_removal(&self, id: u64) {
        self.observer.judge().may_leave(id);
        self.shared().removals.insert(id);
    }

    /// Those of whom that was said.
    pub fn removals(&self) -> BTreeSet<u64> {
        self.shared().removals.clone()
    }

    /// Starts a member again whenever it has ended by itself, as a supervisor would. A
    /// panic is a finding.
    pub async fn supervise(self, site: u32, restart_delay: Duration) {
        let process = self.process(site);
        loop {
            let exit = self.world.exited(process).await;
            info!(member = %member_name(site), %exit, "a member ended");
            if let ProcessExit::Panicked(text) = exit {
                self.observer.report(Finding::new(
                    Class::Crash,
                    "panic",
                    format!("{} panicked: {text}", member_name(site)),
                ));
            }
            self.world.sleep(restart_delay).await;
            if self.world.is_running(process) {
                continue;
            }
            self.world.restart(process);
            // Until it runs the old exit would be seen again.
            self.world.sleep(RESTART_PAUSE).await;
        }
    }

    /// Looks at all members and compares what must agree.
    pub fn compare(&self) {
        for (site, node) in self.running() {
            let finding = self
                .shared()
                .seen
                .has_state(site, node.reader().state_hash());
            if let Some(finding) = finding {
                self.observer.report(finding);
            }
        }
    }

    /// Compares the hashes of the keys that members tell clients (`HashKV`), at a revision that
    /// all of them have.
    pub fn compare_hashes(&self) {
        let running = self.running();
        let revisions = running.iter().map(|(_, node)| node.reader().revision());
        let Some(revision) = revisions.min() else {
            return;
        };
        for (site, node) in running {
            // It may have been compacted here already.
            let Ok(told) = node.hash_kv(&HashKvRequest { revision }) else {
                continue;
            };
            let place = (revision, told.compact_revision);
            let finding = self.shared().seen.has_hash(site, place, told.hash);
            if let Some(finding) = finding {
                self.observer.report(finding);
            }
        }
    }

    /// The latest term that a member is in.
    pub fn term(&self) -> u64 {
        let running = self.running();
        let terms = running.iter().map(|(_, node)| node.raft_status().term);
        terms.max().unwrap_or_default()
    }

    /// Looks at the leases that are left, by what the most advanced member has applied.
    /// Whether there are none.
    pub fn leases_end(&self, deadlines: &mut LeaseDeadlines) -> Result<bool, Finding> {
        let running = self.running();
        let newest = running
            .iter()
            .max_by_key(|(_, node)| node.reader().applied_index());
        let Some((_, node)) = newest else {
            return Ok(false);
        };
        let left: BTreeMap<i64, i64> = node.reader().leases().into_iter().collect();
        // A leader that was deposed ends none, and its successor gives all their time anew.
        if self.is_led() {
            deadlines
                .look(self.world.now(), self.term(), &left)
                .map_err(finding)?;
        }
        Ok(left.is_empty())
    }

    /// Whether a member leads.
    pub fn is_led(&self) -> bool {
        let running = self.running();
        let mut roles = running.iter().map(|(_, node)| node.raft_status().role);
        roles.any(|role| role == Role::Leader)
    }

    /// Whether all members run and have applied the same index; but for the one whose disk
    /// decays, which may be down for good.
    pub fn is_level(&self) -> bool {
        let rotten = self.plan.rotten_member;
        let mut running = self.running();
        running.retain(|(site, _)| Some(*site) != rotten);
        let expected = self.members().into_keys();
        let expected = expected.filter(|site| Some(*site) != rotten).count();
        let first = running
            .first()
            .map(|(_, node)| node.reader().applied_index());
        running.len() == expected
            && running
                .iter()
                .all(|(_, node)| Some(node.reader().applied_index()) == first)
    }

    /// Whether all members run, know the same members, and these are the ones that run, with
    /// the names and client addresses that they tell of themselves; but for the one whose disk
    /// decays, which only has to be among them.
    pub fn agrees_on_members(&self) -> bool {
        let rotten = self.plan.rotten_member;
        let mut running = self.running();
        running.retain(|(site, _)| Some(*site) != rotten);
        let members = self.members();
        let expected = members.keys().filter(|site| Some(**site) != rotten).count();
        let ids: BTreeSet<u64> = members.values().copied().collect();
        let names_them = |directory: &Directory| {
            directory.iter().map(|(id, _)| id).collect::<BTreeSet<_>>() == ids
        };
        let first = running.first().map(|(_, node)| node.directory());
        let knows_of = |node: &Node<SimEnvironment>| {
            let config = node.config();
            let known = first.as_ref().and_then(|list| list.get(config.member_id));
            // Earlier programs tell nothing.
            config.data_format == DataFormat::Previous
                || known.is_some_and(|known| {
                    known.name == config.attributes.name
                        && known.client_ur_ls == config.attributes.client_urls
                })
        };
        running.len() == expected
            && running.iter().all(|(_, node)| knows_of(node))
            && first.as_ref().is_some_and(names_them)
            && running
                .iter()
                .all(|(_, node)| Some(node.directory()) == first)
    }

    /// Members whose logs are longer than their bound, with both; but for the one whose disk decays,
    /// which may be down for good.
    pub fn logs_too_long(&self) -> Vec<(NodeId, u64, u64)> {
        let mut running = self.running();
        running.retain(|(site, _)| Some(*site) != self.plan.rotten_member);
        let logs = running.iter().map(|(_, node)| {
            let state_bytes = match self.plan.engine {
                true => 0,
                false => node.reader().size_bytes(),
            };
            let member = node.member_id();
            let bytes_max = log_size::bytes_max(&self.plan.knobs, state_bytes);
            (member, self.invariants.log_bytes(member), bytes_max)
        });
        logs.filter(|(_, bytes, bytes_max)| bytes > bytes_max)
            .collect()
    }

    /// What the members are doing, for a report.
    pub fn describe(&self) -> String {
        let mut text = String::new();
        for site in 0..self.processes.len() as u32 {
            let name = member_name(site);
            let (node, id) = {
                let shared = self.shared();
                let config = shared.sites[site as usize].config.as_ref();
                let id = config.map(|config| config.member_id);
                (shared.nodes.get(&site).cloned(), id)
            };
            let runs = self.world.is_running(self.process(site));
            match (node, id) {
                (_, None) => text.push_str(&format!("\n  {name}: no member")),
                (Some(node), Some(id)) if runs => {
                    let status = node.raft_status();
                    let members: Vec<_> = node.directory().iter().map(|(id, _)| id).collect();
                    text.push_str(&format!(
                        "\n  {name}: member {id:x}, {:?} of term {}, leader {:x?}, log {}, \
                         commit {}, applied {}, revision {}, members {members:x?}",
                        status.role,
                        status.term,
                        status.leader,
                        status.last_index,
                        status.commit_index,
                        node.reader().applied_index(),
                        node.reader().revision(),
                    ));
                }
                (_, Some(id)) => text.push_str(&format!("\n  {name}: member {id:x}, down")),
            }
        }
        text
    }
}

fn bootstrap_member(plan: &Plan, site: u32, invariants: &Invariants) -> NodeConfig {
    let initial_members = (0..plan.members)
        .map(|site| {
            let id = u64::from(site) + 1;
            let member = Member {
                id,
                name: member_name(site),
                peer_ur_ls: vec![peer_url(site)],
                ..Member::default()
            };
            (id, member)
        })
        .collect();
    NodeConfig {
        member_id: u64::from(site) + 1,
        cluster_id: CLUSTER_ID,
        initial_members,
        attributes: attributes(site),
        join: false,
        force_new_cluster: false,
        data_dir: DATA_DIR.into(),
        listen_peer_address: peer_address(site),
        limits: plan.knobs.clone(),
        data_format: DataFormat::default(),
        planted: plan.planted(),
        observer: Some(invariants.watching(
            ProcessId(site),
            plan.rotten_member == Some(site) && plan.disk_decays(),
        )),
    }
}

/// What the member of a site tells of itself.
fn attributes(site: u32) -> MemberAttributes {
    MemberAttributes {
        name: member_name(site),
        client_urls: vec![format!("http://{}", client_address(site))],
    }
}

#[cfg(test)]
mod tests {
    use crate::swarm::FAILPOINTS;

    #[test]
    fn the_swarm_crashes_members_at_every_failpoint_of_the_store() {
        let of_the_store: Vec<&str> = veridical_probe::failpoints().into_keys().collect();
        assert_eq!(of_the_store, FAILPOINTS);
    }
}
