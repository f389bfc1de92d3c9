//! What of a history may be judged: everything up to the first line that could not be read, and
//! beyond it the objects that the line certainly was not about.
//!
//! Up to there an answer that nothing explains is a violation, whatever comes after; beyond, no
//! verdict about what the line may have touched is worth anything.

use rustc_hash::FxHashSet;
use veridical_histories::formats::{Affected, ReadError};
use veridical_histories::object::{ObjectEvent, Value};
use veridical_histories::{EventKind, OperationId};

use super::ends::Ends;
use super::report::Report;
use crate::verdict::{Cause, Malformed, MalformedReason, Undecided};

/// Bad lines that are reported one by one; more are only counted.
const BAD_LINES_SHOWN_MAX: usize = 20;
/// Objects that are left out one by one; once there are more, everything is.
const LEFT_OUT_MAX: usize = 1 << 12;

/// What could not be read of a history, and what that leaves to be judged.
#[derive(Debug, Default)]
pub(super) struct Damage {
    first: Option<Undecided>,
    is_everything: bool,
    reaches_back: bool,
    keys: FxHashSet<Value>,
}

impl Damage {
    /// Whether nothing can be judged any more.
    pub fn is_everything(&self) -> bool {
        self.is_everything
    }

    /// Whether a line is missing, or in the wrong place, before the one that showed it: then
    /// nothing that came before is certain either.
    pub fn reaches_back(&self) -> bool {
        self.reaches_back
    }

    /// What cannot be judged, if there is anything.
    pub fn undecided(&self) -> Option<&Undecided> {
        self.first.as_ref()
    }

    /// Notes that `affected` cannot be judged because of `what`, from the event `event` on.
    fn note(&mut self, affected: &Affected, key: Option<Value>, event: u64, what: String) {
        let key = match affected {
            Affected::History => None,
            Affected::Key(key) => Some(key.clone()),
            Affected::Operation { key: told, .. } => told.clone().or(key),
        };
        let is_first = self.first.is_none();
        if is_first {
            self.first = Some(Undecided {
                cause: Cause::Unreadable,
                key: key.as_ref().map(Value::to_string),
                events: (event, event),
                text: what,
            });
        }
        match key {
            Some(key) if self.keys.len() < LEFT_OUT_MAX => {
                self.keys.insert(key);
            }
            Some(_) | None => self.is_everything = true,
        }
    }
}

/// Stands between who reads a history of objects and who judges it.
#[derive(Debug, Default)]
pub(super) struct Intake {
    damage: Damage,
    /// Whether objects are judged one by one.
    are_keys_apart: bool,
    /// Whether lines are known: then open operations are watched.
    has_lines: bool,
    /// Whether a client waits for the end of an operation before it calls the next.
    clients_wait: bool,
    /// Which operations are open, with their keys.
    ends: Ends<Value>,
    /// Operations that are open and left out.
    left_out: FxHashSet<OperationId>,
}

/// Whether an event is judged.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// It is, and is the end of an operation about `key`, if that is known.
    Judged { key: Option<Value> },
    /// It is about something that cannot be judged any more.
    LeftOut,
}

impl Intake {
    /// For a history that is read line by line, or in blocks.
    pub fn new(has_lines: bool, clients_wait: bool) -> Self {
        Self {
            has_lines,
            clients_wait,
            ..Self::default()
        }
    }

    /// Lets what cannot be read affect one object alone, where that is certain.
    pub fn keep_keys_apart(&mut self) {
        self.are_keys_apart = true;
    }

    /// What could not be read.
    pub fn damage(&self) -> &Damage {
        &self.damage
    }

    /// Takes in an error of the reader; `key` is that of its operation where the call was read,
    /// but not admitted yet. `false` where it may be a consequence of an earlier one
    /// and is not worth telling.
    pub fn refuse(&mut self, error: &ReadError, key: Option<Value>, event: u64) -> bool {
        if self.damage.is_everything && error.may_be_consequence() {
            return false;
        }
        self.damage.reaches_back |= error.is_about_earlier_lines();
        self.leave_out(error.affected(), key, event, error.to_string());
        true
    }

    fn leave_out(&mut self, affected: &Affected, key: Option<Value>, event: u64, what: String) {
        let mut key = key;
        if let Affected::Operation { op, key: told } = affected {
            key = self.ends.forget(*op).or(key);
            if key.is_some() || told.is_some() {
                self.left_out.insert(*op);
            }
        }
        let affected = match self.are_keys_apart {
            true => affected,
            false => &Affected::History,
        };
        self.damage.note(affected, key, event, what);
    }

    /// Whether a checker has to see this event.
    pub fn admit(&mut self, event: &ObjectEvent, line: Option<u64>) -> Admission {
        match &event.kind {
            EventKind::Call { op, input } => {
                if self.damage.keys.contains(&input.key) {
                    self.left_out.insert(*op);
                    return Admission::LeftOut;
                }
                if self.has_lines {
                    self.ends.called(*op, event.client, line, input.key.clone());
                }
                Admission::Judged { key: None }
            }
            EventKind::Return { op, .. } | EventKind::Unknown { op } | EventKind::Failed { op } => {
                if !self.left_out.is_empty() && self.left_out.remove(op) {
                    return Admission::LeftOut;
                }
                let Some(key) = self.ends.ended(*op, self.clients_wait) else {
                    return Admission::Judged { key: None };
                };
                match self.damage.keys.contains(&key) {
                    true => Admission::LeftOut,
                    false => Admission::Judged { key: Some(key) },
                }
            }
            EventKind::Note { note } => match *note {},
        }
    }

    /// Follows an event that is not judged any more; why it shows that a line before it is
    /// missing, if it does.
    pub fn is_out_of_step(&mut self, event: &ObjectEvent, line: Option<u64>) -> Option<String> {
        let op = event.operation()?;
        let is_wrong = match self.admit(event, line) {
            _ if !self.ends.are_all_watched() => false,
            Admission::Judged { key } => !event.is_call() && key.is_none(),
            Admission::LeftOut => false,
        };
        is_wrong.then(|| call_is_missing(op, line))
    }

    /// Takes in that a checker refused an event that was admitted with `key`, and tells why in a
    /// line.
    pub fn malformed(
        &mut self,
        malformed: &Malformed,
        event: &ObjectEvent,
        key: Option<Value>,
        line: Option<u64>,
    ) -> String {
        let what = match line {
            Some(line) => format!("line {line}: {}", malformed.reason),
            None => malformed.to_string(),
        };
        let affected = match (&malformed.reason, &event.kind, key) {
            (MalformedReason::InputOfOtherKind(op), EventKind::Call { input, .. }, _) => {
                Affected::Operation {
                    op: *op,
                    key: Some(input.key.clone()),
                }
            }
            (MalformedReason::OutputOfOtherKind(_), _, Some(key)) => Affected::Key(key),
            _ => {
                self.damage.reaches_back = true;
                Affected::History
            }
        };
        self.leave_out(&affected, None, malformed.event, what.clone());
        what
    }

    /// How many operations are open and watched.
    pub fn open_count(&self) -> usize {
        self.ends.open_count()
    }

    /// Takes in that more operations are open than there is memory for.
    pub fn too_many_open(&mut self, event: u64) {
        self.damage.is_everything = true;
        let open = self.ends.open_count();
        self.damage.first.get_or_insert_with(|| Undecided {
            cause: Cause::Memory,
            key: None,
            events: (event, event),
            text: format!("{open} operations are open, which is more than there is memory for"),
        });
    }

    /// Takes in that a line is missing or in the wrong place, so that nothing can be judged.
    pub fn give_up(&mut self, event: u64, what: String) {
        self.damage.reaches_back = true;
        self.leave_out(&Affected::History, None, event, what);
    }

    /// Takes in operations whose ends are missing although their clients went on; tells of each
    /// in a line. To be asked at the end of the history.
    pub fn missing_ends(&mut self, event: u64) -> Vec<String> {
        if self.damage.is_everything || !self.clients_wait {
            return Vec::new();
        }
        let missing = self.ends.missing().into_iter().map(|(op, what)| {
            let affected = Affected::Operation { op, key: None };
            self.leave_out(&affected, None, event, what.clone());
            what
        });
        missing.collect()
    }
}

/// Why an end betrays that a line before it is missing.
pub(super) fn call_is_missing(op: OperationId, line: Option<u64>) -> String {
    let line = line.unwrap_or(0);
    format!("line {line}: operation {op} ends, but it is not open: its call is missing")
}

impl Report {
    /// Counts a line that could not be read, and keeps the first of them.
    pub(super) fn bad_line(&mut self, what: String) {
        self.bad_line_count += 1;
        if self.bad_lines.len() < BAD_LINES_SHOWN_MAX {
            self.bad_lines.push(what);
        }
    }
}
