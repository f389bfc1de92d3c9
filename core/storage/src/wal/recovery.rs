//! Recovery: reading the segments back, and telling a torn tail from corruption.
//!
//! Un-synchronised writes may survive a crash as any subset of sectors, so a valid
//! frame behind a bad one proves nothing by itself. What it *claims* does: every frame
//! says how far its segment was known to be durable when it was written. A bad place
//! that something later claims is corruption and refused; a bad place that nothing
//! claims is the torn tail and ends the log.
//!
//! Recovery writes nothing in place. It plans a segment of its own that continues the
//! log ([`Continuation`]): its header says where the segment before it ends, which cuts off
//! whatever lies behind for good, and it carries over the frames that were read but
//! never claimed, because they may be in the operating system's cache alone, even
//! after a failed fsync whose process died.

use super::error::{WalError, io_error};
use super::frame::Payload;
use super::promises;
use super::record::{HardState, LogEntry, MemberRecord, SnapshotMark, WalRecord};
use super::scan::{PlacedFrame, Segment, Tail, TruncatedTail};
use super::segment::{self, Chain, SegmentHeader};
use super::shape::{Effect, LogShape};
use crate::file_error::FileError;
use crate::format::DataFormat;
use std::collections::BTreeSet;
use std::path::Path;
use veridical_env::Disk;
use veridical_planted::{Planted, PlantedBug};
use veridical_probe::{reachable, sometimes};

/// What the log held when it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// The last member record.
    pub member: Option<MemberRecord>,
    /// The last hard state.
    pub hard_state: Option<HardState>,
    /// The mark with the greatest index.
    pub snapshot: Option<SnapshotMark>,
    /// The entries, contiguous by index, after all replacements, from the oldest that
    /// is retained. They may begin before the snapshot's index.
    pub entries: Vec<LogEntry>,
    /// What a crash left of batches that were never synchronised, if anything.
    pub truncated_tail: Option<TruncatedTail>,
}

/// How the log goes on after recovery.
pub(super) struct Continuation {
    /// The header of the segment to be written (`version` and `head_end` are set when it is
    /// written).
    pub header: SegmentHeader,
    /// Frames that go into its head section.
    pub carried: Vec<Payload>,
    /// The log with `carried` included.
    pub shape: LogShape,
    /// The segments before it that stay, oldest first.
    pub closed: Vec<ClosedSegment>,
    /// File names that a release or a crash left behind.
    pub leftovers: Vec<String>,
}

/// A segment that is not written to any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClosedSegment {
    pub sequence: u64,
    /// The greatest index of an entry in it.
    pub max_index: Option<u64>,
}

/// Reads all segments in `dir`.
pub(super) async fn read<D: Disk>(
    disk: &D,
    dir: &Path,
    planted: Planted,
) -> Result<(Continuation, Recovered), WalError> {
    let names = disk.list(dir).await.map_err(io_error("list", dir))?;
    let mut leftovers: Vec<String> = names
        .iter()
        .filter(|name| segment::is_temporary(name))
        .cloned()
        .collect();
    let present: BTreeSet<u64> = names
        .iter()
        .filter_map(|name| segment::parse_file_name(name))
        .collect();
    let Some(&last) = present.last() else {
        return Ok((Continuation::of_new_log(leftovers), Recovered::default()));
    };

    let tail = Tail::scan(Segment::read(disk, dir, last, planted).await?)?;
    leftovers.extend(
        present
            .range(..tail.oldest_sequence)
            .map(|sequence| segment::file_name(*sequence)),
    );
    let mut closed_log = ClosedLog::read(disk, dir, &present, &tail).await?;
    closed_log.fold.enter(&tail.segment)?;
    tail.segment.check_chain(closed_log.chain)?;
    sometimes!(
        closed_log.segments.len() > 1,
        "wal.recovered-from-several-segments"
    );
    let truncated_tail = tail.truncated.clone();
    let (plan, entries) = if tail.frames.len() == tail.head_frames {
        reachable!("wal.opened-again-with-nothing-added");
        closed_log.rewrite(tail, leftovers)?
    } else {
        closed_log.go_on_behind(tail, leftovers)?
    };
    let state = plan.shape.state();
    assert!(
        plan.closed.len() as u64 == plan.header.sequence - plan.header.oldest_sequence,
        "the segments of a log have no gap"
    );
    assert!(
        entries
            .last()
            .is_none_or(|entry| entry.index == state.last_index)
            || planted.has(PlantedBug::WalSuffixResurrected),
        "the log ends with the last entry that was read"
    );
    let recovered = Recovered {
        member: state.member,
        hard_state: state.hard_state,
        snapshot: state.snapshot,
        entries,
        truncated_tail,
    };
    Ok((plan, recovered))
}

impl Continuation {
    /// The beginning of a log in a folder without segments.
    fn of_new_log(leftovers: Vec<String>) -> Self {
        Self {
            header: SegmentHeader {
                version: DataFormat::NEWEST,
                previous_crc: 0,
                sequence: 1,
                oldest_sequence: 1,
                previous_end: 0,
                head_end: 0,
                state: LogShape::default().state(),
            },
            carried: Vec::new(),
            shape: LogShape::default(),
            closed: Vec::new(),
            leftovers,
        }
    }
}

/// The segments before the last one.
struct ClosedLog {
    fold: Fold,
    segments: Vec<ClosedSegment>,
    /// The chain over the newest of them.
    chain: Option<Chain>,
}

impl ClosedLog {
    /// Reads the segments that `tail` builds on, oldest first.
    async fn read<D: Disk>(
        disk: &D,
        dir: &Path,
        present: &BTreeSet<u64>,
        tail: &Tail,
    ) -> Result<Self, WalError> {
        let planted = tail.segment.planted;
        let last = tail.segment.header.sequence;
        let mut log = Self {
            fold: Fold::default(),
            segments: Vec::new(),
            chain: None,
        };
        // A segment says where the one before it ends, so it is read before that is looked at.
        let mut following = None;
        for sequence in tail.oldest_sequence..last {
            if !present.contains(&sequence) {
                let file = dir.join(segment::file_name(sequence));
                return Err(FileError::corrupt(
                    file,
                    0,
                    "the segment is missing, and a later one needs it",
                )
                .into());
            }
            let segment = match following.take() {
                Some(segment) => segment,
                None => Segment::read(disk, dir, sequence, planted).await?,
            };
            let end = match sequence + 1 {
                next if next == last => tail.segment.header.previous_end,
                // A missing one is reported in its turn.
                next if !present.contains(&next) => continue,
                next => {
                    let segment = Segment::read(disk, dir, next, planted).await?;
                    following.insert(segment).header.previous_end
                }
            };
            log.fold.enter(&segment)?;
            segment.check_chain(log.chain)?;
            let frames = segment.frames_until(end)?;
            log.chain = Some(segment.chain(&frames));
            log.fold.frames(&segment, &frames)?;
            log.segments.push(ClosedSegment {
                sequence,
                max_index: log.fold.max_index.take(),
            });
        }
        Ok(log)
    }

    /// Nothing was added since the last opening: the last segment is written anew, so that a
    /// program that only opens its log does not fill the folder with segments.
    fn rewrite(
        mut self,
        tail: Tail,
        leftovers: Vec<String>,
    ) -> Result<(Continuation, Vec<LogEntry>), WalError> {
        self.fold.frames(&tail.segment, &tail.frames)?;
        let mut header = SegmentHeader {
            oldest_sequence: tail.oldest_sequence,
            ..tail.segment.header
        };
        if let Some(chain) = self.chain {
            header.previous_crc = chain.value();
        }
        let planted = tail.segment.planted;
        Ok(self.into_plan(header, carried(tail.frames, planted), leftovers))
    }

    /// The last segment ends with the last frame that is certain to have been durable; the
    /// next one goes on with those behind it.
    fn go_on_behind(
        mut self,
        mut tail: Tail,
        leftovers: Vec<String>,
    ) -> Result<(Continuation, Vec<LogEntry>), WalError> {
        let planted = tail.segment.planted;
        if planted.has(PlantedBug::WalTailTrusted) {
            tail.claimed_frames = tail.frames.len();
            let last = tail.frames.last();
            tail.claimed = last.map_or(tail.claimed, |last| last.end as u64);
        }
        let mut unclaimed = tail.frames.split_off(tail.claimed_frames);
        if planted.has(PlantedBug::WalTailOvercut) && tail.truncated.is_some() {
            unclaimed.clear();
        }
        self.fold.frames(&tail.segment, &tail.frames)?;
        let header = SegmentHeader {
            oldest_sequence: tail.oldest_sequence,
            sequence: tail.segment.header.sequence + 1,
            previous_end: tail.claimed,
            previous_crc: tail.segment.chain(&tail.frames).value(),
            state: self.fold.shape.state(),
            ..tail.segment.header
        };
        self.fold.frames(&tail.segment, &unclaimed)?;
        self.segments.push(ClosedSegment {
            sequence: tail.segment.header.sequence,
            max_index: self.fold.max_index,
        });
        Ok(self.into_plan(header, carried(unclaimed, planted), leftovers))
    }

    fn into_plan(
        self,
        header: SegmentHeader,
        carried: Vec<Payload>,
        leftovers: Vec<String>,
    ) -> (Continuation, Vec<LogEntry>) {
        let plan = Continuation {
            header,
            carried,
            shape: self.fold.shape,
            closed: self.segments,
            leftovers,
        };
        (plan, self.fold.entries)
    }
}

/// What the next segment repeats of these frames. Which segment is the oldest, its header
/// says.
fn carried(frames: Vec<PlacedFrame>, planted: Planted) -> Vec<Payload> {
    let payloads = frames.into_iter().map(|placed| placed.payload);
    payloads
        .filter(|payload| match payload {
            Payload::OldestSegment(_) => false,
            Payload::Record(WalRecord::HardState(_)) => !planted.has(PlantedBug::WalVoteNotCarried),
            Payload::Record(
                WalRecord::Entry(_) | WalRecord::Snapshot(_) | WalRecord::Member(_),
            )
            | Payload::Restart(_) => true,
        })
        .collect()
}

/// The records read so far.
#[derive(Default)]
struct Fold {
    entered: bool,
    shape: LogShape,
    entries: Vec<LogEntry>,
    /// The greatest index of an entry in the present segment.
    max_index: Option<u64>,
}

impl Fold {
    /// Goes on to a segment. The first gives the state to start from; every other must
    /// repeat what was read so far.
    fn enter(&mut self, segment: &Segment) -> Result<(), WalError> {
        if !self.entered {
            self.entered = true;
            self.shape = LogShape::from_state(segment.header.state);
        } else if self.shape.state() != segment.header.state {
            return Err(segment.corrupt(0, "the header contradicts the segments before it"));
        }
        Ok(())
    }

    fn frames(&mut self, segment: &Segment, frames: &[PlacedFrame]) -> Result<(), WalError> {
        for placed in frames {
            promises::check(&self.shape, &placed.payload, segment.planted)
                .map_err(|broken| segment.corrupt(placed.offset, broken.to_string()))?;
            let effect = self.shape.apply(&placed.payload);
            let effect =
                effect.map_err(|misfit| segment.corrupt(placed.offset, misfit.to_string()))?;
            match effect {
                Effect::Keep => {}
                Effect::Clear => self.entries.clear(),
                Effect::ReplaceFrom(index) => {
                    let keep = self.entries.partition_point(|entry| entry.index < index);
                    if segment.planted.has(PlantedBug::WalSuffixResurrected)
                        && keep < self.entries.len()
                        && let Payload::Record(WalRecord::Entry(entry)) = &placed.payload
                    {
                        self.entries[keep] = entry.clone();
                        continue;
                    }
                    self.entries.truncate(keep);
                }
            }
            if let Payload::Record(WalRecord::Entry(entry)) = &placed.payload {
                self.max_index = self.max_index.max(Some(entry.index));
                self.entries.push(entry.clone());
            }
        }
        Ok(())
    }
}
