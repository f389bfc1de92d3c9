//! Leases: the leader's clock, and the calls that renew and query it.

pub(crate) mod lessor;
pub(crate) mod service;
