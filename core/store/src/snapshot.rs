//! Snapshots: the contents of a store as a stream of bytes, written while applying goes on.
//!
//! The stream is a sequence of `SnapshotRecord`s, each preceded by its length as a varint,
//! cut into chunks at any byte: a header, the retained versions of every key by key and
//! revision, leases, sessions, a footer.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use prost::Message;
use veridical_planted::{Planted, PlantedBug};
use veridical_probe::sometimes;
use veridical_proto::snapshot::{Footer, Header, Lease, SnapshotRecord, snapshot_record::Record};

use crate::feed::{copy_entry, version_record};
use crate::history::Version;
use crate::lease::LeaseTable;
use crate::memtable::KeyScan;
use crate::pins::Pin;
use crate::session::SessionTable;
use crate::state::State;

/// The format that is written, and the only one that is read.
pub(crate) const FORMAT_VERSION: u32 = 1;

/// A snapshot that is being written. It keeps old versions from being forgotten until it
/// is dropped; nothing else waits for it. It can be driven from any thread.
#[derive(Debug)]
pub struct SnapshotSource {
    state: Arc<State>,
    _pin: Pin,
    scan: KeyScan,
    /// Header and tail, before and after the versions.
    head: Option<Record>,
    tail: VecDeque<Record>,
    /// Versions of the key that is being written.
    versions: VecDeque<(Bytes, Version)>,
    records: u64,
    finished: bool,
    /// What has been encoded and not been handed out.
    buffer: BytesMut,
    applied_index: u64,
    revision: i64,
    compacted_revision: i64,
}

impl SnapshotSource {
    /// A snapshot of what is published. `leases` and `sessions` are those of that instant.
    pub(crate) fn new(
        state: Arc<State>,
        leases: &LeaseTable,
        sessions: &SessionTable,
        planted: Planted,
    ) -> Self {
        let (applied_index, revision, compacted_revision) = {
            let view = state.view();
            (view.applied_index, view.revision, view.compacted_revision)
        };
        let pin = state
            .pins
            .pin(if planted.has(PlantedBug::SnapshotUnpinned) {
                revision
            } else {
                compacted_revision
            })
            .expect("the writer itself takes snapshots, so nothing is forgotten meanwhile");
        sometimes!(
            leases.granted().next().is_some(),
            "store.snapshot-taken-while-there-were-leases"
        );
        let mut tail: VecDeque<Record> = leases
            .granted()
            .map(|(id, granted_ttl_s)| Record::Lease(Lease { id, granted_ttl_s }))
            .collect();
        if !planted.has(PlantedBug::SnapshotWithoutSessions) {
            tail.extend(sessions.records().map(Record::Session));
        }
        Self {
            scan: KeyScan::new(state.memtable.as_ref(), compacted_revision, revision),
            _pin: pin,
            head: Some(Record::Header(Header {
                format_version: FORMAT_VERSION,
                applied_index,
                revision,
                compacted_revision,
            })),
            tail,
            versions: VecDeque::new(),
            records: 0,
            finished: false,
            buffer: BytesMut::new(),
            state,
            applied_index,
            revision,
            compacted_revision,
        }
    }

    /// Index of the last entry that is in the snapshot.
    pub fn applied_index(&self) -> u64 {
        self.applied_index
    }

    /// The revision of the snapshot.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// The next bytes, `max_bytes` of them except at the end; `None` after the end.
    ///
    /// # Panics
    /// If `max_bytes` is 0.
    pub fn next_chunk(&mut self, max_bytes: usize) -> Option<Bytes> {
        assert!(max_bytes > 0, "a chunk has at least one byte");
        while self.buffer.len() < max_bytes {
            let Some(record) = self.next_record() else {
                break;
            };
            SnapshotRecord {
                record: Some(record),
            }
            .encode_length_delimited(&mut self.buffer)
            .expect("a BytesMut grows as needed");
        }
        if self.buffer.is_empty() {
            return None;
        }
        let length = self.buffer.len().min(max_bytes);
        Some(self.buffer.split_to(length).freeze())
    }

    /// The next entry of a copy that [`Feed`](crate::Feed)s keep up to date from here on;
    /// `None` after the last. Instead of [`next_chunk`](Self::next_chunk), not beside it.
    pub fn next_put(&mut self) -> Option<(Bytes, Bytes)> {
        match self.next_record()? {
            Record::Footer(_) => None,
            record => Some(copy_entry(&record)),
        }
    }

    fn next_record(&mut self) -> Option<Record> {
        if self.finished {
            return None;
        }
        let record = self
            .head
            .take()
            .or_else(|| self.next_version())
            .or_else(|| self.tail.pop_front())
            .unwrap_or_else(|| {
                self.finished = true;
                sometimes!(
                    self.state.revision() > self.revision,
                    "store.snapshot-was-written-while-the-store-went-on"
                );
                sometimes!(
                    self.state.compacted_revision() > self.compacted_revision,
                    "store.snapshot-was-written-across-a-compaction"
                );
                Record::Footer(Footer {
                    records: self.records,
                })
            });
        self.records += 1;
        Some(record)
    }

    fn next_version(&mut self) -> Option<Record> {
        if self.versions.is_empty() {
            let (key, versions) = self.scan.next(self.state.memtable.as_ref())?;
            self.versions
                .extend(versions.into_iter().map(|version| (key.clone(), version)));
        }
        let (key, version) = self
            .versions
            .pop_front()
            .expect("a scanned key has versions");
        Some(Record::Version(version_record(&key, &version)))
    }
}
