//! `check`: judges recorded histories.
//!
//! Files are read as streams: what is kept depends on concurrency and keys, not on their
//! length. A file in which a violation was found is read a second time, where it can be,
//! to tell how far it depends on the clocks ([`robustness`]) and to draw it.

mod flags;
mod junit;
mod outcome;
mod progress;
mod robustness;
mod text;

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use veridical_checkers::check::{CheckModel, CheckOptions, Report, check_stream};
use veridical_checkers::etcd::EtcdOptions;
use veridical_checkers::picture::{Picture, PictureOptions};
use veridical_checkers::{CheckerOptions, ObjectModel};
use veridical_histories::formats::{self, Opened};

use crate::exit::ExitStatus;
use crate::input::{Counted, Input};
pub use flags::CheckFlags;
pub(crate) use flags::format_names;
use outcome::{CheckFailure, Outcome};
use robustness::Robustness;
pub(crate) use text::grouped;

/// What the program takes beside keys: itself, blocks that are read, runs that are merged.
const MEMORY_BESIDE_KEYS_BYTES: u64 = 24 << 20;
/// Operations in a picture.
pub(crate) const PICTURE_OPERATIONS_MAX: usize = 200_000;

/// Checks the files that the flags name and prints a verdict for each. `program` is the
/// name of the process, for messages and for the command that reproduces a failure.
pub fn run(flags: &CheckFlags, program: &str) -> ExitStatus {
    let inputs: Vec<Input> = flags
        .files
        .iter()
        .map(|file| Input::from_argument(file))
        .collect();
    if let Some(reason) = refusal(flags, &inputs) {
        eprintln!("{program} check: {reason}");
        return ExitStatus::Usage;
    }
    let signals =
        crate::interrupt::end_with_the_reader().and_then(|()| crate::interrupt::stop_flag());
    let stop = match signals {
        Ok(stop) => stop,
        Err(reason) => {
            eprintln!("{program} check: signals: {reason}");
            return ExitStatus::Crash;
        }
    };
    let mut outcomes: Vec<Outcome> = Vec::new();
    for input in &inputs {
        if stop.load(Ordering::Relaxed) {
            eprintln!("{program} check: interrupted before {}", input.name());
            outcomes.push(Outcome::new(input, Err(CheckFailure::NotBegun)));
            continue;
        }
        let stop = &stop;
        let outcome = Checking { flags, input, stop }.run();
        if let Err(error) = print(flags, program, &outcome) {
            // Nobody reads the verdict any more.
            eprintln!("{program} check: standard output: {error}");
            return ExitStatus::Usage;
        }
        outcomes.push(outcome);
    }
    let mut status = outcomes.iter().fold(ExitStatus::Ok, |worst, outcome| {
        worst.most_severe(outcome.status())
    });
    if let Some(path) = &flags.junit
        && let Err(error) = junit::write(&outcomes, path)
    {
        eprintln!("{program} check: {}: {error}", path.display());
        status = status.most_severe(ExitStatus::Usage);
    }
    status
}

/// Why these inputs cannot be checked together, for a person.
fn refusal(flags: &CheckFlags, inputs: &[Input]) -> Option<&'static str> {
    let is_standard = |input: &&Input| **input == Input::Standard;
    if inputs.iter().filter(is_standard).count() > 1 {
        Some("standard input can be read only once")
    } else if flags.html.is_some() && inputs.len() > 1 {
        Some("--html draws one history: give one file")
    } else {
        None
    }
}

fn print(flags: &CheckFlags, program: &str, outcome: &Outcome) -> io::Result<()> {
    outcome.print_complaints();
    let mut out = io::stdout().lock();
    if flags.json {
        writeln!(out, "{}", outcome.to_json())?;
    } else {
        let reproduce = flags.reproduce(program, &outcome.name);
        out.write_all(text::shown(outcome, &reproduce).as_bytes())?;
    }
    out.flush()
}

/// The check of one input.
struct Checking<'a> {
    flags: &'a CheckFlags,
    input: &'a Input,
    stop: &'a Arc<AtomicBool>,
}

impl Checking<'_> {
    fn run(&self) -> Outcome {
        let (report, again) = match self.check() {
            Ok(checked) => checked,
            Err(failure) => return Outcome::new(self.input, Err(failure)),
        };
        let was_interrupted = self.stop.load(Ordering::Relaxed);
        let model = object_model(self.flags, &report);
        let robustness = report.verdict.violation().map(|violation| {
            let open = || self.history(&again);
            robustness::measure(&open, self.flags, model.as_ref(), violation, self.stop)
                .unwrap_or_else(Robustness::NotKnown)
        });
        let picture_error = match &self.flags.html {
            Some(path) => self.draw(path, &again, &report, model).err(),
            None => None,
        };
        Outcome {
            robustness,
            picture_error,
            was_interrupted,
            ..Outcome::new(self.input, Ok(report))
        }
    }

    /// Checks the input, and gives back how it is read again.
    fn check(&self) -> Result<(Report, Again), CheckFailure> {
        let (flags, input) = (self.flags, self.input);
        let mut again = if input.is_rereadable() {
            Again::Input(input.clone())
        } else if flags.html.is_some() {
            Again::Copy(tempfile::tempfile().map_err(CheckFailure::Open)?)
        } else {
            Again::Never
        };
        let source = input.open(self.stop).map_err(CheckFailure::Open)?;
        let source: Box<dyn Read + Send> = match &mut again {
            Again::Copy(copy) => Box::new(Tee {
                source,
                copy: copy.try_clone().map_err(CheckFailure::Open)?,
            }),
            Again::Input(_) | Again::Never => source,
        };
        let bytes_read = Arc::new(AtomicU64::new(0));
        let source = Counted::new(source, bytes_read.clone());
        let progress = progress::Progress::new(input, bytes_read, io::stderr().is_terminal());
        let options = CheckOptions {
            on_progress: Some(Box::new({
                let mut progress = progress.clone();
                move |now| progress.show(now)
            })),
            stop: Some(self.stop.clone()),
            looks_behind_violations: input.is_rereadable(),
            ..options(flags)
        };
        let report = check_stream(source, options);
        progress.end();
        Ok((report.map_err(CheckFailure::Check)?, again))
    }

    fn draw(
        &self,
        path: &Path,
        again: &Again,
        report: &Report,
        model: Option<ObjectModel>,
    ) -> Result<(), String> {
        let history = self.history(again)?.history;
        let options = PictureOptions {
            title: self.input.name(),
            operations_max: PICTURE_OPERATIONS_MAX,
            event: report.verdict.violation().map(|violation| violation.event),
            model,
        };
        let mut picture =
            Picture::of_history(history, &options).map_err(|error| error.to_string())?;
        picture.show(&report.verdict);
        let write = || -> io::Result<()> {
            let mut sink = BufWriter::new(File::create(path)?);
            picture.write_html(&mut sink)?;
            sink.flush()
        };
        write().map_err(|error| format!("{}: {error}", path.display()))
    }

    /// The history from its beginning, or why there is none, for a person.
    fn history(&self, again: &Again) -> Result<Opened, String> {
        let source = again.open(self.stop).map_err(|error| error.to_string())?;
        formats::open(source, &self.flags.open_options()).map_err(|error| error.to_string())
    }
}

/// What the flags say about how to check.
fn options(flags: &CheckFlags) -> CheckOptions {
    CheckOptions {
        model: flags.model(),
        format: flags.format(),
        keys: flags.keys(),
        initial: flags.initial.clone(),
        threads: usize::from(flags.threads),
        checker: checker_options(flags),
        etcd: etcd_options(flags),
        nil_is_wildcard: flags.nil_is_wildcard,
        memory_limit_bytes: flags.memory_limit.map(for_keys),
        looks_behind_violations: false,
        on_progress: None,
        stop: None,
    }
}

/// What of a limit for the whole process is left for keys.
fn for_keys(memory_limit_bytes: u64) -> u64 {
    memory_limit_bytes
        .saturating_sub(MEMORY_BESIDE_KEYS_BYTES)
        .max(memory_limit_bytes / 2)
}

fn checker_options(flags: &CheckFlags) -> CheckerOptions {
    CheckerOptions {
        configurations_max: usize::try_from(flags.configurations).unwrap_or(usize::MAX),
        ..CheckerOptions::default()
    }
}

fn etcd_options(flags: &CheckFlags) -> EtcdOptions {
    EtcdOptions {
        initial_revision: flags.initial_revision,
        ..EtcdOptions::default()
    }
}

/// The specification that a history was judged by; `None` for an etcd-like store.
fn object_model(flags: &CheckFlags, report: &Report) -> Option<ObjectModel> {
    match CheckModel::from_name(&report.model)? {
        CheckModel::Object(kind) => {
            let mut model = ObjectModel::new(kind);
            if flags.nil_is_wildcard {
                model = model.with_nil_as_wildcard();
            }
            if let Some(initial) = &flags.initial {
                model = model.with_initial(initial.clone()).ok()?;
            }
            Some(model)
        }
        CheckModel::Etcd => None,
    }
}

/// How an input is read a second time.
enum Again {
    /// By opening it again.
    Input(Input),
    /// From a copy that was made of it.
    Copy(File),
    /// Not at all.
    Never,
}

impl Again {
    fn open(&self, stop: &Arc<AtomicBool>) -> io::Result<Box<dyn Read + Send>> {
        match self {
            Self::Input(input) => input.open(stop),
            Self::Copy(copy) => {
                let mut copy = copy.try_clone()?;
                copy.seek(SeekFrom::Start(0))?;
                Ok(Box::new(copy))
            }
            Self::Never => Err(io::Error::other("the input can be read only once")),
        }
    }
}

/// A source of which a copy is kept.
struct Tee<R> {
    source: R,
    copy: File,
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.source.read(buffer)?;
        self.copy.write_all(&buffer[..length])?;
        Ok(length)
    }
}
