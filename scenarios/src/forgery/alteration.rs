//! What a forgery makes of the files of a member.

use veridical_world::{Rng, Stream};

use super::log_file::Segment;
use super::snapshot_file::Snapshot;
use super::{Forged, Forgery, log_records, snapshot_records};

/// How the names of the files of the log end.
pub(super) const LOG_SUFFIX: &str = ".wal";

/// How the names of snapshots end.
pub(super) const SNAPSHOT_SUFFIX: &str = ".snap";

/// A change of a file: where, and what is there then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Alteration {
    /// The name of the file.
    pub(super) file: String,
    /// Where in it.
    pub(super) offset: usize,
    /// What is there then.
    pub(super) bytes: Vec<u8>,
}

impl Forged {
    const fn is_of_snapshots(self) -> bool {
        match self {
            Self::SnapshotData
            | Self::SnapshotExchange
            | Self::SnapshotCount
            | Self::SnapshotPlace
            | Self::SnapshotCluster => true,
            Self::ClosedRecord
            | Self::ClosedExchange
            | Self::EntryIndex
            | Self::EntryTerm
            | Self::HardStateTerm
            | Self::Vote
            | Self::Incarnation
            | Self::Owner
            | Self::Kind
            | Self::Length
            | Self::Claim
            | Self::TornInside
            | Self::SegmentHeader => false,
        }
    }
}

impl Forgery {
    /// What is altered in files that are as `read_files` tells them by the ends of their names;
    /// nothing if they have no place for it.
    pub(super) fn alteration(
        &self,
        read_files: impl Fn(&str) -> Vec<(String, Vec<u8>)>,
    ) -> Option<Alteration> {
        let mut rng = Rng::for_part(self.draw, Stream::Nemesis, "forgery");
        let (before, after) = if self.what.is_of_snapshots() {
            let (name, bytes) = read_files(SNAPSHOT_SUFFIX).pop()?;
            let snapshot = Snapshot::read(name, bytes)?;
            let after = snapshot_records::forge(&snapshot, self.what, &mut rng)?;
            ((snapshot.name, snapshot.bytes), after.bytes)
        } else {
            let files = read_files(LOG_SUFFIX).into_iter();
            let segments = files.map(|(name, bytes)| Segment::read(name, bytes));
            let segments: Option<Vec<Segment>> = segments.collect();
            let (place, after) = log_records::forge(&segments.clone()?, self.what, &mut rng)?;
            let before = segments?.swap_remove(place);
            ((before.name, before.bytes), after.bytes)
        };
        let differs = |(one, other): (&u8, &u8)| one != other;
        let first = before.1.iter().zip(&after).position(differs)?;
        let last = before.1.iter().zip(&after).rposition(differs)?;
        Some(Alteration {
            file: before.0,
            offset: first,
            bytes: after[first..=last].to_vec(),
        })
    }
}
