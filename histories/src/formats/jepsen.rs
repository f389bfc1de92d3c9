//! Jepsen's histories as EDN, which Porcupine's kv logs are, too. Their other form, lines of
//! a log, is read by [`super::jepsen_log`].
//!
//! `:invoke` calls, `:ok` returns, `:info` leaves the outcome unknown and the process
//! goes on under a new number, `:fail` had no effect. In EDN that goes for a comparison that
//! failed as well, as Knossos has it.

mod keys;
mod processes;

use std::collections::VecDeque;
use std::io::BufRead;

use super::Keys;
use super::edn::{Form, Parser};
use crate::object::{Action, Answer, ObjectEvent, Request, TxnStep, Value};
use crate::reading::EventReader;
use crate::reading::{Affected, Place, ReadError};
use keys::{Keying, split};
pub(super) use processes::{Kind, Open, Process, Processes};

/// Events that may wait for what tells how they are to be read.
const WAITING_MAX: usize = 10_000;
/// The fields of an event that mean something; others are for people.
const FIELDS: [&str; 7] = ["process", "type", "f", "value", "time", "index", "key"];

/// Reads a value as EDN writes it: `3`, `"text"`, `[1 2]`, `nil`.
///
/// # Errors
/// [`ReadError::Syntax`] where it is none, or more than one.
pub fn parse_value(text: &str) -> Result<Value, ReadError> {
    let mut parser = Parser::new(text.as_bytes(), 1 << 20);
    let form = parser.next_inner_form()?;
    let place = parser.place();
    match (form, parser.next_inner_form()?) {
        (Some(Form::Symbol(name)), None) if name == "null" => Ok(Value::Nil),
        (Some(form), None) => Ok(to_value(&form)),
        (None, _) => Err(ReadError::syntax(place, "a value")),
        (Some(_), Some(_)) => Err(ReadError::syntax(place, "one value alone")),
    }
}

/// In which order the events of a history stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// As `:index` says. Times are only told: clocks are read before an event is recorded.
    Index(i64),
    /// As `:time` says, in nanoseconds.
    Time(u64),
    /// As they are written.
    Place,
}

/// Reads a history in EDN.
#[derive(Debug)]
pub struct EdnReader<R> {
    parser: Parser<R>,
    processes: Processes,
    keying: Keying,
    /// How the events are ordered, once one was read.
    order: Option<Order>,
    last_time_ns: u64,
    /// Maps that were read ahead, with what they take in memory.
    ahead: VecDeque<(Place, Form)>,
    ahead_bytes: u64,
    ahead_bytes_max: u64,
    /// Why reading ahead ended; told after everything that stands before.
    failure: Option<ReadError>,
    has_ended: bool,
    /// What was made of the map that was read last, and is not given out yet.
    events: VecDeque<Result<ObjectEvent, ReadError>>,
    line: u64,
}

/// An event of a process, taken apart.
struct Fields<'a> {
    place: Place,
    process: Process,
    kind: Kind,
    f: &'a str,
    time_ns: u64,
    value: Option<&'a Form>,
    key: Option<&'a Form>,
}

impl<R: BufRead> EdnReader<R> {
    /// A reader from `source`, in which one form may take `form_bytes_max` bytes of memory.
    pub fn new(source: R, keys: Keys, form_bytes_max: u64) -> Self {
        Self {
            parser: Parser::new(source, form_bytes_max),
            processes: Processes::default(),
            keying: Keying::new(keys),
            order: None,
            last_time_ns: 0,
            ahead: VecDeque::new(),
            ahead_bytes: 0,
            ahead_bytes_max: form_bytes_max,
            failure: None,
            has_ended: false,
            events: VecDeque::new(),
            line: 0,
        }
    }

    /// Reads one more map ahead; `false` where there is none, or no room for it.
    fn read_ahead(&mut self) -> bool {
        let is_full = self.ahead.len() >= WAITING_MAX || self.ahead_bytes >= self.ahead_bytes_max;
        if self.has_ended || self.failure.is_some() || is_full {
            return false;
        }
        match self.parser.next_form() {
            Ok(None) => self.has_ended = true,
            Ok(Some((place, form @ Form::Map(_)))) => {
                self.ahead_bytes += self.parser.form_bytes();
                self.ahead.push_back((place, form));
                return true;
            }
            Ok(Some((place, _))) => {
                let expected = "a map that describes an operation";
                self.failure = Some(ReadError::syntax(place, expected));
            }
            Err(error) => {
                // What follows in the same line is a part of what could not be read.
                if error.is_local()
                    && let Err(error) = self.parser.skip_line()
                {
                    self.failure = Some(error);
                    return false;
                }
                self.failure = Some(error);
            }
        }
        false
    }

    /// Decides what a pair of values is, reading ahead as far as that takes.
    fn decide_keys(&mut self) {
        let mut looked_at = 0;
        while !self.keying.is_decided() {
            if looked_at == self.ahead.len() && !self.read_ahead() {
                let refused = self.keying.decide_without_evidence();
                self.events.extend(refused.map(Err));
                return;
            }
            let (place, form) = &self.ahead[looked_at];
            self.keying.look_at(*place, form);
            looked_at += 1;
        }
    }

    fn next_event(&mut self) -> Option<Result<ObjectEvent, ReadError>> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            if self.ahead.is_empty() && !self.read_ahead() {
                let failure = self.failure.take();
                if let Some(ReadError::Syntax { line, .. }) = &failure {
                    self.line = *line;
                }
                return failure.map(Err);
            }
            self.decide_keys();
            let (place, form) = self.ahead.pop_front().expect("a map was read");
            if self.ahead.is_empty() {
                self.ahead_bytes = 0;
            }
            self.line = place.line;
            if let Err(error) = self.event(place, &form) {
                self.events.push_back(Err(error));
            }
        }
    }

    /// Takes a map apart; `None` for what is no operation of a client.
    fn fields<'a>(
        &mut self,
        place: Place,
        form: &'a Form,
    ) -> Result<Option<Fields<'a>>, ReadError> {
        let wrong = |expected: &str| ReadError::syntax(place, expected);
        let process = match form.get("process") {
            Some(Form::Int(number)) => Process::Number(*number),
            // What the nemesis does is no operation.
            Some(Form::Keyword(name)) if name == "nemesis" => return Ok(None),
            Some(Form::Keyword(name) | Form::Text(name)) => Process::Name(name.clone()),
            _ => return Err(wrong("a :process")),
        };
        let kind = (form.get("type").and_then(Form::name))
            .and_then(Kind::from_name)
            .ok_or_else(|| wrong("a :type of :invoke, :ok, :fail or :info"))?;
        let f = (form.get("f").and_then(Form::name)).ok_or_else(|| wrong("an :f"))?;
        refuse_misspelt(place, form)?;
        for field in ["key", "value"] {
            if let Some(symbol) = form.get(field).and_then(Form::symbol) {
                return Err(wrong(&format!(
                    "a value in :{field}, found the symbol {symbol}"
                )));
            }
        }
        let time_ns = self.time_of(place, form)?;
        Ok(Some(Fields {
            place,
            process,
            kind,
            f,
            time_ns,
            value: form.get("value"),
            key: form.get("key"),
        }))
    }

    /// The time of an event. It ascends, strictly where `:index` orders the events.
    fn time_of(&mut self, place: Place, form: &Form) -> Result<u64, ReadError> {
        let wrong = |expected: String| ReadError::syntax(place, expected);
        let time_ns = match form.get("time") {
            None | Some(Form::Nil) => None,
            Some(Form::Int(time_ns)) => Some(
                u64::try_from(*time_ns)
                    .map_err(|_| wrong("a :time of at least 0 ns".to_owned()))?,
            ),
            Some(_) => return Err(wrong("a :time in whole nanoseconds".to_owned())),
        };
        let index = match form.get("index") {
            None | Some(Form::Nil) => None,
            Some(Form::Int(index)) => Some(*index),
            Some(_) => return Err(wrong("an :index that is a whole number".to_owned())),
        };
        let order = match (index, time_ns) {
            (Some(index), _) => Order::Index(index),
            (None, Some(time_ns)) => Order::Time(time_ns),
            (None, None) => Order::Place,
        };
        let too_early =
            |expected: String| Err(ReadError::misplaced(place, expected, Affected::History));
        match (self.order, order) {
            (Some(Order::Index(last)), Order::Index(index)) if index <= last => {
                return too_early(format!("an :index above {last}, found {index}"));
            }
            (Some(Order::Time(last)), Order::Time(time)) if time < last => {
                let expected = format!(
                    "a :time of at least {last}, found {time}: events have to be in the order of their times"
                );
                return too_early(expected);
            }
            (Some(Order::Index(_)), Order::Time(_) | Order::Place) => {
                return Err(wrong("an :index, as the events before have one".to_owned()));
            }
            (Some(Order::Time(_)), Order::Place) => {
                return Err(wrong("a :time, as the events before have one".to_owned()));
            }
            (Some(Order::Place), Order::Index(_) | Order::Time(_))
            | (Some(Order::Time(_)), Order::Index(_)) => {
                return Err(wrong(
                    "neither :time nor :index, as the events before have none".to_owned(),
                ));
            }
            (None, _)
            | (Some(Order::Place), Order::Place)
            | (Some(Order::Index(_)), Order::Index(_))
            | (Some(Order::Time(_)), Order::Time(_)) => {}
        }
        let is_first = self.order.replace(order).is_none();
        self.last_time_ns = match order {
            Order::Time(time_ns) => time_ns,
            Order::Index(_) | Order::Place if is_first => time_ns.unwrap_or(1),
            Order::Index(_) | Order::Place => time_ns.unwrap_or(0).max(self.last_time_ns + 1),
        };
        Ok(self.last_time_ns)
    }

    fn event(&mut self, place: Place, form: &Form) -> Result<(), ReadError> {
        let Some(fields) = self.fields(place, form)? else {
            return Ok(());
        };
        if fields.kind == Kind::Invoke {
            match fields.f {
                "drain" => self.drain_called(&fields),
                _ => self.called(&fields),
            }
        } else {
            self.ended(&fields)
        }
    }

    fn called(&mut self, fields: &Fields<'_>) -> Result<(), ReadError> {
        let place = fields.place;
        let (process, time_ns) = (fields.process.clone(), fields.time_ns);
        let unreadable = |processes: &mut Processes, error: ReadError| {
            processes.call_unreadable(fields.process.clone());
            Err(error)
        };
        let (key, form, is_tuple) = match self.keying.of_call(fields) {
            Ok(split) => split,
            Err(error) => return unreadable(&mut self.processes, error),
        };
        let needs_value = !keys::takes_nothing(fields.f) && !fields.f.starts_with("inc");
        let request = match fields.value {
            None if needs_value => None,
            _ => request(fields.f, key.clone(), &form, &fields.process),
        };
        let Some(request) = request else {
            let expected = "an :f and a :value of a known kind of operation";
            let error = match fields.key.is_some() || is_tuple {
                true => ReadError::syntax_about(place, expected, key),
                false => ReadError::syntax(place, expected),
            };
            return unreadable(&mut self.processes, error);
        };
        let call = self
            .processes
            .call(process, place, time_ns, fields.f, request);
        if is_tuple {
            self.processes.answers_are_tuples(&fields.process);
        }
        let (event, lost) = call;
        self.events.extend(lost.map(Err));
        self.events.push_back(Ok(event));
        Ok(())
    }

    fn ended(&mut self, fields: &Fields<'_>) -> Result<(), ReadError> {
        let open = self
            .processes
            .end(&fields.process, fields.place, fields.f)?;
        let time_ns = fields.time_ns;
        let session = self.processes.session(&fields.process);
        let (op, request, is_tuple) = match open {
            Open::Unreadable => return Ok(()),
            Open::Drain { ops, taken } => {
                let nothing = std::iter::once(Value::Nil);
                let returns = ops.into_iter().zip(taken.into_iter().chain(nothing));
                self.events.extend(returns.map(|(op, value)| {
                    Ok(ObjectEvent::returned(
                        time_ns,
                        session,
                        op,
                        Answer::Value(value),
                    ))
                }));
                return Ok(());
            }
            Open::Readable {
                op,
                request,
                is_tuple,
                ..
            } => (op, request, is_tuple),
        };
        let event = match fields.kind {
            Kind::Ok => {
                let wrong = |expected: &str| {
                    let affects = Affected::Operation { op, key: None };
                    ReadError::misplaced(fields.place, expected, affects)
                };
                let form = answer_form(&request, fields, is_tuple)
                    .ok_or_else(|| wrong("the key of its :invoke, and a value"))?;
                let answer = answer(&request.action, &form)
                    .ok_or_else(|| wrong("a :value that answers the :invoke"))?;
                ObjectEvent::returned(time_ns, session, op, answer)
            }
            Kind::Fail => ObjectEvent::failed(time_ns, session, op),
            Kind::Info => {
                self.processes.lose(&fields.process);
                ObjectEvent::unknown(time_ns, session, op)
            }
            Kind::Invoke => unreachable!("calls are no ends"),
        };
        self.events.push_back(Ok(event));
        Ok(())
    }

    /// A drain is as many dequeues as it has taken values, and one that found nothing, all at
    /// the same time: in which order it took them its answer tells, but not that nobody else
    /// came in between.
    fn drain_called(&mut self, fields: &Fields<'_>) -> Result<(), ReadError> {
        let (key, _, is_tuple) = self.keying.of_call(fields)?;
        let taken = self.drained(&fields.process, is_tuple);
        let Some(taken) = taken else {
            self.processes.call_unreadable(fields.process.clone());
            let expected = "a :drain whose :ok says what it took";
            return Err(match fields.key.is_some() || is_tuple {
                true => ReadError::syntax_about(fields.place, expected, key),
                false => ReadError::syntax(fields.place, expected),
            });
        };
        let request = Request {
            key: key.clone(),
            action: Action::Dequeue,
        };
        let calls = self.processes.call_drain(
            fields.process.clone(),
            fields.place,
            fields.time_ns,
            &request,
            taken,
        );
        self.events.extend(calls?.into_iter().map(Ok));
        Ok(())
    }

    /// What the drain that `process` has just called will have taken; `None` where that is not
    /// told.
    fn drained(&mut self, process: &Process, is_tuple: bool) -> Option<Vec<Value>> {
        let mut looked_at = 0;
        loop {
            if looked_at == self.ahead.len() && !self.read_ahead() {
                return None;
            }
            let (_, form) = &self.ahead[looked_at];
            looked_at += 1;
            if !process.is_named_by(form.get("process")) {
                continue;
            }
            let is_its_end = form.get("f").and_then(Form::name) == Some("drain")
                && form.get("type").and_then(Form::name) == Some("ok");
            let mut value = form.get("value")?;
            if is_tuple {
                value = &keys::pair(value)?[1];
            }
            if !is_its_end {
                return None;
            }
            return match value {
                Form::Sequence(values) => Some(values.iter().map(to_value).collect()),
                Form::Nil => Some(Vec::new()),
                Form::Bool(_) | Form::Int(_) | Form::Float(_) | Form::LargeInt(_) => None,
                Form::Text(_) | Form::Keyword(_) | Form::Symbol(_) | Form::Map(_) => None,
            };
        }
    }
}

/// Refuses a field that is none, but nearly one that is missing: what it was to say would be
/// lost without a word.
fn refuse_misspelt(place: Place, form: &Form) -> Result<(), ReadError> {
    let Form::Map(pairs) = form else {
        unreachable!("events are maps");
    };
    let mut seen = Vec::new();
    for name in pairs.iter().filter_map(|(key, _)| key.name()) {
        if FIELDS.contains(&name) {
            if seen.contains(&name) {
                return Err(ReadError::syntax(place, format!("one :{name}, not two")));
            }
            seen.push(name);
            continue;
        }
        let lower = name.to_ascii_lowercase();
        let meant = FIELDS.iter().find(|field| {
            let distance_max = if field.len() >= 5 { 2 } else { 1 };
            field.len() > 1
                && form.get(field).is_none()
                && strsim::osa_distance(&lower, field) <= distance_max
        });
        if let Some(meant) = meant {
            let expected = format!("a known field, found :{name}; is it :{meant}?");
            return Err(ReadError::syntax(place, expected));
        }
    }
    Ok(())
}

impl<R: BufRead> Iterator for EdnReader<R> {
    type Item = Result<ObjectEvent, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_event()
    }
}

impl<R: BufRead + Send> EventReader<ObjectEvent> for EdnReader<R> {
    fn line(&self) -> Option<u64> {
        Some(self.line)
    }
}

/// A form as a value.
pub(super) fn to_value(form: &Form) -> Value {
    match form {
        Form::Nil => Value::Nil,
        Form::Int(number) => Value::Int(*number),
        Form::Bool(value) => Value::text(if *value { "true" } else { "false" }),
        Form::Float(number) => Value::text(&format!("{number:?}")),
        Form::Text(text) | Form::Symbol(text) | Form::LargeInt(text) => Value::text(text),
        Form::Keyword(name) => Value::text(&format!(":{name}")),
        Form::Sequence(forms) => Value::list(forms.iter().map(to_value)),
        Form::Map(pairs) => Value::list(
            pairs
                .iter()
                .map(|(key, value)| Value::list([to_value(key), to_value(value)])),
        ),
    }
}

/// The request of the function `f` with the argument `form`, or `None` where it is none that is
/// known.
pub(super) fn request(f: &str, key: Value, form: &Form, process: &Process) -> Option<Request> {
    let value = || to_value(form);
    let owner = || match process {
        Process::Number(number) => Value::Int(*number),
        Process::Name(name) => Value::text(name),
    };
    let action = match f {
        "txn" => {
            let Form::Sequence(steps) = form else {
                return None;
            };
            Action::Txn(steps.iter().map(step).collect::<Option<_>>()?)
        }
        "read" | "get" | "r" => Action::Read,
        "write" | "put" | "set" | "w" => Action::Write(value()),
        "append" => Action::Append(value()),
        "delete" => Action::Delete,
        "cas" | "compare-and-set" => {
            let [from, to] = keys::pair(form)?;
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
        "increment" | "inc" if *form == Form::Nil => Action::Increment(1),
        "increment" | "inc" => {
            let Form::Int(by) = form else {
                return None;
            };
            Action::Increment(*by)
        }
        _ => return None,
    };
    Some(Request { key, action })
}

/// A step of a transaction: `[:append k v]`, `[:w k v]`, `[:r k nil]` or `[:r k]`.
fn step(form: &Form) -> Option<TxnStep> {
    let Form::Sequence(parts) = form else {
        return None;
    };
    let (f, key, value) = match parts.as_slice() {
        [f, key] => (f.name()?, key, None),
        [f, key, value] => (f.name()?, key, Some(value)),
        _ => return None,
    };
    let action = match f {
        "r" | "read" => Action::Read,
        "w" | "write" => Action::Write(to_value(value?)),
        "append" => Action::Append(to_value(value?)),
        _ => return None,
    };
    Some(TxnStep {
        key: to_value(key),
        action,
    })
}

/// What an end answers, without the key; `None` where it is about another key.
fn answer_form(request: &Request, fields: &Fields<'_>, is_tuple: bool) -> Option<Form> {
    if let Some(key) = fields.key
        && to_value(key) != request.key
    {
        return None;
    }
    let value = fields.value.unwrap_or(&Form::Nil);
    if !is_tuple {
        return Some(value.clone());
    }
    let (key, value) = split(value)?;
    (key == request.key).then_some(value)
}

/// The answer that an end carries; `None` where it does not answer `action`.
fn answer(action: &Action, form: &Form) -> Option<Answer> {
    // An end repeats what was asked, or says nothing.
    let repeats = |value: &Value| *form == Form::Nil || to_value(form) == *value;
    Some(match action {
        Action::Txn(steps) => {
            let Form::Sequence(answers) = form else {
                return None;
            };
            if answers.len() != steps.len() {
                return None;
            }
            let answers = steps.iter().zip(answers);
            let answers = answers.map(|(asked, answer)| {
                let answered = step(answer).filter(|answered| answered == asked)?;
                let Form::Sequence(parts) = answer else {
                    unreachable!("steps are sequences");
                };
                Some(match answered.action == Action::Read {
                    true => Answer::Value(to_value(parts.get(2)?)),
                    false => Answer::Done,
                })
            });
            Answer::Txn(answers.collect::<Option<_>>()?)
        }
        Action::Read | Action::Dequeue | Action::Pop => Answer::Value(to_value(form)),
        Action::Contains(_) => {
            let Form::Bool(contains) = form else {
                return None;
            };
            Answer::Applied(*contains)
        }
        Action::Cas { from, to } if repeats(&Value::list([from.clone(), to.clone()])) => {
            Answer::Applied(true)
        }
        Action::Acquire(_) | Action::Release(_) => Answer::Applied(true),
        Action::Write(value) | Action::Append(value) | Action::Add(value) if repeats(value) => {
            Answer::Done
        }
        Action::Remove(value) | Action::Enqueue(value) | Action::Push(value) if repeats(value) => {
            Answer::Done
        }
        Action::Cas { .. }
        | Action::Write(_)
        | Action::Append(_)
        | Action::Add(_)
        | Action::Remove(_)
        | Action::Enqueue(_)
        | Action::Push(_) => return None,
        Action::Delete | Action::Increment(_) | Action::LogAppend(_) | Action::CheckTail => {
            Answer::Done
        }
    })
}

#[cfg(test)]
mod tests;
