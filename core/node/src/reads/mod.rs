//! Linearizable reads (ReadIndex, Raft thesis section 6.4): `rounds` asks Raft for an index
//! that is at least as new as the request, `waiters` holds the callers until then and until
//! this member has applied that index.

pub(crate) mod rounds;
pub(crate) mod waiters;
