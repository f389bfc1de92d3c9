//! Keeping within the memory limit: what is not needed is dropped, what is idle goes to
//! disk, and what does not fit even then is given up, and said to be undecided.

use veridical_histories::object::Value;

use super::idle::IdleKeys;
use super::spill::Spill;
use super::wanted::OpenCall;
use super::{Engine, ObjectChecker};
use crate::verdict::{Cause, Undecided};

/// Events between two looks at the memory in use, at least.
const EVENTS_PER_LOOK: u64 = 1 << 12;
/// Operations that stay recorded for the witness of a key when memory is short.
const RECORDED_WHEN_SHORT: usize = 64;

impl Engine {
    fn bytes(&self) -> usize {
        match self {
            Self::Zones(zones) => zones.bytes(),
            Self::Collection(collection) => collection.bytes(),
            Self::Frontier(frontier) => frontier.feed.bytes() + frontier.recording.bytes(),
            Self::GivenUp => 0,
        }
    }
}

impl ObjectChecker {
    /// Bytes held, estimated.
    pub fn bytes(&self) -> usize {
        let engines: usize = self
            .active
            .iter()
            .flatten()
            .map(|active| active.engine.bytes())
            .sum();
        let key = size_of::<(Value, u32)>() + 1;
        engines
            + self.active.capacity() * size_of::<Option<super::ActiveKey>>()
            + self.slots.capacity() * key
            + self.open.capacity() * (size_of::<(u64, OpenCall)>() + 1)
            + self.idle_bytes()
    }

    /// Looks at the memory in use, now and then, and makes room where there is too much.
    #[inline]
    pub(super) fn mind_memory(&mut self, now: u64) {
        if self.statistics.events < self.next_look {
            return;
        }
        // A look costs a step for each active key.
        self.next_look = self.statistics.events + EVENTS_PER_LOOK + 4 * self.active.len() as u64;
        // The rest is for what growing tables leave behind.
        let allowed = self.bytes_max / 4 * 3;
        if self.bytes_max == usize::MAX {
            return;
        }
        // A table that grows takes thrice its size for a moment, and a large key would
        // come back from disk as large as it went.
        self.give_up(usize::MAX, allowed / 4, now);
        // Runs that are merged are in memory twice.
        if self.spill.bytes() > allowed / 3 {
            self.give_up_idle(now);
        }
        if self.bytes() <= allowed {
            return;
        }
        self.spare.clear();
        for slot in 0..self.active.len() {
            if let Some(active) = &mut self.active[slot]
                && let Engine::Zones(zones) = &mut active.engine
                && zones.is_idle(now)
            {
                self.retire_zones(slot as u32);
            }
        }
        self.spill_idle();
        if self.bytes() <= allowed {
            return;
        }
        for active in self.active.iter_mut().flatten() {
            if let Engine::Frontier(frontier) = &mut active.engine {
                frontier.recording.shorten(RECORDED_WHEN_SHORT);
            }
        }
        self.give_up(allowed, usize::MAX, now);
        while self.bytes() > allowed
            && let Some(key) = self.sets.give_up_largest()
        {
            self.note_memory(&key, now);
        }
        if self.bytes() > allowed {
            self.give_up_idle(now);
        }
    }

    /// What is kept in memory of keys on disk is too much by itself. Nothing is known any
    /// more of keys that nobody is using.
    fn give_up_idle(&mut self, now: u64) {
        self.knows_idle = false;
        (self.idle, self.spill) = (IdleKeys::new(), Spill::default());
        self.undecided.get_or_insert_with(|| Undecided {
            cause: Cause::Memory,
            key: None,
            events: (now - 1, now - 1),
            text: "what has to be remembered of the keys on disk does not fit into the memory \
                   allowed; keys that nobody was using then are not checked any further"
                .to_owned(),
        });
    }

    /// `key` is not checked any further.
    pub(super) fn note_memory(&mut self, key: &Value, now: u64) {
        let key = key.to_string();
        self.undecided.get_or_insert_with(|| Undecided {
            cause: Cause::Memory,
            key: Some(key),
            events: (now - 1, now - 1),
            text: "what has to be remembered of this key does not fit into the memory \
                   allowed; it is not checked any further"
                .to_owned(),
        });
    }

    /// Gives up the largest keys: until all fit into `allowed`, and each into `each`.
    fn give_up(&mut self, allowed: usize, each: usize, now: u64) {
        let mut bytes = self.bytes();
        let mut largest: Vec<(usize, usize)> = (self.active.iter().enumerate())
            .filter_map(|(slot, active)| Some((active.as_ref()?.engine.bytes(), slot)))
            .collect();
        largest.sort_unstable();
        while let Some((size, slot)) = largest.pop()
            && size > 0
            && (bytes > allowed || size > each)
        {
            bytes -= size;
            let Some(active) = &mut self.active[slot] else {
                continue;
            };
            active.engine = Engine::GivenUp;
            let key = active.key.clone();
            self.note_memory(&key, now);
        }
    }
}
