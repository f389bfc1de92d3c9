//! Engine A for objects that are one value: registers, maps, locks.
//!
//! Inputs and outputs are those of [`crate::frontier`], and the engine is as exact. What it
//! knows about one value lets it answer where the general search would drown.
//!
//! It treats operations of unknown outcome so:
//!
//! - It uses an unknown operation only where the next known one needs it: to be at the value
//!   that was read or replaced (found backwards from that value), or to leave a value that a
//!   refused compare-and-swap says was not there. Every legal order can be brought into this
//!   form without using more: what is overwritten unseen is left out, cycles are cut, and the
//!   rest waits until it is needed.
//! - Where a value had to be left and any of many unknown writes can have done it, the choice
//!   stays open, as a [`configuration::Obligation`]; a matching tells whether different
//!   operations can have met all obligations. Without that, each such place multiplies the
//!   configurations by the number of unknown writes.
//! - Of two configurations, one whose uses can be mapped into the other's counts for both.
//!
//! It treats concurrent operations, where many clients use few values, so:
//!
//! - A write that takes effect overwrites every other open write that was carried out just
//!   before it. So those become optional: they count as done, and can still be used.
//! - Of open operations of the same effect, the one that returns first goes first. In any
//!   legal order two of them can change places.
//! - A configuration that answered more observers than another one of the same value counts
//!   for both.
//!
//! Where even so too many configurations are left, [`beam_search`] goes on with a few of them,
//! and keeps what it needs to look at the others if these lead nowhere. The page
//! `docs/algorithms/registers.md` explains the engine with an example.

mod beam_search;
mod beam_step;
mod configuration;
mod configuration_set;
mod effect;
mod lookahead;
mod pool;
mod reachability_bound;
mod search;

use veridical_histories::object::{Answer, Request};

use crate::frontier::Advance;
use crate::models::{ObjectKind, ObjectModel, ObjectState};
use beam_search::{BeamSearch, Outcome, Step};
use configuration_set::ConfigurationSet;
pub(crate) use configuration_set::Settled;
use effect::Guard;
use lookahead::Lookahead;
pub(crate) use reachability_bound::{Reachability, ReachabilityBound};
use search::Search;

/// Configurations that may be looked at for each return, in the long run, before the beam search
/// begins.
const LOOKED_AT_PER_RETURN: usize = 64;
/// How many of those a quiet time can save up.
const LOOKED_AT_MAX: usize = 1 << 14;

/// The frontier of an object that is one value.
#[derive(Debug)]
pub(crate) struct RegisterFrontier {
    /// All configurations, or the beam while there is a beam search.
    reached: ConfigurationSet,
    beam_search: Option<Box<BeamSearch>>,
    lookahead: Lookahead,
    nil_reads_anything: bool,
    configurations_max: usize,
    /// Configurations that may be looked at for the next return.
    allowance: usize,
}

impl RegisterFrontier {
    /// Whether objects of this kind are one value that is only written and replaced.
    pub fn judges(kind: ObjectKind) -> bool {
        matches!(
            kind,
            ObjectKind::Register | ObjectKind::CasRegister | ObjectKind::Kv | ObjectKind::Lock
        )
    }

    /// See [`crate::frontier::Explain::begin`].
    pub fn begin(model: &ObjectModel, states: Vec<ObjectState>) -> Self {
        let values = states.into_iter().map(|state| {
            let ObjectState::Value(value) = state else {
                unreachable!("objects of this kind are one value, not {state:?}");
            };
            value
        });
        let reached = ConfigurationSet::new(values);
        Self {
            configurations_max: reached.configurations.len(),
            allowance: LOOKED_AT_MAX,
            reached,
            beam_search: None,
            lookahead: Lookahead::default(),
            nil_reads_anything: model.nil_is_wildcard(),
        }
    }

    /// See [`crate::frontier::Explain::announce`].
    pub fn announce(&mut self, input: &Request, position: u64) {
        if let Some(set) = effect::unanswered(&input.action).and_then(|effect| effect.set) {
            self.lookahead.announce(set, position);
        }
    }

    /// See [`crate::frontier::Explain::foresee`].
    pub fn foresee(&mut self, input: &Request, output: &Answer, position: u64, ends_at: u64) {
        let effect = effect::answered(&input.action, output, self.nil_reads_anything);
        if let Guard::Is(value) = effect.guard {
            self.lookahead.want(value, position, ends_at);
        }
    }

    /// See [`crate::frontier::Explain::call`].
    pub fn call(&mut self, token: u64, input: &Request, output: &Answer, ends_at: u64) {
        let effect = effect::answered(&input.action, output, self.nil_reads_anything);
        if let Some(beam_search) = &mut self.beam_search {
            beam_search.note(Step::Call {
                token,
                effect: effect.clone(),
                ends_at,
            });
        }
        self.reached.call(token, effect, ends_at);
    }

    /// See [`crate::frontier::Explain::unknown`].
    pub fn unknown(&mut self, input: &Request) {
        if let Some(effect) = effect::unanswered(&input.action) {
            if let Some(beam_search) = &mut self.beam_search {
                beam_search.note(Step::Unknown(effect.clone()));
            }
            self.reached.add_unknown(effect);
        }
    }

    /// See [`crate::frontier::Explain::returned`]. A frontier that is capped holds no
    /// configuration any more.
    pub fn returned(&mut self, token: u64, limit: usize) -> Advance<ReachabilityBound> {
        let slot = self
            .reached
            .slot_of(token)
            .expect("only open operations return");
        let position = self.reached.ends_at(slot);
        if self.beam_search.is_none() {
            self.lookahead.forget_before(position);
            let allowed = self.allowance.min(limit);
            let mut budget = allowed;
            let search = self.reached.linearize(slot, &mut budget);
            self.allowance -= allowed - budget;
            self.allowance = LOOKED_AT_MAX.min(self.allowance + LOOKED_AT_PER_RETURN);
            if search == Search::Complete {
                self.reached.close(slot);
                let count = self.reached.configurations.len();
                self.configurations_max = self.configurations_max.max(count);
                return match count {
                    0 => Advance::Contradicted,
                    _ => Advance::Explained,
                };
            }
        }
        let beam_search = self
            .beam_search
            .get_or_insert_with(|| Box::new(BeamSearch::new(&self.reached, position)));
        let outcome = beam_search.returned(&mut self.reached, token, &self.lookahead, limit);
        self.lookahead.forget_before(beam_search.reaches_back_to());
        let count = self.reached.configurations.len();
        self.configurations_max = self.configurations_max.max(count);
        match outcome {
            Outcome::Explained => Advance::Explained,
            Outcome::Complete => {
                self.beam_search = None;
                Advance::Explained
            }
            Outcome::Contradicted => {
                self.reached.configurations.clear();
                Advance::Contradicted
            }
            Outcome::Exhausted(bound) => {
                self.reached.configurations.clear();
                self.beam_search = None;
                Advance::Capped(bound)
            }
        }
    }

    /// See [`crate::frontier::Explain::is_empty`].
    pub fn is_empty(&self) -> bool {
        self.reached.configurations.is_empty()
    }

    /// The value that is certainly there, and what may still change it, where nothing
    /// else has to be remembered.
    pub fn settled(&self) -> Option<Settled> {
        match self.beam_search {
            Some(_) => None,
            None => self.reached.settled(),
        }
    }

    /// See [`crate::frontier::Explain::certain_state`].
    pub fn certain_state(&self) -> Option<ObjectState> {
        let Settled { value, unknown } = self.settled()?;
        unknown.is_empty().then_some(ObjectState::Value(value))
    }

    /// See [`crate::frontier::Explain::counts`].
    pub fn counts(&self) -> (usize, u64) {
        (self.configurations_max, self.reached.expansions)
    }

    /// Bytes held, estimated.
    pub fn bytes(&self) -> usize {
        let beam_search = self
            .beam_search
            .as_ref()
            .map_or(0, |beam_search| beam_search.bytes());
        self.reached.bytes() + self.lookahead.bytes() + beam_search
    }
}
