//! The room of the hypotheses: explanations of revisions that nobody claims.
//!
//! Inputs: operations whose outcome stays unknown, and each revision to be replayed, with
//! its acknowledged writer or as a [`gap`]. Outputs: whether an answer is possible in one of
//! the explanations that are left, and the contradiction where it is in none. Dependencies:
//! the [`super::intake`], for what was seen of a gap, and the [`super::replay`], in which
//! becomes certain what all explanations agree on.
//!
//! There is never no hypothesis while no contradiction is found. Their number and their
//! bytes are bounded: equivalent ones are merged ([`equivalent`], [`unobservable`]), and
//! where that is not enough some are dropped. Then the rest is a beam: it can still prove
//! that a history is right, but no longer that it is wrong.

mod attributions;
mod candidates;
mod contradictions;
mod equivalent;
mod following;
mod gap;
mod hypothesis;
mod later_answers;
mod matching;
#[cfg(test)]
mod tests;
mod undetermined;
mod unknowns;
mod unobservable;

use std::collections::BTreeMap;

use veridical_histories::OperationId;

use super::EtcdOptions;
use super::intake::{Intake, LeaseTimes};
use super::memory::CONTENT_BYTES;
use super::objection::{Contradiction, Inconclusive, Stop};
use super::operation::{Done, Open, Writer};
use super::replay::{LeaseEnd, Replay, evaluate};
use crate::verdict::{Cause, Undecided, ViolationKind};
use attributions::Attributions;
use candidates::Pool;
use contradictions::{check_ends, unexplained, unresolvable, written_twice};
use equivalent::Equivalence;
use following::{Followed, follow};
use gap::Gap;
pub(super) use hypothesis::Hypothesis;
use unknowns::Unknowns;

/// The most bytes that hypotheses may take, all together, whatever limit is given. While a
/// gap is filled there are twice as many.
const HYPOTHESES_BYTES_MAX: usize = 64 << 20;

/// A hypothesis that has grown to so many bytes is merged if it can be.
const MERGED_FROM_BYTES: usize = 128 << 10;

/// The estimate of what one placed operation takes in a table, in bytes.
const PLACED_BYTES: usize = 32;

/// How many hypotheses may be followed.
#[derive(Clone, Copy, Debug)]
struct Limits {
    hypotheses_max: usize,
    equivalent_max: usize,
    distinct_max: usize,
    /// For the versions of keys; hypotheses get a part of it.
    bytes_max: usize,
}

/// What was counted.
#[derive(Clone, Copy, Debug)]
struct Counts {
    gaps: u64,
    merged: u64,
    hypotheses_max: usize,
}

/// The hypotheses that explain everything seen so far.
#[derive(Debug)]
pub(super) struct Hypotheses {
    limits: Limits,
    counts: Counts,
    /// Never empty while no contradiction is found.
    hypotheses: Vec<Hypothesis>,
    /// Operations of unknown outcome that may write, and are not certainly placed.
    unknown: Unknowns,
    /// Acknowledged revocations of leases, whose revision only has an upper bound.
    revocations: BTreeMap<OperationId, Done>,
    /// What later reads tell of operations of unknown outcome, as of the last gap.
    attributions: Attributions,
    /// Where hypotheses were dropped first. What is left since is a beam: it can prove
    /// `Ok`, but no violation. If one that was kept explains the whole history, that was no
    /// loss.
    narrowed: Option<Undecided>,
    /// Whether the last hypothesis of a beam was contradicted: nothing is known of the
    /// content any more, and only revisions are checked.
    is_lost: bool,
}

impl Hypotheses {
    /// The one hypothesis about a history that has not begun: nothing is unknown.
    pub fn new(options: &EtcdOptions, bytes_max: usize) -> Self {
        Self {
            limits: Limits {
                hypotheses_max: options.hypotheses_max,
                equivalent_max: options.equivalent_hypotheses_max,
                distinct_max: options.distinct_hypotheses_max,
                bytes_max,
            },
            counts: Counts {
                gaps: 0,
                merged: 0,
                hypotheses_max: 1,
            },
            hypotheses: vec![Hypothesis::default()],
            unknown: Unknowns::default(),
            revocations: BTreeMap::new(),
            attributions: Attributions::default(),
            narrowed: None,
            is_lost: false,
        }
    }

    /// Hypotheses get a part of `bytes_max`, which is for the versions of keys.
    pub fn limit_bytes(&mut self, bytes_max: usize) {
        self.limits.bytes_max = bytes_max;
    }

    /// Forgets everything and begins again; what was counted stays.
    pub fn reset(&mut self, options: &EtcdOptions) {
        *self = Self {
            counts: self.counts,
            ..Self::new(options, self.limits.bytes_max)
        };
    }

    /// An operation that may write ended, and its outcome stays unknown.
    pub fn add_undetermined(&mut self, open: Box<Open>) {
        assert!(open.request.may_write(), "only a writer can explain a gap");
        self.unknown.insert(open);
    }

    /// A lease was revoked at a revision up to the one in the answer.
    pub fn add_revocation(&mut self, done: Done) {
        self.revocations.insert(done.open.op, done);
    }

    /// Whether the operation is one of those of unknown outcome that are not certainly
    /// placed.
    pub fn is_undetermined(&self, op: OperationId) -> bool {
        self.unknown.contains(op)
    }

    /// The operations of unknown outcome that are not certainly placed.
    pub fn unplaced(&self) -> impl Iterator<Item = OperationId> + '_ {
        self.unknown.ids()
    }

    /// How many hypotheses and operations of unknown outcome there are to combine.
    pub fn combinations(&self) -> usize {
        self.hypotheses.len().saturating_mul(self.unknown.len())
    }

    /// Whether nothing is known of the content any more.
    pub fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// Whether several operations of unknown outcome or leases were there before
    /// `revision`, and so may explain it.
    pub fn has_choice(&self, revision: i64, replay: &Replay) -> bool {
        let is_placed = |op: &OperationId| {
            let mut hypotheses = self.hypotheses.iter();
            hypotheses.all(|hypothesis| hypothesis.placed.contains_key(op))
        };
        let operations = { self.unknown.iter() }
            .filter(|open| open.floor.revision < revision && !is_placed(&open.op));
        let leases =
            { self.hypotheses.iter() }.flat_map(|hypothesis| hypothesis.view(replay).leases());
        operations
            .map(drop)
            .chain(leases.map(drop))
            .nth(1)
            .is_some()
    }

    /// Whether revisions may follow that nobody has seen.
    pub fn may_go_on(&self, replay: &Replay) -> bool {
        let mut hypotheses = self.hypotheses.iter();
        !self.unknown.is_empty()
            || hypotheses.any(|hypothesis| !hypothesis.view(replay).leases().is_empty())
    }

    /// Keeps the hypotheses that `check` allows, in their order; the last contradiction
    /// counts when none is left. One that depends on an assumed value goes on as those in
    /// which the value is known.
    ///
    /// # Errors
    /// No hypothesis is left.
    pub fn retain(
        &mut self,
        replay: &mut Replay,
        event: u64,
        mut check: impl FnMut(&Replay, &mut Hypothesis) -> Result<(), Inconclusive>,
    ) -> Result<(), Stop> {
        if self.is_lost {
            return Ok(());
        }
        let mut last = None;
        let mut waiting = Vec::new();
        if self.hypotheses.len() == 1 {
            let Err(inconclusive) = check(replay, &mut self.hypotheses[0]) else {
                self.settle_single(replay);
                return Ok(());
            };
            let hypothesis = self.hypotheses.remove(0);
            let left = self.settle(replay, event, hypothesis, inconclusive);
            match left {
                Ok(hypotheses) => waiting.extend(hypotheses.into_iter().rev()),
                Err(contradiction) => last = Some(contradiction),
            }
        } else {
            waiting = std::mem::take(&mut self.hypotheses);
            waiting.reverse();
        }
        while let Some(mut hypothesis) = waiting.pop() {
            let Err(inconclusive) = check(replay, &mut hypothesis) else {
                self.hypotheses.push(hypothesis);
                continue;
            };
            match self.settle(replay, event, hypothesis, inconclusive) {
                Ok(hypotheses) => waiting.extend(hypotheses.into_iter().rev()),
                Err(contradiction) => last = Some(contradiction),
            }
        }
        self.end_retaining(replay, event, last)
    }

    /// The hypotheses that are left of one that a check did not accept as it is.
    ///
    /// # Errors
    /// None is left, and this contradicts it.
    fn settle(
        &mut self,
        replay: &Replay,
        event: u64,
        hypothesis: Hypothesis,
        inconclusive: Inconclusive,
    ) -> Result<Vec<Hypothesis>, Contradiction> {
        match inconclusive {
            Inconclusive::Contradicted(contradiction) => Err(contradiction),
            Inconclusive::Unresolved {
                unresolved,
                operations,
            } => {
                let pool = self.pool(&hypothesis);
                let resolved = hypothesis.resolved(replay, pool, &unresolved);
                match resolved.is_empty() {
                    true => Err(unresolvable(&unresolved, operations)),
                    false => Ok(resolved),
                }
            }
            Inconclusive::Diverges(revisions) => {
                let text = "old revisions tell who wrote them, and one of the ways is kept";
                self.narrow(event, Cause::Configurations, text.to_owned());
                let determined =
                    hypothesis.determined(&self.unknown, &self.attributions, &revisions);
                Ok(determined.into_iter().collect())
            }
        }
    }

    fn end_retaining(
        &mut self,
        replay: &mut Replay,
        event: u64,
        last: Option<Contradiction>,
    ) -> Result<(), Stop> {
        if self.hypotheses.is_empty() {
            self.hypotheses.push(Hypothesis::default());
            if self.narrowed.is_some() {
                return Err(self.lose());
            }
            let contradiction = last.expect("a hypothesis was dropped for a contradiction");
            return Err(contradiction.into());
        }
        let hypotheses_max = self.limits.hypotheses_max;
        if self.hypotheses.len() > hypotheses_max {
            self.hypotheses.truncate(hypotheses_max);
            let text = format!("an assumed value leaves more than {hypotheses_max} explanations");
            self.narrow(event, Cause::Configurations, text);
        }
        self.settle_single(replay);
        Ok(())
    }

    /// The operations that may have made undetermined writes of `hypothesis`.
    fn pool<'a>(&'a self, hypothesis: &'a Hypothesis) -> Pool<'a> {
        hypothesis.pool(&self.unknown, &self.attributions)
    }

    /// Drops the hypotheses in which an operation wrote that certainly did not, or wrote a
    /// later revision.
    ///
    /// # Errors
    /// No hypothesis is left.
    pub fn exclude(
        &mut self,
        replay: &mut Replay,
        event: u64,
        open: &Open,
        return_ns: u64,
    ) -> Result<(), Stop> {
        let mut hypotheses = self.hypotheses.iter();
        if !hypotheses.any(|hypothesis| hypothesis.placed.contains_key(&open.op)) {
            return Ok(());
        }
        self.retain(replay, event, |_, hypothesis| {
            let Some(revision) = hypothesis.placed.get(&open.op) else {
                return Ok(());
            };
            let contradiction = Contradiction::new(
                ViolationKind::UnexplainedRevision,
                format!("something that wrote revision {revision}"),
                "nothing did",
                vec![open.witness_until(return_ns)],
            );
            Err(contradiction.into())
        })
    }

    /// Carries out an acknowledged write at the next revision in each hypothesis that
    /// allows its answer.
    ///
    /// # Errors
    /// No hypothesis is left.
    pub fn replay_write(
        &mut self,
        replay: &mut Replay,
        leases: &LeaseTimes,
        event: u64,
        done: &Done,
    ) -> Result<(), Stop> {
        let revision = done.header.revision;
        let writer = Writer::Operation(done.open.op);
        let mut changes_of_each = Vec::with_capacity(self.hypotheses.len());
        self.retain(replay, event, |replay, hypothesis| {
            let changes = evaluate(hypothesis.view(replay), revision - 1, done)?;
            check_ends(replay, hypothesis, leases, &changes, done)?;
            changes_of_each.push(changes);
            Ok(())
        })?;
        changes_of_each.truncate(self.hypotheses.len());
        assert_eq!(
            changes_of_each.len(),
            self.hypotheses.len(),
            "each hypothesis that is kept has its changes"
        );
        if self.hypotheses.len() == 1 {
            // What a hypothesis that is left alone says is certain already.
            changes_of_each
                .into_iter()
                .for_each(|changes| replay.commit(changes, writer));
        } else {
            let hypotheses = self.hypotheses.iter_mut();
            let overlays = hypotheses.map(|hypothesis| &mut hypothesis.overlay);
            replay.commit_to_all(overlays.collect(), revision, changes_of_each, writer);
        }
        self.bound_memory(replay, event, revision);
        Ok(())
    }

    /// The answer of a write came whose revision is replayed: it is right only where that
    /// was this very operation, by hypothesis.
    ///
    /// # Errors
    /// No hypothesis is left.
    pub fn confirm_write(
        &mut self,
        replay: &mut Replay,
        event: u64,
        done: &Done,
    ) -> Result<(), Stop> {
        let (op, revision) = (done.open.op, done.header.revision);
        self.retain(replay, event, |replay, hypothesis| {
            if hypothesis.placed.get(&op) != Some(&revision) {
                return Err(written_twice(replay, hypothesis, done).into());
            }
            evaluate(hypothesis.view(replay), revision - 1, done)?;
            hypothesis.placed.remove(&op);
            Ok(())
        })
    }

    /// A lease that is known to have been kept alive did not end too early.
    ///
    /// # Errors
    /// No hypothesis is left.
    pub fn check_kept_alive(
        &mut self,
        replay: &mut Replay,
        leases: &LeaseTimes,
        event: u64,
        (done, lease): (&Done, i64),
    ) -> Result<(), Stop> {
        if !leases.is_single(lease) {
            return Ok(());
        }
        self.retain(replay, event, |replay, hypothesis| {
            let Some(LeaseEnd {
                revision,
                expired_before_ns: Some(known_ns),
            }) = hypothesis.end_of(replay, lease)
            else {
                return Ok(());
            };
            if leases.may_have_expired(lease, known_ns) {
                return Ok(());
            }
            let contradiction = Contradiction::new(
                ViolationKind::Lease,
                format!(
                    "lease {lease} to live until {} ns at least",
                    leases.alive_until_ns(lease)
                ),
                format!("revision {revision}, seen at {known_ns} ns, deleted its keys"),
                vec![done.witness()],
            );
            Err(contradiction.into())
        })
    }

    /// Follows every explanation of the next revision, which exists and which nobody claims.
    ///
    /// # Errors
    /// There is none.
    pub fn fill_gap(
        &mut self,
        replay: &mut Replay,
        intake: &Intake,
        event: u64,
        revision: i64,
    ) -> Result<(), Stop> {
        self.counts.gaps += 1;
        self.attributions = Attributions::behind(revision, intake, &self.unknown);
        self.merge_equivalent(replay, intake, event, revision);
        let followed = self.follow(replay, intake, revision);
        if followed.hypotheses.is_empty() {
            if self.narrowed.is_some() {
                return Err(self.lose());
            }
            let early = followed.early_lease;
            return Err(unexplained(&self.unknown, intake, revision, early).into());
        }
        if followed.is_crowded {
            let room = followed.room;
            let text = format!("revision {revision} leaves more than {room} explanations open");
            let cause = match room < self.limits.hypotheses_max {
                true => Cause::Memory,
                false => Cause::Configurations,
            };
            self.narrow(event, cause, text);
        }
        self.counts.merged += followed.joined as u64;
        self.hypotheses = followed.hypotheses;
        let most = self.hypotheses.len().max(self.counts.hypotheses_max);
        self.counts.hypotheses_max = most;
        self.settle_single(replay);
        self.bound_memory(replay, event, revision);
        Ok(())
    }

    /// All ways to go on behind the gap at `revision`.
    fn follow(&self, replay: &Replay, intake: &Intake, revision: i64) -> Followed {
        let (unknown, revocations) = (&self.unknown, &self.revocations);
        let attributions = &self.attributions;
        let gap = Gap::new(revision, replay, intake, unknown, revocations, attributions);
        // Each way on is a copy, so there is room for as many as fit; but none is dropped
        // here.
        let largest = self.hypotheses.iter().map(Hypothesis::table_bytes).max();
        let bytes_max = self.bytes_max().saturating_sub(replay.hypotheses_bytes());
        let fitting = bytes_max / largest.unwrap_or(0).max(1);
        let fitting = fitting.max(self.hypotheses.len());
        let room = self.limits.hypotheses_max.min(fitting);
        follow(&gap, &self.hypotheses, room, self.limits.equivalent_max)
    }

    /// Makes one of hypotheses that differ only in who wrote one revision, if nobody can
    /// see that revision any more but by asking for it.
    fn merge_equivalent(
        &mut self,
        replay: &mut Replay,
        intake: &Intake,
        event: u64,
        revision: i64,
    ) {
        let is_small = |hypothesis: &Hypothesis| hypothesis.overlay.bytes() <= MERGED_FROM_BYTES;
        let are_few = self.hypotheses.len() <= self.limits.equivalent_max
            && self.hypotheses.iter().all(is_small);
        if self.hypotheses.len() < 2 || are_few {
            return;
        }
        let hypotheses = std::mem::take(&mut self.hypotheses);
        let all = hypotheses.len();
        let equivalence = Equivalence {
            replay,
            unknown: &self.unknown,
            observable_from: intake.oldest_observable(),
        };
        let mut hypotheses = equivalence.merged(hypotheses);
        let exact = hypotheses.len();
        if exact > self.limits.distinct_max {
            hypotheses = equivalence.thinned(hypotheses);
        }
        self.hypotheses = hypotheses;
        self.counts.merged += (all - exact) as u64;
        if self.hypotheses.len() < exact {
            let text = format!("who wrote what was overwritten by revision {revision}");
            self.narrow(event, Cause::Configurations, text);
        }
        self.settle_single(replay);
    }

    /// A single hypothesis is a certainty.
    fn settle_single(&mut self, replay: &mut Replay) {
        let [only] = &mut self.hypotheses[..] else {
            return;
        };
        if replay.is_certain(&only.overlay) && only.ended.is_empty() && only.placed.is_empty() {
            return;
        }
        replay.absorb(std::mem::take(&mut only.overlay), &mut only.ended);
        let (unknown, revocations) = (&mut self.unknown, &mut self.revocations);
        only.placed.retain(|op, _| {
            let is_placed = unknown.remove(*op) | revocations.remove(op).is_some();
            !is_placed
        });
    }

    /// The bytes that hypotheses may take, all together.
    fn bytes_max(&self) -> usize {
        (self.limits.bytes_max / 4).min(HYPOTHESES_BYTES_MAX)
    }

    /// Drops hypotheses while they take more memory than is allowed.
    fn bound_memory(&mut self, replay: &mut Replay, event: u64, revision: i64) {
        let bytes_max = self.bytes_max();
        let bytes = |all: &[Hypothesis]| {
            let tables = all.iter().map(Hypothesis::table_bytes);
            replay.hypotheses_bytes() + tables.sum::<usize>()
        };
        while self.hypotheses.len() > 1 && bytes(&self.hypotheses) > bytes_max {
            self.hypotheses.truncate(self.hypotheses.len() / 2);
            let text = format!(
                "the explanations that are left open up to revision {revision} do not fit into {} \
                 MiB",
                bytes_max >> 20
            );
            self.narrow(event, Cause::Memory, text);
        }
        self.settle_single(replay);
    }

    /// Not every explanation is followed any more.
    fn narrow(&mut self, event: u64, cause: Cause, text: String) {
        self.narrowed.get_or_insert(Undecided {
            cause,
            key: None,
            events: (event, event),
            text,
        });
    }

    /// The last hypothesis is contradicted, but some were dropped at a limit: this proves
    /// nothing, and the replayed content is lost.
    fn lose(&mut self) -> Stop {
        self.is_lost = true;
        assert!(self.narrowed.is_some(), "only a beam is lost");
        Stop::Undecided
    }

    /// Where hypotheses were dropped first, if the rest came to nothing.
    pub fn loss(&self) -> Option<&Undecided> {
        self.narrowed.as_ref().filter(|_| self.is_lost)
    }

    /// How many gaps were filled.
    pub fn gaps(&self) -> u64 {
        self.counts.gaps
    }

    /// How many hypotheses became one with another.
    pub fn merged(&self) -> u64 {
        self.counts.merged
    }

    /// The most hypotheses that were followed at once.
    pub fn hypotheses_max(&self) -> usize {
        self.counts.hypotheses_max
    }

    /// Bytes held beside the versions of keys, estimated.
    pub fn table_bytes(&self) -> usize {
        // A request of unknown outcome is kept a second time, to know its equals by, and what
        // it writes a third time.
        let operations = 3 * self.unknown.len();
        let answers = self.revocations.len();
        let hypotheses = self.hypotheses.iter();
        let of_each = hypotheses.map(|hypothesis| {
            hypothesis.placed.len() * PLACED_BYTES + hypothesis.undetermined.bytes()
        });
        operations * (size_of::<Open>() + CONTENT_BYTES)
            + answers * (size_of::<Done>() + size_of::<Open>() + 2 * CONTENT_BYTES)
            + of_each.sum::<usize>()
    }
}
