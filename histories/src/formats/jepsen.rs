//! Jepsen's histories as EDN, which Porcupine's kv logs are, too. Their other form, lines of
//! a log, is read by [`super::jepsen_log`].
//!
//! `:invoke` calls, `:ok` returns, `:info` leaves the outcome unknown and the process
//! goes on under a new number, `:fail` had no effect. In a log, `:fail :cas` is a
//! comparison that failed, as Porcupine has it; in EDN it is dropped, as Knossos does.

use std::collections::BTreeMap;
use std::io::BufRead;

use super::edn::{Form, Parser};
use super::error::{Place, ReadError};
use crate::OperationId;
use crate::object::{Action, Answer, ObjectEvent, Request, TxnStep, Value};

/// Operations of processes, numbered as they are called.
#[derive(Debug, Default)]
pub(super) struct Processes {
    pub open: BTreeMap<Process, (OperationId, Request)>,
    /// The session of each process; a process that lost an operation gets a new one.
    sessions: BTreeMap<Process, u64>,
    next_session: u64,
    next_op: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Process {
    Number(i64),
    Name(String),
}

impl Processes {
    pub fn session(&mut self, process: &Process) -> u64 {
        if let Some(session) = self.sessions.get(process) {
            return *session;
        }
        let session = match process {
            Process::Number(number) if *number >= 0 && self.next_session == 0 => *number as u64,
            Process::Number(_) | Process::Name(_) => {
                self.next_session = self.next_session.max(1 << 32) + 1;
                self.next_session
            }
        };
        self.sessions.insert(process.clone(), session);
        session
    }

    pub fn call(
        &mut self,
        process: Process,
        time_ns: u64,
        request: Request,
    ) -> Option<ObjectEvent> {
        if self.open.contains_key(&process) {
            return None;
        }
        let op = OperationId(self.next_op);
        self.next_op += 1;
        let session = self.session(&process);
        self.open.insert(process, (op, request.clone()));
        Some(ObjectEvent::call(time_ns, session, op, request))
    }

    pub fn lose(&mut self, process: &Process) {
        // The session ends with its operation.
        self.next_session = self.next_session.max(1 << 32) + 1;
        self.sessions.insert(process.clone(), self.next_session);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
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

/// Reads a history in EDN.
#[derive(Debug)]
pub struct EdnReader<R> {
    parser: Parser<R>,
    processes: Processes,
    index: u64,
}

impl<R: BufRead> EdnReader<R> {
    /// A reader from `source`.
    pub fn new(source: R) -> Self {
        Self {
            parser: Parser::new(source),
            processes: Processes::default(),
            index: 0,
        }
    }

    fn next_event(&mut self) -> Result<Option<ObjectEvent>, ReadError> {
        loop {
            let Some((place, form)) = self.parser.next_form()? else {
                return Ok(None);
            };
            if !matches!(form, Form::Map(_)) {
                return Err(ReadError::syntax(
                    place,
                    "a map that describes an operation",
                ));
            }
            self.index += 1;
            if let Some(event) = self.event(place, &form)? {
                return Ok(Some(event));
            }
        }
    }

    fn event(&mut self, place: Place, form: &Form) -> Result<Option<ObjectEvent>, ReadError> {
        let wrong = |expected: &str| ReadError::syntax(place, expected);
        let keyword = |name: &str| match form.get(name) {
            Some(Form::Keyword(value) | Form::Text(value) | Form::Symbol(value)) => Some(value),
            _ => None,
        };
        let process = match form.get("process") {
            Some(Form::Int(number)) => Process::Number(*number),
            // What the nemesis does is no operation.
            Some(Form::Keyword(name)) if name == "nemesis" => return Ok(None),
            Some(Form::Keyword(name) | Form::Text(name)) => Process::Name(name.clone()),
            _ => return Err(wrong("a :process")),
        };
        let kind = keyword("type")
            .and_then(|name| Kind::from_name(name))
            .ok_or_else(|| wrong("a :type of :invoke, :ok, :fail or :info"))?;
        let f = keyword("f").ok_or_else(|| wrong("an :f"))?.clone();
        let time_ns = match form.get("time") {
            Some(Form::Int(time_ns)) if *time_ns >= 0 => *time_ns as u64,
            _ => self.index,
        };
        let value = form.get("value").unwrap_or(&Form::Nil);
        let value = match form.get("key") {
            Some(key) => Form::Sequence(vec![key.clone(), value.clone()]),
            None => value.clone(),
        };
        let is_keyed = form.get("key").is_some();
        if kind == Kind::Invoke {
            let request = request(&f, &value, is_keyed, &process)
                .ok_or_else(|| wrong("an :f and a :value of a known kind of operation"))?;
            return match self.processes.call(process, time_ns, request) {
                Some(event) => Ok(Some(event)),
                None => Err(wrong("the end of this process's operation before the next")),
            };
        }
        let Some((op, request)) = self.processes.open.remove(&process) else {
            // Some tests log what happened outside operations as :info.
            return if kind == Kind::Info {
                Ok(None)
            } else {
                Err(wrong("an :invoke before this"))
            };
        };
        let session = self.processes.session(&process);
        Ok(Some(match kind {
            Kind::Ok => {
                let answer = answer(&request.action, &value, is_keyed)
                    .ok_or_else(|| wrong("a :value that answers the operation"))?;
                ObjectEvent::returned(time_ns, session, op, answer)
            }
            Kind::Fail => ObjectEvent::failed(time_ns, session, op),
            Kind::Info => {
                self.processes.lose(&process);
                ObjectEvent::unknown(time_ns, session, op)
            }
            Kind::Invoke => unreachable!("handled above"),
        }))
    }
}

impl<R: BufRead> Iterator for EdnReader<R> {
    type Item = Result<ObjectEvent, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let before = self.parser.place();
        let result = self.next_event().transpose();
        // After an error that consumed nothing the rest of the line is skipped.
        if let Some(Err(ReadError::Syntax { .. })) = &result
            && self.parser.place() == before
            && let Err(error) = self.parser.skip_line()
        {
            return Some(Err(error));
        }
        result
    }
}

/// A form as a value.
pub(super) fn to_value(form: &Form) -> Value {
    match form {
        Form::Nil => Value::Nil,
        Form::Int(number) => Value::Int(*number),
        Form::Bool(value) => Value::text(if *value { "true" } else { "false" }),
        Form::Float(number) => Value::text(&number.to_string()),
        Form::Text(text) | Form::Symbol(text) => Value::text(text),
        Form::Keyword(name) => Value::text(&format!(":{name}")),
        Form::Sequence(forms) => Value::list(forms.iter().map(to_value)),
        Form::Map(pairs) => Value::list(
            pairs
                .iter()
                .map(|(key, value)| Value::list([to_value(key), to_value(value)])),
        ),
    }
}

/// The two forms of a sequence of two.
fn pair(form: &Form) -> Option<&[Form; 2]> {
    let Form::Sequence(forms) = form else {
        return None;
    };
    forms.as_slice().try_into().ok()
}

/// Key and value, where the value is a tuple of the two.
fn split(f: &str, form: &Form, is_keyed: bool) -> (Value, Form) {
    let Some([key, value]) = pair(form) else {
        return (Value::Nil, form.clone());
    };
    let is_tuple = is_keyed
        || match f {
            // [key [old new]], but not [old new].
            "cas" => pair(value).is_some(),
            "read" | "write" | "get" | "put" => true,
            _ => false,
        };
    if is_tuple {
        (to_value(key), value.clone())
    } else {
        (Value::Nil, form.clone())
    }
}

pub(super) fn request(f: &str, form: &Form, is_keyed: bool, process: &Process) -> Option<Request> {
    if f == "txn" {
        let Form::Sequence(steps) = form else {
            return None;
        };
        let steps = steps.iter().map(step).collect::<Option<_>>()?;
        return Some(Request {
            key: Value::Nil,
            action: Action::Txn(steps),
        });
    }
    let (key, form) = split(f, form, is_keyed);
    let value = || to_value(&form);
    let owner = || match process {
        Process::Number(number) => Value::Int(*number),
        Process::Name(name) => Value::text(name),
    };
    let action = match f {
        "read" | "get" | "r" => Action::Read,
        "write" | "put" | "set" | "w" => Action::Write(value()),
        "append" => Action::Append(value()),
        "delete" => Action::Delete,
        "cas" | "compare-and-set" => {
            let [from, to] = pair(&form)?;
            Action::Cas {
                from: to_value(from),
                to: to_value(to),
            }
        }
        "add" => Action::Add(value()),
        "remove" => Action::Remove(value()),
        "contains" => Action::Contains(value()),
        "enqueue" => Action::Enqueue(value()),
        "dequeue" => Action::Dequeue,
        "push" => Action::Push(value()),
        "pop" => Action::Pop,
        "acquire" | "lock" => Action::Acquire(owner()),
        "release" | "unlock" => Action::Release(owner()),
        "increment" | "inc" if form == Form::Nil => Action::Increment(1),
        "increment" | "inc" => {
            let Form::Int(by) = form else {
                return None;
            };
            Action::Increment(by)
        }
        _ => return None,
    };
    Some(Request { key, action })
}

fn step(form: &Form) -> Option<TxnStep> {
    let Form::Sequence(parts) = form else {
        return None;
    };
    let [f, key, value] = parts.as_slice() else {
        return None;
    };
    let (Form::Keyword(f) | Form::Text(f) | Form::Symbol(f)) = f else {
        return None;
    };
    let action = match f.as_str() {
        "r" | "read" => Action::Read,
        "w" | "write" => Action::Write(to_value(value)),
        "append" => Action::Append(to_value(value)),
        _ => return None,
    };
    Some(TxnStep {
        key: to_value(key),
        action,
    })
}

fn answer(action: &Action, form: &Form, is_keyed: bool) -> Option<Answer> {
    Some(match action {
        Action::Txn(steps) => {
            let Form::Sequence(answers) = form else {
                return None;
            };
            if answers.len() != steps.len() {
                return None;
            }
            let answers = steps.iter().zip(answers).map(|(step, answer)| {
                let Form::Sequence(parts) = answer else {
                    return None;
                };
                let value = parts.get(2)?;
                Some(if step.action == Action::Read {
                    Answer::Value(to_value(value))
                } else {
                    Answer::Done
                })
            });
            Answer::Txn(answers.collect::<Option<_>>()?)
        }
        Action::Read => Answer::Value(to_value(&split("read", form, is_keyed).1)),
        Action::Dequeue | Action::Pop => {
            Answer::Value(to_value(&split("dequeue", form, is_keyed).1))
        }
        Action::Contains(_) => {
            let Form::Bool(contains) = split("contains", form, is_keyed).1 else {
                return None;
            };
            Answer::Applied(contains)
        }
        Action::Cas { .. } | Action::Acquire(_) | Action::Release(_) => Answer::Applied(true),
        Action::Write(_) | Action::Delete | Action::Append(_) | Action::Add(_) => Answer::Done,
        Action::Remove(_) | Action::Enqueue(_) | Action::Push(_) => Answer::Done,
        Action::Increment(_) | Action::LogAppend(_) | Action::CheckTail => Answer::Done,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edn(text: &str) -> Vec<ObjectEvent> {
        EdnReader::new(text.as_bytes())
            .collect::<Result<_, _>>()
            .unwrap()
    }

    #[test]
    fn keys_come_from_a_field_or_from_a_tuple() {
        let field = edn(
            r#"{:process 0, :type :invoke, :f :get, :key "7", :value nil}
            {:process 0, :type :ok, :f :get, :key "7", :value ""}"#,
        );
        let tuple = edn(
            r#"[{:f :get :value ["7" nil] :process 0 :type :invoke :index 0}
            {:f :get, :value ["7" ""], :process 0, :type :ok, :index 1}]"#,
        );
        assert_eq!(field, tuple);
        assert_eq!(
            field[0],
            ObjectEvent::call(
                1,
                0,
                OperationId(0),
                Request {
                    key: "7".into(),
                    action: Action::Read
                }
            )
        );
    }

    #[test]
    fn transactions_carry_their_steps_and_answers() {
        let events = edn("({:type :invoke, :f :txn, :value [[:append 5 1] [:r 5 nil]], :time 32, :process 0, :index 0}
            {:type :ok, :f :txn, :value [[:append 5 1] [:r 5 [1]]], :time 40, :process 0, :index 1})");
        assert_eq!(events[0].time_ns, 32);
        assert_eq!(
            events[1],
            ObjectEvent::returned(
                40,
                0,
                OperationId(0),
                Answer::Txn(vec![Answer::Done, Answer::Value(Value::list([1.into()]))])
            )
        );
    }

    #[test]
    fn a_process_that_lost_an_operation_goes_on_as_somebody_else() {
        let events = edn("{:type :invoke, :f :write, :value 3, :process 1}
            {:type :info, :f :write, :value 3, :process 1}
            {:type :info, :f :start, :value nil, :process :nemesis}
            {:type :invoke, :f :cas, :value [3 4], :process 1}");
        assert_eq!(events.len(), 3);
        assert_ne!(events[2].client, events[0].client);
    }
}
