//! What the check of a stream counts, whatever its vocabulary.

use std::sync::atomic::Ordering;
use std::time::Instant;

use veridical_histories::formats::{Format, ReadError};

use super::keys::KeyCounter;
use super::report::{Report, peak_memory_bytes};
use super::{CheckError, CheckOptions, Progress};
use crate::verdict::{Cause, Undecided, Verdict};

/// Events between two looks at the clock and the stop flag.
const EVENTS_PER_LOOK: u64 = 1 << 16;

/// Events that are read behind a violation.
pub(super) const EVENTS_BEHIND_MAX: usize = 1 << 20;

/// Whether a check goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    On,
    Stop,
}

/// The check of one stream.
pub(super) struct Run {
    pub options: CheckOptions,
    pub report: Report,
    pub keys: KeyCounter,
    pub format: Format,
    pub is_compressed: bool,
    /// Calls read so far.
    pub calls: u64,
    begin: Instant,
    next_look: u64,
}

impl Run {
    pub fn new(format: Format, is_compressed: bool, options: CheckOptions) -> Self {
        Self {
            options,
            begin: Instant::now(),
            report: Report {
                format: format.name().to_owned(),
                ..Report::default()
            },
            keys: KeyCounter::default(),
            format,
            is_compressed,
            calls: 0,
            next_look: EVENTS_PER_LOOK,
        }
    }

    /// Whether every operation of a client has an end before a later one of it has: then one without
    /// an end has lost it. The other formats name no operations, or have checksums.
    pub fn clients_wait(&self) -> bool {
        match self.format {
            Format::Jsonl | Format::S2 => true,
            Format::Native | Format::JepsenLog | Format::Edn | Format::EtcdOperations => false,
        }
    }

    /// Whether the caller wants the check to end. A source that is interrupted ends within a
    /// line, which is no fault of the file.
    pub fn is_stopped(&mut self) -> bool {
        let stop = self.options.stop.as_ref();
        let is_stopped = stop.is_some_and(|stop| stop.load(Ordering::Relaxed));
        self.report.stopped_early |= is_stopped;
        is_stopped
    }

    /// Whether there may be more after an error that ended the reading.
    pub fn ended_by(&mut self, error: ReadError) -> Result<(), CheckError> {
        if !error.is_truncation() {
            return Err(error.into());
        }
        if !self.is_stopped() {
            self.report.truncated = Some(error.to_string());
        }
        Ok(())
    }

    /// Looks at the clock now and then.
    pub fn looks(&mut self, operations: u64) -> Flow {
        if self.report.events < self.next_look {
            return Flow::On;
        }
        self.next_look = self.report.events + EVENTS_PER_LOOK;
        if let Some(on_progress) = &mut self.options.on_progress {
            on_progress(&Progress {
                operations,
                operations_per_second: operations as f64 / self.begin.elapsed().as_secs_f64(),
                keys: self.keys.estimate(),
                peak_memory_bytes: peak_memory_bytes(),
            });
        }
        match self.is_stopped() {
            true => Flow::Stop,
            false => Flow::On,
        }
    }

    /// What is left of a verdict about what was read, where not all of it could be.
    pub fn conclude(&mut self, verdict: Verdict, unreadable: Option<Undecided>) {
        let last = self.report.events.saturating_sub(1);
        let truncated = self.report.truncated.as_ref().map(|text| Undecided {
            cause: Cause::Truncated,
            key: None,
            events: (last, last),
            text: text.clone(),
        });
        self.report.verdict = match (verdict, unreadable.or(truncated)) {
            (verdict @ Verdict::Violation(_), _) | (verdict, None) => verdict,
            (Verdict::Ok | Verdict::Unknown(_), Some(undecided)) => Verdict::Unknown(undecided),
        };
    }

    /// The report, once everything was read.
    ///
    /// # Errors
    /// There was nothing to judge.
    pub fn report(mut self) -> Result<Report, CheckError> {
        let is_empty = self.calls == 0 && self.report.bad_line_count == 0;
        if is_empty && !self.report.stopped_early && self.report.truncated.is_none() {
            let format = self.format.name();
            return Err(CheckError::NoOperations { format });
        }
        let elapsed = self.begin.elapsed();
        self.report.elapsed_ms = elapsed.as_millis() as u64;
        self.report.operations_per_second =
            self.report.operations as f64 / elapsed.as_secs_f64().max(1e-9);
        self.report.peak_memory_bytes = peak_memory_bytes();
        Ok(self.report)
    }
}
