//! Frames: how one record lies in a segment.
//!
//! A frame's header carries a checksum that covers the frame's own place (segment
//! sequence and offset), so bytes that were copied, left over or misdirected are never
//! taken for a record, and a *claim*: how far the segment was known to be durable when
//! the frame was written. The header can be trusted without its payload, so that a torn
//! frame still bears witness for what lies before it.

use super::record::{HardState, LogEntry, MemberRecord, SnapshotMark, WalRecord};
use bytes::Bytes;
use veridical_planted::{Planted, PlantedBug};
use veridical_probe::always;

/// Bytes before a frame's payload.
pub(super) const FRAME_HEADER_BYTES: usize = 24;
/// Frames start at multiples of this.
pub(super) const FRAME_ALIGNMENT_BYTES: usize = 8;
/// Bytes of an entry's payload before its data: term, index, kind.
const ENTRY_PREFIX_BYTES: usize = 17;

const KIND_ENTRY: u8 = 1;
const KIND_HARD_STATE: u8 = 2;
const KIND_SNAPSHOT: u8 = 3;
const KIND_MEMBER: u8 = 4;
const KIND_RESTART: u8 = 5;
const KIND_OLDEST_SEGMENT: u8 = 6;

/// What a frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Payload {
    /// A record of the caller.
    Record(WalRecord),
    /// A snapshot mark whose snapshot replaced the log. The writer decided that; who
    /// reads it may not have the entries any more by which to decide.
    Restart(SnapshotMark),
    /// Segments before this sequence are no longer part of the log.
    OldestSegment(u64),
}

/// A frame's header whose checksum was found right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    /// Everything in the segment before this offset was durable when the frame was
    /// written. 0 in the head section of a segment, where nothing is claimed.
    pub claim: u64,
    payload_crc: u32,
    payload_bytes: u32,
    kind: u8,
}

/// A decoded frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// The header's claim.
    pub claim: u64,
    /// What the frame says.
    pub payload: Payload,
    /// Bytes from the frame's start to the next frame's.
    pub bytes: usize,
}

/// Bytes that a frame with a payload of this length takes in a segment.
pub(super) fn frame_bytes(payload_bytes: usize) -> usize {
    (FRAME_HEADER_BYTES + payload_bytes).next_multiple_of(FRAME_ALIGNMENT_BYTES)
}

/// Appends a frame to `out`, to be written at `offset` of segment `sequence`.
pub(super) fn encode(out: &mut Vec<u8>, sequence: u64, offset: u64, claim: u64, payload: &Payload) {
    assert!(
        offset.is_multiple_of(FRAME_ALIGNMENT_BYTES as u64),
        "frames are aligned"
    );
    always!(
        claim <= offset,
        "wal.claims-are-of-what-comes-before",
        "a frame at {offset} claims {claim}"
    );
    let start = out.len();
    out.resize(start + FRAME_HEADER_BYTES, 0);
    let kind = match payload {
        Payload::Record(WalRecord::Entry(entry)) => {
            out.extend_from_slice(&entry.term.to_le_bytes());
            out.extend_from_slice(&entry.index.to_le_bytes());
            out.push(entry.kind);
            out.extend_from_slice(&entry.data);
            KIND_ENTRY
        }
        Payload::Record(WalRecord::HardState(state)) => {
            put_words(out, &[state.term, state.vote, state.commit]);
            KIND_HARD_STATE
        }
        Payload::Record(WalRecord::Snapshot(mark)) => {
            put_words(out, &[mark.index, mark.term]);
            KIND_SNAPSHOT
        }
        Payload::Restart(mark) => {
            put_words(out, &[mark.index, mark.term]);
            KIND_RESTART
        }
        Payload::Record(WalRecord::Member(member)) => {
            put_words(
                out,
                &[member.cluster_id, member.member_id, member.incarnation],
            );
            KIND_MEMBER
        }
        Payload::OldestSegment(oldest) => {
            put_words(out, &[*oldest]);
            KIND_OLDEST_SEGMENT
        }
    };
    let payload_start = start + FRAME_HEADER_BYTES;
    let payload_bytes =
        u32::try_from(out.len() - payload_start).expect("append bounds the size of a record");
    let payload_crc = crc32c::crc32c(&out[payload_start..]);
    out.resize(start + frame_bytes(payload_bytes as usize), 0);

    let header = &mut out[start..payload_start];
    header[4..8].copy_from_slice(&payload_crc.to_le_bytes());
    header[8..12].copy_from_slice(&payload_bytes.to_le_bytes());
    header[12] = kind;
    header[16..24].copy_from_slice(&claim.to_le_bytes());
    let crc = header_crc(header, sequence, offset);
    header[0..4].copy_from_slice(&crc.to_le_bytes());
    assert!(
        out.len().is_multiple_of(FRAME_ALIGNMENT_BYTES)
            == start.is_multiple_of(FRAME_ALIGNMENT_BYTES),
        "the next frame is aligned as well"
    );
}

/// The frame header at `offset` of segment `sequence`, whose bytes are `segment`;
/// `None` if there is none.
pub(super) fn decode_header(segment: &[u8], sequence: u64, offset: usize) -> Option<FrameHeader> {
    let header = segment.get(offset..offset.checked_add(FRAME_HEADER_BYTES)?)?;
    // Cheap tests first: a search for claims asks this of every eighth byte.
    let kind = header[12];
    if !(KIND_ENTRY..=KIND_OLDEST_SEGMENT).contains(&kind) || header[13..16] != [0, 0, 0] {
        return None;
    }
    let claim = word_at(header, 16);
    if claim > offset as u64
        || half_word_at(header, 0) != header_crc(header, sequence, offset as u64)
    {
        return None;
    }
    Some(FrameHeader {
        claim,
        payload_crc: half_word_at(header, 4),
        payload_bytes: half_word_at(header, 8),
        kind,
    })
}

/// Why there is no frame at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoFrame {
    /// A write that was never synchronised can have left this.
    Torn(&'static str),
    /// No write can have left this: the checksums are right, and so they were computed over
    /// what nobody writes.
    Impossible(&'static str),
}

impl NoFrame {
    /// In words.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Torn(reason) | Self::Impossible(reason) => reason,
        }
    }
}

/// The frame at `offset` of segment `sequence`, whose bytes are `segment`; or why
/// there is none.
pub(super) fn decode(
    segment: &[u8],
    sequence: u64,
    offset: usize,
    planted: Planted,
) -> Result<Frame, NoFrame> {
    let Some(header) = decode_header(segment, sequence, offset) else {
        return Err(match has_right_checksum(segment, sequence, offset) {
            true => NoFrame::Impossible(
                "the checksum of a frame header is right, its fields are impossible",
            ),
            false => NoFrame::Torn("no frame header with a right checksum"),
        });
    };
    let start = offset + FRAME_HEADER_BYTES;
    let payload_bytes = header.payload_bytes as usize;
    let bytes = frame_bytes(payload_bytes);
    let padded = segment
        .get(start..offset + bytes)
        .ok_or(NoFrame::Torn("the payload ends behind the end of the file"))?;
    let (payload, padding) = padded.split_at(payload_bytes);
    if crc32c::crc32c(payload) != header.payload_crc
        && !planted.has(PlantedBug::WalPayloadUnchecked)
    {
        return Err(NoFrame::Torn("the payload's checksum is wrong"));
    }
    if padding.iter().any(|byte| *byte != 0) {
        return Err(NoFrame::Torn("the padding is not zero"));
    }
    let payload = decode_payload(header.kind, payload).ok_or(NoFrame::Impossible(
        "the payload's checksum is right, its length is wrong for its kind",
    ))?;
    Ok(Frame {
        claim: header.claim,
        payload,
        bytes,
    })
}

fn decode_payload(kind: u8, payload: &[u8]) -> Option<Payload> {
    let words = |count: usize| (payload.len() == 8 * count).then_some(payload);
    Some(match kind {
        KIND_ENTRY => {
            let (prefix, data) = payload.split_at_checked(ENTRY_PREFIX_BYTES)?;
            Payload::Record(WalRecord::Entry(LogEntry {
                term: word_at(prefix, 0),
                index: word_at(prefix, 8),
                kind: prefix[16],
                // Copied: a slice would keep the whole segment in memory.
                data: Bytes::copy_from_slice(data),
            }))
        }
        KIND_HARD_STATE => words(3).map(|words| {
            Payload::Record(WalRecord::HardState(HardState {
                term: word_at(words, 0),
                vote: word_at(words, 8),
                commit: word_at(words, 16),
            }))
        })?,
        KIND_SNAPSHOT | KIND_RESTART => {
            let words = words(2)?;
            let mark = SnapshotMark {
                index: word_at(words, 0),
                term: word_at(words, 8),
            };
            if kind == KIND_RESTART {
                Payload::Restart(mark)
            } else {
                Payload::Record(WalRecord::Snapshot(mark))
            }
        }
        KIND_MEMBER => words(3).map(|words| {
            Payload::Record(WalRecord::Member(MemberRecord {
                cluster_id: word_at(words, 0),
                member_id: word_at(words, 8),
                incarnation: word_at(words, 16),
            }))
        })?,
        KIND_OLDEST_SEGMENT => Payload::OldestSegment(words(1).map(|words| word_at(words, 0))?),
        _ => return None,
    })
}

/// Whether the header at `offset` has the right checksum, whatever its fields say.
fn has_right_checksum(segment: &[u8], sequence: u64, offset: usize) -> bool {
    let end = offset.checked_add(FRAME_HEADER_BYTES);
    let header = end.and_then(|end| segment.get(offset..end));
    header.is_some_and(|header| {
        half_word_at(header, 0) == header_crc(header, sequence, offset as u64)
    })
}

/// Covers everything in the header but itself, and the frame's place.
fn header_crc(header: &[u8], sequence: u64, offset: u64) -> u32 {
    let mut place = [0; 16];
    place[..8].copy_from_slice(&sequence.to_le_bytes());
    place[8..].copy_from_slice(&offset.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c(&place), &header[4..FRAME_HEADER_BYTES])
}

/// Appends words, little-endian.
pub(super) fn put_words(out: &mut Vec<u8>, words: &[u64]) {
    for word in words {
        out.extend_from_slice(&word.to_le_bytes());
    }
}

/// The little-endian word at `offset`.
pub(super) fn word_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(bytes[offset..offset + 8].try_into().expect("eight bytes"))
}

/// The little-endian half word at `offset`.
pub(super) fn half_word_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(bytes[offset..offset + 4].try_into().expect("four bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<Payload> {
        vec![
            Payload::Record(WalRecord::Entry(LogEntry {
                term: 3,
                index: 9,
                kind: 1,
                data: Bytes::from_static(b"hello"),
            })),
            Payload::Record(WalRecord::Entry(LogEntry {
                term: 3,
                index: 10,
                kind: 0,
                data: Bytes::new(),
            })),
            Payload::Record(WalRecord::HardState(HardState {
                term: 3,
                vote: 7,
                commit: 8,
            })),
            Payload::Record(WalRecord::Snapshot(SnapshotMark { index: 5, term: 2 })),
            Payload::Record(WalRecord::Member(MemberRecord {
                cluster_id: 1,
                member_id: 2,
                incarnation: 3,
            })),
            Payload::Restart(SnapshotMark { index: 5, term: 2 }),
            Payload::OldestSegment(4),
        ]
    }

    #[test]
    fn a_frame_decodes_to_what_was_encoded() {
        for payload in samples() {
            let mut segment = vec![0; 64];
            encode(&mut segment, 7, 64, 40, &payload);
            let frame = decode(&segment, 7, 64, Planted::none()).expect("a frame");
            assert_eq!(
                frame,
                Frame {
                    claim: 40,
                    payload,
                    bytes: segment.len() - 64
                }
            );
        }
    }

    #[test]
    fn a_frame_is_not_taken_for_one_at_another_place() {
        for payload in samples() {
            let mut segment = Vec::new();
            encode(&mut segment, 7, 64, 0, &payload);
            assert_eq!(decode_header(&segment, 7, 0), None);
            let mut moved = vec![0; 64];
            moved.extend_from_slice(&segment);
            assert!(decode_header(&moved, 7, 64).is_some());
            assert_eq!(decode_header(&moved, 8, 64), None);
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        for payload in samples() {
            let mut segment = Vec::new();
            encode(&mut segment, 1, 0, 0, &payload);
            for bit in 0..segment.len() * 8 {
                segment[bit / 8] ^= 1 << (bit % 8);
                assert!(
                    decode(&segment, 1, 0, Planted::none()).is_err(),
                    "bit {bit} of {payload:?}"
                );
                segment[bit / 8] ^= 1 << (bit % 8);
            }
            assert!(decode(&segment, 1, 0, Planted::none()).is_ok());
        }
    }

    #[test]
    fn every_cut_is_noticed() {
        for payload in samples() {
            let mut segment = Vec::new();
            encode(&mut segment, 1, 0, 0, &payload);
            for length in 0..segment.len() {
                assert!(decode(&segment[..length], 1, 0, Planted::none()).is_err());
            }
        }
    }
}
