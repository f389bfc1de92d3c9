//! Ranges of keys as etcd's requests name them.

use std::ops::Bound;

use bytes::Bytes;

/// The bounds of a range for an ordered map.
pub type KeyBounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// A set of adjacent keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyRange {
    /// The first key.
    pub start: Bytes,
    /// Where it ends.
    pub end: RangeEnd,
}

/// The end of a [`KeyRange`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RangeEnd {
    /// Only the first key.
    Single,
    /// Up to, not including, this key.
    Until(Bytes),
    /// All keys that are not less than the first.
    Unbounded,
}

impl KeyRange {
    /// The range that `key` and `range_end` of a request name: an empty end is the one
    /// key, the end `"\0"` is everything from the key on.
    pub fn new(key: &Bytes, range_end: &Bytes) -> Self {
        let end = match range_end.as_ref() {
            b"" => RangeEnd::Single,
            b"\0" => RangeEnd::Unbounded,
            _ => RangeEnd::Until(range_end.clone()),
        };
        Self {
            start: key.clone(),
            end,
        }
    }

    /// Every key.
    pub fn all() -> Self {
        Self {
            start: Bytes::new(),
            end: RangeEnd::Unbounded,
        }
    }

    /// Whether no key can be inside.
    pub fn is_empty(&self) -> bool {
        matches!(&self.end, RangeEnd::Until(end) if *end <= self.start)
    }

    /// Whether `key` is inside.
    pub fn contains(&self, key: &[u8]) -> bool {
        match &self.end {
            RangeEnd::Single => key == self.start,
            RangeEnd::Until(end) => key >= self.start.as_ref() && key < end.as_ref(),
            RangeEnd::Unbounded => key >= self.start.as_ref(),
        }
    }

    /// The bounds for an ordered map, or `None` if the range is empty.
    pub fn bounds(&self) -> Option<KeyBounds<'_>> {
        if self.is_empty() {
            return None;
        }
        let start: &[u8] = &self.start;
        Some(match &self.end {
            RangeEnd::Single => (Bound::Included(start), Bound::Included(start)),
            RangeEnd::Until(end) => (Bound::Included(start), Bound::Excluded(end.as_ref())),
            RangeEnd::Unbounded => (Bound::Included(start), Bound::Unbounded),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(key: &'static str, end: &'static str) -> KeyRange {
        KeyRange::new(&Bytes::from(key), &Bytes::from(end))
    }

    #[test]
    fn an_empty_end_names_one_key_and_a_zero_byte_names_the_rest() {
        assert!(range("b", "").contains(b"b") && !range("b", "").contains(b"b\0"));
        assert!(range("b", "\0").contains(b"zzz") && !range("b", "\0").contains(b"a"));
        assert!(range("\0", "\0").contains(b"\0"));
    }

    #[test]
    fn a_half_open_range_excludes_its_end() {
        assert!(range("b", "d").contains(b"b") && range("b", "d").contains(b"czz"));
        assert!(!range("b", "d").contains(b"d") && !range("b", "d").contains(b"a"));
    }

    #[test]
    fn a_range_that_ends_before_it_starts_is_empty() {
        assert!(range("d", "b").is_empty() && range("d", "d").is_empty());
        assert_eq!(range("d", "b").bounds(), None);
        assert!(!range("d", "b").contains(b"c") && !range("d", "d").contains(b"d"));
    }
}
