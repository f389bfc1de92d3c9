//! One run: the plan carried out in the simulated world, and everything checked.

use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;
use veridical_checkers::etcd::EtcdOptions;
use veridical_client::record;
use veridical_client::{CallError, Client, ClientConfig, Pipelined};
use veridical_env::Environment;
use veridical_harness::recording::Recorder;
use veridical_harness::report::{Class, Finding};
use veridical_harness::run::{Conditions, Keep, Limits, Observed, Run, Settings};
use veridical_harness::simulate::{simulate, stop_at};
use veridical_harness::timed_fault::{inject_at_times, sleep_until};
use veridical_histories::etcd::EtcdEvent;
use veridical_proto::etcdserverpb as api;
use veridical_proto::native::request::Body as Ask;
use veridical_proto::native::response::Body as Answer;
use veridical_world::{CrashKind, Fault, SimClock, SimEnvironment, SimNetwork, World};

use crate::about::ABOUT;
use crate::accounting::Accounts;
use crate::api::examiner::Examiner;
use crate::api::judge::Judge;
use crate::batch_callers::BatchCallers;
use crate::cluster::{CLUSTER_ID, Cluster, client_address};
use crate::forgery::forge;
use crate::impatient_operators::ImpatientOperators;
use crate::keyspace::key;
use crate::knobs;
use crate::leader_nemesis::follow_elections;
use crate::lease_keepers::LeaseKeepers;
use crate::lock_holders::LockHolders;
use crate::observer::Observer;
use crate::operator::Operator;
use crate::plan::{Plan, WatcherPlan};
use crate::progress::{BUSY_KEY, ProgressProbe};
use crate::properties::finding;
use crate::properties::leases::{LeaseBound, LeaseDeadlines, RemainingTime};
use crate::service::watch_service;
use crate::sessions::{PROBE_CLIENT, PROBE_NAME, WATCHER_CLIENT, host_name, watcher_name};
use crate::sharded_callers::ShardedCallers;
use crate::strangers;
use crate::strikes::Strikes;
use crate::survivor::Survivor;
use crate::view::MemberState;
use crate::watching::{Reached, run_watcher};
use crate::workload::{Host, run_host};

/// How often members are compared.
const COMPARE_PERIOD: Duration = Duration::from_secs(2);

/// After so many comparisons the hashes that members tell clients are compared, too.
const HASH_EVERY: u32 = 4;

/// How often the end conditions are looked at.
const POLL_PERIOD: Duration = Duration::from_millis(50);

/// How long after the heal clients, and those who keep leases alive, may take for what they planned.
const CLIENTS_BOUND: Duration = Duration::from_secs(240);

/// How long after the heal the operator may take to bring the membership in order: each
/// of its calls may wait for an answer that does not come.
const OPERATOR_BOUND: Duration = Duration::from_secs(60);

/// One request of the probe with its retries.
const PROBE_TIMEOUT: Duration = Duration::from_secs(8);

/// How often the leases that are left are looked at.
const LEASE_POLL_PERIOD: Duration = Duration::from_millis(100);

/// From when an expired lease is found until its end has to be applied, in a cluster
/// without faults: a few round trips and synchronisations.
const LEASE_END_SLACK: Duration = Duration::from_millis(1_500);

/// How long their end is waited for: where no leader lasts, each gives leases their time anew.
const LEASES_WAIT_MAX: Duration = Duration::from_secs(240);

/// Keys that the probe writes, beside the last ones of watchers.
const PROBED_KEYS_MAX: u32 = 32;

/// The lease of the probe.
const PROBE_LEASE: i64 = 1;

/// Its time to live, in seconds.
const PROBE_LEASE_TTL_S: i64 = 3;

/// How long the probe waits before it asks how long its lease lasts.
const PROBE_LEASE_PAUSE: Duration = Duration::from_millis(1_100);

/// Answers that may wait until a watcher or a read tells who wrote a revision: as many
/// as a run has, since under faults the outcome of many operations is unknown at once.
const EVIDENCE_PATIENCE: usize = 1 << 14;

/// Explanations of unseen revisions that are followed at once. More than the default: a
/// run is short, and its watchers may have missed what was compacted.
const HYPOTHESES_MAX: usize = 16_384;

/// With fewer, nothing that they differ in is given up.
const DISTINCT_HYPOTHESES_MAX: usize = 4_096;

/// A client of the probe.
type ProbeClient = Client<Pipelined<SimNetwork>, SimClock>;

/// Carries a plan out.
pub fn run(plan: &Plan, settings: Settings) -> Run<EtcdEvent, MemberState> {
    let conditions = Conditions {
        network: plan.network,
        disk: plan.disk,
        schedule: plan.schedule.clone(),
        nodes: plan.members,
        knobs: knobs::changed(&plan.knobs),
        decode: crate::view::decode,
    };
    let (keep, limits, until) = (settings.keep, settings.limits, settings.until);
    let shared = Arc::new(plan.clone());
    #[cfg(test)]
    let traffic = crate::api::traffic::SharedTraffic::of_this_thread();
    simulate(ABOUT, plan, conditions, settings, |world, recorder| {
        #[cfg(test)]
        traffic.take_over();
        drive(world, shared, (keep, limits), recorder, until)
    })
}

/// Carries the plan out until its end, a finding, or the time at which to stop; then says
/// what the members are doing.
async fn drive(
    world: World,
    plan: Arc<Plan>,
    (keep, limits): (Keep, Limits),
    recorder: Option<Recorder<MemberState>>,
    until: Option<Duration>,
) -> Observed<EtcdEvent> {
    let options = EtcdOptions {
        lease_tolerance_ns: lease_tolerance_ns(&plan),
        evidence_patience: EVIDENCE_PATIENCE,
        hypotheses_max: limits.of(HYPOTHESES_MAX),
        distinct_hypotheses_max: limits.of(DISTINCT_HYPOTHESES_MAX),
        ..EtcdOptions::default()
    };
    let judge = Judge::new(CLUSTER_ID, plan.members, plan.knobs.clone());
    let observer = Observer::new(world.clone(), options, judge, keep);
    let cluster = Cluster::start(&world, &observer, &plan, recorder);
    let mut run = RunDriver {
        cluster: cluster.clone(),
        clients_left: Arc::new(AtomicU64::new(0)),
        reached: Vec::new(),
        world: world.clone(),
        observer: observer.clone(),
        plan,
    };
    tokio::select! {
        biased;
        // The run stops at the earliest event that is wrong.
        () = observer.found() => {}
        () = stop_at(&world, until) => {}
        finding = run.carry_through() => {
            if let Err(finding) = finding {
                observer.report(finding);
            }
        }
    }
    Observed {
        nodes_at_end: until.map(|_| cluster.describe()),
        ..observer.finish()
    }
}

/// By how much a lease may end early: the longest one, timed by a clock that is as wrong
/// as is claimed, against another.
fn lease_tolerance_ns(plan: &Plan) -> u64 {
    const LONGEST_TTL_NS: u64 = 9_000_000_000;
    LONGEST_TTL_NS / 1_000_000 * plan.claimed_drift_ppm * 2
}

struct RunDriver {
    world: World,
    observer: Observer,
    cluster: Cluster,
    plan: Arc<Plan>,
    clients_left: Arc<AtomicU64>,
    reached: Vec<Reached>,
}

impl RunDriver {
    async fn carry_through(&mut self) -> Result<(), Finding> {
        self.start_clients();
        let operating = self.start_operator();
        self.start_impatient_operators();
        self.start_service();
        self.start_forger();
        self.start_strangers();
        self.start_survivor();
        let keeping = self.start_lease_keepers();
        let examining = self.start_examiner();
        let batching = self.start_batch_callers();
        let sharding = self.start_sharded_callers();
        let holding = self.start_lock_holders();
        let supervisors: Vec<_> = (0..self.plan.sites())
            .map(|site| {
                let delay = Duration::from_millis(self.plan.restart_delay_ms);
                self.world
                    .spawn(self.cluster.clone().supervise(site, delay))
            })
            .collect();
        let comparing = self
            .world
            .spawn(compare(self.world.clone(), self.cluster.clone()));
        let nemesis = self.plan.leader_nemesis.clone().map(|plan| {
            self.world.spawn(follow_elections(
                self.world.clone(),
                self.cluster.clone(),
                plan,
            ))
        });
        self.nemesis().await;
        if let Some(nemesis) = nemesis {
            nemesis.abort();
        }
        self.heal().await;
        let result = self
            .converge(operating, [keeping, examining, batching, sharding, holding])
            .await;
        for task in supervisors {
            task.abort();
        }
        comparing.abort();
        result
    }

    fn start_clients(&mut self) {
        self.reached = self
            .plan
            .watchers
            .iter()
            .map(|_| Reached::default())
            .collect();
        // The first watcher of a plan follows everything.
        let audited = self.reached.first().cloned().unwrap_or_default();
        let mut first_client = 0;
        let planted = self.plan.planted();
        for (number, host) in self.plan.hosts.iter().enumerate() {
            let clients = host.clients.len() as u64;
            let host = Arc::new(Host {
                plan: host.clone(),
                keyspace: self.plan.keyspace,
                large_value_bytes: self.plan.large_value_bytes,
                members: self.plan.sites(),
                first_client,
                planted,
                accounts: Accounts::of(&self.plan, &self.world, &self.observer),
            });
            self.clients_left.fetch_add(clients, Ordering::Relaxed);
            let (observer, left) = (self.observer.clone(), Arc::clone(&self.clients_left));
            let audited = audited.clone();
            self.world
                .add_process(&host_name(number), move |environment| {
                    let (host, observer, audited, left) = (
                        Arc::clone(&host),
                        observer.clone(),
                        audited.clone(),
                        Arc::clone(&left),
                    );
                    run_host(environment, host, observer, audited, left)
                });
            first_client += clients;
        }
        for (number, watcher) in self.plan.watchers.iter().enumerate() {
            let reached = self.reached[number].clone();
            let watcher = (watcher.clone(), self.plan.keyspace);
            let (observer, members) = (self.observer.clone(), self.plan.sites());
            self.world
                .add_process(&watcher_name(number as u64), move |environment| {
                    let (observer, watcher, reached) =
                        (observer.clone(), watcher.clone(), reached.clone());
                    let client = WATCHER_CLIENT + number as u64;
                    run_watcher(environment, watcher, members, client, observer, reached)
                });
        }
    }

    /// Starts the one who changes the membership, if the plan has one.
    fn start_operator(&self) -> Option<JoinHandle<()>> {
        if self.plan.changes.is_empty() && self.plan.hasty.is_empty() {
            return None;
        }
        let operator = Operator::new(
            self.world.clone(),
            self.cluster.clone(),
            self.observer.clone(),
            self.world.add_host("operator"),
            Arc::clone(&self.plan),
        );
        Some(self.world.spawn(operator.run()))
    }

    /// Starts those who change it and do not wait for each other, if the plan has any, and what is
    /// done at observed moments.
    fn start_impatient_operators(&self) {
        let operators = self.impatient_operators();
        if let Some(operators) = operators.clone() {
            self.world.spawn(operators.run());
        }
        let strikes = Strikes {
            world: self.world.clone(),
            cluster: self.cluster.clone(),
            observer: self.observer.clone(),
            operators,
            plan: Arc::clone(&self.plan),
        };
        strikes.start();
    }

    fn impatient_operators(&self) -> Option<ImpatientOperators> {
        if self.plan.hasty.is_empty() {
            return None;
        }
        let operators = ImpatientOperators::new(
            self.world.clone(),
            self.cluster.clone(),
            self.observer.clone(),
            self.world.add_host("operators"),
            Arc::clone(&self.plan),
        );
        Some(operators)
    }

    /// Starts the client that writes all the time, if the plan has one.
    fn start_service(&self) {
        if let Some(law) = self.plan.service {
            self.world.spawn(watch_service(
                self.world.clone(),
                self.cluster.clone(),
                self.observer.clone(),
                Arc::clone(&self.plan),
                law,
            ));
        }
    }

    /// Starts those who keep leases alive while they are ended, if the plan has any.
    fn start_lease_keepers(&self) -> Option<JoinHandle<()>> {
        if self.plan.lease_rounds.is_empty() {
            return None;
        }
        let keepers = LeaseKeepers::new(
            self.world.clone(),
            &self.cluster,
            self.observer.clone(),
            Arc::clone(&self.plan),
        );
        Some(self.world.spawn(keepers.run()))
    }

    /// Starts those whose calls travel in batches, if the plan has any.
    fn start_batch_callers(&self) -> Option<JoinHandle<()>> {
        if self.plan.batch_rounds.is_empty() {
            return None;
        }
        let callers = BatchCallers::new(
            self.world.clone(),
            self.observer.clone(),
            Arc::clone(&self.plan),
        );
        Some(self.world.spawn(callers.run()))
    }

    /// Starts the callers of a sharded client and its shards, if the plan has any.
    fn start_sharded_callers(&self) -> Option<JoinHandle<()>> {
        if self.plan.shard_rounds.is_empty() {
            return None;
        }
        let (callers, rng) = ShardedCallers::start(
            self.world.clone(),
            self.observer.clone(),
            Arc::clone(&self.plan),
        );
        Some(self.world.spawn(callers.run(rng)))
    }

    /// Starts those who take a lock from each other, if the plan has any.
    fn start_lock_holders(&self) -> Option<JoinHandle<()>> {
        if self.plan.hold_rounds.is_empty() {
            return None;
        }
        let holders = LockHolders::new(
            self.world.clone(),
            self.observer.clone(),
            Arc::clone(&self.plan),
        );
        Some(self.world.spawn(holders.run()))
    }

    /// Starts whoever alters files of a member, if the plan says so.
    fn start_forger(&self) {
        if !self.plan.forgeries.is_empty() {
            self.world.spawn(forge(
                self.world.clone(),
                self.cluster.clone(),
                self.observer.clone(),
                Arc::clone(&self.plan),
            ));
        }
    }

    /// Lets strangers come to the ports of peers, if the plan has any.
    fn start_strangers(&self) {
        if !self.plan.strangers.is_empty() {
            strangers::come(&self.world, &self.observer, &self.plan);
        }
    }

    /// Starts whoever takes the majority away, if the plan says so.
    fn start_survivor(&self) {
        if let Some(lost) = self.plan.lost_majority {
            let survivor = Survivor::new(
                self.world.clone(),
                self.cluster.clone(),
                self.observer.clone(),
                Arc::clone(&self.plan),
                lost,
            );
            self.world.spawn(survivor.run());
        }
    }

    /// Starts the one who examines members, if the plan has one.
    fn start_examiner(&self) -> Option<JoinHandle<()>> {
        if self.plan.examinations.is_empty() {
            return None;
        }
        let examiner = Examiner::new(
            self.world.clone(),
            self.cluster.clone(),
            self.observer.clone(),
            Arc::clone(&self.plan),
        );
        Some(self.world.spawn(examiner.run()))
    }

    /// Injects the planned faults at their times.
    async fn nemesis(&self) {
        inject_at_times(&self.world, &self.plan.faults, self.plan.heal_at()).await;
    }

    /// Ends all faults, those that were there all the time included, and starts whoever
    /// is down but for those who are left out.
    async fn heal(&self) {
        self.world.heal_all();
        self.world.set_network_faults(self.plan.network.healed());
        let left_out = self.plan.left_out();
        for site in 0..self.plan.sites() {
            let process = self.cluster.process(site);
            self.world.set_disk_faults(process, self.plan.disk.healed());
            match (left_out.contains(&site), self.world.is_running(process)) {
                (true, true) => {
                    self.observer.count("heal.left_out");
                    self.world.inject(&Fault::Crash {
                        process,
                        kind: CrashKind::PowerLoss,
                        restart_after_ms: None,
                    });
                }
                (false, false) => self.world.restart(process),
                (true, false) | (false, true) => {}
            }
        }
        self.world.sleep(POLL_PERIOD).await;
    }

    /// Starts those who were left out when all others were healed.
    fn start_the_others(&self) {
        for site in self.plan.left_out() {
            let process = self.cluster.process(site);
            if !self.world.is_running(process) {
                self.world.restart(process);
            }
        }
    }

    /// How long answers to a watcher may take for the pace of its stream alone, if each revision
    /// comes by itself. A watch beside that comes and goes has three answers for each of its own.
    fn paced(&self, watcher: &WatcherPlan, revisions: i64) -> Duration {
        let answers = match watcher.beside {
            Some(_) => 4 * revisions,
            None => revisions,
        };
        Duration::from_millis(answers.unsigned_abs() * self.plan.knobs.watch_pace_ms)
    }

    /// After the heal everything has to work again within the bound: writes, reads,
    /// watches, all members level and of one mind about who they are; and clients end
    /// what they planned.
    async fn converge(
        &self,
        operating: Option<JoinHandle<()>>,
        [keeping, examining, batching, sharding, holding]: [Option<JoinHandle<()>>; 5],
    ) -> Result<(), Finding> {
        let bound = self.world.now() + Duration::from_millis(self.plan.heal_bound_ms);
        let probe = self.world.add_host(PROBE_NAME);
        let client = self.probe_client(&probe);
        self.probe(&client, bound).await?;
        self.start_the_others();
        for (task, bound, signature) in [
            (operating, OPERATOR_BOUND, "operator-not-done"),
            (keeping, CLIENTS_BOUND, "lease-keepers-not-done"),
            (examining, CLIENTS_BOUND, "examiner-not-done"),
            (batching, CLIENTS_BOUND, "batch-callers-not-done"),
            (sharding, CLIENTS_BOUND, "sharded-callers-not-done"),
            (holding, CLIENTS_BOUND, "lock-holders-not-done"),
        ] {
            let is_done = || task.as_ref().is_none_or(JoinHandle::is_finished);
            self.until(self.world.now() + bound, signature, is_done)
                .await?;
        }
        self.until(self.world.now() + CLIENTS_BOUND, "clients-not-done", || {
            self.clients_left.load(Ordering::Relaxed) == 0
        })
        .await?;
        sleep_until(&self.world, Duration::from_millis(self.plan.end_at_ms)).await;
        // Once more, behind the last operation of all clients.
        let bound = self.world.now() + Duration::from_millis(self.plan.heal_bound_ms);
        let revisions = self.probe(&client, bound).await?;
        for (number, (reached, watcher)) in self.reached.iter().zip(&self.plan.watchers).enumerate()
        {
            let last = watcher.keys.1 - 1;
            let key = self.plan.keyspace.key(last);
            let revision = if watcher.no_put {
                // It is shown deletions alone: of a key that is there.
                self.probe_write(&client, probe_put(key.clone(), self.world.now()), bound)
                    .await?;
                let deletion = Ask::DeleteRange(api::DeleteRangeRequest {
                    key,
                    ..Default::default()
                });
                self.probe_write(&client, deletion, bound).await?
            } else {
                revisions[&last]
            };
            let bound = bound + self.paced(watcher, revision);
            self.until(bound, &format!("watcher-{number}-behind"), || {
                reached.revision() >= revision
            })
            .await?;
        }
        self.until(bound, "members-not-level", || self.cluster.is_level())
            .await?;
        self.until(bound, "members-disagree", || {
            self.cluster.agrees_on_members()
        })
        .await?;
        self.cluster.compare();
        self.cluster.compare_hashes();
        self.probe_progress(&probe, &client).await?;
        let under_way = self.probe_lease(&client).await?;
        self.logs_are_cut().await?;
        self.leases_end(under_way).await?;
        if self.plan.last_power_failure {
            self.all_lose_power().await;
            self.read_everything(&probe).await?;
            let bound = self.world.now() + Duration::from_millis(self.plan.heal_bound_ms);
            self.until(bound, "members-not-level", || self.cluster.is_level())
                .await?;
            self.cluster.compare();
        }
        Ok(())
    }

    /// Nobody's log is longer than is allowed; a snapshot may still be under way.
    async fn logs_are_cut(&self) -> Result<(), Finding> {
        let bound = self.world.now() + Duration::from_millis(self.plan.heal_bound_ms);
        let too_long = || self.cluster.logs_too_long();
        let waited = self
            .until(bound, "log-too-long", || too_long().is_empty())
            .await;
        waited.map_err(|mut finding| {
            let logs = too_long().into_iter().map(|(member, bytes, bytes_max)| {
                format!("\n  the log of {member:x} has {bytes} bytes, {bytes_max} are allowed")
            });
            finding.text.extend(logs);
            finding
        })
    }

    /// Watches in a cluster without faults: what they are told of their progress.
    async fn probe_progress(
        &self,
        probe: &SimEnvironment,
        client: &ProbeClient,
    ) -> Result<(), Finding> {
        let delay = self.plan.network.delay;
        let watches = ProgressProbe {
            world: &self.world,
            environment: probe,
            sites: self.cluster.members().into_keys().collect(),
            period: Duration::from_millis(self.plan.knobs.watch_progress_ms),
            drift_ppm: self.plan.claimed_drift_ppm,
            tail_mean: match delay.tail_probability > 0.0 {
                true => Duration::from_micros(delay.tail_mean_us),
                false => Duration::ZERO,
            },
        };
        let write = async || {
            // Whatever becomes of it is in the history.
            let _ = self
                .probe_call(client, probe_put(key(BUSY_KEY), self.world.now()))
                .await;
        };
        watches.check(write).await
    }

    /// A lease in a cluster without faults: how long it lasts is told as it is. The answers
    /// themselves are compared with what was granted by the checker of the history. It returns
    /// how long a renewal may still be under way.
    async fn probe_lease(&self, client: &ProbeClient) -> Result<Duration, Finding> {
        // What was given up is carried out until then, or not at all.
        let given_up = Duration::from_millis(self.plan.knobs.request_timeout_ms);
        let repeated_after = Duration::from_millis(self.plan.knobs.retry_ms);
        let grant = Ask::LeaseGrant(api::LeaseGrantRequest {
            id: PROBE_LEASE,
            ttl: PROBE_LEASE_TTL_S,
        });
        let question = Ask::LeaseTimeToLive(api::LeaseTimeToLiveRequest {
            id: PROBE_LEASE,
            keys: true,
        });
        let renewal = Ask::LeaseKeepAlive(api::LeaseKeepAliveRequest { id: PROBE_LEASE });
        if self.probe_call(client, grant).await.is_err() {
            // Nobody knows when it was granted, if it was.
            return Ok(given_up);
        }
        let term = self.cluster.term();
        for _ in 0..2 {
            // The leader times the lease from when it applies the grant, which may be after
            // another member has answered; from a renewal, before it answers.
            let asked_at = self.world.now();
            if self.probe_call(client, renewal.clone()).await.is_err() {
                return Ok(given_up);
            }
            let renewed_by = self.world.now();
            // A member that waited longer has asked the leader again, and what it asked first
            // may come last.
            if renewed_by >= asked_at + repeated_after {
                return Ok(given_up);
            }
            self.world.sleep(PROBE_LEASE_PAUSE).await;
            let asked_at = self.world.now();
            let answer = self.probe_call(client, question.clone()).await;
            let Ok(Answer::LeaseTimeToLive(told)) = answer else {
                return Ok(Duration::ZERO);
            };
            // A new leader gives it its whole time anew; and where an answer took too long, it
            // has ended meanwhile.
            if self.cluster.term() != term || told.granted_ttl == 0 {
                return Ok(Duration::ZERO);
            }
            let remaining = RemainingTime {
                renewed_by,
                asked_at,
                granted_ttl_s: told.granted_ttl,
                left_s: told.ttl,
            };
            remaining
                .check(self.plan.claimed_drift_ppm)
                .map_err(finding)?;
        }
        Ok(Duration::ZERO)
    }

    /// Waits until the last lease has ended, or for long enough; nobody renews one any more once
    /// what is `under_way` has come.
    async fn leases_end(&self, under_way: Duration) -> Result<(), Finding> {
        let limits = &self.plan.knobs;
        let bound = LeaseBound {
            drift_ppm: self.plan.claimed_drift_ppm,
            slack: LEASE_END_SLACK,
            check_period: Duration::from_millis(limits.lease_check_ms),
            ends_per_check: limits.lease_revokes_per_check,
        };
        let mut deadlines = LeaseDeadlines::new(bound, self.world.now() + under_way);
        let patience = Duration::from_millis(self.plan.heal_bound_ms);
        let mut leader_by = self.world.now() + patience;
        let wait_until = self.world.now() + LEASES_WAIT_MAX;
        while !self.cluster.leases_end(&mut deadlines)? && self.world.now() < wait_until {
            let now = self.world.now();
            if self.cluster.is_led() {
                leader_by = now + patience;
            } else if now > leader_by {
                return Err(self.liveness("no-leader"));
            }
            self.world.sleep(LEASE_POLL_PERIOD).await;
        }
        Ok(())
    }

    /// A power failure of the whole cluster: what is not on a disk is lost.
    async fn all_lose_power(&self) {
        for site in 0..self.plan.sites() {
            self.world.inject(&Fault::Crash {
                process: self.cluster.process(site),
                kind: CrashKind::PowerLoss,
                restart_after_ms: Some(self.plan.restart_delay_ms),
            });
        }
        let restarted = Duration::from_millis(self.plan.restart_delay_ms) + POLL_PERIOD;
        self.world.sleep(restarted).await;
    }

    /// Reads all keys at once; the checker of the history compares them with everything
    /// that was ever acknowledged.
    async fn read_everything(&self, probe: &SimEnvironment) -> Result<(), Finding> {
        let bound = self.world.now() + Duration::from_millis(self.plan.heal_bound_ms);
        let client = self.probe_client(probe);
        loop {
            let ask = Ask::Range(api::RangeRequest {
                key: self.plan.keyspace.key(0),
                range_end: self.plan.keyspace.key(self.keys()),
                ..Default::default()
            });
            if self.probe_call(&client, ask).await.is_ok() {
                return Ok(());
            }
            if self.world.now() > bound {
                return Err(self.liveness("no-progress"));
            }
        }
    }

    fn probe_client(&self, probe: &SimEnvironment) -> ProbeClient {
        let config = ClientConfig {
            request_timeout: PROBE_TIMEOUT,
            ..ClientConfig::new((0..self.plan.sites()).map(client_address).collect())
        };
        Client::new(
            Pipelined::new(probe.network().clone()),
            probe.clock().clone(),
            config,
        )
    }

    /// A request of the probe, as part of the history.
    async fn probe_call(&self, client: &ProbeClient, ask: Ask) -> Result<Answer, CallError> {
        let input = record::request(&ask).expect("what the probe asks is an operation");
        let op = self.observer.called(PROBE_CLIENT, input);
        let asked = self.observer.judge().asks(None);
        let result = client.call(ask.clone()).await;
        let result = self.observer.judged(&asked, &ask, result);
        self.observer
            .ended(PROBE_CLIENT, op, record::ending(&result));
        result
    }

    /// Writes every key, or some of very many, the last one of each watcher included; the
    /// revisions by key.
    async fn probe(
        &self,
        client: &ProbeClient,
        bound: Duration,
    ) -> Result<BTreeMap<u32, i64>, Finding> {
        let step = self.keys().div_ceil(PROBED_KEYS_MAX) as usize;
        let lasts = self.plan.watchers.iter().map(|watcher| watcher.keys.1 - 1);
        let probed: BTreeSet<u32> = (0..self.keys()).step_by(step).chain(lasts).collect();
        let mut revisions = BTreeMap::new();
        for number in probed {
            let put = probe_put(self.plan.keyspace.key(number), self.world.now());
            let revision = self.probe_write(client, put, bound).await?;
            revisions.insert(number, revision);
        }
        Ok(revisions)
    }

    /// Writes until it is acknowledged; the revision.
    async fn probe_write(
        &self,
        client: &ProbeClient,
        ask: Ask,
        bound: Duration,
    ) -> Result<i64, Finding> {
        loop {
            let header = match self.probe_call(client, ask.clone()).await {
                Ok(Answer::Put(response)) => response.header,
                // An attempt before this one had deleted it, nobody knows when.
                Ok(Answer::DeleteRange(response)) if response.deleted == 0 => return Ok(0),
                Ok(Answer::DeleteRange(response)) => response.header,
                _ if self.world.now() > bound => return Err(self.liveness("no-progress")),
                _ => continue,
            };
            return Ok(header.map_or(0, |header| header.revision));
        }
    }

    fn keys(&self) -> u32 {
        let watched = self
            .plan
            .watchers
            .iter()
            .map(|watcher| watcher.keys.1)
            .max();
        watched.unwrap_or(1)
    }

    async fn until(
        &self,
        bound: Duration,
        signature: &str,
        done: impl Fn() -> bool,
    ) -> Result<(), Finding> {
        while !done() {
            if self.world.now() > bound {
                return Err(self.liveness(signature));
            }
            self.world.sleep(POLL_PERIOD).await;
        }
        Ok(())
    }

    fn liveness(&self, signature: &str) -> Finding {
        let text = format!(
            "{signature} at {} ms, all faults having ended at {} ms; {} clients are not done{}",
            self.world.now().as_millis(),
            self.plan.heal_at_ms,
            self.clients_left.load(Ordering::Relaxed),
            self.cluster.describe(),
        );
        Finding::new(Class::Liveness, signature, text)
    }
}

/// Compares the members from time to time.
async fn compare(world: World, cluster: Cluster) {
    loop {
        for _ in 0..HASH_EVERY {
            world.sleep(COMPARE_PERIOD).await;
            cluster.compare();
        }
        cluster.compare_hashes();
    }
}

/// The write of a probe.
fn probe_put(key: Bytes, now: Duration) -> Ask {
    Ask::Put(api::PutRequest {
        key,
        value: format!("probe.{}", now.as_millis()).into(),
        ..Default::default()
    })
}
