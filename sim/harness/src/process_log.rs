//! What each process of a run logs, by simulated time, kept in memory within bounds.
//!
//! Every task of the simulated world runs inside a span named after its process; an
//! event belongs to the process whose span it is in.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::filter::{EnvFilter, FilterExt, FilterFn, LevelFilter};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::{self, LookupSpan};
use tracing_subscriber::util::SubscriberInitExt;
use veridical_world::World;

use crate::error::CommandError;

/// Lines that are kept of a process at most: its last ones.
pub const LINES_MAX: usize = 20_000;

/// The span around all tasks of a process, and its field with the process's name.
const PROCESS_SPAN: &str = "node";
const NAME_FIELD: &str = "name";

/// Targets with this prefix are the executor's, whose events tell nothing of the system.
const EXECUTOR_PREFIX: &str = "madsim";

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
pub struct ProcessLogs(Arc<Mutex<BTreeMap<String, Log>>>);

impl ProcessLogs {
    /// Begins for this whole program: to collect, if `collect` is set, and to print on
    /// standard error what `printed` says, a level or a filter as in `RUST_LOG`.
    ///
    /// # Errors
    /// [`CommandError::LogFilter`].
    pub fn begin(collect: bool, printed: Option<&str>) -> Result<Self, CommandError> {
        let logs = Self::default();
        if !collect && printed.is_none() {
            return Ok(logs);
        }
        let printer = printed.map(printer).transpose()?;
        let subscriber = tracing_subscriber::registry()
            .with(collect.then(|| logs.layer()))
            .with(printer);
        // Fails only if another subscriber was set up before.
        let _ = subscriber.try_init();
        Ok(logs)
    }

    /// What collects: the system's events, and the spans that say whose they are.
    fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let wanted = |metadata: &Metadata<'_>| {
            metadata.is_span() || !metadata.target().starts_with(EXECUTOR_PREFIX)
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

/// Prints on standard error what the filter lets through.
fn printer<S>(filter: &str) -> Result<impl Layer<S> + use<S>, CommandError>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let directives = match filter.parse::<LevelFilter>() {
        // All of the system, and nothing of what it stands on.
        Ok(level) => format!("{level},{EXECUTOR_PREFIX}=off"),
        Err(_) => filter.to_owned(),
    };
    let chosen = EnvFilter::try_new(directives)
        .map_err(|error| CommandError::LogFilter(filter.to_owned(), error.to_string()))?;
    // The spans say whose an event is.
    let spans = FilterFn::new(|metadata: &Metadata<'_>| metadata.is_span());
    Ok(Printer.with_filter(chosen.or(spans)))
}

/// Prints each event as a line.
struct Printer;

impl<S> Layer<S> for Printer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        note_name(attributes, id, &context);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let process = process_of(event, &context).unwrap_or_else(|| "-".to_owned());
        let line = line_of(event, Some(&process));
        // Whoever reads it may have seen enough.
        let _ = writeln!(std::io::stderr(), "{line}");
    }
}

/// Keeps the name of a process beside the span of its tasks.
fn note_name<S>(attributes: &Attributes<'_>, id: &Id, context: &Context<'_, S>)
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    if attributes.metadata().name() != PROCESS_SPAN {
        return;
    }
    let mut name = NameVisitor(None);
    attributes.record(&mut name);
    if let (Some(name), Some(span)) = (name.0, context.span(id)) {
        span.extensions_mut().replace(ProcessName(name));
    }
}

/// The process that an event belongs to.
fn process_of<S>(event: &Event<'_>, context: &Context<'_, S>) -> Option<String>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let name = |span: registry::SpanRef<'_, S>| {
        let extensions = span.extensions();
        extensions.get::<ProcessName>().map(|name| name.0.clone())
    };
    context.event_scope(event)?.find_map(name)
}

/// An event as a line: simulated time in seconds, process if it is wanted, level, target,
/// message and fields.
fn line_of(event: &Event<'_>, process: Option<&str>) -> String {
    let at = World::time_here().unwrap_or_default();
    let mut line = format!("{:>12.6} ", at.as_secs_f64());
    if let Some(process) = process {
        line.push_str(&format!("{process:<10} "));
    }
    let metadata = event.metadata();
    line.push_str(&format!("{:<5} {}", metadata.level(), metadata.target()));
    event.record(&mut LineVisitor(&mut line));
    line
}

/// A process's name, beside the span of its tasks.
struct ProcessName(String);

impl<S> Layer<S> for ProcessLogs
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        note_name(attributes, id, &context);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if let Some(process) = process_of(event, &context) {
            self.add(&process, line_of(event, None));
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
        let logs = ProcessLogs::default();
        for number in 0..LINES_MAX + 3 {
            logs.add("m", number.to_string());
        }
        let log = &logs.take()["m"];
        assert_eq!((log.lines.len(), log.dropped), (LINES_MAX, 3));
        assert_eq!(log.lines[0], "3");
    }
}
