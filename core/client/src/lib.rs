//! A client of a cluster: many requests in flight on one connection, retries of what is
//! safe to retry, watches that go on by themselves, and a history of all of it on demand.
//!
//! Inputs: requests of the etcd v3 API; frames of a server.
//! Outputs: responses, or one of three errors that never lie: refused (no effect),
//! unknown (may or may not take effect), unavailable (no effect).
//! Dependencies: proto, env, histories, planted, probe; with the feature `grpc` also tonic.
//!
//! Operations travel together (`batching`), several clusters are one store (`sharding`), and a
//! client asks by itself for the members (`discovery`).
//!
//! [`Client`] picks a member and retries. Its typed calls are in a file for each service: keys,
//! transactions, watches, leases, locks, elections, members, maintenance; all of them go through
//! [`Client::call`]. How a member is reached is a [`Connector`]: [`Pipelined`], and with the
//! feature `grpc` etcd's protocol. [`record`] turns requests and responses into the events of a
//! history. The crate's README has an example of each.

mod address;
mod ask;
mod batching;
mod client;
mod cluster;
mod connection;
mod connector;
mod core;
mod discovery;
mod election;
mod endpoints;
#[cfg(all(feature = "grpc", not(madsim)))]
mod grpc;
mod hold;
mod into_bytes;
mod kv;
mod lease;
mod lock;
mod maintenance;
mod options;
pub mod record;
mod sharding;
mod span;
mod txn;
mod watch;

pub use address::AddressError;
pub use batching::BatchLimits;
pub use client::{Client, ClientConfig};
pub use cluster::{
    Member, MemberAddResponse, MemberListResponse, MemberPromoteResponse, MemberRemoveResponse,
    MemberUpdateResponse, MoveLeaderResponse,
};
pub use connection::{CallError, Connection, WatchResponses};
pub use connector::{Connector, Link, Pipelined, WatchChannel, WatchRequests};
pub use election::{Leadership, Observe};
#[cfg(all(feature = "grpc", not(madsim)))]
pub use grpc::{Grpc, GrpcLink};
pub use hold::{HoldError, HoldOptions};
pub use into_bytes::IntoBytes;
pub use kv::{CompactionResponse, DeleteResponse, GetResponse, PutResponse, TxnResponse};
pub use lease::{
    LeaseGrantOptions, LeaseGrantResponse, LeaseKeeper, LeaseLeasesResponse, LeaseLost,
    LeaseRevokeResponse, LeaseState, LeaseTimeToLiveOptions, LeaseTimeToLiveResponse,
};
pub use lock::Lock;
pub use maintenance::{
    AlarmResponse, AlarmType, DefragmentResponse, HashKvResponse, HashResponse, StatusResponse,
};
pub use options::{
    CompactionOptions, DeleteOptions, GetOptions, PutOptions, SortOrder, SortTarget, WatchOptions,
};
pub use sharding::{MergedRange, Placement, ShardPart, ShardedClient, ShardedWatch};
pub use txn::{Compare, CompareNumber, CompareValue, Txn, TxnOp};
pub use veridical_proto::mvccpb::{Event, KeyValue};
pub use veridical_proto::native::batch_operation::Operation;
pub use veridical_proto::native::response::Body as Answer;
pub use watch::{Watch, WatchError, WatchEvents};

/// A client of the pipelined protocol over TCP.
#[cfg(not(madsim))]
pub type PipelinedClient = Client<Pipelined<veridical_env::TcpNetwork>, veridical_env::RealClock>;

/// A client over gRPC, of etcd as well as of Veridical.
#[cfg(all(feature = "grpc", not(madsim)))]
pub type GrpcClient = Client<Grpc, veridical_env::RealClock>;

/// The examples of the README compile and run as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
