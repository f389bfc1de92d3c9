//! The keys of a plan: numbers there, byte strings in requests, in the same order.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// The end of a range that has all keys from its first one on.
pub const TO_THE_END: u32 = u32::MAX;

/// The most keys that are adversarial.
pub const ADVERSARIAL_MAX: u32 = 200;

/// What keys look like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keyspace {
    /// A letter and two digits.
    #[default]
    Names,
    /// Bytes that are taken for something else where bounds of ranges are reckoned: NUL and 0xff,
    /// keys that others begin with, keys of a KiB, and empty ranges between them.
    Adversarial,
    /// A letter and five digits, for thousands.
    Numbers,
}

/// What follows the first byte of adversarial keys that share it, in order. The sixth is long.
const ENDINGS: [&[u8]; 8] = [
    b"",
    b"\0",
    b"\0\0",
    b"\0\xff",
    b"a",
    b"aa",
    b"\xff",
    b"\xff\xff",
];

/// The ending that goes on until the key is so long.
const LONG_ENDING: usize = 5;
const LONG_BYTES: usize = 1_024;

/// The first bytes of adversarial keys are so far apart; the last one is 0xff.
const FIRST_BYTES_APART: usize = 10;

impl Keyspace {
    /// The key of a number.
    pub fn key(self, number: u32) -> Bytes {
        match self {
            Self::Names => key(number),
            Self::Numbers => format!("k{number:05}").into(),
            Self::Adversarial => adversarial(number as usize).into(),
        }
    }

    /// Keys that a plan can name: beyond these their order is not that of their numbers.
    pub fn keys_max(self) -> u32 {
        match self {
            Self::Names => 100,
            Self::Numbers => 100_000,
            Self::Adversarial => ADVERSARIAL_MAX,
        }
    }

    /// The end of a range before the key of a number.
    pub fn range_end(self, number: u32) -> Bytes {
        match number {
            TO_THE_END => Bytes::from_static(b"\0"),
            number => self.key(number),
        }
    }

    /// A key that nobody writes, beside that of a number.
    pub fn neighbour(self, number: u32) -> Bytes {
        let mut key = self.key(number).to_vec();
        match self {
            // The other one begins with it.
            Self::Names | Self::Numbers => key.truncate(key.len() - 1),
            Self::Adversarial => key.push(1),
        }
        key.into()
    }
}

fn adversarial(number: usize) -> Vec<u8> {
    let group = number / ENDINGS.len();
    let place = number % ENDINGS.len();
    let first = group
        .saturating_mul(FIRST_BYTES_APART)
        .min(usize::from(u8::MAX));
    let mut key = vec![first as u8];
    key.extend(ENDINGS[place]);
    if place == LONG_ENDING {
        key.resize(LONG_BYTES, b'a');
    }
    key
}

/// The key of a number, where keys are names.
pub fn key(number: u32) -> Bytes {
    format!("k{number:02}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_the_order_of_their_numbers_and_before_the_end() {
        for (keys, count) in [
            (Keyspace::Names, 99),
            (Keyspace::Numbers, 5_000),
            (Keyspace::Adversarial, ADVERSARIAL_MAX),
        ] {
            for number in 0..count {
                assert!(keys.key(number) < keys.key(number + 1), "{keys:?} {number}");
                assert_eq!(keys.range_end(number + 1), keys.key(number + 1));
            }
            assert_eq!(keys.range_end(TO_THE_END), "\0");
        }
    }

    #[test]
    fn no_end_of_a_range_is_taken_for_the_end_of_all_keys() {
        for number in 1..ADVERSARIAL_MAX {
            assert_ne!(Keyspace::Adversarial.range_end(number), "\0");
        }
    }

    #[test]
    fn adversarial_keys_have_every_awkward_byte_and_length() {
        let keys: Vec<Bytes> = (0..ADVERSARIAL_MAX)
            .map(|number| Keyspace::Adversarial.key(number))
            .collect();
        assert!(keys.contains(&Bytes::from_static(b"\0")));
        assert!(keys.iter().any(|key| key.len() == LONG_BYTES));
        assert!(keys.iter().any(|key| key.ends_with(b"\xff")));
        assert!(keys.windows(2).any(|two| two[1].starts_with(&two[0])));
    }

    #[test]
    fn nobody_writes_a_neighbour() {
        for keys in [Keyspace::Names, Keyspace::Numbers, Keyspace::Adversarial] {
            let neighbour = keys.neighbour(17);
            assert!((0..99).all(|number| keys.key(number) != neighbour));
        }
    }
}
