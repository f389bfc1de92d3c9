//! When operations begin: each as soon as the last one of its client was answered (a closed
//! loop), or at instants that were fixed before (an open loop).
//!
//! In a closed loop a store that stands still is asked nothing meanwhile, so of a second in
//! which it answered nobody each client reports a single slow operation (Tene's *coordinated
//! omission*). In an open loop what was due in that second is counted from when it was due,
//! whether or not a client could send it then.

use std::ops::AddAssign;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// A beginning that is later than this is counted as late. Above what a wake-up takes, and
/// below what a client is held up by an operation that waits for a disk.
const LATE_AFTER: Duration = Duration::from_millis(1);

/// The longest sleep of the thread that wakes clients: so long it may outlive the clients.
const SLEEP_MAX: Duration = Duration::from_millis(20);

const NANOSECONDS_PER_SECOND: u128 = 1_000_000_000;

/// When the operations of an open loop are due: at the same distance from each other, and of
/// each client in turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    pub(crate) start: Instant,
    /// Of all clients together.
    pub(crate) operations_per_second: u64,
    pub(crate) clients: u64,
    /// Operations that are due at the same instant, because they travel together.
    pub(crate) batch: u64,
}

impl Schedule {
    /// When the batch of that number is due; numbers go around the clients.
    ///
    /// # Panics
    /// If nothing is asked in a second.
    fn due(&self, number: u64) -> Instant {
        let operations = u128::from(number) * u128::from(self.batch);
        let after_ns = operations * NANOSECONDS_PER_SECOND / u128::from(self.operations_per_second);
        self.start + Duration::from_nanos(after_ns as u64)
    }

    /// Batches of a client that are due in `from..until`, without its first `begun` ones.
    fn due_within(&self, client: u64, begun: u64, from: Instant, until: Instant) -> u64 {
        // The first one of the client that is not due before an instant.
        let first_after = |instant: Instant| {
            let after_ns = instant.saturating_duration_since(self.start).as_nanos();
            let batches = (after_ns * u128::from(self.operations_per_second))
                .div_ceil(NANOSECONDS_PER_SECOND * u128::from(self.batch));
            // Division rounded the instants down, so the next one may be due already.
            let mut round = (batches as u64)
                .saturating_sub(client)
                .div_ceil(self.clients);
            while self.due(round * self.clients + client) < instant {
                round += 1;
            }
            round
        };
        first_after(until).saturating_sub(first_after(from).max(begun))
    }
}

/// When what a client does next is due.
#[derive(Debug)]
pub(crate) enum Pace {
    /// As soon as the client is free.
    Closed,
    /// At instants that are fixed.
    Open(Turns),
}

/// One client's part of a schedule.
#[derive(Debug)]
pub(crate) struct Turns {
    pub(crate) schedule: Schedule,
    pub(crate) client: u64,
    /// Batches that it has begun.
    begun: u64,
}

/// The beginning of an operation or a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Beginning {
    due: Instant,
    begun: Instant,
}

impl Pace {
    /// That of a client of an open loop.
    pub(crate) fn open(schedule: Schedule, client: u64) -> Self {
        Self::Open(Turns {
            schedule,
            client,
            begun: 0,
        })
    }

    /// When the client's next batch is due, if it is free now.
    pub(crate) fn next_due(&self, now: Instant) -> Instant {
        match self {
            Self::Closed => now,
            Self::Open(turns) => {
                let number = turns.begun * turns.schedule.clients + turns.client;
                turns.schedule.due(number)
            }
        }
    }

    /// Begins the next batch.
    ///
    /// # Panics
    /// If it is not yet due.
    pub(crate) fn begin(&mut self, now: Instant) -> Beginning {
        let due = self.next_due(now);
        assert!(due <= now, "nothing begins before it is due");
        if let Self::Open(turns) = self {
            turns.begun += 1;
        }
        Beginning { due, begun: now }
    }

    /// Operations that were due in `from..until` and that the client did not come to.
    pub(crate) fn not_begun(&self, from: Instant, until: Instant) -> u64 {
        match self {
            Self::Closed => 0,
            Self::Open(turns) => {
                let schedule = &turns.schedule;
                schedule.batch * schedule.due_within(turns.client, turns.begun, from, until)
            }
        }
    }
}

impl Beginning {
    /// When it was due.
    pub(crate) fn due(&self) -> Instant {
        self.due
    }

    /// How long it took from when it was due to an end.
    pub(crate) fn latency(&self, ended: Instant) -> Duration {
        ended.saturating_duration_since(self.due)
    }

    /// How much later it began than it was due.
    fn lag(&self) -> Duration {
        self.begun.saturating_duration_since(self.due)
    }
}

/// How far clients fell behind their schedule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Lag {
    /// Operations that began more than 1 ms after they were due.
    pub(crate) begun_late: u64,
    /// Operations that were due and had not begun at the end.
    pub(crate) not_begun: u64,
    /// The latest beginning, counted from when it was due.
    pub(crate) lag_max_us: u64,
}

impl Lag {
    /// Takes in that so many operations have begun.
    pub(crate) fn begun(&mut self, beginning: &Beginning, operations: usize) {
        let lag = beginning.lag();
        if lag > LATE_AFTER {
            self.begun_late += operations as u64;
        }
        self.lag_max_us = self.lag_max_us.max(lag.as_micros() as u64);
    }
}

impl AddAssign for Lag {
    fn add_assign(&mut self, other: Self) {
        self.begun_late += other.begun_late;
        self.not_begun += other.not_begun;
        self.lag_max_us = self.lag_max_us.max(other.lag_max_us);
    }
}

/// Wakes the clients of an open loop when they are due.
///
/// A thread of its own, because tokio's timers count in milliseconds, and what they are late
/// would be told as the store's latency.
pub(crate) struct Pacer {
    bells: Vec<Arc<Notify>>,
    /// Ends the thread.
    _ended: tokio_util::sync::DropGuard,
}

impl Pacer {
    /// Begins to wake the clients of a schedule.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub(crate) fn start(schedule: Schedule, until: Instant) -> std::io::Result<Self> {
        let bells: Vec<_> = (0..schedule.clients)
            .map(|_| Arc::new(Notify::new()))
            .collect();
        let ended = CancellationToken::new();
        std::thread::Builder::new()
            .name("pacer".to_owned())
            .spawn({
                let (bells, ended) = (bells.clone(), ended.clone());
                move || wake(schedule, until, &bells, &ended)
            })?;
        Ok(Self {
            bells,
            _ended: ended.drop_guard(),
        })
    }

    /// What wakes a client. It may ring for something that the client, which lagged, has
    /// begun already.
    pub(crate) fn bell(&self, client: usize) -> Arc<Notify> {
        Arc::clone(&self.bells[client])
    }
}

fn wake(schedule: Schedule, until: Instant, bells: &[Arc<Notify>], ended: &CancellationToken) {
    let mut clients = bells.iter().cycle();
    let mut number = 0;
    loop {
        let due = schedule.due(number);
        if due >= until {
            return;
        }
        while let Some(early) = due.checked_duration_since(Instant::now()) {
            if ended.is_cancelled() {
                return;
            }
            if early.is_zero() {
                break;
            }
            std::thread::sleep(early.min(SLEEP_MAX));
        }
        clients.next().expect("a schedule has clients").notify_one();
        number += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);
    const SECOND: Duration = Duration::from_secs(1);

    fn schedule(operations_per_second: u64, clients: u64, batch: u64) -> Schedule {
        Schedule {
            start: Instant::now(),
            operations_per_second,
            clients,
            batch,
        }
    }

    /// Latencies that one client measures for ten seconds of a store that answers within a
    /// millisecond, but for one second in which it answers nothing.
    fn latencies_over_a_stall(mut pace: Pace, start: Instant) -> (Vec<Duration>, Lag) {
        let stall = start + 5 * SECOND..start + 6 * SECOND;
        let mut now = start;
        let mut latencies = Vec::new();
        let mut lag = Lag::default();
        loop {
            let begun = pace.next_due(now).max(now);
            if begun >= start + 10 * SECOND {
                return (latencies, lag);
            }
            let beginning = pace.begin(begun);
            now = match stall.contains(&begun) {
                true => stall.end,
                false => begun + MILLISECOND,
            };
            latencies.push(beginning.latency(now));
            lag.begun(&beginning, 1);
        }
    }

    #[test]
    fn a_stall_is_seen_by_all_operations_that_were_due_in_it() {
        let is_slow = |latency: &&Duration| **latency > 100 * MILLISECOND;
        let schedule = schedule(100, 1, 1);
        let (open, lag) = latencies_over_a_stall(Pace::open(schedule, 0), schedule.start);
        assert_eq!(open.len(), 1_000);
        // One was due each 10 ms; the last one waits until the others are done.
        assert_eq!(open.iter().filter(is_slow).count(), 100);
        assert_eq!(open.iter().max(), Some(&SECOND));
        assert_eq!(lag.lag_max_us, 990_000);
        let (closed, lag) = latencies_over_a_stall(Pace::Closed, schedule.start);
        assert_eq!(closed.iter().filter(is_slow).count(), 1);
        assert_eq!(lag, Lag::default());
    }

    #[test]
    fn clients_take_turns_at_the_same_distance() {
        let schedule = schedule(1_000, 4, 1);
        let mut dues = Vec::new();
        for client in 0..4 {
            let mut pace = Pace::open(schedule, client);
            for _ in 0..3 {
                let due = pace.next_due(schedule.start);
                dues.push(pace.begin(due + SECOND).due() - schedule.start);
            }
        }
        dues.sort_unstable();
        let expected: Vec<_> = (0..12).map(|number| number * MILLISECOND).collect();
        assert_eq!(dues, expected);
    }

    #[test]
    fn a_batch_is_due_when_its_first_operation_is() {
        let schedule = schedule(1_000, 2, 100);
        assert_eq!(schedule.due(0), schedule.start);
        assert_eq!(schedule.due(3), schedule.start + 300 * MILLISECOND);
    }

    #[test]
    fn the_rate_does_not_drift_where_the_distance_is_no_whole_number_of_nanoseconds() {
        let schedule = schedule(3, 1, 1);
        assert_eq!(schedule.due(3_000_000), schedule.start + 1_000_000 * SECOND);
    }

    #[test]
    fn what_was_begun_and_what_was_not_are_together_what_was_due() {
        for (rate, clients, batch) in [(1, 1, 1), (7, 3, 1), (997, 64, 1), (5_000, 3, 17)] {
            let schedule = schedule(rate, clients, batch);
            let (from, until) = (schedule.start + SECOND, schedule.start + 3 * SECOND);
            let numbers = (0..).map(|number| schedule.due(number));
            let due = numbers
                .take_while(|due| *due < until)
                .filter(|due| *due >= from);
            let due = due.count() as u64 * batch;
            for begun in [0, 1, 5] {
                let mut begun_in_time = 0;
                let mut not_begun = 0;
                for client in 0..clients {
                    let mut pace = Pace::open(schedule, client);
                    for _ in 0..begun {
                        let beginning = pace.begin(until + 100 * SECOND);
                        if (from..until).contains(&beginning.due()) {
                            begun_in_time += batch;
                        }
                    }
                    not_begun += pace.not_begun(from, until);
                }
                assert_eq!(
                    begun_in_time + not_begun,
                    due,
                    "{schedule:?}, {begun} begun"
                );
            }
        }
    }

    #[test]
    fn a_client_that_was_woken_for_what_it_has_begun_is_not_late() {
        let schedule = schedule(100, 1, 1);
        let mut pace = Pace::open(schedule, 0);
        let mut lag = Lag::default();
        lag.begun(&pace.begin(schedule.start + MILLISECOND), 1);
        assert_eq!(lag.begun_late, 0);
        lag.begun(&pace.begin(schedule.start + 12 * MILLISECOND), 1);
        assert_eq!(lag.begun_late, 1);
        assert_eq!(lag.lag_max_us, 2_000);
    }
}
