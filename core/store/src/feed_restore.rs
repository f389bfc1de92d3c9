//! Rebuilding a store from the copy that its feeds have kept.

use bytes::Bytes;
use prost::Message;
use veridical_proto::snapshot::{
    Footer, Header, Lease, Session, SnapshotRecord, Version as VersionRecord,
    snapshot_record::Record,
};

use crate::config::StoreConfig;
use crate::feed::{Feed, HEADER_PREFIX, LEASE_PREFIX, SESSION_PREFIX, VERSION_PREFIX, copy_entry};
use crate::history::{KeyHistory, Put, Version};
use crate::memtable::NEWEST;
use crate::restore::{RestoreError, Restorer};
use crate::store::Store;

/// Builds a store from a scan, in order, of a copy that was kept by [`Feed`]s, or filled
/// from [`SnapshotSource::next_put`](crate::SnapshotSource::next_put).
///
/// The copy may still hold versions that a compaction has made unreachable and that were
/// not forgotten yet. They are left out, and the first feed of the restored store deletes
/// them.
#[derive(Debug)]
pub struct FeedRestorer {
    restorer: Restorer,
    compacted_revision: i64,
    last_entry_key: Bytes,
    /// The versions of the key that is being read, in order, with their keys in the copy.
    versions: Vec<(Bytes, VersionRecord)>,
    leftovers: Feed,
}

impl FeedRestorer {
    /// Expects the first entry.
    pub fn new(config: StoreConfig) -> Self {
        Self {
            restorer: Restorer::new(config),
            compacted_revision: 0,
            last_entry_key: Bytes::new(),
            versions: Vec::new(),
            leftovers: Feed::default(),
        }
    }

    /// Takes the next entry of the scan.
    ///
    /// # Errors
    /// If the entry is not one that a feed writes, or not in order; the restorer is then
    /// of no further use.
    pub fn push(&mut self, key: &[u8], value: &[u8]) -> Result<(), RestoreError> {
        if key <= &self.last_entry_key[..] {
            return Err(self.restorer.inconsistent("entries are out of order"));
        }
        let record = match key.first() {
            Some(&HEADER_PREFIX) => Header::decode(value).map(Record::Header),
            Some(&VERSION_PREFIX) => VersionRecord::decode(value).map(Record::Version),
            Some(&LEASE_PREFIX) => Lease::decode(value).map(Record::Lease),
            Some(&SESSION_PREFIX) => Session::decode(value).map(Record::Session),
            _ => return Err(self.restorer.inconsistent("an entry of an unknown kind")),
        };
        let record = record.map_err(|source| self.restorer.undecodable(source))?;
        if let Record::Version(version) = &record {
            let revision = version.kv.as_ref().map(|kv| kv.mod_revision);
            // Negative numbers would be out of order.
            if revision.is_none_or(|revision| revision < 0) || version.sub_revision < 0 {
                return Err(self.restorer.inconsistent("a version that cannot be"));
            }
        }
        let (entry_key, _) = copy_entry(&record);
        if entry_key != key {
            return Err(self.restorer.inconsistent("an entry under another's key"));
        }
        self.last_entry_key = entry_key.clone();
        if let Record::Version(version) = record {
            let same_key = match self.versions.last() {
                Some((_, last)) => user_key(last) == user_key(&version),
                None => true,
            };
            if !same_key {
                self.end_key()?;
            }
            self.versions.push((entry_key, version));
            return Ok(());
        }
        if let Record::Header(header) = &record {
            self.compacted_revision = header.compacted_revision;
        }
        self.end_key()?;
        self.take(record)
    }

    /// The restored store, everything in it published.
    ///
    /// # Errors
    /// If the copy is not complete or contradicts itself.
    pub fn finish(mut self) -> Result<Store, RestoreError> {
        self.end_key()?;
        let records = self.restorer.records();
        self.take(Record::Footer(Footer { records }))?;
        let mut store = self.restorer.finish()?;
        store.feed_leftovers(self.leftovers);
        Ok(store)
    }

    fn take(&mut self, record: Record) -> Result<(), RestoreError> {
        let record = Some(record);
        self.restorer.take(SnapshotRecord { record })
    }

    /// Takes what compaction leaves of the key whose versions have been read.
    fn end_key(&mut self) -> Result<(), RestoreError> {
        let versions = std::mem::take(&mut self.versions);
        let mut history: Option<KeyHistory> = None;
        for (_, record) in &versions {
            let version = reachability(record);
            match &mut history {
                // The entries are in order, so the versions are.
                Some(history) => history.append(version),
                None => history = Some(KeyHistory::new(version)),
            }
        }
        let retained = history.map_or(0, |history| {
            history.retained(self.compacted_revision, NEWEST).len()
        });
        let forgotten = versions.len() - retained;
        for (at, (entry_key, record)) in versions.into_iter().enumerate() {
            if at < forgotten {
                self.leftovers.delete(entry_key);
            } else {
                self.take(Record::Version(record))?;
            }
        }
        Ok(())
    }
}

fn user_key(record: &VersionRecord) -> Option<&Bytes> {
    record.kv.as_ref().map(|kv| &kv.key)
}

/// As much of a version as decides what a compaction leaves.
fn reachability(record: &VersionRecord) -> Version {
    Version {
        mod_revision: record.kv.as_ref().map_or(0, |kv| kv.mod_revision),
        sub_revision: record.sub_revision,
        put: (!record.tombstone).then(|| Put {
            create_revision: 0,
            version: 0,
            lease: 0,
            value: Bytes::new(),
        }),
    }
}
