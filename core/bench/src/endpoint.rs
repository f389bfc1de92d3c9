//! A connection to a member, or to one of each shard, by either protocol.

use std::time::Duration;

use tokio::task::JoinSet;
use veridical_client::{
    BatchLimits, CallError, Client, ClientConfig, Connector, Grpc, GrpcLink, Link, Pipelined,
    PipelinedClient, ShardedClient,
};
use veridical_env::{RealClock, TcpNetwork};
use veridical_proto::etcdserverpb::{RangeRequest, RangeResponse};
use veridical_proto::native::batch_operation::Operation;
use veridical_proto::native::request::Body as Ask;
use veridical_proto::native::response::Body as Answer;

use super::flags::{Batch, WireProtocol};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Above the time after which etcd and Veridical give up themselves.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// Where keys are placed: the same for all who measure the same data.
const PLACEMENT_SEED: u64 = 0;

/// What became of a request.
pub(crate) type Called = Result<Answer, CallError>;

/// One connection. Clones share it; each is a caller of its own.
#[derive(Clone)]
pub(crate) enum Connection {
    Grpc(GrpcLink),
    Native(PipelinedClient),
    Sharded(ShardedClient<Pipelined<TcpNetwork>, RealClock>),
}

/// How connections are opened.
pub(crate) struct Opening {
    pub(crate) protocol: WireProtocol,
    pub(crate) batch: Batch,
    /// The addresses of each cluster that holds a shard.
    pub(crate) shards: Vec<Vec<String>>,
}

impl Opening {
    /// Connects to the member of that number, or to one of each shard.
    ///
    /// # Errors
    /// Nobody answers there (gRPC only: the other protocol connects with its first
    /// request).
    pub(crate) async fn open(&self, number: usize) -> Result<Connection, String> {
        match (self.protocol, &self.shards[..]) {
            (WireProtocol::Grpc, [addresses]) => {
                let address = &addresses[number % addresses.len()];
                let grpc = Grpc::new();
                match tokio::time::timeout(CONNECT_TIMEOUT, grpc.connect(address)).await {
                    Ok(Ok(link)) => Ok(Connection::Grpc(link)),
                    Ok(Err(error)) => Err(error.to_string()),
                    Err(_) => Err(format!("cannot connect to {address}: timed out")),
                }
            }
            (WireProtocol::Grpc, _) => Err("--shards needs --protocol native".to_owned()),
            (WireProtocol::Native, [addresses]) => {
                Ok(Connection::Native(self.native(addresses, number)))
            }
            (WireProtocol::Native, shards) => {
                let clients = shards
                    .iter()
                    .map(|addresses| self.native(addresses, number));
                let sharded = ShardedClient::new(clients.collect(), PLACEMENT_SEED);
                Ok(Connection::Sharded(sharded))
            }
        }
    }

    fn native(&self, addresses: &[String], number: usize) -> PipelinedClient {
        let config = ClientConfig {
            connect_timeout: CONNECT_TIMEOUT,
            request_timeout: REQUEST_TIMEOUT,
            first_endpoint: number,
            batching: match self.batch {
                Batch::Auto => Some(BatchLimits::default()),
                Batch::Of(_) => None,
            },
            ..ClientConfig::new(addresses.to_vec())
        };
        Client::new(Pipelined::new(TcpNetwork), RealClock::default(), config)
    }
}

impl Connection {
    /// Sends a request and waits for the answer. With gRPC nothing is sent twice.
    ///
    /// # Errors
    /// See [`CallError`].
    pub(crate) async fn call(&mut self, ask: Ask) -> Called {
        match self {
            Self::Native(client) => client.call(ask).await,
            Self::Grpc(link) => call_link(link, ask).await,
            Self::Sharded(client) => match ask {
                Ask::Range(range) if !range.range_end.is_empty() => scan(client, range).await,
                ask => {
                    let mut outcomes = client.batch(vec![operation(ask)]).await;
                    outcomes.pop().expect("one for each operation")
                }
            },
        }
    }

    /// Sends many requests and waits for all answers: as one request where members take
    /// batches, else as many at the same time.
    pub(crate) async fn batch(&mut self, asks: Vec<Ask>) -> Vec<Called> {
        match self {
            Self::Native(client) => client.batch(asks.into_iter().map(operation)).await,
            Self::Sharded(client) => {
                let is_scan =
                    |ask: &Ask| matches!(ask, Ask::Range(range) if !range.range_end.is_empty());
                if !asks.iter().any(is_scan) {
                    return client.batch(asks.into_iter().map(operation)).await;
                }
                let mut outcomes = Vec::with_capacity(asks.len());
                for ask in asks {
                    outcomes.push(self.call(ask).await);
                }
                outcomes
            }
            Self::Grpc(link) => {
                let mut calls = JoinSet::new();
                let count = asks.len();
                for (place, ask) in asks.into_iter().enumerate() {
                    let link = link.clone();
                    calls.spawn(async move { (place, call_link(&link, ask).await) });
                }
                let mut outcomes: Vec<Option<Called>> = (0..count).map(|_| None).collect();
                while let Some(called) = calls.join_next().await {
                    let (place, outcome) = called.expect("no call panics");
                    outcomes[place] = Some(outcome);
                }
                let outcomes = outcomes.into_iter();
                outcomes
                    .map(|outcome| outcome.expect("each call has ended"))
                    .collect()
            }
        }
    }
}

/// A range over all shards, as one answer.
async fn scan(
    client: &ShardedClient<Pipelined<TcpNetwork>, RealClock>,
    range: RangeRequest,
) -> Called {
    let merged = client.range(range).await?;
    Ok(Answer::Range(RangeResponse {
        header: None,
        kvs: merged.kvs,
        more: merged.more,
        count: merged.count,
    }))
}

async fn call_link(link: &GrpcLink, ask: Ask) -> Called {
    tokio::time::timeout(REQUEST_TIMEOUT, link.call(ask))
        .await
        .unwrap_or_else(|_| Err(CallError::Unknown("timed out".to_owned())))
}

fn operation(ask: Ask) -> Operation {
    match ask {
        Ask::Range(range) => Operation::Range(range),
        Ask::Put(put) => Operation::Put(put),
        Ask::DeleteRange(delete) => Operation::DeleteRange(delete),
        Ask::Txn(txn) => Operation::Txn(txn),
        other => unreachable!("no workload asks {other:?}"),
    }
}
