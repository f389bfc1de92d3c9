//! SipHash-c-d (Aumasson and Bernstein, 2012): a short-input hash with a secret key.
//!
//! Whoever does not know the key cannot choose keys that collide, so a client cannot pile
//! its keys onto one shard. The standard library has the algorithm but no keyed form of
//! SipHash-1-3 that is stable by contract, and results have to be the same in every build.

/// SipHash-1-3 of `data`.
pub(crate) fn siphash13(key: (u64, u64), data: &[u8]) -> u64 {
    siphash::<1, 3>(key, data)
}

/// A hash of 128 bits, as two independent ones of 64.
pub(crate) fn digest128(data: &[u8]) -> u128 {
    // Arbitrary and fixed: members compare these digests.
    const FIRST: (u64, u64) = (0x7665_7269_6469_6361, 0x6c20_7374_6174_6531);
    const SECOND: (u64, u64) = (0x2064_6967_6573_7421, 0x9e37_79b9_7f4a_7c15);
    u128::from(siphash13(FIRST, data)) << 64 | u128::from(siphash13(SECOND, data))
}

fn siphash<const COMPRESSION: usize, const FINALIZATION: usize>(
    (k0, k1): (u64, u64),
    data: &[u8],
) -> u64 {
    let mut v = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    let mut absorb = |word: u64| {
        v[3] ^= word;
        for _ in 0..COMPRESSION {
            round(&mut v);
        }
        v[0] ^= word;
    };
    let mut words = data.chunks_exact(8);
    for word in &mut words {
        absorb(u64::from_le_bytes([
            word[0], word[1], word[2], word[3], word[4], word[5], word[6], word[7],
        ]));
    }
    let mut last = (data.len() as u64) << 56;
    for (at, byte) in words.remainder().iter().enumerate() {
        last |= u64::from(*byte) << (8 * at);
    }
    absorb(last);
    v[2] ^= 0xff;
    for _ in 0..FINALIZATION {
        round(&mut v);
    }
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

#[inline]
fn round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[2] = v[2].rotate_left(32);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::{DefaultHasher, Hasher};

    #[test]
    fn the_vector_of_the_paper_comes_out() {
        let key = (0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908);
        let data: Vec<u8> = (0..15).collect();
        assert_eq!(siphash::<2, 4>(key, &data), 0xa129_ca61_49be_45e5);
    }

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
