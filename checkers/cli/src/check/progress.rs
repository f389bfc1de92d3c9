//! How far a check is: a bar on a terminal, plain lines elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use veridical_checkers::check;

use super::text::{grouped, size};
use crate::input::Input;

/// Between two plain lines.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// Shows how far a check is, on standard error. Cheap to clone.
#[derive(Clone)]
pub(super) struct Progress {
    name: String,
    bar: Option<ProgressBar>,
    bytes_read: Arc<AtomicU64>,
    length_bytes: Option<u64>,
    last_line: Instant,
}

impl Progress {
    pub(super) fn new(input: &Input, bytes_read: Arc<AtomicU64>, is_terminal: bool) -> Self {
        let length_bytes = input.length_bytes();
        let bar = is_terminal.then(|| {
            let (bar, template) = match length_bytes {
                Some(length) => (
                    ProgressBar::new(length),
                    "{prefix} [{bar:30}] {percent:>3} % {msg}, {eta} left",
                ),
                None => (ProgressBar::no_length(), "{prefix} {spinner} {msg}"),
            };
            bar.set_draw_target(ProgressDrawTarget::stderr());
            bar.set_style(
                ProgressStyle::with_template(template)
                    .expect("the template is one")
                    .progress_chars("=> "),
            );
            bar.with_prefix(input.name())
        });
        Self {
            name: input.name(),
            bar,
            bytes_read,
            length_bytes,
            last_line: Instant::now(),
        }
    }

    pub(super) fn show(&mut self, now: &check::Progress) {
        let told = || {
            format!(
                "{} operations, {}/s, {} keys, {}",
                grouped(now.operations),
                grouped(now.operations_per_second as u64),
                grouped(now.keys),
                size(now.peak_memory_bytes)
            )
        };
        let bytes_read = self.bytes_read.load(Ordering::Relaxed);
        if let Some(bar) = &self.bar {
            bar.set_position(bytes_read);
            bar.set_message(told());
        } else if self.last_line.elapsed() >= LINE_INTERVAL {
            self.last_line = Instant::now();
            let share = match self.length_bytes {
                Some(length) if length > 0 => format!("{} %: ", bytes_read * 100 / length),
                _ => String::new(),
            };
            eprintln!("{}: {share}{}", self.name, told());
        }
    }

    pub(super) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
