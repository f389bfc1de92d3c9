//! How long the log is that a member keeps in memory: bounded by bytes as well as by entries, or
//! large values make it grow without end between two snapshots.
//!
//! While a snapshot is being written, or a disk is slow, entries go on coming, and nobody can say
//! how many. So the bound is asked for when a cluster has been left in peace.

use std::collections::BTreeMap;
use veridical_node::Limits;
use veridical_raft::{Entry, LogIndex, NodeId, Raft, Ready};

/// The logs of all members.
#[derive(Default)]
pub struct LogSizes {
    by_member: BTreeMap<NodeId, LogSize>,
}

/// The sizes of the entries of one log, by index, and their sum.
#[derive(Default)]
struct LogSize {
    entries: BTreeMap<LogIndex, u64>,
    bytes: u64,
}

impl LogSize {
    /// What is at `index` and behind it is replaced.
    fn append(&mut self, new: &[Entry]) {
        let Some(first) = new.first() else { return };
        let replaced = self.entries.split_off(&first.index);
        self.bytes -= replaced.values().sum::<u64>();
        for entry in new {
            let bytes = entry.size_bytes() as u64;
            self.entries.insert(entry.index, bytes);
            self.bytes += bytes;
        }
    }

    /// Nothing is left outside of the log from `first` to `last`.
    fn cut(&mut self, first: LogIndex, last: LogIndex) {
        let behind = self.entries.split_off(&(last + 1));
        self.bytes -= behind.values().sum::<u64>();
        let kept = self.entries.split_off(&first);
        let forgotten = std::mem::replace(&mut self.entries, kept);
        self.bytes -= forgotten.values().sum::<u64>();
    }
}

impl LogSizes {
    /// A member starts.
    pub fn started<'a>(&mut self, member: NodeId, entries: impl Iterator<Item = &'a Entry>) {
        let mut size = LogSize::default();
        for entry in entries {
            size.append(std::slice::from_ref(entry));
        }
        self.by_member.insert(member, size);
    }

    /// A member makes a step.
    pub fn stepped(&mut self, raft: &Raft, ready: &Ready) {
        let size = self.by_member.entry(raft.id()).or_default();
        size.append(&ready.entries);
        size.cut(raft.first_index(), raft.last_index());
    }

    /// The bytes of the log of a member.
    pub fn bytes(&self, member: NodeId) -> u64 {
        self.by_member.get(&member).map_or(0, |size| size.bytes)
    }
}

/// How many bytes of entries a member with this state keeps at most once it is left in peace: what
/// has come since the last snapshot, which would be due otherwise, and what is kept before it.
pub fn bytes_max(limits: &Limits, state_bytes: u64) -> u64 {
    limits.snapshot_log_bytes.max(state_bytes) + limits.snapshot_keep_bytes as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use veridical_raft::Payload;

    fn entries(range: std::ops::RangeInclusive<u64>, length: usize) -> Vec<Entry> {
        let entry = |index| Entry {
            term: 1,
            index,
            payload: Payload::Command(vec![0; length].into()),
        };
        range.map(entry).collect()
    }

    fn bytes_of(entries: &[Entry]) -> u64 {
        entries.iter().map(|entry| entry.size_bytes() as u64).sum()
    }

    #[test]
    fn what_is_replaced_or_forgotten_counts_no_more() {
        let mut size = LogSize::default();
        size.append(&entries(1..=10, 100));
        size.append(&entries(6..=7, 1_000));
        let left = bytes_of(&entries(1..=5, 100)) + bytes_of(&entries(6..=7, 1_000));
        assert_eq!(size.bytes, left);
        size.cut(4, 6);
        let left = bytes_of(&entries(4..=5, 100)) + bytes_of(&entries(6..=6, 1_000));
        assert_eq!(size.bytes, left);
        size.cut(20, 19);
        assert_eq!((size.bytes, size.entries.len()), (0, 0));
    }

    #[test]
    fn a_member_that_starts_has_what_its_disk_had() {
        let mut sizes = LogSizes::default();
        sizes.started(1, entries(1..=9, 100).iter());
        sizes.started(1, entries(4..=5, 100).iter());
        assert_eq!(sizes.bytes(1), bytes_of(&entries(4..=5, 100)));
        assert_eq!(sizes.bytes(2), 0);
    }

    #[test]
    fn a_state_that_is_larger_than_the_bound_may_be_written_as_often_only() {
        let limits = Limits {
            snapshot_log_bytes: 1_000,
            snapshot_keep_bytes: 300,
            ..Limits::default()
        };
        assert_eq!(bytes_max(&limits, 10), 1_300);
        assert_eq!(bytes_max(&limits, 5_000), 5_300);
    }
}
