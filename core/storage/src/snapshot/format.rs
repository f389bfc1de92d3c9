//! The bytes of a snapshot file: header, chunks, footer.

use crate::file_error::BadHeader;
use bytes::Bytes;

use crate::format::DataFormat;

/// The most bytes that a chunk may have.
pub const MAX_CHUNK_BYTES: usize = 16 * 1024 * 1024;
/// The most bytes that the meta bytes may have.
pub const MAX_META_BYTES: usize = 16 * 1024 * 1024;

/// Bytes of the header that all versions have.
pub(super) const HEADER_BYTES: usize = 40;
/// Bytes that follow it from [`CLUSTER_VERSION`] on.
pub(super) const EXTENSION_BYTES: usize = 16;
/// From this version on a snapshot names its cluster.
const CLUSTER_VERSION: u32 = 2;
/// Bytes of a chunk before its data.
pub(super) const CHUNK_HEADER_BYTES: usize = 16;
/// Bytes of the footer.
pub(super) const FOOTER_BYTES: usize = 32;

/// The high bit tells it from text, the line ends notice a transfer in text mode.
const MAGIC: [u8; 8] = [0x89, b'V', b'S', b'N', b'P', 0x0D, 0x0A, 0x1A];
const CHUNK_TAG: [u8; 4] = *b"CHNK";
const FOOTER_TAG: [u8; 4] = *b"FOOT";

/// The fixed part of the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileHeader {
    pub version: u32,
    pub term: u64,
    pub index: u64,
    pub meta_bytes: u32,
    pub meta_crc: u32,
}

/// What follows a chunk, or the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// A chunk's data of this length and checksum.
    Chunk { bytes: u32, crc: u32 },
    /// The end.
    Footer(Footer),
}

/// What all chunks add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Footer {
    pub chunks: u64,
    pub data_bytes: u64,
    /// CRC32C over the data of all chunks, one after the other.
    pub data_crc: u32,
}

/// Where a part lies. Its checksum covers this, so that a part of another snapshot, or
/// of another place in this one, is not taken for the right one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub term: u64,
    pub index: u64,
    pub offset: u64,
}

impl FileHeader {
    /// The header with its meta bytes.
    pub fn encode(
        format: DataFormat,
        cluster_id: u64,
        (term, index): (u64, u64),
        meta: &Bytes,
    ) -> Vec<u8> {
        let version = format.version();
        let meta_bytes = u32::try_from(meta.len()).expect("the writer bounds the meta bytes");
        let mut out = Vec::with_capacity(HEADER_BYTES + EXTENSION_BYTES + meta.len());
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&version.to_le_bytes());
        out.extend_from_slice(&meta_bytes.to_le_bytes());
        out.extend_from_slice(&term.to_le_bytes());
        out.extend_from_slice(&index.to_le_bytes());
        out.extend_from_slice(&crc32c::crc32c(meta).to_le_bytes());
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        if version >= CLUSTER_VERSION {
            out.extend_from_slice(&cluster_id.to_le_bytes());
            out.extend_from_slice(&[0; 4]);
            let crc = crc32c::crc32c(&out[HEADER_BYTES..]);
            out.extend_from_slice(&crc.to_le_bytes());
        }
        out.extend_from_slice(meta);
        out
    }

    /// The header at the start of `bytes`.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadHeader> {
        let header = bytes.get(..HEADER_BYTES).ok_or(BadHeader::Corrupt(
            "the file is shorter than a snapshot's header",
        ))?;
        if header[..8] != MAGIC {
            return Err(BadHeader::Corrupt("the magic number is wrong"));
        }
        // Before the version: otherwise a flipped bit would pass for another version.
        if half_word_at(header, 36) != crc32c::crc32c(&header[..36]) {
            return Err(BadHeader::Corrupt("the header's checksum is wrong"));
        }
        let version = half_word_at(header, 8);
        if !(DataFormat::OLDEST..=DataFormat::NEWEST).contains(&version) {
            return Err(BadHeader::Version(version));
        }
        let meta_bytes = half_word_at(header, 12);
        if meta_bytes as usize > MAX_META_BYTES {
            return Err(BadHeader::Corrupt("the meta bytes exceed their limit"));
        }
        Ok(Self {
            version,
            term: word_at(header, 16),
            index: word_at(header, 24),
            meta_bytes,
            meta_crc: half_word_at(header, 32),
        })
    }

    /// How many bytes come between the header and the meta bytes.
    pub fn extension_bytes(&self) -> usize {
        match self.version {
            CLUSTER_VERSION.. => EXTENSION_BYTES,
            _ => 0,
        }
    }
}

/// The cluster that the extension of a header names.
pub(super) fn decode_extension(bytes: &[u8]) -> Result<u64, &'static str> {
    let extension = bytes
        .get(..EXTENSION_BYTES)
        .ok_or("the file ends within the header")?;
    if half_word_at(extension, 12) != crc32c::crc32c(&extension[..12]) {
        return Err("the checksum of the header's extension is wrong");
    }
    Ok(word_at(extension, 0))
}

/// A chunk with its header, to be written at `place`.
pub(super) fn encode_chunk(place: Place, data: &[u8]) -> Vec<u8> {
    let bytes = u32::try_from(data.len()).expect("the writer bounds the chunk");
    let mut out = Vec::with_capacity(CHUNK_HEADER_BYTES + data.len());
    out.extend_from_slice(&CHUNK_TAG);
    out.extend_from_slice(&bytes.to_le_bytes());
    out.extend_from_slice(&crc32c::crc32c(data).to_le_bytes());
    let crc = place.crc(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(data);
    out
}

/// The footer, to be written at `place`.
pub(super) fn encode_footer(place: Place, footer: Footer) -> Vec<u8> {
    let mut out = Vec::with_capacity(FOOTER_BYTES);
    out.extend_from_slice(&FOOTER_TAG);
    out.extend_from_slice(&footer.data_crc.to_le_bytes());
    out.extend_from_slice(&footer.chunks.to_le_bytes());
    out.extend_from_slice(&footer.data_bytes.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    let crc = place.crc(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

/// The part that starts with `bytes`, as many as a footer has or the file still holds.
pub(super) fn decode_part(place: Place, bytes: &[u8]) -> Result<Part, &'static str> {
    match bytes.get(..4) {
        Some(tag) if tag == CHUNK_TAG => {
            let header = bytes
                .get(..CHUNK_HEADER_BYTES)
                .ok_or("the file ends within a chunk's header")?;
            if half_word_at(header, 12) != place.crc(&header[..12]) {
                return Err("the checksum of a chunk's header is wrong");
            }
            let bytes = half_word_at(header, 4);
            if bytes as usize > MAX_CHUNK_BYTES {
                return Err("a chunk exceeds its limit");
            }
            Ok(Part::Chunk {
                bytes,
                crc: half_word_at(header, 8),
            })
        }
        Some(tag) if tag == FOOTER_TAG => {
            let footer = bytes
                .get(..FOOTER_BYTES)
                .ok_or("the file ends within the footer")?;
            if half_word_at(footer, 28) != place.crc(&footer[..28]) {
                return Err("the footer's checksum is wrong");
            }
            Ok(Part::Footer(Footer {
                data_crc: half_word_at(footer, 4),
                chunks: word_at(footer, 8),
                data_bytes: word_at(footer, 16),
            }))
        }
        Some(_) => Err("here is neither a chunk nor the footer"),
        None => Err("the file ends without a footer"),
    }
}

impl Place {
    fn crc(self, bytes: &[u8]) -> u32 {
        let mut crc = 0;
        for word in [self.term, self.index, self.offset] {
            crc = crc32c::crc32c_append(crc, &word.to_le_bytes());
        }
        crc32c::crc32c_append(crc, bytes)
    }
}

/// The file name of a snapshot.
pub(super) fn file_name(term: u64, index: u64) -> String {
    format!("snapshot-{term:016x}-{index:016x}.snap")
}

/// The name a snapshot has until it is whole.
pub(super) fn temporary_name(term: u64, index: u64, ordinal: u64) -> String {
    format!("{}.{ordinal}.tmp", file_name(term, index))
}

/// Whether a writer left this file behind.
pub(super) fn is_temporary(name: &str) -> bool {
    let parts = name
        .strip_suffix(".tmp")
        .and_then(|rest| rest.rsplit_once('.'));
    parts.is_some_and(|(name, ordinal)| {
        parse_file_name(name).is_some() && ordinal.parse::<u64>().is_ok()
    })
}

/// Term and index in a snapshot's file name.
pub(super) fn parse_file_name(name: &str) -> Option<(u64, u64)> {
    let (term, index) = name
        .strip_prefix("snapshot-")?
        .strip_suffix(".snap")?
        .split_once('-')?;
    let (term, index) = (
        u64::from_str_radix(term, 16).ok()?,
        u64::from_str_radix(index, 16).ok()?,
    );
    // Only the one spelling that `file_name` gives.
    (file_name(term, index) == name).then_some((term, index))
}

fn word_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(bytes[offset..offset + 8].try_into().expect("eight bytes"))
}

fn half_word_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(bytes[offset..offset + 4].try_into().expect("four bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_are_read_back_and_others_are_not() {
        assert_eq!(parse_file_name(&file_name(2, 0x1f)), Some((2, 0x1f)));
        assert!(is_temporary(&temporary_name(2, 3, 7)));
        for name in [
            "snapshot-2-1f.snap",
            "snapshot-0000000000000002-000000000000001f",
            "x",
        ] {
            assert_eq!(parse_file_name(name), None, "{name}");
            assert!(!is_temporary(name), "{name}");
        }
    }

    #[test]
    fn a_part_is_not_taken_for_one_at_another_place() {
        let place = Place {
            term: 1,
            index: 2,
            offset: 3,
        };
        let others = [
            Place { term: 9, ..place },
            Place { index: 9, ..place },
            Place { offset: 9, ..place },
        ];
        for bytes in [
            encode_chunk(place, b"data"),
            encode_footer(place, Footer::default()),
        ] {
            assert!(decode_part(place, &bytes).is_ok());
            for other in others {
                assert!(decode_part(other, &bytes).is_err());
            }
        }
    }
}
