//! Coverage points that a campaign is expected to reach, and claims that hold wherever they
//! are made.
//!
//! The idea is that of "sometimes" assertions (FoundationDB's `TEST` and Antithesis'
//! `sometimes`): a simulation that never gets into the interesting situations proves
//! nothing, so the code says which these are, and campaigns print those that no seed has
//! reached.

/// What is claimed at a coverage point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Claim {
    /// Some run comes by ([`reachable!`](crate::reachable)).
    Reachable,
    /// In some run the condition holds ([`sometimes!`](crate::sometimes)).
    Sometimes,
    /// The condition holds whenever a run comes by, and some run does
    /// ([`always!`](crate::always)).
    Always,
}

/// A line of the code that has a name in reports.
#[derive(Debug)]
pub struct CoveragePoint {
    name: &'static str,
    claim: Claim,
    file: &'static str,
    line: u32,
    rare: Option<&'static str>,
    #[cfg(feature = "coverage")]
    hits: std::sync::atomic::AtomicU64,
}

impl CoveragePoint {
    /// A coverage point in this line of this file that nobody has reached yet. `rare` is why the
    /// default campaign is not expected to come by, if it is not.
    #[must_use]
    pub const fn new(
        name: &'static str,
        claim: Claim,
        (file, line): (&'static str, u32),
        rare: Option<&'static str>,
    ) -> Self {
        Self {
            name,
            claim,
            file,
            line,
            rare,
            #[cfg(feature = "coverage")]
            hits: std::sync::atomic::AtomicU64::new(0),
        }
    }

    /// Its name, `crate.what-happened`.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// What is claimed there.
    pub const fn claim(&self) -> Claim {
        self.claim
    }

    /// The file that it is in, as the compiler was told of it.
    pub const fn file(&self) -> &'static str {
        self.file
    }

    /// Its line, from 1.
    pub const fn line(&self) -> u32 {
        self.line
    }

    /// Why the default campaign is not expected to come by, if it is not.
    pub const fn rare(&self) -> Option<&'static str> {
        self.rare
    }

    /// Counts a visit.
    #[cfg(feature = "coverage")]
    pub fn hit(&self) {
        self.hits.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

#[cfg(feature = "coverage")]
mod counted {
    use super::CoveragePoint;
    use std::collections::BTreeMap;
    use std::sync::atomic::Ordering;

    /// All coverage points of the program that is running.
    #[linkme::distributed_slice]
    pub static COVERAGE_POINTS: [CoveragePoint];

    /// How often each name of the running program was reached in this process; names that
    /// were not are there with 0. Several points may share a name.
    pub fn coverage() -> BTreeMap<&'static str, u64> {
        let mut hits = BTreeMap::new();
        for point in COVERAGE_POINTS {
            *hits.entry(point.name).or_default() += point.hits.load(Ordering::Relaxed);
        }
        hits
    }
}

#[cfg(feature = "coverage")]
pub use counted::{COVERAGE_POINTS, coverage};

/// Claims that some run of a campaign comes by. With `rare: "why"` a campaign that does
/// not is excused, and reports say why.
///
/// Costs nothing without the feature `coverage`.
#[cfg(feature = "coverage")]
#[macro_export]
macro_rules! reachable {
    ($name:literal $(, rare: $why:literal)? $(,)?) => {
        $crate::coverage_point!(Reachable, $name $(, $why)?).hit()
    };
}

/// Claims that some run of a campaign comes by.
#[cfg(not(feature = "coverage"))]
#[macro_export]
macro_rules! reachable {
    ($name:literal $(, rare: $why:literal)? $(,)?) => {};
}

/// Claims that the condition holds in some run of a campaign; `rare` is as in
/// [`reachable!`](crate::reachable).
///
/// Costs nothing without the feature `coverage`: the condition is not evaluated then, so
/// it must have no effect.
#[cfg(feature = "coverage")]
#[macro_export]
macro_rules! sometimes {
    ($condition:expr, $name:literal $(, rare: $why:literal)? $(,)?) => {
        if $condition {
            $crate::coverage_point!(Sometimes, $name $(, $why)?).hit();
        }
    };
}

/// Claims that the condition holds in some run of a campaign.
#[cfg(not(feature = "coverage"))]
#[macro_export]
macro_rules! sometimes {
    ($condition:expr, $name:literal $(, rare: $why:literal)? $(,)?) => {
        // It is compiled in every build, and run in none without the feature.
        let _ = || $condition;
    };
}

/// Claims that the condition holds whenever the code comes by, in production as well:
/// otherwise there is a bug, and the process stops with a panic that names the claim.
#[macro_export]
macro_rules! always {
    ($condition:expr, $name:literal, $($explanation:tt)+) => {{
        $crate::visited!(Always, $name);
        assert!($condition, "{}: {}", $name, format_args!($($explanation)+));
    }};
}

/// Counts a visit where visits are counted.
#[doc(hidden)]
#[cfg(feature = "coverage")]
#[macro_export]
macro_rules! visited {
    ($claim:ident, $name:literal) => {
        $crate::coverage_point!($claim, $name).hit()
    };
}

#[doc(hidden)]
#[cfg(not(feature = "coverage"))]
#[macro_export]
macro_rules! visited {
    ($claim:ident, $name:literal) => {};
}

/// The coverage point of this line.
#[doc(hidden)]
#[cfg(feature = "coverage")]
#[macro_export]
macro_rules! coverage_point {
    ($claim:ident, $name:literal) => {
        $crate::coverage_point!(@declared $claim, $name, None)
    };
    ($claim:ident, $name:literal, $why:literal) => {
        $crate::coverage_point!(@declared $claim, $name, Some($why))
    };
    (@declared $claim:ident, $name:literal, $rare:expr) => {{
        #[allow(
            unsafe_code,
            reason = "linkme puts the coverage point into a section of its own, which only linkme reads"
        )]
        #[$crate::linkme::distributed_slice($crate::COVERAGE_POINTS)]
        #[linkme(crate = $crate::linkme)]
        static POINT: $crate::CoveragePoint =
            $crate::CoveragePoint::new($name, $crate::Claim::$claim, (file!(), line!()), $rare);
        &POINT
    }};
}

#[cfg(all(test, feature = "coverage"))]
mod tests {
    use super::{COVERAGE_POINTS, CoveragePoint, coverage};

    fn come_by(number: u64) {
        crate::reachable!("probe.came-by");
        crate::sometimes!(number > 100, "probe.above-a-hundred", rare: "nobody counts so far");
        crate::sometimes!(number > 3, "probe.above-three");
        crate::sometimes!(number > 1_000, "probe.above-a-thousand");
        crate::always!(number < 10, "probe.below-ten", "it is {number}");
    }

    #[test]
    fn what_was_reached_is_counted_and_what_was_not_is_listed() {
        for number in 0..6 {
            come_by(number);
        }
        let hits = coverage();
        assert_eq!(hits["probe.came-by"], 6);
        assert_eq!(hits["probe.above-three"], 2);
        assert_eq!(hits["probe.above-a-thousand"], 0);
        assert_eq!(hits["probe.below-ten"], 6);
    }

    #[test]
    fn a_coverage_point_knows_where_it_stands_and_why_it_is_rare() {
        let point = |name: &str| -> &CoveragePoint {
            let mut points = COVERAGE_POINTS.iter().filter(|point| point.name() == name);
            points.next().expect("it is declared above")
        };
        let (often, rare) = (point("probe.came-by"), point("probe.above-a-hundred"));
        assert!(often.file().ends_with("coverage.rs") && rare.line() == often.line() + 1);
        assert_eq!(often.rare(), None);
        assert_eq!(rare.rare(), Some("nobody counts so far"));
    }

    #[test]
    #[should_panic(expected = "probe.broken-once: not false but true")]
    fn a_claim_that_does_not_hold_stops_the_process() {
        if std::hint::black_box(true) {
            crate::always!(
                !std::hint::black_box(true),
                "probe.broken-once",
                "not {} but {}",
                false,
                true
            );
        }
    }
}
