//! Revisions of which it is open who wrote them.
//!
//! Where a gap was filled by a put, and several puts of that key have no known outcome, the
//! next answer tells that the key was written, but often not by which of them: the value
//! was overwritten before anybody read it. The puts are alike in all but their value, so
//! instead of a hypothesis for each of them one *slot* is kept: some put of this key that
//! was called in time. So it is with a gap that may have written one key or another, both
//! of which were overwritten before anybody looked ([`super::alike`]).
//!
//! Which operation fills which slot is a matching (Kuhn, "The Hungarian Method for the
//! Assignment Problem", 1955: augmenting paths): what is assumed of one slot is taken back
//! when another one turns out to need the operation. No operation for a slot is a
//! contradiction; everything else is left open.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use rustc_hash::{FxHashMap, FxHashSet};
use veridical_histories::OperationId;

use super::foretold::Foretold;
use super::unknowns::{PlainPut, Unknowns};

/// What may have written a slot's revision.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Way {
    /// A plain put of this key; of this value, where it is known.
    Put { key: Bytes, told: Option<Bytes> },
    /// This operation.
    Operation(OperationId),
}

/// Where old revisions differ by the way that is taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Blur {
    /// The keys that differ.
    pub keys: Vec<Bytes>,
    /// From this revision on they do not.
    pub until: i64,
}

impl Blur {
    /// Both.
    pub fn with(mut self, other: &Self) -> Self {
        self.until = self.until.max(other.until);
        for key in &other.keys {
            if !self.keys.contains(key) {
                self.keys.push(key.clone());
            }
        }
        self
    }
}

/// A revision that one of several operations wrote.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    /// The replayed versions are those of the first one.
    pub ways: Arc<[Way]>,
    /// What it is assumed to be.
    pub op: OperationId,
    pub blur: Option<Arc<Blur>>,
}

/// The operations that may fill slots: those of unknown outcome that are not placed.
#[derive(Clone, Copy)]
pub(super) struct Pool<'a> {
    pub unknown: &'a Unknowns,
    pub placed: &'a BTreeMap<OperationId, i64>,
    pub foretold: &'a Foretold,
}

impl<'a> Pool<'a> {
    fn is_free(&self, op: OperationId, revision: i64) -> bool {
        !self.placed.contains_key(&op) && self.foretold.allows(op, revision)
    }

    /// The puts of a key that may have written `revision`, the latest first: what fills a
    /// gap was mostly called shortly before.
    fn puts(
        self,
        key: &Bytes,
        told: Option<&Bytes>,
        revision: i64,
    ) -> impl Iterator<Item = &'a PlainPut> {
        let puts = self.unknown.puts(key).iter().rev();
        puts.filter(move |put| {
            put.floor < revision
                && told.is_none_or(|told| *told == put.value)
                && self.is_free(put.op, revision)
        })
    }

    fn operations(&self, ways: &[Way], revision: i64) -> Vec<OperationId> {
        let mut operations = Vec::new();
        for way in ways {
            match way {
                Way::Put { key, told } => {
                    let puts = self.puts(key, told.as_ref(), revision);
                    operations.extend(puts.map(|put| put.op));
                }
                Way::Operation(op) if self.is_free(*op, revision) && self.unknown.contains(*op) => {
                    operations.push(*op);
                }
                Way::Operation(_) => {}
            }
        }
        operations
    }
}

/// The slots of a hypothesis.
#[derive(Clone, Debug, Default)]
pub(super) struct Slots {
    shared: Arc<Matching>,
}

#[derive(Clone, Debug, Default)]
struct Matching {
    /// By revision.
    slots: BTreeMap<i64, Slot>,
    /// The slot that an operation is assumed to fill.
    owners: FxHashMap<OperationId, i64>,
    blurred_until: i64,
    bytes: usize,
}

/// How slots change when one more is filled, or told.
#[derive(Clone, Debug)]
pub(super) struct Filled {
    revision: i64,
    /// The way of the slot; `None` where the put is certain, and needs no slot.
    way: Option<Way>,
    /// Other operations for other slots.
    moves: Vec<(i64, OperationId)>,
    /// What is assumed to have written the revision.
    pub op: OperationId,
    /// What it wrote.
    pub value: Bytes,
}

impl Filled {
    /// Whether no other put can be meant.
    pub fn is_certain(&self) -> bool {
        self.way.is_none()
    }
}

impl Slots {
    /// Bytes held, estimated; shared ones by their share.
    pub fn bytes(&self) -> usize {
        self.shared.bytes / Arc::strong_count(&self.shared)
    }

    /// That of a revision.
    pub fn at(&self, revision: i64) -> Option<&Slot> {
        self.shared.slots.get(&revision)
    }

    /// Whether the operation is assumed to fill one of them.
    pub fn has(&self, op: OperationId) -> bool {
        self.shared.owners.contains_key(&op)
    }

    /// States after revisions from this one on are the same in every way of every slot.
    pub fn blurred_until(&self) -> i64 {
        self.shared.blurred_until
    }

    /// All of them by revision.
    pub fn iter(&self) -> impl Iterator<Item = (i64, &Slot)> {
        self.shared.slots.iter().map(|(at, slot)| (*at, slot))
    }

    /// Lets some plain put of `key` fill `revision`; one that wrote `told` if that is
    /// known. `None` if none is left.
    pub fn fill(
        &self,
        pool: Pool<'_>,
        key: &Bytes,
        revision: i64,
        told: Option<&Bytes>,
    ) -> Option<Filled> {
        let way = Way::Put {
            key: key.clone(),
            told: told.cloned(),
        };
        self.filled(pool, revision, way)
    }

    /// The value of a put at `revision` has become known. `None` if no put can have
    /// written it.
    pub fn tell(&self, pool: Pool<'_>, revision: i64, value: &Bytes) -> Option<Filled> {
        let slot = self.shared.slots.get(&revision)?;
        let [Way::Put { key, .. }] = &slot.ways[..] else {
            return None;
        };
        let way = Way::Put {
            key: key.clone(),
            told: Some(value.clone()),
        };
        self.filled(pool, revision, way)
    }

    fn filled(&self, pool: Pool<'_>, revision: i64, way: Way) -> Option<Filled> {
        let Way::Put { key, told } = &way else {
            unreachable!("only puts are filled in by their key");
        };
        let puts = || pool.puts(key, told.as_ref(), revision);
        let is_only_one = puts().nth(1).is_none();
        let ways = std::slice::from_ref(&way);
        let moves = self.shared.augment(pool, revision, ways, None)?;
        let own = moves.iter().find(|(at, _)| *at == revision);
        let op = own.expect("the slot that was asked for is filled").1;
        let put = puts().find(|put| put.op == op);
        let value = put.expect("one of them").value.clone();
        Some(Filled {
            revision,
            op,
            value,
            way: (!is_only_one).then_some(way),
            moves,
        })
    }

    /// Takes an operation away from the slot that it is assumed to fill. `None` if that
    /// has no other one.
    pub fn without(&self, pool: Pool<'_>, op: OperationId) -> Option<Vec<(i64, OperationId)>> {
        let Some(revision) = self.shared.owners.get(&op) else {
            return Some(Vec::new());
        };
        let ways = &self.shared.slots[revision].ways;
        self.shared.augment(pool, *revision, ways, Some(op))
    }

    /// The values that the put at `revision` may turn out to have written, each once.
    pub fn values(&self, pool: Pool<'_>, revision: i64) -> Vec<Bytes> {
        let slot = self.shared.slots.get(&revision);
        let Some([Way::Put { key, told }]) = slot.map(|slot| &slot.ways[..]) else {
            return Vec::new();
        };
        let mut seen = FxHashSet::default();
        pool.puts(key, told.as_ref(), revision)
            .filter(|put| seen.insert(&put.value))
            .map(|put| put.value.clone())
            .collect()
    }

    /// Takes over what [`Slots::fill`] or [`Slots::tell`] has found.
    pub fn adopt(&mut self, filled: Filled) {
        let matching = Arc::make_mut(&mut self.shared);
        let (revision, op) = (filled.revision, filled.op);
        matching.remove(revision);
        matching.apply(filled.moves.into_iter().filter(|(at, _)| *at != revision));
        if let Some(way) = filled.way {
            matching.insert(revision, [way].into(), op, None);
        }
    }

    /// Takes over what [`Slots::without`] has found.
    pub fn apply(&mut self, moves: Vec<(i64, OperationId)>) {
        if !moves.is_empty() {
            Arc::make_mut(&mut self.shared).apply(moves.into_iter());
        }
    }

    /// Opens the slot at `revision` for all of `ways`; `op` is assumed, which no other slot
    /// has.
    pub fn open(&mut self, revision: i64, ways: Arc<[Way]>, op: OperationId, blur: Arc<Blur>) {
        let matching = Arc::make_mut(&mut self.shared);
        matching.remove(revision);
        matching.insert(revision, ways, op, Some(blur));
    }

    /// The slot at `revision` is filled in the first way: that was seen.
    pub fn close(&self, pool: Pool<'_>, revision: i64) -> Option<Filled> {
        let slot = self.shared.slots.get(&revision)?;
        match &slot.ways[0] {
            way @ Way::Put { .. } => self.filled(pool, revision, way.clone()),
            Way::Operation(op) => {
                let ways = &slot.ways[..1];
                Some(Filled {
                    revision,
                    way: None,
                    moves: self.shared.augment(pool, revision, ways, None)?,
                    op: *op,
                    value: Bytes::new(),
                })
            }
        }
    }
}

impl Matching {
    fn insert(
        &mut self,
        revision: i64,
        ways: Arc<[Way]>,
        op: OperationId,
        blur: Option<Arc<Blur>>,
    ) {
        if let Some(blur) = &blur {
            self.blurred_until = self.blurred_until.max(blur.until);
        }
        let slot = Slot { ways, op, blur };
        self.bytes += bytes_of(&slot);
        self.owners.insert(op, revision);
        self.slots.insert(revision, slot);
    }

    fn remove(&mut self, revision: i64) {
        if let Some(slot) = self.slots.remove(&revision) {
            self.bytes -= bytes_of(&slot);
            if self.owners.get(&slot.op) == Some(&revision) {
                self.owners.remove(&slot.op);
            }
        }
    }

    fn apply(&mut self, moves: impl Iterator<Item = (i64, OperationId)>) {
        for (revision, op) in moves {
            let slot = self.slots.get_mut(&revision);
            let slot = slot.expect("operations are moved between slots that are there");
            let before = std::mem::replace(&mut slot.op, op);
            if self.owners.get(&before) == Some(&revision) {
                self.owners.remove(&before);
            }
            self.owners.insert(op, revision);
        }
    }

    /// An operation for the slot at `start`, which may be filled by `ways`, and others for
    /// those it is taken from; not by `taken`. Breadth first along alternating paths.
    fn augment(
        &self,
        pool: Pool<'_>,
        start: i64,
        ways: &[Way],
        taken: Option<OperationId>,
    ) -> Option<Vec<(i64, OperationId)>> {
        // From which slot an operation was reached.
        let mut reached: FxHashMap<OperationId, i64> = FxHashMap::default();
        reached.extend(taken.map(|op| (op, start)));
        let mut queue = VecDeque::from([start]);
        while let Some(revision) = queue.pop_front() {
            let ways = match revision == start {
                true => ways,
                false => &self.slots[&revision].ways,
            };
            for op in pool.operations(ways, revision) {
                if reached.contains_key(&op) {
                    continue;
                }
                reached.insert(op, revision);
                match self.owners.get(&op) {
                    Some(owner) if *owner != start => queue.push_back(*owner),
                    _ => return Some(self.path(&reached, start, op)),
                }
            }
        }
        None
    }

    /// The moves along the path that ends with the free operation `last`.
    fn path(
        &self,
        reached: &FxHashMap<OperationId, i64>,
        start: i64,
        last: OperationId,
    ) -> Vec<(i64, OperationId)> {
        let mut moves = Vec::new();
        let mut op = last;
        loop {
            let revision = reached[&op];
            moves.push((revision, op));
            if revision == start {
                return moves;
            }
            op = self.slots[&revision].op;
        }
    }
}

fn bytes_of(slot: &Slot) -> usize {
    2 * (size_of::<(i64, Slot)>() + size_of::<(OperationId, i64)>())
        + slot.ways.len() * size_of::<Way>()
        + slot.blur.as_ref().map_or(0, |blur| {
            size_of::<Blur>() + blur.keys.len() * size_of::<Bytes>()
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcd::operation::{Acknowledged, Open};
    use veridical_histories::etcd::{PutRequest, Request};

    fn text(value: &'static str) -> Bytes {
        Bytes::from_static(value.as_bytes())
    }

    /// Puts of one key, each by its number, what was acknowledged before it, its value.
    fn unknowns(puts: &[(u64, i64, &'static str)]) -> Unknowns {
        let mut unknowns = Unknowns::default();
        for (op, floor, value) in puts {
            unknowns.insert(Box::new(Open {
                op: OperationId(*op),
                client: 0,
                call_event: *op,
                call_ns: 0,
                request: Request::Put(PutRequest {
                    key: text("k"),
                    value: text(value),
                    ..PutRequest::default()
                }),
                floor: Acknowledged {
                    revision: *floor,
                    by: None,
                },
                compact_floor: 0,
                lease_until_ns: 0,
                session: BTreeMap::new(),
            }));
        }
        unknowns
    }

    struct Bench {
        unknown: Unknowns,
        placed: BTreeMap<OperationId, i64>,
        foretold: Foretold,
        slots: Slots,
    }

    impl Bench {
        fn new(puts: &[(u64, i64, &'static str)]) -> Self {
            Self {
                unknown: unknowns(puts),
                placed: BTreeMap::new(),
                foretold: Foretold::default(),
                slots: Slots::default(),
            }
        }

        fn pool(&self) -> Pool<'_> {
            Pool {
                unknown: &self.unknown,
                placed: &self.placed,
                foretold: &self.foretold,
            }
        }

        fn adopt(&mut self, filled: Filled) {
            if filled.is_certain() {
                self.placed.insert(filled.op, filled.revision);
            }
            self.slots.adopt(filled);
        }

        fn fill(&self, revision: i64, told: Option<&'static str>) -> Option<Filled> {
            let told = told.map(text);
            self.slots
                .fill(self.pool(), &text("k"), revision, told.as_ref())
        }

        fn tell(&self, revision: i64, value: &'static str) -> Option<Filled> {
            self.slots.tell(self.pool(), revision, &text(value))
        }

        /// Fills revisions, and expects that it can be done.
        fn filled(mut self, revisions: &[i64]) -> Self {
            for revision in revisions {
                let filled = self.fill(*revision, None).expect("a put is left");
                self.adopt(filled);
            }
            self
        }
    }

    #[test]
    fn what_is_assumed_is_taken_back_when_the_put_is_needed_elsewhere() {
        let mut bench = Bench::new(&[(1, 0, "a"), (2, 0, "b"), (3, 5, "c")]).filled(&[3, 7]);
        // Whatever was assumed of 3 and 7, each of them may have written 7.
        for value in ["a", "b", "c"] {
            assert!(bench.tell(7, value).is_some());
        }
        assert!(bench.tell(3, "c").is_none(), "it was called later");
        let told = bench.tell(7, "b").expect("a way");
        assert!(told.is_certain() && told.op == OperationId(2));
        bench.adopt(told);
        assert_eq!(bench.slots.iter().count(), 1);
        assert!(bench.tell(3, "a").is_some());
        assert!(bench.tell(3, "b").is_none());
    }

    #[test]
    fn more_slots_than_puts_are_a_contradiction() {
        let bench = Bench::new(&[(1, 0, "a"), (2, 0, "b"), (3, 9, "c")]).filled(&[3, 7]);
        assert!(bench.fill(8, None).is_none());
        assert!(bench.fill(10, None).is_some());
    }

    #[test]
    fn puts_of_one_value_are_told_apart_by_when_they_were_called() {
        let mut bench = Bench::new(&[(1, 0, "a"), (2, 5, "a"), (3, 0, "b")]).filled(&[7, 8]);
        for revision in [7, 8] {
            let told = bench.tell(revision, "a").expect("there are two");
            assert!(!told.is_certain());
            bench.adopt(told);
        }
        assert!(bench.fill(9, Some("a")).is_none());
        let last = bench.fill(9, None).expect("one is left");
        assert_eq!(last.value, text("b"));
        assert_eq!(bench.slots.values(bench.pool(), 7), [text("a")]);
    }

    #[test]
    fn the_only_put_there_is_is_certain() {
        let bench = Bench::new(&[(1, 0, "a"), (2, 5, "b")]);
        let filled = bench.fill(4, None).expect("there is one");
        assert!(filled.is_certain());
        assert_eq!((filled.op, filled.value), (OperationId(1), text("a")));
    }

    #[test]
    fn an_operation_is_taken_from_a_slot_that_has_another_way() {
        let mut bench = Bench::new(&[(1, 0, "a"), (2, 0, "b")]);
        let blur = Arc::new(Blur {
            keys: vec![text("k")],
            until: 9,
        });
        let ways = [1, 2].map(|op| Way::Operation(OperationId(op)));
        bench.slots.open(3, ways.into(), OperationId(1), blur);
        let moves = bench.slots.without(bench.pool(), OperationId(1));
        assert_eq!(moves, Some(vec![(3, OperationId(2))]));
        assert_eq!(
            bench.slots.without(bench.pool(), OperationId(2)),
            Some(vec![])
        );
        bench.placed.insert(OperationId(2), 4);
        assert_eq!(bench.slots.without(bench.pool(), OperationId(1)), None);
        let closed = bench.slots.close(bench.pool(), 3).expect("it is there");
        assert!(closed.is_certain() && closed.op == OperationId(1));
        bench.adopt(closed);
        assert_eq!((bench.slots.iter().count(), bench.slots.bytes()), (0, 0));
    }
}
