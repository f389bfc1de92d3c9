//! The record of a run: digest, counters, and events on demand.

use super::{Event, EventKind, SentUnit, TraceListener};
use crate::counter::{Counter, Counters};
use crate::digest::Digest;
use crate::fault::{Fault, FaultId, ProcessId};
use std::collections::VecDeque;
use std::io::{self, Write};

/// Which events are kept in memory. The digest covers all of them in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TraceMode {
    /// No event is kept.
    #[default]
    Off,
    /// The last so many events are kept.
    Last(usize),
    /// Every event is kept.
    Full,
}

/// The record of a run: digest, counters, and the events themselves on demand.
pub struct Journal {
    digest: Digest,
    count: u64,
    last_at_ns: u64,
    mode: TraceMode,
    kept: VecDeque<Event>,
    sink: Option<Box<dyn Write + Send>>,
    sink_error: Option<io::Error>,
    trace_listener: Option<Box<dyn TraceListener>>,
    /// How often each thing happened.
    pub counters: Counters,
}

impl Journal {
    /// An empty journal that keeps events by `mode` and writes each as a line of JSON
    /// to `sink`.
    pub fn new(mode: TraceMode, sink: Option<Box<dyn Write + Send>>) -> Self {
        Self {
            digest: Digest::default(),
            count: 0,
            last_at_ns: 0,
            mode,
            kept: VecDeque::new(),
            sink,
            sink_error: None,
            trace_listener: None,
            counters: Counters::default(),
        }
    }

    /// Tells `listener` of everything from now on.
    pub fn listen_with(&mut self, trace_listener: Box<dyn TraceListener>) {
        self.trace_listener = Some(trace_listener);
    }

    /// Records an event. Time never goes back: an event that a timer brings a little
    /// late carries the time of the one before.
    #[inline]
    pub fn record(&mut self, at_ns: u64, process: Option<ProcessId>, kind: EventKind) {
        let at_ns = at_ns.max(self.last_at_ns);
        self.last_at_ns = at_ns;
        self.count += 1;
        let event = Event {
            at_ns,
            process,
            kind,
        };
        event.fold(&mut self.digest);
        if self.mode != TraceMode::Off || self.sink.is_some() || self.trace_listener.is_some() {
            self.keep(event);
        }
    }

    fn keep(&mut self, event: Event) {
        if let Some(trace_listener) = &mut self.trace_listener {
            trace_listener.event(&event);
        }
        if let Some(sink) = &mut self.sink {
            let written = serde_json::to_writer(&mut *sink, &event)
                .map_err(io::Error::from)
                .and_then(|()| sink.write_all(b"\n"));
            if let Err(error) = written {
                self.sink = None;
                self.sink_error = Some(error);
            }
        }
        match self.mode {
            TraceMode::Off => return,
            TraceMode::Last(limit) => {
                while self.kept.len() >= limit.max(1) {
                    self.kept.pop_front();
                }
            }
            TraceMode::Full => {}
        }
        self.kept.push_back(event);
    }

    /// Tells the listener of a process that was added.
    pub fn tell_process(&mut self, process: ProcessId, name: &str) {
        if let Some(trace_listener) = &mut self.trace_listener {
            trace_listener.process_added(process, name);
        }
    }

    /// Tells the listener of a unit that was sent.
    #[inline]
    pub fn tell_unit(&mut self, unit: SentUnit<'_>) {
        if let Some(trace_listener) = &mut self.trace_listener {
            trace_listener.unit_sent(unit);
        }
    }

    /// Tells the listener of a fault that was injected.
    pub fn tell_fault(&mut self, at_ns: u64, id: FaultId, fault: &Fault) {
        if let Some(trace_listener) = &mut self.trace_listener {
            trace_listener.fault_injected(at_ns, id, fault);
        }
    }

    /// The digest of all events so far.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// How many events have been recorded.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Takes out the events that were kept, and writes the rest of the stream. Fails if
    /// the sink failed, now or earlier.
    pub fn finish(&mut self) -> (Vec<Event>, io::Result<()>) {
        let flushed = match (self.sink_error.take(), &mut self.sink) {
            (Some(error), _) => Err(error),
            (None, Some(sink)) => sink.flush(),
            (None, None) => Ok(()),
        };
        (std::mem::take(&mut self.kept).into(), flushed)
    }
}

/// A journal with what else the parts of the world need when they do something: the
/// time and a place to count.
pub struct Recorder<'a> {
    /// The present time in ns.
    pub now_ns: u64,
    /// The journal that events and counts go to.
    pub journal: &'a mut Journal,
}

impl Recorder<'_> {
    /// Records an event of `process` at the present time.
    #[inline]
    pub fn record(&mut self, process: ProcessId, kind: EventKind) {
        self.journal.record(self.now_ns, Some(process), kind);
    }

    /// Counts something.
    #[inline]
    pub fn count(&mut self, counter: Counter) {
        self.journal.counters.add(counter);
    }
}
