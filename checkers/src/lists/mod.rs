//! Engine E: lists by key, to which transactions append (Jepsen's list-append).
//!
//! A read of a list shows in which order it was appended to, so almost everything is
//! known (Kingsbury and Alvaro, "Elle", VLDB 2020): who appended before whom, who read
//! from whom, who read before something was appended. A history is linearizable, with
//! each transaction as one operation, exactly if these constraints together with real
//! time have no cycle. Exactly, and not only "if": appends that nobody has read may stand
//! in any order behind those that were, so a topological order *is* an explanation.
//!
//! It works while the history happens: constraints come in at returns, and the first
//! return that closes a cycle is the earliest event with which the history is wrong. What
//! returned before every open transaction was called is forgotten, but for appends that
//! nobody has read yet.
//!
//! Outside of it are lists that get a value twice, and writes that replace a list: then
//! the general engine starts again from the beginning, as far as that is still there.

mod graph;
mod keys;
mod transaction;

use std::collections::{BTreeMap, VecDeque};

use rustc_hash::{FxHashMap, FxHashSet};
use veridical_histories::object::{Action, Answer, ObjectEvent, Request, Value};
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
use keys::{Append, Element, List, Stage};
use transaction::{Read, Wrong, appends, is_supported, reads_before, steps};

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
    /// Nobody can take over any more.
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

    /// The transaction in the graph, where it may be already.
    fn insert(&mut self, op: OperationId, open: OpenTransaction) -> NodeId {
        match self.graph.find(op) {
            Some(node) => node,
            None => {
                let called = (open.client, open.call_event, open.call_ns);
                let node = self.graph.insert(op, called, open.request);
                let most = &mut self.statistics.configurations_max;
                *most = self.graph.len().max(*most);
                node
            }
        }
    }

    /// The appends of a transaction have taken effect, behind all that were shown.
    fn take_effect(&mut self, node: NodeId) -> Result<(), Wrong> {
        let request = self.graph.node(node).request.clone();
        let mut constraints: Vec<(NodeId, Reason)> = Vec::new();
        for (key, value) in appends(&request) {
            let list = self.lists.get_mut(key).expect("its call made the list");
            let append = list.appends.get_mut(value).expect("its call noted it");
            if append.stage != Stage::Called {
                continue;
            }
            append.stage = Stage::Effective;
            self.graph.node_mut(node).unseen_appends += 1;
            match list.unseen.iter_mut().find(|(unseen, _)| *unseen == node) {
                Some((_, appends)) => *appends += 1,
                None => list.unseen.push((node, 1)),
            }
            if let Some(owner) = list.last_owner().and_then(|op| self.graph.find(op)) {
                constraints.push((owner, Reason::AppendedBehind(key.clone())));
            }
            let readers = list.last_readers.iter();
            constraints.extend(readers.map(|reader| (*reader, Reason::ReadWithout(key.clone()))));
        }
        for (before, reason) in constraints {
            self.graph.constrain(before, node, &reason)?;
        }
        Ok(())
    }

    fn take_read(
        &mut self,
        now: u64,
        reader: NodeId,
        op: OperationId,
        read: &Read,
    ) -> Result<(), Wrong> {
        let key = &read.key;
        let wrong = |expected: String| {
            let got = Value::List(read.list.clone().into()).to_string();
            Err(Wrong::Answer(key.clone(), expected, got))
        };
        let shown = &self.lists.entry(key.clone()).or_default().shown;
        let common = shown.len().min(read.list.len());
        let agrees = shown
            .iter()
            .zip(&read.list)
            .all(|(element, value)| element.value == *value);
        if !agrees {
            let known: Vec<Value> = shown[..common]
                .iter()
                .map(|element| element.value.clone())
                .collect();
            let witness = shown[common - 1].shown_by;
            let known = Value::List(known.into());
            return wrong(format!("a list that begins as {witness} read it, {known}"));
        }
        for value in &read.list[common..] {
            let list = self.lists.get_mut(key).expect("made above");
            let owner = match list.appends.get(value) {
                None => return wrong(format!("only what was appended; nobody appended {value}")),
                Some(append) if append.stage == Stage::Seen => {
                    return wrong(format!("{value} once"));
                }
                Some(append) if append.op == op => {
                    return wrong(format!("nothing that {op} appended afterwards"));
                }
                Some(append) => append.op,
            };
            self.show(now, key, value, owner, op)?;
        }
        let list = &self.lists[key];
        // An append of its own that others have seen may stand before what it read.
        let own_was_seen = appends(&self.graph.node(reader).request)
            .iter()
            .any(|(of, value)| *of == key && list.appends[*value].stage == Stage::Seen);
        let shown = &list.shown[..read.list.len()];
        if own_was_seen && shown.iter().any(|element| element.op == op) {
            return wrong(format!("nothing that {op} appended afterwards"));
        }
        let owner_at = |place: usize| list.shown.get(place).map(|element| element.op);
        let length = read.list.len();
        if let Some(owner) = length.checked_sub(1).and_then(owner_at)
            && let Some(owner) = self.graph.find(owner)
        {
            self.graph
                .constrain(owner, reader, &Reason::ReadFrom(key.clone()))?;
        }
        let without = Reason::ReadWithout(key.clone());
        match owner_at(length) {
            Some(next) => match self.graph.find(next) {
                Some(next) => self.graph.constrain(reader, next, &without)?,
                // It closed before this one was called.
                None => {
                    let value = &list.shown[length].value;
                    return wrong(format!(
                        "{value} too, which {next} had appended before {op} was called"
                    ));
                }
            },
            None => {
                for (unseen, _) in &list.unseen {
                    self.graph.constrain(reader, *unseen, &without)?;
                }
                let list = self.lists.get_mut(key).expect("made above");
                list.last_readers.push(reader);
            }
        }
        Ok(())
    }

    /// A read shows one more element of a list.
    fn show(
        &mut self,
        now: u64,
        key: &Value,
        value: &Value,
        owner: OperationId,
        reader: OperationId,
    ) -> Result<(), Wrong> {
        if self.given_up.contains(&owner) {
            return Err(Wrong::Late(owner));
        }
        let is_new = self.graph.find(owner).is_none();
        if is_new {
            // Its outcome is open or unknown: it took effect, as everybody can see.
            let open = match self.lost.remove(&owner) {
                Some(lost) => lost,
                None => {
                    let open = &self.open[&owner];
                    OpenTransaction {
                        request: open.request.clone(),
                        ..*open
                    }
                }
            };
            let was_lost = !self.open.contains_key(&owner);
            let node = self.insert(owner, open);
            if was_lost {
                self.follow_forgotten(node)?;
            }
        }
        let node = self.graph.find(owner).expect("inserted above");
        // Also where it was in the graph only because it is returning just now.
        self.take_effect(node)?;
        let order = appends(&self.graph.node(node).request)
            .iter()
            .filter(|(of, _)| *of == key)
            .position(|(_, appended)| *appended == value);
        let list = self.lists.get_mut(key).expect("it was read");
        let before = list
            .shown
            .iter()
            .rev()
            .take_while(|element| element.op == owner)
            .count();
        if order != Some(before) {
            let expected = format!("the appends of {owner} in its order, next to each other");
            return Err(Wrong::Answer(
                key.clone(),
                expected,
                format!("{value} out of place"),
            ));
        }
        let previous = list.last_owner();
        list.shown.push(Element {
            value: value.clone(),
            op: owner,
            shown_by: reader,
        });
        list.last_readers.clear();
        list.seen(node);
        list.appends.get_mut(value).expect("found before").stage = Stage::Seen;
        let behind = Reason::AppendedBehind(key.clone());
        let others: Vec<NodeId> = list.unseen.iter().map(|(unseen, _)| *unseen).collect();
        if let Some(previous) = previous.and_then(|previous| self.graph.find(previous)) {
            self.graph.constrain(previous, node, &behind)?;
        }
        for other in others {
            self.graph.constrain(node, other, &behind)?;
        }
        let seen = self.graph.node_mut(node);
        seen.unseen_appends -= 1;
        if seen.unseen_appends == 0 && !self.open.contains_key(&owner) && seen.end.is_none() {
            // Nothing more will be heard of it.
            self.waiting.push_back((now, node));
        }
        if self.graph.node(node).unseen_appends == 0 && self.unseen.remove(&node) {
            self.drop_node(node);
        }
        Ok(())
    }

    /// A lost transaction turns out to have taken effect: behind all that is forgotten
    /// and has to do with its lists, and so behind what came before that.
    fn follow_forgotten(&mut self, node: NodeId) -> Result<(), Wrong> {
        let request = self.graph.node(node).request.clone();
        for (key, _) in appends(&request) {
            let call = self.lists[key].last_forgotten_call;
            self.graph.follow_returns_before(node, call);
            for before in self.graph.in_front_of(key) {
                self.graph.constrain(before, node, &Reason::Forgotten)?;
            }
        }
        Ok(())
    }

    fn failed(&mut self, op: OperationId, open: &OpenTransaction) -> Result<(), Wrong> {
        self.given_up.remove(&op);
        for (key, value) in appends(&open.request) {
            let Some(list) = self.lists.get_mut(key) else {
                continue;
            };
            match list.appends.get(value).map(|append| append.stage) {
                Some(Stage::Called) => {
                    list.appends.remove(value);
                }
                Some(Stage::Effective | Stage::Seen) => {
                    let expected = format!("nothing of {op}, which failed");
                    let got = format!("an append of it was read: {key} got {value}");
                    return Err(Wrong::Answer(key.clone(), expected, got));
                }
                None => {}
            }
        }
        Ok(())
    }

    /// Forgets what nothing new can constrain.
    fn forget(&mut self) {
        while self.waiting.len() > WAITING_MAX {
            let Some((_, oldest)) = self.pending.pop_first() else {
                break;
            };
            self.given_up.insert(oldest);
            self.release();
        }
        self.release();
    }

    fn release(&mut self) {
        let oldest_call = self
            .pending
            .first_key_value()
            .map_or(u64::MAX, |(call, _)| *call);
        while let Some((closed, node)) = self.waiting.front().copied()
            && closed < oldest_call
        {
            self.waiting.pop_front();
            if self.graph.node(node).unseen_appends == 0 {
                self.drop_node(node);
            } else {
                // Where its appends go is open yet; what it answered is not needed for that.
                if let Some((_, answer)) = &mut self.graph.node_mut(node).end {
                    *answer = None;
                }
                self.unseen.insert(node);
            }
        }
    }

    fn drop_node(&mut self, node: NodeId) {
        let call = self.graph.call_event(node);
        // Nobody knows what one without an outcome has read.
        let has_read = self.graph.node(node).end.is_some();
        let mut touched = Vec::new();
        steps(&self.graph.node(node).request, &mut |key, action| {
            if has_read || matches!(action, Action::Append(_)) {
                touched.push(key.clone());
            }
        });
        for key in &touched {
            if let Some(list) = self.lists.get_mut(key) {
                list.last_forgotten_call = list.last_forgotten_call.max(call);
                list.last_readers.retain(|reader| *reader != node);
            }
        }
        // Only lost transactions can turn up behind what is forgotten.
        if self.lost.is_empty() {
            touched.clear();
        }
        self.graph.forget(node, &touched);
    }

    fn look_at_memory(&mut self, now: u64) {
        let Some(bytes_max) = self.bytes_max else {
            return;
        };
        let elements: usize = self
            .lists
            .values()
            .map(|list| list.appends.len() + list.shown.len())
            .sum();
        let bytes = elements * ELEMENT_BYTES + self.graph.len() * NODE_BYTES;
        if bytes > bytes_max {
            self.give_up(
                now,
                Cause::Memory,
                "the lists take more memory than allowed",
            );
        }
    }
}
