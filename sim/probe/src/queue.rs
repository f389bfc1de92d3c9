//! Queues with a name: how long each has been, beside the bound that it must keep.
//!
//! A queue without a bound is a leak that waits for a slow disk or a dead peer. So the code
//! says at each queue, where it grows, how long it is and how long it may be; a simulation
//! compares the two and reports how full each queue has been.

/// Says that a queue holds `$len` items (or bytes) now and may hold `$bound`: where more
/// are found the process stops with a panic that names the queue.
///
/// Costs nothing without the feature `coverage`: neither is evaluated then, so they must
/// have no effect.
#[cfg(feature = "coverage")]
#[macro_export]
macro_rules! queue {
    ($name:literal, $len:expr, $bound:expr $(,)?) => {{
        #[allow(
            unsafe_code,
            reason = "linkme puts the queue into a section of its own, which only linkme reads"
        )]
        #[$crate::linkme::distributed_slice($crate::QUEUES)]
        #[linkme(crate = $crate::linkme)]
        static QUEUE: $crate::Queue = $crate::Queue::new($name);
        QUEUE.holds($len as u64, $bound as u64);
    }};
}

/// Says that a queue holds `$len` items (or bytes) now and may hold `$bound`.
#[cfg(not(feature = "coverage"))]
#[macro_export]
macro_rules! queue {
    ($name:literal, $len:expr, $bound:expr $(,)?) => {
        // It is compiled in every build, and run in none without the feature.
        let _ = || ($len, $bound);
    };
}

#[cfg(feature = "coverage")]
mod counted {
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// A queue that has a name in reports.
    #[derive(Debug)]
    pub struct Queue {
        name: &'static str,
        longest: AtomicU64,
        bound: AtomicU64,
    }

    impl Queue {
        /// A queue in which nothing has been yet.
        #[must_use]
        pub const fn new(name: &'static str) -> Self {
            Self {
                name,
                longest: AtomicU64::new(0),
                bound: AtomicU64::new(0),
            }
        }

        /// Notes that the queue holds `len` now, and may hold `bound`.
        ///
        /// # Panics
        /// The queue holds more than its bound.
        #[inline]
        pub fn holds(&self, len: u64, bound: u64) {
            assert!(
                len <= bound,
                "queue {} holds {len}, and its bound is {bound}",
                self.name
            );
            if len >= self.longest.load(Ordering::Relaxed) {
                self.longest.store(len, Ordering::Relaxed);
                self.bound.store(bound, Ordering::Relaxed);
            }
        }
    }

    /// How full a queue has been, in items or bytes.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct QueueUsage {
        /// The most that it has held.
        pub longest: u64,
        /// What it could have held then.
        pub bound: u64,
    }

    /// All queues of the program that is running.
    #[linkme::distributed_slice]
    pub static QUEUES: [Queue];

    /// How full each queue of the running program has been in this process. What several
    /// places say of one name is taken together.
    pub fn queues() -> BTreeMap<&'static str, QueueUsage> {
        let mut usages: BTreeMap<&'static str, QueueUsage> = BTreeMap::new();
        for queue in QUEUES {
            let usage = QueueUsage {
                longest: queue.longest.load(Ordering::Relaxed),
                bound: queue.bound.load(Ordering::Relaxed),
            };
            let known = usages.entry(queue.name).or_default();
            if usage.longest >= known.longest && usage.bound > 0 {
                *known = usage;
            }
        }
        usages
    }
}

#[cfg(feature = "coverage")]
pub use counted::{QUEUES, Queue, QueueUsage, queues};

#[cfg(all(test, feature = "coverage"))]
mod tests {
    use super::{QueueUsage, queues};

    fn grows_to(len: usize) {
        crate::queue!("probe.queue-of-a-test", len, 8);
    }

    #[test]
    fn the_longest_that_a_queue_has_been_is_kept_with_its_bound() {
        for len in [1, 5, 3] {
            grows_to(len);
        }
        let usage = QueueUsage {
            longest: 5,
            bound: 8,
        };
        assert_eq!(queues()["probe.queue-of-a-test"], usage);
    }

    #[test]
    #[should_panic(expected = "queue probe.bounded holds 9, and its bound is 8")]
    fn a_queue_over_its_bound_stops_the_process() {
        let len = std::hint::black_box(9);
        crate::queue!("probe.bounded", len, 8);
    }
}
