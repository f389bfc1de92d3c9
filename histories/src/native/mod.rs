//! The native binary format: blocks of events, each with a checksum.
//!
//! ```text
//! file    magic "VRDCLHST" | version u16 | vocabulary u8 | 0 u8 | crc32c u32 of the 12 bytes
//! block   payload length u32 | raw length u32 | events u32 | compression u8 | 0 0 0 |
//!         crc32c u32 of the 16 bytes and the payload | payload
//! ```
//!
//! Numbers are little-endian. Each block can be read alone: times and operation numbers
//! are differences within it. A block holds about [`BLOCK_LENGTH`] bytes of events; an
//! event of the object vocabulary takes 12 to 20. Events of the etcd vocabulary are JSON
//! inside their blocks. The file may end anywhere: what stands before a block that is cut
//! off is read, and the cut is reported.

mod block;
mod cursor;
mod object;

use std::io::{self, Read, Write};
use std::marker::PhantomData;

use crate::Event;
use crate::etcd::EtcdEvent;
use crate::object::ObjectEvent;
use crate::reading::{Cut, EventReader, ReadError};
pub use block::Compression;
use block::{BLOCK_HEADER_LENGTH, BlockHeader};
use cursor::{Cursor, put_varint};

/// How a native file begins.
pub const MAGIC: &[u8; 8] = b"VRDCLHST";
/// The version that is written.
pub const VERSION: u16 = 1;
/// Bytes of events after which a block is ended.
pub const BLOCK_LENGTH: usize = 64 << 10;
/// The longest payload of a block that is read, in bytes.
pub(crate) const PAYLOAD_LENGTH_MAX: u32 = 256 << 20;
const FILE_HEADER_LENGTH: usize = 16;

/// Which events a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vocabulary {
    /// [`crate::object`].
    Object,
    /// [`crate::etcd`].
    Etcd,
}

/// Events that have a native form.
pub trait NativeEvent: Sized {
    /// The vocabulary in the file's header.
    const VOCABULARY: Vocabulary;
    /// Appends the event to a block.
    fn encode(&self, state: &mut BlockState, block: &mut Vec<u8>);
    /// Reads the next event of a block; `None` where it is no event.
    fn decode(state: &mut BlockState, bytes: &mut Cursor<'_>) -> Option<Self>;
}

/// What differences within a block refer to.
#[derive(Clone, Debug, Default)]
pub struct BlockState {
    pub(crate) time_ns: u64,
    pub(crate) op: u64,
}

impl NativeEvent for EtcdEvent {
    const VOCABULARY: Vocabulary = Vocabulary::Etcd;

    fn encode(&self, _: &mut BlockState, block: &mut Vec<u8>) {
        let json = serde_json::to_vec(self).expect("events of this vocabulary have a JSON form");
        put_varint(block, json.len() as u64);
        block.extend_from_slice(&json);
    }

    fn decode(_: &mut BlockState, bytes: &mut Cursor<'_>) -> Option<Self> {
        let length = usize::try_from(bytes.varint()?).ok()?;
        serde_json::from_slice(bytes.take(length)?).ok()
    }
}

impl NativeEvent for ObjectEvent {
    const VOCABULARY: Vocabulary = Vocabulary::Object;

    fn encode(&self, state: &mut BlockState, block: &mut Vec<u8>) {
        object::encode(self, state, block);
    }

    #[inline]
    fn decode(state: &mut BlockState, bytes: &mut Cursor<'_>) -> Option<Self> {
        object::decode(state, bytes)
    }
}

/// Writes events into a native file.
#[derive(Debug)]
pub struct NativeWriter<W: Write, E> {
    sink: W,
    compression: Compression,
    block: Vec<u8>,
    events: u32,
    state: BlockState,
    vocabulary: PhantomData<fn(E)>,
}

impl<W: Write, E: NativeEvent> NativeWriter<W, E> {
    /// Begins a file.
    ///
    /// # Errors
    /// What the sink reports.
    pub fn new(mut sink: W, compression: Compression) -> io::Result<Self> {
        let mut header = Vec::with_capacity(FILE_HEADER_LENGTH);
        header.extend_from_slice(MAGIC);
        header.extend_from_slice(&VERSION.to_le_bytes());
        header.push(match E::VOCABULARY {
            Vocabulary::Object => 1,
            Vocabulary::Etcd => 2,
        });
        header.push(0);
        header.extend_from_slice(&crc32c::crc32c(&header).to_le_bytes());
        sink.write_all(&header)?;
        Ok(Self {
            sink,
            compression,
            block: Vec::with_capacity(BLOCK_LENGTH + 1024),
            events: 0,
            state: BlockState::default(),
            vocabulary: PhantomData,
        })
    }

    /// Writes one event.
    ///
    /// # Errors
    /// What the sink reports.
    pub fn write(&mut self, event: &E) -> io::Result<()> {
        event.encode(&mut self.state, &mut self.block);
        self.events += 1;
        if self.block.len() >= BLOCK_LENGTH {
            self.end_block()
        } else {
            Ok(())
        }
    }

    fn end_block(&mut self) -> io::Result<()> {
        if self.events > 0 {
            block::write(&mut self.sink, &self.block, self.events, self.compression)?;
            self.block.clear();
            self.events = 0;
            self.state = BlockState::default();
        }
        Ok(())
    }

    /// Ends the file and gives the sink back.
    ///
    /// # Errors
    /// What the sink reports.
    pub fn finish(mut self) -> io::Result<W> {
        self.end_block()?;
        self.sink.flush()?;
        Ok(self.sink)
    }
}

/// Reads a native file of one vocabulary, block by block.
#[derive(Debug)]
pub struct NativeReader<R, E> {
    source: R,
    offset: u64,
    events: u64,
    stored: Vec<u8>,
    raw: Vec<u8>,
    has_ended: bool,
    pending: std::vec::IntoIter<E>,
    block_length_max: u32,
    /// Whether what the file was compressed with ended too early.
    cut: Cut,
}

/// Reads the header of a native file: which vocabulary follows.
///
/// # Errors
/// [`ReadError::Damaged`] where it is none that this version reads.
pub fn read_header(source: &mut impl Read) -> Result<Vocabulary, ReadError> {
    let damaged = |reason: &str| ReadError::Damaged {
        offset: 0,
        reason: reason.to_owned(),
    };
    let mut header = [0; FILE_HEADER_LENGTH];
    if block::read_fully(source, &mut header)? < header.len() {
        return Err(damaged("the file is shorter than its header"));
    }
    let (head, crc) = header.split_at(12);
    if &head[..8] != MAGIC {
        return Err(damaged("this is not a native history"));
    }
    if crc32c::crc32c(head).to_le_bytes() != crc {
        return Err(damaged("the checksum of the file's header is wrong"));
    }
    let version = u16::from_le_bytes([head[8], head[9]]);
    if version != VERSION {
        return Err(damaged(&format!(
            "version {version} is not known, only {VERSION}"
        )));
    }
    match head[10] {
        1 => Ok(Vocabulary::Object),
        2 => Ok(Vocabulary::Etcd),
        other => Err(damaged(&format!("vocabulary {other} is not known"))),
    }
}

impl<R: Read, E: NativeEvent> NativeReader<R, E> {
    /// A reader from `source`, whose file header was read by [`read_header`].
    pub fn after_header(source: R) -> Self {
        Self {
            source,
            offset: FILE_HEADER_LENGTH as u64,
            events: 0,
            stored: Vec::new(),
            raw: Vec::new(),
            has_ended: false,
            pending: Vec::new().into_iter(),
            block_length_max: PAYLOAD_LENGTH_MAX,
            cut: Cut::default(),
        }
    }

    /// The same reader, for blocks of at most `block_length_max` bytes from a source that may
    /// be cut off.
    pub(crate) fn within(self, block_length_max: u32, cut: Cut) -> Self {
        Self {
            block_length_max,
            cut,
            ..self
        }
    }

    /// Appends the events of the next block to `events`. `false` at the end of the file.
    ///
    /// # Errors
    /// [`ReadError::Truncated`] where the file ends within a block,
    /// [`ReadError::Damaged`] where a block is not what was written; nothing can be read
    /// after either.
    pub fn read_block(&mut self, events: &mut Vec<E>) -> Result<bool, ReadError> {
        if self.has_ended {
            return Ok(false);
        }
        let result = self.try_read_block(events);
        self.has_ended = !matches!(result, Ok(true));
        result
    }

    fn try_read_block(&mut self, events: &mut Vec<E>) -> Result<bool, ReadError> {
        let offset = self.offset;
        let truncated = ReadError::Truncated {
            offset,
            events: self.events,
        };
        let damaged = |reason: &str| ReadError::Damaged {
            offset,
            reason: reason.to_owned(),
        };
        let mut header = [0; BLOCK_HEADER_LENGTH];
        match block::read_fully(&mut self.source, &mut header)? {
            0 if self.cut.is_set() => return Err(truncated),
            0 => return Ok(false),
            BLOCK_HEADER_LENGTH => {}
            _ => return Err(truncated),
        }
        let header = BlockHeader::parse(&header)
            .filter(|header| header.payload_length.max(header.raw_length) <= PAYLOAD_LENGTH_MAX)
            .ok_or_else(|| damaged("the block's header is not one"))?;
        if header.payload_length.max(header.raw_length) > self.block_length_max {
            let bytes_max = self.block_length_max;
            return Err(damaged(&format!(
                "the block is larger than the {bytes_max} bytes that there is memory for"
            )));
        }
        self.stored.resize(header.payload_length as usize, 0);
        if block::read_fully(&mut self.source, &mut self.stored)? < self.stored.len() {
            return Err(truncated);
        }
        if !header.matches(&self.stored) {
            return Err(damaged("the block's checksum is wrong"));
        }
        let raw = match header.compression {
            Compression::None => &self.stored,
            Compression::Zstd => {
                self.raw.clear();
                block::decompress(&self.stored, header.raw_length as usize, &mut self.raw)
                    .map_err(|reason| damaged(&reason))?;
                &self.raw
            }
        };
        let mut state = BlockState::default();
        let mut bytes = Cursor::new(raw);
        // An event takes a byte at least, so that a wrong count reserves no more than that.
        events.reserve((header.events as usize).min(raw.len()));
        for _ in 0..header.events {
            match E::decode(&mut state, &mut bytes) {
                Some(event) => events.push(event),
                None => return Err(damaged("the block holds something that is no event")),
            }
        }
        self.offset += BLOCK_HEADER_LENGTH as u64 + u64::from(header.payload_length);
        self.events += u64::from(header.events);
        Ok(true)
    }
}

impl<R: Read, I, O, N> Iterator for NativeReader<R, Event<I, O, N>>
where
    Event<I, O, N>: NativeEvent,
{
    type Item = Result<Event<I, O, N>, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(event) = self.pending.next() {
                return Some(Ok(event));
            }
            let mut events = Vec::new();
            let result = self.read_block(&mut events);
            let has_events = !events.is_empty();
            self.pending = events.into_iter();
            match result {
                Ok(true) => {}
                Ok(false) if has_events => {}
                Ok(false) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

impl<R: Read + Send, I: Send, O: Send, N: Send> EventReader<Event<I, O, N>>
    for NativeReader<R, Event<I, O, N>>
where
    Event<I, O, N>: NativeEvent,
{
    fn line(&self) -> Option<u64> {
        None
    }
}

#[cfg(test)]
mod tests;
