//! Snapshot files, read by docs/formats.md a second time.

use std::ops::Range;

use super::log_file::{half_word, put_half_word, word};

/// Bytes of the header of all versions.
pub const HEADER_BYTES: usize = 40;

/// Bytes of a chunk before its data.
const CHUNK_BYTES: usize = 16;

/// A snapshot file.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The name of the file.
    pub name: String,
    /// What it holds.
    pub bytes: Vec<u8>,
    /// The data of its chunks.
    pub chunks: Vec<Range<usize>>,
    /// Where the footer begins.
    pub footer: usize,
}

impl Snapshot {
    /// Reads a snapshot; nothing if it does not end with a footer.
    pub fn read(name: String, bytes: Vec<u8>) -> Option<Self> {
        bytes.get(..HEADER_BYTES)?;
        let extension = if half_word(&bytes, 8) >= 2 { 16 } else { 0 };
        let mut at = HEADER_BYTES + extension + half_word(&bytes, 12) as usize;
        let mut chunks = Vec::new();
        while bytes.get(at..at + 4)? == b"CHNK" {
            let start = at + CHUNK_BYTES;
            let end = start + half_word(&bytes, at + 4) as usize;
            bytes.get(start..end)?;
            chunks.push(start..end);
            at = end;
        }
        let is_whole = &bytes[at..at + 4] == b"FOOT" && bytes.len() == at + 32;
        is_whole.then_some(Self {
            name,
            bytes,
            chunks,
            footer: at,
        })
    }

    /// Whether it names its cluster.
    pub fn names_cluster(&self) -> bool {
        half_word(&self.bytes, 8) >= 2
    }

    /// Makes the checksums of a chunk right.
    pub fn make_right(&mut self, data: &Range<usize>) {
        let start = data.start - CHUNK_BYTES;
        let crc = crc32c::crc32c(&self.bytes[data.clone()]);
        put_half_word(&mut self.bytes, start + 8, crc);
        let crc = self.crc_at(start, 12);
        put_half_word(&mut self.bytes, start + 12, crc);
    }

    /// Makes the footer's checksum right.
    pub fn make_footer_right(&mut self) {
        let crc = self.crc_at(self.footer, 28);
        put_half_word(&mut self.bytes, self.footer + 28, crc);
    }

    /// Covers the snapshot, the place and the bytes behind it.
    fn crc_at(&self, start: usize, length: usize) -> u32 {
        let mut crc = 0;
        for place in [word(&self.bytes, 16), word(&self.bytes, 24), start as u64] {
            crc = crc32c::crc32c_append(crc, &place.to_le_bytes());
        }
        crc32c::crc32c_append(crc, &self.bytes[start..start + length])
    }
}
