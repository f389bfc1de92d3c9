//! The rolling 128-bit digest of a run.

use std::fmt;

/// Odd multipliers of the two halves: the fractional parts of the golden ratio and of
/// the square root of 3.
const MULTIPLIER_0: u64 = 0x9E37_79B9_7F4A_7C15;
const MULTIPLIER_1: u64 = 0xBB67_AE85_84CA_A73B;

/// A digest over a sequence of words: two independent halves of 64 bits.
///
/// Each half takes a word by `half = mix((rotate(half) ^ word) × odd)` with
/// `mix(x) = x ^ (x >> 32)`. Both steps are bijections, for a fixed word of the half and
/// for a fixed half of the word: a difference, once in, never vanishes without another
/// difference. It guards against accidents, not against an adversary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    halves: [u64; 2],
}

impl Default for Digest {
    fn default() -> Self {
        Self {
            halves: [MULTIPLIER_1, MULTIPLIER_0],
        }
    }
}

impl Digest {
    /// Takes one word in.
    #[inline]
    pub fn fold(&mut self, word: u64) {
        let a = (self.halves[0].rotate_left(5) ^ word).wrapping_mul(MULTIPLIER_0);
        let b = (self.halves[1].rotate_left(29) ^ word.rotate_left(32)).wrapping_mul(MULTIPLIER_1);
        self.halves = [a ^ (a >> 32), b ^ (b >> 32)];
    }

    /// Takes bytes in: their length, then words of eight bytes, the last filled up
    /// with zeros.
    pub fn fold_bytes(&mut self, bytes: &[u8]) {
        self.fold(bytes.len() as u64);
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.fold(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            self.fold(u64::from_le_bytes(last));
        }
    }

    /// The digest so far.
    pub const fn value(self) -> u128 {
        (self.halves[0] as u128) << 64 | self.halves[1] as u128
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.value())
    }
}

/// A 64-bit fingerprint of `bytes`, as events carry it for the contents of a message.
pub fn fingerprint(bytes: &[u8]) -> u64 {
    let mut hash = MULTIPLIER_0 ^ bytes.len() as u64;
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        hash = (hash.rotate_left(5) ^ u64::from_le_bytes(*word)).wrapping_mul(MULTIPLIER_1);
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    hash = (hash.rotate_left(5) ^ u64::from_le_bytes(last)).wrapping_mul(MULTIPLIER_1);
    hash ^ (hash >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn digest(words: &[u64]) -> u128 {
        let mut digest = Digest::default();
        words.iter().for_each(|word| digest.fold(*word));
        digest.value()
    }

    #[test]
    fn order_and_every_bit_matter() {
        assert_ne!(digest(&[1, 2]), digest(&[2, 1]));
        assert_ne!(digest(&[0]), digest(&[]));
        let mut seen = BTreeSet::new();
        for bit in 0..64 {
            assert!(seen.insert(digest(&[1 << bit, 0, 0])));
            assert!(seen.insert(digest(&[0, 0, 1 << bit])));
        }
    }

    #[test]
    fn bytes_that_differ_only_in_trailing_zeros_differ() {
        let mut a = Digest::default();
        let mut b = Digest::default();
        a.fold_bytes(&[1]);
        b.fold_bytes(&[1, 0]);
        assert_ne!(a, b);
        assert_ne!(fingerprint(&[1]), fingerprint(&[1, 0]));
    }

    #[test]
    fn both_halves_see_every_word() {
        let a = digest(&[3, 4]);
        let b = digest(&[3, 5]);
        assert_ne!(a as u64, b as u64);
        assert_ne!((a >> 64) as u64, (b >> 64) as u64);
    }
}
