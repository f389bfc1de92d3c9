//! Restoring a store from a snapshot. The bytes come from outside: whatever they are, the
//! result is a consistent store or an error.

use bytes::{Buf, Bytes, BytesMut};
use prost::Message;
use veridical_planted::PlantedBug;
use veridical_probe::sometimes;
use veridical_proto::snapshot::{
    Header, SnapshotRecord, Version as VersionRecord, snapshot_record::Record,
};

use crate::apply::Writer;
use crate::change_log::ChangeLog;
use crate::config::StoreConfig;
use crate::history::{Put, Version};
use crate::lease::{LEASE_TTL_S_MAX, LEASE_TTL_S_MIN, LeaseStep, LeaseTable};
use crate::memtable::Memtable;
use crate::session::SessionTable;
use crate::snapshot::FORMAT_VERSION;
use crate::state::{COMPACTED_INITIAL, PublishedView, REVISION_INITIAL, State, new_memtable};
use crate::store::Store;

/// The largest record that is accepted, in bytes: a request is far smaller.
pub const SNAPSHOT_RECORD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of the longest length that a varint of 64 bits can have.
const LENGTH_BYTES_MAX: usize = 10;

/// Why bytes are not a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// A record cannot be decoded.
    #[error("snapshot record {record}: {source}")]
    Record {
        /// Number of the record, from 0.
        record: u64,
        /// What is wrong with it.
        source: prost::DecodeError,
    },
    /// A record is larger than [`SNAPSHOT_RECORD_BYTES_MAX`].
    #[error("snapshot record {record} has {length} bytes")]
    RecordTooLarge {
        /// Number of the record, from 0.
        record: u64,
        /// Its announced length.
        length: u64,
    },
    /// The format is not one that this version reads.
    #[error("snapshot format {found} is unknown, expected {FORMAT_VERSION}")]
    UnknownFormat {
        /// What the header says.
        found: u32,
    },
    /// The records contradict each other.
    #[error("snapshot record {record}: {reason}")]
    Inconsistent {
        /// Number of the record, from 0.
        record: u64,
        /// The contradiction.
        reason: &'static str,
    },
    /// The bytes end before the footer.
    #[error("snapshot ends after {records} records, before its footer")]
    Truncated {
        /// Whole records seen.
        records: u64,
    },
}

/// Builds a store from the chunks of a snapshot, which may be cut anywhere.
#[derive(Debug)]
pub struct Restorer {
    config: StoreConfig,
    /// Bytes of a record that is not complete yet.
    buffer: BytesMut,
    records: u64,
    memtable: Box<dyn Memtable>,
    header: Option<Header>,
    finished: bool,
    /// Where the last version was, for the order.
    last_version: Option<(Bytes, i64, i64)>,
    /// Whether the last version leaves its key alive, and under which lease.
    last_put_lease: Option<i64>,
    /// Everything written from the compacted revision on.
    changes: Vec<(i64, i64, Bytes)>,
    /// Keys of leases, to be attached when the leases have been read.
    attachments: Vec<(i64, Bytes)>,
    leases: LeaseTable,
    sessions: SessionTable,
    keys: u64,
    bytes: u64,
}

impl Restorer {
    /// Expects the first chunk.
    pub fn new(config: StoreConfig) -> Self {
        Self {
            memtable: new_memtable(&config),
            config,
            buffer: BytesMut::new(),
            records: 0,
            header: None,
            finished: false,
            last_version: None,
            last_put_lease: None,
            changes: Vec::new(),
            attachments: Vec::new(),
            leases: LeaseTable::default(),
            sessions: SessionTable::default(),
            keys: 0,
            bytes: 0,
        }
    }

    /// Takes the next chunk.
    ///
    /// # Errors
    /// If the bytes are not those of a snapshot; the restorer is then of no further use.
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), RestoreError> {
        self.buffer.extend_from_slice(chunk);
        while let Some(payload) = self.next_payload()? {
            let record =
                SnapshotRecord::decode(payload).map_err(|source| self.undecodable(source))?;
            self.take(record)?;
        }
        Ok(())
    }

    /// The restored store, everything in it published.
    ///
    /// # Errors
    /// If the snapshot is not complete or contradicts itself.
    pub fn finish(mut self) -> Result<Store, RestoreError> {
        let records = self.records;
        let truncated = RestoreError::Truncated { records };
        if !self.finished || !self.buffer.is_empty() {
            return Err(truncated);
        }
        let header = self.header.take().ok_or(truncated)?;
        let inconsistent = |reason| RestoreError::Inconsistent {
            record: records,
            reason,
        };
        sometimes!(
            !self.attachments.is_empty(),
            "store.restored-leases-had-keys"
        );
        for (lease, key) in std::mem::take(&mut self.attachments) {
            if !self.leases.contains(lease) {
                return Err(inconsistent(
                    "a key is attached to a lease that is not there",
                ));
            }
            if !self
                .config
                .planted
                .has(PlantedBug::RestoreWithoutAttachments)
            {
                self.leases.step(LeaseStep::Attach { id: lease, key });
            }
        }
        let log = self.change_log(&header).map_err(inconsistent)?;
        let view = PublishedView {
            revision: header.revision,
            compacted_revision: header.compacted_revision,
            applied_index: header.applied_index,
            leases: self.leases.clone(),
            sessions: self.sessions.digests().collect(),
        };
        let writer = Writer {
            planted: self.config.planted,
            revision: header.revision,
            compacted_revision: header.compacted_revision,
            applied_index: header.applied_index,
            leases: self.leases,
            sessions: self.sessions,
            lease_steps: Vec::new(),
            keys: self.keys,
            bytes: self.bytes,
        };
        let state = State::new(self.memtable, log, view);
        Ok(Store::from_parts(self.config, state, writer))
    }

    /// The next whole record, or `None` if more bytes are needed.
    fn next_payload(&mut self) -> Result<Option<BytesMut>, RestoreError> {
        let mut peek = &self.buffer[..];
        let length = match prost::decode_length_delimiter(&mut peek) {
            Ok(length) => length,
            Err(_) if self.buffer.len() < LENGTH_BYTES_MAX => return Ok(None),
            Err(source) => return Err(self.undecodable(source)),
        };
        if length > SNAPSHOT_RECORD_BYTES_MAX {
            return Err(RestoreError::RecordTooLarge {
                record: self.records,
                length: length as u64,
            });
        }
        let prefix = self.buffer.len() - peek.len();
        if self.buffer.len() < prefix + length {
            return Ok(None);
        }
        self.buffer.advance(prefix);
        Ok(Some(self.buffer.split_to(length)))
    }

    /// Takes the next record.
    pub(crate) fn take(&mut self, record: SnapshotRecord) -> Result<(), RestoreError> {
        self.take_record(record)?;
        self.records += 1;
        Ok(())
    }

    /// How many records have been taken.
    pub(crate) fn records(&self) -> u64 {
        self.records
    }

    fn take_record(&mut self, record: SnapshotRecord) -> Result<(), RestoreError> {
        if self.finished {
            return Err(self.inconsistent("a record after the footer"));
        }
        match (record.record, &self.header) {
            (Some(Record::Header(header)), None) => self.take_header(header),
            (Some(Record::Header(_)), Some(_)) => Err(self.inconsistent("a second header")),
            (_, None) => Err(self.inconsistent("the first record is not a header")),
            (Some(Record::Version(version)), Some(header)) => {
                let header = *header;
                self.take_version(&header, version)
            }
            (Some(Record::Lease(lease)), _) => {
                let valid = lease.id != 0
                    && (LEASE_TTL_S_MIN..=LEASE_TTL_S_MAX).contains(&lease.granted_ttl_s)
                    && !self.leases.contains(lease.id);
                if !valid {
                    return Err(self.inconsistent("a lease that cannot be"));
                }
                self.leases.step(LeaseStep::Grant {
                    id: lease.id,
                    granted_ttl_s: lease.granted_ttl_s,
                });
                Ok(())
            }
            (Some(Record::Session(session)), _) => {
                if self.sessions.load(&session) {
                    Ok(())
                } else {
                    Err(self.inconsistent("a second session of one member"))
                }
            }
            (Some(Record::Footer(footer)), _) => {
                if footer.records != self.records {
                    return Err(self.inconsistent("the footer counts other records"));
                }
                self.end_key();
                self.finished = true;
                Ok(())
            }
            (None, _) => Err(self.inconsistent("a record of an unknown kind")),
        }
    }

    fn take_header(&mut self, header: Header) -> Result<(), RestoreError> {
        if header.format_version != FORMAT_VERSION {
            return Err(RestoreError::UnknownFormat {
                found: header.format_version,
            });
        }
        if header.revision < REVISION_INITIAL
            || header.compacted_revision < COMPACTED_INITIAL
            || header.compacted_revision > header.revision
        {
            return Err(self.inconsistent("revisions that cannot be"));
        }
        self.header = Some(header);
        Ok(())
    }

    fn take_version(&mut self, header: &Header, record: VersionRecord) -> Result<(), RestoreError> {
        let Some(kv) = record.kv else {
            return Err(self.inconsistent("a version without a key"));
        };
        let place = (kv.mod_revision, record.sub_revision);
        let valid = !kv.key.is_empty()
            && place.0 > REVISION_INITIAL
            && place.0 <= header.revision
            && place.1 >= 0
            && (record.tombstone
                || (kv.version > 0 && (1..=place.0).contains(&kv.create_revision)));
        if !valid {
            return Err(self.inconsistent("a version that cannot be"));
        }
        let new_key = match &self.last_version {
            Some((key, ..)) if *key > kv.key => {
                return Err(self.inconsistent("keys are out of order"));
            }
            Some((key, revision, sub_revision)) if *key == kv.key => {
                if (*revision, *sub_revision) >= place {
                    return Err(self.inconsistent("versions are out of order"));
                }
                false
            }
            _ => true,
        };
        if new_key {
            self.end_key();
            self.bytes += kv.key.len() as u64;
        }
        let version = Version {
            mod_revision: place.0,
            sub_revision: place.1,
            put: (!record.tombstone).then(|| Put {
                create_revision: kv.create_revision,
                version: kv.version,
                lease: kv.lease,
                value: Bytes::copy_from_slice(&kv.value),
            }),
        };
        self.bytes += version.size_bytes() as u64;
        self.last_put_lease = version.put.as_ref().map(|put| put.lease);
        let key = self.memtable.load(&kv.key, version);
        if place.0 >= header.compacted_revision {
            self.changes.push((place.0, place.1, key.clone()));
        }
        self.last_version = Some((key, place.0, place.1));
        Ok(())
    }

    /// Accounts for the key whose last version has been read.
    fn end_key(&mut self) {
        if let (Some((key, ..)), Some(lease)) = (&self.last_version, self.last_put_lease) {
            self.keys += 1;
            if lease != 0 {
                self.attachments.push((lease, key.clone()));
            }
        }
    }

    /// The changes from the compacted revision on, which must be complete.
    fn change_log(&mut self, header: &Header) -> Result<ChangeLog, &'static str> {
        self.changes.sort_unstable();
        let first = header.compacted_revision.max(REVISION_INITIAL + 1);
        let mut log = ChangeLog::new(first);
        for changes in self.changes.chunk_by(|a, b| a.0 == b.0) {
            let complete = changes[0].0 == log.next_revision()
                && changes
                    .iter()
                    .enumerate()
                    .all(|(at, change)| change.1 == at as i64);
            if !complete {
                return Err("a write is missing");
            }
            log.append(changes[0].0, changes.iter().map(|change| change.2.clone()));
        }
        if log.next_revision() != (header.revision + 1).max(first) {
            return Err("the last revisions are missing");
        }
        Ok(log)
    }

    pub(crate) fn undecodable(&self, source: prost::DecodeError) -> RestoreError {
        RestoreError::Record {
            record: self.records,
            source,
        }
    }

    pub(crate) fn inconsistent(&self, reason: &'static str) -> RestoreError {
        RestoreError::Inconsistent {
            record: self.records,
            reason,
        }
    }
}
