//! What a command came to: the answer of the state machine, below everything that gives
//! or reads one.

use veridical_proto::etcdserverpb::{
    CompactionResponse, DeleteRangeResponse, LeaseGrantResponse, LeaseRevokeResponse, PutResponse,
    TxnResponse,
};

use crate::error::ApiError;

/// The outcome of a command.
#[derive(Clone, Debug, PartialEq)]
pub enum Applied {
    /// It took effect. The header of the response has only the revision.
    Response(CommandResponse),
    /// It had no effect, for this reason, on every member alike.
    Refused(ApiError),
    /// It had no effect, because a proposal of the same name was applied before or can no
    /// longer be.
    Duplicate,
}

/// The response to a command that took effect.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // The variants are the requests of `Command`.
pub enum CommandResponse {
    Put(PutResponse),
    DeleteRange(DeleteRangeResponse),
    Txn(TxnResponse),
    Compaction(CompactionResponse),
    LeaseGrant(LeaseGrantResponse),
    LeaseRevoke(LeaseRevokeResponse),
    /// Of a member that told of itself; there is nothing to answer.
    Announcement,
    /// What each write of a batch came to, in their order.
    Batch(Vec<Result<CommandResponse, ApiError>>),
}
