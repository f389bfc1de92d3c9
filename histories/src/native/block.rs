//! The frame around the events of a block.

use std::io::{self, Read, Write};

pub(super) const BLOCK_HEADER_LENGTH: usize = 20;

/// Whether blocks are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Blocks are not compressed, which is fastest.
    #[default]
    None,
    /// Blocks are compressed with Zstandard.
    Zstd,
}

/// What stands before a payload.
#[derive(Clone, Copy, Debug)]
pub(super) struct BlockHeader {
    pub payload_length: u32,
    pub raw_length: u32,
    pub events: u32,
    pub compression: Compression,
    head: [u8; 16],
    crc: u32,
}

impl BlockHeader {
    pub fn parse(bytes: &[u8; BLOCK_HEADER_LENGTH]) -> Option<Self> {
        let number = |at: usize| {
            let four = bytes[at..at + 4]
                .try_into()
                .expect("four bytes are four bytes");
            u32::from_le_bytes(four)
        };
        let compression = match bytes[12] {
            0 => Compression::None,
            1 => Compression::Zstd,
            _ => return None,
        };
        Some(Self {
            payload_length: number(0),
            raw_length: number(4),
            events: number(8),
            compression,
            head: bytes[..16]
                .try_into()
                .expect("sixteen bytes are sixteen bytes"),
            crc: number(16),
        })
    }

    pub fn matches(&self, payload: &[u8]) -> bool {
        checksum(&self.head, payload) == self.crc
    }
}

fn checksum(head: &[u8; 16], payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(head), payload)
}

pub(super) fn write(
    sink: &mut impl Write,
    raw: &[u8],
    events: u32,
    compression: Compression,
) -> io::Result<()> {
    let compressed;
    let payload = match compression {
        Compression::None => raw,
        Compression::Zstd => {
            let level = ruzstd::encoding::CompressionLevel::Fastest;
            compressed = ruzstd::encoding::compress_to_vec(raw, level);
            &compressed
        }
    };
    let mut head = [0; 16];
    head[..4].copy_from_slice(&length_of(payload).to_le_bytes());
    head[4..8].copy_from_slice(&length_of(raw).to_le_bytes());
    head[8..12].copy_from_slice(&events.to_le_bytes());
    head[12] = match compression {
        Compression::None => 0,
        Compression::Zstd => 1,
    };
    sink.write_all(&head)?;
    sink.write_all(&checksum(&head, payload).to_le_bytes())?;
    sink.write_all(payload)
}

fn length_of(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("a block is far shorter than 4 GiB")
}

pub(super) fn decompress(
    payload: &[u8],
    raw_length: usize,
    raw: &mut Vec<u8>,
) -> Result<(), String> {
    let decoder =
        ruzstd::decoding::StreamingDecoder::new(payload).map_err(|error| error.to_string())?;
    decoder
        .take(raw_length as u64 + 1)
        .read_to_end(raw)
        .map_err(|error| error.to_string())?;
    if raw.len() == raw_length {
        Ok(())
    } else {
        Err(format!(
            "the block's length is {}, not {raw_length}",
            raw.len()
        ))
    }
}

/// Fills `buffer` as far as the source goes; how many bytes it got.
pub(super) fn read_fully(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match source.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
