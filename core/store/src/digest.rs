//! Digests of the contents, for members to find out whether they agree.

use bytes::{BufMut, Bytes};
use prost::Message;
use veridical_proto::mvccpb::KeyValue;

use crate::history::Version;
use crate::memtable::{KeyScan, Memtable};
use crate::siphash::digest128;
use crate::state::PublishedView;

/// What [`StoreReader::state_hash`](crate::StoreReader::state_hash) says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateHash {
    /// Index of the last entry that is in it.
    pub applied_index: u64,
    /// The revision.
    pub revision: i64,
    /// The compacted revision, -1 if there is none.
    pub compacted_revision: i64,
    /// The digest of everything. Equal at equal `applied_index` on all members.
    pub hash: u128,
}

/// See [`StoreReader::state_hash`](crate::StoreReader::state_hash). The caller keeps the
/// history from `view.compacted_revision` on from being forgotten.
pub(crate) fn state_hash(table: &dyn Memtable, view: &PublishedView) -> StateHash {
    // A sum: the order of the items does not matter.
    let mut hash = 0u128;
    let mut item = Vec::new();
    let mut add = |item: &mut Vec<u8>| {
        hash = hash.wrapping_add(digest128(item));
        item.clear();
    };
    item.put_u8(b'h');
    item.put_i64(view.revision);
    item.put_i64(view.compacted_revision);
    add(&mut item);
    let mut scan = KeyScan::new(table, view.compacted_revision, view.revision);
    while let Some((key, versions)) = scan.next(table) {
        for version in &versions {
            item.put_u8(b'v');
            put_bytes(&mut item, &key);
            item.put_i64(version.mod_revision);
            item.put_i64(version.sub_revision);
            if let Some(put) = &version.put {
                item.put_i64(put.create_revision);
                item.put_i64(put.version);
                item.put_i64(put.lease);
                put_bytes(&mut item, &put.value);
            }
            add(&mut item);
        }
    }
    for (id, granted_ttl_s) in view.leases.granted() {
        item.put_u8(b'l');
        item.put_i64(id);
        item.put_i64(granted_ttl_s);
        for key in view.leases.keys(id) {
            put_bytes(&mut item, key);
        }
        add(&mut item);
    }
    for session in &view.sessions {
        item.put_u8(b's');
        item.put_u64(session.member_id);
        item.put_u64(session.incarnation);
        item.put_u64(session.settled_below);
        item.put_u64(session.applied_count);
        item.put_u64(session.applied_sum);
        add(&mut item);
    }
    StateHash {
        applied_index: view.applied_index,
        revision: view.revision,
        compacted_revision: view.compacted_revision,
        hash,
    }
}

fn put_bytes(item: &mut Vec<u8>, bytes: &[u8]) {
    item.put_u64(bytes.len() as u64);
    item.extend_from_slice(bytes);
}

/// etcd's HashKV: CRC-32C over the bucket's name and then, by revision, each version's
/// place and its encoded key-value pair (etcd: `mvcc/hash.go`). What was written at or
/// before the compacted revision counts only if it is still to be seen at `revision`.
pub(crate) fn hash_kv(table: &dyn Memtable, compacted: i64, revision: i64) -> u32 {
    let mut versions: Vec<(Bytes, Version, bool)> = Vec::new();
    let mut scan = KeyScan::new(table, compacted, revision);
    while let Some((key, history)) = scan.next(table) {
        let newest = history.len() - 1;
        for (at, version) in history.into_iter().enumerate() {
            let seen = at == newest && version.put.is_some();
            versions.push((key.clone(), version, seen));
        }
    }
    // etcd skips what is not to be seen only if anything is.
    let any_seen = versions.iter().any(|(.., seen)| *seen);
    versions.retain(|(_, version, seen)| {
        version.mod_revision > compacted || *seen || (!any_seen && version.put.is_some())
    });
    versions.sort_unstable_by_key(|(_, version, _)| (version.mod_revision, version.sub_revision));
    let mut hash = crc32c::crc32c(b"key");
    let mut item = Vec::new();
    for (key, version, _) in versions {
        item.clear();
        item.put_i64(version.mod_revision);
        item.put_u8(b'_');
        item.put_i64(version.sub_revision);
        let kv = version.key_value(&key).unwrap_or_else(|| {
            item.put_u8(b't');
            KeyValue {
                key,
                ..KeyValue::default()
            }
        });
        kv.encode(&mut item).expect("a Vec grows as needed");
        hash = crc32c::crc32c_append(hash, &item);
    }
    hash
}
