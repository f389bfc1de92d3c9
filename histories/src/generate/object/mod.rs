//! Correct histories of single objects, and ones with one known error.

mod injection;
mod state;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::distribution::{Distribution, KeyChooser};
pub use crate::object::ObjectKind;
use crate::object::{Action, Answer, LogAppend, ObjectEvent, Request, TxnStep, Value};
use crate::{OperationId, random::Random};
pub use injection::Injection;
use injection::LostWrite;
use state::{ADDED_LATELY, NEVER_ADDED, Object, number_value};

/// What the generated clients do.
#[derive(Clone, Debug)]
pub struct ObjectWorkload {
    /// All random choices follow from it.
    pub seed: u64,
    /// The kind of the objects.
    pub kind: ObjectKind,
    /// How many operations are called.
    pub operations: u64,
    /// How many clients call at once.
    pub clients: usize,
    /// How many objects there are.
    pub keys: u64,
    /// How they are chosen.
    pub distribution: Distribution,
    /// Share of reads.
    pub reads: f64,
    /// Share of operations whose outcome stays unknown.
    pub unknown: f64,
    /// From how many values registers and maps take what they write; each value once where
    /// this is `None`.
    pub values: Option<u64>,
    /// The one error, in the last third of the history. What [`Injection::fits`] refuses
    /// is never put in.
    pub injection: Option<Injection>,
}

impl Default for ObjectWorkload {
    fn default() -> Self {
        Self {
            seed: 0,
            kind: ObjectKind::Kv,
            operations: 1_000,
            clients: 8,
            keys: 10,
            distribution: Distribution::Uniform,
            reads: 0.5,
            unknown: 0.0,
            values: None,
            injection: None,
        }
    }
}

#[derive(Clone, Debug)]
struct Pending {
    op: OperationId,
    key: u64,
    action: Action,
    /// The answer, set once it took effect.
    answer: Option<Answer>,
    is_unknown: bool,
    /// What the object held at the call, if nobody else was using it.
    quiet_before: Option<i64>,
}

/// The events of a workload, as an iterator.
#[derive(Debug)]
pub struct ObjectHistory {
    workload: ObjectWorkload,
    random: Random,
    chooser: KeyChooser,
    objects: Vec<Object>,
    clients: Vec<Option<Pending>>,
    busy: usize,
    called: u64,
    now_ns: u64,
    limbo: Vec<(u64, Action)>,
    /// Per key: an acknowledged write's value, and what it replaced. Only kept while an
    /// injection waits for its place.
    overwritten: BTreeMap<u64, (i64, i64)>,
    injection: Option<Injection>,
    injected: bool,
    /// Keys whose value was written by an operation of unknown outcome: it may explain a
    /// later read of it. Only kept where there is an injection.
    unsure: BTreeSet<u64>,
    lost: Option<LostWrite>,
    /// Key and value of what was taken last from a queue or a stack.
    taken: Option<(u64, i64)>,
}

impl ObjectHistory {
    /// The history of `workload`.
    pub fn new(workload: ObjectWorkload) -> Self {
        let object = Object::new(workload.kind);
        let keys = usize::try_from(workload.keys.max(1)).expect("the keys fit into memory");
        Self {
            random: Random::new(workload.seed),
            chooser: KeyChooser::new(workload.distribution, workload.keys),
            objects: vec![object; keys],
            clients: vec![None; workload.clients.max(1)],
            busy: 0,
            called: 0,
            now_ns: 0,
            limbo: Vec::new(),
            overwritten: BTreeMap::new(),
            injection: workload.injection,
            injected: false,
            unsure: BTreeSet::new(),
            lost: None,
            taken: None,
            workload,
        }
    }

    /// Whether the wanted error was put in.
    pub fn has_injected(&self) -> bool {
        self.injected
    }

    fn action(&mut self, key: u64, client: usize) -> Action {
        let fresh = match self.workload.values {
            None => Value::Int(self.called as i64),
            Some(_) if !self.workload.kind.has_values() => Value::Int(self.called as i64),
            Some(values) => Value::Int(1 + self.random.below(values.max(1)) as i64),
        };
        let reads = self.random.chance(self.workload.reads);
        let current = match &self.objects[key as usize] {
            Object::Number(number) => number_value(*number),
            Object::Text(_) | Object::Members { .. } | Object::Sequence(_) => Value::Nil,
        };
        match self.workload.kind {
            ObjectKind::Register
            | ObjectKind::Kv
            | ObjectKind::CasRegister
            | ObjectKind::Counter
            | ObjectKind::KvAppend
                if reads =>
            {
                Action::Read
            }
            ObjectKind::Register => Action::Write(fresh),
            ObjectKind::CasRegister if self.random.chance(0.5) => {
                let from = if self.random.chance(0.7) {
                    current
                } else if let Some(values) = self.workload.values {
                    Value::Int(1 + self.random.below(values.max(1)) as i64)
                } else {
                    Value::Int(-1)
                };
                Action::Cas { from, to: fresh }
            }
            ObjectKind::CasRegister => Action::Write(fresh),
            ObjectKind::Kv if self.random.chance(0.1) => Action::Delete,
            ObjectKind::Kv => Action::Write(fresh),
            ObjectKind::KvAppend => Action::Append(Value::text(&format!("{} ", self.called))),
            ObjectKind::Set => self.set_action(key, reads),
            ObjectKind::Queue if reads => Action::Dequeue,
            ObjectKind::Queue => Action::Enqueue(fresh),
            ObjectKind::Stack if reads => Action::Pop,
            ObjectKind::Stack => Action::Push(fresh),
            ObjectKind::Lock => {
                let owner = Value::Int(client as i64 + 1);
                if current == owner {
                    Action::Release(owner)
                } else {
                    Action::Acquire(owner)
                }
            }
            ObjectKind::Counter => Action::Increment(1 + self.random.below(5) as i64),
            ObjectKind::ListAppend => {
                let steps = 1 + self.random.below(3);
                let steps = (0..steps).map(|step| TxnStep {
                    key: Value::Int(self.chooser.choose(&mut self.random) as i64),
                    action: if self.random.chance(self.workload.reads) {
                        Action::Read
                    } else {
                        Action::Append(Value::Int((self.called * 4 + step) as i64))
                    },
                });
                Action::Txn(steps.collect())
            }
            ObjectKind::Log if reads => Action::CheckTail,
            ObjectKind::Log => {
                let records = 1 + self.random.below(3);
                let record_hashes = (0..records).map(|_| self.random.next_u64()).collect();
                Action::LogAppend(Arc::new(LogAppend {
                    records,
                    record_hashes,
                    ..LogAppend::default()
                }))
            }
        }
    }

    /// Each element is added once; what is looked for or removed was mostly added lately.
    fn set_action(&mut self, key: u64, reads: bool) -> Action {
        let fresh = self.called as i64;
        let Object::Members { members, added } = &mut self.objects[key as usize] else {
            unreachable!("sets have members");
        };
        let recent = match added.len() {
            0 => NEVER_ADDED,
            count => added[self.random.index(count)],
        };
        if reads {
            let is_strange = self.random.chance(1.0 / 16.0);
            return Action::Contains(Value::Int(if is_strange { NEVER_ADDED } else { recent }));
        }
        // More is removed than added, so that it stays small.
        if self.random.chance(0.45) {
            if added.len() == ADDED_LATELY {
                added.pop_front();
            }
            added.push_back(fresh);
            return Action::Add(Value::Int(fresh));
        }
        let oldest = members.first().copied().unwrap_or(NEVER_ADDED);
        let removed = if self.random.chance(0.75) {
            oldest
        } else {
            recent
        };
        Action::Remove(Value::Int(removed))
    }

    fn apply(&mut self, key: u64, action: &Action) -> Answer {
        if let Action::Txn(steps) = action {
            let apply = |step: &TxnStep| {
                let Value::Int(key) = step.key else {
                    unreachable!("generated keys are numbers");
                };
                self.apply(key as u64, &step.action)
            };
            return Answer::Txn(steps.iter().map(apply).collect());
        }
        self.objects[key as usize].apply(self.workload.kind, action)
    }

    fn take_effect(&mut self, pending: &mut Pending) {
        if self.workload.injection.is_some() && self.inject_into_effect(pending) {
            return;
        }
        let before = self.number(pending.key);
        pending.answer = Some(self.apply(pending.key, &pending.action));
        if before != self.number(pending.key) {
            self.unsure.remove(&pending.key);
        }
    }

    /// An operation of unknown outcome takes effect.
    fn apply_unknown(&mut self, key: u64, action: &Action) {
        let before = self.number(key);
        self.apply(key, action);
        if self.workload.injection.is_some() && before != self.number(key) {
            self.unsure.insert(key);
        }
    }

    fn number(&self, key: u64) -> Option<i64> {
        self.objects[key as usize].number()
    }

    fn call(&mut self, client: usize) -> ObjectEvent {
        self.called += 1;
        self.busy += 1;
        let mut key = self.chooser.choose(&mut self.random);
        let mut shows_loss = false;
        match self.lost {
            Some(lost) if lost.is_acknowledged => {
                key = lost.key;
                shows_loss = true;
                self.lost = None;
                self.injected = true;
            }
            Some(lost) if lost.key == key => key = (key + 1) % self.objects.len() as u64,
            _ => {}
        }
        let action = match shows_loss {
            true => Action::Read,
            false => self.action(key, client),
        };
        let op = OperationId(self.called);
        let is_unknown = self.random.chance(self.workload.unknown) && !shows_loss;
        let quiet_before = self.injection.and_then(|_| self.quiet_value(key));
        let mut pending = Pending {
            op,
            key,
            action: action.clone(),
            answer: None,
            is_unknown,
            quiet_before,
        };
        if self.injection.is_some() {
            self.inject_at_call(&mut pending);
        }
        // Half of the operations take effect at once, the others when they return.
        let at_once = self.random.next_u64() & 1 == 0;
        if pending.answer.is_none() && !is_unknown && (at_once || shows_loss) {
            self.take_effect(&mut pending);
        }
        self.clients[client] = Some(pending);
        let key = if let Action::Txn(_) = &action {
            Value::Nil
        } else {
            Value::Int(key as i64)
        };
        ObjectEvent::call(self.now_ns, client as u64, op, Request { key, action })
    }

    fn end(&mut self, client: usize, mut pending: Pending) -> ObjectEvent {
        self.busy -= 1;
        if pending.is_unknown {
            match self.random.below(3) {
                0 => self.apply_unknown(pending.key, &pending.action),
                1 => self.limbo.push((pending.key, pending.action)),
                _ => {}
            }
            return ObjectEvent::unknown(self.now_ns, client as u64, pending.op);
        }
        if pending.answer.is_none() {
            self.take_effect(&mut pending);
        }
        if self.injection.is_some() {
            self.note_acknowledged(&pending);
        }
        if let Some(lost) = &mut self.lost
            && lost.op == pending.op
        {
            lost.is_acknowledged = true;
        }
        let answer = pending.answer.take().expect("it has taken effect");
        if let (Action::Dequeue | Action::Pop, Answer::Value(Value::Int(value))) =
            (&pending.action, &answer)
        {
            self.taken = Some((pending.key, *value));
        }
        ObjectEvent::returned(self.now_ns, client as u64, pending.op, answer)
    }
}

impl Iterator for ObjectHistory {
    type Item = ObjectEvent;

    fn next(&mut self) -> Option<ObjectEvent> {
        if !self.limbo.is_empty() && self.lost.is_none() && self.random.chance(0.02) {
            let index = self.random.index(self.limbo.len());
            let (key, action) = self.limbo.swap_remove(index);
            self.apply_unknown(key, &action);
        }
        let shows_loss = self.lost.is_some_and(|lost| lost.is_acknowledged);
        // One more read where the loss would not be shown.
        let is_over = self.called >= self.workload.operations && !shows_loss;
        // Nobody else touches the only key.
        let waits = self.objects.len() == 1 && self.lost.is_some() && !shows_loss;
        if is_over && self.busy == 0 {
            return None;
        }
        self.now_ns += 50 + self.random.below(100);
        loop {
            let client = self.random.index(self.clients.len());
            match self.clients[client].take() {
                None if is_over || waits => {}
                None => return Some(self.call(client)),
                Some(pending) => return Some(self.end(client, pending)),
            }
        }
    }
}
