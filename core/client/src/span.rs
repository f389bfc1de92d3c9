//! Which keys a request is about.

use bytes::Bytes;

/// The range end that stands for "all keys from the first one on".
const ALL_FROM: &[u8] = b"\0";

/// Keys, given the one that a request names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Span {
    /// The key alone.
    #[default]
    Key,
    /// All keys that begin with it.
    Prefix,
    /// It, and all that come behind it.
    FromKey,
    /// From it up to this one, which does not belong to them.
    Until(Bytes),
    /// All keys there are.
    All,
}

impl Span {
    /// `key` and `range_end` as the API wants them.
    pub(crate) fn bounds(self, key: Bytes) -> (Bytes, Bytes) {
        let least = Bytes::from_static(ALL_FROM);
        match self {
            Self::Key => (key, Bytes::new()),
            Self::Prefix | Self::FromKey if key.is_empty() => (least.clone(), least),
            Self::Prefix => {
                let end = prefix_end(&key);
                (key, end)
            }
            Self::FromKey => (key, least),
            // There is no empty key, and a range may begin where the first key could be.
            Self::Until(end) if key.is_empty() => (least, end),
            Self::Until(end) => (key, end),
            Self::All => (least.clone(), least),
        }
    }
}

/// The first key behind all that begin with `prefix`.
fn prefix_end(prefix: &[u8]) -> Bytes {
    let Some(last) = prefix.iter().rposition(|byte| *byte < u8::MAX) else {
        return Bytes::from_static(ALL_FROM);
    };
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    end.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn contains((first, end): &(Bytes, Bytes), key: &[u8]) -> bool {
        match &end[..] {
            b"" => key == first,
            ALL_FROM => key >= &first[..],
            end => key >= &first[..] && key < end,
        }
    }

    /// Few values, so that prefixes occur, and those that carry.
    fn key() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(prop_oneof![Just(0), Just(1), Just(254), Just(255)], 1..5)
    }

    proptest! {
        #[test]
        fn a_prefix_has_what_begins_with_it_and_nothing_else(prefix in key(), key in key()) {
            let bounds = Span::Prefix.bounds(prefix.clone().into());
            prop_assert_eq!(contains(&bounds, &key), key.starts_with(&prefix));
        }

        #[test]
        fn all_keys_from_one_on_are_those_that_are_not_less(first in key(), key in key()) {
            let bounds = Span::FromKey.bounds(first.clone().into());
            prop_assert_eq!(contains(&bounds, &key), key >= first);
        }

        #[test]
        fn every_key_is_among_all(key in key()) {
            for span in [Span::All, Span::Prefix, Span::FromKey] {
                prop_assert!(contains(&span.bounds(Bytes::new()), &key));
            }
        }
    }
}
