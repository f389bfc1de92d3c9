//! One interface over several independent clusters, each of which has the keys of a shard.
//!
//! A key belongs to the shard that a seeded hash of it names: all clients with the same seed
//! and the same list of clusters agree. Clusters know nothing of each other, so revisions of
//! different shards have no order, nothing is atomic over shards, and adding a cluster would
//! give keys to others: their number is fixed for the life of the data.

mod merge;
mod placement;
mod watch;

use std::sync::Arc;

use tokio::sync::oneshot;
use veridical_env::Clock;
use veridical_planted::PlantedBug;
use veridical_proto::etcdserverpb as api;
use veridical_proto::native::batch_operation::Operation;
use veridical_proto::native::request::Body as RequestBody;
use veridical_proto::native::response::Body as ResponseBody;

use crate::ask::{ask, mismatch};
use crate::client::Client;
use crate::connection::CallError;
use crate::connector::Connector;
use crate::into_bytes::IntoBytes;
use crate::options::{DeleteOptions, GetOptions, PutOptions, WatchOptions};
use crate::txn::Txn;
use crate::watch::WatchError;

pub use merge::{MergedRange, ShardPart};
use merge::{check_merged, merged};
pub use placement::Placement;
use placement::txn_shard;
pub use watch::ShardedWatch;

/// gRPC's `INVALID_ARGUMENT`.
const CODE_INVALID_ARGUMENT: u32 = 3;

/// A client of several clusters. Cheap to clone.
///
/// A lease belongs to one cluster: grant it with the [`shard`](Self::shard) of the keys that
/// are to be attached to it.
pub struct ShardedClient<T: Connector, C: Clock> {
    shards: Arc<[Client<T, C>]>,
    placement: Placement,
}

impl<T: Connector, C: Clock> Clone for ShardedClient<T, C> {
    fn clone(&self) -> Self {
        Self {
            // Each handle is a caller of its own.
            shards: self.shards.iter().cloned().collect(),
            placement: self.placement,
        }
    }
}

impl<T: Connector, C: Clock> ShardedClient<T, C> {
    /// The clients of the clusters, in the order that all users of these keys agree on, and
    /// the seed of the hash.
    ///
    /// # Panics
    /// If there is no cluster.
    pub fn new(shards: Vec<Client<T, C>>, seed: u64) -> Self {
        Self {
            placement: Placement::new(shards.len(), seed),
            shards: shards.into(),
        }
    }

    /// Where keys belong.
    pub fn placement(&self) -> Placement {
        self.placement
    }

    /// The client of the cluster with that number.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn shard(&self, number: usize) -> &Client<T, C> {
        &self.shards[number]
    }

    fn shard_with(&self, key: &[u8]) -> &Client<T, C> {
        &self.shards[self.placement.shard_of(key)]
    }

    /// Writes a key in its shard.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub async fn put(
        &self,
        key: impl IntoBytes,
        value: impl IntoBytes,
        options: impl Into<Option<PutOptions>>,
    ) -> Result<api::PutResponse, CallError> {
        let request = options.into().unwrap_or_default().request(key, value);
        let shard = self.shard_with(&request.key);
        ask!(shard, Put, request)
    }

    /// Reads a key, or with options many; see [`range`](Self::range).
    ///
    /// # Errors
    /// As for a range.
    pub async fn get(
        &self,
        key: impl IntoBytes,
        options: impl Into<Option<GetOptions>>,
    ) -> Result<MergedRange, CallError> {
        self.range(options.into().unwrap_or_default().request(key))
            .await
    }

    /// Deletes a key, or with options many; see [`delete_range`](Self::delete_range).
    pub async fn delete(
        &self,
        key: impl IntoBytes,
        options: impl Into<Option<DeleteOptions>>,
    ) -> Vec<(usize, Result<api::DeleteRangeResponse, CallError>)> {
        self.delete_range(options.into().unwrap_or_default().request(key))
            .await
    }

    /// Reads keys: one in its shard, a range in all of them. A range is merged in the order
    /// that was asked for; each shard's part is as of a revision of its own, and nothing says
    /// that they were the state of all shards at any one time.
    ///
    /// # Errors
    /// What compares revisions of different shards is refused: a range at a revision, sorted
    /// by one, or bounded by one. Otherwise the first error of a shard, see [`Client::call`].
    pub async fn range(&self, request: api::RangeRequest) -> Result<MergedRange, CallError> {
        if request.range_end.is_empty() {
            let number = self.placement.shard_of(&request.key);
            let answer = self.shards[number].call(RequestBody::Range(request)).await;
            return Ok(MergedRange::of_one(number, range_of(answer)?));
        }
        if self.shards.len() > 1 {
            check_merged(&request).map_err(refused)?;
        }
        let asks = self
            .shards
            .iter()
            .map(|_| RequestBody::Range(request.clone()));
        let mut answers = Vec::with_capacity(self.shards.len());
        for answer in self.each(asks.collect()).await {
            answers.push(range_of(answer)?);
        }
        let sorts = !self.has(PlantedBug::ShardsNotMerged);
        Ok(merged(&request, answers, sorts))
    }

    /// Deletes keys: one in its shard, a range in all of them, each by itself. Returns what
    /// every shard that was asked has answered, by its number.
    pub async fn delete_range(
        &self,
        request: api::DeleteRangeRequest,
    ) -> Vec<(usize, Result<api::DeleteRangeResponse, CallError>)> {
        let deleted = |answer| match answer {
            Ok(ResponseBody::DeleteRange(response)) => Ok(response),
            Ok(other) => Err(mismatch(&other)),
            Err(error) => Err(error),
        };
        if request.range_end.is_empty() {
            let number = self.placement.shard_of(&request.key);
            let ask = RequestBody::DeleteRange(request);
            return vec![(number, deleted(self.shards[number].call(ask).await))];
        }
        let asks = self.shards.iter();
        let asks = asks.map(|_| RequestBody::DeleteRange(request.clone()));
        let answers = self.each(asks.collect()).await.into_iter();
        answers.map(deleted).enumerate().collect()
    }

    /// Runs a transaction whose keys are all in one shard.
    ///
    /// # Errors
    /// It names keys of several shards, or a range. Otherwise see [`Client::call`].
    pub async fn txn(&self, txn: Txn) -> Result<api::TxnResponse, CallError> {
        let request = txn.into_request();
        let number = match txn_shard(&request, self.placement) {
            Ok(number) => number,
            Err(across) if self.has(PlantedBug::ShardTxnUnchecked) => across.first_shard,
            Err(across) => return Err(refused(across.to_string())),
        };
        ask!(self.shards[number], Txn, request)
    }

    /// Watches a key in its shard, or with options many in all of them. When this returns all
    /// watches have begun. From a revision on only one key can be watched, since revisions
    /// belong to shards.
    ///
    /// ```no_run
    /// # async fn example(client: veridical_client::ShardedClient<
    /// #     veridical_client::Pipelined<veridical_env::TcpNetwork>, veridical_env::RealClock,
    /// # >) -> Result<(), Box<dyn std::error::Error>> {
    /// use veridical_client::WatchOptions;
    ///
    /// let mut watch = client.watch("jobs/", WatchOptions::new().with_prefix()).await?;
    /// while let Some((shard, batch)) = watch.next().await {
    ///     println!("shard {shard} is at revision {}", batch?.revision);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// See [`Client::watch`]; [`WatchError::Refused`] also for a range from a revision on.
    pub async fn watch(
        &self,
        key: impl IntoBytes,
        options: impl Into<Option<WatchOptions>>,
    ) -> Result<ShardedWatch, WatchError> {
        let key = key.into_bytes();
        let options = options.into().unwrap_or_default();
        let request = options.clone().request(key.clone());
        let mut shards = 0..self.shards.len();
        if request.range_end.is_empty() {
            let number = self.placement.shard_of(&key);
            shards = number..number + 1;
        } else if request.start_revision != 0 && self.shards.len() > 1 {
            return Err(WatchError::Refused {
                reason: "a watch over shards has no common revision to begin with".to_owned(),
            });
        }
        let mut watches = Vec::with_capacity(shards.len());
        for number in shards {
            let watch = self.shards[number].watch(&key, options.clone()).await?;
            watches.push((number, watch));
        }
        Ok(ShardedWatch::new(watches))
    }

    /// Does many operations, those of each shard in their order, see [`Client::batch`]. One
    /// that is not of one shard alone is refused. Returns an outcome for each operation, in
    /// their order.
    pub async fn batch<O: Into<Operation>>(
        &self,
        operations: impl IntoIterator<Item = O>,
    ) -> Vec<Result<ResponseBody, CallError>> {
        let operations: Vec<Operation> = operations.into_iter().map(Into::into).collect();
        let mut outcomes: Vec<Option<Result<ResponseBody, CallError>>> =
            operations.iter().map(|_| None).collect();
        let mut parts: Vec<(Vec<usize>, Vec<Operation>)> =
            self.shards.iter().map(|_| Default::default()).collect();
        for (place, operation) in operations.into_iter().enumerate() {
            match self.placement.operation_shard(&operation) {
                Ok(number) => {
                    parts[number].0.push(place);
                    parts[number].1.push(operation);
                }
                Err(reason) => outcomes[place] = Some(Err(refused(reason))),
            }
        }
        let (mut places, parts): (Vec<Vec<usize>>, Vec<_>) = parts.into_iter().unzip();
        if self.has(PlantedBug::ShardAnswersSwapped) {
            // One list behind the other, as if the operations had come like that.
            let mut all: Vec<usize> = places.concat();
            all.sort_unstable();
            let mut all = all.into_iter();
            for places in &mut places {
                *places = all.by_ref().take(places.len()).collect();
            }
        }
        let calls: Vec<_> = parts
            .into_iter()
            .zip(self.shards.iter())
            .map(|(part, shard)| {
                let shard = shard.clone();
                begin(async move { shard.batch(part).await })
            })
            .collect();
        for (places, call) in places.into_iter().zip(calls) {
            let Ok(part) = call.await else { continue };
            for (place, outcome) in places.into_iter().zip(part) {
                outcomes[place] = Some(outcome);
            }
        }
        let cut_off = || CallError::Unknown("the call was cut off".to_owned());
        let outcomes = outcomes.into_iter();
        outcomes
            .map(|outcome| outcome.unwrap_or_else(|| Err(cut_off())))
            .collect()
    }

    /// Asks each shard at the same time.
    async fn each(&self, asks: Vec<RequestBody>) -> Vec<Result<ResponseBody, CallError>> {
        let calls: Vec<_> = asks
            .into_iter()
            .zip(self.shards.iter())
            .map(|(ask, shard)| {
                let shard = shard.clone();
                begin(async move { shard.call(ask).await })
            })
            .collect();
        let mut answers = Vec::with_capacity(calls.len());
        for call in calls {
            let cut_off = || CallError::Unknown("the call was cut off".to_owned());
            answers.push(call.await.unwrap_or_else(|_| Err(cut_off())));
        }
        answers
    }

    fn has(&self, bug: PlantedBug) -> bool {
        self.shards[0].config().planted.has(bug)
    }
}

/// Begins work beside other work.
fn begin<R: Send + 'static>(
    work: impl Future<Output = R> + Send + 'static,
) -> oneshot::Receiver<R> {
    let (reply, answer) = oneshot::channel();
    veridical_env::task::spawn(async move {
        // Whoever asked may have given up.
        let _ = reply.send(work.await);
    });
    answer
}

fn range_of(answer: Result<ResponseBody, CallError>) -> Result<api::RangeResponse, CallError> {
    match answer {
        Ok(ResponseBody::Range(response)) => Ok(response),
        Ok(other) => Err(mismatch(&other)),
        Err(error) => Err(error),
    }
}

fn refused(message: impl Into<String>) -> CallError {
    CallError::Refused {
        code: CODE_INVALID_ARGUMENT,
        message: message.into(),
    }
}
