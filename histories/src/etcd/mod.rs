//! The vocabulary of an etcd-v3-like store: requests, responses, watches.
//!
//! Field names and meanings are those of etcd's `rpc.proto` and `kv.proto`. Revisions,
//! versions, counts and lease numbers are `i64` as there; 0 means "none" or "current".

mod describe;
pub mod reference;
mod request;
mod response;
mod watch;

pub use request::{
    Compare, CompareResult, CompareTarget, DeleteRangeRequest, KeyRange, PutRequest, RangeRequest,
    Request, SortOrder, SortTarget, TTL_NOT_TOLD_S, TxnOp, TxnRequest,
};
pub use response::{
    DeleteRangeResult, ErrorKind, Header, KeyValue, Outcome, PutResult, RangeResult, Response,
    TxnOpResult, TxnResult,
};
pub use watch::{WatchCreated, WatchEvent, WatchEventKind, WatchNote, WatchResponse};

/// An event of an etcd-like history.
pub type EtcdEvent = crate::Event<Request, Outcome, WatchNote>;
