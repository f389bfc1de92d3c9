//! Which process has which operation under way.

use std::collections::BTreeMap;

use crate::OperationId;
use crate::formats::edn::Form;
use crate::object::{ObjectEvent, Request, Value};
use crate::reading::{Affected, Place, ReadError};

/// Operations of processes, numbered as they are called.
#[derive(Debug, Default)]
pub(in crate::formats) struct Processes {
    open: BTreeMap<Process, Open>,
    /// The session of each process that is not simply its number: one that lost an operation
    /// gets a new one.
    sessions: BTreeMap<Process, u64>,
    next_session: u64,
    next_op: u64,
}

/// The name of a process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::formats) enum Process {
    Number(i64),
    Name(String),
}

impl Process {
    /// Whether `form`, the field of an event, names this process.
    pub fn is_named_by(&self, form: Option<&Form>) -> bool {
        match (self, form) {
            (Self::Number(number), Some(Form::Int(other))) => number == other,
            (Self::Name(name), Some(Form::Keyword(other) | Form::Text(other))) => name == other,
            _ => false,
        }
    }
}

/// An operation that was called and has not ended.
#[derive(Debug)]
pub(in crate::formats) enum Open {
    Readable {
        op: OperationId,
        request: Request,
        /// The function, as it is written.
        f: String,
        /// Where it was called.
        line: u64,
        /// Whether its answer is a pair of its key and a value.
        is_tuple: bool,
    },
    /// A drain: a dequeue for each value that it took, and one that found nothing.
    Drain {
        ops: Vec<OperationId>,
        taken: Vec<Value>,
    },
    /// Its call could not be read, and was reported.
    Unreadable,
}

/// What an event says of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::formats) enum Kind {
    Invoke,
    Ok,
    Fail,
    Info,
}

impl Kind {
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "invoke" => Self::Invoke,
            "ok" => Self::Ok,
            "fail" => Self::Fail,
            "info" => Self::Info,
            _ => return None,
        })
    }
}

impl Processes {
    /// The client session of a process: its number, unless it has a name or lost an operation.
    pub fn session(&mut self, process: &Process) -> u64 {
        match (self.sessions.get(process), process) {
            (Some(session), _) => *session,
            (None, Process::Number(number @ 0..=0xffff_ffff)) => *number as u64,
            (None, Process::Number(_) | Process::Name(_)) => self.new_session(process),
        }
    }

    fn new_session(&mut self, process: &Process) -> u64 {
        self.next_session = self.next_session.max(1 << 32) + 1;
        self.sessions.insert(process.clone(), self.next_session);
        self.next_session
    }

    fn new_op(&mut self) -> OperationId {
        self.next_op += 1;
        OperationId(self.next_op - 1)
    }

    /// Opens an operation. Where the end of the one before is missing, an error comes with it:
    /// its outcome is not known.
    pub fn call(
        &mut self,
        process: Process,
        place: Place,
        time_ns: u64,
        f: &str,
        request: Request,
    ) -> (ObjectEvent, Option<ReadError>) {
        let lost = self.refuse_lost(&process, place);
        let op = self.new_op();
        let session = self.session(&process);
        let open = Open::Readable {
            op,
            request: request.clone(),
            f: f.to_owned(),
            line: place.line,
            is_tuple: false,
        };
        self.open.insert(process, open);
        let event = ObjectEvent::call(time_ns, session, op, request);
        (event, lost)
    }

    /// The error of an operation that is still open when its process calls another one.
    fn refuse_lost(&mut self, process: &Process, place: Place) -> Option<ReadError> {
        let lost = self.open.remove(process)?;
        // The operation stays open for good, and what comes is another session's.
        self.new_session(process);
        let (affects, begun) = match lost {
            Open::Readable { op, line, .. } => (
                Affected::Operation { op, key: None },
                format!(" of line {line}"),
            ),
            Open::Drain { .. } => (Affected::History, String::new()),
            // It was reported.
            Open::Unreadable => return None,
        };
        let expected = format!("the end of this process's operation{begun} before the next");
        Some(ReadError::misplaced(place, expected, affects))
    }

    /// Opens an operation whose call could not be read.
    pub fn call_unreadable(&mut self, process: Process) {
        self.open.insert(process, Open::Unreadable);
    }

    /// Lets the answer of the operation that `process` has open be a pair of key and value.
    pub fn answers_are_tuples(&mut self, process: &Process) {
        if let Some(Open::Readable { is_tuple, .. }) = self.open.get_mut(process) {
            *is_tuple = true;
        }
    }

    /// Opens a drain that will have taken `taken`: the calls of its dequeues.
    pub fn call_drain(
        &mut self,
        process: Process,
        place: Place,
        time_ns: u64,
        request: &Request,
        taken: Vec<Value>,
    ) -> Result<Vec<ObjectEvent>, ReadError> {
        if let Some(error) = self.refuse_lost(&process, place) {
            self.call_unreadable(process);
            return Err(error);
        }
        let session = self.session(&process);
        let ops: Vec<OperationId> = (0..=taken.len()).map(|_| self.new_op()).collect();
        let calls = ops
            .iter()
            .map(|op| ObjectEvent::call(time_ns, session, *op, request.clone()));
        let calls = calls.collect();
        self.open.insert(process, Open::Drain { ops, taken });
        Ok(calls)
    }

    /// Ends the operation of a process with an event of the function `f`.
    pub fn end(&mut self, process: &Process, place: Place, f: &str) -> Result<Open, ReadError> {
        let Some(open) = self.open.remove(process) else {
            let expected = "an :invoke before this";
            return Err(ReadError::misplaced(place, expected, Affected::History));
        };
        match &open {
            Open::Readable {
                op,
                f: called,
                line,
                ..
            } if called != f => {
                let expected = format!("the end of the :{called} of line {line}, found :{f}");
                let affects = Affected::Operation { op: *op, key: None };
                Err(ReadError::misplaced(place, expected, affects))
            }
            Open::Readable { .. } | Open::Drain { .. } | Open::Unreadable => Ok(open),
        }
    }

    /// Ends the session of a process together with its operation, whose outcome is not known.
    pub fn lose(&mut self, process: &Process) {
        self.new_session(process);
    }
}
