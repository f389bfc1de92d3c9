//! How far ahead the log is filled with zeros: as far as the disk has shown that it can take it
//! without anybody having to wait.
//!
//! The zeros only make later synchronisations cheaper, and whatever is to be made durable next,
//! a vote for instance, waits until they are written. On a disk that is slow enough it would wait
//! for longer than an election takes. So the pace begins with little, doubles as long as the disk
//! is quick, and falls back to nothing when it is not, as the window of a TCP connection does.

use std::time::Duration;

use veridical_planted::{Planted, PlantedBug};

/// How far ahead the log is filled first, in bytes, and first after the disk was slow.
const FIRST_BYTES: u64 = 8 * 1024;

/// Written at once at most, in bytes: what a disk that has just become slow still gets.
const PIECE_BYTES: u64 = 32 * 1024;

/// After the disk was slow so many quick commits pass before it is filled ahead again.
const PATIENCE_COMMITS: u32 = 16;

/// How far ahead the log is filled.
#[derive(Debug)]
pub(crate) struct FillPace {
    /// What a commit may take on a disk that is quick.
    budget: Duration,
    max_bytes: u64,
    /// How far ahead the log shall be filled.
    bytes: u64,
    /// It is being filled that far; it begins when half of it is used up.
    is_filling: bool,
    /// Zeros were written and no commit has waited for them yet.
    is_tried: bool,
    quick_commits_to_wait: u32,
    planted: Planted,
}

impl FillPace {
    /// At most `max_bytes`, as long as a commit takes no longer than `budget`.
    pub(crate) fn new(budget: Duration, max_bytes: u64, planted: Planted) -> Self {
        Self {
            budget,
            max_bytes,
            bytes: FIRST_BYTES.min(max_bytes),
            is_filling: true,
            is_tried: false,
            // The first commit shows what the disk is like.
            quick_commits_to_wait: 1,
            planted,
        }
    }

    /// How much is to be written now where the log is filled so far ahead, in bytes.
    pub(crate) fn next_piece(&mut self, ahead_bytes: u64) -> u64 {
        if self.planted.has(PlantedBug::ZerosUnpaced) {
            return match ahead_bytes < FIRST_BYTES {
                true => self.max_bytes,
                false => 0,
            };
        }
        if self.quick_commits_to_wait > 0 {
            return 0;
        }
        if ahead_bytes >= self.bytes {
            self.is_filling = false;
        } else if ahead_bytes < self.bytes / 2 {
            self.is_filling = true;
        }
        match self.is_filling {
            true => (self.bytes - ahead_bytes).min(PIECE_BYTES),
            false => 0,
        }
    }

    /// Zeros were written, and that alone took so long.
    pub(crate) fn filled(&mut self, took: Duration) {
        if took > self.budget {
            self.slow_down();
        } else {
            self.is_tried = true;
        }
    }

    /// Something was made durable, with whatever zeros had been written before.
    pub(crate) fn committed(&mut self, took: Duration) {
        if took > self.budget {
            self.slow_down();
            return;
        }
        self.quick_commits_to_wait = self.quick_commits_to_wait.saturating_sub(1);
        if std::mem::take(&mut self.is_tried) {
            self.bytes = self.bytes.saturating_mul(2).min(self.max_bytes);
        }
    }

    fn slow_down(&mut self) {
        self.bytes = FIRST_BYTES.min(self.max_bytes);
        self.is_tried = false;
        self.quick_commits_to_wait = PATIENCE_COMMITS;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_BYTES: u64 = 256 * 1024;
    const QUICK: Duration = Duration::from_millis(1);
    const SLOW: Duration = Duration::from_secs(1);

    fn pace() -> FillPace {
        FillPace::new(Duration::from_millis(100), MAX_BYTES, Planted::none())
    }

    #[test]
    fn nothing_is_filled_before_the_disk_has_shown_what_it_is_like() {
        let mut pace = pace();
        assert_eq!(pace.next_piece(0), 0);
        pace.committed(SLOW);
        assert_eq!(pace.next_piece(0), 0);
    }

    /// As a disk that takes everything at once.
    fn fill_quickly(pace: &mut FillPace, commits: u32) -> u64 {
        let mut ahead = 0;
        for _ in 0..commits {
            pace.committed(QUICK);
            let piece = pace.next_piece(ahead);
            assert!(piece <= PIECE_BYTES);
            if piece > 0 {
                ahead += piece;
                pace.filled(QUICK);
            }
        }
        ahead
    }

    #[test]
    fn on_a_quick_disk_the_log_is_filled_to_the_bound_piece_by_piece() {
        let mut pace = pace();
        assert_eq!(fill_quickly(&mut pace, 2), 8 * 1024 + 8 * 1024);
        assert_eq!(fill_quickly(&mut pace, 100), MAX_BYTES);
        // Then nothing is written until half of it is used up.
        assert_eq!(pace.next_piece(MAX_BYTES / 2), 0);
        assert_eq!(pace.next_piece(MAX_BYTES / 2 - 1), PIECE_BYTES);
        assert_eq!(pace.next_piece(MAX_BYTES - 1), 1);
        assert_eq!(pace.next_piece(MAX_BYTES), 0);
    }

    #[test]
    fn a_slow_commit_or_fill_ends_filling_until_many_commits_were_quick() {
        for slow in [FillPace::committed, FillPace::filled] {
            let mut pace = pace();
            fill_quickly(&mut pace, 100);
            slow(&mut pace, SLOW);
            for _ in 0..PATIENCE_COMMITS {
                assert_eq!(pace.next_piece(0), 0);
                pace.committed(QUICK);
            }
            assert_eq!(pace.next_piece(0), FIRST_BYTES);
        }
    }
}
