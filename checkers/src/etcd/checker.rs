//! The coordinator of the three rooms, which is the public checker.

use veridical_histories::etcd::{EtcdEvent, KeyValue, Request};
use veridical_histories::{EventKind, OperationId};

use super::comparisons::{Compared, compare_answer, compare_delivery, compare_refusal};
use super::hypotheses::Hypotheses;
use super::initial::{self, InitialContentError};
use super::intake::{Delivery, Intake, Step};
use super::memory::TABLE_LOOK_EVENTS;
use super::objection::{Contradiction, Stop};
use super::operation::{Done, Open};
use super::replay::{Replay, StillNeeded};
use super::{EtcdOptions, EtcdStatistics};
use crate::verdict::{
    Cause, Malformed, MalformedReason, Rejection, Undecided, Verdict, Violation, ViolationKind,
};

/// With more combinations of hypotheses and operations of unknown outcome than this, one
/// gap may leave a crowd of hypotheses.
const CROWD: usize = 64;

/// The online checker. See the module's header.
#[derive(Debug)]
pub struct EtcdChecker {
    options: EtcdOptions,
    /// How many events were taken in.
    events: u64,
    /// The first contradiction; nothing is checked after it.
    violation: Option<Box<Violation>>,
    /// The first part that could not be decided.
    undecided: Option<Undecided>,
    /// The bytes that versions may take, and tables as many.
    bytes_max: usize,
    /// Whether the tables did not fit into the memory allowed, and nothing is checked any
    /// more.
    has_given_up: bool,
    /// Whether the history is over: nothing more will be seen.
    has_ended: bool,

    intake: Intake,
    replay: Replay,
    hypotheses: Hypotheses,
}

impl EtcdChecker {
    /// A checker at the start of a history.
    pub fn new(options: EtcdOptions) -> Self {
        let bytes_max = usize::MAX;
        let (revision, tolerance_ns) = (options.initial_revision, options.lease_tolerance_ns);
        Self {
            events: 0,
            violation: None,
            undecided: None,
            bytes_max,
            has_given_up: false,
            has_ended: false,
            intake: Intake::new(revision, tolerance_ns),
            replay: Replay::new(revision, options.retain_revisions, bytes_max),
            hypotheses: Hypotheses::new(&options, bytes_max),
            options,
        }
    }

    /// A checker of a store that holds `content` at [`EtcdOptions::initial_revision`]. What the
    /// store held before that is not known: answers about it are undecided.
    ///
    /// # Errors
    /// No store holds that, or a lease may take some of it away.
    pub fn with_content(
        options: EtcdOptions,
        content: &[KeyValue],
    ) -> Result<Self, InitialContentError> {
        let stored = initial::stored(content, options.initial_revision)?;
        let mut checker = Self::new(options);
        for (key, stored) in stored {
            checker.replay.insert_initial(key, stored);
        }
        Ok(checker)
    }

    /// Keeps fewer than [`EtcdOptions::retain_revisions`] where they would take more than
    /// half of `limit_bytes`; the other half is for tables, and for what is in flight. A
    /// read or a watch that needs what was dropped is undecided; where the tables do not
    /// fit, everything after it is.
    pub fn limit_memory(&mut self, limit_bytes: Option<u64>) {
        let limit = limit_bytes.and_then(|limit| usize::try_from(limit).ok());
        self.bytes_max = limit.map_or(usize::MAX, |limit| limit / 2);
        self.replay.limit_bytes(self.bytes_max);
        self.hypotheses.limit_bytes(self.bytes_max);
    }

    /// Takes the next event in.
    ///
    /// # Errors
    /// [`Rejection::Violation`] at the first event that shows the history to be wrong,
    /// and for every event after it; [`Rejection::Malformed`] where the event cannot
    /// follow those before it, which leaves the checker as it was.
    pub fn observe(&mut self, event: &EtcdEvent) -> Result<(), Rejection> {
        self.observe_owned(event.clone())
    }

    /// As [`EtcdChecker::observe`], without the copy.
    ///
    /// # Errors
    /// As [`EtcdChecker::observe`].
    pub fn observe_owned(&mut self, event: EtcdEvent) -> Result<(), Rejection> {
        if let Some(violation) = &self.violation {
            return Err(Rejection::Violation(violation.clone()));
        }
        self.look_at_tables();
        let result = match self.has_given_up {
            true => Ok(()),
            false => self.take_in(event),
        };
        let number = self.events;
        self.events += 1;
        match result {
            Ok(()) => Ok(()),
            Err(Stop::Malformed(reason)) => Err(Malformed {
                event: number,
                reason,
            }
            .into()),
            Err(Stop::Violation(contradiction)) => {
                let violation = violation(*contradiction, number);
                self.violation = Some(violation.clone());
                Err(Rejection::Violation(violation))
            }
            // The rest goes on being checked.
            Err(Stop::Undecided) => {
                self.record_loss();
                Ok(())
            }
        }
    }

    /// Ends the history: operations still open count as unknown.
    pub fn finish(&mut self) -> Verdict {
        if self.violation.is_none() {
            match self.end() {
                Ok(()) => {}
                Err(Stop::Undecided) => self.record_loss(),
                Err(Stop::Violation(contradiction)) => {
                    self.violation = Some(violation(*contradiction, self.events));
                }
                Err(Stop::Malformed(reason)) => unreachable!("no event was taken in: {reason}"),
            }
        }
        match (&self.violation, &self.undecided) {
            (Some(violation), _) => Verdict::Violation(violation.clone()),
            (None, Some(undecided)) => Verdict::Unknown(undecided.clone()),
            (None, None) => Verdict::Ok,
        }
    }

    /// Counts so far.
    pub fn statistics(&self) -> EtcdStatistics {
        EtcdStatistics {
            events: self.events,
            operations: self.intake.operations(),
            unknown_outcomes: self.intake.unknown_outcomes(),
            revisions: self.replay.applied() - self.options.initial_revision,
            gaps: self.hypotheses.gaps(),
            merged: self.hypotheses.merged(),
            watch_responses: self.intake.watches().responses(),
            hypotheses_max: self.hypotheses.hypotheses_max(),
            pending_max: self.intake.backlog().pending_max(),
            kept_revisions_max: self.replay.kept_revisions_max(),
        }
    }

    /// Keys that exist now or did within the window of old revisions.
    pub fn live_keys(&self) -> usize {
        self.replay.keys()
    }

    /// The greatest revision that has been replayed and agreed.
    pub fn revision(&self) -> i64 {
        self.replay.applied()
    }

    /// The operations of unknown outcome that are not certainly placed.
    pub fn unplaced(&self) -> impl Iterator<Item = OperationId> + '_ {
        self.hypotheses.unplaced()
    }

    /// Bytes held for the versions of keys, estimated.
    pub fn version_bytes(&self) -> usize {
        self.replay.version_bytes()
    }

    /// Bytes held beside the versions of keys, estimated.
    pub fn table_bytes(&self) -> usize {
        self.intake.table_bytes() + self.hypotheses.table_bytes() + self.replay.table_bytes()
    }

    /// Gives up where the tables do not fit. They are looked at now and then.
    fn look_at_tables(&mut self) {
        if self.has_given_up
            || !self.events.is_multiple_of(TABLE_LOOK_EVENTS)
            || self.table_bytes() <= self.bytes_max
        {
            return;
        }
        self.undecided(
            Cause::Memory,
            self.events,
            "leases, sessions, watches and what is in flight do not fit into the memory \
             allowed; nothing is checked any further",
        );
        self.intake.reset();
        self.replay.reset();
        self.hypotheses.reset(&self.options);
        self.has_given_up = true;
    }

    /// Records that something cannot be decided; the first cause is kept.
    fn undecided(&mut self, cause: Cause, first_event: u64, text: impl Into<String>) {
        assert!(first_event <= self.events, "what is undecided has begun");
        let events = (first_event, self.events);
        self.undecided.get_or_insert_with(|| Undecided {
            cause,
            key: None,
            events,
            text: text.into(),
        });
    }

    /// The content is lost: only revisions are checked from now on.
    fn record_loss(&mut self) {
        let loss = self.hypotheses.loss();
        let loss = loss.expect("the content is lost where hypotheses were dropped");
        self.undecided.get_or_insert_with(|| loss.clone());
        self.intake.backlog_mut().clear();
    }

    fn take_in(&mut self, event: EtcdEvent) -> Result<(), Stop> {
        if let EventKind::Call { op, .. } = &event.kind
            && self.hypotheses.is_undetermined(*op)
        {
            return Err(Stop::Malformed(MalformedReason::CalledTwice(*op)));
        }
        let step = self
            .intake
            .receive(event, self.events, self.replay.applied())?;
        match step {
            Step::Nothing => Ok(()),
            Step::Replay => self.advance(),
            Step::Undetermined(open) => {
                self.add_undetermined(open);
                self.advance()
            }
            Step::NoEffect { open, return_ns } => self.had_no_effect(&open, return_ns),
            Step::Refused { refusal, error } => {
                self.had_no_effect(&refusal.open, refusal.return_ns)?;
                self.intake.end_refused(refusal, &error)
            }
            Step::Written(done) => self.written(done),
            Step::Observed(done) => self.observed(done),
            Step::Revoked(done) => self.revoked(done),
            Step::KeptAlive { done, lease } => {
                let (leases, replay) = (self.intake.leases(), &mut self.replay);
                let kept_alive = (&done, lease);
                self.hypotheses
                    .check_kept_alive(replay, leases, self.events, kept_alive)
            }
            Step::Delivered(delivery) => self.delivered(delivery),
        }
    }

    fn add_undetermined(&mut self, open: Box<Open>) {
        if open.request.may_write() {
            self.hypotheses.add_undetermined(open);
        }
    }

    fn had_no_effect(&mut self, open: &Open, return_ns: u64) -> Result<(), Stop> {
        self.hypotheses
            .exclude(&mut self.replay, self.events, open, return_ns)?;
        self.advance()
    }

    /// An operation returned that has a revision of its own.
    fn written(&mut self, done: Done) -> Result<(), Stop> {
        if self.hypotheses.is_lost() {
            return Ok(());
        }
        let (revision, replay) = (done.header.revision, &mut self.replay);
        if revision <= replay.applied() {
            self.hypotheses.confirm_write(replay, self.events, &done)?;
            return self.advance();
        }
        if let Some(other) = self.intake.backlog().writer_at(revision) {
            let contradiction = Contradiction::new(
                ViolationKind::DuplicateRevision,
                format!("revision {revision} to be written once"),
                "two writes at this revision",
                vec![other.witness(), done.witness()],
            );
            return Err(contradiction.into());
        }
        self.hypotheses
            .exclude(replay, self.events, &done.open, done.return_ns)?;
        self.intake.backlog_mut().push_writer(done);
        self.advance()
    }

    /// An operation returned that changed nothing.
    fn observed(&mut self, done: Done) -> Result<(), Stop> {
        if self.hypotheses.is_lost() {
            return Ok(());
        }
        let replay = &mut self.replay;
        self.hypotheses
            .exclude(replay, self.events, &done.open, done.return_ns)?;
        if let Request::Compact { revision } = &done.open.request {
            self.intake.acknowledge_compaction(*revision);
        }
        if done.header.revision > self.replay.applied() {
            self.intake.backlog_mut().push_observer(done);
            return self.advance();
        }
        self.check_observer(&done)
    }

    /// A lease was revoked: its revision is somewhere up to the one in the answer.
    fn revoked(&mut self, done: Done) -> Result<(), Stop> {
        if self.hypotheses.is_lost() {
            return Ok(());
        }
        self.hypotheses.add_revocation(done.clone());
        if done.header.revision > self.replay.applied() {
            self.intake.backlog_mut().push_observer(done);
            return self.advance();
        }
        self.advance()?;
        self.check_observer(&done)
    }

    /// A watch was sent all that it wants to know of some revisions.
    fn delivered(&mut self, delivery: Delivery) -> Result<(), Stop> {
        if delivery.upto <= self.replay.applied() {
            return self.check_delivery(&delivery);
        }
        if !self.hypotheses.is_lost() {
            self.intake.backlog_mut().push_delivery(delivery);
        }
        self.advance()
    }

    /// Replays as far as the next revision is known.
    fn advance(&mut self) -> Result<(), Stop> {
        while !self.hypotheses.is_lost() {
            let next = self.replay.applied() + 1;
            if let Some(done) = self.intake.backlog_mut().take_writer(next) {
                self.replay_write(&done)?;
            } else if self.is_gap_due(next) {
                let (replay, intake) = (&mut self.replay, &self.intake);
                self.hypotheses
                    .fill_gap(replay, intake, self.events, next)?;
            } else {
                return Ok(());
            }
            self.replay.advance_to(next);
            self.settle(next)?;
            self.collect_garbage();
        }
        Ok(())
    }

    /// Whether revision `next` exists, nobody will claim it, and nothing more is waited for.
    fn is_gap_due(&self, next: i64) -> bool {
        self.intake.backlog().seen_revision() >= next
            && self.may_fill(next)
            && !self.awaits_evidence(next)
    }

    /// Whether the gap at `next` is to be filled now: no operation that may still return
    /// with this revision is in flight, or enough answers wait for it.
    fn may_fill(&self, next: i64) -> bool {
        let oldest_floor = self.intake.in_flight().oldest_writer_floor();
        oldest_floor.is_none_or(|floor| floor >= next)
            || self.options.patience == 0
            || self.intake.backlog().pending() > self.options.patience
    }

    /// Whether something may still be seen of revision `next` that distinguishes its
    /// possible writers.
    fn awaits_evidence(&self, next: i64) -> bool {
        if self.has_ended {
            return false;
        }
        let usual = self.options.evidence_patience;
        let patience = match self.hypotheses.combinations() {
            ..=CROWD => usual,
            _ => usual.max(self.options.crowded_patience),
        };
        self.intake.backlog().pending() <= patience
            && patience > 0
            && self.intake.backlog().evidence_at(next).is_empty()
            && self.hypotheses.has_choice(next, &self.replay)
    }

    /// Carries out an acknowledged write at the next revision.
    fn replay_write(&mut self, done: &Done) -> Result<(), Stop> {
        self.check_refusals(Some(done.open.call_event))?;
        let revision = done.header.revision;
        if let Some(sighting) = self.intake.backlog().first_sighting()
            && sighting.at_event < done.open.call_event
        {
            let contradiction = Contradiction::new(
                ViolationKind::UnexplainedRevision,
                format!(
                    "revision {revision}, seen at {} ns, to be written by then",
                    sighting.at_ns
                ),
                "it was written by an operation called later",
                vec![done.witness()],
            );
            return Err(contradiction.into());
        }
        let (replay, leases) = (&mut self.replay, self.intake.leases());
        self.hypotheses
            .replay_write(replay, leases, self.events, done)
    }

    /// Compares everything that waited for `revision`, which is replayed.
    fn settle(&mut self, revision: i64) -> Result<(), Stop> {
        self.intake.backlog_mut().forget_seen(revision);
        for done in self.intake.backlog_mut().take_observers(revision) {
            self.check_observer(&done)?;
        }
        for delivery in self.intake.backlog_mut().take_deliveries(revision) {
            self.check_delivery(&delivery)?;
        }
        Ok(())
    }

    /// Compares an answer with the state after its revision, which is replayed.
    fn check_observer(&mut self, done: &Done) -> Result<(), Stop> {
        let (replay, leases) = (&mut self.replay, self.intake.leases());
        let compared = compare_answer(&mut self.hypotheses, replay, leases, self.events, done)?;
        self.record_forgotten(compared, done.open.call_event);
        Ok(())
    }

    /// Compares a delivery with the revisions that it speaks of, which are replayed.
    fn check_delivery(&mut self, delivery: &Delivery) -> Result<(), Stop> {
        if self.hypotheses.is_lost() {
            return Ok(());
        }
        let (replay, intake) = (&mut self.replay, &self.intake);
        let compared =
            compare_delivery(&mut self.hypotheses, replay, intake, self.events, delivery)?;
        self.record_forgotten(compared, delivery.at_event);
        self.intake.forget_ended(delivery.watch);
        Ok(())
    }

    /// Checks refusals for missing keys. Where the next revision was written by an operation
    /// called at the event `written_by_call`, those that returned before it have to be
    /// possible by now.
    fn check_refusals(&mut self, written_by_call: Option<u64>) -> Result<(), Stop> {
        for refusal in self.intake.backlog_mut().take_refusals(written_by_call) {
            let replay = &mut self.replay;
            compare_refusal(&mut self.hypotheses, replay, self.events, &refusal)?;
        }
        Ok(())
    }

    /// Records that something could not be compared since its event `first_event`.
    fn record_forgotten(&mut self, compared: Compared, first_event: u64) {
        match compared {
            Compared::Fits => {}
            Compared::Forgotten(text) => self.undecided(Cause::Retention, first_event, text),
        }
    }

    /// Forgets the revisions that nobody may ask for any more.
    fn collect_garbage(&mut self) {
        let intake = &self.intake;
        self.replay.collect_garbage(|| {
            let in_flight = intake.in_flight().oldest_floor();
            let refused = intake.backlog().oldest_refused();
            let oldest = in_flight.into_iter().chain(refused).min();
            StillNeeded {
                in_flight: oldest.unwrap_or(i64::MAX),
                watched: intake.watched_from().min().unwrap_or(i64::MAX),
            }
        });
    }

    /// Ends the history.
    fn end(&mut self) -> Result<(), Stop> {
        while let Some(open) = self.intake.pop_in_flight() {
            self.add_undetermined(open);
        }
        self.has_ended = true;
        self.advance()?;
        if self.hypotheses.may_go_on(&self.replay) {
            return Ok(());
        }
        self.check_refusals(None)
    }
}

/// The violation that a contradiction is, found at the event with number `event`.
fn violation(contradiction: Contradiction, event: u64) -> Box<Violation> {
    Box::new(Violation {
        kind: contradiction.kind,
        key: None,
        event,
        expected: contradiction.mismatch.expected,
        got: contradiction.mismatch.got,
        operations: contradiction.operations,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "what is undecided has begun")]
    fn nothing_is_undecided_that_has_not_happened() {
        let mut checker = EtcdChecker::new(EtcdOptions::default());
        checker.undecided(Cause::Retention, 5, "too early");
    }

    #[test]
    #[should_panic(expected = "where hypotheses were dropped")]
    fn the_content_is_not_lost_without_a_reason() {
        EtcdChecker::new(EtcdOptions::default()).record_loss();
    }
}
