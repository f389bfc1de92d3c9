//! Responses without what cannot be equal, as text.

use std::fmt::Debug;
use tonic::Status;
use veridical_proto::etcdserverpb as api;

/// Leases with a smaller number have it from the client.
pub const CLIENT_LEASES_END: i64 = 1_000;

/// Takes out of a response what cannot be equal.
pub trait Comparable: Debug {
    fn make_comparable(&mut self);
}

/// An answer as text, which two stores give in the same words.
pub fn text<A: Comparable>(answer: Result<A, Status>) -> String {
    match answer {
        Ok(mut answer) => {
            answer.make_comparable();
            format!("{answer:?}")
        }
        Err(error) => status(&error),
    }
}

pub fn status(status: &Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}

/// A message that creates or cancels a watch. The revision is that at which the store was
/// when it was sent, which is certain of the former only.
pub fn watch(mut message: api::WatchResponse) -> String {
    header(&mut message.header);
    if !message.created {
        message.header = None;
    }
    format!("{message:?}")
}

/// Whether a number is there.
fn presence(number: &mut u64) {
    *number = u64::from(*number != 0);
}

fn header(header: &mut Option<api::ResponseHeader>) {
    if let Some(header) = header {
        presence(&mut header.cluster_id);
        presence(&mut header.member_id);
        presence(&mut header.raft_term);
    }
}

fn lease(id: &mut i64) {
    if *id >= CLIENT_LEASES_END {
        *id = CLIENT_LEASES_END;
    }
}

/// The responses of which nothing but the header differs.
macro_rules! only_header_differs {
    ($($name:ident),* $(,)?) => {
        $(impl Comparable for api::$name {
            fn make_comparable(&mut self) {
                header(&mut self.header);
            }
        })*
    };
}

only_header_differs!(
    RangeResponse,
    PutResponse,
    DeleteRangeResponse,
    CompactionResponse,
    LeaseRevokeResponse,
    LeaseKeepAliveResponse,
    DefragmentResponse,
    MoveLeaderResponse,
);

impl Comparable for api::TxnResponse {
    fn make_comparable(&mut self) {
        use api::response_op::Response;
        header(&mut self.header);
        for response in self
            .responses
            .iter_mut()
            .filter_map(|op| op.response.as_mut())
        {
            match response {
                Response::ResponseRange(range) => range.make_comparable(),
                Response::ResponsePut(put) => put.make_comparable(),
                Response::ResponseDeleteRange(delete) => delete.make_comparable(),
                Response::ResponseTxn(txn) => txn.make_comparable(),
            }
        }
    }
}

impl Comparable for api::LeaseGrantResponse {
    fn make_comparable(&mut self) {
        header(&mut self.header);
        lease(&mut self.id);
    }
}

impl Comparable for api::LeaseTimeToLiveResponse {
    fn make_comparable(&mut self) {
        header(&mut self.header);
        // It goes by, and not at the same moment.
        self.ttl = self.ttl.signum();
        lease(&mut self.id);
        // etcd takes them out of a map in whatever order.
        self.keys.sort();
    }
}

impl Comparable for api::LeaseLeasesResponse {
    fn make_comparable(&mut self) {
        header(&mut self.header);
        self.leases
            .iter_mut()
            .for_each(|status| lease(&mut status.id));
        self.leases.sort_by_key(|status| status.id);
    }
}

impl Comparable for api::HashResponse {
    fn make_comparable(&mut self) {
        header(&mut self.header);
        self.hash = 0;
    }
}

impl Comparable for api::HashKvResponse {
    fn make_comparable(&mut self) {
        header(&mut self.header);
        self.hash = 0;
    }
}

impl Comparable for api::StatusResponse {
    fn make_comparable(&mut self) {
        header(&mut self.header);
        self.version = String::from(if self.version.is_empty() { "" } else { "some" });
        // An empty store of etcd's has a file, and ours has nothing in memory.
        self.db_size = 0;
        self.db_size_in_use = 0;
        for number in [
            &mut self.leader,
            &mut self.raft_index,
            &mut self.raft_term,
            &mut self.raft_applied_index,
        ] {
            presence(number);
        }
    }
}

impl Comparable for api::AlarmResponse {
    fn make_comparable(&mut self) {
        header(&mut self.header);
        self.alarms
            .iter_mut()
            .for_each(|alarm| presence(&mut alarm.member_id));
    }
}

/// Which name and addresses a member has is up to who started it.
fn members(members: &mut [api::Member]) {
    for member in members.iter_mut() {
        self::member(member);
    }
    members.sort_by(|one, other| one.name.cmp(&other.name));
}

fn member(member: &mut api::Member) {
    presence(&mut member.id);
    for url in member.peer_ur_ls.iter_mut().chain(&mut member.client_ur_ls) {
        *url = "url".to_owned();
    }
}

impl Comparable for api::MemberAddResponse {
    fn make_comparable(&mut self) {
        header(&mut self.header);
        self.member.as_mut().into_iter().for_each(member);
        members(&mut self.members);
    }
}

macro_rules! list_of_members {
    ($($name:ident),* $(,)?) => {
        $(impl Comparable for api::$name {
            fn make_comparable(&mut self) {
                header(&mut self.header);
                members(&mut self.members);
            }
        })*
    };
}

list_of_members!(
    MemberRemoveResponse,
    MemberUpdateResponse,
    MemberPromoteResponse,
    MemberListResponse,
);
