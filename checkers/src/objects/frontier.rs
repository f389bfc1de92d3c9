//! Which representation of a frontier an object gets.

use veridical_histories::object::{Answer, Request};

use crate::frontier::{Advance, Explain, Frontier};
use crate::models::{ObjectModel, ObjectState};
use crate::registers::{RegisterFrontier, Settled};

/// Engine A for an object.
#[derive(Debug)]
pub(crate) enum ObjectFrontier {
    /// Objects that are one value.
    Register(Box<RegisterFrontier>),
    /// All others.
    Any(Box<Frontier<ObjectModel>>),
}

impl ObjectFrontier {
    /// See [`RegisterFrontier::settled`].
    pub fn settled(&self) -> Option<Settled> {
        match self {
            Self::Register(frontier) => frontier.settled(),
            Self::Any(_) => None,
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

    fn call(&mut self, model: &ObjectModel, token: u64, input: Request, output: Answer) {
        match self {
            Self::Register(frontier) => frontier.call(model, token, input, output),
            Self::Any(frontier) => frontier.call(model, token, input, output),
        }
    }

    fn unknown(&mut self, input: Request) {
        match self {
            Self::Register(frontier) => frontier.unknown(input),
            Self::Any(frontier) => frontier.unknown(input),
        }
    }

    fn returned(&mut self, model: &ObjectModel, token: u64, limit: usize) -> Advance<Self> {
        match self {
            Self::Register(frontier) => match frontier.returned(model, token, limit) {
                Advance::Explained => Advance::Explained,
                Advance::Contradicted => Advance::Contradicted,
                Advance::Capped(above) => Advance::Capped(Box::new(Self::Register(above))),
            },
            Self::Any(frontier) => match frontier.returned(model, token, limit) {
                Advance::Explained => Advance::Explained,
                Advance::Contradicted => Advance::Contradicted,
                Advance::Capped(above) => Advance::Capped(Box::new(Self::Any(above))),
            },
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Register(frontier) => frontier.is_empty(),
            Self::Any(frontier) => frontier.is_empty(),
        }
    }

    fn certain_state(&self) -> Option<ObjectState> {
        match self {
            Self::Register(frontier) => frontier.certain_state(),
            Self::Any(frontier) => frontier.certain_state(),
        }
    }

    fn counts(&self) -> (usize, u64) {
        match self {
            Self::Register(frontier) => frontier.counts(),
            Self::Any(frontier) => frontier.counts(),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Register(frontier) => frontier.bytes(),
            Self::Any(frontier) => frontier.bytes(),
        }
    }
}
