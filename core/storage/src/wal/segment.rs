//! Segments: the files of the log, and the header at the start of each.

use super::frame::{FRAME_HEADER_BYTES, half_word_at, put_words, word_at};
use super::record::{HardState, MemberRecord, SnapshotMark};
use super::shape::CarriedState;
use crate::file_error::BadHeader;
use crate::format::DataFormat;

/// Bytes of the header.
pub(super) const SEGMENT_HEADER_BYTES: usize = 136;
/// After a sync, writing goes on at the next multiple of this, so that a sector which
/// holds durable records is never written again: a crash may tear a sector under
/// write, and sectors have up to this many bytes. The device writes whole pages of this
/// size anyway.
pub(super) const WRITE_ALIGNMENT_BYTES: u64 = 4096;
/// From this version on a header names the one before it.
const CHAINED_VERSION: u32 = 2;
/// The high bit tells it from text, the line ends notice a transfer in text mode.
const MAGIC: [u8; 8] = [0x89, b'V', b'W', b'A', b'L', 0x0D, 0x0A, 0x1A];
const HAS_MEMBER: u32 = 1;
const HAS_HARD_STATE: u32 = 2;
const HAS_SNAPSHOT: u32 = 4;
/// Offset of the checksum over the segment before.
const PREVIOUS_CRC_OFFSET: usize = 128;
/// Offset of the checksum, the same in every version.
const CRC_OFFSET: usize = 132;

/// The start of a segment.
///
/// A segment is written under a temporary name, synchronised and renamed. So a file
/// with a segment's name was durable up to `head_end` before it had that name, and
/// anything wrong there is corruption, never a torn write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// The version of the format.
    pub version: u32,
    /// Place in the order of segments, from 1. Also in the file's name.
    pub sequence: u64,
    /// The oldest segment that is still part of the log.
    pub oldest_sequence: u64,
    /// Where the segment before this one ends. All before it was durable when this
    /// segment was made; what lies behind it is not part of the log.
    pub previous_end: u64,
    /// End of the frames that were written together with the header.
    pub head_end: u64,
    /// What the log adds up to at `previous_end` of the segment before.
    pub state: CarriedState,
    /// The [`Chain`] over the segment before, up to `previous_end`; 0 if there was none,
    /// or if it was not known. Not in version 1.
    pub previous_crc: u32,
}

/// A checksum over a whole segment: the end of its header, which has the chain over the
/// segment before, and the headers of its frames, which have the checksums of their
/// payloads. So a segment of another log is not taken for the one that it replaces, even
/// if both add up to the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chain(u32);

impl Chain {
    /// The chain over a segment without frames, which begins with `bytes`.
    pub fn begin(bytes: &[u8]) -> Self {
        Self(crc32c::crc32c(
            &bytes[PREVIOUS_CRC_OFFSET..SEGMENT_HEADER_BYTES],
        ))
    }

    /// Goes on with a frame, which begins with `bytes`.
    pub fn add(&mut self, bytes: &[u8]) {
        self.0 = crc32c::crc32c_append(self.0, &bytes[..FRAME_HEADER_BYTES]);
    }

    /// As it stands in the header of the next segment.
    pub fn value(self) -> u32 {
        self.0
    }
}

/// The file name of a segment.
pub(super) fn file_name(sequence: u64) -> String {
    format!("{sequence:016x}.wal")
}

/// The name a segment has until it is durable.
pub(super) fn temporary_name(sequence: u64) -> String {
    format!("{sequence:016x}.wal.tmp")
}

/// Whether a crash left this file behind.
pub(super) fn is_temporary(name: &str) -> bool {
    name.strip_suffix(".tmp")
        .is_some_and(|name| parse_file_name(name).is_some())
}

/// The sequence in a segment's file name.
pub(super) fn parse_file_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".wal")?;
    // Only the one spelling that `file_name` gives.
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if digits.len() != 16 || !digits.bytes().all(is_digit) {
        return None;
    }
    let sequence = u64::from_str_radix(digits, 16).ok()?;
    (sequence > 0).then_some(sequence)
}

impl SegmentHeader {
    /// Whether this is the chain over the segment that this one was made to follow.
    pub fn follows(&self, chain: Chain) -> bool {
        self.version < CHAINED_VERSION || self.previous_crc == 0 || self.previous_crc == chain.0
    }

    /// The header's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let CarriedState {
            member,
            hard_state,
            snapshot,
            last_index,
            last_term,
        } = self.state;
        let mut flags = 0;
        flags |= if member.is_some() { HAS_MEMBER } else { 0 };
        flags |= if hard_state.is_some() {
            HAS_HARD_STATE
        } else {
            0
        };
        flags |= if snapshot.is_some() { HAS_SNAPSHOT } else { 0 };
        let member = member.unwrap_or(MemberRecord {
            cluster_id: 0,
            member_id: 0,
            incarnation: 0,
        });
        let hard_state = hard_state.unwrap_or(HardState {
            term: 0,
            vote: 0,
            commit: 0,
        });
        let snapshot = snapshot.unwrap_or(SnapshotMark { index: 0, term: 0 });

        let mut out = Vec::with_capacity(SEGMENT_HEADER_BYTES);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&self.version.to_le_bytes());
        out.extend_from_slice(&u32::to_le_bytes(flags));
        put_words(
            &mut out,
            &[
                self.sequence,
                self.oldest_sequence,
                self.previous_end,
                self.head_end,
            ],
        );
        put_words(&mut out, &[last_index, last_term]);
        put_words(
            &mut out,
            &[member.cluster_id, member.member_id, member.incarnation],
        );
        put_words(
            &mut out,
            &[hard_state.term, hard_state.vote, hard_state.commit],
        );
        put_words(&mut out, &[snapshot.index, snapshot.term]);
        let previous_crc = match self.version {
            CHAINED_VERSION.. => self.previous_crc,
            _ => 0,
        };
        out.extend_from_slice(&previous_crc.to_le_bytes());
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        assert_eq!(out.len(), SEGMENT_HEADER_BYTES, "the header has one length");
        out
    }

    /// The header at the start of `bytes`.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadHeader> {
        let header = bytes.get(..SEGMENT_HEADER_BYTES).ok_or(BadHeader::Corrupt(
            "the file is shorter than a segment's header",
        ))?;
        if header[..8] != MAGIC {
            return Err(BadHeader::Corrupt("the magic number is wrong"));
        }
        // Before the version: otherwise a flipped bit would pass for another version.
        if half_word_at(header, CRC_OFFSET) != crc32c::crc32c(&header[..CRC_OFFSET]) {
            return Err(BadHeader::Corrupt("the header's checksum is wrong"));
        }
        let version = half_word_at(header, 8);
        if !(DataFormat::OLDEST..=DataFormat::NEWEST).contains(&version) {
            return Err(BadHeader::Version(version));
        }
        let flags = half_word_at(header, 12);
        let word = |offset| word_at(header, offset);
        let header = Self {
            version,
            previous_crc: half_word_at(header, PREVIOUS_CRC_OFFSET),
            sequence: word(16),
            oldest_sequence: word(24),
            previous_end: word(32),
            head_end: word(40),
            state: CarriedState {
                last_index: word(48),
                last_term: word(56),
                member: (flags & HAS_MEMBER != 0).then(|| MemberRecord {
                    cluster_id: word(64),
                    member_id: word(72),
                    incarnation: word(80),
                }),
                hard_state: (flags & HAS_HARD_STATE != 0).then(|| HardState {
                    term: word(88),
                    vote: word(96),
                    commit: word(104),
                }),
                snapshot: (flags & HAS_SNAPSHOT != 0).then(|| SnapshotMark {
                    index: word(112),
                    term: word(120),
                }),
            },
        };
        let plausible = header.sequence > 0
            && (1..=header.sequence).contains(&header.oldest_sequence)
            && header.head_end >= SEGMENT_HEADER_BYTES as u64
            && header.state.last_index < u64::MAX
            && header
                .state
                .snapshot
                .is_none_or(|mark| mark.index <= header.state.last_index)
            && header
                .state
                .member
                .is_none_or(|member| member.incarnation < u64::MAX);
        if !plausible {
            return Err(BadHeader::Corrupt(
                "the header's checksum is right but its fields contradict each other",
            ));
        }
        Ok(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> SegmentHeader {
        SegmentHeader {
            version: 2,
            previous_crc: 77,
            sequence: 9,
            oldest_sequence: 4,
            previous_end: 4096,
            head_end: 200,
            state: CarriedState {
                member: Some(MemberRecord {
                    cluster_id: 1,
                    member_id: 2,
                    incarnation: 3,
                }),
                hard_state: Some(HardState {
                    term: 4,
                    vote: 5,
                    commit: 6,
                }),
                snapshot: Some(SnapshotMark { index: 7, term: 8 }),
                last_index: 10,
                last_term: 11,
            },
        }
    }

    #[test]
    fn a_header_decodes_to_what_was_encoded() {
        let full = sample();
        let empty = SegmentHeader {
            state: CarriedState::default(),
            ..full
        };
        let previous = SegmentHeader {
            version: 1,
            previous_crc: 0,
            ..full
        };
        for header in [full, empty, previous] {
            assert_eq!(SegmentHeader::decode(&header.encode()), Ok(header));
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_refused() {
        let mut bytes = sample().encode();
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(
                matches!(SegmentHeader::decode(&bytes), Err(BadHeader::Corrupt(_))),
                "bit {bit}"
            );
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        for length in 0..bytes.len() {
            assert!(SegmentHeader::decode(&bytes[..length]).is_err());
        }
    }

    #[test]
    fn another_version_is_named() {
        let mut bytes = sample().encode();
        bytes[8] = 3;
        let crc = crc32c::crc32c(&bytes[..CRC_OFFSET]);
        bytes[CRC_OFFSET..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&bytes), Err(BadHeader::Version(3)));
    }

    #[test]
    fn file_names_are_read_back_and_others_are_not() {
        assert_eq!(parse_file_name(&file_name(0x1f)), Some(0x1f));
        assert!(is_temporary(&temporary_name(3)));
        for name in [
            "1f.wal",
            "000000000000001F.wal",
            "0000000000000000.wal",
            "x.wal",
            "000000000000001f.snap",
        ] {
            assert_eq!(parse_file_name(name), None, "{name}");
        }
    }
}
