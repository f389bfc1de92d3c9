//! SipHash-c-d (Aumasson and Bernstein, 2012): a short-input hash with a secret key.
//!
//! Whoever does not know the key cannot choose keys that collide, so a client cannot pile
//! its keys onto one shard. The standard library has the algorithm but no keyed form of
//! SipHash-1-3 that is stable by contract, and results have to be the same in every build.

use siphasher::sip::SipHasher13;

/// SipHash-1-3 of `data`.
pub(crate) fn siphash13(key: (u64, u64), data: &[u8]) -> u64 {
    SipHasher13::new_with_keys(key.0, key.1).hash(data)
}

/// A hash of 128 bits, as two independent ones of 64.
pub(crate) fn digest128(data: &[u8]) -> u128 {
    // Arbitrary and fixed: members compare these digests.
    const FIRST: (u64, u64) = (0x7665_7269_6469_6361, 0x6c20_7374_6174_6531);
    const SECOND: (u64, u64) = (0x2064_6967_6573_7421, 0x9e37_79b9_7f4a_7c15);
    u128::from(siphash13(FIRST, data)) << 64 | u128::from(siphash13(SECOND, data))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::{DefaultHasher, Hasher};

    #[test]
    fn with_a_zero_key_it_is_the_standard_library_s_hash() {
        for length in 0..40u8 {
            let data: Vec<u8> = (0..length).map(|byte| byte.wrapping_mul(37)).collect();
            let mut standard = DefaultHasher::new();
            standard.write(&data);
            assert_eq!(siphash13((0, 0), &data), standard.finish());
        }
    }

    #[test]
    fn another_key_gives_another_hash() {
        assert_ne!(siphash13((1, 2), b"key"), siphash13((1, 3), b"key"));
    }
}
