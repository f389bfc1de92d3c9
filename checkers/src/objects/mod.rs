//! Histories of single objects: the right engine for each key.
//!
//! Registers and maps begin in engine B. A key goes over to engine A when something
//! happens that B cannot tell apart (a value written twice at once, a refusal that several
//! things explain) and comes back when nothing is open and the value is certain. Queues and
//! stacks begin in engine D and go over to A in the same way. All other models are engine
//! A's.

mod active;
mod collections;
mod conflict;
mod ends;
mod frontier;
mod idle;
mod memory;
mod packed;
mod retire;
mod sets;
mod spill;
mod statistics;
mod wanted;

use rustc_hash::FxHashMap;
use veridical_histories::object::{Action, ObjectEvent, Request, Value};
use veridical_histories::{EventKind, OperationId};

use crate::collections::Collection;
use crate::feed::{FeedVerdict, FrontierFeed};
use crate::model::Model;
use crate::models::{ObjectKind, ObjectModel};
use crate::online::CheckerOptions;
use crate::verdict::{
    Malformed, MalformedReason, Rejection, Undecided, Verdict, Violation, ViolationKind,
    WitnessOperation,
};
use crate::witness::{Recorded, Recording};
use crate::zones::{Trace, Zones};
pub(crate) use frontier::ObjectFrontier;
use idle::IdleKeys;
use sets::IdleSets;
use spill::Spill;
pub use statistics::ObjectStatistics;
use wanted::{OpenCall, Wanted};

/// Operations of the checker's own making have numbers from here on.
const FIRST_TOKEN: u64 = 1 << 63;
/// Emptied structures kept for the next key that becomes active.
const SPARE_ZONES_MAX: usize = 1024;
/// Keys that stay ready although nobody uses them; more are packed.
const READY_KEYS_MAX: usize = 4096;
/// What the tables take that are always there.
const BYTES_MIN: usize = 4 << 20;
/// Keys retired between two looks at the memory they take.
const RETIRED_PER_LOOK: u32 = 4096;

/// A key that is judged by engine A.
#[derive(Debug)]
struct FrontierEngine {
    feed: FrontierFeed<ObjectModel, ObjectFrontier>,
    recording: Recording<ObjectModel>,
    /// Tokens of open writes that have taken effect already.
    settled: Vec<u64>,
    /// How often nothing was open while something had to be remembered.
    quiet_points: u32,
}

#[derive(Debug)]
enum Engine {
    Zones(Zones),
    Collection(Box<Collection>),
    Frontier(Box<FrontierEngine>),
    /// The key is too large for the memory allowed, and is not judged any more.
    GivenUp,
}

#[derive(Debug)]
struct ActiveKey {
    key: Value,
    /// The name by which the key is found, where that is not the key itself: sets and their
    /// elements have one.
    place: Option<Value>,
    engine: Engine,
}

/// Checks a history of single objects while it happens.
#[derive(Debug)]
pub struct ObjectChecker {
    model: ObjectModel,
    options: CheckerOptions,
    begins_in_zones: bool,
    idle: IdleKeys,
    sets: IdleSets,
    /// Whether keys that nobody is using are remembered; not once they took too much.
    knows_idle: bool,
    /// Idle keys beyond `idle_bytes_max`.
    spill: Spill,
    idle_bytes_max: usize,
    bytes_max: usize,
    /// At how many events the memory in use is looked at next.
    next_look: u64,
    /// Retired keys until the size of `idle` is looked at again.
    retired_until_look: u32,
    spill_error: Option<std::io::Error>,
    /// Active keys by slot; `None` where the slot is free.
    active: Vec<Option<ActiveKey>>,
    free: Vec<u32>,
    slots: FxHashMap<Value, u32>,
    /// Open operations by their number.
    open: FxHashMap<u64, OpenCall>,
    spare: Vec<Zones>,
    statistics: ObjectStatistics,
    next_token: u64,
    undecided: Option<Undecided>,
    violation: Option<Box<Violation>>,
}

impl ObjectChecker {
    /// A checker at the start of a history.
    pub fn new(model: ObjectModel, options: CheckerOptions) -> Self {
        let begins_in_zones = matches!(
            model.kind(),
            ObjectKind::Register | ObjectKind::CasRegister | ObjectKind::Kv
        );
        Self {
            model,
            options,
            begins_in_zones,
            idle: IdleKeys::new(),
            sets: IdleSets::default(),
            knows_idle: true,
            spill: Spill::default(),
            idle_bytes_max: usize::MAX,
            bytes_max: usize::MAX,
            next_look: u64::MAX,
            retired_until_look: RETIRED_PER_LOOK,
            spill_error: None,
            active: Vec::new(),
            free: Vec::new(),
            slots: FxHashMap::default(),
            open: FxHashMap::default(),
            spare: Vec::new(),
            statistics: ObjectStatistics::default(),
            next_token: FIRST_TOKEN,
            undecided: None,
            violation: None,
        }
    }

    /// Counts so far.
    pub fn statistics(&self) -> ObjectStatistics {
        ObjectStatistics {
            active_keys: self.slots.len(),
            idle_keys: self.idle.len() + self.sets.len(),
            ..self.statistics
        }
    }

    /// Bytes held for idle keys, estimated.
    pub fn idle_bytes(&self) -> usize {
        self.idle.bytes() + self.spill.bytes() + self.sets.bytes()
    }

    /// Keeps the memory in use within `limit_bytes`. Idle keys are moved to temporary files
    /// once they take half of it; the other half is for the holes that growing tables leave
    /// behind (two thirds of their size were measured) and for what is active. An active key
    /// that does not fit, or takes a quarter of it by itself, is undecided. No key is given up for a limit below 4 MiB, which
    /// tables take that are always there.
    pub fn limit_memory(&mut self, limit_bytes: Option<u64>) {
        let limit = limit_bytes.and_then(|limit| usize::try_from(limit).ok());
        self.idle_bytes_max = limit.map_or(usize::MAX, |limit| limit / 2);
        self.bytes_max = limit.map_or(usize::MAX, |limit| limit.max(BYTES_MIN));
        self.next_look = if limit.is_some() { 0 } else { u64::MAX };
    }

    /// Why idle keys could not be moved to disk or read from there, once. The verdict is
    /// worth nothing then.
    pub fn take_spill_error(&mut self) -> Option<std::io::Error> {
        self.spill_error.take()
    }

    fn spill_idle(&mut self) {
        self.retired_until_look = RETIRED_PER_LOOK;
        if self.idle.bytes() + self.spill.bytes() > self.idle_bytes_max
            && let Err(error) = self.spill.push(&mut self.idle)
        {
            self.spill_error.get_or_insert(error);
        }
    }

    /// The value of an idle key; `None` where it is the initial one.
    fn held(&mut self, key: &Value) -> Option<Value> {
        if let Some(value) = self.idle.get(key) {
            return Some(value);
        }
        if self.spill.is_empty() {
            return None;
        }
        match self.spill.get(key) {
            Ok(value) => value,
            Err(error) => {
                self.spill_error.get_or_insert(error);
                None
            }
        }
    }

    /// Takes the next event in.
    ///
    /// # Errors
    /// As [`crate::Checker::observe`].
    pub fn observe(&mut self, event: &ObjectEvent) -> Result<(), Rejection> {
        self.observe_at(self.statistics.events, event)
    }

    /// Takes an event in whose number in the whole history is `at`; numbers ascend. For
    /// histories that are divided over several checkers by key.
    ///
    /// # Errors
    /// As [`crate::Checker::observe`].
    #[inline]
    pub fn observe_at(&mut self, at: u64, event: &ObjectEvent) -> Result<(), Rejection> {
        if let Some(violation) = &self.violation {
            return Err(Rejection::Violation(violation.clone()));
        }
        self.statistics.events += 1;
        // Event 0 is before everything in engine B.
        let now = at + 1;
        self.mind_memory(now);
        match &event.kind {
            EventKind::Call { op, input } => self.call(now, event, *op, input),
            EventKind::Return { op, output } => {
                let open = self.close(now, *op)?;
                if !open.wanted.is_answered_by(&self.model, output) {
                    return Err(self.malformed(now, MalformedReason::OutputOfOtherKind(*op)));
                }
                self.statistics.operations += 1;
                self.returned(now, event.time_ns, *op, open, output)
            }
            EventKind::Unknown { op } => {
                let open = self.close(now, *op)?;
                self.statistics.unknown_outcomes += 1;
                self.ended(now, *op, open, true)
            }
            EventKind::Failed { op } => {
                let open = self.close(now, *op)?;
                self.ended(now, *op, open, false)
            }
            EventKind::Note { note } => match *note {},
        }
    }

    fn malformed(&self, now: u64, reason: MalformedReason) -> Rejection {
        Rejection::Malformed(Malformed {
            event: now - 1,
            reason,
        })
    }

    fn close(&mut self, now: u64, op: OperationId) -> Result<OpenCall, Rejection> {
        match self.open.remove(&op.0) {
            Some(open) => Ok(open),
            None => Err(self.malformed(now, MalformedReason::NotOpen(op))),
        }
    }

    #[inline]
    fn call(
        &mut self,
        now: u64,
        event: &ObjectEvent,
        op: OperationId,
        request: &Request,
    ) -> Result<(), Rejection> {
        if op.0 >= FIRST_TOKEN || self.open.contains_key(&op.0) {
            return Err(self.malformed(now, MalformedReason::CalledTwice(op)));
        }
        if !self.model.knows(&request.action) {
            return Err(self.malformed(now, MalformedReason::InputOfOtherKind(op)));
        }
        let wanted = Wanted::of(&request.action);
        let slot = match self.judges_sets() {
            true => self.activate_set(request, now),
            false => self.activate(self.model.key(request), now),
        };
        let needs_frontier = match &mut self.active_at(slot).engine {
            Engine::Frontier(_) | Engine::GivenUp => false,
            Engine::Collection(_) => !self.collection_called(slot, now, event, op, &request.action),
            Engine::Zones(zones) => {
                let trace = Trace {
                    op,
                    client: event.client,
                    call_ns: event.time_ns,
                    return_ns: None,
                    is_write: true,
                    is_refused: false,
                };
                match (&wanted, wanted.written()) {
                    (Wanted::Read, _) => {
                        zones.read_called(now);
                        false
                    }
                    (_, None) => true,
                    (_, Some(to)) if zones.is_ambiguous(to, now) => true,
                    (Wanted::Other(action), Some(to)) => {
                        let Action::Cas { from, .. } = &**action else {
                            unreachable!("{action} writes no value of its own");
                        };
                        if from != to {
                            zones.cas_called(from.clone(), to.clone(), now, trace);
                        }
                        from == to
                    }
                    (_, Some(value)) => {
                        zones.write_called(value.clone(), now, trace);
                        false
                    }
                }
            }
        };
        if needs_frontier {
            self.hand_over(slot, now);
        }
        if let Engine::Frontier(frontier) = &mut self.active_at(slot).engine {
            frontier.feed.call(op.0, request.clone());
            frontier.recording.call(Recorded {
                op,
                client: event.client,
                call_event: now,
                call_ns: event.time_ns,
                input: request.clone(),
                end: None,
            });
        }
        let (client, call_ns) = (event.client, event.time_ns);
        self.open.insert(
            op.0,
            OpenCall {
                slot,
                call_event: now,
                client,
                call_ns,
                wanted,
            },
        );
        Ok(())
    }

    fn active_at(&mut self, slot: u32) -> &mut ActiveKey {
        self.active[slot as usize]
            .as_mut()
            .expect("slots of open operations are active")
    }

    /// Lets the engine take in what it can, and retires the key if it is idle.
    #[inline]
    fn settle(&mut self, now: u64, slot: u32) -> Result<(), Rejection> {
        let limit = self.options.configurations_max;
        let active = self.active[slot as usize]
            .as_mut()
            .expect("slots of open operations are active");
        match &mut active.engine {
            Engine::Zones(zones) => {
                if zones.is_idle(now) && self.slots.len() > READY_KEYS_MAX {
                    self.retire_zones(slot);
                }
                Ok(())
            }
            Engine::Collection(collection) => {
                let most = &mut self.statistics.clusters_max;
                *most = collection.len().max(*most);
                if collection.is_idle() && self.slots.len() > READY_KEYS_MAX {
                    self.release(slot);
                }
                Ok(())
            }
            Engine::GivenUp => Ok(()),
            Engine::Frontier(frontier) => {
                let verdict = frontier.feed.advance(&self.model, limit);
                let (configurations, _) = frontier.feed.counts();
                let most = &mut self.statistics.configurations_max;
                *most = configurations.max(*most);
                match verdict {
                    FeedVerdict::Explained => {}
                    FeedVerdict::Violation { event } => return self.contradicted(slot, event),
                    FeedVerdict::Unknown { cause, first_event } => {
                        let key = active.key.to_string();
                        self.undecided.get_or_insert_with(|| Undecided {
                            cause,
                            key: Some(key),
                            events: (first_event.saturating_sub(1), now - 1),
                            text: "more configurations than allowed, and the bounds disagree"
                                .to_owned(),
                        });
                    }
                }
                self.retire_from_frontier(slot, now);
                Ok(())
            }
        }
    }

    fn contradicted(&mut self, slot: u32, event: u64) -> Result<(), Rejection> {
        let limit = self.options.configurations_max;
        let active = self.active[slot as usize]
            .as_ref()
            .expect("the key is active");
        let Engine::Frontier(frontier) = &active.engine else {
            unreachable!("engine A contradicts")
        };
        let minimal = frontier
            .recording
            .minimize::<ObjectFrontier>(&self.model, event, limit);
        let operations: Vec<WitnessOperation> = minimal
            .operations
            .iter()
            .map(|recorded| {
                let mut witness = recorded.witness(&self.model);
                // Operations of the checker's own making stand for forgotten ones.
                witness.op = witness.op.filter(|op| op.0 < FIRST_TOKEN);
                witness
            })
            .collect();
        let last = operations
            .iter()
            .max_by_key(|operation| operation.return_ns);
        let got = last.map_or_else(String::new, |last| last.text.clone());
        let states: Vec<String> = minimal
            .states
            .iter()
            .map(conflict::describe_state)
            .collect();
        let violation = Box::new(Violation {
            kind: ViolationKind::NotLinearizable,
            key: Some(active.key.to_string()),
            event: minimal.event.saturating_sub(1),
            expected: format!(
                "an order of these operations that explains them, from {}",
                states.join(" or ")
            ),
            got: format!("none; the last answer is {got}"),
            operations,
        });
        self.violation = Some(violation.clone());
        Err(Rejection::Violation(violation))
    }

    /// Ends the history: operations still open count as unknown.
    pub fn finish(&mut self) -> Verdict {
        let now = self.statistics.events + 1;
        for slot in 0..self.active.len() {
            if self.violation.is_some() {
                break;
            }
            if let Some(ActiveKey {
                engine: Engine::Collection(_),
                ..
            }) = &self.active[slot]
                && self.finish_collection(slot as u32, now).is_err()
            {
                break;
            }
            if let Some(ActiveKey {
                engine: Engine::Frontier(frontier),
                ..
            }) = &mut self.active[slot]
            {
                frontier.feed.finish();
                // The outcome is in `violation` and `undecided`.
                let _ = self.settle(now, slot as u32);
            }
        }
        match (&self.violation, &self.undecided) {
            (Some(violation), _) => Verdict::Violation(violation.clone()),
            (None, Some(undecided)) => Verdict::Unknown(undecided.clone()),
            (None, None) => Verdict::Ok,
        }
    }
}
