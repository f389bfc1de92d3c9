//! Order over partitions: what is sorted within each is merged k ways.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::ops::ControlFlow;

use bytes::Bytes;
use veridical_proto::mvccpb::KeyValue;

use super::Memtable;
use crate::history::{KeyHistory, Put, Version};
use crate::key_range::{KeyRange, RangeEnd};

/// A key that exists at some revision, with its version there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    /// The key.
    pub key: Bytes,
    /// Revision of its last put.
    pub mod_revision: i64,
    /// What was put.
    pub put: Put,
}

impl Live {
    /// The key as it is at `revision`, if it exists there.
    pub fn at(key: &Bytes, history: &KeyHistory, revision: i64) -> Option<Self> {
        let version = history.at(revision)?;
        Some(Self {
            key: key.clone(),
            mod_revision: version.mod_revision,
            put: version.put.clone()?,
        })
    }

    /// As the API shows it.
    pub fn into_key_value(self) -> KeyValue {
        KeyValue {
            key: self.key,
            create_revision: self.put.create_revision,
            mod_revision: self.mod_revision,
            version: self.put.version,
            value: self.put.value,
            lease: self.put.lease,
        }
    }
}

/// What [`select`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// The first keys, in order, as many as were asked for.
    pub live: Vec<Live>,
    /// How many keys exist in the range.
    pub count: usize,
}

/// The keys of `range` that exist at `revision`: the first `limit` of them in order, and
/// how many there are. Partitions are locked one after another, never together; that the
/// result is nevertheless one cut is due to the revision.
pub fn select(table: &dyn Memtable, range: &KeyRange, revision: i64, limit: usize) -> Selection {
    if range.end == RangeEnd::Single {
        let found = table.get(&range.start, revision);
        let count = usize::from(found.is_some());
        return Selection {
            live: found.into_iter().take(limit).collect(),
            count,
        };
    }
    let mut count = 0;
    let mut runs: Vec<std::vec::IntoIter<Live>> = Vec::new();
    for partition in 0..table.partitions() {
        let mut run = Vec::new();
        table.visit(partition, range, &mut |key, history| {
            if run.len() < limit {
                if let Some(live) = Live::at(key, history, revision) {
                    run.push(live);
                    count += 1;
                }
            } else if history
                .at(revision)
                .is_some_and(|version| version.put.is_some())
            {
                count += 1;
            }
            ControlFlow::Continue(())
        });
        if !run.is_empty() {
            runs.push(run.into_iter());
        }
    }
    Selection {
        live: merge(runs, limit.min(count)),
        count,
    }
}

/// Merges sorted runs of distinct keys and takes the first `take`.
fn merge(mut runs: Vec<std::vec::IntoIter<Live>>, take: usize) -> Vec<Live> {
    if runs.len() == 1 {
        return runs.remove(0).take(take).collect();
    }
    let mut merged = Vec::with_capacity(take);
    let mut heads: BinaryHeap<Reverse<Head>> = runs
        .iter_mut()
        .enumerate()
        .filter_map(|(run, items)| items.next().map(|live| Reverse(Head { live, run })))
        .collect();
    while merged.len() < take {
        let mut head = heads.peek_mut().expect("the runs hold what was counted");
        let run = head.0.run;
        let taken = match runs[run].next() {
            // Replacing the top sifts once; popping and pushing would sift twice.
            Some(live) => std::mem::replace(&mut head.0.live, live),
            None => std::collections::binary_heap::PeekMut::pop(head).0.live,
        };
        merged.push(taken);
    }
    merged
}

/// The next item of one run, ordered by key.
struct Head {
    live: Live,
    run: usize,
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.live.key == other.live.key
    }
}

impl Eq for Head {}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.live.key.cmp(&other.live.key)
    }
}

/// Keys read from a partition at a time by a [`KeyScan`].
const SCAN_REFILL_KEYS: usize = 64;

/// A walk over all keys in order, with the versions of each that a compaction at one
/// revision leaves up to another. It locks a partition for a few keys at a time; the
/// writer goes on meanwhile. What it shows is consistent as long as the table is not
/// trimmed above `compacted`.
#[derive(Debug)]
pub struct KeyScan {
    compacted: i64,
    revision: i64,
    cursors: Vec<Cursor>,
    /// The next key of each partition that has one.
    heads: BinaryHeap<Reverse<(Bytes, usize)>>,
}

/// How far a scan has come in one partition.
#[derive(Debug)]
struct Cursor {
    buffer: VecDeque<(Bytes, Vec<Version>)>,
    /// Where to read on; `None` when the partition has been read.
    rest: Option<KeyRange>,
}

impl KeyScan {
    /// A scan of everything between the two revisions.
    pub fn new(table: &dyn Memtable, compacted: i64, revision: i64) -> Self {
        let mut scan = Self {
            compacted,
            revision,
            cursors: (0..table.partitions())
                .map(|_| Cursor {
                    buffer: VecDeque::new(),
                    rest: Some(KeyRange::all()),
                })
                .collect(),
            heads: BinaryHeap::new(),
        };
        for partition in 0..table.partitions() {
            scan.refill(table, partition);
        }
        scan
    }

    /// The next key that has versions. `table` must be the one the scan began with.
    pub fn next(&mut self, table: &dyn Memtable) -> Option<(Bytes, Vec<Version>)> {
        let Reverse((_, partition)) = self.heads.pop()?;
        let cursor = &mut self.cursors[partition];
        let next = cursor.buffer.pop_front().expect("a head is in its buffer");
        match cursor.buffer.front() {
            Some((key, _)) => self.heads.push(Reverse((key.clone(), partition))),
            None => self.refill(table, partition),
        }
        Some(next)
    }

    fn refill(&mut self, table: &dyn Memtable, partition: usize) {
        let cursor = &mut self.cursors[partition];
        while cursor.buffer.is_empty() {
            let Some(range) = cursor.rest.take() else {
                return;
            };
            let mut seen = 0;
            let mut last = None;
            table.visit(partition, &range, &mut |key, history| {
                let versions = history.retained(self.compacted, self.revision);
                if !versions.is_empty() {
                    cursor.buffer.push_back((key.clone(), versions.to_vec()));
                }
                seen += 1;
                if seen == SCAN_REFILL_KEYS {
                    last = Some(key.clone());
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            });
            cursor.rest = last.map(|last| {
                let mut successor = last.to_vec();
                successor.push(0);
                KeyRange {
                    start: Bytes::from(successor),
                    end: RangeEnd::Unbounded,
                }
            });
        }
        if let Some((key, _)) = cursor.buffer.front() {
            self.heads.push(Reverse((key.clone(), partition)));
        }
    }
}
