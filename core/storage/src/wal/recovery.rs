//! Recovery: reading the segments back, and telling a torn tail from corruption.
//!
//! Un-synchronised writes may survive a crash as any subset of sectors, so a valid
//! frame behind a bad one proves nothing by itself. What it *claims* does: every frame
//! says how far its segment was known to be durable when it was written. A bad place
//! that something later claims is corruption and refused; a bad place that nothing
//! claims is the torn tail and ends the log.
//!
//! Recovery writes nothing in place. It plans a segment of its own that continues the
//! log ([`Plan`]): its header says where the segment before it ends, which cuts off
//! whatever lies behind for good, and it carries over the frames that were read but
//! never claimed, because they may be in the operating system's cache alone, even
//! after a failed fsync whose process died.

use super::frame::{self, FRAME_ALIGNMENT_BYTES, FRAME_HEADER_BYTES, Payload};
use super::segment::{self, BadHeader, Chain, SEGMENT_HEADER_BYTES, SegmentHeader};
use super::shape::{Effect, LogShape};
use super::zeros::{is_zero, length_without_zeros};
use super::{
    LogEntry, Recovered, TruncatedTail, WRITE_ALIGNMENT_BYTES, WalError, WalRecord, io_error,
};
use crate::format::DataFormat;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use veridical_env::{Disk, DiskFile, OpenMode};
use veridical_planted::{Planted, PlantedBug};
use veridical_probe::{reachable, sometimes};

/// How the log goes on after recovery.
pub(super) struct Plan {
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
) -> Result<(Plan, Recovered), WalError> {
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
        let plan = Plan {
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
        };
        return Ok((plan, Recovered::default()));
    };

    let mut tail = Tail::scan(Segment::read(disk, dir, last, planted).await?)?;
    leftovers.extend(
        present
            .range(..tail.oldest_sequence)
            .map(|sequence| segment::file_name(*sequence)),
    );

    let mut fold = Fold::default();
    let mut closed = Vec::new();
    let mut chain = None;
    // A segment says where the one before it ends, so it is read before that is looked at.
    let mut following = None;
    for sequence in tail.oldest_sequence..last {
        if !present.contains(&sequence) {
            let file = dir.join(segment::file_name(sequence));
            return Err(WalError::corrupt(
                file,
                0,
                "the segment is missing, and a later one needs it",
            ));
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
        fold.enter(&segment)?;
        segment.check_chain(chain)?;
        let frames = segment.frames_until(end)?;
        chain = Some(segment.chain(&frames));
        fold.frames(&segment, &frames)?;
        closed.push(ClosedSegment {
            sequence,
            max_index: fold.max_index.take(),
        });
    }

    fold.enter(&tail.segment)?;
    tail.segment.check_chain(chain)?;
    let replaces_last = tail.frames.len() == tail.head_frames;
    sometimes!(closed.len() > 1, "wal.recovered-from-several-segments");
    if replaces_last {
        reachable!("wal.opened-again-with-nothing-added");
        // Nothing was added since the last opening: the segment is written anew, so that
        // a program that only opens its log does not fill the folder with segments.
        fold.frames(&tail.segment, &tail.frames)?;
        if let Some(chain) = chain {
            tail.segment.header.previous_crc = chain.value();
        }
    } else {
        if planted.has(PlantedBug::WalTailTrusted) {
            tail.claimed_frames = tail.frames.len();
            tail.claimed = tail
                .frames
                .last()
                .map_or(tail.claimed, |last| last.end as u64);
        }
        let mut unclaimed = tail.frames.split_off(tail.claimed_frames);
        if planted.has(PlantedBug::WalTailOvercut) && tail.truncated.is_some() {
            unclaimed.clear();
        }
        fold.frames(&tail.segment, &tail.frames)?;
        tail.segment.header.state = fold.shape.state();
        fold.frames(&tail.segment, &unclaimed)?;
        closed.push(ClosedSegment {
            sequence: last,
            max_index: fold.max_index,
        });
        tail.segment.header.sequence += 1;
        tail.segment.header.previous_end = tail.claimed;
        tail.segment.header.previous_crc = tail.segment.chain(&tail.frames).value();
        tail.frames = unclaimed;
    }
    // Which segment is the oldest, the header says.
    let carried = tail.frames.into_iter().map(|placed| placed.payload);
    let carried = carried.filter(|payload| match payload {
        Payload::OldestSegment(_) => false,
        Payload::Record(WalRecord::HardState(_)) => !planted.has(PlantedBug::WalVoteNotCarried),
        _ => true,
    });
    let state = fold.shape.state();
    let plan = Plan {
        header: SegmentHeader {
            oldest_sequence: tail.oldest_sequence,
            ..tail.segment.header
        },
        carried: carried.collect(),
        shape: fold.shape,
        closed,
        leftovers,
    };
    let recovered = Recovered {
        member: state.member,
        hard_state: state.hard_state,
        snapshot: state.snapshot,
        entries: fold.entries,
        truncated_tail: tail.truncated,
    };
    Ok((plan, recovered))
}

/// A decoded frame and where it lies.
struct PlacedFrame {
    offset: usize,
    end: usize,
    claim: u64,
    payload: Payload,
}

/// A segment in memory.
struct Segment {
    file: PathBuf,
    bytes: Vec<u8>,
    /// Where the last byte that is not zero ends.
    written_end: usize,
    header: SegmentHeader,
    planted: Planted,
}

impl SegmentHeader {
    fn check(path: &Path, sequence: u64, bytes: &[u8]) -> Result<Self, WalError> {
        match Self::decode(bytes) {
            Ok(header) if header.sequence == sequence => Ok(header),
            Ok(_) => Err(WalError::corrupt(
                path,
                0,
                "the header belongs to another segment",
            )),
            Err(BadHeader::Corrupt(reason)) => Err(WalError::corrupt(path, 0, reason)),
            Err(BadHeader::Version(version)) => Err(WalError::UnsupportedVersion {
                file: path.to_owned(),
                version,
            }),
        }
    }
}

impl Segment {
    async fn read<D: Disk>(
        disk: &D,
        dir: &Path,
        sequence: u64,
        planted: Planted,
    ) -> Result<Self, WalError> {
        let path = dir.join(segment::file_name(sequence));
        let file = disk
            .open(&path, OpenMode::Read)
            .await
            .map_err(io_error("open", &path))?;
        let length = file.len().await.map_err(io_error("measure", &path))?;
        let length = usize::try_from(length).expect("a segment fits into the address space");
        let bytes = file
            .read_exact_at(0, length)
            .await
            .map_err(io_error("read", &path))?;
        let header = SegmentHeader::check(&path, sequence, &bytes)?;
        Ok(Self {
            file: path,
            written_end: length_without_zeros(&bytes),
            bytes,
            header,
            planted,
        })
    }

    /// The segment before this one, if it is part of the log, must be the one that this
    /// one was made to follow.
    fn check_chain(&self, before: Option<Chain>) -> Result<(), WalError> {
        match before {
            Some(chain) if !self.header.follows(chain) => Err(self.corrupt(
                0,
                "the segment before it is not the one that it was made to follow",
            )),
            _ => Ok(()),
        }
    }

    /// The chain over this segment up to the last of these frames.
    fn chain(&self, frames: &[PlacedFrame]) -> Chain {
        let mut chain = Chain::begin(&self.bytes);
        for placed in frames {
            chain.add(&self.bytes[placed.offset..]);
        }
        chain
    }

    fn corrupt(&self, offset: usize, reason: impl Into<String>) -> WalError {
        WalError::corrupt(&self.file, offset as u64, reason)
    }

    /// The frame at or, if the writer left a gap there, after `offset`.
    fn frame_at(&self, offset: usize) -> Result<PlacedFrame, &'static str> {
        let reason = match self.decode(offset) {
            Ok(placed) => return Ok(placed),
            Err(reason) => reason,
        };
        // After a sync the writer goes on at the next multiple of the alignment. Only the
        // frame that claims to end this very gap may be preceded by it: a lost frame in
        // the middle of un-synchronised ones must not pass for a gap.
        let resumed = offset.next_multiple_of(WRITE_ALIGNMENT_BYTES as usize);
        let gap = self.bytes.get(offset..resumed).ok_or(reason)?;
        if gap.is_empty() || !is_zero(gap) {
            return Err(reason);
        }
        self.decode(resumed)
            .ok()
            .filter(|placed| placed.claim == offset as u64)
            .ok_or(reason)
    }

    fn decode(&self, offset: usize) -> Result<PlacedFrame, &'static str> {
        let frame = frame::decode(&self.bytes, self.header.sequence, offset, self.planted)?;
        let head_end = self.header.head_end;
        let in_head = (offset as u64) < head_end;
        if in_head && frame.claim != 0 || !in_head && frame.claim < head_end {
            return Err("the frame's claim is impossible at its place");
        }
        Ok(PlacedFrame {
            offset,
            end: offset + frame.bytes,
            claim: frame.claim,
            payload: frame.payload,
        })
    }

    /// The frames up to `end`, every one of which is known to be durable.
    fn frames_until(&self, end: u64) -> Result<Vec<PlacedFrame>, WalError> {
        let mut frames = Vec::new();
        let mut at = SEGMENT_HEADER_BYTES;
        while (at as u64) < end {
            let placed = self.frame_at(at).map_err(|reason| {
                self.corrupt(
                    at,
                    format!("{reason}, where a later segment claims durable records up to {end}"),
                )
            })?;
            at = placed.end;
            frames.push(placed);
        }
        if at as u64 != end {
            return Err(self.corrupt(
                at,
                format!("a later segment claims that this one ends at {end}"),
            ));
        }
        Ok(frames)
    }

    /// Whether what lies behind `offset` begins where the writer goes on after a sync.
    fn resumes_behind(&self, offset: usize) -> bool {
        let resumed = offset.next_multiple_of(WRITE_ALIGNMENT_BYTES as usize);
        let gap = self.bytes.get(offset..resumed);
        gap.is_some_and(is_zero)
    }

    /// The greatest claim that a frame header behind `offset` makes, and its place.
    fn greatest_claim_behind(&self, offset: usize) -> Option<(u64, usize)> {
        // No header is nothing but zeros, so none begins behind the last other byte.
        let headers_end = self.bytes.len().saturating_sub(FRAME_HEADER_BYTES - 1);
        (offset..headers_end.min(self.written_end))
            .step_by(FRAME_ALIGNMENT_BYTES)
            .skip(1)
            .filter_map(|at| {
                let header = frame::decode_header(&self.bytes, self.header.sequence, at)?;
                Some((header.claim, at))
            })
            .max()
    }
}

/// The last segment, whose end has to be found.
struct Tail {
    segment: Segment,
    frames: Vec<PlacedFrame>,
    /// How many of them are in the head section.
    head_frames: usize,
    /// How far the segment is certain to have been durable, and how many frames that is.
    claimed: u64,
    claimed_frames: usize,
    oldest_sequence: u64,
    truncated: Option<TruncatedTail>,
}

impl Tail {
    fn scan(segment: Segment) -> Result<Self, WalError> {
        let mut frames = segment.frames_until(segment.header.head_end)?;
        let head_frames = frames.len();
        let mut end = segment.header.head_end as usize;
        let reason = loop {
            match segment.frame_at(end) {
                Ok(placed) => {
                    end = placed.end;
                    frames.push(placed);
                }
                Err(reason) => break reason,
            }
        };
        if let Some((claim, witness)) = segment.greatest_claim_behind(end)
            && claim > end as u64
        {
            let reason = format!(
                "{reason}, but the record at {witness} claims everything before {claim} as durable"
            );
            return Err(segment.corrupt(end, reason));
        }
        let truncated = (segment.written_end > end).then(|| TruncatedTail {
            file: segment.file.clone(),
            offset: end as u64,
            bytes: (segment.written_end - end) as u64,
        });

        sometimes!(
            truncated.is_some() && !segment.resumes_behind(end),
            "wal.tail-torn-inside-a-batch"
        );
        sometimes!(
            truncated.is_some() && segment.resumes_behind(end),
            "wal.tail-torn-at-the-start-of-a-batch"
        );

        let claims = frames[head_frames..]
            .iter()
            .map(|placed| (placed.claim, placed.offset));
        let (claimed, witness) = claims.max().unwrap_or((segment.header.head_end, 0));
        let claimed_frames = if claimed == segment.header.head_end {
            head_frames
        } else {
            let at = frames.binary_search_by_key(&claimed, |placed| placed.end as u64);
            at.map_err(|_| {
                segment.corrupt(witness, "the record claims an end that is no record's end")
            })? + 1
        };
        let mut oldest_sequence = segment.header.oldest_sequence;
        for placed in &frames {
            if let Payload::OldestSegment(oldest) = placed.payload {
                if !(oldest_sequence..=segment.header.sequence).contains(&oldest) {
                    return Err(segment.corrupt(
                        placed.offset,
                        format!("{oldest} cannot be the oldest segment"),
                    ));
                }
                oldest_sequence = oldest;
            }
        }
        Ok(Self {
            segment,
            frames,
            head_frames,
            claimed,
            claimed_frames,
            oldest_sequence,
            truncated,
        })
    }
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
