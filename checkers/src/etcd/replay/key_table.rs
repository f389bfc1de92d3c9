//! The versions of each key, found by name at once and listed in order of name.

use std::collections::BTreeMap;
use std::ops::RangeBounds;

use bytes::Bytes;
use rustc_hash::FxHashMap;

use super::base::Versions;

/// The versions of each key. Nearly every operation names one key, and comparing names along a
/// tree is among the dearest of what is done for it; ranges need the tree all the same.
#[derive(Debug, Default)]
pub(super) struct KeyTable {
    places: FxHashMap<Bytes, usize>,
    order: BTreeMap<Bytes, usize>,
    slots: Vec<Versions>,
    /// The places in `slots` that nobody has.
    free: Vec<usize>,
}

impl KeyTable {
    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    pub fn get(&self, key: &[u8]) -> Option<&Versions> {
        Some(&self.slots[*self.places.get(key)?])
    }

    pub fn get_mut(&mut self, key: &[u8]) -> Option<&mut Versions> {
        Some(&mut self.slots[*self.places.get(key)?])
    }

    /// The versions of a key, none at first.
    pub fn get_or_add(&mut self, key: &Bytes) -> &mut Versions {
        let place = match self.places.get(key) {
            Some(place) => *place,
            None => self.add(key),
        };
        &mut self.slots[place]
    }

    fn add(&mut self, key: &Bytes) -> usize {
        let place = self.free.pop().unwrap_or(self.slots.len());
        if place == self.slots.len() {
            self.slots.push(Versions::default());
        }
        assert!(
            self.slots[place].is_empty(),
            "a place is given to one key at a time"
        );
        self.places.insert(key.clone(), place);
        let before = self.order.insert(key.clone(), place);
        assert!(before.is_none(), "a key has one place");
        place
    }

    /// Removes a key with its versions.
    pub fn remove(&mut self, key: &[u8]) {
        let Some(place) = self.places.remove(key) else {
            return;
        };
        let listed = self.order.remove(key);
        assert_eq!(listed, Some(place), "a key has one place");
        self.slots[place] = Versions::default();
        self.free.push(place);
    }

    /// The keys of a range in order.
    pub fn range(
        &self,
        bounds: impl RangeBounds<Bytes>,
    ) -> impl Iterator<Item = (&Bytes, &Versions)> {
        let places = self.order.range::<Bytes, _>(bounds);
        places.map(|(key, place)| (key, &self.slots[*place]))
    }
}

impl IntoIterator for KeyTable {
    type Item = (Bytes, Versions);
    type IntoIter = std::vec::IntoIter<(Bytes, Versions)>;

    /// All keys in order.
    fn into_iter(self) -> Self::IntoIter {
        let Self {
            order, mut slots, ..
        } = self;
        let keys = order.into_iter();
        let all = keys.map(|(key, place)| (key, std::mem::take(&mut slots[place])));
        all.collect::<Vec<_>>().into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcd::replay::base::Version;
    use proptest::prelude::*;

    fn version(revision: i64) -> Version {
        Version {
            revision,
            stored: None,
        }
    }

    fn revisions(versions: &Versions) -> Vec<i64> {
        versions.iter().map(|version| version.revision).collect()
    }

    proptest! {
        #[test]
        fn it_is_an_ordered_map(
            steps in prop::collection::vec((any::<bool>(), 0..20_u8), 0..200),
            begin in 0..20_u8,
        ) {
            let mut table = KeyTable::default();
            let mut map = BTreeMap::<Bytes, Vec<i64>>::new();
            for (revision, (adds, name)) in (1..).zip(steps) {
                let key = Bytes::from(vec![name]);
                if adds {
                    table.get_or_add(&key).push_back(version(revision));
                    map.entry(key.clone()).or_default().push(revision);
                } else {
                    table.remove(&key);
                    map.remove(&key);
                }
                prop_assert_eq!(table.get(&key).map(revisions), map.get(&key).cloned());
                prop_assert_eq!(table.len(), map.len());
            }
            let from = Bytes::from(vec![begin]);
            let listed: Vec<_> = table.range(from.clone()..).collect();
            let expected: Vec<_> = map.range(from..).collect();
            prop_assert_eq!(listed.len(), expected.len());
            for ((key, versions), (name, all)) in listed.into_iter().zip(expected) {
                prop_assert_eq!((key, &revisions(versions)), (name, all));
            }
            // As many places as there were keys at once, at most.
            prop_assert!(table.slots.len() <= 20);
        }
    }
}
