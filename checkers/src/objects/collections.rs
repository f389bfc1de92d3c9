//! Queues and stacks: engine D while it can judge them, engine A otherwise.

use veridical_histories::OperationId;
use veridical_histories::object::{Action, Answer, ObjectEvent, Request, Value};

use super::{Engine, FIRST_TOKEN, FrontierEngine, ObjectChecker, ObjectFrontier, OpenCall};
use crate::collections::{Asked, Collection, Conflict, Moment, Retained, Span, minimize, moments};
use crate::feed::FrontierFeed;
use crate::model::Model;
use crate::models::ObjectState;
use crate::verdict::{Cause, Rejection, Undecided, Violation, ViolationKind, WitnessOperation};
use crate::witness::Recording;

impl OpenCall {
    fn span(&self, op: OperationId) -> Span {
        Span::called(op, self.client, self.call_event, self.call_ns)
    }
}

impl ObjectChecker {
    /// A collection that holds `values`, if objects of this kind are engine D's.
    pub(super) fn collection(&self, values: &[Value], now: u64) -> Option<Collection> {
        Collection::resume(self.model.kind(), values, now)
    }

    /// Tells engine D of a call; `false` where engine A has to take over.
    pub(super) fn collection_called(
        &mut self,
        slot: u32,
        now: u64,
        event: &ObjectEvent,
        op: OperationId,
        action: &Action,
    ) -> bool {
        let kind = self.model.kind();
        let Engine::Collection(collection) = &mut self.active_at(slot).engine else {
            return true;
        };
        let span = Span::called(op, event.client, now, event.time_ns);
        match Asked::of(kind, action) {
            Some(asked) => collection.called(span, &asked).is_ok(),
            None => false,
        }
    }

    /// Tells engine D of an answer; `false` where engine A has to take over first.
    pub(super) fn collection_returned(
        &mut self,
        now: u64,
        return_ns: u64,
        op: OperationId,
        open: &OpenCall,
        answer: &Answer,
    ) -> Result<bool, Rejection> {
        let kind = self.model.kind();
        let action = open.wanted.action();
        let Engine::Collection(collection) = &mut self.active_at(open.slot).engine else {
            return Ok(false);
        };
        let span = open.span(op).ended(now, return_ns);
        let result = match (Asked::of(kind, &action), answer) {
            (Some(Asked::Insert(value)), Answer::Done | Answer::Applied(true)) => {
                collection.inserted(span, value);
                Ok(())
            }
            (Some(Asked::Take), Answer::Value(value)) => collection.took(span, value),
            (Some(Asked::Take), Answer::Applied(false)) => collection.took(span, &Value::Nil),
            _ => return Ok(false),
        };
        self.statistics.collection_operations += 1;
        match result {
            Ok(()) => Ok(true),
            Err(conflict) => self.collection_conflict(now, open.slot, &conflict),
        }
    }

    /// Tells engine D that an operation ended without an answer; `false` where engine A
    /// has to take over first.
    pub(super) fn collection_ended(
        &mut self,
        now: u64,
        op: OperationId,
        open: &OpenCall,
        is_unknown: bool,
    ) -> Result<bool, Rejection> {
        let kind = self.model.kind();
        let action = open.wanted.action();
        let Engine::Collection(collection) = &mut self.active_at(open.slot).engine else {
            return Ok(false);
        };
        let span = open.span(op);
        let Some(asked) = Asked::of(kind, &action) else {
            return Ok(false);
        };
        let result = match is_unknown {
            true => return Ok(collection.unknown(span, &asked).is_ok()),
            false => collection.failed(span, &asked),
        };
        match result {
            Ok(()) => Ok(true),
            Err(conflict) => self.collection_conflict(now, open.slot, &conflict),
        }
    }

    /// Hands a key over from engine D to engine A.
    pub(super) fn hand_over_collection(&mut self, slot: u32, now: u64) {
        self.statistics.handovers += 1;
        let token = self.next_token;
        let active = self.active_at(slot);
        let key = active.key.clone();
        let Engine::Collection(collection) = &active.engine else {
            unreachable!("engine D hands over")
        };
        let settled = collection.taken_while_open();
        let Some(retained) = collection.retained(token) else {
            active.engine = Engine::GivenUp;
            self.undecided.get_or_insert_with(|| Undecided {
                cause: Cause::Retention,
                key: Some(key.to_string()),
                events: (now - 1, now - 1),
                text: "what engine A needs to take over reaches back further than is kept"
                    .to_owned(),
            });
            return;
        };
        self.next_token += retained.len() as u64;
        let initial = self.model.initial();
        let mut feed: FrontierFeed<_, ObjectFrontier> =
            FrontierFeed::new(&self.model, vec![initial.clone()]);
        let mut recording = Recording::new(vec![initial], self.options.witness_operations_max);
        for (index, moment) in moments(&retained) {
            let operation = &retained[index];
            let op = operation.span.op;
            match (moment, &operation.answer) {
                (Moment::Call, _) => {
                    let recorded = operation.recorded(&key);
                    feed.call(op.0, recorded.input.clone());
                    recording.call(recorded);
                    if operation.answer.is_none() && !operation.is_open {
                        feed.unknown(op.0);
                    }
                }
                (Moment::End, Some(answer)) => {
                    feed.returned(op.0, answer.clone(), operation.span.end);
                }
                (Moment::End, None) => unreachable!("only answers end an operation"),
            }
        }
        if retained.iter().any(Retained::is_instant) {
            recording.begins_unknown();
        }
        self.active_at(slot).engine = Engine::Frontier(Box::new(FrontierEngine {
            feed,
            recording,
            settled,
            quiet_points: 0,
        }));
    }

    /// Returns a key to engine D, if what is left is a sequence of different values.
    pub(super) fn resume_collection(&mut self, slot: u32, state: &ObjectState, now: u64) -> bool {
        let ObjectState::Sequence(values) = state else {
            return false;
        };
        let values: Vec<Value> = values.iter().cloned().collect();
        match self.collection(&values, now) {
            Some(collection) => {
                self.active_at(slot).engine = Engine::Collection(Box::new(collection));
                true
            }
            None => false,
        }
    }

    /// Ends the history for engine D: operations that are still open are of unknown outcome.
    pub(super) fn finish_collection(&mut self, slot: u32, now: u64) -> Result<(), Rejection> {
        let mut open: Vec<(OperationId, OpenCall)> = self
            .open
            .iter()
            .filter(|(_, open)| open.slot == slot)
            .map(|(op, open)| (OperationId(*op), open.clone()))
            .collect();
        // In order of their numbers, for tables have no order of their own.
        open.sort_unstable_by_key(|(op, _)| *op);
        for (op, open) in open {
            if !self.collection_ended(now, op, &open, true)? {
                self.hand_over_collection(slot, now);
                return Ok(());
            }
        }
        match &mut self.active_at(slot).engine {
            Engine::Collection(collection) => match collection.settle() {
                Ok(()) => Ok(()),
                Err(conflict) => self.collection_conflict(now, slot, &conflict).map(|_| ()),
            },
            Engine::Zones(_) | Engine::Frontier(_) | Engine::GivenUp => Ok(()),
        }
    }

    fn collection_conflict(
        &mut self,
        now: u64,
        slot: u32,
        conflict: &Conflict,
    ) -> Result<bool, Rejection> {
        let kind = self.model.kind();
        let active = self.active_at(slot);
        let key = active.key.clone();
        let Engine::Collection(collection) = &active.engine else {
            unreachable!("engine D found it")
        };
        let since = collection.suspected_since();
        let (witness, event) = minimize(kind, &collection.suspects(true), since, now)
            .or_else(|| minimize(kind, &collection.suspects(false), now, now))
            .unwrap_or_else(|| (collection.suspects(true), now));
        let shown = witness.iter().take(self.options.witness_operations_max);
        let operations = shown.map(|operation| {
            let request = Request {
                key: key.clone(),
                action: operation.action.clone(),
            };
            WitnessOperation {
                // Operations of the checker's own making stand for forgotten ones.
                op: Some(operation.span.op).filter(|op| op.0 < FIRST_TOKEN),
                client: operation.span.client,
                call_ns: operation.span.call_ns,
                return_ns: operation.answer.as_ref().map(|_| operation.span.end_ns),
                text: self.model.describe(&request, operation.answer.as_ref()),
            }
        });
        let violation = Box::new(Violation {
            kind: ViolationKind::NotLinearizable,
            key: Some(key.to_string()),
            event: event - 1,
            expected: conflict.expected.clone(),
            got: conflict.got.clone(),
            operations: operations.collect(),
        });
        self.violation = Some(violation.clone());
        Err(Rejection::Violation(violation))
    }
}
