//! Engine A for objects that are one value: registers, maps, locks.
//!
//! Comes in and goes out: the same as in [`crate::frontier`], and as exactly. What is
//! known about one value makes it answer where the general search drowns.
//!
//! In operations of unknown outcome:
//!
//! - An unknown operation is used only where the next known one needs it: to be at the
//!   value that was read or replaced (found backwards from that value), or to leave a
//!   value that a refused compare-and-swap says was not there. Every legal order can be
//!   brought into this form without using more: what is overwritten unseen is left out,
//!   cycles are cut, and the rest waits until it is needed.
//! - Where a value had to be left and any of many unknown writes can have done it, the
//!   choice stays open, as a [`configuration::Duty`]; a matching tells whether all duties
//!   can have been done by different operations. Without that each such place multiplies
//!   the configurations by the number of unknown writes.
//! - Of two configurations, one whose uses can be mapped into the other's counts for both.
//!
//! In concurrent operations, where many clients use few values:
//!
//! - A write that takes effect overwrites every other open write, if that was carried out
//!   just before it. So those become optional: they count as done, and can still be used.
//! - Of open operations of the same effect the one that returns first goes first. In any
//!   legal order two of them can change places.
//! - A configuration that answered more observers than another one of the same value
//!   counts for both.
//!
//! Where even so too many configurations are left, [`beam_search`] goes on with a few of them,
//! and keeps what is needed to look at the others if these lead nowhere.

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
use beam_search::{Outcome, Pursuit, Step};
pub(crate) use configuration_set::Settled;
use configuration_set::Ways;
use effect::Guard;
use lookahead::Coming;
pub(crate) use reachability_bound::{WalkFrontier, Walked};
use search::Search;

/// Configurations that may be looked at for each return, in the long run, before a pursuit
/// is tried.
const LOOKED_AT_PER_RETURN: usize = 64;
/// How many of those can be saved up.
const LOOKED_AT_MAX: usize = 1 << 14;

/// The frontier of one value.
#[derive(Debug)]
pub(crate) struct RegisterFrontier {
    /// All configurations, or some while there is a pursuit.
    ways: Ways,
    pursuit: Option<Box<Pursuit>>,
    coming: Coming,
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
        let values = states.into_iter().map(|state| match state {
            ObjectState::Value(value) => value,
            other => unreachable!("objects of this kind are one value, not {other:?}"),
        });
        let ways = Ways::new(values);
        Self {
            configurations_max: ways.configurations.len(),
            allowance: LOOKED_AT_MAX,
            ways,
            pursuit: None,
            coming: Coming::default(),
            nil_reads_anything: model.nil_is_wildcard(),
        }
    }

    /// See [`crate::frontier::Explain::announce`].
    pub fn announce(&mut self, input: &Request, position: u64) {
        if let Some(set) = effect::unanswered(&input.action).and_then(|effect| effect.set) {
            self.coming.announce(set, position);
        }
    }

    /// See [`crate::frontier::Explain::foresee`].
    pub fn foresee(&mut self, input: &Request, output: &Answer, position: u64, ends_at: u64) {
        let effect = effect::answered(&input.action, output, self.nil_reads_anything);
        if let Guard::Is(value) = effect.guard {
            self.coming.want(value, position, ends_at);
        }
    }

    /// See [`crate::frontier::Explain::call`].
    pub fn call(&mut self, token: u64, input: &Request, output: &Answer, ends_at: u64) {
        let effect = effect::answered(&input.action, output, self.nil_reads_anything);
        if let Some(pursuit) = &mut self.pursuit {
            pursuit.note(Step::Call {
                token,
                effect: effect.clone(),
                ends_at,
            });
        }
        self.ways.call(token, effect, ends_at);
    }

    /// See [`crate::frontier::Explain::unknown`].
    pub fn unknown(&mut self, input: &Request) {
        if let Some(effect) = effect::unanswered(&input.action) {
            if let Some(pursuit) = &mut self.pursuit {
                pursuit.note(Step::Unknown(effect.clone()));
            }
            self.ways.add_unknown(effect);
        }
    }

    /// See [`crate::frontier::Explain::returned`]. What is capped holds nothing any more.
    pub fn returned(&mut self, token: u64, limit: usize) -> Advance<WalkFrontier> {
        let slot = self
            .ways
            .slot_of(token)
            .expect("only open operations return");
        let position = self.ways.ends_at(slot);
        if self.pursuit.is_none() {
            self.coming.forget_before(position);
            let allowed = self.allowance.min(limit);
            let mut budget = allowed;
            let search = self.ways.linearize(slot, &mut budget);
            self.allowance -= allowed - budget;
            self.allowance = LOOKED_AT_MAX.min(self.allowance + LOOKED_AT_PER_RETURN);
            if search == Search::Complete {
                self.ways.close(slot);
                let count = self.ways.configurations.len();
                self.configurations_max = self.configurations_max.max(count);
                return match count {
                    0 => Advance::Contradicted,
                    _ => Advance::Explained,
                };
            }
        }
        let pursuit = self
            .pursuit
            .get_or_insert_with(|| Box::new(Pursuit::new(&self.ways, position)));
        let outcome = pursuit.returned(&mut self.ways, token, &self.coming, limit);
        self.coming.forget_before(pursuit.reaches_back_to());
        let count = self.ways.configurations.len();
        self.configurations_max = self.configurations_max.max(count);
        match outcome {
            Outcome::Pursued => Advance::Explained,
            Outcome::CaughtUp => {
                self.pursuit = None;
                Advance::Explained
            }
            Outcome::Contradicted => {
                self.ways.configurations.clear();
                Advance::Contradicted
            }
            Outcome::Lost(walks) => {
                self.ways.configurations.clear();
                self.pursuit = None;
                Advance::Capped(walks)
            }
        }
    }

    /// See [`crate::frontier::Explain::is_empty`].
    pub fn is_empty(&self) -> bool {
        self.ways.configurations.is_empty()
    }

    /// The value that is certainly there, and what may still change it, where nothing
    /// else has to be remembered.
    pub fn settled(&self) -> Option<Settled> {
        match self.pursuit {
            Some(_) => None,
            None => self.ways.settled(),
        }
    }

    /// See [`crate::frontier::Explain::certain_state`].
    pub fn certain_state(&self) -> Option<ObjectState> {
        let Settled { value, unknown } = self.settled()?;
        unknown.is_empty().then_some(ObjectState::Value(value))
    }

    /// See [`crate::frontier::Explain::counts`].
    pub fn counts(&self) -> (usize, u64) {
        (self.configurations_max, self.ways.expansions)
    }

    /// Bytes held, estimated.
    pub fn bytes(&self) -> usize {
        let pursuit = self.pursuit.as_ref().map_or(0, |pursuit| pursuit.bytes());
        self.ways.bytes() + self.coming.bytes() + pursuit
    }
}
