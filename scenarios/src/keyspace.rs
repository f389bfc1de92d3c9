//! The keys of a plan: numbers there, byte strings in requests.

use bytes::Bytes;

/// The end of a range that has all keys from its first one on.
pub const TO_THE_END: u32 = u32::MAX;

/// The key of a number.
pub fn key(number: u32) -> Bytes {
    format!("k{number:02}").into()
}

/// The end of a range before the key of a number.
pub fn range_end(number: u32) -> Bytes {
    match number {
        TO_THE_END => Bytes::from_static(b"\0"),
        number => key(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_the_order_of_their_numbers_and_before_the_end() {
        assert!(key(9) < key(10));
        assert_eq!(range_end(10), key(10));
        assert_eq!(range_end(TO_THE_END), "\0");
    }
}
