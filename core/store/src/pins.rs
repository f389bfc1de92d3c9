//! Revisions that somebody is still reading, and that compaction must not forget.
//!
//! A compaction is answered at once; forgetting happens later and only up to the *floor*,
//! which never passes a pinned revision. So a slow reader or a snapshot neither blocks the
//! writer nor finds a hole.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// The pinned revisions of one table.
#[derive(Debug)]
pub(crate) struct Pins {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Everything at or above this revision can be read.
    floor: i64,
    /// How often each revision is pinned.
    counts: BTreeMap<i64, usize>,
}

impl Pins {
    /// No pins; everything from `floor` on is there.
    pub(crate) fn new(floor: i64) -> Arc<Self> {
        Arc::new(Self {
            inner: Mutex::new(Inner {
                floor,
                counts: BTreeMap::new(),
            }),
        })
    }

    /// Pins `revision`: it and all later ones stay readable. `None` if it is below the
    /// floor.
    pub(crate) fn pin(self: &Arc<Self>, revision: i64) -> Option<Pin> {
        let mut inner = self.inner.lock();
        if revision < inner.floor {
            return None;
        }
        assert!(
            inner
                .counts
                .first_key_value()
                .is_none_or(|(pinned, _)| *pinned >= inner.floor),
            "what is pinned is above the floor"
        );
        *inner.counts.entry(revision).or_insert(0) += 1;
        Some(Pin {
            pins: Arc::clone(self),
            revision,
        })
    }

    /// Raises the floor as near to `compacted` as the pins allow; returns it.
    pub(crate) fn raise_floor(&self, compacted: i64) -> i64 {
        let mut inner = self.inner.lock();
        let allowed = match inner.counts.first_key_value() {
            Some((pinned, _)) => compacted.min(*pinned),
            None => compacted,
        };
        let floor = inner.floor.max(allowed);
        assert!(
            inner
                .counts
                .first_key_value()
                .is_none_or(|(pinned, _)| floor <= *pinned),
            "the floor never passes a pin"
        );
        inner.floor = floor;
        floor
    }
}

/// Keeps a revision readable until it is dropped.
#[derive(Debug)]
pub(crate) struct Pin {
    pins: Arc<Pins>,
    revision: i64,
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut inner = self.pins.inner.lock();
        let count = inner
            .counts
            .get_mut(&self.revision)
            .expect("a pin is counted until it is dropped");
        *count -= 1;
        if *count == 0 {
            inner.counts.remove(&self.revision);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_stops_at_the_lowest_pin_and_goes_on_when_it_is_gone() {
        let pins = Pins::new(-1);
        let low = pins.pin(5).expect("above the floor");
        let high = pins.pin(9).expect("above the floor");
        assert_eq!(pins.raise_floor(7), 5);
        drop(low);
        assert_eq!(pins.raise_floor(12), 9);
        drop(high);
        assert_eq!(pins.raise_floor(12), 12);
    }

    #[test]
    fn what_is_below_the_floor_cannot_be_pinned() {
        let pins = Pins::new(-1);
        pins.raise_floor(7);
        assert!(pins.pin(6).is_none());
        assert!(pins.pin(7).is_some());
    }

    #[test]
    #[should_panic(expected = "what is pinned is above the floor")]
    fn a_floor_above_a_pin_is_a_bug() {
        let pins = Pins::new(-1);
        let _low = pins.pin(5).expect("above the floor");
        pins.inner.lock().floor = 7;
        let _high = pins.pin(7);
    }
}
