//! Known errors, and where they are put in.

use super::state::{NEVER_ADDED, Object, number_value};
use super::{ObjectHistory, ObjectKind, Pending};
use crate::OperationId;
use crate::object::{Action, Answer, Value};

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
    /// Every one, in the order in which they are listed for people.
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
            Self::PhantomRead => !matches!(kind, K::Lock | K::Log),
        }
    }
}

/// A write that was acknowledged without effect. Nobody else uses its key until a read
/// has shown the loss.
#[derive(Clone, Copy, Debug)]
pub(super) struct LostWrite {
    pub op: OperationId,
    pub key: u64,
    pub is_acknowledged: bool,
}

impl ObjectHistory {
    pub(super) fn is_due(&self) -> bool {
        self.injection.is_some() && self.called * 3 > self.workload.operations * 2
    }

    /// Errors that change what an operation does or sees. Whether one was put in here.
    pub(super) fn inject_into_effect(&mut self, pending: &mut Pending) -> bool {
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
        let read = answers.iter_mut().find_map(|answer| {
            let Answer::Value(Value::List(read)) = answer else {
                return None;
            };
            Some(read).filter(|read| !read.is_empty())
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
    pub(super) fn inject_at_call(&mut self, pending: &mut Pending) {
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
    pub(super) fn note_acknowledged(&mut self, pending: &Pending) {
        if let (Action::Write(Value::Int(written)), Some(before)) =
            (&pending.action, pending.quiet_before)
            && matches!(&self.objects[pending.key as usize], Object::Number(now) if now == written)
        {
            self.overwritten.insert(pending.key, (*written, before));
        }
    }

    /// What the object holds, if nobody is using it and an operation of known outcome
    /// has written it: then nothing but that one write explains a read of it.
    pub(super) fn quiet_value(&self, key: u64) -> Option<i64> {
        let is_used = self
            .clients
            .iter()
            .flatten()
            .any(|pending| pending.key == key);
        self.number(key)
            .filter(|number| *number > 0 && !is_used && !self.unsure.contains(&key))
    }
}
