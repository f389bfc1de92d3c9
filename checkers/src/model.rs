//! What a history is judged by: a sequential specification.

use std::fmt;
use std::hash::Hash;

/// A sequential specification: what one object answers when operations come one after
/// the other. About thirty lines are enough for one of your own; see `examples/`.
///
/// A model may be nondeterministic: [`Model::step`] can name several next states.
pub trait Model {
    /// What the object remembers. Equal states have to behave equally.
    type State: Clone + Eq + Hash + fmt::Debug;
    /// What can be asked. Equal inputs count as interchangeable.
    type Input: Clone + Eq + Hash + fmt::Debug;
    /// What can be answered.
    type Output: Clone + fmt::Debug;
    /// Names the independent objects of a history. Operations of different keys never
    /// influence each other, so each key is checked on its own (Herlihy and Wing 1990,
    /// locality). Use `()` for a single object.
    type Key: Clone + Eq + Hash + Ord + fmt::Debug;

    /// The object an operation belongs to.
    fn key(&self, input: &Self::Input) -> Self::Key;

    /// The state in which an object begins.
    fn initial(&self) -> Self::State;

    /// Pushes onto `next` each state in which the object can be after `input` was carried
    /// out in `state` and answered `output`; nothing where that answer is impossible.
    /// Where `output` is `None` the answer is not known, and any is allowed.
    fn step(
        &self,
        state: &Self::State,
        input: &Self::Input,
        output: Option<&Self::Output>,
        next: &mut Vec<Self::State>,
    );

    /// Whether `input` leaves every state as it is. Such operations are dropped when
    /// their outcome is unknown.
    fn is_read_only(&self, input: &Self::Input) -> bool {
        let _ = input;
        false
    }

    /// Whether `input`, when it is answered `output`, leaves every state as it is in which
    /// that answer is possible: a read, or a compare-and-swap that failed. Not a write
    /// that may happen to write what is there. Such operations never make the search
    /// branch, so a model that can tell is checked much faster.
    fn is_observer(&self, input: &Self::Input, output: &Self::Output) -> bool {
        let _ = output;
        self.is_read_only(input)
    }

    /// One operation as text, for witnesses.
    fn describe(&self, input: &Self::Input, output: Option<&Self::Output>) -> String {
        match output {
            Some(output) => format!("{input:?} → {output:?}"),
            None => format!("{input:?} → unknown"),
        }
    }
}
