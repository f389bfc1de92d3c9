//! Clients that keep a lease alive through every member, at the moment when its owner ends it.
//!
//! The law: whoever is told that a lease lives on, is told so as of a revision before its end.
//! The keys of the lease are gone with it, in one revision; an answer that carries this one or
//! a later one, and a time to live, says that they are and that they are not. etcd had answers
//! of this kind (etcd-io/etcd issue 14758). And once somebody was told that it is gone, by its
//! owner's wish or because its time was up, nobody who asks is told anything else.

use std::sync::{Arc, Mutex};
use std::time::Duration;
use veridical_client::{Connection, record};
use veridical_env::Environment;
use veridical_harness::report::{Class, Finding};
use veridical_proto::etcdserverpb as api;
use veridical_proto::native::request::Body as Ask;
use veridical_proto::native::response::Body as Answer;
use veridical_world::{Rng, SimEnvironment, Stream, World};

use crate::cluster::{Cluster, client_address};
use crate::keyspace::key;
use crate::observer::Observer;
use crate::plan::Plan;
use crate::sessions::{KEEPER_CLIENT, KEEPER_NAME};

/// The first key of the lease; no other client writes these.
const FIRST_KEY: u32 = 80;

/// How many keys the lease has.
const KEYS: u32 = 5;

/// The lease of the first round; each round has the next one.
const FIRST_LEASE: i64 = 0x6b65_6570_0000;

/// Its time to live, where it outlives its round.
const TTL_S: i64 = 9;

/// Its time to live, where it ends by itself; it is granted what members grant at least.
const SHORT_TTL_S: i64 = 1;

/// The share of rounds in which it does.
const SHORT_SHARE: f64 = 0.3;

/// Whoever renews such a lease begins within so many ms around its end.
const AROUND_END_MS: u64 = 700;

/// When nobody renews it any more, in ms after the end that its grant had.
const SHORT_ROUND_MS: u64 = 1_500;

/// Connecting, and one request.
const TIMEOUT: Duration = Duration::from_secs(1);

/// For how long its owner waits, on average, until it ends the lease.
const LIFE_MEAN_US: u64 = 20_000;

/// Between two renewals of a client, on average.
const RENEWAL_MEAN_US: u64 = 1_500;

/// How often a client does something else with the lease than to renew it.
const BESIDE_SHARE: f64 = 0.2;

/// Clients that renew it at each member. They do one thing after the other, so that what they
/// have under way when the lease ends is from all parts of a renewal.
const KEEPERS_PER_MEMBER: u64 = 3;

/// What is known of the lease of a round.
#[derive(Default)]
struct Round {
    /// The highest revision with which somebody was told that it lives, and by which member.
    alive: Option<(i64, u32)>,
    /// The revision that it ended with.
    ended: Option<i64>,
    /// Somebody was told that it is gone.
    is_gone: bool,
    /// Somebody asked after that, and was told that it lives.
    is_back: bool,
    /// Nothing more is asked.
    is_over: bool,
    /// Others may have deleted all of its keys: then its end wrote nothing, and was told with
    /// the revision of what was written before.
    ended_without_keys: bool,
}

impl Round {
    /// A member has answered somebody who asked when the lease was known to be gone, or not.
    fn told(&mut self, kept: &api::LeaseKeepAliveResponse, site: u32, was_gone: bool) {
        if kept.ttl <= 0 {
            self.is_gone = true;
            return;
        }
        self.is_back |= was_gone;
        let revision = kept.header.as_ref().map_or(0, |header| header.revision);
        if self.alive.is_none_or(|(highest, _)| revision > highest) {
            self.alive = Some((revision, site));
        }
    }

    /// What is wrong with what was told, if anything is.
    fn contradiction(&self) -> Option<String> {
        if self.is_back {
            return Some(
                "it lives, said to somebody who asked after another was told that it is gone"
                    .to_owned(),
            );
        }
        let ((alive, site), ended) = (self.alive?, self.ended?);
        let is_late = alive > ended || alive == ended && !self.ended_without_keys;
        is_late.then(|| {
            format!(
                "the lease ended with revision {ended}, and member-{} says that it lives as of \
                 revision {alive}",
                site + 1
            )
        })
    }
}

/// The clients of these leases.
#[derive(Clone)]
pub struct LeaseKeepers {
    world: World,
    observer: Observer,
    environment: SimEnvironment,
    sites: Vec<u32>,
    plan: Arc<Plan>,
}

impl LeaseKeepers {
    /// Clients on a machine of their own.
    pub fn new(world: World, cluster: &Cluster, observer: Observer, plan: Arc<Plan>) -> Self {
        Self {
            environment: world.add_host(KEEPER_NAME),
            sites: cluster.members().into_keys().collect(),
            world,
            observer,
            plan,
        }
    }

    /// Begins each round at its time.
    pub async fn run(self) {
        let mut draws = self.world.rng(Stream::Workload).fork();
        let plan = Arc::clone(&self.plan);
        for (number, at_ms) in plan.lease_rounds.iter().enumerate() {
            let left = Duration::from_millis(*at_ms).saturating_sub(self.world.now());
            if !left.is_zero() {
                self.world.sleep(left).await;
            }
            self.round(FIRST_LEASE + number as i64, draws.fork()).await;
        }
    }

    async fn round(&self, id: i64, mut rng: Rng) {
        let mut last_put_at = self.world.now();
        let owner = KEEPER_CLIENT;
        let site = self.sites[rng.index(self.sites.len())];
        let Some(connection) = self.connect(site).await else {
            return;
        };
        let is_short = rng.chance(SHORT_SHARE);
        let ttl = if is_short { SHORT_TTL_S } else { TTL_S };
        let grant = Ask::LeaseGrant(api::LeaseGrantRequest { id, ttl });
        let Some(Answer::LeaseGrant(granted)) = self.ask(owner, &connection, grant).await else {
            return;
        };
        let ttl_ms = 1_000 * granted.ttl.unsigned_abs();
        for number in FIRST_KEY..FIRST_KEY + KEYS {
            let put = Ask::Put(api::PutRequest {
                key: key(number),
                value: format!("lease.{id:x}").into(),
                lease: id,
                ..Default::default()
            });
            last_put_at = self.world.now();
            if self.ask(owner, &connection, put).await.is_none() {
                return;
            }
        }
        let round = Arc::new(Mutex::new(Round::default()));
        let mut keepers = Vec::new();
        for (place, site) in self.sites.iter().enumerate() {
            for number in 0..KEEPERS_PER_MEMBER {
                let client = owner + 1 + place as u64 * KEEPERS_PER_MEMBER + number;
                let (keepers_own, round) = (self.clone(), Arc::clone(&round));
                let (site, mut rng) = (*site, rng.fork());
                let wait_ms = match is_short {
                    true => ttl_ms + rng.below(AROUND_END_MS) - AROUND_END_MS / 2,
                    false => 0,
                };
                keepers.push(self.world.spawn(async move {
                    keepers_own
                        .world
                        .sleep(Duration::from_millis(wait_ms))
                        .await;
                    keepers_own
                        .keep_alive((client, site), id, &round, rng)
                        .await;
                }));
            }
        }
        if is_short {
            self.world
                .sleep(Duration::from_millis(ttl_ms + SHORT_ROUND_MS))
                .await;
        } else {
            self.pause(&mut rng, LIFE_MEAN_US).await;
            let revoke = Ask::LeaseRevoke(api::LeaseRevokeRequest { id });
            let answer = self.ask(owner, &connection, revoke).await;
            if let Some(Answer::LeaseRevoke(revoked)) = answer {
                lock(&round).ended = revoked.header.map(|header| header.revision);
            }
        }
        lock(&round).is_over = true;
        for keeper in keepers {
            // A panic of one is a panic of the run.
            let _ = keeper.await;
        }
        let last_key = key(FIRST_KEY + KEYS - 1);
        lock(&round).ended_without_keys = self.observer.may_have_deleted(&last_key, last_put_at);
        if let Some(text) = lock(&round).contradiction() {
            self.observer
                .report(Finding::new(Class::Violation, "alive-after-its-end", text));
        }
    }

    async fn keep_alive(
        &self,
        (client, site): (u64, u32),
        id: i64,
        round: &Mutex<Round>,
        mut rng: Rng,
    ) {
        let Some(connection) = self.connect(site).await else {
            return;
        };
        while !lock(round).is_over {
            if rng.chance(BESIDE_SHARE) {
                let beside = Self::beside(&mut rng, id);
                if self.ask(client, &connection, beside).await.is_none() {
                    return;
                }
                continue;
            }
            let was_gone = lock(round).is_gone;
            let renewal = Ask::LeaseKeepAlive(api::LeaseKeepAliveRequest { id });
            let Some(Answer::LeaseKeepAlive(kept)) = self.ask(client, &connection, renewal).await
            else {
                return;
            };
            let is_gone = kept.ttl <= 0;
            lock(round).told(&kept, site, was_gone);
            if is_gone {
                return;
            }
            self.pause(&mut rng, RENEWAL_MEAN_US).await;
        }
    }

    /// What comes between a lease and its end as well: a key that is given to it, or a question
    /// which keys it has.
    fn beside(rng: &mut Rng, id: i64) -> Ask {
        if rng.chance(0.5) {
            return Ask::LeaseTimeToLive(api::LeaseTimeToLiveRequest { id, keys: true });
        }
        Ask::Put(api::PutRequest {
            key: key(FIRST_KEY + rng.below(u64::from(KEYS)) as u32),
            value: format!("late.{id:x}").into(),
            lease: id,
            ..Default::default()
        })
    }

    async fn pause(&self, rng: &mut Rng, mean_us: u64) {
        let pause = Duration::from_micros(1 + rng.exponential(mean_us));
        self.world.sleep(pause).await;
    }

    async fn connect(&self, site: u32) -> Option<Connection> {
        let (network, clock) = (self.environment.network(), self.environment.clock());
        let opened = Connection::open(network, clock, &client_address(site), TIMEOUT).await;
        opened.ok().map(|(connection, _watches)| connection)
    }

    /// A request as part of the history. Nothing if it was not carried out, or nobody knows.
    async fn ask(&self, client: u64, connection: &Connection, ask: Ask) -> Option<Answer> {
        let input = record::request(&ask).expect("what keepers ask is an operation");
        let op = self.observer.called(client, input);
        let asked = self.observer.judge().asks(None);
        let result = tokio::select! {
            biased;
            result = connection.call(ask.clone()) => result,
            () = self.world.sleep(TIMEOUT) => {
                Err(veridical_client::CallError::Unknown("no answer in time".to_owned()))
            }
        };
        let result = self.observer.judged(&asked, &ask, result);
        self.observer.ended(client, op, record::ending(&result));
        result.ok()
    }
}

fn lock(round: &Mutex<Round>) -> std::sync::MutexGuard<'_, Round> {
    round.lock().expect("no panic while a round is locked")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_lives_before_the_revision_of_its_end_and_not_from_there_on() {
        let told = |alive, ended| Round {
            alive,
            ended,
            ..Round::default()
        };
        assert!(told(Some((8, 1)), Some(9)).contradiction().is_none());
        assert!(told(Some((9, 1)), None).contradiction().is_none());
        assert!(told(None, Some(9)).contradiction().is_none());
        assert!(told(Some((9, 1)), Some(9)).contradiction().is_some());
        assert!(told(Some((12, 1)), Some(9)).contradiction().is_some());
        let without_keys = |alive| Round {
            ended_without_keys: true,
            ..told(Some((alive, 1)), Some(9))
        };
        assert!(without_keys(9).contradiction().is_none());
        assert!(without_keys(10).contradiction().is_some());
    }

    #[test]
    fn a_lease_that_is_gone_does_not_come_back() {
        let answer = |ttl| api::LeaseKeepAliveResponse {
            ttl,
            ..Default::default()
        };
        let mut round = Round::default();
        round.told(&answer(2), 0, false);
        round.told(&answer(0), 0, false);
        // This one had asked before.
        round.told(&answer(2), 1, false);
        assert!(round.contradiction().is_none());
        round.told(&answer(2), 1, true);
        assert!(round.contradiction().is_some());
    }
}
