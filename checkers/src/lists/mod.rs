//! Engine E: lists by key, to which transactions append (Jepsen's list-append).
//!
//! A read of a list shows in which order it was appended to, so almost everything is known
//! (Kingsbury and Alvaro, "Elle", VLDB 2020): who appended before whom, who read from whom, who
//! read before something was appended. A history is linearizable, with each transaction as one
//! operation, if and only if these constraints together with real time have no cycle. The
//! condition suffices because appends that nobody has read may stand in any order behind those
//! that were read, so that a topological order *is* an explanation.
//!
//! The engine works while the history happens: constraints come in at returns, and the first
//! return that closes a cycle is the earliest event with which the history is wrong. What
//! returned before every open transaction was called is forgotten, but for appends that nobody
//! has read yet.
//!
//! Lists that get a value twice, and writes that replace a list, are outside of it: then the
//! general engine starts again from the beginning, as far as that is still there. The page
//! `docs/algorithms/lists.md` works an example through.

mod constraints;
mod forgetting;
mod graph;
mod keys;
mod transaction;

use std::collections::{BTreeMap, VecDeque};

use rustc_hash::{FxHashMap, FxHashSet};
use veridical_histories::object::{Answer, ObjectEvent, Request, Value};
use veridical_histories::{EventKind, OperationId};

use crate::model::Model;
use crate::models::{ObjectKind, ObjectModel};
use crate::objects::{ObjectChecker, ObjectStatistics};
use crate::online::CheckerOptions;
use crate::verdict::{
    Cause, Malformed, MalformedReason, Rejection, Undecided, Verdict, Violation, ViolationKind,
    WitnessOperation,
};
use graph::{Cycle, Graph, NodeId, Reason};
use keys::{Append, List, Stage};
use transaction::{Wrong, appends, is_supported, reads_before};

/// Events kept from the beginning on, for the general engine.
const REPLAY_EVENTS_MAX: usize = 1 << 14;
/// Transactions that may wait for an open one; then the oldest open one is given up.
const WAITING_MAX: usize = 1 << 16;
/// Returns between two looks at the memory in use.
const RETURNS_PER_LOOK: u64 = 1 << 12;
/// What a transaction takes beside its lists, in bytes, estimated.
const NODE_BYTES: usize = 512;
/// What an element of a list takes, in bytes, estimated.
const ELEMENT_BYTES: usize = 128;

/// A transaction that was called and has not ended.
#[derive(Debug)]
struct OpenTransaction {
    client: u64,
    call_event: u64,
    call_ns: u64,
    request: Request,
}

/// Why events are not judged here.
#[derive(Debug)]
enum Fallback {
    /// The general engine has taken over.
    General(Box<ObjectChecker>),
    /// No engine can take over any more.
    Undecided(Undecided),
}

/// Checks a history of list-append transactions while it happens.
#[derive(Debug)]
pub struct ListChecker {
    model: ObjectModel,
    options: CheckerOptions,
    bytes_max: Option<usize>,
    graph: Graph,
    lists: FxHashMap<Value, List>,
    open: FxHashMap<OperationId, OpenTransaction>,
    /// Transactions that ended without an outcome, and whose appends nobody has seen.
    lost: FxHashMap<OperationId, OpenTransaction>,
    /// Open transactions by the event of their call: what they read can still constrain
    /// them against anything since then.
    pending: BTreeMap<u64, OperationId>,
    /// Open transactions that nothing waits for any more.
    given_up: FxHashSet<OperationId>,
    /// Transactions of the graph that wait to be forgotten, with when they closed.
    waiting: VecDeque<(u64, NodeId)>,
    /// Transactions that are forgotten as soon as all their appends were seen.
    unseen: FxHashSet<NodeId>,
    beginning: Vec<ObjectEvent>,
    beginning_is_whole: bool,
    statistics: ObjectStatistics,
    fallback: Option<Fallback>,
    violation: Option<Box<Violation>>,
}

impl ListChecker {
    /// A checker for the specification `list-append`.
    ///
    /// # Panics
    /// If the model is another one.
    pub fn new(model: ObjectModel, options: CheckerOptions) -> Self {
        assert_eq!(model.kind(), ObjectKind::ListAppend);
        Self {
            model,
            options,
            bytes_max: None,
            graph: Graph::default(),
            lists: FxHashMap::default(),
            open: FxHashMap::default(),
            lost: FxHashMap::default(),
            pending: BTreeMap::new(),
            given_up: FxHashSet::default(),
            waiting: VecDeque::new(),
            unseen: FxHashSet::default(),
            beginning: Vec::new(),
            beginning_is_whole: true,
            statistics: ObjectStatistics::default(),
            fallback: None,
            violation: None,
        }
    }

    /// Ends undecided rather than take more memory than this, in bytes.
    pub fn limit_memory(&mut self, bytes_max: Option<u64>) {
        self.bytes_max = bytes_max.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    }

    /// Counts so far.
    pub fn statistics(&self) -> ObjectStatistics {
        match &self.fallback {
            Some(Fallback::General(general)) => general.statistics(),
            _ => self.statistics,
        }
    }

    /// Takes in the next event.
    ///
    /// # Errors
    /// The history is wrong from this event on, or not a history.
    pub fn observe(&mut self, event: &ObjectEvent) -> Result<(), Rejection> {
        if let Some(Fallback::General(general)) = &mut self.fallback {
            return general.observe(event);
        }
        if let Some(violation) = &self.violation {
            return Err(Rejection::Violation(violation.clone()));
        }
        if self.beginning_is_whole {
            if self.beginning.len() < REPLAY_EVENTS_MAX {
                self.beginning.push(event.clone());
            } else {
                self.beginning_is_whole = false;
                self.beginning = Vec::new();
            }
        }
        self.statistics.events += 1;
        let now = self.statistics.events;
        match &event.kind {
            EventKind::Call { op, input } => self.called(now, event, *op, input),
            EventKind::Return { op, output } => {
                let open = self.take_open(now, *op)?;
                if !self.model.can_answer(&open.request.action, output) {
                    return Err(Self::malformed(
                        now,
                        MalformedReason::OutputOfOtherKind(*op),
                    ));
                }
                self.statistics.operations += 1;
                self.statistics.graph_operations += 1;
                if self.fallback.is_some() {
                    return Ok(());
                }
                let judged = self.returned(now, event.time_ns, *op, open, output);
                self.judge(now, *op, judged)
            }
            EventKind::Unknown { op } => {
                let open = self.take_open(now, *op)?;
                self.statistics.unknown_outcomes += 1;
                if self.fallback.is_some() {
                    return Ok(());
                }
                self.pending.remove(&open.call_event);
                match self.graph.find(*op) {
                    // It took effect, and there is nothing else to be heard of it.
                    Some(node) => {
                        if self.graph.node(node).unseen_appends == 0 {
                            self.waiting.push_back((now, node));
                        }
                    }
                    None if self.given_up.contains(op) => {}
                    None if appends(&open.request).is_empty() => {}
                    None => {
                        self.lost.insert(*op, open);
                    }
                }
                self.forget();
                Ok(())
            }
            EventKind::Failed { op } => {
                let open = self.take_open(now, *op)?;
                if self.fallback.is_some() {
                    return Ok(());
                }
                self.pending.remove(&open.call_event);
                let judged = self.failed(*op, &open);
                self.judge(now, *op, judged)
            }
            EventKind::Note { .. } => Ok(()),
        }
    }

    /// Ends the history: operations still open count as unknown.
    pub fn finish(&mut self) -> Verdict {
        match (&mut self.fallback, &self.violation) {
            (Some(Fallback::General(general)), _) => general.finish(),
            (_, Some(violation)) => Verdict::Violation(violation.clone()),
            (Some(Fallback::Undecided(undecided)), None) => Verdict::Unknown(undecided.clone()),
            (None, None) => Verdict::Ok,
        }
    }

    fn malformed(event: u64, reason: MalformedReason) -> Rejection {
        let event = event - 1;
        Rejection::Malformed(Malformed { event, reason })
    }

    fn take_open(&mut self, now: u64, op: OperationId) -> Result<OpenTransaction, Rejection> {
        let open = self.open.remove(&op);
        open.ok_or_else(|| Self::malformed(now, MalformedReason::NotOpen(op)))
    }

    fn called(
        &mut self,
        now: u64,
        event: &ObjectEvent,
        op: OperationId,
        request: &Request,
    ) -> Result<(), Rejection> {
        if !self.model.knows(&request.action) {
            return Err(Self::malformed(now, MalformedReason::InputOfOtherKind(op)));
        }
        let open = OpenTransaction {
            client: event.client,
            call_event: now,
            call_ns: event.time_ns,
            request: request.clone(),
        };
        if self.open.insert(op, open).is_some() {
            return Err(Self::malformed(now, MalformedReason::CalledTwice(op)));
        }
        if self.fallback.is_some() {
            return Ok(());
        }
        if !is_supported(request) {
            return self.fall_back(now, "a request is neither a read nor an append");
        }
        for (key, value) in appends(request) {
            let append = Append {
                op,
                stage: Stage::Called,
            };
            let list = self.lists.entry(key.clone()).or_default();
            if list.appends.insert(value.clone(), append).is_some() {
                return self.fall_back(now, "a value was appended twice to the same list");
            }
        }
        self.pending.insert(now, op);
        Ok(())
    }

    /// Leaves the history to the general engine, if it can begin at the beginning.
    fn fall_back(&mut self, now: u64, why: &str) -> Result<(), Rejection> {
        if !self.beginning_is_whole {
            self.give_up(now, Cause::Retention, why);
            return Ok(());
        }
        let mut general = ObjectChecker::new(self.model.clone(), self.options.clone());
        general.limit_memory(self.bytes_max.map(|bytes| bytes as u64));
        let replayed = std::mem::take(&mut self.beginning)
            .iter()
            .try_for_each(|event| general.observe(event));
        self.fallback = Some(Fallback::General(Box::new(general)));
        replayed
    }

    fn give_up(&mut self, now: u64, cause: Cause, why: &str) {
        self.fallback = Some(Fallback::Undecided(Undecided {
            cause,
            key: None,
            events: (0, now - 1),
            text: why.to_owned(),
        }));
        self.graph = Graph::default();
        self.lists = FxHashMap::default();
        self.lost = FxHashMap::default();
        self.pending = BTreeMap::new();
        self.waiting = VecDeque::new();
        self.unseen = FxHashSet::default();
    }

    fn judge(
        &mut self,
        now: u64,
        op: OperationId,
        judged: Result<(), Wrong>,
    ) -> Result<(), Rejection> {
        match judged {
            Ok(()) => {
                self.forget();
                if self.statistics.operations.is_multiple_of(RETURNS_PER_LOOK) {
                    self.look_at_memory(now);
                }
                Ok(())
            }
            Err(Wrong::Late(late)) => {
                let why = format!("{late} was open for too long to be told how it fits in");
                self.give_up(now, Cause::Retention, &why);
                Ok(())
            }
            Err(Wrong::Answer(key, expected, got)) => {
                let node = self.graph.find(op);
                let operations = node.map(|node| self.witness(node)).into_iter().collect();
                self.violated(now, Some(key), expected, got, operations)
            }
            Err(Wrong::Cycle(cycle)) => self.contradicted(now, &cycle),
        }
    }

    fn violated(
        &mut self,
        now: u64,
        key: Option<Value>,
        expected: String,
        got: String,
        operations: Vec<WitnessOperation>,
    ) -> Result<(), Rejection> {
        let violation = Box::new(Violation {
            kind: ViolationKind::NotLinearizable,
            key: key.map(|key| key.to_string()),
            event: now - 1,
            expected,
            got,
            operations,
        });
        self.violation = Some(violation.clone());
        Err(Rejection::Violation(violation))
    }

    fn contradicted(&mut self, now: u64, cycle: &Cycle) -> Result<(), Rejection> {
        let mut got = String::new();
        for (at, (node, reason)) in cycle.iter().enumerate() {
            let (next, _) = &cycle[(at + 1) % cycle.len()];
            let (first, second) = (self.graph.node(*node).op, self.graph.node(*next).op);
            let separator = if at == 0 { "" } else { "; " };
            let link = match reason {
                Reason::AppendedBehind(key) => {
                    format!("{first} appended to {key} before {second}")
                }
                Reason::ReadFrom(key) => format!("{second} read what {first} appended to {key}"),
                Reason::ReadWithout(key) => {
                    format!("{first} read {key} without what {second} appended")
                }
                Reason::RealTime => format!("{first} returned before {second} was called"),
                Reason::Forgotten => format!("{first} comes before {second} by way of others"),
            };
            got.push_str(separator);
            got.push_str(&link);
        }
        let nodes: Vec<NodeId> = cycle.iter().map(|(node, _)| *node).collect();
        let operations = nodes.iter().map(|node| self.witness(*node)).collect();
        let key = cycle.iter().find_map(|(_, reason)| match reason {
            Reason::AppendedBehind(key) | Reason::ReadFrom(key) | Reason::ReadWithout(key) => {
                Some(key.clone())
            }
            Reason::RealTime | Reason::Forgotten => None,
        });
        let expected = "an order in which each of these comes before the next".to_owned();
        self.violated(now, key, expected, got, operations)
    }

    fn witness(&self, node: NodeId) -> WitnessOperation {
        let node = self.graph.node(node);
        let answer = node.end.as_ref().and_then(|(_, answer)| answer.as_ref());
        WitnessOperation {
            op: Some(node.op),
            client: node.client,
            call_ns: node.call_ns,
            return_ns: node.end.as_ref().map(|(return_ns, _)| *return_ns),
            text: match (answer, &node.end) {
                (None, Some(_)) => node.request.to_string(),
                (answer, _) => self.model.describe(&node.request, answer),
            },
        }
    }

    fn returned(
        &mut self,
        now: u64,
        return_ns: u64,
        op: OperationId,
        open: OpenTransaction,
        answer: &Answer,
    ) -> Result<(), Wrong> {
        self.pending.remove(&open.call_event);
        if self.given_up.remove(&op) {
            return Err(Wrong::Late(op));
        }
        let reads = reads_before(&self.model, &open.request, answer);
        let node = self.insert(op, open);
        self.graph.returned(node, now, return_ns, answer.clone());
        for read in reads? {
            self.take_read(now, node, op, &read)?;
        }
        self.take_effect(node)?;
        self.waiting.push_back((now, node));
        Ok(())
    }
}
