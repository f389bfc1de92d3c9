//! How long something takes: a distribution with a long tail.

use crate::rng::Rng;
use serde::{Deserialize, Serialize};

/// A random duration: a fixed part, an exponential part, and now and then a much longer
/// wait (the second mode of a bimodal distribution). All in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Latency {
    /// What it takes at least, in µs.
    pub base_us: u64,
    /// The mean of the exponential part, in µs.
    pub exponential_mean_us: u64,
    /// The probability of a wait out of the tail.
    pub tail_probability: f64,
    /// The mean of such a wait, in µs; exponentially distributed and added.
    pub tail_mean_us: u64,
}

impl Latency {
    /// No time at all.
    pub const ZERO: Self = Self::new(0, 0);

    /// `base_us` plus an exponential part with this mean, both in µs.
    pub const fn new(base_us: u64, exponential_mean_us: u64) -> Self {
        Self {
            base_us,
            exponential_mean_us,
            tail_probability: 0.0,
            tail_mean_us: 0,
        }
    }

    /// The same with a tail: with `probability`, a wait of mean `mean_us` µs is added.
    pub const fn with_tail(self, probability: f64, mean_us: u64) -> Self {
        Self {
            tail_probability: probability,
            tail_mean_us: mean_us,
            ..self
        }
    }

    /// The mean without the tail, in nanoseconds.
    pub const fn usual_ns(&self) -> u64 {
        (self.base_us + self.exponential_mean_us) * 1_000
    }

    /// Draws a duration in nanoseconds, and whether it came out of the tail.
    #[inline]
    pub fn draw_ns(&self, rng: &mut Rng) -> (u64, bool) {
        let usual = self.base_us * 1_000 + rng.exponential(self.exponential_mean_us * 1_000);
        if rng.chance(self.tail_probability) {
            (usual + rng.exponential(self.tail_mean_us * 1_000), true)
        } else {
            (usual, false)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draw_is_never_below_the_base() {
        let mut rng = Rng::from_seed(1);
        let latency = Latency::new(100, 50);
        assert!((0..1_000).all(|_| latency.draw_ns(&mut rng).0 >= 100_000));
    }

    #[test]
    fn the_tail_comes_as_often_as_it_should() {
        let mut rng = Rng::from_seed(1);
        let latency = Latency::new(100, 50).with_tail(0.1, 10_000);
        let tails = (0..10_000).filter(|_| latency.draw_ns(&mut rng).1).count();
        assert!((900..1_100).contains(&tails), "{tails}");
    }
}
