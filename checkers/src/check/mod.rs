//! A whole history from a stream: format told by content, engine chosen by key, in
//! parallel if asked.
//!
//! This is what `veridical check` is a thin layer over.

mod ends;
mod etcd;
mod guess;
mod intake;
mod keys;
mod objects;
mod parallel;
mod report;
mod run;
mod simultaneous;

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use veridical_histories::formats::{self, Format, History, Keys, OpenOptions, ReadError};
use veridical_histories::object::Value;

use crate::etcd::EtcdOptions;
use crate::models::{InitialRefused, ObjectKind};
use crate::online::CheckerOptions;
pub use report::{EngineCounts, Report, peak_memory_bytes};
use run::Run;

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
    /// Which values are pairs of a key and a value, in formats that do not tell.
    pub keys: Keys,
    /// What every object holds in the beginning; what those of the model do unless given.
    pub initial: Option<Value>,
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
    /// Once something is wrong, reads on for events that betray a missing line before it: an end
    /// whose call nobody saw. Not for a source that may be silent for long.
    pub looks_behind_violations: bool,
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
    /// There is nothing to judge in it.
    #[error("there is no operation in it (read as {format})")]
    NoOperations {
        /// How it was read.
        format: &'static str,
    },
    /// It could be judged by several models, with different verdicts.
    #[error("what is it about? {why}; give --model")]
    ModelNotTold {
        /// Why none is certain.
        why: &'static str,
    },
    /// The objects of the model cannot begin like that.
    #[error(transparent)]
    Initial(#[from] InitialRefused),
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

/// Reads a history and checks it.
///
/// # Errors
/// [`CheckError`]. Lines that are not events are reported in [`Report::bad_lines`], and what they
/// may have been about is not judged: the verdict is [`Unknown`](crate::Verdict::Unknown) then,
/// unless something is wrong for certain. A file that is cut off is checked as far as it goes.
pub fn check_stream(
    source: impl Read + Send + 'static,
    options: CheckOptions,
) -> Result<Report, CheckError> {
    let opened = formats::open(
        source,
        &OpenOptions {
            format: options.format,
            keys: options.keys,
            memory_bytes_max: options.memory_limit_bytes,
        },
    )?;
    let mut run = Run::new(opened.format, opened.is_compressed, options);
    match opened.history {
        History::Etcd(events) => run.etcd(events)?,
        History::ObjectBlocks(blocks) => run.object_blocks(blocks)?,
        History::Object(events) => run.object_lines(events)?,
    }
    run.report()
}
