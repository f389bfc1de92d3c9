//! Clients that take a lock from each other, and one that watches what everybody writes, all
//! by the client's typed calls.
//!
//! Two laws beside that of the history, of which every request of theirs is a part. Writes that
//! are guarded by the lock carry its fencing token, and in the order of their revisions the
//! tokens never fall: nobody writes who has lost the lock, whatever he believes. And what the
//! watch brings is recorded as one watch, although it goes from member to member: the checker of
//! histories finds each gap and each repetition in it.

use std::sync::{Arc, Mutex};
use std::time::Duration;
use veridical_client::{
    Client, ClientConfig, HoldOptions, Txn, TxnOp, Watch, WatchError, WatchOptions, record,
};
use veridical_env::Environment;
use veridical_harness::report::{Class, Finding};
use veridical_histories::etcd as history;
use veridical_proto::etcdserverpb as api;
use veridical_world::{Rng, SimClock, SimEnvironment, Stream, World};

use crate::cluster::client_address;
use crate::keyspace::key;
use crate::observer::Observer;
use crate::plan::Plan;
use crate::recorded::Recorded;
use crate::sessions::{FOLLOWER_CLIENT, HOLDER_CLIENT, HOLDER_NAME};

/// What the lock protects; nobody else writes it.
const GUARDED_KEY: u32 = 70;

/// The lock.
const LOCK: &str = "lock";

/// Its lease, in seconds; members grant more where their elections take longer.
const TTL_S: i64 = 1;

/// Who wants it in a round, and how often.
const CONTENDERS: (u64, u64) = (2, 4);
const TURNS: (u64, u64) = (1, 2);

/// Guarded writes of whoever has it.
const WRITES_MAX: u64 = 3;

/// Between two of them, on average.
const PAUSE_MEAN_MS: u64 = 150;

/// How long somebody waits for it.
const PATIENCE: Duration = Duration::from_secs(6);

/// A lock is given back by so many; the others leave it to its lease.
const UNLOCK_SHARE: f64 = 0.6;

/// A request with its retries.
const REQUEST_TIMEOUT: Duration = Duration::from_millis(2_500);

/// How long a member may be silent before it is asked how it is.
const SILENCE: Duration = Duration::from_millis(400);

/// After a watch that did not begin.
const AGAIN: Duration = Duration::from_millis(300);

type TypedClient = Client<Recorded, SimClock>;

/// The revision of a guarded write, and the token of whoever wrote.
type Ledger = Arc<Mutex<Vec<(i64, i64)>>>;

/// Those clients.
#[derive(Clone)]
pub struct LockHolders {
    world: World,
    observer: Observer,
    environment: SimEnvironment,
    recorded: Recorded,
    ledger: Ledger,
    plan: Arc<Plan>,
}

impl LockHolders {
    /// Clients on a machine of their own.
    pub fn new(world: World, observer: Observer, plan: Arc<Plan>) -> Self {
        let environment = world.add_host(HOLDER_NAME);
        let network = environment.network().clone();
        Self {
            recorded: Recorded::new(network, observer.clone(), HOLDER_CLIENT),
            ledger: Ledger::default(),
            environment,
            world,
            observer,
            plan,
        }
    }

    /// Begins each round at its time.
    pub async fn run(self) {
        let mut draws = self.world.rng(Stream::Workload).fork();
        let following = self.world.spawn(self.clone().follow(draws.fork()));
        let plan = Arc::clone(&self.plan);
        for (number, at_ms) in plan.hold_rounds.iter().enumerate() {
            self.observer
                .wait_until(Duration::from_millis(*at_ms))
                .await;
            self.round(number, draws.fork()).await;
        }
        following.abort();
    }

    async fn round(&self, number: usize, mut rng: Rng) {
        let contenders: Vec<_> = (0..rng.between(CONTENDERS.0, CONTENDERS.1))
            .map(|contender| {
                let name = format!("hold.{number}.{contender}");
                let (own, client) = (self.clone(), self.client(&mut rng));
                self.world.spawn(own.contend(client, name, rng.fork()))
            })
            .collect();
        for contender in contenders {
            // A panic of one is a panic of the run.
            let _ = contender.await;
        }
        let ledger = self.ledger.lock().expect("no panic while it is locked");
        if let Some(text) = went_back(&ledger) {
            self.observer
                .report(Finding::new(Class::Violation, "fencing", text));
        }
    }

    async fn contend(self, client: TypedClient, name: String, mut rng: Rng) {
        for turn in 0..rng.between(TURNS.0, TURNS.1) {
            let options = HoldOptions::new().with_ttl(TTL_S);
            let lock = tokio::select! {
                biased;
                lock = client.lock(LOCK, options) => lock,
                // Its place in the line ends with its lease.
                () = self.world.sleep(PATIENCE) => continue,
            };
            let Ok(lock) = lock else {
                self.pause(&mut rng).await;
                continue;
            };
            self.observer.count("locks.held");
            for write in 0..rng.below(WRITES_MAX + 1) {
                let value = format!("{name}.{turn}.{write}");
                let put = TxnOp::put(key(GUARDED_KEY), value, None);
                let guarded = Txn::new().when([lock.guard()]).and_then([put]);
                if let Ok(answer) = client.txn(guarded).await
                    && answer.succeeded
                {
                    let written = (answer.revision(), lock.fencing_token());
                    let mut ledger = self.ledger.lock().expect("no panic while it is locked");
                    ledger.push(written);
                }
                self.pause(&mut rng).await;
            }
            if rng.chance(UNLOCK_SHARE) {
                // It is free when its lease ends, if this fails.
                let _ = lock.unlock().await;
            }
        }
    }

    /// Watches what everybody writes, for as long as the run lasts.
    async fn follow(self, mut rng: Rng) {
        let watched = self.plan.watchers.first().map(|watcher| watcher.keys);
        let (first, end) = watched.unwrap_or((0, 1));
        let (first, end) = (self.plan.keyspace.key(first), self.plan.keyspace.key(end));
        let client = self.client(&mut rng);
        loop {
            let options = WatchOptions::new()
                .with_range(&end)
                .with_silence_max(SILENCE);
            match client.watch(&first, options).await {
                Ok(watch) => {
                    let range = history::KeyRange::span(first.clone(), end.clone());
                    self.take(watch, range).await;
                }
                Err(_) => self.world.sleep(AGAIN).await,
            }
        }
    }

    /// Records what a watch brings until it ends.
    async fn take(&self, mut watch: Watch, range: history::KeyRange) {
        let number = self.observer.next_watch();
        let start_revision = watch.start_revision();
        let created = history::WatchNote::Created(history::WatchCreated {
            watch: number,
            range,
            start_revision,
            revision: start_revision - 1,
            prev_kv: false,
            no_put: false,
            no_delete: false,
        });
        self.observer.watched(FOLLOWER_CLIENT, created);
        while let Some(batch) = watch.next().await {
            let response = match batch {
                Ok(batch) => api::WatchResponse {
                    header: Some(api::ResponseHeader {
                        revision: batch.revision,
                        ..Default::default()
                    }),
                    events: batch.events,
                    ..Default::default()
                },
                Err(WatchError::Compacted { compact_revision }) => api::WatchResponse {
                    canceled: true,
                    compact_revision,
                    ..Default::default()
                },
                Err(_) => return,
            };
            let note = record::watch_response(number, &response);
            self.observer.watched(FOLLOWER_CLIENT, note);
        }
    }

    fn client(&self, rng: &mut Rng) -> TypedClient {
        let config = ClientConfig {
            request_timeout: REQUEST_TIMEOUT,
            retry_delay: Duration::from_millis(50),
            silence_timeout: SILENCE,
            first_endpoint: rng.index(self.plan.members as usize),
            jitter_seed: rng.next_u64(),
            planted: self.plan.planted(),
            ..ClientConfig::new((0..self.plan.sites()).map(client_address).collect())
        };
        Client::new(
            self.recorded.clone(),
            self.environment.clock().clone(),
            config,
        )
    }

    async fn pause(&self, rng: &mut Rng) {
        let pause = Duration::from_millis(1 + rng.exponential(PAUSE_MEAN_MS));
        self.world.sleep(pause).await;
    }
}

/// Where somebody wrote who had lost the lock, if anybody did.
fn went_back(ledger: &[(i64, i64)]) -> Option<String> {
    let mut written = ledger.to_vec();
    written.sort_unstable();
    let back = written.windows(2).find(|pair| pair[1].1 < pair[0].1)?;
    Some(format!(
        "the lock was handed on with token {}, which wrote revision {}, and token {} wrote revision {} \
         after that",
        back[0].1, back[0].0, back[1].1, back[1].0
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_never_fall_in_the_order_of_what_was_written() {
        assert_eq!(went_back(&[]), None);
        assert_eq!(went_back(&[(9, 5), (7, 5), (12, 10)]), None);
        assert!(went_back(&[(12, 5), (11, 10)]).is_some());
    }
}
