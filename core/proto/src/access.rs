//! What nearly everybody asks of a message, as methods.

use crate::etcdserverpb as api;
use crate::etcdserverpb::response_op::Response;
use crate::mvccpb::event::EventType;
use crate::mvccpb::{Event, KeyValue};

/// `revision()` for everything that has a header.
macro_rules! with_revision {
    ($($response:ident),* $(,)?) => { $(
        impl api::$response {
            /// The revision of the store when the request was applied or the read was made;
            /// 0 where the answer does not tell.
            pub fn revision(&self) -> i64 {
                self.header.as_ref().map_or(0, |header| header.revision)
            }
        }
    )* };
}

with_revision!(
    RangeResponse,
    PutResponse,
    DeleteRangeResponse,
    TxnResponse,
    CompactionResponse,
    LeaseGrantResponse,
    LeaseRevokeResponse,
    LeaseKeepAliveResponse,
    LeaseTimeToLiveResponse,
    LeaseLeasesResponse,
    WatchResponse,
    HashKvResponse,
    StatusResponse,
    MemberListResponse,
);

impl KeyValue {
    /// The key as text.
    ///
    /// # Errors
    /// It is not UTF-8.
    pub fn key_str(&self) -> Result<&str, std::str::Utf8Error> {
        std::str::from_utf8(&self.key)
    }

    /// The value as text.
    ///
    /// # Errors
    /// It is not UTF-8.
    pub fn value_str(&self) -> Result<&str, std::str::Utf8Error> {
        std::str::from_utf8(&self.value)
    }
}

impl Event {
    /// Whether the key was written, and not deleted.
    pub fn is_put(&self) -> bool {
        self.r#type() == EventType::Put
    }

    /// Whether the key was deleted.
    pub fn is_delete(&self) -> bool {
        self.r#type() == EventType::Delete
    }

    /// The revision of the write; 0 where the event has no key.
    pub fn revision(&self) -> i64 {
        self.kv.as_ref().map_or(0, |kv| kv.mod_revision)
    }
}

impl api::ResponseOp {
    /// The answer of a read.
    pub fn as_get(&self) -> Option<&api::RangeResponse> {
        match &self.response {
            Some(Response::ResponseRange(answer)) => Some(answer),
            Some(
                Response::ResponsePut(_)
                | Response::ResponseDeleteRange(_)
                | Response::ResponseTxn(_),
            )
            | None => None,
        }
    }

    /// The answer of a put.
    pub fn as_put(&self) -> Option<&api::PutResponse> {
        match &self.response {
            Some(Response::ResponsePut(answer)) => Some(answer),
            Some(
                Response::ResponseRange(_)
                | Response::ResponseDeleteRange(_)
                | Response::ResponseTxn(_),
            )
            | None => None,
        }
    }

    /// The answer of a deletion.
    pub fn as_delete(&self) -> Option<&api::DeleteRangeResponse> {
        match &self.response {
            Some(Response::ResponseDeleteRange(answer)) => Some(answer),
            Some(
                Response::ResponseRange(_) | Response::ResponsePut(_) | Response::ResponseTxn(_),
            )
            | None => None,
        }
    }

    /// The answer of a transaction in the transaction.
    pub fn as_txn(&self) -> Option<&api::TxnResponse> {
        match &self.response {
            Some(Response::ResponseTxn(answer)) => Some(answer),
            Some(
                Response::ResponseRange(_)
                | Response::ResponsePut(_)
                | Response::ResponseDeleteRange(_),
            )
            | None => None,
        }
    }
}
