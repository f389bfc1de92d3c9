//! Going on with some configurations where there are too many.
//!
//! One configuration that survives proves that an order exists, whatever became of the
//! others. So a few are pursued, chosen by what they owe (see [`super::sample`]). Kept
//! beside them are the configurations from which the pursuit began and the steps since
//! then: if the few lead nowhere, more are tried from there, and all of them as far as the
//! limit allows. Beside them also runs an over-approximation ([`super::walks`]); what that
//! cannot explain is wrong, and where nothing is open and it knows no value that was not
//! found, all is known again.

use std::collections::VecDeque;

use veridical_histories::object::Value;

use super::configuration_set::Ways;
use super::effect::Effect;
use super::lookahead::Coming;
use super::reachability_bound::{WalkFrontier, Walked};
use super::search::Search;

/// Configurations that are pursued.
const WIDTH: usize = 16;
/// Those that are at most when fewer led nowhere; each time it happens four times as many.
const WIDTH_MAX: usize = 512;
/// Returns without such a setback after which half of them are enough.
const CALM: usize = 1024;
/// Steps between two marks from which a second attempt may begin.
const STEPS_PER_MARK: usize = 512;
/// Steps back to which one can go: at least half of this.
const STEPS_MAX: usize = 16_384;
/// Configurations looked at in one attempt to look at all, in times of the limit.
const LIMITS_PER_ATTEMPT: usize = 2;

/// What was taken in since the pursuit began.
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

/// What a return comes to.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Some order explains it.
    Pursued,
    /// The same, and all configurations are known again.
    CaughtUp,
    /// None does.
    Contradicted,
    /// Not known; the over-approximation goes on.
    Lost(Option<Box<WalkFrontier>>),
}

/// Where another attempt can begin.
#[derive(Clone, Debug)]
struct Checkpoint {
    ways: Ways,
    /// Whether these were all.
    is_complete: bool,
    /// The position of the last return before it.
    position: u64,
    /// How many steps were taken in before it.
    step: usize,
}

#[derive(Debug)]
pub(super) struct Pursuit {
    checkpoint: Checkpoint,
    /// One to replace it.
    next: Option<Checkpoint>,
    /// The last two of those that are made every now and then.
    marks: VecDeque<Checkpoint>,
    steps: VecDeque<Step>,
    /// Steps that were let go of.
    steps_gone: usize,
    width: usize,
    /// Returns since the last setback.
    calm: usize,
    walks: Option<Box<WalkFrontier>>,
}

/// What a second attempt comes to.
enum Attempt {
    Found { ways: Box<Ways>, is_complete: bool },
    Contradicted,
    Lost,
}

impl Pursuit {
    /// Begins where `ways` are all configurations, before the return at `position`.
    pub fn new(ways: &Ways, position: u64) -> Self {
        Self {
            checkpoint: Checkpoint {
                ways: ways.clone(),
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
            walks: Some(Box::new(WalkFrontier::from_ways(ways))),
        }
    }

    /// From which position on calls are of interest.
    pub fn reaches_back_to(&self) -> u64 {
        self.checkpoint.position
    }

    /// Takes in what is no return.
    pub fn note(&mut self, step: Step) {
        if let Some(walks) = &mut self.walks {
            match &step {
                Step::Call { token, effect, .. } => walks.open(*token, effect.clone()),
                Step::Unknown(effect) => walks.may_happen(effect.clone()),
                Step::Return { .. } => unreachable!("returns are not noted"),
            }
        }
        self.steps.push_back(step);
    }

    /// The operation `token` returned. `ways` are those that are pursued, and were not
    /// told yet.
    pub fn returned(
        &mut self,
        ways: &mut Ways,
        token: u64,
        coming: &Coming,
        limit: usize,
    ) -> Outcome {
        self.steps.push_back(Step::Return { token });
        let walked = self.walks.as_mut().map(|walks| walks.returned(token));
        match walked {
            Some(Walked::Contradicted) => return Outcome::Contradicted,
            Some(Walked::Limited) => self.walks = None,
            Some(Walked::Explained) | None => {}
        }
        let slot = ways.slot_of(token).expect("only open operations return");
        let position = ways.ends_at(slot);
        ways.pursue(slot, self.width, coming);
        if ways.configurations.is_empty() {
            match self.try_again(coming, limit) {
                Attempt::Contradicted => return Outcome::Contradicted,
                Attempt::Lost => return Outcome::Lost(self.walks.take()),
                Attempt::Found {
                    ways: found,
                    is_complete,
                } => {
                    *ways = *found;
                    if is_complete {
                        return Outcome::CaughtUp;
                    }
                }
            }
        } else {
            ways.close(slot);
        }
        if self.is_all(ways) {
            return Outcome::CaughtUp;
        }
        self.move_checkpoint(ways, position);
        Outcome::Pursued
    }

    /// Whether nothing but the values matters, and none is possible that was not found.
    fn is_all(&self, ways: &Ways) -> bool {
        ways.is_plain()
            && self
                .walks
                .as_ref()
                .is_some_and(|walks| walks.values().all(|value| ways.is_at(value)))
    }

    /// Keeps places to begin again from, and lets go of the oldest steps.
    fn move_checkpoint(&mut self, ways: &Ways, position: u64) {
        self.calm += 1;
        if self.calm.is_multiple_of(CALM) {
            self.width = WIDTH.max(self.width / 2);
        }
        let step = self.steps_gone + self.steps.len();
        let here = || Checkpoint {
            ways: ways.clone(),
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

    /// A setback: with more configurations, from not long ago or from the checkpoint; then
    /// with all.
    fn try_again(&mut self, coming: &Coming, limit: usize) -> Attempt {
        self.calm = 0;
        self.width = WIDTH_MAX.min(4 * self.width);
        // What was marked after the place from which a way was found leads nowhere.
        self.marks.truncate(1);
        if let Some(mark) = self.marks.front() {
            let found = self.attempt(mark, coming, self.width, 0);
            if let Attempt::Found { .. } = found {
                return found;
            }
        }
        self.marks.clear();
        let found = self.attempt(&self.checkpoint, coming, self.width, 0);
        if let Attempt::Found { .. } = found {
            return found;
        }
        self.width = WIDTH_MAX;
        let budget = match self.checkpoint.is_complete {
            true => limit.saturating_mul(LIMITS_PER_ATTEMPT),
            false => 0,
        };
        self.attempt(&self.checkpoint, coming, WIDTH_MAX, budget)
    }

    /// Goes through the steps again: with all configurations until `budget` is used up,
    /// then with `width` of them.
    fn attempt(
        &self,
        checkpoint: &Checkpoint,
        coming: &Coming,
        width: usize,
        mut budget: usize,
    ) -> Attempt {
        let mut ways = checkpoint.ways.clone();
        let mut is_complete = checkpoint.is_complete && budget > 0;
        for step in self.steps.range(checkpoint.step - self.steps_gone..) {
            let token = match step {
                Step::Call {
                    token,
                    effect,
                    ends_at,
                } => {
                    ways.call(*token, effect.clone(), *ends_at);
                    continue;
                }
                Step::Unknown(effect) => {
                    ways.add_unknown(effect.clone());
                    continue;
                }
                Step::Return { token } => *token,
            };
            let slot = ways.slot_of(token).expect("only open operations return");
            is_complete = is_complete && ways.linearize(slot, &mut budget) == Search::Complete;
            if !is_complete {
                ways.pursue(slot, width, coming);
            }
            if ways.configurations.is_empty() {
                return if is_complete {
                    Attempt::Contradicted
                } else {
                    Attempt::Lost
                };
            }
            ways.close(slot);
        }
        Attempt::Found {
            ways: Box::new(ways),
            is_complete,
        }
    }

    /// Bytes held, estimated.
    pub fn bytes(&self) -> usize {
        let kept = self.marks.iter().chain(&self.next);
        let kept: usize = kept.map(|checkpoint| checkpoint.ways.bytes()).sum();
        self.checkpoint.ways.bytes()
            + kept
            + self.steps.capacity() * size_of::<Step>()
            + self.walks.as_ref().map_or(0, |walks| walks.bytes())
    }
}
