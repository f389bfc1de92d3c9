//! `history merge`: per-client logs become one history.
//!
//! Each log is in the order of its clock. The log that is least far is read next, so that
//! what waits is what the clocks and the widening need, whatever the length of the logs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::Args;
use veridical_histories::convert::{Target, Written, write};
use veridical_histories::formats::{self, History, OpenOptions};
use veridical_histories::merge::Merge;
use veridical_histories::{Event, EventKind, OperationId};

use super::WrittenForm;
use crate::check::grouped;
use crate::exit::ExitStatus;
use crate::input::Input;

/// The flags of `history merge`.
#[derive(Args, Clone, Debug)]
pub struct MergeFlags {
    /// The logs, each in the order of its own clock
    #[arg(required = true, value_name = "LOG")]
    files: Vec<PathBuf>,

    /// The file to write; `-` is standard output
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,

    /// How far each log's clock may be off, such as 5ms: operations are widened by it at
    /// both ends, so that nothing correct is ever refused
    #[arg(long, default_value = "0ns", value_parser = clock_error)]
    clock_error: Duration,

    /// What to write [default: told from the name of OUT]
    #[arg(long, value_name = "FORM")]
    to: Option<WrittenForm>,
}

/// Reads `5ms`, `250us`, `10ns`, `1s`.
fn clock_error(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| c.is_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let ns_per_unit: f64 = match unit {
        "ns" => 1.0,
        "us" | "µs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        _ => return Err("expected a number with ns, us, ms or s, such as 5ms".to_owned()),
    };
    let number: f64 = number.parse().map_err(|error| format!("{error}"))?;
    Duration::try_from_secs_f64(number * ns_per_unit / 1e9).map_err(|error| error.to_string())
}

/// Merges the logs.
///
/// # Errors
/// For a person.
pub(super) fn run(flags: &MergeFlags) -> Result<ExitStatus, String> {
    super::refuse_overwriting(&flags.output, &flags.files)?;
    let form = flags
        .to
        .unwrap_or_else(|| WrittenForm::of_output(&flags.output));
    let target = form
        .target()
        .ok_or("events are merged, not pictures: see `history convert`")?;
    let never = Arc::new(AtomicBool::new(false));
    let mut objects = Vec::new();
    let mut etcd = Vec::new();
    for file in &flags.files {
        let input = Input::from_argument(file);
        let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", input.name());
        let source = input.open(&never).map_err(|error| failed(&error))?;
        let opened =
            formats::open(source, &OpenOptions::default()).map_err(|error| failed(&error))?;
        match opened.history {
            History::Object(events) => objects.push(Log::new(input.name(), events)),
            History::ObjectBlocks(events) => objects.push(Log::new(input.name(), Box::new(events))),
            History::Etcd(events) => etcd.push(Log::new(input.name(), events)),
        }
    }
    match (objects.is_empty(), etcd.is_empty()) {
        (_, true) => merge_into(flags, objects, target),
        (true, false) => merge_into(flags, etcd, target),
        (false, false) => Err(format!(
            "{} is about single objects and {} about an etcd-like store",
            objects[0].name, etcd[0].name
        )),
    }
}

fn merge_into<I, O, N>(
    flags: &MergeFlags,
    logs: Vec<Log<I, O, N>>,
    target: Target,
) -> Result<ExitStatus, String>
where
    Event<I, O, N>: Written,
{
    let sink = super::create(&flags.output)?;
    let clock_error_ns = u64::try_from(flags.clock_error.as_nanos())
        .map_err(|_| "this clock error is longer than any history".to_owned())?;
    let mut merged = Merged::new(logs, clock_error_ns);
    let events = write(merged.by_ref(), target, sink)
        .map_err(|error| format!("{}: {error}", flags.output.display()))?;
    if let Some(failure) = merged.failure {
        return Err(failure);
    }
    eprintln!("{} logs, {} events", flags.files.len(), grouped(events));
    Ok(ExitStatus::Ok)
}

/// One log that is being read.
struct Log<I, O, N> {
    name: String,
    events: formats::Events<Event<I, O, N>>,
    /// The time of its last event; `None` once it has ended.
    last_ns: Option<u64>,
}

impl<I, O, N> Log<I, O, N> {
    fn new(name: String, events: formats::Events<Event<I, O, N>>) -> Self {
        Self {
            name,
            events,
            last_ns: Some(0),
        }
    }
}

/// An event on its way through the merge.
type CarriedEvent<I, O, N> = Event<(u64, I), O, (u64, N)>;

/// While it is merged, an event's client is the number of its log, because logs are what
/// is in order. Its own client goes along, and operations get numbers that are unique over
/// all logs.
type Carried<I, O, N> = Merge<(u64, I), O, (u64, N)>;

/// The events of all logs in the order of time.
struct Merged<I, O, N> {
    logs: Vec<Log<I, O, N>>,
    merge: Carried<I, O, N>,
    /// The number under which an open operation is merged, by log and its number there.
    open: BTreeMap<(u64, OperationId), OperationId>,
    read_operations: u64,
    /// The client of an operation that is merged, and its number in the merged history,
    /// where they are counted by their calls.
    written: BTreeMap<OperationId, (u64, OperationId)>,
    written_operations: u64,
    failure: Option<String>,
}

impl<I, O, N> Merged<I, O, N> {
    fn new(logs: Vec<Log<I, O, N>>, clock_error_ns: u64) -> Self {
        Self {
            merge: Merge::new(0..logs.len() as u64, clock_error_ns),
            logs,
            open: BTreeMap::new(),
            read_operations: 0,
            written: BTreeMap::new(),
            written_operations: 0,
            failure: None,
        }
    }

    /// Reads one event of the log that is least far. `false` where all have ended.
    fn read(&mut self) -> Result<bool, String> {
        let least = self
            .logs
            .iter()
            .enumerate()
            .filter_map(|(at, log)| Some((log.last_ns?, at)))
            .min();
        let Some((_, at)) = least else {
            return Ok(false);
        };
        let number = at as u64;
        let log = &mut self.logs[at];
        let event = match log.events.next() {
            Some(Ok(event)) => event,
            // Without one of its events a merged history would be another one.
            Some(Err(error)) => {
                return Err(format!(
                    "{}: {error}; what comes before it is merged",
                    log.name
                ));
            }
            None => return self.end(at),
        };
        let name = log.name.clone();
        log.last_ns = Some(event.time_ns);
        let carried = self
            .carry(number, event)
            .ok_or_else(|| format!("{name}: an operation ends that is not open"))?;
        self.merge
            .push(carried)
            .map_err(|error| format!("{name}: {error}"))?;
        Ok(true)
    }

    fn end(&mut self, at: usize) -> Result<bool, String> {
        self.logs[at].last_ns = None;
        self.merge
            .remove_client(at as u64)
            .map_err(|error| format!("{}: {error}", self.logs[at].name))?;
        Ok(true)
    }

    fn carry(&mut self, log: u64, event: Event<I, O, N>) -> Option<CarriedEvent<I, O, N>> {
        let client = event.client;
        let mut closed = |op| self.open.remove(&(log, op));
        let kind = match event.kind {
            EventKind::Call { op, input } => {
                self.read_operations += 1;
                let unique = OperationId(self.read_operations);
                self.open.insert((log, op), unique);
                EventKind::Call {
                    op: unique,
                    input: (client, input),
                }
            }
            EventKind::Return { op, output } => EventKind::Return {
                op: closed(op)?,
                output,
            },
            EventKind::Unknown { op } => EventKind::Unknown { op: closed(op)? },
            EventKind::Failed { op } => EventKind::Failed { op: closed(op)? },
            EventKind::Note { note } => EventKind::Note {
                note: (client, note),
            },
        };
        Some(Event {
            time_ns: event.time_ns,
            client: log,
            kind,
        })
    }

    fn restore(&mut self, event: CarriedEvent<I, O, N>) -> Event<I, O, N> {
        let mut ended = |op| {
            let written = self.written.remove(&op);
            written.expect("an operation that was called ends once")
        };
        let (client, kind) = match event.kind {
            EventKind::Call { op, input } => {
                let (client, input) = input;
                self.written_operations += 1;
                let number = OperationId(self.written_operations);
                self.written.insert(op, (client, number));
                (client, EventKind::Call { op: number, input })
            }
            EventKind::Return { op, output } => {
                let (client, op) = ended(op);
                (client, EventKind::Return { op, output })
            }
            EventKind::Unknown { op } => {
                let (client, op) = ended(op);
                (client, EventKind::Unknown { op })
            }
            EventKind::Failed { op } => {
                let (client, op) = ended(op);
                (client, EventKind::Failed { op })
            }
            EventKind::Note { note } => {
                let (client, note) = note;
                (client, EventKind::Note { note })
            }
        };
        Event {
            time_ns: event.time_ns,
            client,
            kind,
        }
    }
}

impl<I, O, N> Iterator for Merged<I, O, N> {
    type Item = Event<I, O, N>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(event) = self.merge.pop() {
                return Some(self.restore(event));
            }
            match self.read() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(failure) => {
                    self.failure = Some(failure);
                    return None;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use veridical_histories::NoNote;
    use veridical_histories::generate::object::{ObjectHistory, ObjectWorkload};
    use veridical_histories::object::{Answer, ObjectEvent, Request};

    /// A log for each client, as if each had numbered its own operations from 1.
    fn logs(events: &[ObjectEvent]) -> Vec<Log<Request, Answer, NoNote>> {
        let mut of_client: BTreeMap<u64, Vec<ObjectEvent>> = BTreeMap::new();
        let mut numbers: BTreeMap<OperationId, OperationId> = BTreeMap::new();
        for event in events {
            let own = of_client.entry(event.client).or_default();
            let mut event = event.clone();
            match &mut event.kind {
                EventKind::Call { op, .. } => {
                    let number = OperationId(own.len() as u64 / 2 + 1);
                    numbers.insert(*op, number);
                    *op = number;
                }
                EventKind::Return { op, .. }
                | EventKind::Unknown { op }
                | EventKind::Failed { op } => *op = numbers[op],
                EventKind::Note { note } => match *note {},
            }
            own.push(event);
        }
        let log = |(client, events): (u64, Vec<ObjectEvent>)| {
            Log::new(client.to_string(), formats::made(events.into_iter()))
        };
        of_client.into_iter().map(log).collect()
    }

    fn history() -> Vec<ObjectEvent> {
        ObjectHistory::new(ObjectWorkload {
            operations: 2_000,
            unknown: 0.01,
            ..ObjectWorkload::default()
        })
        .collect()
    }

    #[test]
    fn logs_that_number_their_operations_alike_become_the_history_they_came_from() {
        let events = history();
        let mut merged = Merged::new(logs(&events), 0);
        let whole: Vec<ObjectEvent> = merged.by_ref().collect();
        assert_eq!(merged.failure, None);
        // Operations are numbered by their calls in either.
        assert_eq!(whole, events);
    }

    #[test]
    fn a_clock_error_widens_and_loses_nothing() {
        let events = history();
        let merged: Vec<ObjectEvent> = Merged::new(logs(&events), 500).collect();
        assert_eq!(merged.len(), events.len());
        assert!(merged.is_sorted_by_key(|event| event.time_ns));
        let length = |events: &[ObjectEvent]| {
            let mut open = BTreeMap::new();
            let mut sum = 0;
            for event in events {
                match (event.is_call(), event.operation()) {
                    (true, Some(op)) => drop(open.insert(op, event.time_ns)),
                    (false, Some(op)) => sum += event.time_ns - open[&op],
                    _ => {}
                }
            }
            sum
        };
        assert!(length(&merged) > length(&events) + 2_000 * 900);
    }

    #[test]
    fn clock_errors_have_units() {
        assert_eq!(clock_error("5ms"), Ok(Duration::from_millis(5)));
        assert_eq!(clock_error("250us"), Ok(Duration::from_micros(250)));
        for text in ["5", "ms", "-1ms", "1h"] {
            assert!(clock_error(text).is_err(), "{text}");
        }
    }
}
