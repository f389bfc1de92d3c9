//! Making a failing list of parts small (delta debugging; Zeller and Hildebrandt,
//! "Simplifying and Isolating Failure-Inducing Input", IEEE Transactions on Software
//! Engineering 28(2), 2002).

/// Leaves parts out as long as `still_fails` says so of the rest, in chunks of half of
/// them, of a quarter, down to single ones, until no single part can be left out. The
/// order of the parts stays.
///
/// If the whole does not fail, it is returned as it is.
pub fn minimise<T: Clone>(parts: Vec<T>, mut still_fails: impl FnMut(&[T]) -> bool) -> Vec<T> {
    let mut parts = parts;
    if !still_fails(&parts) {
        return parts;
    }
    let mut chunk = parts.len().div_ceil(2);
    while chunk > 0 && !parts.is_empty() {
        let mut start = 0;
        let mut left_out = false;
        while start < parts.len() {
            let end = (start + chunk).min(parts.len());
            let rest = [&parts[..start], &parts[end..]].concat();
            if still_fails(&rest) {
                parts = rest;
                left_out = true;
            } else {
                start = end;
            }
        }
        // Single ones are tried until a whole round leaves nothing out.
        if !(chunk == 1 && left_out) {
            chunk /= 2;
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::minimise;
    use proptest::prelude::*;

    #[test]
    fn what_does_not_fail_is_left_alone() {
        assert_eq!(minimise(vec![1, 2, 3], |_| false), [1, 2, 3]);
    }

    #[test]
    fn what_fails_always_comes_to_nothing() {
        assert!(minimise(vec![1, 2, 3], |_| true).is_empty());
    }

    proptest! {
        #[test]
        fn exactly_the_parts_that_are_needed_stay_in_their_order(
            needed in proptest::collection::btree_set(0_u32..200, 0..8),
        ) {
            let small = minimise((0..200).collect(), |parts| needed.iter().all(|part| parts.contains(part)));
            prop_assert_eq!(small, needed.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn no_single_part_of_the_result_can_be_left_out(sum in 1_u32..400) {
            let fails = |parts: &[u32]| parts.iter().sum::<u32>() >= sum;
            let small = minimise((1..30).collect(), fails);
            prop_assert!(fails(&small));
            for part in 0..small.len() {
                let mut less = small.clone();
                less.remove(part);
                prop_assert!(!fails(&less));
            }
        }
    }
}
