//! How operations end: told to the engine of their key, which may have to hand over.

use veridical_histories::OperationId;
use veridical_histories::object::{Action, Answer};

use super::wanted::{OpenCall, Wanted};
use super::{Engine, ObjectChecker, conflict};
use crate::verdict::{MalformedReason, Rejection};
use crate::zones::{ClusterTrace, Conflict, Refused, Span, Trace};

/// What engine B makes of an answer.
enum Judged {
    Explained,
    /// Engine A has to judge it.
    Ambiguous,
    Conflict(Box<Conflict>),
    /// The answer does not belong to the request.
    OfOtherKind,
}

impl From<Result<(), Box<Conflict>>> for Judged {
    fn from(result: Result<(), Box<Conflict>>) -> Self {
        match result {
            Ok(()) => Self::Explained,
            Err(conflict) => Self::Conflict(conflict),
        }
    }
}

impl ObjectChecker {
    #[inline]
    pub(super) fn returned(
        &mut self,
        now: u64,
        return_ns: u64,
        op: OperationId,
        open: OpenCall,
        answer: &Answer,
    ) -> Result<(), Rejection> {
        let slot = open.slot;
        if let Engine::Zones(_) = &self.active_at(slot).engine {
            match self.zones_returned(now, return_ns, op, &open, answer) {
                Judged::Explained => {
                    self.statistics.zones_operations += 1;
                    return self.settle(now, slot);
                }
                Judged::Conflict(conflict) => return self.conflict(now, slot, &conflict),
                Judged::OfOtherKind => {
                    return Err(self.malformed(now, MalformedReason::OutputOfOtherKind(op)));
                }
                Judged::Ambiguous => {
                    self.open.insert(op.0, open.clone());
                    self.hand_over(slot, now);
                    self.open.remove(&op.0);
                }
            }
        }
        if let Engine::Collection(_) = &self.active_at(slot).engine {
            if self.collection_returned(now, return_ns, op, &open, answer)? {
                return self.settle(now, slot);
            }
            self.hand_over(slot, now);
        }
        let active = self.active[slot as usize]
            .as_mut()
            .expect("slots of open operations are active");
        let Engine::Frontier(frontier) = &mut active.engine else {
            return Ok(());
        };
        self.statistics.frontier_operations += 1;
        frontier
            .recording
            .returned(op, now, return_ns, answer.clone());
        match frontier.settled.iter().position(|settled| *settled == op.0) {
            Some(at) => {
                frontier.settled.swap_remove(at);
                if *answer == Answer::Applied(false) {
                    return self.read_of_failed(now, slot, &open.wanted);
                }
            }
            None => frontier.feed.returned(op.0, answer.clone(), now),
        }
        self.settle(now, slot)
    }

    /// Tells engine B of an answer.
    #[inline]
    fn zones_returned(
        &mut self,
        now: u64,
        return_ns: u64,
        op: OperationId,
        open: &OpenCall,
        answer: &Answer,
    ) -> Judged {
        let nil_is_wildcard = self.model.nil_is_wildcard();
        let Engine::Zones(zones) = &mut self.active_at(open.slot).engine else {
            unreachable!("engine B is told only of its own keys");
        };
        let trace = |is_write| Trace {
            op,
            client: open.client,
            call_ns: open.call_ns,
            return_ns: Some(return_ns),
            is_write,
            is_refused: false,
        };
        let span = Span {
            call: open.call_event,
            returned: now,
        };
        let judged = match (&open.wanted, answer) {
            (Wanted::Read, Answer::Value(value)) if nil_is_wildcard && value.is_nil() => {
                zones.read_dropped(open.call_event);
                Judged::Explained
            }
            (Wanted::Read, Answer::Value(value)) => {
                zones.returned(value, span, trace(false)).into()
            }
            // Whether a deletion found something is engine A's to judge.
            (Wanted::Delete, Answer::Applied(_)) => Judged::Ambiguous,
            (wanted, Answer::Done | Answer::Applied(true)) if wanted.written().is_some() => {
                let value = wanted.written().expect("the guard asked for it");
                zones.returned(value, span, trace(true)).into()
            }
            (Wanted::Other(action), Answer::Applied(false)) => {
                let Action::Cas { from, to } = &**action else {
                    return Judged::OfOtherKind;
                };
                let refused = Trace {
                    is_refused: true,
                    ..trace(false)
                };
                match zones.refused(from, to, span, refused) {
                    Ok(Refused::Explained) => Judged::Explained,
                    Ok(Refused::Ambiguous) => Judged::Ambiguous,
                    Err(conflict) => Judged::Conflict(conflict),
                }
            }
            _ => return Judged::OfOtherKind,
        };
        let kept = zones.len();
        self.statistics.clusters_max = self.statistics.clusters_max.max(kept);
        judged
    }

    /// An operation ended without an answer.
    pub(super) fn ended(
        &mut self,
        now: u64,
        op: OperationId,
        open: OpenCall,
        is_unknown: bool,
    ) -> Result<(), Rejection> {
        let slot = open.slot;
        if let Engine::Collection(_) = &self.active_at(slot).engine {
            if self.collection_ended(now, op, &open, is_unknown)? {
                return self.settle(now, slot);
            }
            self.hand_over(slot, now);
        }
        match &mut self.active_at(slot).engine {
            Engine::Zones(zones) => {
                let result = match open.wanted.written() {
                    Some(value) if is_unknown => {
                        zones.write_unknown(value, open.call_event);
                        Ok(())
                    }
                    Some(value) => zones.write_failed(value, open.call_event),
                    None => {
                        zones.read_dropped(open.call_event);
                        Ok(())
                    }
                };
                if let Err(conflict) = result {
                    return self.conflict(now, slot, &conflict);
                }
            }
            Engine::Frontier(frontier) => {
                if !is_unknown {
                    frontier.recording.failed(op);
                }
                match frontier.settled.iter().position(|settled| *settled == op.0) {
                    // It took effect already, for somebody saw it.
                    Some(at) => {
                        frontier.settled.swap_remove(at);
                        if !is_unknown {
                            return self.read_of_failed(now, slot, &open.wanted);
                        }
                    }
                    None if is_unknown => frontier.feed.unknown(op.0),
                    None => frontier.feed.failed(op.0),
                }
            }
            Engine::Collection(_) => unreachable!("it was told above, or has handed over"),
            Engine::GivenUp => {}
        }
        self.settle(now, slot)
    }

    /// An operation had no effect, but somebody has seen what it wrote.
    fn read_of_failed(&mut self, now: u64, slot: u32, wanted: &Wanted) -> Result<(), Rejection> {
        let conflict = Conflict::ReadOfFailed {
            value: wanted.written().cloned().unwrap_or_default(),
            trace: ClusterTrace::default(),
        };
        self.conflict(now, slot, &conflict)
    }

    fn conflict(&mut self, now: u64, slot: u32, conflict: &Conflict) -> Result<(), Rejection> {
        let key = &self.active_at(slot).key;
        let violation = Box::new(conflict::violation(conflict, key, now - 1));
        self.violation = Some(violation.clone());
        Err(Rejection::Violation(violation))
    }
}
