//! What is known of the lists: which order reads have shown, and what was appended besides.

use rustc_hash::FxHashMap;
use veridical_histories::OperationId;
use veridical_histories::object::Value;

use super::graph::NodeId;

/// How far an append has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It was called, and nobody has seen it.
    Called,
    /// It took effect: its transaction returned, or another append of it was seen.
    Effective,
    /// A read has shown it.
    Seen,
}

/// An append.
#[derive(Clone, Copy, Debug)]
pub(super) struct Append {
    pub op: OperationId,
    pub stage: Stage,
}

/// An element of a list, as reads have shown it.
#[derive(Clone, Debug)]
pub(super) struct Element {
    pub value: Value,
    /// Who appended it.
    pub op: OperationId,
    /// Who read it first.
    pub shown_by: OperationId,
}

/// One list.
#[derive(Debug, Default)]
pub(super) struct List {
    /// The elements that reads have shown, in order.
    pub shown: Vec<Element>,
    /// Every append that was called and did not fail, by its value.
    pub appends: FxHashMap<Value, Append>,
    /// Transactions that took effect and have appends here which no read has shown, with
    /// how many.
    pub unseen: Vec<(NodeId, usize)>,
    /// Transactions that read all of `shown`, and nothing more.
    pub last_readers: Vec<NodeId>,
    /// The latest call of a forgotten transaction that read or appended here.
    pub last_forgotten_call: u64,
}

impl List {
    /// Who appended the last element that was shown.
    pub fn last_owner(&self) -> Option<OperationId> {
        self.shown.last().map(|element| element.op)
    }

    /// An append of `node` was shown.
    pub fn seen(&mut self, node: NodeId) {
        let at = self.unseen.iter().position(|(unseen, _)| *unseen == node);
        let at = at.expect("what is shown has taken effect");
        self.unseen[at].1 -= 1;
        if self.unseen[at].1 == 0 {
            self.unseen.swap_remove(at);
        }
    }
}
