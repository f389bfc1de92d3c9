//! Operations of unknown outcome.

use std::collections::BTreeMap;

use bytes::Bytes;
use rustc_hash::{FxHashMap, FxHashSet};
use veridical_histories::OperationId;
use veridical_histories::etcd::{PutRequest, Request};

use crate::etcd::operation::Open;
use crate::etcd::visit::visit_possible_puts;

/// A put that does nothing but write a value.
#[derive(Clone, Debug)]
pub(in crate::etcd) struct PlainPut {
    pub op: OperationId,
    /// The revision that was acknowledged before its call: it wrote a later one.
    pub floor: i64,
    pub value: Bytes,
}

/// A number that equal requests share.
type Kind = u64;

#[derive(Clone, Debug)]
struct KindEntry {
    kind: Kind,
    operations: usize,
}

/// Operations of unknown outcome by number. There can be thousands. Plain puts of a key
/// differ in their value only, and are known by their key; of the others equal requests
/// are known as such, for they are interchangeable.
#[derive(Clone, Debug, Default)]
pub(in crate::etcd) struct Unknowns {
    /// Plain puts are of no kind.
    operations: BTreeMap<OperationId, (Option<Kind>, Box<Open>)>,
    kinds: FxHashMap<Request, KindEntry>,
    next: Kind,
    /// By key, none of them empty.
    puts: BTreeMap<Bytes, Vec<PlainPut>>,
    /// By key and value, which operations may have written it; none of them empty.
    writers: FxHashMap<(Bytes, Bytes), Vec<OperationId>>,
    /// By key, how many may have written it with the value that it had.
    keeping: FxHashMap<Bytes, usize>,
}

/// The put that does nothing but write a value, if the request is one.
fn plain(request: &Request) -> Option<&PutRequest> {
    if let Request::Put(put) = request
        && put.lease == 0
        && !put.ignore_value
        && !put.ignore_lease
    {
        return Some(put);
    }
    None
}

impl Unknowns {
    pub fn insert(&mut self, open: Box<Open>) {
        visit_possible_puts(&open.request, &mut |put| {
            if put.ignore_value {
                *self.keeping.entry(put.key.clone()).or_default() += 1;
                return;
            }
            let writers = self
                .writers
                .entry((put.key.clone(), put.value.clone()))
                .or_default();
            if !writers.contains(&open.op) {
                writers.push(open.op);
            }
        });
        let kind = match plain(&open.request) {
            Some(put) => {
                let plain = PlainPut {
                    op: open.op,
                    floor: open.floor.revision,
                    value: put.value.clone(),
                };
                self.puts.entry(put.key.clone()).or_default().push(plain);
                None
            }
            None => Some(self.kind_of(&open.request)),
        };
        let before = self.operations.insert(open.op, (kind, open));
        assert!(before.is_none(), "an operation ends once");
    }

    /// Counts a request of its kind.
    fn kind_of(&mut self, request: &Request) -> Kind {
        let entry = self
            .kinds
            .entry(request.clone())
            .or_insert_with(|| KindEntry {
                kind: self.next,
                operations: 0,
            });
        self.next += u64::from(entry.operations == 0);
        entry.operations += 1;
        entry.kind
    }

    /// Removes an operation. Returns whether it was there.
    pub fn remove(&mut self, op: OperationId) -> bool {
        let Some((_, open)) = self.operations.remove(&op) else {
            return false;
        };
        self.forget_writer(&open);
        if let Some(put) = plain(&open.request) {
            let puts = self
                .puts
                .get_mut(&put.key)
                .expect("a put that is there is known by its key");
            puts.retain(|put| put.op != op);
            if puts.is_empty() {
                self.puts.remove(&put.key);
            }
            return true;
        }
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

    fn forget_writer(&mut self, open: &Open) {
        visit_possible_puts(&open.request, &mut |put| {
            if put.ignore_value {
                if let Some(count) = self.keeping.get_mut(&put.key) {
                    *count -= 1;
                    if *count == 0 {
                        self.keeping.remove(&put.key);
                    }
                }
                return;
            }
            let written = (put.key.clone(), put.value.clone());
            if let Some(writers) = self.writers.get_mut(&written) {
                writers.retain(|op| *op != open.op);
                if writers.is_empty() {
                    self.writers.remove(&written);
                }
            }
        });
    }

    /// The operation that alone of them may have written `value` to `key`, if there is one.
    pub fn only_writer(&self, key: &Bytes, value: &Bytes) -> Option<OperationId> {
        if self.keeping.contains_key(key) {
            return None;
        }
        match self.writers.get(&(key.clone(), value.clone()))?[..] {
            [op] => Some(op),
            _ => None,
        }
    }

    /// The plain puts of a key, in the order in which they were given up.
    pub fn puts(&self, key: &Bytes) -> &[PlainPut] {
        self.puts.get(key).map_or(&[], Vec::as_slice)
    }

    /// All plain puts by key.
    pub fn puts_by_key(&self) -> impl Iterator<Item = (&Bytes, &[PlainPut])> {
        self.puts.iter().map(|(key, puts)| (key, &puts[..]))
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

    /// The numbers of all of them, ascending.
    pub fn ids(&self) -> impl Iterator<Item = OperationId> + '_ {
        self.operations.keys().copied()
    }

    /// All of them, by number.
    pub fn iter(&self) -> impl Iterator<Item = &Open> {
        self.operations.values().map(|(_, open)| &**open)
    }

    /// All but the plain puts, by number.
    pub fn others(&self) -> impl Iterator<Item = &Open> {
        let others = self.operations.values().filter(|(kind, _)| kind.is_some());
        others.map(|(_, open)| &**open)
    }

    /// Of those that `is_wanted` says yes to, the first of each kind, by number; no plain
    /// puts.
    pub fn one_of_each(&self, is_wanted: impl Fn(&Open) -> bool) -> impl Iterator<Item = &Open> {
        let mut seen = FxHashSet::default();
        self.operations
            .values()
            .filter_map(|(kind, open)| Some(((*kind)?, open)))
            .filter(move |(_, open)| is_wanted(open))
            .filter(move |(kind, _)| seen.insert(*kind))
            .map(|(_, open)| &**open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(op: u64, request: Request) -> Box<Open> {
        Open::example(op, 0, request)
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

    #[test]
    fn plain_puts_are_known_by_their_key() {
        let key = Bytes::from_static(b"k");
        let put = |value: &'static str, lease| {
            Request::Put(PutRequest {
                key: key.clone(),
                value: Bytes::from_static(value.as_bytes()),
                lease,
                ..PutRequest::default()
            })
        };
        let mut unknowns = Unknowns::default();
        for (op, request) in [(1, put("a", 0)), (2, put("b", 7)), (3, put("c", 0))] {
            unknowns.insert(open(op, request));
        }
        let of_key = |unknowns: &Unknowns| -> Vec<u64> {
            unknowns.puts(&key).iter().map(|put| put.op.0).collect()
        };
        assert_eq!(of_key(&unknowns), [1, 3]);
        let others: Vec<u64> = unknowns
            .one_of_each(|_| true)
            .map(|open| open.op.0)
            .collect();
        assert_eq!(others, [2]);
        assert!(unknowns.remove(OperationId(1)) && unknowns.remove(OperationId(3)));
        assert!(of_key(&unknowns).is_empty());
        assert_eq!(unknowns.puts_by_key().count(), 0);
        assert_eq!(unknowns.len(), 1);
    }
}
