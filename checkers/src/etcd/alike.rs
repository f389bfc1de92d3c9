//! Hypotheses that came to the same state.
//!
//! A gap that is explained by a put of one key or of another leaves two hypotheses. Once
//! both keys are deleted nothing that is read will ever tell them apart, and every further
//! gap doubles them. What is left of the difference is which operation is used up, and what
//! stood at old revisions. Where there are many, of those alike one is kept. If it explains
//! all that comes, that was no loss; if it does not, the verdict is `unknown`.

use rustc_hash::FxHashMap;
use veridical_histories::OperationId;

use super::EtcdChecker;
use super::versions::LastChanges;
use super::world::World;
use crate::verdict::Cause;

/// So many hypotheses are followed although some are alike.
const ALIKE_MAX: usize = 16;

impl EtcdChecker {
    /// Of hypotheses with the same state one is kept, if there are many.
    pub(super) fn merge_alike(&mut self, revision: i64) {
        if self.worlds.len() <= ALIKE_MAX {
            return;
        }
        let mut kept: FxHashMap<State, usize> = FxHashMap::default();
        for (number, world) in self.worlds.iter().enumerate() {
            let state = State {
                changes: world.overlay.last_changes(&self.base),
                ended: world.ended.keys().copied().collect(),
                open: self.of_open(world),
            };
            let place = kept.entry(state).or_insert(number);
            // What was called long ago and had no effect so far will hardly have one yet:
            // that it is used up is the safer assumption.
            if used(world) < used(&self.worlds[*place]) {
                *place = number;
            }
        }
        let mut numbers: Vec<usize> = kept.into_values().collect();
        if numbers.len() == self.worlds.len() {
            return;
        }
        numbers.sort_unstable();
        let mut worlds: Vec<Option<World>> = std::mem::take(&mut self.worlds)
            .into_iter()
            .map(Some)
            .collect();
        self.worlds = numbers
            .into_iter()
            .filter_map(|number| worlds[number].take())
            .collect();
        let text = format!("which operations wrote what was overwritten by revision {revision}");
        self.narrow(Cause::Configurations, text);
        self.settle_hypotheses();
    }

    fn of_open(&self, world: &World) -> Vec<(OperationId, i64)> {
        let assigned = world.assigned.iter().map(|(op, at)| (*op, *at));
        assigned
            .filter(|(op, _)| self.open.contains_key(op))
            .collect()
    }
}

/// What decides what a hypothesis allows from now on, but for the operations that are left.
#[derive(PartialEq, Eq, Hash)]
struct State<'a> {
    changes: LastChanges<'a>,
    ended: Vec<i64>,
    /// What is said of operations that may still return, and tell their revision.
    open: Vec<(OperationId, i64)>,
}

/// The operations that are used up, the latest first.
fn used(world: &World) -> Vec<OperationId> {
    world.assigned.keys().rev().copied().collect()
}
