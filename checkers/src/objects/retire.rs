//! Keys that need engine A no longer, or nothing at all for the time being.

use veridical_histories::OperationId;
use veridical_histories::object::{Action, Request, Value};

use super::{
    Engine, FIRST_TOKEN, ObjectChecker, ObjectFrontier, READY_KEYS_MAX, SPARE_ZONES_MAX, packed,
};
use crate::model::Model;
use crate::models::ObjectState;
use crate::witness::Recording;
use crate::zones::{PendingWrite, Trace, Zones};

impl ObjectChecker {
    /// Retires a key of engine A, if it has one certain state and nothing is open.
    pub(super) fn retire_from_frontier(&mut self, slot: u32, now: u64) {
        let active = self.active_at(slot);
        let Engine::Frontier(frontier) = &mut active.engine else {
            return;
        };
        if !frontier.settled.is_empty() {
            return;
        }
        let Some(state) = frontier.feed.idle_state() else {
            if self.begins_in_zones {
                self.resume_zones(slot, now);
            }
            return;
        };
        if let ObjectState::Members(members) = state {
            self.retire_set(slot, members);
        } else if let ObjectState::Value(value) = state {
            if self.begins_in_zones && self.slots.len() <= READY_KEYS_MAX {
                self.active_at(slot).engine = Engine::Zones(Zones::new(value));
            } else {
                self.retire(slot, packed::pack(value, &[]));
            }
        } else if state == self.model.initial() {
            self.release(slot);
        } else if !self.resume_collection(slot, &state, now) {
            // The key stays as it is; what was recorded before counts no longer.
            let recording = Recording::new(vec![state], self.options.witness_operations_max);
            if let Engine::Frontier(frontier) = &mut self.active_at(slot).engine {
                frontier.recording = recording;
            }
        }
    }

    /// Returns a key to engine B, if nothing is open, the value is certain, and the operations
    /// of unknown outcome that are left can be told apart.
    fn resume_zones(&mut self, slot: u32, now: u64) {
        let active = self.active_at(slot);
        let Engine::Frontier(frontier) = &mut active.engine else {
            return;
        };
        // What cannot be told apart now can be later only if something is used up, so it
        // is looked at ever more rarely.
        frontier.quiet_points += 1;
        if !frontier.quiet_points.is_power_of_two() {
            return;
        }
        let Some(settled) = frontier
            .feed
            .idle_frontier()
            .and_then(ObjectFrontier::settled)
        else {
            return;
        };
        let mut unknown = Vec::with_capacity(settled.unknown.len());
        for action in settled.unknown {
            let request = Request {
                key: active.key.clone(),
                action,
            };
            let recorded = frontier.recording.unknown(&request);
            let trace = Trace {
                // An operation that is no longer recorded has no number.
                op: recorded.map_or(OperationId(FIRST_TOKEN), |recorded| recorded.op),
                client: recorded.map_or(0, |recorded| recorded.client),
                call_ns: recorded.map_or(0, |recorded| recorded.call_ns),
                return_ns: None,
                is_write: true,
                is_refused: false,
            };
            let action = request.action;
            let (value, from) = if let Action::Write(value) = action {
                (value, None)
            } else if let Action::Cas { from, to } = action {
                (to, Some(from))
            } else {
                unreachable!("registers have no {action} of unknown outcome");
            };
            unknown.push(PendingWrite { value, from, trace });
        }
        if let Some(zones) = Zones::resume(settled.value, unknown, now) {
            active.engine = Engine::Zones(zones);
        }
    }

    /// Packs an idle key of engine B.
    #[inline]
    pub(super) fn retire_zones(&mut self, slot: u32) {
        let Engine::Zones(zones) = &mut self.active_at(slot).engine else {
            unreachable!("only engine B is asked to")
        };
        let (value, pending) = zones.take();
        self.retire(slot, packed::pack(value, &pending));
    }

    #[inline]
    fn retire(&mut self, slot: u32, value: Value) {
        let active = self.active[slot as usize]
            .as_ref()
            .expect("the key is active");
        if !self.knows_idle {
            self.release(slot);
            return;
        }
        // What is on disk may say otherwise, so it has to be overridden there.
        if self.spill.is_empty() && value == self.model.initial_value() {
            self.idle.remove(&active.key);
        } else {
            self.idle.set(&active.key, value);
        }
        self.release(slot);
        self.retired_until_look -= 1;
        if self.retired_until_look == 0 {
            self.spill_idle();
        }
    }

    #[inline]
    pub(super) fn release(&mut self, slot: u32) {
        let active = self.active[slot as usize]
            .take()
            .expect("the key is active");
        self.slots
            .remove(active.place.as_ref().unwrap_or(&active.key));
        self.free.push(slot);
        if let Engine::Zones(zones) = active.engine
            && self.spare.len() < SPARE_ZONES_MAX
        {
            self.spare.push(zones);
        }
    }
}
