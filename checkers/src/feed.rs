//! The feed of a frontier: one object's events on their way into engine A.
//!
//! The frontier wants to know at a call what the answer will be, so events wait here until the
//! operations called before them have ended. What waits is bounded by the longest operation.
//! Once the frontier has reached its limit, the feed also keeps an over-approximation beside it,
//! and the two together bound the verdict from both sides.

use std::collections::VecDeque;

use crate::frontier::{Advance, Explain, Frontier};
use crate::model::Model;
use crate::verdict::Cause;

/// How often the over-approximation may reach the limit before it is given up.
const RELAXATIONS_MAX: u32 = 8;
/// By how much the limit falls once it was reached: what is left over is a sample, and a
/// large one explains hardly more than a small one.
const BEAM_DIVISOR: usize = 256;

/// What became of an operation.
#[derive(Clone, Debug)]
enum Outcome<O> {
    Open,
    /// The operation returned this answer, at this position among the items.
    Returned(O, u64),
    Unknown,
    Failed,
}

#[derive(Debug)]
enum Item<M: Model> {
    Call {
        token: u64,
        input: M::Input,
        outcome: Outcome<M::Output>,
    },
    Return {
        token: u64,
        event: u64,
    },
}

/// What a feed has concluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FeedVerdict {
    /// Some legal order explains the events so far.
    Explained,
    /// The return at this event contradicts everything before it.
    Violation { event: u64 },
    /// The limit was reached, and the two bounds disagree.
    Unknown { cause: Cause, first_event: u64 },
}

/// The events of one object, and the frontier that they go into.
#[derive(Debug)]
pub(crate) struct FrontierFeed<M: Model, F = Frontier<M>> {
    items: VecDeque<Item<M>>,
    /// How many items were taken out of `items`.
    taken: u64,
    /// Token and position (counted with `taken`) of calls whose outcome is not known yet.
    open: Vec<(u64, u64)>,
    frontier: F,
    /// Whether configurations were dropped at the limit: those that are left can prove `ok`
    /// only.
    is_beam: bool,
    /// Whether all configurations were contradicted after some had been dropped.
    is_exhausted: bool,
    /// An over-approximation since the limit was first reached: it can prove a violation only.
    upper_bound: Option<Box<F>>,
    /// How often `upper_bound` reached the limit itself.
    relaxations: u32,
    capped_at: Option<u64>,
    violation: Option<u64>,
}

impl<M: Model, F: Explain<M>> FrontierFeed<M, F> {
    /// A feed of an object that is in one of `states`.
    pub fn new(model: &M, states: Vec<M::State>) -> Self {
        Self {
            items: VecDeque::new(),
            taken: 0,
            open: Vec::new(),
            frontier: F::begin(model, states),
            is_beam: false,
            is_exhausted: false,
            upper_bound: None,
            relaxations: 0,
            capped_at: None,
            violation: None,
        }
    }

    pub fn call(&mut self, token: u64, input: M::Input) {
        let position = self.taken + self.items.len() as u64;
        if !self.is_exhausted {
            self.frontier.announce(&input, position);
        }
        self.open.push((token, position));
        self.items.push_back(Item::Call {
            token,
            input,
            outcome: Outcome::Open,
        });
    }

    pub fn returned(&mut self, token: u64, output: M::Output, event: u64) {
        let position = self.taken + self.items.len() as u64;
        let called = self.end(token, Outcome::Returned(output.clone(), position));
        if !self.is_exhausted
            && let Item::Call { input, .. } = &self.items[(called - self.taken) as usize]
        {
            self.frontier.foresee(input, &output, called, position);
        }
        self.items.push_back(Item::Return { token, event });
    }

    pub fn unknown(&mut self, token: u64) {
        self.end(token, Outcome::Unknown);
    }

    pub fn failed(&mut self, token: u64) {
        self.end(token, Outcome::Failed);
    }

    /// Notes how an operation ended; returns the position of its call.
    fn end(&mut self, token: u64, ended: Outcome<M::Output>) -> u64 {
        let at = self.open.iter().position(|(open, _)| *open == token);
        let (_, position) = self.open.swap_remove(at.expect("only open operations end"));
        let index = (position - self.taken) as usize;
        let Item::Call { outcome, .. } = &mut self.items[index] else {
            unreachable!("the position of a call holds a call");
        };
        *outcome = ended;
        position
    }

    /// Ends the history: operations that are still open are of unknown outcome.
    pub fn finish(&mut self) {
        for (token, _) in self.open.clone() {
            self.unknown(token);
        }
    }

    /// Feeds the frontier every event that need not wait any longer.
    pub fn advance(&mut self, model: &M, limit: usize) -> FeedVerdict {
        while self.violation.is_none() {
            match self.items.front() {
                None
                | Some(Item::Call {
                    outcome: Outcome::Open,
                    ..
                }) => break,
                Some(_) => {}
            }
            self.taken += 1;
            match self.items.pop_front().expect("there is a front") {
                Item::Call {
                    token,
                    input,
                    outcome,
                } => self.begin(model, token, input, outcome),
                Item::Return { token, event } => self.end_in_frontier(model, token, event, limit),
            }
        }
        self.verdict()
    }

    fn begin(&mut self, model: &M, token: u64, input: M::Input, outcome: Outcome<M::Output>) {
        let lower_bound = (!self.is_exhausted).then_some(&mut self.frontier);
        let frontiers = lower_bound
            .into_iter()
            .chain(self.upper_bound.as_deref_mut());
        match outcome {
            Outcome::Returned(output, ends_at) => {
                for frontier in frontiers {
                    frontier.call(model, token, input.clone(), output.clone(), ends_at);
                }
            }
            Outcome::Unknown if !model.is_read_only(&input) => {
                for frontier in frontiers {
                    frontier.unknown(input.clone());
                }
            }
            Outcome::Unknown | Outcome::Failed => {}
            Outcome::Open => unreachable!("items without an outcome are not taken"),
        }
    }

    fn end_in_frontier(&mut self, model: &M, token: u64, event: u64, limit: usize) {
        let limit = if self.is_beam {
            limit.div_ceil(BEAM_DIVISOR)
        } else {
            limit
        };
        if let Some(upper_bound) = &mut self.upper_bound {
            match upper_bound.returned(model, token, limit) {
                Advance::Explained => {}
                Advance::Contradicted => {
                    self.violation = Some(event);
                    return;
                }
                Advance::Capped(_) if self.relaxations >= RELAXATIONS_MAX => {
                    self.upper_bound = None
                }
                Advance::Capped(relaxed) => {
                    self.relaxations += 1;
                    self.upper_bound = relaxed;
                }
            }
        }
        if self.is_exhausted {
            return;
        }
        match self.frontier.returned(model, token, limit) {
            Advance::Explained => {}
            Advance::Contradicted if self.is_beam => self.is_exhausted = true,
            Advance::Contradicted => self.violation = Some(event),
            Advance::Capped(relaxed) => {
                if !self.is_beam {
                    self.upper_bound = relaxed;
                }
                self.capped_at.get_or_insert(event);
                self.is_beam = true;
                self.is_exhausted = self.frontier.is_empty();
            }
        }
    }

    fn verdict(&self) -> FeedVerdict {
        match (self.violation, self.capped_at) {
            (Some(event), _) => FeedVerdict::Violation { event },
            (None, Some(first_event)) if self.is_exhausted => FeedVerdict::Unknown {
                cause: Cause::Configurations,
                first_event,
            },
            _ => FeedVerdict::Explained,
        }
    }

    /// The state the object certainly is in, if that is all there is to remember.
    pub fn idle_state(&self) -> Option<M::State> {
        self.idle_frontier()?.certain_state()
    }

    /// The frontier, if nothing waits, nothing is open and nothing was left out.
    pub fn idle_frontier(&self) -> Option<&F> {
        let is_plain = self.items.is_empty()
            && self.open.is_empty()
            && !self.is_beam
            && self.violation.is_none();
        is_plain.then_some(&self.frontier)
    }

    /// Bytes held, estimated.
    pub fn bytes(&self) -> usize {
        self.items.capacity() * size_of::<Item<M>>()
            + self.open.capacity() * size_of::<(u64, u64)>()
            + self.frontier.bytes()
            + self
                .upper_bound
                .as_ref()
                .map_or(0, |upper_bound| upper_bound.bytes())
    }

    /// The most configurations after any return, and the number of model steps taken.
    pub fn counts(&self) -> (usize, u64) {
        self.frontier.counts()
    }
}
