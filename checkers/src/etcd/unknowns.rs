//! Operations of unknown outcome.

use std::collections::BTreeMap;

use rustc_hash::{FxHashMap, FxHashSet};
use veridical_histories::OperationId;
use veridical_histories::etcd::Request;

use super::operation::Open;

/// Numbers equal requests alike.
type Kind = u64;

#[derive(Clone, Debug)]
struct KindEntry {
    kind: Kind,
    operations: usize,
}

/// Operations of unknown outcome by number, with equal requests known as such: they are
/// interchangeable, and there can be thousands.
#[derive(Clone, Debug, Default)]
pub(super) struct Unknowns {
    operations: BTreeMap<OperationId, (Kind, Box<Open>)>,
    kinds: FxHashMap<Request, KindEntry>,
    next: Kind,
}

impl Unknowns {
    pub fn insert(&mut self, open: Box<Open>) {
        let entry = self
            .kinds
            .entry(open.request.clone())
            .or_insert_with(|| KindEntry {
                kind: self.next,
                operations: 0,
            });
        self.next += u64::from(entry.operations == 0);
        entry.operations += 1;
        let kind = entry.kind;
        let before = self.operations.insert(open.op, (kind, open));
        assert!(before.is_none(), "an operation ends once");
    }

    /// Whether it was there.
    pub fn remove(&mut self, op: OperationId) -> bool {
        let Some((_, open)) = self.operations.remove(&op) else {
            return false;
        };
        let entry = self
            .kinds
            .get_mut(&open.request)
            .expect("a request that is there has a kind");
        entry.operations -= 1;
        if entry.operations == 0 {
            self.kinds.remove(&open.request);
        }
        true
    }

    pub fn contains(&self, op: OperationId) -> bool {
        self.operations.contains_key(&op)
    }

    pub fn len(&self) -> usize {
        self.operations.len()
    }

    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// Their numbers, in ascending order.
    pub fn ids(&self) -> impl Iterator<Item = OperationId> + '_ {
        self.operations.keys().copied()
    }

    /// All of them, by number.
    pub fn iter(&self) -> impl Iterator<Item = &Open> {
        self.operations.values().map(|(_, open)| &**open)
    }

    /// Of those that `is_wanted` says yes to, the first of each kind, by number.
    pub fn one_of_each(&self, is_wanted: impl Fn(&Open) -> bool) -> impl Iterator<Item = &Open> {
        let mut seen = FxHashSet::default();
        self.operations
            .values()
            .filter(move |(_, open)| is_wanted(open))
            .filter(move |(kind, _)| seen.insert(*kind))
            .map(|(_, open)| &**open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcd::operation::Acknowledged;

    fn open(op: u64, request: Request) -> Box<Open> {
        Box::new(Open {
            op: OperationId(op),
            client: 0,
            call_event: op,
            call_ns: 0,
            request,
            floor: Acknowledged::default(),
            compact_floor: 0,
            lease_until_ns: 0,
            session: BTreeMap::new(),
        })
    }

    #[test]
    fn the_first_of_equal_requests_stands_for_all_that_are_left() {
        let revoke = |id| Request::LeaseRevoke { id };
        let mut unknowns = Unknowns::default();
        for (op, id) in [(1, 7), (2, 8), (3, 7), (4, 7)] {
            unknowns.insert(open(op, revoke(id)));
        }
        let firsts = |unknowns: &Unknowns, above: u64| -> Vec<u64> {
            let wanted = unknowns.one_of_each(|open| open.op.0 > above);
            wanted.map(|open| open.op.0).collect()
        };
        assert_eq!(firsts(&unknowns, 0), [1, 2]);
        assert_eq!(firsts(&unknowns, 1), [2, 3]);
        assert!(unknowns.remove(OperationId(1)) && !unknowns.remove(OperationId(1)));
        assert!(unknowns.remove(OperationId(2)));
        assert_eq!(firsts(&unknowns, 0), [3]);
        // A request that was forgotten and comes again is a kind of its own.
        unknowns.insert(open(5, revoke(8)));
        assert_eq!(firsts(&unknowns, 0), [3, 5]);
        assert_eq!(unknowns.len(), 3);
    }
}
