//! Places that a campaign is expected to reach, and claims that hold wherever they are made.
//!
//! The idea is that of "sometimes" assertions (FoundationDB's `TEST` and Antithesis'
//! `sometimes`): a simulation that never gets into the interesting situations proves
//! nothing, so the code says which these are, and campaigns print those that no seed has
//! reached.

/// What is claimed at a place.
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

/// A place in the code that has a name in reports.
#[derive(Debug)]
pub struct Place {
    name: &'static str,
    claim: Claim,
    #[cfg(feature = "coverage")]
    hits: std::sync::atomic::AtomicU64,
}

impl Place {
    /// A place that nobody has reached yet.
    #[must_use]
    pub const fn new(name: &'static str, claim: Claim) -> Self {
        Self {
            name,
            claim,
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

    /// Counts a visit.
    #[cfg(feature = "coverage")]
    pub fn hit(&self) {
        self.hits.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

#[cfg(feature = "coverage")]
mod counted {
    use super::Place;
    use std::collections::BTreeMap;
    use std::sync::atomic::Ordering;

    /// All places of the program that is running.
    #[linkme::distributed_slice]
    pub static PLACES: [Place];

    /// How often each name of the running program was reached in this process; names that
    /// were not are there with 0. Several places may share a name.
    pub fn coverage() -> BTreeMap<&'static str, u64> {
        let mut hits = BTreeMap::new();
        for place in PLACES {
            *hits.entry(place.name).or_default() += place.hits.load(Ordering::Relaxed);
        }
        hits
    }
}

#[cfg(feature = "coverage")]
pub use counted::{PLACES, coverage};

/// Claims that some run of a campaign comes by.
///
/// Costs nothing without the feature `coverage`.
#[cfg(feature = "coverage")]
#[macro_export]
macro_rules! reachable {
    ($name:literal) => {
        $crate::place!(Reachable, $name).hit()
    };
}

/// Claims that some run of a campaign comes by.
#[cfg(not(feature = "coverage"))]
#[macro_export]
macro_rules! reachable {
    ($name:literal) => {};
}

/// Claims that the condition holds in some run of a campaign.
///
/// Costs nothing without the feature `coverage`: the condition is not evaluated then, so
/// it must have no effect.
#[cfg(feature = "coverage")]
#[macro_export]
macro_rules! sometimes {
    ($condition:expr, $name:literal $(,)?) => {
        if $condition {
            $crate::place!(Sometimes, $name).hit();
        }
    };
}

/// Claims that the condition holds in some run of a campaign.
#[cfg(not(feature = "coverage"))]
#[macro_export]
macro_rules! sometimes {
    ($condition:expr, $name:literal $(,)?) => {
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
        $crate::place!($claim, $name).hit()
    };
}

#[doc(hidden)]
#[cfg(not(feature = "coverage"))]
#[macro_export]
macro_rules! visited {
    ($claim:ident, $name:literal) => {};
}

/// The place where it stands.
#[doc(hidden)]
#[cfg(feature = "coverage")]
#[macro_export]
macro_rules! place {
    ($claim:ident, $name:literal) => {{
        #[allow(
            unsafe_code,
            reason = "linkme puts the place into a section of its own, which only linkme reads"
        )]
        #[$crate::linkme::distributed_slice($crate::PLACES)]
        #[linkme(crate = $crate::linkme)]
        static PLACE: $crate::Place = $crate::Place::new($name, $crate::Claim::$claim);
        &PLACE
    }};
}

#[cfg(all(test, feature = "coverage"))]
mod tests {
    use super::coverage;

    fn come_by(number: u64) {
        crate::reachable!("probe.came-by");
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
