//! One object's events on their way into the frontier.
//!
//! The frontier wants to know at a call what the answer will be, so events wait here
//! until the operations called before them have ended. What waits is bounded by the
//! longest operation.

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
enum Fate<O> {
    Open,
    /// With what, and the position of the return among the items.
    Returned(O, u64),
    Unknown,
    Failed,
}

#[derive(Debug)]
enum Item<M: Model> {
    Call {
        token: u64,
        input: M::Input,
        fate: Fate<M::Output>,
    },
    Return {
        token: u64,
        event: u64,
    },
}

/// What a lane concluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LaneVerdict {
    /// Explained so far.
    Explained,
    /// The return at this event contradicts everything before it.
    Violation { event: u64 },
    /// Not decided.
    Unknown { cause: Cause, first_event: u64 },
}

/// The events of one object, and its frontier.
#[derive(Debug)]
pub(crate) struct Lane<M: Model, F = Frontier<M>> {
    items: VecDeque<Item<M>>,
    /// How many items were taken out of `items`.
    taken: u64,
    /// Token and position (counted with `taken`) of calls without a fate.
    open: Vec<(u64, u64)>,
    frontier: F,
    /// Whether configurations were dropped at the limit: what is left can prove `ok`.
    is_beam: bool,
    /// Whether all of them were contradicted after that.
    is_lost: bool,
    /// An over-approximation since the limit was reached first: can prove a violation.
    above: Option<Box<F>>,
    /// How often `above` reached the limit itself.
    relaxations: u32,
    capped_at: Option<u64>,
    violation: Option<u64>,
}

impl<M: Model, F: Explain<M>> Lane<M, F> {
    /// A lane of an object that is in one of `states`.
    pub fn new(model: &M, states: Vec<M::State>) -> Self {
        Self {
            items: VecDeque::new(),
            taken: 0,
            open: Vec::new(),
            frontier: F::begin(model, states),
            is_beam: false,
            is_lost: false,
            above: None,
            relaxations: 0,
            capped_at: None,
            violation: None,
        }
    }

    pub fn call(&mut self, token: u64, input: M::Input) {
        let position = self.taken + self.items.len() as u64;
        if !self.is_lost {
            self.frontier.announce(&input, position);
        }
        self.open.push((token, position));
        self.items.push_back(Item::Call {
            token,
            input,
            fate: Fate::Open,
        });
    }

    pub fn returned(&mut self, token: u64, output: M::Output, event: u64) {
        let position = self.taken + self.items.len() as u64;
        let called = self.end(token, Fate::Returned(output.clone(), position));
        if !self.is_lost
            && let Item::Call { input, .. } = &self.items[(called - self.taken) as usize]
        {
            self.frontier.foresee(input, &output, called, position);
        }
        self.items.push_back(Item::Return { token, event });
    }

    pub fn unknown(&mut self, token: u64) {
        self.end(token, Fate::Unknown);
    }

    pub fn failed(&mut self, token: u64) {
        self.end(token, Fate::Failed);
    }

    /// The position of its call.
    fn end(&mut self, token: u64, ended: Fate<M::Output>) -> u64 {
        let at = self.open.iter().position(|(open, _)| *open == token);
        let (_, position) = self.open.swap_remove(at.expect("only open operations end"));
        let index = (position - self.taken) as usize;
        let Item::Call { fate, .. } = &mut self.items[index] else {
            unreachable!("the position of a call holds a call");
        };
        *fate = ended;
        position
    }

    /// All that is still open stays so.
    pub fn finish(&mut self) {
        for (token, _) in self.open.clone() {
            self.unknown(token);
        }
    }

    /// Takes in what need not wait any longer.
    pub fn advance(&mut self, model: &M, limit: usize) -> LaneVerdict {
        while self.violation.is_none() {
            match self.items.front() {
                None
                | Some(Item::Call {
                    fate: Fate::Open, ..
                }) => break,
                Some(_) => {}
            }
            self.taken += 1;
            match self.items.pop_front().expect("there is a front") {
                Item::Call { token, input, fate } => self.begin(model, token, input, fate),
                Item::Return { token, event } => self.end_in_frontier(model, token, event, limit),
            }
        }
        self.verdict()
    }

    fn begin(&mut self, model: &M, token: u64, input: M::Input, fate: Fate<M::Output>) {
        let below = (!self.is_lost).then_some(&mut self.frontier);
        let frontiers = below.into_iter().chain(self.above.as_deref_mut());
        match fate {
            Fate::Returned(output, ends_at) => {
                for frontier in frontiers {
                    frontier.call(model, token, input.clone(), output.clone(), ends_at);
                }
            }
            Fate::Unknown if !model.is_read_only(&input) => {
                for frontier in frontiers {
                    frontier.unknown(input.clone());
                }
            }
            Fate::Unknown | Fate::Failed => {}
            Fate::Open => unreachable!("items without a fate are not taken"),
        }
    }

    fn end_in_frontier(&mut self, model: &M, token: u64, event: u64, limit: usize) {
        let limit = if self.is_beam {
            limit.div_ceil(BEAM_DIVISOR)
        } else {
            limit
        };
        if let Some(above) = &mut self.above {
            match above.returned(model, token, limit) {
                Advance::Explained => {}
                Advance::Contradicted => {
                    self.violation = Some(event);
                    return;
                }
                Advance::Capped(_) if self.relaxations >= RELAXATIONS_MAX => self.above = None,
                Advance::Capped(relaxed) => {
                    self.relaxations += 1;
                    self.above = relaxed;
                }
            }
        }
        if self.is_lost {
            return;
        }
        match self.frontier.returned(model, token, limit) {
            Advance::Explained => {}
            Advance::Contradicted if self.is_beam => self.is_lost = true,
            Advance::Contradicted => self.violation = Some(event),
            Advance::Capped(relaxed) => {
                if !self.is_beam {
                    self.above = relaxed;
                }
                self.capped_at.get_or_insert(event);
                self.is_beam = true;
                self.is_lost = self.frontier.is_empty();
            }
        }
    }

    fn verdict(&self) -> LaneVerdict {
        match (self.violation, self.capped_at) {
            (Some(event), _) => LaneVerdict::Violation { event },
            (None, Some(first_event)) if self.is_lost => LaneVerdict::Unknown {
                cause: Cause::Configurations,
                first_event,
            },
            _ => LaneVerdict::Explained,
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
            + self.above.as_ref().map_or(0, |above| above.bytes())
    }

    /// The most configurations after any return, and model steps taken.
    pub fn counts(&self) -> (usize, u64) {
        self.frontier.counts()
    }
}
