//! What each member of a run logs, by simulated time, kept in memory within bounds.
//!
//! Every task of the simulated world runs inside a span named after its process; an
//! event belongs to the process whose span it is in.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::filter::{FilterFn, LevelFilter};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use veridical_sim::World;

/// Lines that are kept of a process at most: its last ones.
pub const LINES_MAX: usize = 20_000;

/// The span around all tasks of a process, and its field with the process's name.
const PROCESS_SPAN: &str = "node";
const NAME_FIELD: &str = "name";

/// Targets with this prefix are ours.
const TARGET_PREFIX: &str = "veridical_";

/// What one process logged.
#[derive(Debug, Default)]
pub struct Log {
    /// The lines, the oldest first.
    pub lines: VecDeque<String>,
    /// How many older ones were dropped.
    pub dropped: u64,
}

/// The logs of all processes by name.
#[derive(Clone, Debug, Default)]
pub struct MemberLogs(Arc<Mutex<BTreeMap<String, Log>>>);

impl MemberLogs {
    /// Begins to collect, for this whole program. What another subscriber was set up for
    /// before stays with that one, and these logs stay empty.
    pub fn collect() -> Self {
        let logs = Self::default();
        let subscriber = tracing_subscriber::registry().with(logs.layer());
        // Fails only if another subscriber was set up before.
        let _ = subscriber.try_init();
        logs
    }

    /// What collects: our own events, and the spans that say whose they are.
    fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let wanted = |metadata: &Metadata<'_>| {
            metadata.is_span() || metadata.target().starts_with(TARGET_PREFIX)
        };
        self.clone()
            .with_filter(FilterFn::new(wanted).with_max_level_hint(LevelFilter::DEBUG))
    }

    /// Takes out what was collected.
    pub fn take(&self) -> BTreeMap<String, Log> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn add(&self, process: &str, line: String) {
        let mut logs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let log = logs.entry(process.to_owned()).or_default();
        if log.lines.len() >= LINES_MAX {
            log.lines.pop_front();
            log.dropped += 1;
        }
        log.lines.push_back(line);
    }
}

/// A process's name, beside the span of its tasks.
struct ProcessName(String);

impl<S> Layer<S> for MemberLogs
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if attributes.metadata().name() != PROCESS_SPAN {
            return;
        }
        let mut name = NameVisitor(None);
        attributes.record(&mut name);
        if let (Some(name), Some(span)) = (name.0, context.span(id)) {
            span.extensions_mut().insert(ProcessName(name));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let Some(scope) = context.event_scope(event) else {
            return;
        };
        for span in scope {
            if let Some(name) = span.extensions().get::<ProcessName>() {
                let at = World::time_here().unwrap_or_default();
                let mut line = format!(
                    "{:>12.6} {:<5} {}",
                    at.as_secs_f64(),
                    event.metadata().level(),
                    event.metadata().target()
                );
                event.record(&mut LineVisitor(&mut line));
                self.add(&name.0, line);
                return;
            }
        }
    }
}

struct NameVisitor(Option<String>);

impl Visit for NameVisitor {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == NAME_FIELD {
            self.0 = Some(value.to_owned());
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

/// Appends the fields of an event to its line, the message without its name.
struct LineVisitor<'a>(&'a mut String);

impl Visit for LineVisitor<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string does not fail.
        let _ = if field.name() == "message" {
            write!(self.0, " {value:?}")
        } else {
            write!(self.0, " {}={value:?}", field.name())
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_lines_are_kept() {
        let logs = MemberLogs::default();
        for number in 0..LINES_MAX + 3 {
            logs.add("m", number.to_string());
        }
        let log = &logs.take()["m"];
        assert_eq!((log.lines.len(), log.dropped), (LINES_MAX, 3));
        assert_eq!(log.lines[0], "3");
    }
}
