//! What is done to both stores.

use veridical_proto::etcdserverpb as api;

/// An operation, at one of the members.
#[derive(Clone, Debug)]
pub struct Step {
    pub member: usize,
    pub operation: Operation,
}

#[derive(Clone, Debug)]
pub enum Operation {
    Range(api::RangeRequest),
    Put(api::PutRequest),
    Delete(api::DeleteRangeRequest),
    Txn(api::TxnRequest),
    Compact(api::CompactionRequest),
    Grant(api::LeaseGrantRequest),
    Revoke(api::LeaseRevokeRequest),
    KeepAlive(api::LeaseKeepAliveRequest),
    TimeToLive(api::LeaseTimeToLiveRequest),
    Leases,
    Watch(Watching),
    Alarm(api::AlarmRequest),
    Status,
    Hash,
    HashKv(api::HashKvRequest),
    Defragment,
    MoveLeader(api::MoveLeaderRequest),
    MemberAdd(api::MemberAddRequest),
    MemberRemove(api::MemberRemoveRequest),
    MemberUpdate(api::MemberUpdateRequest),
    MemberPromote(api::MemberPromoteRequest),
    MemberList(api::MemberListRequest),
    /// The end of the process, and a start with the same data.
    Restart,
}

/// Watches of one stream, what is written while they are there, and their end.
#[derive(Clone, Debug)]
pub struct Watching {
    pub creates: Vec<api::WatchCreateRequest>,
    pub meanwhile: Vec<Operation>,
    pub cancels: Vec<i64>,
}
