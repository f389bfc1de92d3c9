//! Runs of zeros: what a segment holds ahead of its end and in the gaps between batches.
//! Recovery looks at all of them, most of a segment often, so they are looked at a block
//! at a time.

const BLOCK_BYTES: usize = 64;

/// Whether all of `bytes` are zero.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    let (blocks, rest) = bytes.as_chunks::<BLOCK_BYTES>();
    blocks.iter().all(|block| all_zero(block)) && all_zero(rest)
}

/// The length of `bytes` without the zeros at the end.
pub(super) fn length_without_zeros(bytes: &[u8]) -> usize {
    let (_, blocks) = bytes.as_rchunks::<BLOCK_BYTES>();
    let behind = blocks.iter().rev().take_while(|block| all_zero(*block));
    let left = &bytes[..bytes.len() - behind.count() * BLOCK_BYTES];
    left.iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1)
}

/// Without a branch for each byte, so that it is done on many at once.
fn all_zero(bytes: &[u8]) -> bool {
    bytes.iter().fold(0, |any, byte| any | byte) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_byte_anywhere_is_seen() {
        for length in [0, 1, 63, 64, 65, 127, 200] {
            let mut bytes = vec![0; length];
            assert!(is_zero(&bytes));
            assert_eq!(length_without_zeros(&bytes), 0);
            for place in 0..length {
                bytes[place] = 0x80;
                assert!(!is_zero(&bytes), "{place} of {length}");
                assert_eq!(length_without_zeros(&bytes), place + 1, "of {length}");
                bytes[place] = 0;
            }
        }
    }
}
