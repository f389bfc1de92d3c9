//! What locks and elections are made of: keys below a name, each with the lease of whoever made
//! it, in the order of their creation. The first one holds; every other waits for the end of the
//! one before it. Keys are those of etcd's Go package `concurrency`, so that both exclude each
//! other.

use bytes::Bytes;
use veridical_env::Clock;
use veridical_planted::PlantedBug;
use veridical_proto::etcdserverpb as api;

use crate::client::Client;
use crate::connection::CallError;
use crate::connector::Connector;
use crate::into_bytes::IntoBytes;
use crate::lease::{LeaseKeeper, LeaseLost};
use crate::options::{GetOptions, PutOptions, SortOrder, SortTarget, WatchOptions};
use crate::txn::{Compare, Txn, TxnOp};
use crate::watch::WatchError;

/// The time to live of a lease that is granted for one lock or one candidate.
const TTL_S: i64 = 10;

/// A request that may be sent twice is sent this often while its outcome is unknown.
const SETTLE_ATTEMPTS_MAX: u32 = 8;

/// gRPC's `NOT_FOUND`: there is no such lease.
const CODE_NOT_FOUND: u32 = 5;

/// With which lease a lock or a leadership is held.
#[derive(Clone, Copy, Debug)]
pub struct HoldOptions {
    lease: LeaseChoice,
}

#[derive(Clone, Copy, Debug)]
enum LeaseChoice {
    Own { ttl_s: i64 },
    Given { id: i64 },
}

impl Default for HoldOptions {
    fn default() -> Self {
        Self {
            lease: LeaseChoice::Own { ttl_s: TTL_S },
        }
    }
}

impl HoldOptions {
    /// With a lease of its own, of 10 s.
    pub fn new() -> Self {
        Self::default()
    }

    /// With a lease of its own, of so many seconds: how long others wait when whoever holds
    /// is gone without a word.
    #[must_use]
    pub fn with_ttl(mut self, ttl_s: i64) -> Self {
        self.lease = LeaseChoice::Own { ttl_s };
        self
    }

    /// With this lease. It is kept alive meanwhile, and left as it is at the end.
    #[must_use]
    pub fn with_lease(mut self, id: i64) -> Self {
        self.lease = LeaseChoice::Given { id };
        self
    }
}

/// Why a lock or a leadership was not had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HoldError {
    /// A request failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// Those before could not be watched.
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// The lease was lost before it was its turn.
    #[error(transparent)]
    LeaseLost(#[from] LeaseLost),
    /// Somebody else has deleted the key, or has written it with another lease.
    #[error("the key was changed by somebody else")]
    KeyChanged,
}

/// A key that holds or waits for its turn.
pub(crate) struct Hold<T: Connector, C: Clock> {
    pub(crate) client: Client<T, C>,
    pub(crate) key: Bytes,
    /// At which the key was created: its place in the line.
    pub(crate) revision: i64,
    pub(crate) keeper: LeaseKeeper<C>,
    prefix: Bytes,
    owns_lease: bool,
}

impl<T: Connector, C: Clock> Hold<T, C> {
    /// Makes a key below `name` with this value, and waits for its turn.
    ///
    /// # Errors
    /// See [`HoldError`]. The key that was made is gone then, or ends with its lease.
    pub(crate) async fn acquire(
        client: &Client<T, C>,
        name: impl IntoBytes,
        value: Bytes,
        options: HoldOptions,
    ) -> Result<Self, HoldError> {
        let (lease, owns_lease) = match options.lease {
            LeaseChoice::Own { ttl_s } => (client.lease_grant(ttl_s, None).await?.id, true),
            LeaseChoice::Given { id } => (id, false),
        };
        let keeper = client.lease_keep_alive(lease).await?;
        let mut prefix = name.into_bytes().to_vec();
        prefix.push(b'/');
        let key = [prefix.as_slice(), format!("{lease:x}").as_bytes()].concat();
        let mut hold = Self {
            client: client.clone(),
            key: key.into(),
            revision: 0,
            keeper,
            prefix: prefix.into(),
            owns_lease,
        };
        let keeper = hold.keeper.clone();
        let acquired = tokio::select! {
            biased;
            lost = keeper.lost() => Err(HoldError::LeaseLost(lost)),
            acquired = hold.wait_in_line(value) => acquired,
        };
        match acquired {
            Ok(()) => Ok(hold),
            Err(error) => {
                // What cannot be undone now ends with the lease.
                let _ = hold.release().await;
                Err(error)
            }
        }
    }

    async fn wait_in_line(&mut self, value: Bytes) -> Result<(), HoldError> {
        self.enter(value).await?;
        self.wait_for_turn().await?;
        // Those before are gone; whether this one is still there is another question.
        let own = self.client.get(&self.key, None).await?;
        match own.kvs.first() {
            Some(kv) if kv.create_revision == self.revision => Ok(()),
            Some(_) | None => Err(HoldError::KeyChanged),
        }
    }

    /// Makes the key, or finds it if it was made with the same lease before: also when the
    /// outcome of making it is unknown. Doing it twice is doing it once, since a key that exists
    /// is only read.
    async fn enter(&mut self, value: Bytes) -> Result<(), HoldError> {
        let lease = self.keeper.id();
        let txn = Txn::new()
            .when([Compare::missing(&self.key)])
            .and_then([TxnOp::put(
                &self.key,
                &value,
                PutOptions::new().with_lease(lease),
            )])
            .or_else([TxnOp::get(&self.key, None)]);
        let answer = settle(&self.client, &txn).await?;
        if answer.succeeded {
            self.revision = answer.revision();
            return Ok(());
        }
        let found = answer.responses.first().and_then(api::ResponseOp::as_get);
        let found = found.and_then(|read| read.kvs.first());
        let Some(kv) = found.filter(|kv| kv.lease == lease) else {
            return Err(HoldError::KeyChanged);
        };
        self.revision = kv.create_revision;
        if kv.value != value {
            self.write(value).await?;
        }
        Ok(())
    }

    /// Waits until there is no key before this one.
    async fn wait_for_turn(&self) -> Result<(), HoldError> {
        let before = GetOptions::new()
            .with_prefix()
            .with_max_create_revision(self.revision - 1)
            .with_sort(SortTarget::Create, SortOrder::Descend)
            .with_limit(1)
            .with_keys_only();
        loop {
            let answer = self.client.get(&self.prefix, before.clone()).await?;
            let out_of_turn = self
                .client
                .config()
                .planted
                .has(PlantedBug::LockWithoutTurn);
            let Some(next) = answer.kvs.first().filter(|_| !out_of_turn) else {
                return Ok(());
            };
            match deleted(&self.client, &next.key, answer.revision() + 1).await {
                // It is looked again at what was missed.
                Ok(()) | Err(WatchError::Compacted { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Writes a value while the key is still there.
    ///
    /// # Errors
    /// [`HoldError::KeyChanged`] if it is not.
    pub(crate) async fn write(&self, value: Bytes) -> Result<(), HoldError> {
        let put = PutOptions::new().with_lease(self.keeper.id());
        let txn = Txn::new()
            .when([self.guard()])
            .and_then([TxnOp::put(&self.key, value, put)]);
        // Twice would bring twice to whoever watches, but the same value; and it is not done
        // once the key is in other hands.
        match settle(&self.client, &txn).await?.succeeded {
            true => Ok(()),
            false => Err(HoldError::KeyChanged),
        }
    }

    /// Holds as long as the key is there.
    pub(crate) fn guard(&self) -> Compare {
        Compare::create_revision(&self.key).equal(self.revision)
    }

    /// Deletes the key, and ends the lease if it was granted for it.
    pub(crate) async fn release(&self) -> Result<(), CallError> {
        if !self.owns_lease {
            let delete = Txn::new()
                .when([self.guard()])
                .and_then([TxnOp::delete(&self.key, None)]);
            return settle(&self.client, &delete).await.map(|_| ());
        }
        // With the lease goes whatever of unknown outcome might still make the key.
        let mut unknown = None;
        for _ in 0..SETTLE_ATTEMPTS_MAX {
            match self.client.lease_revoke(self.keeper.id()).await {
                Ok(_) => return Ok(()),
                Err(CallError::Refused { code, .. }) if code == CODE_NOT_FOUND => return Ok(()),
                Err(error @ CallError::Unknown(_)) => unknown = Some(error),
                Err(error) => return Err(unknown.unwrap_or(error)),
            }
        }
        Err(unknown.unwrap_or_else(|| CallError::Unknown("not tried".to_owned())))
    }
}

/// Runs a transaction that changes nothing when it is done twice, until its outcome is known.
///
/// # Errors
/// [`CallError::Unknown`] if it never was; otherwise it has had no effect.
async fn settle<T: Connector, C: Clock>(
    client: &Client<T, C>,
    txn: &Txn,
) -> Result<api::TxnResponse, CallError> {
    let mut unknown = None;
    for _ in 0..SETTLE_ATTEMPTS_MAX {
        match client.txn(txn.clone()).await {
            Ok(answer) => return Ok(answer),
            Err(error @ CallError::Unknown(_)) => {
                unknown = Some(error);
                client.clock().sleep(client.config().retry_delay).await;
            }
            // An earlier one may still take effect.
            Err(error) => return Err(unknown.unwrap_or(error)),
        }
    }
    Err(unknown.unwrap_or_else(|| CallError::Unknown("not tried".to_owned())))
}

/// Waits until a key that is there at the revision before this one is deleted.
async fn deleted<T: Connector, C: Clock>(
    client: &Client<T, C>,
    key: &Bytes,
    from: i64,
) -> Result<(), WatchError> {
    let options = WatchOptions::new().with_start_revision(from).with_no_put();
    let mut watch = client.watch(key, options).await?;
    while let Some(batch) = watch.next().await {
        if !batch?.events.is_empty() {
            return Ok(());
        }
    }
    Err(WatchError::Unavailable("the watch has ended".to_owned()))
}
