//! Files with right checksums and any content, written from `docs/formats.md`.

/// How a native history begins.
const MAGIC_OF_HISTORIES: &[u8; 8] = b"VRDCLHST";

/// The file name of a segment of the log.
pub fn segment_name(sequence: u64) -> String {
    format!("{sequence:016x}.wal")
}

/// A version of the formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// The first one, which is still read.
    One,
    /// The one that is written: with the chain over the segment before, or with the cluster
    /// of the snapshot.
    Two(u64),
}

impl Version {
    fn number(self) -> u32 {
        match self {
            Self::One => 1,
            Self::Two(_) => 2,
        }
    }
}

/// The header of a segment: flags, then the fourteen words behind them, then, in version 2,
/// the low half of what it holds.
pub fn segment_header(version: Version, flags: u32, words: [u64; 14]) -> Vec<u8> {
    let mut out = b"\x89VWAL\r\n\x1a".to_vec();
    out.extend_from_slice(&version.number().to_le_bytes());
    out.extend_from_slice(&flags.to_le_bytes());
    for word in &words {
        out.extend_from_slice(&word.to_le_bytes());
    }
    let chain = match version {
        Version::One => 0,
        Version::Two(chain) => chain as u32,
    };
    out.extend_from_slice(&chain.to_le_bytes());
    out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
    out
}

/// The chain over a segment: the end of its header, then the header of each frame, of which
/// it is told where they begin.
pub fn segment_chain(segment: &[u8], frames: impl IntoIterator<Item = usize>) -> u32 {
    let begin = crc32c::crc32c(&segment[128..136]);
    frames.into_iter().fold(begin, |chain, at| {
        crc32c::crc32c_append(chain, &segment[at..at + 24])
    })
}

/// Appends a frame to a segment.
pub fn push_frame(segment: &mut Vec<u8>, sequence: u64, claim: u64, kind: u8, payload: &[u8]) {
    let mut header = Vec::new();
    header.extend_from_slice(&crc32c::crc32c(payload).to_le_bytes());
    header.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    header.extend_from_slice(&[kind, 0, 0, 0]);
    header.extend_from_slice(&claim.to_le_bytes());
    let mut covered = sequence.to_le_bytes().to_vec();
    covered.extend_from_slice(&(segment.len() as u64).to_le_bytes());
    covered.extend_from_slice(&header);
    segment.extend_from_slice(&crc32c::crc32c(&covered).to_le_bytes());
    segment.extend_from_slice(&header);
    segment.extend_from_slice(payload);
    segment.resize(segment.len().next_multiple_of(8), 0);
}

/// The file name of a snapshot.
pub fn snapshot_name(term: u64, index: u64) -> String {
    format!("snapshot-{term:016x}-{index:016x}.snap")
}

/// The header of a snapshot.
pub fn snapshot_header(version: Version, term: u64, index: u64, meta: &[u8]) -> Vec<u8> {
    let mut out = b"\x89VSNP\r\n\x1a".to_vec();
    out.extend_from_slice(&version.number().to_le_bytes());
    out.extend_from_slice(&(meta.len() as u32).to_le_bytes());
    out.extend_from_slice(&term.to_le_bytes());
    out.extend_from_slice(&index.to_le_bytes());
    out.extend_from_slice(&crc32c::crc32c(meta).to_le_bytes());
    out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
    if let Version::Two(cluster_id) = version {
        let mut extension = cluster_id.to_le_bytes().to_vec();
        extension.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&extension);
        out.extend_from_slice(&crc32c::crc32c(&extension).to_le_bytes());
    }
    out.extend_from_slice(meta);
    out
}

/// Appends a chunk to a snapshot.
pub fn push_chunk(snapshot: &mut Vec<u8>, term: u64, index: u64, data: &[u8]) {
    let mut part = b"CHNK".to_vec();
    part.extend_from_slice(&(data.len() as u32).to_le_bytes());
    part.extend_from_slice(&crc32c::crc32c(data).to_le_bytes());
    push_part(snapshot, term, index, part);
    snapshot.extend_from_slice(data);
}

/// Appends the footer to a snapshot.
pub fn push_footer(
    snapshot: &mut Vec<u8>,
    term: u64,
    index: u64,
    chunks: u64,
    data_bytes: u64,
    data_crc: u32,
) {
    let mut part = b"FOOT".to_vec();
    part.extend_from_slice(&data_crc.to_le_bytes());
    part.extend_from_slice(&chunks.to_le_bytes());
    part.extend_from_slice(&data_bytes.to_le_bytes());
    part.extend_from_slice(&[0; 4]);
    push_part(snapshot, term, index, part);
}

fn push_part(snapshot: &mut Vec<u8>, term: u64, index: u64, part: Vec<u8>) {
    let mut covered = Vec::new();
    for word in [term, index, snapshot.len() as u64] {
        covered.extend_from_slice(&word.to_le_bytes());
    }
    covered.extend_from_slice(&part);
    snapshot.extend_from_slice(&part);
    snapshot.extend_from_slice(&crc32c::crc32c(&covered).to_le_bytes());
}

/// Appends a payload as a frame of a connection, be it between members or with a client.
pub fn push_wire_frame(wire: &mut Vec<u8>, payload: &[u8]) {
    let length = (payload.len() as u32).to_le_bytes();
    wire.extend_from_slice(&length);
    let crc = crc32c::crc32c_append(crc32c::crc32c(&length), payload);
    wire.extend_from_slice(&crc.to_le_bytes());
    wire.extend_from_slice(payload);
}

/// The header of a native history with a vocabulary: 1 for objects, 2 for an etcd-like store.
pub fn native_header(vocabulary: u8) -> Vec<u8> {
    let mut out = MAGIC_OF_HISTORIES.to_vec();
    out.extend_from_slice(&1_u16.to_le_bytes());
    out.extend_from_slice(&[vocabulary, 0]);
    out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
    out
}

/// Appends a block to a native history. What is told to be compressed need not be.
pub fn push_native_block(file: &mut Vec<u8>, events: u32, is_compressed: bool, payload: &[u8]) {
    let length = payload.len() as u32;
    let mut head = Vec::new();
    for word in [length, length, events, u32::from(is_compressed)] {
        head.extend_from_slice(&word.to_le_bytes());
    }
    let crc = crc32c::crc32c_append(crc32c::crc32c(&head), payload);
    file.extend_from_slice(&head);
    file.extend_from_slice(&crc.to_le_bytes());
    file.extend_from_slice(payload);
}
