//! Leases: `lessor` is the leader's clock, `handover` starts and stops it with leadership,
//! `service` answers renewals and queries and proposes the end of expired leases.

pub(crate) mod handover;
pub(crate) mod lessor;
pub(crate) mod service;
