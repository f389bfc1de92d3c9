//! Sets, element by element.
//!
//! Adding, removing and looking for an element concern that element only, so each is an
//! object of its own, and a history is linearizable iff it is for each of them (locality,
//! Herlihy and Wing 1990). A read of the whole set concerns all at once: from its call on
//! the set is one object, until nothing is open and its members are certain.

use std::collections::BTreeSet;

use rustc_hash::{FxHashMap, FxHashSet};
use veridical_histories::object::{Action, Request, Value};

use super::idle::heap_bytes;
use super::{ActiveKey, Engine, FrontierEngine, ObjectChecker};
use crate::feed::FrontierFeed;
use crate::models::{ObjectKind, ObjectState};
use crate::witness::{Recorded, Recording};

/// Members of sets as far as nobody is using them.
#[derive(Debug, Default)]
pub(super) struct IdleSets {
    members: FxHashMap<Value, BTreeSet<Value>>,
    bytes: usize,
    /// Sets that did not fit into the memory allowed.
    given_up: FxHashSet<Value>,
}

/// Bytes a member takes; nodes are half full where members come in their order.
fn member_bytes(member: &Value) -> usize {
    size_of::<Value>() * 2 + heap_bytes(member)
}

impl IdleSets {
    /// Takes out a member, and tells whether it was one.
    fn take_member(&mut self, key: &Value, member: &Value) -> bool {
        let Some(members) = self.members.get_mut(key) else {
            return false;
        };
        let was_member = members.remove(member);
        if was_member {
            self.bytes -= member_bytes(member);
        }
        if members.is_empty() {
            self.members.remove(key);
        }
        was_member
    }

    fn insert(&mut self, key: &Value, members: BTreeSet<Value>) {
        if members.is_empty() || self.given_up.contains(key) {
            return;
        }
        self.bytes += members.iter().map(member_bytes).sum::<usize>();
        self.members.entry(key.clone()).or_default().extend(members);
    }

    fn take(&mut self, key: &Value) -> BTreeSet<Value> {
        let members = self.members.remove(key).unwrap_or_default();
        self.bytes -= members.iter().map(member_bytes).sum::<usize>();
        members
    }

    /// Sets with members that nobody is using.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Bytes held, estimated.
    pub fn bytes(&self) -> usize {
        let set = 2 * size_of::<(Value, BTreeSet<Value>)>();
        self.bytes + self.members.capacity() * set
    }

    /// Gives up the set that takes most; its key, if there is one.
    pub fn give_up_largest(&mut self) -> Option<Value> {
        let sets = self.members.iter();
        let largest = sets.max_by_key(|(key, members)| (members.len(), *key))?;
        let key = largest.0.clone();
        self.take(&key);
        self.given_up.insert(key.clone());
        Some(key)
    }
}

/// The one element an action is about.
fn element(action: &Action) -> Option<&Value> {
    use Action as A;
    match action {
        A::Add(element) | A::Remove(element) | A::Contains(element) => Some(element),
        A::Read | A::Write(_) | A::Cas { .. } | A::Delete | A::Append(_) | A::Enqueue(_) => None,
        A::Dequeue | A::Push(_) | A::Pop | A::Acquire(_) | A::Release(_) | A::Increment(_) => None,
        A::LogAppend(_) | A::CheckTail | A::Txn(_) => None,
    }
}

impl ObjectChecker {
    pub(super) fn judges_sets(&self) -> bool {
        self.model.kind() == ObjectKind::Set
    }

    /// The slot of the set, or of the element that `request` is about.
    pub(super) fn activate_set(&mut self, request: &Request, now: u64) -> u32 {
        let whole = Value::list([request.key.clone()]);
        if let Some(slot) = self.slots.get(&whole) {
            return *slot;
        }
        if self.sets.given_up.contains(&request.key) {
            return self.occupy(whole, request.key.clone(), Engine::GivenUp);
        }
        let Some(element) = element(&request.action) else {
            return self.gather(whole, &request.key, now);
        };
        let place = Value::list([request.key.clone(), element.clone()]);
        if let Some(slot) = self.slots.get(&place) {
            return *slot;
        }
        let mut members = BTreeSet::new();
        if self.sets.take_member(&request.key, element) {
            members.insert(element.clone());
        }
        let state = ObjectState::Members(members);
        let engine = self.frontier_from(state);
        self.occupy(place, request.key.clone(), engine)
    }

    fn frontier_from(&self, state: ObjectState) -> Engine {
        Engine::Frontier(Box::new(FrontierEngine {
            feed: FrontierFeed::new(&self.model, vec![state.clone()]),
            recording: Recording::new(vec![state], self.options.witness_operations_max),
            settled: Vec::new(),
            quiet_points: 0,
        }))
    }

    /// Joins the elements of a set into one object again.
    fn gather(&mut self, whole: Value, key: &Value, now: u64) -> u32 {
        let mut members = self.sets.take(key);
        let is_element = |active: &ActiveKey| active.key == *key;
        let elements: Vec<u32> = (0..self.active.len() as u32)
            .filter(|slot| self.active[*slot as usize].as_ref().is_some_and(is_element))
            .collect();
        if !elements.is_empty() {
            self.statistics.handovers += 1;
        }
        let mut recorded: Vec<Recorded<_, _>> = Vec::new();
        let mut is_complete = true;
        for slot in &elements {
            match &self.active_at(*slot).engine {
                Engine::Frontier(frontier) => match frontier.recording.whole() {
                    Some((states, operations)) => {
                        if let [ObjectState::Members(before)] = states {
                            members.extend(before.iter().cloned());
                        }
                        recorded.extend(operations.cloned());
                    }
                    None => is_complete = false,
                },
                Engine::Zones(_) | Engine::Collection(_) | Engine::GivenUp => is_complete = false,
            }
        }
        let open: Vec<u64> = self
            .open
            .iter()
            .filter(|(_, open)| elements.contains(&open.slot))
            .map(|(op, _)| *op)
            .collect();
        elements.iter().for_each(|slot| self.release(*slot));
        let engine = match is_complete {
            true => self.frontier_of_recorded(ObjectState::Members(members), recorded, &open),
            false => {
                self.note_memory(key, now);
                Engine::GivenUp
            }
        };
        let slot = self.occupy(whole, key.clone(), engine);
        for op in open {
            if let Some(mut call) = self.open.remove(&op) {
                call.slot = slot;
                self.open.insert(op, call);
            }
        }
        slot
    }

    /// A frontier that has seen `recorded`, of which the operations in `open` have not ended.
    fn frontier_of_recorded(
        &self,
        state: ObjectState,
        mut recorded: Vec<crate::witness::RecordedFor<crate::models::ObjectModel>>,
        open: &[u64],
    ) -> Engine {
        let mut engine = self.frontier_from(state);
        let Engine::Frontier(frontier) = &mut engine else {
            unreachable!("a feed was made");
        };
        recorded.sort_by_key(|recorded| recorded.call_event);
        let mut moments: Vec<(u64, usize, bool)> = Vec::new();
        for (index, recorded) in recorded.iter().enumerate() {
            moments.push((recorded.call_event, index, true));
            moments.extend(recorded.end.as_ref().map(|(end, ..)| (*end, index, false)));
        }
        moments.sort_unstable();
        for (_, index, is_call) in moments {
            let recorded = &recorded[index];
            match &recorded.end {
                _ if is_call => {
                    frontier.feed.call(recorded.op.0, recorded.input.clone());
                    if recorded.end.is_none() && !open.contains(&recorded.op.0) {
                        frontier.feed.unknown(recorded.op.0);
                    }
                }
                Some((end, _, answer)) => {
                    frontier.feed.returned(recorded.op.0, answer.clone(), *end);
                }
                None => unreachable!("only answers end an operation"),
            }
        }
        recorded
            .into_iter()
            .for_each(|recorded| frontier.recording.call(recorded));
        engine
    }

    /// Retires a set, or an element of one, that nobody is using, with its members.
    pub(super) fn retire_set(&mut self, slot: u32, members: BTreeSet<Value>) {
        let key = self.active_at(slot).key.clone();
        self.sets.insert(&key, members);
        self.release(slot);
    }
}
