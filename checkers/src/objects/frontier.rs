//! The representation of a frontier that an object gets.

use veridical_histories::object::{Answer, Request};

use crate::frontier::{Advance, Explain, Frontier};
use crate::models::{ObjectModel, ObjectState};
use crate::registers::{Reachability, ReachabilityBound, RegisterFrontier, Settled};

/// Engine A for an object.
#[derive(Debug)]
pub(crate) enum ObjectFrontier {
    /// The frontier of an object that is one value.
    Register(Box<RegisterFrontier>),
    /// The over-approximation of such a frontier, once that has reached its limit.
    Bound(Box<ReachabilityBound>),
    /// The frontier of any other object.
    Any(Box<Frontier<ObjectModel>>),
}

impl ObjectFrontier {
    /// See [`RegisterFrontier::settled`].
    pub fn settled(&self) -> Option<Settled> {
        match self {
            Self::Register(frontier) => frontier.settled(),
            Self::Bound(_) | Self::Any(_) => None,
        }
    }
}

impl Explain<ObjectModel> for ObjectFrontier {
    fn begin(model: &ObjectModel, states: Vec<ObjectState>) -> Self {
        if RegisterFrontier::judges(model.kind()) {
            Self::Register(Box::new(RegisterFrontier::begin(model, states)))
        } else {
            Self::Any(Box::new(Frontier::begin(model, states)))
        }
    }

    fn announce(&mut self, input: &Request, position: u64) {
        if let Self::Register(frontier) = self {
            frontier.announce(input, position);
        }
    }

    fn foresee(&mut self, input: &Request, output: &Answer, position: u64, ends_at: u64) {
        if let Self::Register(frontier) = self {
            frontier.foresee(input, output, position, ends_at);
        }
    }

    fn call(
        &mut self,
        model: &ObjectModel,
        token: u64,
        input: Request,
        output: Answer,
        ends_at: u64,
    ) {
        match self {
            Self::Register(frontier) => frontier.call(token, &input, &output, ends_at),
            Self::Bound(frontier) => frontier.call(model, token, &input, &output),
            Self::Any(frontier) => frontier.call(model, token, input, output, ends_at),
        }
    }

    fn unknown(&mut self, input: Request) {
        match self {
            Self::Register(frontier) => frontier.unknown(&input),
            Self::Bound(frontier) => frontier.unknown(&input),
            Self::Any(frontier) => frontier.unknown(input),
        }
    }

    fn returned(&mut self, model: &ObjectModel, token: u64, limit: usize) -> Advance<Self> {
        match self {
            Self::Register(frontier) => match frontier.returned(token, limit) {
                Advance::Explained => Advance::Explained,
                Advance::Contradicted => Advance::Contradicted,
                Advance::Capped(upper_bound) => Advance::Capped(
                    upper_bound.map(|upper_bound| Box::new(Self::Bound(upper_bound))),
                ),
            },
            Self::Bound(frontier) => match frontier.returned(token) {
                Reachability::Explained => Advance::Explained,
                Reachability::Contradicted => Advance::Contradicted,
                Reachability::Limited => Advance::Capped(None),
            },
            Self::Any(frontier) => match frontier.returned(model, token, limit) {
                Advance::Explained => Advance::Explained,
                Advance::Contradicted => Advance::Contradicted,
                Advance::Capped(upper_bound) => {
                    Advance::Capped(upper_bound.map(|upper_bound| Box::new(Self::Any(upper_bound))))
                }
            },
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Register(frontier) => frontier.is_empty(),
            Self::Bound(frontier) => frontier.is_empty(),
            Self::Any(frontier) => frontier.is_empty(),
        }
    }

    fn certain_state(&self) -> Option<ObjectState> {
        match self {
            Self::Register(frontier) => frontier.certain_state(),
            Self::Bound(_) => None,
            Self::Any(frontier) => frontier.certain_state(),
        }
    }

    fn counts(&self) -> (usize, u64) {
        match self {
            Self::Register(frontier) => frontier.counts(),
            Self::Bound(_) => (0, 0),
            Self::Any(frontier) => frontier.counts(),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Register(frontier) => frontier.bytes(),
            Self::Bound(frontier) => frontier.bytes(),
            Self::Any(frontier) => frontier.bytes(),
        }
    }
}
