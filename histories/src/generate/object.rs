//! Correct histories of single objects, and ones with one known error.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::distribution::{Distribution, KeyChooser};
use crate::object::{Action, Answer, ObjectEvent, Request, TxnStep, Value};
use crate::{OperationId, random::Random};

/// The objects that can be generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectKind {
    /// Reads and writes of unique values.
    Register,
    /// The same, with compare-and-swap.
    CasRegister,
    /// The same, with deletions.
    Kv,
    /// Texts with append.
    KvAppend,
    /// A set.
    Set,
    /// A first-in-first-out queue.
    Queue,
    /// A stack.
    Stack,
    /// A lock.
    Lock,
    /// A counter.
    Counter,
    /// Lists to which transactions append.
    ListAppend,
}

impl ObjectKind {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::Register,
        Self::CasRegister,
        Self::Kv,
        Self::KvAppend,
        Self::Set,
        Self::Queue,
        Self::Stack,
        Self::Lock,
        Self::Counter,
        Self::ListAppend,
    ];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::CasRegister => "cas-register",
            Self::Kv => "kv",
            Self::KvAppend => "kv-append",
            Self::Set => "set",
            Self::Queue => "queue",
            Self::Stack => "stack",
            Self::Lock => "lock",
            Self::Counter => "counter",
            Self::ListAppend => "list-append",
        }
    }

    /// The kind of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name)
    }
}

/// A known error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Injection {
    /// A read shows what had been overwritten before it was called.
    StaleRead,
    /// An acknowledged write never takes effect, and a later read tells.
    LostWrite,
    /// A write takes effect a second time, after it was overwritten; what was taken is taken
    /// once more.
    DuplicatedWrite,
    /// A read shows what nobody has written.
    PhantomRead,
}

impl Injection {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::StaleRead,
        Self::LostWrite,
        Self::DuplicatedWrite,
        Self::PhantomRead,
    ];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::StaleRead => "stale-read",
            Self::LostWrite => "lost-write",
            Self::DuplicatedWrite => "dup-write",
            Self::PhantomRead => "phantom-read",
        }
    }

    /// The injection of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|injection| injection.name() == name)
    }

    /// Whether histories of `kind` can show it.
    pub fn fits(self, kind: ObjectKind) -> bool {
        use ObjectKind as K;
        match self {
            Self::StaleRead | Self::LostWrite => {
                matches!(kind, K::Register | K::CasRegister | K::Kv)
            }
            Self::DuplicatedWrite => matches!(
                kind,
                K::Register | K::CasRegister | K::Kv | K::Queue | K::Stack | K::ListAppend
            ),
            Self::PhantomRead => kind != K::Lock,
        }
    }
}

/// What nobody writes, adds, or puts in.
const NEVER_ADDED: i64 = -2;
/// Elements of a set that are asked for.
const ADDED_LATELY: usize = 16;

/// What the generated clients do.
#[derive(Clone, Debug)]
pub struct ObjectWorkload {
    /// All random choices follow from it.
    pub seed: u64,
    /// Which objects.
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
            injection: None,
        }
    }
}

#[derive(Clone, Debug)]
enum Object {
    /// 0 is nil; registers, locks, counters.
    Number(i64),
    Text(String),
    Members {
        members: BTreeSet<i64>,
        /// What was added lately, whether or not it is there.
        added: VecDeque<i64>,
    },
    Sequence(VecDeque<i64>),
}

#[derive(Clone, Debug)]
struct Pending {
    op: OperationId,
    key: u64,
    action: Action,
    /// Set once it took effect.
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

/// A write that was acknowledged without effect. Nobody else uses its key until a read
/// has shown the loss.
#[derive(Clone, Copy, Debug)]
struct LostWrite {
    op: OperationId,
    key: u64,
    is_acknowledged: bool,
}

impl ObjectHistory {
    /// The history of `workload`.
    pub fn new(workload: ObjectWorkload) -> Self {
        let object = match workload.kind {
            ObjectKind::KvAppend => Object::Text(String::new()),
            ObjectKind::Set => Object::Members {
                members: BTreeSet::new(),
                added: VecDeque::new(),
            },
            ObjectKind::Queue | ObjectKind::Stack | ObjectKind::ListAppend => {
                Object::Sequence(VecDeque::new())
            }
            _ => Object::Number(0),
        };
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
        let fresh = Value::Int(self.called as i64);
        let reads = self.random.chance(self.workload.reads);
        let current = match &self.objects[key as usize] {
            Object::Number(number) => number_value(*number),
            _ => Value::Nil,
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
            let apply = |step: &TxnStep| match step.key {
                Value::Int(key) => self.apply(key as u64, &step.action),
                _ => unreachable!("generated keys are numbers"),
            };
            return Answer::Txn(steps.iter().map(apply).collect());
        }
        match &mut self.objects[key as usize] {
            Object::Number(number) => match (self.workload.kind, action) {
                (ObjectKind::Counter, Action::Read) => Answer::Value(Value::Int(*number)),
                _ => apply_number(number, action),
            },
            Object::Text(text) => match action {
                Action::Append(Value::Text(more)) => {
                    text.push_str(more);
                    Answer::Done
                }
                _ => Answer::Value(Value::text(text)),
            },
            Object::Members { members, .. } => match action {
                Action::Add(Value::Int(member)) => Answer::Applied(members.insert(*member)),
                Action::Remove(Value::Int(member)) => Answer::Applied(members.remove(member)),
                Action::Contains(Value::Int(member)) => Answer::Applied(members.contains(member)),
                _ => Answer::Value(Value::list(members.iter().map(|m| Value::Int(*m)))),
            },
            Object::Sequence(sequence) => match action {
                Action::Enqueue(Value::Int(value))
                | Action::Push(Value::Int(value))
                | Action::Append(Value::Int(value)) => {
                    sequence.push_back(*value);
                    Answer::Done
                }
                Action::Dequeue => {
                    Answer::Value(sequence.pop_front().map_or(Value::Nil, Value::Int))
                }
                Action::Pop => Answer::Value(sequence.pop_back().map_or(Value::Nil, Value::Int)),
                _ => Answer::Value(Value::list(sequence.iter().map(|v| Value::Int(*v)))),
            },
        }
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
        match &self.objects[key as usize] {
            Object::Number(number) => Some(*number),
            _ => None,
        }
    }

    fn is_due(&self) -> bool {
        self.injection.is_some() && self.called * 3 > self.workload.operations * 2
    }

    /// Errors that change what an operation does or sees. Whether one was put in here.
    fn inject_into_effect(&mut self, pending: &mut Pending) -> bool {
        if !self.is_due() || pending.is_unknown {
            return false;
        }
        if let Action::Txn(_) = pending.action {
            return self.inject_into_txn(pending);
        }
        let wrong = match (self.injection, &pending.action) {
            (Some(Injection::PhantomRead), Action::Read | Action::Dequeue | Action::Pop) => {
                match &self.objects[pending.key as usize] {
                    Object::Text(_) => Value::text("written by nobody"),
                    Object::Members { .. } => Value::list([Value::Int(NEVER_ADDED)]),
                    Object::Number(_) | Object::Sequence(_) => Value::Int(NEVER_ADDED),
                }
            }
            (Some(Injection::PhantomRead), Action::Contains(Value::Int(NEVER_ADDED))) => {
                pending.answer = Some(Answer::Applied(true));
                self.injection = None;
                self.injected = true;
                return true;
            }
            (Some(Injection::DuplicatedWrite), Action::Dequeue | Action::Pop) => match self.taken {
                Some((key, taken)) if key == pending.key => Value::Int(taken),
                _ => return false,
            },
            _ => return false,
        };
        pending.answer = Some(Answer::Value(wrong));
        self.injection = None;
        self.injected = true;
        true
    }

    /// A transaction reads what nobody appended, or something twice.
    fn inject_into_txn(&mut self, pending: &mut Pending) -> bool {
        let Answer::Txn(mut answers) = self.apply(pending.key, &pending.action) else {
            unreachable!("a transaction is answered as one");
        };
        let read = answers.iter_mut().find_map(|answer| match answer {
            Answer::Value(Value::List(read)) if !read.is_empty() => Some(read),
            _ => None,
        });
        if let Some(read) = read {
            let wrong = match self.injection {
                Some(Injection::DuplicatedWrite) => read[0].clone(),
                _ => Value::Int(NEVER_ADDED),
            };
            *read = read.iter().cloned().chain([wrong]).collect();
            self.injection = None;
            self.injected = true;
        }
        // The transaction has taken effect, whatever it was told.
        pending.answer = Some(Answer::Txn(answers));
        true
    }

    /// Errors that need something acknowledged before the operation was called.
    fn inject_at_call(&mut self, pending: &mut Pending) {
        if !self.is_due() || pending.is_unknown {
            return;
        }
        if self.injection == Some(Injection::LostWrite) {
            let key = pending.key;
            let is_awaited = self.limbo.iter().any(|(waiting, _)| *waiting == key);
            let is_write = matches!(pending.action, Action::Write(_));
            if is_write && pending.quiet_before.is_some() && !is_awaited {
                pending.answer = Some(Answer::Done);
                self.injection = None;
                self.lost = Some(LostWrite {
                    op: pending.op,
                    key,
                    is_acknowledged: false,
                });
            }
            return;
        }
        let Some((written, before)) = self.overwritten.get(&pending.key).copied() else {
            return;
        };
        let Object::Number(now) = &mut self.objects[pending.key as usize] else {
            return;
        };
        if *now != written || pending.action != Action::Read {
            return;
        }
        match self.injection {
            Some(Injection::StaleRead) => {
                pending.answer = Some(Answer::Value(number_value(before)));
            }
            Some(Injection::DuplicatedWrite) => {
                *now = before;
                pending.answer = Some(Answer::Value(number_value(before)));
            }
            _ => return,
        }
        self.injection = None;
        self.injected = true;
    }

    /// A write is acknowledged; if it is still there, what it replaced is gone for good.
    fn note_acknowledged(&mut self, pending: &Pending) {
        if let (Action::Write(Value::Int(written)), Some(before)) =
            (&pending.action, pending.quiet_before)
            && matches!(&self.objects[pending.key as usize], Object::Number(now) if now == written)
        {
            self.overwritten.insert(pending.key, (*written, before));
        }
    }

    /// What the object holds, if nobody is using it and an operation of known outcome
    /// has written it: then nothing but that one write explains a read of it.
    fn quiet_value(&self, key: u64) -> Option<i64> {
        let is_used = self
            .clients
            .iter()
            .flatten()
            .any(|pending| pending.key == key);
        self.number(key)
            .filter(|number| *number > 0 && !is_used && !self.unsure.contains(&key))
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
        let key = match &action {
            Action::Txn(_) => Value::Nil,
            _ => Value::Int(key as i64),
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

fn number_value(number: i64) -> Value {
    if number == 0 {
        Value::Nil
    } else {
        Value::Int(number)
    }
}

fn apply_number(number: &mut i64, action: &Action) -> Answer {
    let of = |value: &Value| match value {
        Value::Int(number) => *number,
        _ => 0,
    };
    match action {
        Action::Read => Answer::Value(number_value(*number)),
        Action::Write(value) => {
            *number = of(value);
            Answer::Done
        }
        Action::Cas { from, to } => {
            let applies = *number == of(from);
            if applies {
                *number = of(to);
            }
            Answer::Applied(applies)
        }
        Action::Delete => {
            *number = 0;
            Answer::Done
        }
        Action::Acquire(owner) => {
            let applies = *number == 0;
            if applies {
                *number = of(owner);
            }
            Answer::Applied(applies)
        }
        Action::Release(owner) => {
            let applies = *number == of(owner);
            if applies {
                *number = 0;
            }
            Answer::Applied(applies)
        }
        Action::Increment(by) => {
            *number += by;
            Answer::Value(Value::Int(*number))
        }
        _ => unreachable!("numbers are not asked this"),
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
