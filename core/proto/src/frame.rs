//! The envelope of one message on a byte stream.
//!
//! ```text
//! 0        4        8            8 + length
//! +--------+--------+-----------------+
//! | length | crc32c | payload         |
//! +--------+--------+-----------------+
//! ```
//!
//! Both words are little-endian. The checksum covers the length and the payload, so
//! that a flipped bit in the length is found too. A stream with a bad frame cannot be
//! brought back into step: its owner closes it.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;

/// Bytes before the payload.
pub const FRAME_HEADER_BYTES: usize = 8;

/// The largest payload that is accepted, in bytes. Above every limit on requests, appends
/// and snapshot chunks; below what could hurt a receiver.
pub const FRAME_PAYLOAD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Why a stream cannot be read any further.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The announced length is above [`FRAME_PAYLOAD_BYTES_MAX`].
    #[error("frame of {length} bytes is larger than {FRAME_PAYLOAD_BYTES_MAX}")]
    TooLarge {
        /// The announced length in bytes.
        length: u64,
    },
    /// The checksum does not match the bytes.
    #[error("frame checksum is {actual:#010x}, expected {expected:#010x}")]
    Corrupt {
        /// What the header says.
        expected: u32,
        /// What the bytes give.
        actual: u32,
    },
    /// The payload is not the message that was expected.
    #[error("frame payload: {0}")]
    Payload(#[from] prost::DecodeError),
}

/// The checksum of a frame.
fn checksum(length: u32, payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&length.to_le_bytes()), payload)
}

/// Appends `message` as a frame.
///
/// # Panics
/// If the message is larger than [`FRAME_PAYLOAD_BYTES_MAX`]: callers bound what they send.
pub fn encode_frame(message: &impl Message, buffer: &mut BytesMut) {
    let start = buffer.len();
    let length = message.encoded_len();
    assert!(
        length <= FRAME_PAYLOAD_BYTES_MAX,
        "message of {length} bytes exceeds the frame limit"
    );
    buffer.reserve(FRAME_HEADER_BYTES + length);
    buffer.put_u32_le(length as u32);
    buffer.put_u32_le(0);
    message.encode(buffer).expect("a BytesMut grows as needed");
    let payload = &buffer[start + FRAME_HEADER_BYTES..];
    let sum = checksum(length as u32, payload);
    buffer[start + 4..start + FRAME_HEADER_BYTES].copy_from_slice(&sum.to_le_bytes());
}

/// Takes the payload of the next whole frame off `buffer`, or `None` if more bytes are
/// needed.
///
/// # Errors
/// A frame that is too large or whose checksum is wrong.
pub fn decode_frame(buffer: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
    if buffer.len() < FRAME_HEADER_BYTES {
        return Ok(None);
    }
    let word = |at: usize| {
        u32::from_le_bytes([buffer[at], buffer[at + 1], buffer[at + 2], buffer[at + 3]])
    };
    let (length, expected) = (word(0), word(4));
    if length as usize > FRAME_PAYLOAD_BYTES_MAX {
        return Err(FrameError::TooLarge {
            length: u64::from(length),
        });
    }
    let end = FRAME_HEADER_BYTES + length as usize;
    if buffer.len() < end {
        buffer.reserve(end - buffer.len());
        return Ok(None);
    }
    let actual = checksum(length, &buffer[FRAME_HEADER_BYTES..end]);
    if actual != expected {
        return Err(FrameError::Corrupt { expected, actual });
    }
    buffer.advance(FRAME_HEADER_BYTES);
    Ok(Some(buffer.split_to(length as usize).freeze()))
}

/// Takes the next whole message off `buffer`, or `None` if more bytes are needed.
///
/// # Errors
/// See [`FrameError`].
pub fn decode_message<M: Message + Default>(
    buffer: &mut BytesMut,
) -> Result<Option<M>, FrameError> {
    match decode_frame(buffer)? {
        Some(payload) => Ok(Some(M::decode(payload)?)),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcdserverpb::PutRequest;
    use proptest::prelude::*;

    fn put(value: Vec<u8>) -> PutRequest {
        PutRequest {
            key: "k".into(),
            value: value.into(),
            ..Default::default()
        }
    }

    proptest! {
        #[test]
        fn frames_survive_any_split(values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..6), cut in 1usize..20) {
            let mut wire = BytesMut::new();
            for value in &values {
                encode_frame(&put(value.clone()), &mut wire);
            }
            let mut buffer = BytesMut::new();
            let mut seen = Vec::new();
            for part in wire.chunks(cut) {
                buffer.extend_from_slice(part);
                while let Some(message) = decode_message::<PutRequest>(&mut buffer).expect("valid frames") {
                    seen.push(message.value.to_vec());
                }
            }
            prop_assert_eq!(seen, values);
            prop_assert!(buffer.is_empty());
        }

        #[test]
        fn any_flipped_bit_is_noticed(value in prop::collection::vec(any::<u8>(), 0..40), bit in any::<prop::sample::Index>()) {
            let mut wire = BytesMut::new();
            encode_frame(&put(value), &mut wire);
            let bit = bit.index(wire.len() * 8);
            wire[bit / 8] ^= 1 << (bit % 8);
            // A longer length waits for bytes that never come; all else is an error.
            prop_assert!(!matches!(decode_message::<PutRequest>(&mut wire), Ok(Some(_))));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut buffer = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = decode_message::<PutRequest>(&mut buffer) {}
        }
    }

    #[test]
    fn an_oversized_length_is_refused_before_it_is_buffered() {
        let mut wire = BytesMut::new();
        wire.put_u32_le(u32::MAX);
        wire.put_u32_le(0);
        assert_eq!(
            decode_frame(&mut wire),
            Err(FrameError::TooLarge {
                length: u64::from(u32::MAX)
            })
        );
    }
}
