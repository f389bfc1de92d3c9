//! Leases as the state machine knows them: identifiers, granted times and attached keys.
//! Time itself is the leader's business, see [`LeaseClock`](crate::LeaseClock).

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use veridical_proto::command::{Command, command};

use crate::outcome::{Applied, CommandResponse};

/// The longest time to live, in seconds (etcd: `MaxLeaseTTL`).
pub const LEASE_TTL_S_MAX: i64 = 9_000_000_000;

/// The shortest time to live, in seconds; a shorter one is raised to it. A member that
/// wants more (etcd raises to about one and a half election timeouts) does so before it
/// proposes the grant, because all members must apply the same.
pub const LEASE_TTL_S_MIN: i64 = 1;

/// What a reader sees of a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseView {
    /// The time to live that was granted, in seconds.
    pub granted_ttl_s: i64,
    /// The attached keys in order.
    pub keys: Vec<Bytes>,
}

/// What an applied command did to the set of leases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseChange {
    /// A lease exists from now on.
    Granted {
        /// Its identifier.
        id: i64,
        /// Its time to live in seconds.
        granted_ttl_s: i64,
    },
    /// A lease is gone.
    Revoked {
        /// Its identifier.
        id: i64,
    },
}

impl LeaseChange {
    /// What `command` did to the leases, for the leader's clock to follow.
    pub fn of(command: &Command, applied: &Applied) -> Option<Self> {
        match (&command.request, applied) {
            (_, Applied::Response(CommandResponse::LeaseGrant(granted))) => Some(Self::Granted {
                id: granted.id,
                granted_ttl_s: granted.ttl,
            }),
            (
                Some(command::Request::LeaseRevoke(revoke)),
                Applied::Response(CommandResponse::LeaseRevoke(_)),
            ) => Some(Self::Revoked { id: revoke.id }),
            (
                _,
                Applied::Response(
                    CommandResponse::Put(_)
                    | CommandResponse::DeleteRange(_)
                    | CommandResponse::Txn(_)
                    | CommandResponse::Compaction(_)
                    | CommandResponse::LeaseRevoke(_)
                    | CommandResponse::Announcement
                    // Whose writes are of keys.
                    | CommandResponse::Batch(_),
                )
                | Applied::Refused(_)
                | Applied::Duplicate,
            ) => None,
        }
    }
}

/// All leases.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LeaseTable {
    leases: BTreeMap<i64, Lease>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Lease {
    granted_ttl_s: i64,
    keys: BTreeSet<Bytes>,
}

/// A step of a [`LeaseTable`], to be repeated on another one.
#[derive(Clone, Debug)]
pub(crate) enum LeaseStep {
    Grant { id: i64, granted_ttl_s: i64 },
    Remove { id: i64 },
    Attach { id: i64, key: Bytes },
    Detach { id: i64, key: Bytes },
}

impl LeaseTable {
    /// Takes a step.
    ///
    /// # Panics
    /// If a key is attached to a lease that does not exist, or a lease is granted twice.
    pub(crate) fn step(&mut self, step: LeaseStep) {
        match step {
            LeaseStep::Grant { id, granted_ttl_s } => {
                let lease = Lease {
                    granted_ttl_s,
                    keys: BTreeSet::new(),
                };
                assert!(
                    id != 0 && granted_ttl_s >= LEASE_TTL_S_MIN,
                    "a lease has an identifier and a time to live"
                );
                let old = self.leases.insert(id, lease);
                assert!(old.is_none(), "a lease is granted once");
            }
            LeaseStep::Remove { id } => {
                let old = self.leases.remove(&id);
                assert!(old.is_some(), "only a lease that exists is removed");
            }
            LeaseStep::Attach { id, key } => {
                let lease = self.leases.get_mut(&id);
                lease
                    .expect("keys are attached to leases that exist")
                    .keys
                    .insert(key);
            }
            LeaseStep::Detach { id, key } => {
                if let Some(lease) = self.leases.get_mut(&id) {
                    lease.keys.remove(&key);
                }
            }
        }
    }

    /// Whether the lease exists.
    pub(crate) fn contains(&self, id: i64) -> bool {
        self.leases.contains_key(&id)
    }

    /// The keys attached to a lease, in order.
    pub(crate) fn keys(&self, id: i64) -> impl Iterator<Item = &Bytes> {
        self.leases
            .get(&id)
            .into_iter()
            .flat_map(|lease| &lease.keys)
    }

    /// A lease as readers see it.
    pub(crate) fn view(&self, id: i64) -> Option<LeaseView> {
        self.leases.get(&id).map(|lease| LeaseView {
            granted_ttl_s: lease.granted_ttl_s,
            keys: lease.keys.iter().cloned().collect(),
        })
    }

    /// Every lease with its granted time to live in seconds, by identifier.
    pub(crate) fn granted(&self) -> impl Iterator<Item = (i64, i64)> {
        self.leases
            .iter()
            .map(|(id, lease)| (*id, lease.granted_ttl_s))
    }
}
