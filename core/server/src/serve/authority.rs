//! Repairs what etcd's Go client up to version 3.4 writes into `:authority` when its
//! endpoint is a URL: the URL, `http://host:port`, instead of `host:port`. The HTTP/2
//! library refuses such a request as malformed, as it should; etcd's server takes it, and
//! `etcdctl --endpoints=http://… endpoint status` depends on that.
//!
//! The value is sent once and afterwards referred to by its place in the dynamic table
//! (RFC 7541, section 2.3.2). So that both sides' tables stay the same size, `://` is
//! replaced by three characters of the same length, plain or in the Huffman code:
//! `http--xhost:port`. Nobody looks at it afterwards.

use std::ops::Range;

use bytes::BytesMut;

/// The connection preface of a client (RFC 9113, section 3.4).
const PREFACE_BYTES: usize = 24;

/// Length, type, flags and stream (RFC 9113, section 4.1).
const FRAME_HEAD_BYTES: usize = 9;

/// The largest frame that a receiver takes unless it says otherwise.
const FRAME_BYTES_MAX: usize = 16 * 1024;

const FRAME_HEADERS: u8 = 1;
const FLAG_PADDED: u8 = 0x8;
const FLAG_PRIORITY: u8 = 0x20;

/// The place of `:authority` in the static table (RFC 7541, appendix A).
const STATIC_AUTHORITY: usize = 1;

const PLAIN: &[u8] = b"http://";
const PLAIN_REPAIRED: &[u8] = b"http--x";

/// The bits of `http` in the Huffman code (RFC 7541, appendix B).
const HTTP: [(u64, u32); 4] = [(0x27, 6), (0x9, 5), (0x9, 5), (0x2b, 6)];
/// `://`.
const SEPARATOR: [(u64, u32); 3] = [(0x5c, 7), (0x18, 6), (0x18, 6)];
/// `--x`: as many bits.
const SEPARATOR_REPAIRED: [(u64, u32); 3] = [(0x16, 6), (0x16, 6), (0x79, 7)];

/// Bits of `http://`, and the bytes that hold them.
const CODED_BITS: u32 = 41;
const CODED_BYTES: usize = 6;

/// `http` and a separator, left-aligned in [`CODED_BYTES`] bytes.
fn coded(separator: [(u64, u32); 3]) -> u64 {
    let joined = HTTP
        .iter()
        .chain(&separator)
        .fold(0, |bits, (code, length)| bits << length | code);
    joined << (8 * CODED_BYTES as u32 - CODED_BITS)
}

/// Where in the stream of a client's bytes the next one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Position {
    /// This many bytes of the preface or of an uninteresting frame are left.
    Within(usize),
    FrameHead,
    /// Nothing is to be repaired any more.
    Beyond,
}

/// Follows the frames of one client.
#[derive(Debug)]
pub(crate) struct AuthorityRepair {
    position: Position,
}

impl AuthorityRepair {
    /// At the begin of a connection.
    pub(crate) fn new() -> Self {
        Self {
            position: Position::Within(PREFACE_BYTES),
        }
    }

    /// Whether everything that is still to come can be handed on unseen.
    pub(crate) fn is_done(&self) -> bool {
        self.position == Position::Beyond
    }

    /// Repairs what has come in and returns how many bytes can be handed on. `read` has
    /// to begin with the first byte that was not handed on yet; what is held back is
    /// less than one frame.
    pub(crate) fn repair(&mut self, read: &mut BytesMut) -> usize {
        let mut at = 0;
        loop {
            match self.position {
                Position::Beyond => return read.len(),
                Position::Within(left) => {
                    let passed = left.min(read.len() - at);
                    at += passed;
                    if passed < left {
                        self.position = Position::Within(left - passed);
                        return at;
                    }
                    self.position = Position::FrameHead;
                }
                Position::FrameHead => {
                    let Some(head) = read.get(at..at + FRAME_HEAD_BYTES) else {
                        return at;
                    };
                    let length = usize::from(head[0]) << 16
                        | usize::from(head[1]) << 8
                        | usize::from(head[2]);
                    let (kind, flags) = (head[3], head[4]);
                    let frame = at..at + FRAME_HEAD_BYTES + length;
                    if kind != FRAME_HEADERS {
                        self.position = Position::Within(frame.len());
                        continue;
                    }
                    if length > FRAME_BYTES_MAX {
                        // It is going to be refused.
                        self.position = Position::Beyond;
                        continue;
                    }
                    let Some(frame) = read.get_mut(frame) else {
                        return at;
                    };
                    at += frame.len();
                    if !mend_headers(&mut frame[FRAME_HEAD_BYTES..], flags) {
                        // A client that writes it right the first time always does.
                        self.position = Position::Beyond;
                    }
                }
            }
        }
    }
}

/// Repairs the payload of a HEADERS frame; whether the client is one of those that need it,
/// as far as this frame tells.
fn mend_headers(payload: &mut [u8], flags: u8) -> bool {
    let mut begin = 0;
    if flags & FLAG_PADDED != 0 {
        begin += 1;
    }
    if flags & FLAG_PRIORITY != 0 {
        begin += 5;
    }
    let Some(block) = payload.get_mut(begin..) else {
        return false;
    };
    match find_authority(block) {
        // Referred to by its place: it was repaired when it was given one.
        None => true,
        Some(Literal { value, is_coded }) => repair_value(&mut block[value], is_coded),
    }
}

fn repair_value(value: &mut [u8], is_coded: bool) -> bool {
    if !is_coded {
        let begins = value.starts_with(PLAIN);
        if begins {
            value[..PLAIN.len()].copy_from_slice(PLAIN_REPAIRED);
        }
        return begins;
    }
    let Some(begin) = value.first_chunk_mut::<CODED_BYTES>() else {
        return false;
    };
    let bits = begin
        .iter()
        .fold(0, |bits, byte| bits << 8 | u64::from(*byte));
    let wrong = coded(SEPARATOR);
    let rest_mask = (1 << (8 * CODED_BYTES as u32 - CODED_BITS)) - 1;
    let begins = bits & !rest_mask == wrong;
    if begins {
        let repaired = coded(SEPARATOR_REPAIRED) | bits & rest_mask;
        begin.copy_from_slice(&repaired.to_be_bytes()[8 - CODED_BYTES..]);
    }
    begins
}

/// A string in a header block.
struct Literal {
    value: Range<usize>,
    is_coded: bool,
}

/// The literal value of `:authority`; `None` if it is not there or only referred to. A
/// block that cannot be read is left to the HTTP/2 library.
fn find_authority(block: &[u8]) -> Option<Literal> {
    let mut at = 0;
    loop {
        let first = *block.get(at)?;
        let (prefix_bits, is_literal) = match first {
            0x80.. => (7, false),
            0x40.. => (6, true),
            0x20.. => (5, false),
            _ => (4, true),
        };
        let name = integer(block, &mut at, prefix_bits)?;
        if !is_literal {
            continue;
        }
        if name == 0 {
            string(block, &mut at)?;
        }
        let value = string(block, &mut at)?;
        if name == STATIC_AUTHORITY {
            return Some(value);
        }
    }
}

/// A string literal (RFC 7541, section 5.2).
fn string(block: &[u8], at: &mut usize) -> Option<Literal> {
    let is_coded = block.get(*at)? & 0x80 != 0;
    let length = integer(block, at, 7)?;
    let value = *at..at.checked_add(length)?;
    *at = value.end;
    (value.end <= block.len()).then_some(Literal { value, is_coded })
}

/// An integer with a prefix of so many bits (RFC 7541, section 5.1).
fn integer(block: &[u8], at: &mut usize, prefix_bits: u32) -> Option<usize> {
    let mask = (1_usize << prefix_bits) - 1;
    let mut value = usize::from(*block.get(*at)?) & mask;
    *at += 1;
    if value < mask {
        return Some(value);
    }
    for shift in (0..28).step_by(7) {
        let byte = usize::from(*block.get(*at)?);
        *at += 1;
        value += (byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `https://www.example.com` in the Huffman code (RFC 7541, appendix C.6.1).
    const HTTPS_EXAMPLE: [u8; 17] = [
        0x9d, 0x29, 0xad, 0x17, 0x18, 0x63, 0xc7, 0x8f, 0x0b, 0x97, 0xc8, 0xe9, 0xae, 0x82, 0xae,
        0x43, 0xd3,
    ];

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u32).to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    /// `:method POST`, `:path` as a literal, then `:authority` in the given form.
    fn headers(authority: &[u8]) -> Vec<u8> {
        let block = [&[0x83, 0x44, 2, b'/', b'x'], authority].concat();
        frame(FRAME_HEADERS, 0x4, &block)
    }

    fn plain(value: &[u8]) -> Vec<u8> {
        [&[0x41, value.len() as u8], value].concat()
    }

    fn connection(frames: &[Vec<u8>]) -> Vec<u8> {
        [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frames.concat()].concat()
    }

    /// What comes out when the bytes come in pieces of that size.
    fn repaired(input: &[u8], piece_bytes: usize) -> Vec<u8> {
        let mut repair = AuthorityRepair::new();
        let mut held = BytesMut::new();
        let mut output = Vec::new();
        for piece in input.chunks(piece_bytes) {
            held.extend_from_slice(piece);
            let ready = repair.repair(&mut held);
            output.extend_from_slice(&held.split_to(ready));
        }
        assert!(held.is_empty(), "a whole frame was held back");
        output
    }

    #[test]
    fn a_url_is_mended_in_place_however_it_is_cut() {
        let settings = frame(4, 0, &[0; 18]);
        let data = frame(0, 1, b"http://");
        let input = [
            settings.clone(),
            headers(&plain(b"http://localhost:2379")),
            data.clone(),
            headers(&[0xbe]),
            data.clone(),
            headers(&plain(b"http://localhost:2379")),
        ];
        let output = [
            settings,
            headers(&plain(b"http--xlocalhost:2379")),
            data.clone(),
            headers(&[0xbe]),
            data,
            headers(&plain(b"http--xlocalhost:2379")),
        ];
        for piece_bytes in [1, 2, 7, 30, 1_000] {
            assert_eq!(
                repaired(&connection(&input), piece_bytes),
                connection(&output)
            );
        }
    }

    #[test]
    fn the_huffman_code_of_a_url_is_that_of_the_standard() {
        // "http" and, three characters later, the first bits of "//".
        let bits = HTTPS_EXAMPLE[..8]
            .iter()
            .fold(0, |bits, byte| bits << 8 | u64::from(*byte));
        let code_of = |codes: &[(u64, u32)]| {
            codes.iter().fold((0, 0), |(bits, length), (code, added)| {
                (bits << added | code, length + added)
            })
        };
        let (http, http_bits) = code_of(&HTTP);
        let (separator, separator_bits) = code_of(&SEPARATOR);
        let s_bits = 5;
        assert_eq!(bits >> (64 - http_bits), http);
        let shifted = bits << (http_bits + s_bits);
        assert_eq!(shifted >> (64 - separator_bits), separator);
        assert_eq!(separator_bits, code_of(&SEPARATOR_REPAIRED).1);
        assert_eq!(http_bits + separator_bits, CODED_BITS);
    }

    #[test]
    fn a_coded_url_keeps_its_length_and_what_follows_the_scheme() {
        let wrong = coded(SEPARATOR) | 0b010_1101;
        let mut value = [&wrong.to_be_bytes()[2..], &[0xab]].concat();
        assert!(repair_value(&mut value, true));
        let right = coded(SEPARATOR_REPAIRED) | 0b010_1101;
        assert_eq!(value, [&right.to_be_bytes()[2..], &[0xab]].concat());
        assert!(!repair_value(&mut value, true), "it was repaired");
    }

    #[test]
    fn a_client_that_writes_it_right_is_left_alone_from_then_on() {
        let mut repair = AuthorityRepair::new();
        let input = connection(&[headers(&plain(b"localhost:2379"))]);
        let mut read = BytesMut::from(&input[..]);
        assert_eq!(repair.repair(&mut read), input.len());
        assert_eq!(read, input);
        assert!(repair.is_done());
    }

    #[test]
    fn padding_and_priority_are_passed_over() {
        let block = plain(b"http://a:1");
        let payload = [&[3][..], &[0; 5], &block, &[0; 3]].concat();
        let input = connection(&[frame(FRAME_HEADERS, FLAG_PADDED | FLAG_PRIORITY, &payload)]);
        let output = repaired(&input, input.len());
        assert!(output.windows(10).any(|window| window == b"http--xa:1"));
    }

    #[test]
    fn no_input_makes_it_panic_or_change_more_than_the_separator() {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        for _ in 0..20_000 {
            let mut random = || {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state
            };
            let length = random() as usize % 40;
            let mut payload: Vec<u8> = (0..length).map(|_| random() as u8).collect();
            let before = payload.clone();
            mend_headers(&mut payload, random() as u8);
            let changed = payload
                .iter()
                .zip(&before)
                .filter(|(new, old)| new != old)
                .count();
            assert!(changed <= CODED_BYTES);
        }
    }
}
