//! Undetermined writes: revisions of which it is open who wrote them.
//!
//! Where a gap was filled by a put, and several puts of that key have no known outcome, the
//! next answer shows that the key was written, but often not by which of them: the value
//! was overwritten before anybody read it. The puts differ in nothing but their value, so
//! instead of a hypothesis for each of them one *undetermined write* is kept: some put of
//! this key that was called in time. The same holds for a gap that may have written one key
//! or another, both of which were overwritten before anybody looked ([`super::equivalent`]).
//!
//! Which operation made which write is a [matching](super::matching). A write for which no
//! operation is left is a contradiction; everything else stays open.

use std::sync::Arc;

use bytes::Bytes;
use rustc_hash::FxHashSet;
use veridical_histories::OperationId;

use crate::etcd::replay::StatesRead;

use super::candidates::{CandidateWriter, DivergenceRange, Pool};
use super::matching::{Matching, UndeterminedWrite};

/// The undetermined writes of a hypothesis. A clone shares them until one of the two
/// changes.
#[derive(Clone, Debug, Default)]
pub(in crate::etcd) struct UndeterminedWrites {
    shared: Arc<Matching>,
}

/// A change of the matching that gives one more write an operation, or makes its value
/// known.
#[derive(Clone, Debug)]
pub(super) struct Filled {
    revision: i64,
    /// The candidates of the write; `None` where the put is certain, and nothing of it is
    /// undetermined.
    candidate: Option<CandidateWriter>,
    /// Other operations for other writes.
    moves: Vec<(i64, OperationId)>,
    /// The operation that is assumed to have written the revision.
    pub op: OperationId,
    /// The value that it wrote.
    pub value: Bytes,
}

impl Filled {
    /// Whether no other put can be meant.
    pub fn is_certain(&self) -> bool {
        self.candidate.is_none()
    }
}

impl UndeterminedWrites {
    /// Bytes held, estimated; shared ones by their share.
    pub(super) fn bytes(&self) -> usize {
        self.shared.bytes() / Arc::strong_count(&self.shared)
    }

    /// The write at `revision`, if it is undetermined.
    pub(super) fn at(&self, revision: i64) -> Option<&UndeterminedWrite> {
        self.shared.at(revision)
    }

    /// Whether the operation is assumed to have made one of them.
    pub(super) fn has(&self, op: OperationId) -> bool {
        self.shared.owned_by(op).is_some()
    }

    /// States after revisions from this one on are the same whoever made the writes.
    pub fn divergent_until(&self) -> i64 {
        self.shared.divergent_until()
    }

    /// All of them by revision.
    pub(super) fn iter(&self) -> impl Iterator<Item = (i64, &UndeterminedWrite)> {
        self.shared.iter()
    }

    /// The writes that an answer depends on which shows these states.
    pub fn diverging_in(&self, states: &[StatesRead<'_>]) -> Vec<i64> {
        let until = self.divergent_until();
        if states.iter().all(|read| read.first >= until) {
            return Vec::new();
        }
        let is_read = |at: i64, divergence: &DivergenceRange, read: &StatesRead<'_>| {
            let mut keys = divergence.keys.iter();
            read.last >= at
                && read.first < divergence.until
                && keys.any(|key| read.range.is_none_or(|range| range.contains(key)))
        };
        let writes = self.iter().filter(|(at, write)| {
            write.divergence.as_ref().is_some_and(|divergence| {
                let mut states = states.iter();
                states.any(|read| is_read(*at, divergence, read))
            })
        });
        writes.map(|(at, _)| at).collect()
    }

    /// Lets some plain put of `key` write `revision`; one of `value` if that is known.
    /// `None` if no put is left.
    pub(super) fn fill(
        &self,
        pool: Pool<'_>,
        key: &Bytes,
        revision: i64,
        value: Option<&Bytes>,
    ) -> Option<Filled> {
        let candidate = CandidateWriter::Put {
            key: key.clone(),
            value: value.cloned(),
        };
        self.filled(pool, revision, candidate)
    }

    /// The value of a put at `revision` has become known. `None` if no put can have
    /// written it.
    pub(super) fn resolve(&self, pool: Pool<'_>, revision: i64, value: &Bytes) -> Option<Filled> {
        let write = self.shared.at(revision)?;
        let [CandidateWriter::Put { key, .. }] = &write.candidates[..] else {
            return None;
        };
        let candidate = CandidateWriter::Put {
            key: key.clone(),
            value: Some(value.clone()),
        };
        self.filled(pool, revision, candidate)
    }

    fn filled(&self, pool: Pool<'_>, revision: i64, candidate: CandidateWriter) -> Option<Filled> {
        let CandidateWriter::Put { key, value } = &candidate else {
            unreachable!("only puts are filled in by their key");
        };
        let puts = || pool.puts(key, value.as_ref(), revision);
        let is_only_one = puts().nth(1).is_none();
        let candidates = std::slice::from_ref(&candidate);
        let moves = self.shared.augment(pool, revision, candidates, None)?;
        let own = moves.iter().find(|(at, _)| *at == revision);
        let op = own
            .expect("the write that was asked for has an operation")
            .1;
        let put = puts().find(|put| put.op == op);
        let value = put.expect("the operation is one of the puts").value.clone();
        Some(Filled {
            revision,
            op,
            value,
            candidate: (!is_only_one).then_some(candidate),
            moves,
        })
    }

    /// Takes an operation away from the write that it is assumed to have made. `None` if
    /// nothing else can have made that one.
    pub(super) fn without(
        &self,
        pool: Pool<'_>,
        op: OperationId,
    ) -> Option<Vec<(i64, OperationId)>> {
        let Some(revision) = self.shared.owned_by(op) else {
            return Some(Vec::new());
        };
        let write = self.shared.at(revision)?;
        let candidates = &write.candidates;
        self.shared.augment(pool, revision, candidates, Some(op))
    }

    /// The values that the put at `revision` may turn out to have written, each once.
    pub(super) fn values(&self, pool: Pool<'_>, revision: i64) -> Vec<Bytes> {
        let write = self.shared.at(revision);
        let Some([CandidateWriter::Put { key, value }]) = write.map(|write| &write.candidates[..])
        else {
            return Vec::new();
        };
        let mut seen = FxHashSet::default();
        pool.puts(key, value.as_ref(), revision)
            .filter(|put| seen.insert(&put.value))
            .map(|put| put.value.clone())
            .collect()
    }

    /// Takes over what [`UndeterminedWrites::fill`], [`UndeterminedWrites::resolve`] or
    /// [`UndeterminedWrites::determine`] has found.
    pub(super) fn adopt(&mut self, filled: Filled) {
        let matching = Arc::make_mut(&mut self.shared);
        let (revision, op) = (filled.revision, filled.op);
        matching.remove(revision);
        matching.apply(filled.moves.into_iter().filter(|(at, _)| *at != revision));
        if let Some(candidate) = filled.candidate {
            matching.insert(revision, [candidate].into(), op, None);
        }
        matching.assert_one_to_one();
    }

    /// Takes over what [`UndeterminedWrites::without`] has found.
    pub(super) fn apply(&mut self, moves: Vec<(i64, OperationId)>) {
        if !moves.is_empty() {
            let matching = Arc::make_mut(&mut self.shared);
            matching.apply(moves.into_iter());
            matching.assert_one_to_one();
        }
    }

    /// Leaves the write at `revision` open to all of `candidates`; `op`, which made no
    /// other one, is assumed.
    pub(super) fn open(
        &mut self,
        revision: i64,
        candidates: Arc<[CandidateWriter]>,
        op: OperationId,
        divergence: Arc<DivergenceRange>,
    ) {
        assert!(!candidates.is_empty(), "somebody wrote revision {revision}");
        let matching = Arc::make_mut(&mut self.shared);
        matching.remove(revision);
        matching.insert(revision, candidates, op, Some(divergence));
        matching.assert_one_to_one();
    }

    /// The write at `revision` was made by its first candidate: an answer has shown that.
    pub(super) fn determine(&self, pool: Pool<'_>, revision: i64) -> Option<Filled> {
        let write = self.shared.at(revision)?;
        match &write.candidates[0] {
            candidate @ CandidateWriter::Put { .. } => {
                self.filled(pool, revision, candidate.clone())
            }
            CandidateWriter::Operation(op) => {
                let candidates = &write.candidates[..1];
                Some(Filled {
                    revision,
                    candidate: None,
                    moves: self.shared.augment(pool, revision, candidates, None)?,
                    op: *op,
                    value: Bytes::new(),
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    use crate::etcd::hypotheses::attributions::Attributions;
    use crate::etcd::hypotheses::unknowns::Unknowns;
    use crate::etcd::operation::Open;
    use veridical_histories::etcd::{PutRequest, Request};

    fn text(value: &'static str) -> Bytes {
        Bytes::from_static(value.as_bytes())
    }

    /// Puts of one key, each by its number, the revision acknowledged before it, its value.
    fn unknowns(puts: &[(u64, i64, &'static str)]) -> Unknowns {
        let mut unknowns = Unknowns::default();
        for (op, floor, value) in puts {
            let request = Request::Put(PutRequest {
                key: text("k"),
                value: text(value),
                ..PutRequest::default()
            });
            unknowns.insert(Open::example(*op, *floor, request));
        }
        unknowns
    }

    struct Bench {
        unknown: Unknowns,
        placed: BTreeMap<OperationId, i64>,
        attributions: Attributions,
        writes: UndeterminedWrites,
    }

    impl Bench {
        fn new(puts: &[(u64, i64, &'static str)]) -> Self {
            Self {
                unknown: unknowns(puts),
                placed: BTreeMap::new(),
                attributions: Attributions::default(),
                writes: UndeterminedWrites::default(),
            }
        }

        fn pool(&self) -> Pool<'_> {
            Pool {
                unknown: &self.unknown,
                placed: &self.placed,
                attributions: &self.attributions,
            }
        }

        fn adopt(&mut self, filled: Filled) {
            if filled.is_certain() {
                self.placed.insert(filled.op, filled.revision);
            }
            self.writes.adopt(filled);
        }

        fn fill(&self, revision: i64, value: Option<&'static str>) -> Option<Filled> {
            let value = value.map(text);
            self.writes
                .fill(self.pool(), &text("k"), revision, value.as_ref())
        }

        fn resolve(&self, revision: i64, value: &'static str) -> Option<Filled> {
            self.writes.resolve(self.pool(), revision, &text(value))
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
            assert!(bench.resolve(7, value).is_some());
        }
        assert!(bench.resolve(3, "c").is_none(), "it was called later");
        let resolved = bench.resolve(7, "b").expect("a put");
        assert!(resolved.is_certain() && resolved.op == OperationId(2));
        bench.adopt(resolved);
        assert_eq!(bench.writes.iter().count(), 1);
        assert!(bench.resolve(3, "a").is_some());
        assert!(bench.resolve(3, "b").is_none());
    }

    #[test]
    fn more_writes_than_puts_are_a_contradiction() {
        let bench = Bench::new(&[(1, 0, "a"), (2, 0, "b"), (3, 9, "c")]).filled(&[3, 7]);
        assert!(bench.fill(8, None).is_none());
        assert!(bench.fill(10, None).is_some());
    }

    #[test]
    fn puts_of_one_value_are_distinguished_by_when_they_were_called() {
        let mut bench = Bench::new(&[(1, 0, "a"), (2, 5, "a"), (3, 0, "b")]).filled(&[7, 8]);
        for revision in [7, 8] {
            let resolved = bench.resolve(revision, "a").expect("there are two");
            assert!(!resolved.is_certain());
            bench.adopt(resolved);
        }
        assert!(bench.fill(9, Some("a")).is_none());
        let last = bench.fill(9, None).expect("one is left");
        assert_eq!(last.value, text("b"));
        assert_eq!(bench.writes.values(bench.pool(), 7), [text("a")]);
    }

    #[test]
    fn the_only_put_there_is_is_certain() {
        let bench = Bench::new(&[(1, 0, "a"), (2, 5, "b")]);
        let filled = bench.fill(4, None).expect("there is one");
        assert!(filled.is_certain());
        assert_eq!((filled.op, filled.value), (OperationId(1), text("a")));
    }

    #[test]
    fn an_operation_is_taken_from_a_write_that_has_another_candidate() {
        let mut bench = Bench::new(&[(1, 0, "a"), (2, 0, "b")]);
        let divergence = Arc::new(DivergenceRange {
            keys: vec![text("k")],
            until: 9,
        });
        let candidates = [1, 2].map(|op| CandidateWriter::Operation(OperationId(op)));
        bench
            .writes
            .open(3, candidates.into(), OperationId(1), divergence);
        let moves = bench.writes.without(bench.pool(), OperationId(1));
        assert_eq!(moves, Some(vec![(3, OperationId(2))]));
        assert_eq!(
            bench.writes.without(bench.pool(), OperationId(2)),
            Some(vec![])
        );
        bench.placed.insert(OperationId(2), 4);
        assert_eq!(bench.writes.without(bench.pool(), OperationId(1)), None);
        let closed = bench
            .writes
            .determine(bench.pool(), 3)
            .expect("it is there");
        assert!(closed.is_certain() && closed.op == OperationId(1));
        bench.adopt(closed);
        assert_eq!((bench.writes.iter().count(), bench.writes.bytes()), (0, 0));
    }

    fn opened_twice(candidates: &[CandidateWriter]) {
        let mut writes = UndeterminedWrites::default();
        for revision in [3, 4] {
            let divergence = Arc::new(DivergenceRange {
                keys: vec![text("k")],
                until: 9,
            });
            writes.open(revision, candidates.into(), OperationId(1), divergence);
        }
    }

    #[test]
    #[should_panic(expected = "an operation of its own")]
    fn one_operation_never_makes_two_writes() {
        opened_twice(&[CandidateWriter::Operation(OperationId(1))]);
    }

    #[test]
    #[should_panic(expected = "somebody wrote revision 3")]
    fn a_write_without_candidates_is_a_bug() {
        opened_twice(&[]);
    }
}
