//! Texts for people, with what is too long to read in them cut short.
//!
//! A value may have hundreds of kilobytes, and a finding that prints it whole hides what it says. What
//! programs read (JSON, kept failures) has everything.

use std::borrow::Cow;
use std::ops::Range;

use xxhash_rust::xxh3::xxh3_64;

/// The longest key or value that is printed whole, in bytes as it is written.
const VALUE_BYTES_MAX: usize = 64;
/// How much is printed of one that is longer, in bytes. Less than the above by more than what says
/// that something is missing, so that an abridged text is not abridged again.
const HEAD_BYTES: usize = 48;
/// The longest line, in bytes, once its values are short.
const LINE_BYTES_MAX: usize = 2 << 10;
/// How much is printed of one that is longer, in bytes.
const LINE_HEAD_BYTES: usize = LINE_BYTES_MAX - 48;

/// `text` with long values as their beginnings, lengths and hashes, and long lines without their ends.
/// A text without either is left as it is.
pub fn abridged(text: &str) -> Cow<'_, str> {
    if text.len() <= VALUE_BYTES_MAX {
        return Cow::Borrowed(text);
    }
    let lines: Vec<String> = text
        .split('\n')
        .map(|line| with_its_beginning(&with_short_values(line)))
        .collect();
    Cow::Owned(lines.join("\n"))
}

fn with_short_values(line: &str) -> String {
    let mut short = String::new();
    let mut done = 0;
    while let Some(value) = next_long_value(line, done) {
        let head = beginning(&line[value.clone()], HEAD_BYTES);
        short.push_str(&line[done..value.start]);
        short.push_str(head);
        short.push('…');
        let is_quoted = line[value.end..].starts_with('"');
        done = value.end + usize::from(is_quoted);
        short.push_str(&line[value.end..done]);
        let hash = xxh3_64(line[value.clone()].as_bytes()) as u32;
        short.push_str(&format!(" ({} bytes, hash {hash:08x})", value.len()));
    }
    short.push_str(&line[done..]);
    short
}

/// The next value from `begin` on that is too long: what stands between quotes, or the digits
/// behind `0x`.
fn next_long_value(line: &str, begin: usize) -> Option<Range<usize>> {
    let bytes = line.as_bytes();
    let mut at = begin;
    while at < bytes.len() {
        let (start, length) = match (bytes[at], bytes.get(at + 1)) {
            // A quote that nothing closes is none.
            (b'"', _) => (at + 1, quoted_length(&bytes[at + 1..])?),
            (b'0', Some(b'x')) => {
                let digits = bytes[at + 2..].iter();
                let length = digits.take_while(|byte| byte.is_ascii_hexdigit()).count();
                (at + 2, length)
            }
            _ => {
                at += 1;
                continue;
            }
        };
        if length > VALUE_BYTES_MAX {
            return Some(start..start + length);
        }
        at = start + length + usize::from(bytes[at] == b'"');
    }
    None
}

/// How many bytes come before the quote that closes a text.
fn quoted_length(bytes: &[u8]) -> Option<usize> {
    let mut is_escaped = false;
    bytes.iter().position(|byte| {
        let is_end = *byte == b'"' && !is_escaped;
        is_escaped = *byte == b'\\' && !is_escaped;
        is_end
    })
}

fn with_its_beginning(line: &str) -> String {
    if line.len() <= LINE_BYTES_MAX {
        return line.to_owned();
    }
    let head = beginning(line, LINE_HEAD_BYTES);
    format!("{head}… ({} bytes more)", line.len() - head.len())
}

/// At most `bytes_max` bytes from the beginning of a longer `text`, in whole characters.
fn beginning(text: &str, bytes_max: usize) -> &str {
    let end = (0..=bytes_max).rev().find(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_are_told_by_beginning_length_and_hash_and_short_ones_are_left() {
        let long = "v".repeat(400_000);
        let text = format!(
            "put \"k\" = \"{long}\" (mod 3)\n  got: 0x{} at \"x\"",
            "a".repeat(200)
        );
        let short = abridged(&text);
        let hash = xxh3_64(long.as_bytes()) as u32;
        let value = format!(
            "\"{}…\" (400000 bytes, hash {hash:08x}) (mod 3)",
            "v".repeat(HEAD_BYTES)
        );
        assert!(
            short.starts_with(&format!("put \"k\" = {value}\n  got: 0xaaa")),
            "{short}"
        );
        assert!(short.ends_with(" at \"x\"") && short.len() < 400, "{short}");
        let other = text.replace("v\" (mod", "w\" (mod");
        assert_ne!(abridged(&other), short);
        for whole in [
            "expected: [\"k01\" = \"7.12\" (mod 100, create 48, version 18)] count=1 and so on and on",
            "a quote \" that nothing closes, in a line that is longer than sixty-four bytes are",
        ] {
            assert_eq!(abridged(whole), whole);
        }
        assert_eq!(abridged(&short), short);
    }

    #[test]
    fn quotes_within_a_value_and_letters_of_several_bytes_are_no_ends_of_it() {
        let text = format!("put {:?}", "\"ä\\".repeat(100));
        let short = abridged(&text);
        assert!(short.contains("…\" ("), "{short}");
        assert!(short.len() < 150, "{short}");
    }

    #[test]
    fn a_long_line_ends_with_what_is_left_out() {
        let list: Vec<String> = (0..10_000).map(|number| number.to_string()).collect();
        let text = format!("got [{}]\nnext", list.join(" "));
        let short = abridged(&text);
        assert!(short.ends_with(" bytes more)\nnext"), "{short}");
        assert!(short.len() < LINE_BYTES_MAX);
        assert_eq!(abridged(&short), short);
    }
}
