//! Beam search: engine A goes on with a few configurations where there are too many.
//!
//! One configuration that survives proves that a legal order exists, whatever became of the
//! others. So the search keeps a few, chosen by the operations that are still owed (see
//! [`super::beam_step`]). Beside them it keeps the checkpoint from which it began and the steps
//! since then: if the few lead nowhere, it tries more of them from there, and all of them as far
//! as the limit allows. An over-approximation ([`super::reachability_bound`]) runs along: what
//! that cannot explain is a violation, and where nothing is open and it knows no value that the
//! search has not found, the set of configurations is complete again.

use std::collections::VecDeque;

use veridical_histories::object::Value;

use super::configuration_set::ConfigurationSet;
use super::effect::Effect;
use super::lookahead::Lookahead;
use super::reachability_bound::{Reachability, ReachabilityBound};
use super::search::Search;

/// Configurations that the beam holds at first.
const WIDTH: usize = 16;
/// Configurations that the beam holds at most: its width grows fourfold with each setback.
const WIDTH_MAX: usize = 512;
/// Returns without a setback after which the width is halved.
const CALM: usize = 1024;
/// Steps between two marks from which a second attempt may begin.
const STEPS_PER_MARK: usize = 512;
/// Steps that are kept for another attempt: at least half of this number.
const STEPS_MAX: usize = 16_384;
/// Configurations that an exhaustive attempt may look at, as a multiple of the limit.
const LIMITS_PER_ATTEMPT: usize = 2;

/// One event since the beam search began.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Call {
        token: u64,
        effect: Effect<Value>,
        ends_at: u64,
    },
    Unknown(Effect<Value>),
    Return {
        token: u64,
    },
}

/// What the search knows after a return.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Some legal order explains it.
    Explained,
    /// Some legal order explains it, and the set of configurations is complete again.
    Complete,
    /// No legal order explains it.
    Contradicted,
    /// No configuration was found within the limit; the over-approximation goes on.
    Exhausted(Option<Box<ReachabilityBound>>),
}

/// A place from which another attempt can begin.
#[derive(Clone, Debug)]
struct Checkpoint {
    reached: ConfigurationSet,
    /// Whether these were all configurations.
    is_complete: bool,
    /// The position of the last return before the checkpoint.
    position: u64,
    /// How many steps came before the checkpoint.
    step: usize,
}

#[derive(Debug)]
pub(super) struct BeamSearch {
    checkpoint: Checkpoint,
    /// The checkpoint that will replace the present one.
    next: Option<Checkpoint>,
    /// The last two of the marks that are set every [`STEPS_PER_MARK`] steps.
    marks: VecDeque<Checkpoint>,
    steps: VecDeque<Step>,
    /// How many steps were dropped.
    steps_gone: usize,
    width: usize,
    /// Returns since the last setback.
    calm: usize,
    bound: Option<Box<ReachabilityBound>>,
}

/// What another attempt found.
enum Attempt {
    Found {
        reached: Box<ConfigurationSet>,
        is_complete: bool,
    },
    Contradicted,
    Exhausted,
}

impl BeamSearch {
    /// Begins at `reached`, which holds all configurations before the return at `position`.
    pub fn new(reached: &ConfigurationSet, position: u64) -> Self {
        Self {
            checkpoint: Checkpoint {
                reached: reached.clone(),
                is_complete: true,
                position,
                step: 0,
            },
            next: None,
            marks: VecDeque::new(),
            steps: VecDeque::new(),
            steps_gone: 0,
            width: WIDTH,
            calm: 0,
            bound: Some(Box::new(ReachabilityBound::from_configurations(reached))),
        }
    }

    /// The position from which on the search needs the calls.
    pub fn reaches_back_to(&self) -> u64 {
        self.checkpoint.position
    }

    /// Takes in a step that is no return.
    pub fn note(&mut self, step: Step) {
        if let Some(bound) = &mut self.bound {
            match &step {
                Step::Call { token, effect, .. } => bound.open(*token, effect.clone()),
                Step::Unknown(effect) => bound.may_happen(effect.clone()),
                Step::Return { .. } => unreachable!("returns are not noted"),
            }
        }
        self.steps.push_back(step);
    }

    /// The operation `token` returned. `reached` holds the beam, which does not know that yet.
    pub fn returned(
        &mut self,
        reached: &mut ConfigurationSet,
        token: u64,
        lookahead: &Lookahead,
        limit: usize,
    ) -> Outcome {
        self.steps.push_back(Step::Return { token });
        let reachability = self.bound.as_mut().map(|bound| bound.returned(token));
        match reachability {
            Some(Reachability::Contradicted) => return Outcome::Contradicted,
            Some(Reachability::Limited) => self.bound = None,
            Some(Reachability::Explained) | None => {}
        }
        let slot = reached.slot_of(token).expect("only open operations return");
        let position = reached.ends_at(slot);
        reached.beam_step(slot, self.width, lookahead);
        if reached.configurations.is_empty() {
            match self.try_again(lookahead, limit) {
                Attempt::Contradicted => return Outcome::Contradicted,
                Attempt::Exhausted => return Outcome::Exhausted(self.bound.take()),
                Attempt::Found {
                    reached: found,
                    is_complete,
                } => {
                    *reached = *found;
                    if is_complete {
                        return Outcome::Complete;
                    }
                }
            }
        } else {
            reached.close(slot);
        }
        if self.is_all(reached) {
            return Outcome::Complete;
        }
        self.move_checkpoint(reached, position);
        Outcome::Explained
    }

    /// Whether only the values matter, and every value that is possible was found.
    fn is_all(&self, reached: &ConfigurationSet) -> bool {
        reached.is_plain()
            && self
                .bound
                .as_ref()
                .is_some_and(|bound| bound.values().all(|value| reached.is_at(value)))
    }

    /// Sets checkpoints and marks, and drops the oldest steps.
    fn move_checkpoint(&mut self, reached: &ConfigurationSet, position: u64) {
        self.calm += 1;
        if self.calm.is_multiple_of(CALM) {
            self.width = WIDTH.max(self.width / 2);
        }
        let step = self.steps_gone + self.steps.len();
        let here = || Checkpoint {
            reached: reached.clone(),
            is_complete: false,
            position,
            step,
        };
        let since = |mark: &Checkpoint| step - mark.step;
        if since(self.marks.back().unwrap_or(&self.checkpoint)) >= STEPS_PER_MARK {
            self.marks.push_back(here());
            if self.marks.len() > 2 {
                self.marks.pop_front();
            }
        }
        if self.next.is_none() && self.steps.len() >= STEPS_MAX / 2 {
            self.next = Some(here());
        }
        if self.steps.len() >= STEPS_MAX
            && let Some(next) = self.next.replace(here())
        {
            self.steps.drain(..next.step - self.steps_gone);
            self.steps_gone = next.step;
            self.checkpoint = next;
        }
    }

    /// Recovers from an empty beam: tries a wider one from the older mark, then from the
    /// checkpoint, and at last all configurations from there.
    fn try_again(&mut self, lookahead: &Lookahead, limit: usize) -> Attempt {
        self.calm = 0;
        self.width = WIDTH_MAX.min(4 * self.width);
        // The newer mark lies behind the dead end, so only the older one is of use.
        self.marks.truncate(1);
        if let Some(mark) = self.marks.front() {
            let found = self.attempt(mark, lookahead, self.width, 0);
            if let Attempt::Found { .. } = found {
                return found;
            }
        }
        self.marks.clear();
        let found = self.attempt(&self.checkpoint, lookahead, self.width, 0);
        if let Attempt::Found { .. } = found {
            return found;
        }
        self.width = WIDTH_MAX;
        let budget = match self.checkpoint.is_complete {
            true => limit.saturating_mul(LIMITS_PER_ATTEMPT),
            false => 0,
        };
        self.attempt(&self.checkpoint, lookahead, WIDTH_MAX, budget)
    }

    /// Goes through the steps again: with all configurations until `budget` is used up, then
    /// with a beam of `width`.
    fn attempt(
        &self,
        checkpoint: &Checkpoint,
        lookahead: &Lookahead,
        width: usize,
        mut budget: usize,
    ) -> Attempt {
        let mut reached = checkpoint.reached.clone();
        let mut is_complete = checkpoint.is_complete && budget > 0;
        for step in self.steps.range(checkpoint.step - self.steps_gone..) {
            let token = match step {
                Step::Call {
                    token,
                    effect,
                    ends_at,
                } => {
                    reached.call(*token, effect.clone(), *ends_at);
                    continue;
                }
                Step::Unknown(effect) => {
                    reached.add_unknown(effect.clone());
                    continue;
                }
                Step::Return { token } => *token,
            };
            let slot = reached.slot_of(token).expect("only open operations return");
            is_complete = is_complete && reached.linearize(slot, &mut budget) == Search::Complete;
            if !is_complete {
                reached.beam_step(slot, width, lookahead);
            }
            if reached.configurations.is_empty() {
                return if is_complete {
                    Attempt::Contradicted
                } else {
                    Attempt::Exhausted
                };
            }
            reached.close(slot);
        }
        Attempt::Found {
            reached: Box::new(reached),
            is_complete,
        }
    }

    /// Bytes held, estimated.
    pub fn bytes(&self) -> usize {
        let kept = self.marks.iter().chain(&self.next);
        let kept: usize = kept.map(|checkpoint| checkpoint.reached.bytes()).sum();
        self.checkpoint.reached.bytes()
            + kept
            + self.steps.capacity() * size_of::<Step>()
            + self.bound.as_ref().map_or(0, |bound| bound.bytes())
    }
}
