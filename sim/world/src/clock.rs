//! The clocks of one process: how its time follows from the true time.

/// Millionths in one.
const PPM: i128 = 1_000_000;

/// A clock that runs at a fixed rate from a fixed point: local time as a line over true
/// time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Line {
    true_ns: u64,
    local_ns: i128,
    /// Local time passes at `rate_ppm` millionths of true time.
    rate_ppm: i128,
}

/// `product / PPM`. A division of 128 bits is a function call, and clocks are asked all the
/// time; two hours at the usual rate fit into 64.
fn per_million(product: i128) -> i128 {
    i64::try_from(product).map_or(product / PPM, |short| i128::from(short / PPM as i64))
}

impl Line {
    fn at(&self, true_ns: u64) -> i128 {
        let since_ns = i128::from(true_ns.saturating_sub(self.true_ns));
        self.local_ns + per_million(since_ns * self.rate_ppm)
    }

    fn set_rate(&mut self, now_ns: u64, rate_ppm: i128) {
        self.local_ns = self.at(now_ns);
        self.true_ns = now_ns;
        self.rate_ppm = rate_ppm;
    }
}

/// Repeated jumps forth and back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Strobe {
    amplitude_ns: i128,
    period_ns: u64,
}

/// The wall clock and the monotonic clock of one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClockModel {
    monotonic: Line,
    wall: Line,
    strobe: Option<Strobe>,
    drift_ppm: i64,
    suspended: bool,
}

impl ClockModel {
    /// Clocks that run at the true rate, the monotonic one from `monotonic_origin_ns`,
    /// the wall clock from `wall_origin_ns`, at the start of the run.
    pub fn new(monotonic_origin_ns: u64, wall_origin_ns: u64) -> Self {
        let line = |origin: u64| Line {
            true_ns: 0,
            local_ns: i128::from(origin),
            rate_ppm: PPM,
        };
        Self {
            monotonic: line(monotonic_origin_ns),
            wall: line(wall_origin_ns),
            strobe: None,
            drift_ppm: 0,
            suspended: false,
        }
    }

    /// The monotonic clock in ns, when the true time is `now_ns`.
    pub fn monotonic_ns(&self, now_ns: u64) -> u64 {
        u64::try_from(self.monotonic.at(now_ns))
            .expect("it starts at or above 0 and never goes back")
    }

    /// The wall clock in ns since 1970, when the true time is `now_ns`; 0 if it was put
    /// back before 1970.
    pub fn wall_ns(&self, now_ns: u64) -> u64 {
        let strobe = self
            .strobe
            .map_or(0, |strobe| match (now_ns / strobe.period_ns) % 2 {
                0 => strobe.amplitude_ns,
                _ => -strobe.amplitude_ns,
            });
        u64::try_from(self.wall.at(now_ns) + strobe).unwrap_or(0)
    }

    /// The true time in ns at which the monotonic clock will show `local_ns`, or `None`
    /// if it stands still.
    pub fn true_time_of(&self, local_ns: u64) -> Option<u64> {
        if self.monotonic.rate_ppm == 0 {
            return None;
        }
        let wait = (i128::from(local_ns) - self.monotonic.local_ns).max(0);
        // Rounded up, so that at that time the clock really shows it.
        let true_wait = (wait * PPM + self.monotonic.rate_ppm - 1) / self.monotonic.rate_ppm;
        Some(
            self.monotonic
                .true_ns
                .saturating_add(u64::try_from(true_wait).unwrap_or(u64::MAX)),
        )
    }

    /// How many millionths faster than true time the clocks run.
    pub const fn drift_ppm(&self) -> i64 {
        self.drift_ppm
    }

    /// Lets both clocks run `drift_ppm` millionths faster than true time from now on.
    ///
    /// # Panics
    /// If time would stand still or go back.
    pub fn set_drift(&mut self, now_ns: u64, drift_ppm: i64) {
        assert!(drift_ppm > -1_000_000, "time goes forward");
        self.drift_ppm = drift_ppm;
        self.wall.set_rate(now_ns, PPM + i128::from(drift_ppm));
        if !self.suspended {
            self.monotonic.set_rate(now_ns, PPM + i128::from(drift_ppm));
        }
    }

    /// Stops the monotonic clock, or lets it go on. The wall clock is not touched.
    pub fn set_suspended(&mut self, now_ns: u64, suspended: bool) {
        self.suspended = suspended;
        let rate = if suspended {
            0
        } else {
            PPM + i128::from(self.drift_ppm)
        };
        self.monotonic.set_rate(now_ns, rate);
    }

    /// Puts the wall clock forward, or back if negative.
    pub fn jump_wall(&mut self, jump_ns: i64) {
        self.wall.local_ns += i128::from(jump_ns);
    }

    /// Lets the wall clock show `amplitude_ns` more and less in turn, for `period_ns`
    /// each; `None` ends it.
    ///
    /// # Panics
    /// If the period is 0.
    pub fn set_strobe(&mut self, strobe: Option<(u64, u64)>) {
        self.strobe = strobe.map(|(amplitude_ns, period_ns)| {
            assert!(period_ns > 0, "a strobe has a period");
            Strobe {
                amplitude_ns: i128::from(amplitude_ns),
                period_ns,
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    #[test]
    fn drift_scales_both_clocks_from_the_moment_it_is_set() {
        let mut clock = ClockModel::new(10, 1_000);
        clock.set_drift(SECOND_NS, 1_000);
        assert_eq!(clock.monotonic_ns(SECOND_NS), SECOND_NS + 10);
        assert_eq!(
            clock.monotonic_ns(2 * SECOND_NS),
            2 * SECOND_NS + 1_000_000 + 10
        );
        assert_eq!(
            clock.wall_ns(2 * SECOND_NS),
            2 * SECOND_NS + 1_000_000 + 1_000
        );
    }

    #[test]
    fn a_wall_jump_leaves_the_monotonic_clock_alone() {
        let mut clock = ClockModel::new(0, 100 * SECOND_NS);
        clock.jump_wall(-3 * SECOND_NS as i64);
        assert_eq!(clock.wall_ns(SECOND_NS), 98 * SECOND_NS);
        assert_eq!(clock.monotonic_ns(SECOND_NS), SECOND_NS);
    }

    #[test]
    fn a_suspended_monotonic_clock_stands_while_the_wall_clock_goes_on() {
        let mut clock = ClockModel::new(0, 0);
        clock.set_suspended(SECOND_NS, true);
        assert_eq!(clock.monotonic_ns(5 * SECOND_NS), SECOND_NS);
        assert_eq!(clock.wall_ns(5 * SECOND_NS), 5 * SECOND_NS);
        assert_eq!(clock.true_time_of(6 * SECOND_NS), None);
        clock.set_suspended(5 * SECOND_NS, false);
        assert_eq!(clock.monotonic_ns(6 * SECOND_NS), 2 * SECOND_NS);
    }

    #[test]
    fn a_strobe_goes_forth_and_back() {
        let mut clock = ClockModel::new(0, SECOND_NS);
        clock.set_strobe(Some((100, 10)));
        assert_eq!(clock.wall_ns(5), SECOND_NS + 5 + 100);
        assert_eq!(clock.wall_ns(15), SECOND_NS + 15 - 100);
        clock.set_strobe(None);
        assert_eq!(clock.wall_ns(15), SECOND_NS + 15);
    }

    #[test]
    fn at_the_true_time_of_a_deadline_the_clock_shows_it_and_not_much_more() {
        for drift_ppm in [-500_000, -333, -1, 0, 1, 777, 900_000] {
            let mut clock = ClockModel::new(5, 0);
            clock.set_drift(123, drift_ppm);
            for local in [1_000, 12_345, 999_999_999_999] {
                let at = clock.true_time_of(local).expect("it runs");
                assert!(clock.monotonic_ns(at) >= local);
                assert!(clock.monotonic_ns(at - 1) < local, "{drift_ppm} {local}");
            }
        }
    }
}
