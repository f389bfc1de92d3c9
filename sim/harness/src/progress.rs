//! How far a long work is: a bar on a terminal, a plain line from time to time elsewhere.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use crate::output::print_note;

/// How often there is a line where there is no terminal.
const PLAIN_PERIOD: Duration = Duration::from_secs(10);

/// How far a campaign is.
pub struct Progress {
    bar: Option<ProgressBar>,
    total: u64,
    done: u64,
    said_at: Instant,
}

impl Progress {
    /// At the beginning of `total` seeds.
    pub fn new(total: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style =
                ProgressStyle::with_template("{bar:30} {pos}/{len} seeds  {msg}  eta {eta}")
                    .expect("the template is well-formed");
            let bar = ProgressBar::new(total).with_style(style);
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        Self {
            bar,
            total,
            done: 0,
            said_at: Instant::now(),
        }
    }

    /// One more is done.
    pub fn advance(&mut self, message: impl FnOnce() -> String) {
        self.done += 1;
        match &self.bar {
            Some(bar) => {
                bar.inc(1);
                bar.set_message(message());
            }
            None if self.said_at.elapsed() >= PLAIN_PERIOD => {
                self.said_at = Instant::now();
                print_note!("{}/{} seeds, {}", self.done, self.total, message());
            }
            None => {}
        }
    }

    /// Nothing more comes.
    pub fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
