//! Reading segments: which frames one has, and where the last one ends.

use super::error::{WalError, io_error};
use super::frame::{self, FRAME_ALIGNMENT_BYTES, FRAME_HEADER_BYTES, NoFrame, Payload};
use super::segment::{self, Chain, SEGMENT_HEADER_BYTES, SegmentHeader, WRITE_ALIGNMENT_BYTES};
use super::zeros::{is_zero, length_without_zeros};
use crate::file_error::FileError;
use std::path::{Path, PathBuf};
use veridical_env::{Disk, DiskFile, OpenMode};
use veridical_planted::{Planted, PlantedBug};
use veridical_probe::{reachable, sometimes};

/// The end of the log that was cut off: bytes of batches that were not synchronised
/// when the process or the machine stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TruncatedTail {
    /// The segment.
    pub file: PathBuf,
    /// Where the log ends.
    pub offset: u64,
    /// From there to the last byte that is not zero.
    pub bytes: u64,
}

/// A decoded frame and where it lies.
pub(super) struct PlacedFrame {
    pub offset: usize,
    pub end: usize,
    claim: u64,
    pub payload: Payload,
}

/// A place at which there is no frame.
#[derive(Clone, Copy)]
struct BadPlace {
    offset: usize,
    cause: NoFrame,
}

/// A segment in memory.
pub(super) struct Segment {
    file: PathBuf,
    bytes: Vec<u8>,
    /// Where the last byte that is not zero ends.
    written_end: usize,
    pub header: SegmentHeader,
    pub planted: Planted,
}

impl SegmentHeader {
    fn check(path: &Path, sequence: u64, bytes: &[u8]) -> Result<Self, WalError> {
        match Self::decode(bytes) {
            Ok(header) if header.sequence == sequence => Ok(header),
            Ok(_) => {
                Err(FileError::corrupt(path, 0, "the header belongs to another segment").into())
            }
            Err(bad) => Err(bad.of(path).into()),
        }
    }
}

impl Segment {
    pub async fn read<D: Disk>(
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
    pub fn check_chain(&self, before: Option<Chain>) -> Result<(), WalError> {
        match before {
            Some(_) if self.planted.has(PlantedBug::WalChainUnchecked) => Ok(()),
            Some(chain) if !self.header.follows(chain) => Err(self.corrupt(
                0,
                "the segment before it is not the one that it was made to follow",
            )),
            _ => Ok(()),
        }
    }

    /// The chain over this segment up to the last of these frames.
    pub fn chain(&self, frames: &[PlacedFrame]) -> Chain {
        let mut chain = Chain::begin(&self.bytes);
        for placed in frames {
            chain.add(&self.bytes[placed.offset..]);
        }
        chain
    }

    pub fn corrupt(&self, offset: usize, reason: impl Into<String>) -> WalError {
        FileError::corrupt(&self.file, offset as u64, reason).into()
    }

    /// The frame at or, if the writer left a gap there, after `offset`.
    fn frame_at(&self, offset: usize) -> Result<PlacedFrame, BadPlace> {
        let bad = match self.decode(offset) {
            Ok(placed) => return Ok(placed),
            Err(cause) => BadPlace { offset, cause },
        };
        // After a sync the writer goes on at the next multiple of the alignment. Only the
        // frame that claims to end this very gap may be preceded by it: a lost frame in
        // the middle of un-synchronised ones must not pass for a gap.
        let resumed = offset.next_multiple_of(WRITE_ALIGNMENT_BYTES as usize);
        let gap = self.bytes.get(offset..resumed).ok_or(bad)?;
        if gap.is_empty() || !is_zero(gap) {
            return Err(bad);
        }
        match self.decode(resumed) {
            Ok(placed) if placed.claim == offset as u64 => Ok(placed),
            Err(cause @ NoFrame::Impossible(_)) => Err(BadPlace {
                offset: resumed,
                cause,
            }),
            Ok(_) | Err(NoFrame::Torn(_)) => Err(bad),
        }
    }

    fn decode(&self, offset: usize) -> Result<PlacedFrame, NoFrame> {
        let frame = frame::decode(&self.bytes, self.header.sequence, offset, self.planted)?;
        let head_end = self.header.head_end;
        let in_head = (offset as u64) < head_end;
        if in_head && frame.claim != 0 || !in_head && frame.claim < head_end {
            return Err(NoFrame::Impossible(
                "the frame's checksum is right, its claim is impossible at its place",
            ));
        }
        Ok(PlacedFrame {
            offset,
            end: offset + frame.bytes,
            claim: frame.claim,
            payload: frame.payload,
        })
    }

    /// The frames up to `end`, every one of which is known to be durable.
    pub fn frames_until(&self, end: u64) -> Result<Vec<PlacedFrame>, WalError> {
        let mut frames = Vec::new();
        let mut at = SEGMENT_HEADER_BYTES;
        while (at as u64) < end {
            let placed = self.frame_at(at).map_err(|bad| {
                let reason = bad.cause.reason();
                self.corrupt(
                    bad.offset,
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
        let mut claims = (offset..headers_end.min(self.written_end))
            .step_by(FRAME_ALIGNMENT_BYTES)
            .skip(1)
            .filter_map(|at| {
                let header = frame::decode_header(&self.bytes, self.header.sequence, at)?;
                Some((header.claim, at))
            });
        if self.planted.has(PlantedBug::WalNearestClaimTaken) {
            return claims.next();
        }
        claims.max()
    }
}

/// The last segment, whose end has to be found.
pub(super) struct Tail {
    pub segment: Segment,
    pub frames: Vec<PlacedFrame>,
    /// How many of them are in the head section.
    pub head_frames: usize,
    /// How far the segment is certain to have been durable.
    pub claimed: u64,
    /// How many frames that is.
    pub claimed_frames: usize,
    pub oldest_sequence: u64,
    pub truncated: Option<TruncatedTail>,
}

impl Tail {
    pub fn scan(segment: Segment) -> Result<Self, WalError> {
        let mut frames = segment.frames_until(segment.header.head_end)?;
        let head_frames = frames.len();
        let mut end = segment.header.head_end as usize;
        let bad = loop {
            match segment.frame_at(end) {
                Ok(placed) => {
                    end = placed.end;
                    frames.push(placed);
                }
                Err(bad) => break bad,
            }
        };
        let reason = bad.cause.reason();
        if matches!(bad.cause, NoFrame::Impossible(_))
            && !segment.planted.has(PlantedBug::WalImpossibleCutOff)
        {
            reachable!(
                "wal.impossible-record-refused",
                rare: "nobody writes one; the scenario forged-disk comes by"
            );
            return Err(segment.corrupt(bad.offset, reason));
        }
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
