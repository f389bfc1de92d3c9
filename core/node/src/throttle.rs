//! Warnings that somebody else could cause as often as they like are written once in a while.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Lets one event pass in each interval, and counts the others.
#[derive(Debug)]
pub struct Throttle {
    interval: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last: Option<Duration>,
    held_back: u64,
}

impl Throttle {
    /// One event passes in so much time.
    pub fn new(interval: Duration) -> Self {
        Self {
            interval,
            state: Mutex::default(),
        }
    }

    /// If the event of `now`, by a monotonic clock, may pass: how many were held back since the
    /// last one that did.
    pub fn admit(&self, now: Duration) -> Option<u64> {
        // Every change of it is one step, so that it is whole whoever panicked.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = state.last
            && now.saturating_sub(last) < self.interval
        {
            state.held_back += 1;
            return None;
        }
        state.last = Some(now);
        Some(std::mem::take(&mut state.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_event_passes_in_each_interval_and_says_how_many_did_not() {
        let throttle = Throttle::new(Duration::from_secs(10));
        let admitted = [0, 1, 9, 10, 11, 30].map(|s| throttle.admit(Duration::from_secs(s)));
        assert_eq!(admitted, [Some(0), None, None, Some(2), None, Some(1)]);
    }
}
