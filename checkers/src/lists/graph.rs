//! Transactions in an order that explains them, kept up to date as constraints come in.
//!
//! Inputs: transactions, and constraints "this one before that one". Outputs: a cycle, as soon
//! as there is one. Real time is never stored as edges: a transaction that returned before
//! another was called precedes it, and that follows from their times.
//!
//! The order is that of Pearce and Kelly ("A dynamic topological sort algorithm for directed
//! acyclic graphs", JEA 2006) in its plainest form: a constraint against the present order
//! sorts anew what lies between its ends. Since the order follows time but for what overlaps,
//! that is little.

use std::collections::VecDeque;
use std::collections::hash_map::Entry;

use rustc_hash::{FxHashMap, FxHashSet};
use veridical_histories::OperationId;
use veridical_histories::object::{Answer, Request, Value};

/// The place of a transaction in the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct NodeId(u32);

/// Why one transaction comes before another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// The second appended to this key behind the first.
    AppendedBehind(Value),
    /// The second read what the first had appended to this key.
    ReadFrom(Value),
    /// The first read this key without what the second appended.
    ReadWithout(Value),
    /// The first returned before the second was called.
    RealTime,
    /// Forgotten transactions stand between the two.
    Forgotten,
}

/// A transaction.
#[derive(Debug)]
pub(super) struct Node {
    pub op: OperationId,
    pub client: u64,
    call_event: u64,
    pub call_ns: u64,
    pub request: Request,
    /// Time and answer of the return; `None` while its outcome is open or unknown. The
    /// answer is dropped when nothing but its appends is of interest any more.
    pub end: Option<(u64, Option<Answer>)>,
    /// Own appends that no read has shown yet.
    pub unseen_appends: usize,
    /// Lists that forgotten transactions read or appended to which come after this one,
    /// though they were called before it returned.
    pub lists_behind: FxHashSet<Value>,
    position: u64,
    /// Everything that returned before this event precedes it: its call, or later where
    /// a forgotten transaction came before it.
    after_returns_before: u64,
    /// It precedes everything called after this event: its return, or earlier where a
    /// forgotten transaction came after it.
    before_calls_after: u64,
    successors: Vec<(NodeId, Reason)>,
    predecessors: Vec<NodeId>,
}

/// Constraints that no order fulfils: each transaction before the next, the last one
/// before the first.
pub(super) type Cycle = Vec<(NodeId, Reason)>;

/// The transactions that can still matter.
#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: Vec<Option<Node>>,
    free: Vec<NodeId>,
    by_operation: FxHashMap<OperationId, NodeId>,
    /// The order; forgotten transactions leave holes.
    order: VecDeque<Option<NodeId>>,
    /// The position of the first place of `order`.
    first_position: u64,
}

/// How the search came to a node.
#[derive(Clone, Copy)]
enum Step {
    Explicit { from: NodeId, edge: usize },
    RealTime { from: NodeId },
}

impl Graph {
    pub fn len(&self) -> usize {
        self.by_operation.len()
    }

    pub fn find(&self, op: OperationId) -> Option<NodeId> {
        self.by_operation.get(&op).copied()
    }

    pub fn node(&self, id: NodeId) -> &Node {
        self.nodes[id.0 as usize]
            .as_ref()
            .expect("it is not forgotten")
    }

    pub fn node_mut(&mut self, id: NodeId) -> &mut Node {
        self.nodes[id.0 as usize]
            .as_mut()
            .expect("it is not forgotten")
    }

    /// Adds a transaction that was called at `call_event`, behind all others.
    pub fn insert(
        &mut self,
        op: OperationId,
        (client, call_event, call_ns): (u64, u64, u64),
        request: Request,
    ) -> NodeId {
        let node = Node {
            op,
            client,
            call_event,
            call_ns,
            request,
            end: None,
            unseen_appends: 0,
            lists_behind: FxHashSet::default(),
            position: self.first_position + self.order.len() as u64,
            after_returns_before: call_event,
            before_calls_after: u64::MAX,
            successors: Vec::new(),
            predecessors: Vec::new(),
        };
        let id = match self.free.pop() {
            Some(id) => {
                self.nodes[id.0 as usize] = Some(node);
                id
            }
            None => {
                self.nodes.push(Some(node));
                let last = self.nodes.len() - 1;
                NodeId(u32::try_from(last).expect("memory ends before 2^32 transactions"))
            }
        };
        self.order.push_back(Some(id));
        self.by_operation.insert(op, id);
        id
    }

    /// Notes a return.
    pub fn returned(&mut self, id: NodeId, event: u64, return_ns: u64, answer: Answer) {
        let node = self.node_mut(id);
        node.end = Some((return_ns, Some(answer)));
        node.before_calls_after = event;
    }

    /// Demands that everything which returned before `event` precedes a transaction.
    pub fn follow_returns_before(&mut self, id: NodeId, event: u64) {
        let node = self.node_mut(id);
        node.after_returns_before = node.after_returns_before.max(event);
    }

    /// The transactions behind which forgotten ones read or appended to this list.
    pub fn in_front_of(&self, list: &Value) -> Vec<NodeId> {
        let mut nodes: Vec<NodeId> = self.by_operation.values().copied().collect();
        nodes.retain(|id| self.node(*id).lists_behind.contains(list));
        nodes
    }

    /// When a transaction was called.
    pub fn call_event(&self, id: NodeId) -> u64 {
        self.node(id).call_event
    }

    /// Demands `first` before `second`.
    ///
    /// # Errors
    /// The cycle, if that cannot be.
    pub fn constrain(
        &mut self,
        first: NodeId,
        second: NodeId,
        reason: &Reason,
    ) -> Result<(), Cycle> {
        if first == second {
            return Ok(());
        }
        let (a, b) = (self.node(first), self.node(second));
        if a.before_calls_after < b.after_returns_before
            || a.successors.iter().any(|(known, _)| *known == second)
        {
            return Ok(());
        }
        if a.position > b.position {
            self.reorder(first, second, reason)?;
        }
        self.node_mut(first)
            .successors
            .push((second, reason.clone()));
        self.node_mut(second).predecessors.push(first);
        Ok(())
    }

    fn place(&self, id: NodeId) -> usize {
        (self.node(id).position - self.first_position) as usize
    }

    /// Moves `second` and all that has to follow it behind `first`.
    fn reorder(&mut self, first: NodeId, second: NodeId, reason: &Reason) -> Result<(), Cycle> {
        let (from, to) = (self.place(second), self.place(first));
        let mut reached: FxHashMap<NodeId, Option<Step>> = FxHashMap::default();
        reached.insert(second, None);
        // The reached transaction that precedes the most of what was called later.
        let mut earliest: Option<NodeId> = None;
        let (mut stay, mut follow) = (Vec::new(), Vec::new());
        for place in from..=to {
            let Some(id) = self.order[place] else {
                continue;
            };
            let node = self.node(id);
            if let Entry::Vacant(vacant) = reached.entry(id) {
                let by_time = earliest.filter(|earliest| {
                    self.node(*earliest).before_calls_after < node.after_returns_before
                });
                let Some(from) = by_time else {
                    stay.push(id);
                    continue;
                };
                vacant.insert(Some(Step::RealTime { from }));
            }
            if id == first {
                return Err(self.cycle(first, &reached, reason));
            }
            follow.push(id);
            if earliest.is_none_or(|earliest| {
                node.before_calls_after < self.node(earliest).before_calls_after
            }) {
                earliest = Some(id);
            }
            for (edge, (next, _)) in node.successors.iter().enumerate() {
                let step = Step::Explicit { from: id, edge };
                reached.entry(*next).or_insert(Some(step));
            }
        }
        let places = from..=to;
        let sorted = stay.into_iter().chain(follow).map(Some);
        for (place, id) in places.zip(sorted.chain(std::iter::repeat(None))) {
            self.order[place] = id;
            if let Some(id) = id {
                let position = self.first_position + place as u64;
                self.node_mut(id).position = position;
            }
        }
        Ok(())
    }

    /// The way back from `first`, which the search reached, to where it began.
    fn cycle(
        &self,
        first: NodeId,
        reached: &FxHashMap<NodeId, Option<Step>>,
        reason: &Reason,
    ) -> Cycle {
        let mut cycle = vec![(first, reason.clone())];
        let mut at = first;
        while let Some(Some(step)) = reached.get(&at) {
            let (from, reason) = match *step {
                Step::RealTime { from } => (from, self.reason_of_time(from, at)),
                Step::Explicit { from, edge } => (from, self.node(from).successors[edge].1.clone()),
            };
            cycle.push((from, reason));
            at = from;
        }
        // From the end of the new constraint on, in the order of the constraints.
        cycle.reverse();
        cycle
    }

    fn reason_of_time(&self, first: NodeId, second: NodeId) -> Reason {
        let returned_ns = self
            .node(first)
            .end
            .as_ref()
            .map(|(return_ns, _)| *return_ns);
        match returned_ns {
            Some(return_ns) if return_ns <= self.node(second).call_ns => Reason::RealTime,
            _ => Reason::Forgotten,
        }
    }

    /// Forgets a transaction that nothing new can constrain. What it implies for the
    /// others stays; `touched` are the lists it read or appended to, as far as somebody
    /// will ask.
    pub fn forget(&mut self, id: NodeId, touched: &[Value]) {
        let node = self.nodes[id.0 as usize].take().expect("forgotten once");
        self.by_operation.remove(&node.op);
        for before in &node.predecessors {
            let predecessor = self.node_mut(*before);
            predecessor.successors.retain(|(next, _)| *next != id);
            predecessor.before_calls_after =
                predecessor.before_calls_after.min(node.before_calls_after);
            let behind = touched.iter().chain(&node.lists_behind);
            predecessor.lists_behind.extend(behind.cloned());
        }
        for (after, _) in &node.successors {
            let successor = self.node_mut(*after);
            successor.predecessors.retain(|previous| *previous != id);
            successor.after_returns_before = successor
                .after_returns_before
                .max(node.after_returns_before);
            for before in &node.predecessors {
                self.constrain(*before, *after, &Reason::Forgotten)
                    .expect("it followed from what was demanded before");
            }
        }
        let place = (node.position - self.first_position) as usize;
        self.order[place] = None;
        self.free.push(id);
        while let Some(None) = self.order.front() {
            self.order.pop_front();
            self.first_position += 1;
        }
        if self.order.len() > 64 && self.order.len() > 4 * self.len() {
            self.close_holes();
        }
    }

    fn close_holes(&mut self) {
        self.order.retain(Option::is_some);
        for place in 0..self.order.len() {
            let position = self.first_position + place as u64;
            if let Some(id) = self.order[place] {
                self.node_mut(id).position = position;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use veridical_histories::object::Action;

    fn transaction(graph: &mut Graph, op: u64, call_event: u64) -> NodeId {
        let request = Request {
            key: Value::Nil,
            action: Action::Txn(Vec::new()),
        };
        graph.insert(OperationId(op), (op, call_event, call_event), request)
    }

    #[test]
    fn constraints_against_the_order_sort_it_anew_and_a_cycle_is_named() {
        let mut graph = Graph::default();
        let [a, b, c] = [0, 1, 2].map(|op| transaction(&mut graph, op, op));
        let reason = Reason::ReadFrom(Value::Int(7));
        graph.constrain(c, a, &reason).unwrap();
        graph.constrain(b, c, &reason).unwrap();
        let cycle = graph.constrain(a, b, &reason).unwrap_err();
        let nodes: Vec<NodeId> = cycle.iter().map(|(node, _)| *node).collect();
        assert_eq!(nodes, [b, c, a]);
    }

    #[test]
    fn what_returned_before_a_call_precedes_it_without_an_edge() {
        let mut graph = Graph::default();
        let a = transaction(&mut graph, 0, 0);
        graph.returned(a, 1, 1, Answer::Txn(Vec::new()));
        let b = transaction(&mut graph, 1, 2);
        let reason = Reason::ReadWithout(Value::Nil);
        let cycle = graph.constrain(b, a, &reason).unwrap_err();
        assert_eq!(cycle[0], (a, Reason::RealTime));
        assert_eq!(cycle[1], (b, reason));
    }

    #[test]
    fn what_a_forgotten_transaction_implied_stays() {
        for by_edge in [false, true] {
            let mut graph = Graph::default();
            let a = transaction(&mut graph, 0, 0);
            let middle = transaction(&mut graph, 1, 1);
            let reason = Reason::ReadFrom(Value::Nil);
            graph.constrain(a, middle, &reason).unwrap();
            graph.returned(middle, 2, 2, Answer::Txn(Vec::new()));
            let c = if by_edge {
                transaction(&mut graph, 2, 1)
            } else {
                transaction(&mut graph, 2, 3)
            };
            if by_edge {
                graph.constrain(middle, c, &reason).unwrap();
            }
            graph.forget(middle, &[]);
            assert!(graph.constrain(c, a, &reason).is_err());
        }
    }
}
