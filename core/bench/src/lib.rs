//! A benchmark for stores that speak etcd's API, which can check every answer while it runs.
//!
//! Inputs: flags ([`BenchFlags`]); the answers of a store, over gRPC or the pipelined
//! protocol; SIGINT and SIGTERM; what the system tells of members that it started itself.
//! Outputs: a table or one JSON object on standard output, a line on a terminal meanwhile, an
//! HTML page and a history in files, a verdict; signals to such members.
//! Dependencies: client, proto, env, histories, checkers.
//!
//! It measures etcd as well as Veridical and so knows neither server; members that it starts
//! itself are programs to it. This is why it is a crate
//! of its own and not a part of `core/server`, which knows no checker, or of `core/cli`, which
//! is a front.
//!
//! Closed loop: every client sends its next request when it has its last answer, so
//! latencies are those of a store that is offered exactly this many requests at once. With
//! `--rate` it is an open loop (`pace`): latencies are those of requests that come when they
//! come.

mod distribution;
mod endpoint;
mod event_queue;
mod flags;
mod live;
mod local_cluster;
mod nemesis;
mod pace;
mod page;
mod present;
mod recording;
mod report;
mod run;
mod series;
mod signals;
mod worker;
mod workload;

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use veridical_checkers::Verdict;

pub use flags::BenchFlags;
pub use local_cluster::{LocalClusterError, ToolError};
pub use recording::RecordingError;
pub use run::BenchError;
use series::{Plan, Series};
use signals::StopSignals;

/// Runs the benchmark that the flags describe and prints what it measured. Gives back what
/// the checker says, where one was asked for. Faults that need namespaces of their own make the
/// program run once more, with the same arguments and in the place of this process.
///
/// # Errors
/// See [`BenchError`]. Requests that fail are counted and are no errors. What was measured
/// before an error is printed.
pub fn run(flags: &BenchFlags) -> Result<Option<Verdict>, BenchError> {
    let plan = Plan::new(flags)?;
    let mut flags = flags.clone();
    flags.local.enter_isolation();
    let flags = &flags;
    let page = flags.html.as_deref().map(PageFile::open).transpose()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(BenchError::Runtime)?;
    let series = runtime.block_on(async {
        let signals = StopSignals::listen().map_err(BenchError::Signals)?;
        Ok::<_, BenchError>(Series::measure(flags, &plan, signals.token()).await)
    })?;
    print(&text(flags, &plan, &series))?;
    let finished = page.map_or(Ok(()), |page| {
        page.finish(series.to_page(&command_line()).as_deref())
    });
    let verdict = series.verdict.as_ref();
    let (failure, is_second) = match (series.failure, finished) {
        (None, Ok(())) => return Ok(series.verdict),
        // Members that are gone may be why the checker came to no answer.
        (Some(failure), _) => (failure, verdict.and_then(Verdict::violation).is_some()),
        (None, Err(failure)) => (failure, verdict.is_some_and(|told| !told.is_ok())),
    };
    if is_second {
        // That the store did not tell the truth is said with the status, whatever else there is.
        eprintln!("{failure}");
        return Ok(series.verdict);
    }
    Err(failure)
}

/// What is printed of a series.
fn text(flags: &BenchFlags, plan: &Plan, series: &Series) -> String {
    let mut text = match (&series.reports[..], plan.is_series, flags.json) {
        ([], _, _) => return String::new(),
        (_, true, true) => series.to_json() + "\n",
        (_, true, false) => series.to_text(),
        ([report, ..], false, true) => report.to_json() + "\n",
        ([report, ..], false, false) => report.to_table(),
    };
    if let Some(verdict) = series.verdict.as_ref().filter(|_| !flags.json) {
        text.push_str(&format!("verdict: {verdict}\n"));
    }
    text
}

/// How this program was called, for a reader of its results.
fn command_line() -> String {
    let words = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    words.collect::<Vec<_>>().join(" ")
}

/// The file of the page. It is opened before anything is measured, so that nobody waits for
/// what cannot be written.
struct PageFile<'a> {
    path: &'a Path,
    file: File,
}

impl<'a> PageFile<'a> {
    fn open(path: &'a Path) -> Result<Self, BenchError> {
        let opened = File::options()
            .create(true)
            .write(true)
            .truncate(false)
            .open(path);
        match opened {
            Ok(file) => Ok(Self { path, file }),
            Err(source) => Err(BenchError::Page {
                path: path.to_owned(),
                source,
            }),
        }
    }

    /// Writes the page, if anything was measured. What an earlier benchmark wrote is kept until
    /// there is something new, and a file that has nothing in it is removed.
    fn finish(mut self, html: Option<&str>) -> Result<(), BenchError> {
        let path = self.path.to_owned();
        self.replace(html)
            .map_err(|source| BenchError::Page { path, source })
    }

    fn replace(&mut self, html: Option<&str>) -> io::Result<()> {
        // A device or a pipe has no length, and is not this program's to remove.
        let metadata = self.file.metadata()?;
        match html {
            Some(_) if metadata.is_file() => self.file.set_len(0)?,
            None if metadata.is_file() && metadata.len() == 0 => std::fs::remove_file(self.path)?,
            Some(_) | None => {}
        }
        self.file.write_all(html.unwrap_or_default().as_bytes())
    }
}

fn print(text: &str) -> Result<(), BenchError> {
    // A reader who has gone does not change what was found.
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(BenchError::Output(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}
