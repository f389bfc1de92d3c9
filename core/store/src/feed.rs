//! The feed: the changes for a durable copy of the store, as ordered keys and values.
//!
//! Every kind of record has a prefix byte of its own, and the rest of a key orders the
//! records of a kind as a restore needs them, so one scan in order rebuilds the store:
//!
//! | prefix | rest of the key | value (`snapshot.proto`) |
//! |---|---|---|
//! | 1 | nothing | `Header` |
//! | 2 | the key, escaped; mod_revision, sub_revision | `Version` |
//! | 3 | lease id | `Lease` |
//! | 4 | member id | `Session` |
//!
//! Integers have 8 bytes, big-endian. In an escaped key a byte 00 is written 00 FF, and
//! 00 00 stands behind the last one: so the order of keys is kept, and none is a prefix
//! of another. Prefixes from [`FEED_PREFIX_END`] on are left to the owner of the copy.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use veridical_proto::mvccpb::KeyValue;
use veridical_proto::snapshot::{Header, Lease, Version as VersionRecord, snapshot_record::Record};

use crate::history::Version;
use crate::lease::LeaseStep;

pub(crate) const HEADER_PREFIX: u8 = 1;
pub(crate) const VERSION_PREFIX: u8 = 2;
pub(crate) const LEASE_PREFIX: u8 = 3;
pub(crate) const SESSION_PREFIX: u8 = 4;

/// All keys of a [`Feed`] are less than this byte: whoever keeps the copy may keep keys of
/// its own from here on.
pub const FEED_PREFIX_END: u8 = 5;

/// One change of the copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeedOperation {
    /// Sets a key.
    Put {
        /// The key.
        key: Bytes,
        /// Its new value.
        value: Bytes,
    },
    /// Removes a key; there may be none.
    Delete {
        /// The key.
        key: Bytes,
    },
}

/// Changes, in order, that bring a copy from one published state to a later one. They
/// belong together: a copy with some of them is no copy of anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Feed {
    operations: Vec<FeedOperation>,
    bytes: usize,
}

impl Feed {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// Bytes of all keys and values.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn put(&mut self, record: &Record) {
        let (key, value) = copy_entry(record);
        self.bytes += key.len() + value.len();
        self.operations.push(FeedOperation::Put { key, value });
    }

    pub(crate) fn delete(&mut self, key: Bytes) {
        self.bytes += key.len();
        self.operations.push(FeedOperation::Delete { key });
    }

    pub(crate) fn put_header(&mut self, header: Header) {
        self.put(&Record::Header(header));
    }

    pub(crate) fn put_version(&mut self, key: &Bytes, version: &Version) {
        self.put(&Record::Version(version_record(key, version)));
    }

    pub(crate) fn delete_versions(&mut self, key: &[u8], versions: &[Version]) {
        for version in versions {
            self.delete(version_key(key, version.mod_revision, version.sub_revision));
        }
    }

    /// Which keys are attached follows from the versions.
    pub(crate) fn step_lease(&mut self, step: &LeaseStep) {
        match step {
            LeaseStep::Grant { id, granted_ttl_s } => self.put(&Record::Lease(Lease {
                id: *id,
                granted_ttl_s: *granted_ttl_s,
            })),
            LeaseStep::Remove { id } => self.delete(number_key(LEASE_PREFIX, *id as u64)),
            LeaseStep::Attach { .. } | LeaseStep::Detach { .. } => {}
        }
    }
}

impl IntoIterator for Feed {
    type Item = FeedOperation;
    type IntoIter = std::vec::IntoIter<FeedOperation>;

    fn into_iter(self) -> Self::IntoIter {
        self.operations.into_iter()
    }
}

/// A version as snapshots and feeds have it.
pub(crate) fn version_record(key: &Bytes, version: &Version) -> VersionRecord {
    let kv = version.key_value(key);
    VersionRecord {
        tombstone: kv.is_none(),
        sub_revision: version.sub_revision,
        kv: Some(kv.unwrap_or_else(|| KeyValue {
            key: key.clone(),
            mod_revision: version.mod_revision,
            ..KeyValue::default()
        })),
    }
}

/// A record as the copy keeps it.
///
/// # Panics
/// On a footer: a copy has none.
pub(crate) fn copy_entry(record: &Record) -> (Bytes, Bytes) {
    match record {
        Record::Header(header) => (
            Bytes::from_static(&[HEADER_PREFIX]),
            header.encode_to_vec().into(),
        ),
        Record::Version(version) => {
            let kv = version.kv.as_ref().expect("a version has a key");
            let key = version_key(&kv.key, kv.mod_revision, version.sub_revision);
            (key, version.encode_to_vec().into())
        }
        Record::Lease(lease) => (
            number_key(LEASE_PREFIX, lease.id as u64),
            lease.encode_to_vec().into(),
        ),
        Record::Session(session) => (
            number_key(SESSION_PREFIX, session.member_id),
            session.encode_to_vec().into(),
        ),
        Record::Footer(_) => unreachable!("a copy has no footer"),
    }
}

/// Negative lease ids come last: their order does not matter.
fn number_key(prefix: u8, number: u64) -> Bytes {
    let mut out = BytesMut::with_capacity(1 + 8);
    out.put_u8(prefix);
    out.put_u64(number);
    out.freeze()
}

fn version_key(key: &[u8], mod_revision: i64, sub_revision: i64) -> Bytes {
    let mut out = BytesMut::with_capacity(1 + key.len() + 2 + 16);
    out.put_u8(VERSION_PREFIX);
    for byte in key {
        out.put_u8(*byte);
        if *byte == 0 {
            out.put_u8(0xff);
        }
    }
    out.put_u16(0);
    out.put_i64(mod_revision);
    out.put_i64(sub_revision);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_keys_of_versions_are_ordered_like_key_revision_and_sub_revision(
            mut places in prop::collection::vec(
                (prop::collection::vec(prop_oneof![Just(0u8), Just(1), Just(0xff)], 0..4),
                 1i64..i64::MAX, 0i64..3),
                2..20,
            ),
        ) {
            places.sort();
            places.dedup();
            let keys: Vec<Bytes> = places
                .iter()
                .map(|(key, revision, sub)| version_key(key, *revision, *sub))
                .collect();
            prop_assert!(keys.is_sorted_by(|a, b| a < b));
        }
    }
}
