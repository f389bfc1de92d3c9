//! Errors of the client API: etcd's codes and messages, word for word, so that any etcd
//! client recognises them (etcd: `api/v3rpc/rpctypes`).

use std::borrow::Cow;
use std::fmt;

/// A gRPC status code; the discriminant is the number on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs)] // The names are gRPC's, explained in its documentation.
pub enum Code {
    Ok = 0,
    Cancelled = 1,
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
    Unauthenticated = 16,
}

impl Code {
    /// The number on the wire.
    pub const fn number(self) -> u8 {
        self as u8
    }
}

/// A request that was not served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// The gRPC status code.
    pub code: Code,
    /// etcd's message where etcd has one.
    pub message: Cow<'static, str>,
    /// The request may or may not take effect: the caller must treat it as unknown.
    pub outcome_unknown: bool,
}

impl ApiError {
    /// An error of this project's own, for what etcd has no message for.
    pub const fn new(code: Code, message: &'static str) -> Self {
        Self {
            code,
            message: Cow::Borrowed(message),
            outcome_unknown: false,
        }
    }

    /// The same error, of a request that was proposed and may still take effect.
    pub const fn with_unknown_outcome(mut self) -> Self {
        self.outcome_unknown = true;
        self
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ApiError {}

macro_rules! api_errors {
    ($($(#[$doc:meta])* $name:ident: $code:ident, $message:literal $(, $unknown:ident)?;)+) => {
        impl ApiError {
            $(
                $(#[$doc])*
                pub const fn $name() -> Self {
                    Self::new(Code::$code, $message)$(.$unknown())?
                }
            )+

            /// Every error that has a name here.
            pub const NAMED: &'static [Self] = &[$(Self::$name()),+];
        }
    };
}

api_errors! {
    /// A request without a key.
    empty_key: InvalidArgument, "etcdserver: key is not provided";
    /// `ignore_value` or `ignore_lease` on a key that does not exist; an empty operation.
    key_not_found: InvalidArgument, "etcdserver: key not found";
    /// A value beside `ignore_value`.
    value_provided: InvalidArgument, "etcdserver: value is provided";
    /// A lease beside `ignore_lease`.
    lease_provided: InvalidArgument, "etcdserver: lease is provided";
    /// A transaction above the limit on operations.
    too_many_ops: InvalidArgument, "etcdserver: too many operations in txn request";
    /// A batch above the limit on operations.
    too_many_operations_in_batch: InvalidArgument, "too many operations in a batch";
    /// A transaction that writes one key twice.
    duplicate_key: InvalidArgument, "etcdserver: duplicate key given in txn request";
    /// An unknown sort order or target.
    invalid_sort_option: InvalidArgument, "etcdserver: invalid sort option";
    /// A revision below the compacted one.
    compacted: OutOfRange, "etcdserver: mvcc: required revision has been compacted";
    /// A revision that does not exist yet.
    future_revision: OutOfRange, "etcdserver: mvcc: required revision is a future revision";
    /// The store is full.
    no_space: ResourceExhausted, "etcdserver: mvcc: database space exceeded";
    /// A lease that does not exist (any more).
    lease_not_found: NotFound, "etcdserver: requested lease not found";
    /// A grant under an identifier that is taken.
    lease_exists: FailedPrecondition, "etcdserver: lease already exists";
    /// A time to live above [`LEASE_TTL_S_MAX`](crate::LEASE_TTL_S_MAX).
    lease_ttl_too_large: OutOfRange, "etcdserver: too large lease TTL";
    /// A member that exists already.
    member_exists: FailedPrecondition, "etcdserver: member ID already exist";
    /// A peer URL that another member has.
    peer_url_exists: FailedPrecondition, "etcdserver: Peer URLs already exists";
    /// A change of members that would cost the quorum.
    not_enough_started_members: FailedPrecondition,
        "etcdserver: re-configuration failed due to not enough started members";
    /// Malformed member URLs.
    bad_member_urls: InvalidArgument, "etcdserver: given member URLs are invalid";
    /// A member that does not exist.
    member_not_found: NotFound, "etcdserver: member not found";
    /// Promotion of a member that votes already.
    not_a_learner: FailedPrecondition, "etcdserver: can only promote a learner member";
    /// Promotion of a learner that lags behind.
    learner_not_ready: FailedPrecondition,
        "etcdserver: can only promote a learner member which is in sync with leader";
    /// More learners than allowed.
    too_many_learners: FailedPrecondition, "etcdserver: too many learner members in cluster";
    /// A request above `max_request_bytes`.
    request_too_large: InvalidArgument, "etcdserver: request is too large";
    /// More requests in flight than allowed; this one was not proposed.
    too_many_requests: ResourceExhausted, "etcdserver: too many requests";
    /// There is no leader.
    no_leader: Unavailable, "etcdserver: no leader";
    /// Only the leader can do this.
    not_leader: FailedPrecondition, "etcdserver: not leader";
    /// The leader changed while the request was under way.
    leader_changed: Unavailable, "etcdserver: leader changed", with_unknown_outcome;
    /// The member is stopping.
    stopped: Unavailable, "etcdserver: server stopped";
    /// No answer in time.
    timeout: Unavailable, "etcdserver: request timed out", with_unknown_outcome;
    /// No answer in time, and nobody has the request: it has no effect and never will.
    timeout_untaken: Unavailable, "etcdserver: request timed out";
    /// No answer in time, and the leader was lost meanwhile.
    timeout_leader_failure: Unavailable,
        "etcdserver: request timed out, possibly due to previous leader failure",
        with_unknown_outcome;
    /// No answer in time, and the connection to the leader was lost meanwhile.
    timeout_connection_lost: Unavailable,
        "etcdserver: request timed out, possibly due to connection lost",
        with_unknown_outcome;
    /// Too few members are connected.
    unhealthy: Unavailable, "etcdserver: unhealthy cluster";
    /// Members disagree about the data.
    corrupt: DataLoss, "etcdserver: corrupt cluster";
    /// A learner does not serve this.
    not_supported_for_learner: Unavailable, "etcdserver: rpc not supported for learner";
    /// Leadership cannot go to that member.
    bad_leader_transferee: FailedPrecondition, "etcdserver: bad leader transferee";
    /// A member asked for something that this version does not have.
    not_capable: Unavailable, "etcdserver: not capable";
    /// A token is asked for, and nobody needs one.
    auth_not_enabled: FailedPrecondition, "etcdserver: authentication is not enabled";
    /// Authentication cannot begin without somebody who may do everything.
    root_user_not_found: FailedPrecondition, "etcdserver: root user does not exist";
    /// A user that does not exist.
    user_not_found: FailedPrecondition, "etcdserver: user name not found";
    /// A role that does not exist.
    role_not_found: FailedPrecondition, "etcdserver: role name not found";
    /// An alarm is to be raised, and there are none.
    alarms_not_raised: Unimplemented, "veridical: alarms cannot be raised by clients";
    /// A command in the log without a request that this version knows.
    unknown_command: Unimplemented, "veridical: unknown command";
}
