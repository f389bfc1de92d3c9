//! The slots of keys in use, and how a key goes over to engine A.

use veridical_histories::object::{Request, Value};

use super::{ActiveKey, Engine, FrontierEngine, ObjectChecker, packed};
use crate::feed::FrontierFeed;
use crate::model::Model;
use crate::models::ObjectState;
use crate::witness::Recording;
use crate::zones::{OpenOperation, Zones};

impl ObjectChecker {
    #[inline]
    pub(super) fn activate(&mut self, key: Value, now: u64) -> u32 {
        if let Some(slot) = self.slots.get(&key) {
            return *slot;
        }
        if !self.knows_idle {
            return self.given_up_slot();
        }
        let held = self.held(&key).map(packed::unpack);
        let engine = if self.begins_in_zones {
            let (value, pending) = held.unwrap_or_else(|| (self.model.initial_value(), Vec::new()));
            Engine::Zones(match self.spare.pop() {
                Some(mut zones) if pending.is_empty() => {
                    zones.reset(value);
                    zones
                }
                _ => Zones::resume(value, pending, now).expect("they were told apart before"),
            })
        } else if let Some(collection) = self.collection(&[], now) {
            Engine::Collection(Box::new(collection))
        } else {
            let held = held.map(|(value, _)| ObjectState::Value(value));
            let state = held.unwrap_or_else(|| self.model.initial());
            Engine::Frontier(Box::new(FrontierEngine {
                feed: FrontierFeed::new(&self.model, vec![state.clone()]),
                recording: Recording::new(vec![state], self.options.witness_operations_max),
                settled: Vec::new(),
                quiet_points: 0,
            }))
        };
        let active = ActiveKey {
            key: key.clone(),
            place: None,
            engine,
        };
        self.occupy_with(key, active)
    }

    /// The one slot of all keys of which nothing is known any more.
    pub(super) fn given_up_slot(&mut self) -> u32 {
        let place = Value::list([Value::text("given up")]);
        match self.slots.get(&place) {
            Some(slot) => *slot,
            None => self.occupy(place.clone(), place, Engine::GivenUp),
        }
    }

    /// Occupies a slot that is found by `place`.
    pub(super) fn occupy(&mut self, place: Value, key: Value, engine: Engine) -> u32 {
        let active = ActiveKey {
            key,
            place: Some(place.clone()),
            engine,
        };
        self.occupy_with(place, active)
    }

    pub(super) fn occupy_with(&mut self, place: Value, active: ActiveKey) -> u32 {
        let slot = match self.free.pop() {
            Some(slot) => {
                self.active[slot as usize] = Some(active);
                slot
            }
            None => {
                self.active.push(Some(active));
                u32::try_from(self.active.len() - 1).expect("fewer than 2^32 keys are active")
            }
        };
        self.slots.insert(place, slot);
        slot
    }

    /// Hands a key over from engine B or D to engine A.
    pub(super) fn hand_over(&mut self, slot: u32, now: u64) {
        if let Engine::Collection(_) = &self.active_at(slot).engine {
            return self.hand_over_collection(slot, now);
        }
        self.statistics.handovers += 1;
        let key = self.active_at(slot).key.clone();
        let mut open: Vec<(u64, u64, u64, u64, Request)> = self
            .open
            .iter()
            .filter(|(_, open)| open.slot == slot)
            .map(|(op, open)| {
                let request = Request {
                    key: key.clone(),
                    action: open.wanted.action(),
                };
                (open.call_event, *op, open.client, open.call_ns, request)
            })
            .collect();
        open.sort_by_key(|(call, ..)| *call);
        let operations: Vec<OpenOperation<'_>> = open
            .iter()
            .map(|(call, op, client, call_ns, request)| OpenOperation {
                token: *op,
                call: *call,
                client: *client,
                call_ns: *call_ns,
                request,
            })
            .collect();
        let first_token = self.next_token;
        let operations_max = self.options.witness_operations_max;
        let active = self.active[slot as usize]
            .as_ref()
            .expect("slots of open operations are active");
        let Engine::Zones(zones) = &active.engine else {
            unreachable!("only engine B hands over")
        };
        let handover = zones.hand_over(&self.model, &key, &operations, first_token, now);
        let mut recording = Recording::new(vec![handover.initial], operations_max);
        handover
            .recorded
            .into_iter()
            .for_each(|recorded| recording.call(recorded));
        self.next_token += handover.tokens;
        self.active_at(slot).engine = Engine::Frontier(Box::new(FrontierEngine {
            feed: handover.feed,
            recording,
            settled: handover.settled,
            quiet_points: 0,
        }));
    }
}
