//! Segments of the log, read by docs/formats.md a second time: whoever looks for what the
//! store's own reader lets pass must not use it.

use std::ops::Range;

/// Bytes of a segment's header.
const HEADER_BYTES: usize = 136;

/// Bytes of a frame before its payload.
const FRAME_BYTES: usize = 24;

/// Where the kind of a frame stands.
pub const KIND_AT: usize = 12;

/// Where the claim of a frame stands.
pub const CLAIM_AT: usize = 16;

/// Where the writer goes on after a synchronisation.
const PAGE_BYTES: usize = 4096;

/// The kinds of frames that are looked for.
pub const ENTRY: u8 = 1;
pub const HARD_STATE: u8 = 2;
pub const MEMBER: u8 = 4;

/// A record in a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Where it begins.
    pub start: usize,
    /// Its payload.
    pub payload: Range<usize>,
    /// What it is.
    pub kind: u8,
    /// How much before it was durable when it was written.
    pub claim: u64,
}

/// A segment of the log.
#[derive(Clone, Debug)]
pub struct Segment {
    /// The name of the file.
    pub name: String,
    /// What it holds.
    pub bytes: Vec<u8>,
    /// Its frames in their order.
    pub frames: Vec<Frame>,
}

/// The little-endian word at `at`.
pub fn word(bytes: &[u8], at: usize) -> u64 {
    let word = bytes.get(at..at + 8).and_then(|word| word.try_into().ok());
    word.map_or(0, u64::from_le_bytes)
}

/// The little-endian half word at `at`.
pub fn half_word(bytes: &[u8], at: usize) -> u32 {
    let word = bytes.get(at..at + 4).and_then(|word| word.try_into().ok());
    word.map_or(0, u32::from_le_bytes)
}

/// Writes a word.
pub fn put_word(bytes: &mut [u8], at: usize, word: u64) {
    bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
}

/// Writes a half word.
pub fn put_half_word(bytes: &mut [u8], at: usize, half: u32) {
    bytes[at..at + 4].copy_from_slice(&half.to_le_bytes());
}

impl Segment {
    /// Reads a segment up to the first place without a frame; nothing if its header is none.
    pub fn read(name: String, bytes: Vec<u8>) -> Option<Self> {
        if half_word(bytes.get(..HEADER_BYTES)?, 132) != crc32c::crc32c(&bytes[..132]) {
            return None;
        }
        let sequence = word(&bytes, 16);
        let mut frames = Vec::new();
        let mut at = HEADER_BYTES;
        loop {
            let resumed = at.next_multiple_of(PAGE_BYTES);
            let next = frame_at(&bytes, sequence, at).or_else(|| {
                let gap = bytes.get(at..resumed)?;
                let is_gap = gap.iter().all(|byte| *byte == 0);
                is_gap.then(|| frame_at(&bytes, sequence, resumed))?
            });
            let Some(frame) = next else { break };
            at = frame.payload.end.next_multiple_of(8);
            frames.push(frame);
        }
        Some(Self {
            name,
            bytes,
            frames,
        })
    }

    /// Its place in the order of segments.
    pub fn sequence(&self) -> u64 {
        word(&self.bytes, 16)
    }

    /// Where the segment before it ends.
    pub fn previous_end(&self) -> u64 {
        word(&self.bytes, 32)
    }

    /// Where the frames end that were written together with the header.
    pub fn head_end(&self) -> u64 {
        word(&self.bytes, 40)
    }

    /// Whether it names the segment before it by a checksum over that one.
    pub fn is_chained(&self) -> bool {
        half_word(&self.bytes, 8) >= 2 && half_word(&self.bytes, 128) != 0
    }

    /// A word of a frame's payload.
    pub fn payload_word(&self, frame: &Frame, number: usize) -> u64 {
        word(&self.bytes, frame.payload.start + 8 * number)
    }

    /// Makes the checksums of a frame right, with a payload of so many bytes.
    pub fn make_right(&mut self, start: usize, payload_bytes: usize) {
        let payload = &self.bytes[start + FRAME_BYTES..start + FRAME_BYTES + payload_bytes];
        let crc = crc32c::crc32c(payload);
        put_half_word(&mut self.bytes, start + 4, crc);
        put_half_word(&mut self.bytes, start + 8, payload_bytes as u32);
        let crc = header_crc(&self.bytes, self.sequence(), start);
        put_half_word(&mut self.bytes, start, crc);
    }

    /// Makes the checksum of the header right.
    pub fn make_header_right(&mut self) {
        let crc = crc32c::crc32c(&self.bytes[..132]);
        put_half_word(&mut self.bytes, 132, crc);
    }
}

fn frame_at(bytes: &[u8], sequence: u64, start: usize) -> Option<Frame> {
    bytes.get(start..start + FRAME_BYTES)?;
    if half_word(bytes, start) != header_crc(bytes, sequence, start) {
        return None;
    }
    let length = half_word(bytes, start + 8) as usize;
    let payload = start + FRAME_BYTES..start + FRAME_BYTES + length;
    let is_right = crc32c::crc32c(bytes.get(payload.clone())?) == half_word(bytes, start + 4);
    is_right.then(|| Frame {
        start,
        payload,
        kind: bytes[start + KIND_AT],
        claim: word(bytes, start + CLAIM_AT),
    })
}

/// Covers the place of a frame and its header but for the checksum itself.
fn header_crc(bytes: &[u8], sequence: u64, start: usize) -> u32 {
    let crc = crc32c::crc32c(&sequence.to_le_bytes());
    let crc = crc32c::crc32c_append(crc, &(start as u64).to_le_bytes());
    crc32c::crc32c_append(crc, &bytes[start + 4..start + FRAME_BYTES])
}
