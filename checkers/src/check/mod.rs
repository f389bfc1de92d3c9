//! A whole history from a stream: format told by content, engine chosen by key, in
//! parallel if asked.
//!
//! This is what `veridical check` is a thin layer over.

mod keys;
mod parallel;
mod report;

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use veridical_histories::EventKind;
use veridical_histories::etcd::EtcdEvent;
use veridical_histories::formats::{self, Format, History, ReadError};
use veridical_histories::object::{Action, ObjectEvent};

use crate::etcd::{EtcdChecker, EtcdOptions};
use crate::lists::ListChecker;
use crate::models::{ObjectKind, ObjectModel};
use crate::objects::{ObjectChecker, ObjectStatistics};
use crate::online::CheckerOptions;
use crate::verdict::{Malformed, Rejection, Verdict};
use keys::KeyCounter;
use parallel::ParallelChecker;
pub use report::{EngineCounts, Report, peak_memory_bytes};

/// Bad lines that are reported one by one; more are only counted.
const BAD_LINES_SHOWN_MAX: usize = 20;
/// Events between two looks at the clock and the stop flag.
const EVENTS_PER_LOOK: u64 = 1 << 16;
/// Calls looked at to guess the model.
const GUESS_CALLS_MAX: usize = 10_000;

/// What a history is judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckModel {
    /// A model of single objects.
    Object(ObjectKind),
    /// An etcd-like store.
    Etcd,
}

impl CheckModel {
    /// The model of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        if name == "etcd" {
            return Some(Self::Etcd);
        }
        ObjectKind::from_name(name).map(Self::Object)
    }

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Object(kind) => kind.name(),
            Self::Etcd => "etcd",
        }
    }
}

/// How far a check has come.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Operations checked.
    pub operations: u64,
    /// Operations a second since the beginning.
    pub operations_per_second: f64,
    /// Keys seen.
    pub keys: u64,
    /// The most memory the process had, in bytes.
    pub peak_memory_bytes: u64,
}

/// Called now and then during a check.
pub type OnProgress = Box<dyn FnMut(&Progress)>;

/// How a stream is checked.
#[derive(Default)]
pub struct CheckOptions {
    /// The model; guessed from the calls unless given.
    pub model: Option<CheckModel>,
    /// The format; told from the content unless given.
    pub format: Option<Format>,
    /// Threads that check, for histories of single objects; 0 and 1 mean the caller's.
    pub threads: usize,
    /// Limits of engine A.
    pub checker: CheckerOptions,
    /// Limits of engine C.
    pub etcd: EtcdOptions,
    /// An acknowledged read of nil tells nothing (as Knossos has it).
    pub nil_is_wildcard: bool,
    /// Bytes that may be taken: idle keys are moved to disk, and what does not fit even
    /// then is undecided.
    pub memory_limit_bytes: Option<u64>,
    /// Told how far the check has come.
    pub on_progress: Option<OnProgress>,
    /// The check ends early, with what it has, once this is set.
    pub stop: Option<Arc<AtomicBool>>,
}

/// Why a stream could not be checked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// It could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Its events are not a history.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The model does not belong to the history's vocabulary.
    #[error("the model {model} does not fit a history of {vocabulary}")]
    ModelOfOtherVocabulary {
        /// The model asked for.
        model: &'static str,
        /// What the history holds.
        vocabulary: &'static str,
    },
    /// Idle keys could not be moved to disk.
    #[error("moving idle keys to disk: {0}")]
    Spill(std::io::Error),
}

/// Whether a check goes on.
enum Flow {
    On,
    Stop,
}

/// Reads a history and checks it.
///
/// # Errors
/// [`CheckError`]. Lines that are not events are skipped and reported in
/// [`Report::bad_lines`]; a binary file that is cut off is checked as far as it goes.
pub fn check_stream(
    source: impl Read + Send + 'static,
    options: CheckOptions,
) -> Result<Report, CheckError> {
    let opened = formats::open(source, options.format)?;
    let mut run = Run::new(opened.format, options);
    match opened.history {
        History::Etcd(events) => run.etcd(events)?,
        History::ObjectBlocks(mut blocks) => {
            let mut first = Vec::new();
            let mut end = blocks.read_block(&mut first);
            let mut checker = run.object_checker(&first)?;
            let mut events = first;
            loop {
                if let Flow::Stop = run.object_block(&mut checker, &events)? {
                    break;
                }
                events.clear();
                if !run.goes_on(end)? {
                    break;
                }
                end = blocks.read_block(&mut events);
            }
            run.finish_objects(checker)?;
        }
        History::Object(mut events) => {
            let mut beginning = Vec::new();
            let mut calls = 0;
            while calls < GUESS_CALLS_MAX {
                match events.next() {
                    Some(Ok(event)) => {
                        calls += usize::from(event.is_call());
                        beginning.push(event);
                    }
                    Some(Err(error)) if error.is_local() => run.bad_line(&error),
                    Some(Err(error)) => return Err(error.into()),
                    None => break,
                }
            }
            let mut checker = run.object_checker(&beginning)?;
            if let Flow::On = run.object_block(&mut checker, &beginning)? {
                run.objects(&mut checker, events)?;
            }
            run.finish_objects(checker)?;
        }
    }
    Ok(run.report())
}

/// Checks objects on the caller's thread or on several.
enum Objects {
    Here(Box<ObjectChecker>),
    Lists(Box<ListChecker>),
    Parallel(ParallelChecker),
}

struct Run {
    options: CheckOptions,
    begin: Instant,
    report: Report,
    keys: KeyCounter,
    next_look: u64,
}

impl Run {
    fn new(format: Format, options: CheckOptions) -> Self {
        Self {
            options,
            begin: Instant::now(),
            report: Report {
                format: format.name().to_owned(),
                ..Report::default()
            },
            keys: KeyCounter::default(),
            next_look: EVENTS_PER_LOOK,
        }
    }

    fn bad_line(&mut self, error: &ReadError) {
        self.report.bad_line_count += 1;
        if self.report.bad_lines.len() < BAD_LINES_SHOWN_MAX {
            self.report.bad_lines.push(error.to_string());
        }
    }

    /// Whether there is more to read after `end`.
    fn goes_on(&mut self, end: Result<bool, ReadError>) -> Result<bool, CheckError> {
        match end {
            Ok(more) => Ok(more),
            Err(error @ ReadError::Truncated { .. }) => {
                self.report.truncated = Some(error.to_string());
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn object_checker(&mut self, beginning: &[ObjectEvent]) -> Result<Objects, CheckError> {
        let kind = match self.options.model {
            Some(CheckModel::Object(kind)) => kind,
            Some(CheckModel::Etcd) => {
                return Err(CheckError::ModelOfOtherVocabulary {
                    model: "etcd",
                    vocabulary: "single objects",
                });
            }
            None => ObjectKind::guess(calls(beginning)).unwrap_or(ObjectKind::Register),
        };
        self.report.model = kind.name().to_owned();
        let mut model = ObjectModel::new(kind);
        if self.options.nil_is_wildcard {
            model = model.with_nil_as_wildcard();
        }
        let checker = self.options.checker.clone();
        let limit = self.options.memory_limit_bytes;
        Ok(if kind == ObjectKind::ListAppend {
            let mut checker = ListChecker::new(model, checker);
            checker.limit_memory(limit);
            Objects::Lists(Box::new(checker))
        } else if self.options.threads > 1 {
            Objects::Parallel(ParallelChecker::new(
                model,
                &checker,
                self.options.threads,
                limit,
            ))
        } else {
            let mut checker = ObjectChecker::new(model, checker);
            checker.limit_memory(limit);
            Objects::Here(Box::new(checker))
        })
    }

    /// Checks some events. `Stop` where nothing more need be read.
    fn object_block(
        &mut self,
        checker: &mut Objects,
        events: &[ObjectEvent],
    ) -> Result<Flow, CheckError> {
        for event in events {
            if let EventKind::Call { input, .. } = &event.kind {
                self.keys.count(&input.key);
            }
            let result = match checker {
                Objects::Here(checker) => checker.observe(event),
                Objects::Lists(checker) => checker.observe(event),
                Objects::Parallel(checker) => checker.observe(event),
            };
            self.report.events += 1;
            match result {
                Ok(()) => {}
                Err(Rejection::Violation(violation)) => {
                    self.report.verdict = Verdict::Violation(violation);
                    return Ok(Flow::Stop);
                }
                Err(Rejection::Malformed(malformed)) => return Err(malformed.into()),
            }
        }
        if matches!(checker, Objects::Parallel(checker) if checker.has_failed()) {
            return Ok(Flow::Stop);
        }
        if self.report.events >= self.next_look {
            self.next_look = self.report.events + EVENTS_PER_LOOK;
            return Ok(self.look(self.report.events / 2));
        }
        Ok(Flow::On)
    }

    fn objects(
        &mut self,
        checker: &mut Objects,
        events: formats::Events<ObjectEvent>,
    ) -> Result<(), CheckError> {
        for event in events {
            match event {
                Ok(event) => {
                    if let Flow::Stop = self.object_block(checker, std::slice::from_ref(&event))? {
                        return Ok(());
                    }
                }
                Err(error) if error.is_local() => self.bad_line(&error),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn finish_objects(&mut self, checker: Objects) -> Result<(), CheckError> {
        let (verdict, statistics, spill_error) = match checker {
            Objects::Here(mut checker) => {
                let verdict = checker.finish();
                (verdict, checker.statistics(), checker.take_spill_error())
            }
            Objects::Lists(mut checker) => (checker.finish(), checker.statistics(), None),
            Objects::Parallel(checker) => checker.finish()?,
        };
        if let Some(error) = spill_error {
            return Err(CheckError::Spill(error));
        }
        self.report.verdict = verdict;
        self.report.count_objects(&statistics);
        self.report.keys = self.keys.estimate();
        Ok(())
    }

    fn etcd(&mut self, events: formats::Events<EtcdEvent>) -> Result<(), CheckError> {
        if let Some(CheckModel::Object(kind)) = self.options.model {
            return Err(CheckError::ModelOfOtherVocabulary {
                model: kind.name(),
                vocabulary: "an etcd-like store",
            });
        }
        self.report.model = "etcd".to_owned();
        let mut checker = EtcdChecker::new(self.options.etcd.clone());
        checker.limit_memory(self.options.memory_limit_bytes);
        let mut verdict = None;
        for event in events {
            let event = match event {
                Ok(event) => event,
                Err(error) if error.is_local() => {
                    self.bad_line(&error);
                    continue;
                }
                Err(error) => {
                    if self.goes_on(Err(error))? {
                        continue;
                    }
                    break;
                }
            };
            self.report.events += 1;
            match checker.observe_owned(event) {
                Ok(()) => {}
                Err(Rejection::Violation(violation)) => {
                    verdict = Some(Verdict::Violation(violation));
                    break;
                }
                Err(Rejection::Malformed(malformed)) => return Err(malformed.into()),
            }
            if self.report.events >= self.next_look {
                self.next_look += EVENTS_PER_LOOK;
                if let Flow::Stop = self.look(checker.statistics().operations) {
                    break;
                }
            }
        }
        self.report.verdict = verdict.unwrap_or_else(|| checker.finish());
        self.report
            .count_etcd(&checker.statistics(), checker.live_keys());
        Ok(())
    }

    /// Tells of the progress; `Stop` where the caller wants the check to end.
    fn look(&mut self, operations: u64) -> Flow {
        if let Some(on_progress) = &mut self.options.on_progress {
            on_progress(&Progress {
                operations,
                operations_per_second: operations as f64 / self.begin.elapsed().as_secs_f64(),
                keys: self.keys.estimate(),
                peak_memory_bytes: peak_memory_bytes(),
            });
        }
        match &self.options.stop {
            Some(stop) if stop.load(Ordering::Relaxed) => {
                self.report.stopped_early = true;
                Flow::Stop
            }
            _ => Flow::On,
        }
    }

    fn report(mut self) -> Report {
        let elapsed = self.begin.elapsed();
        self.report.elapsed_ms = elapsed.as_millis() as u64;
        self.report.operations_per_second =
            self.report.operations as f64 / elapsed.as_secs_f64().max(1e-9);
        self.report.peak_memory_bytes = peak_memory_bytes();
        self.report
    }
}

fn calls(events: &[ObjectEvent]) -> impl Iterator<Item = &Action> {
    events.iter().filter_map(|event| match &event.kind {
        EventKind::Call { input, .. } => Some(&input.action),
        EventKind::Return { .. } | EventKind::Unknown { .. } | EventKind::Failed { .. } => None,
        EventKind::Note { note } => match *note {},
    })
}

/// What parallel and single checkers end with.
type Ended = (Verdict, ObjectStatistics, Option<std::io::Error>);
