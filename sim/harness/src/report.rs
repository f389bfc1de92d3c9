//! What a run says of itself: to people as text, to programs as one line of JSON.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use veridical_checkers::Violation;
use veridical_world::ReplayCounts;

/// The signature of a run that a checker could not decide within its limits.
pub(crate) const UNDECIDED: &str = "undecided";

/// How a run ended. The order is that of the exit codes' gravity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// A safety property is broken.
    Violation,
    /// A member panicked or refuses its own data.
    Crash,
    /// Two runs of one seed differ.
    Nondeterminism,
    /// No progress after all faults were healed.
    Liveness,
    /// The checker reached a limit.
    Unknown,
    /// The run was stopped before its end, and nothing was wrong until then.
    Stopped,
    /// Nothing is wrong.
    Ok,
}

impl Class {
    /// The exit code of a program whose most severe result this is.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Ok | Self::Stopped => 0,
            Self::Violation => 1,
            Self::Unknown => 3,
            Self::Liveness => 4,
            Self::Crash => 5,
            Self::Nondeterminism => 6,
        }
    }

    /// Whether something is wrong with the system, and not only with what is known of it.
    pub const fn is_failure(self) -> bool {
        match self {
            Self::Violation | Self::Liveness | Self::Crash | Self::Nondeterminism => true,
            Self::Ok | Self::Stopped | Self::Unknown => false,
        }
    }

    /// The word in reports.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Violation => "violation",
            Self::Crash => "crash",
            Self::Nondeterminism => "nondeterminism",
            Self::Liveness => "liveness",
            Self::Unknown => "unknown",
            Self::Stopped => "stopped",
            Self::Ok => "ok",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Of which kind.
    pub class: Class,
    /// Groups findings of the same sort.
    pub signature: String,
    /// For a person.
    pub text: String,
    /// The operations that contradict each other, if a history is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub witness: Option<Box<Violation>>,
}

impl Finding {
    /// A finding without a witness.
    pub fn new(class: Class, signature: &str, text: impl Into<String>) -> Self {
        Self {
            class,
            signature: signature.to_owned(),
            text: text.into(),
            witness: None,
        }
    }
}

/// How full a queue has been.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueFilling {
    /// The most that it has held.
    pub longest: u64,
    /// What it could have held then.
    pub bound: u64,
}

impl QueueFilling {
    /// The fuller of the two, by the share of its bound.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        let (own, others) = (self.longest * other.bound, other.longest * self.bound);
        if self.bound == 0 || (others, other.longest) > (own, self.longest) {
            other
        } else {
            self
        }
    }
}

/// The result of one seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunReport {
    /// The seed.
    pub seed: u64,
    /// The scenario.
    pub scenario: String,
    /// The planted bug, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planted: Option<String>,
    /// Over all decisions and events, as 32 hexadecimal digits.
    pub digest: String,
    /// How it ended.
    pub verdict: Class,
    /// Nodes of the system.
    pub members: u32,
    /// Settings of the system that are not at their defaults.
    #[serde(default)]
    pub knobs: BTreeMap<String, u64>,
    /// In which order tasks ran and messages arrived, in words.
    #[serde(default)]
    pub schedule: String,
    /// Operations that clients called.
    pub operations: u64,
    /// Of these, those whose outcome nobody can tell.
    pub unknown_outcomes: u64,
    /// What else clients observed, by name (`watch responses`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub observations: BTreeMap<String, u64>,
    /// Simulated time in ms.
    pub simulated_ms: u64,
    /// Wall time in ms.
    pub wall_ms: f64,
    /// What happened how often: injected faults under `fault.`, their effects under
    /// `net.`, `disk.`, `process.`, `clock.`; what the operator did under `membership.` and
    /// `upgrade.`.
    pub faults: BTreeMap<String, u64>,
    /// Events that a campaign has to reach now and then.
    pub sometimes: BTreeMap<String, u64>,
    /// How full each queue of the store has been at most.
    #[serde(default)]
    pub queues: BTreeMap<String, QueueFilling>,
    /// The most memory that the run's process had, in bytes.
    pub peak_memory_bytes: u64,
    /// The command that runs it again.
    pub reproduce: String,
    /// What is wrong, if something is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finding: Option<Finding>,
    /// How well the record of decisions fitted, if the run was made from one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<ReplayCounts>,
    /// When planned operations were called, if that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timetable: Option<Vec<Began>>,
}

/// When a planned operation was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Began {
    /// The client, counted over all of them.
    pub client: u64,
    /// The number of the operation in its client's plan.
    pub number: usize,
    /// In ms of simulated time.
    pub at_ms: u64,
}

/// What was run: a seed of a scenario, with a bug planted or without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The scenario.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
    /// The planted bug, if any.
    pub planted: Option<String>,
}

impl RunReport {
    /// The report of a seed whose run gave none. `reproduce` is the command that runs it
    /// again.
    pub fn without_result(subject: Subject, reproduce: String, finding: Finding) -> Self {
        Self {
            seed: subject.seed,
            scenario: subject.scenario,
            planted: subject.planted,
            digest: String::new(),
            verdict: finding.class,
            members: 0,
            knobs: BTreeMap::new(),
            schedule: String::new(),
            operations: 0,
            unknown_outcomes: 0,
            observations: BTreeMap::new(),
            simulated_ms: 0,
            wall_ms: 0.0,
            faults: BTreeMap::new(),
            sometimes: BTreeMap::new(),
            queues: BTreeMap::new(),
            peak_memory_bytes: 0,
            reproduce,
            finding: Some(finding),
            replay: None,
            timetable: None,
        }
    }
}

#[cfg(test)]
impl RunReport {
    /// The report of a seed of the swarm with nothing planted, for tests.
    pub(crate) fn of_seed(seed: u64, finding: Finding) -> Self {
        let subject = Subject {
            scenario: "swarm".to_owned(),
            seed,
            planted: None,
        };
        let reproduce = crate::program::reproduce("cargo sim", "swarm", seed, None);
        Self::without_result(subject, reproduce, finding)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_fillings_the_one_nearer_to_its_bound_counts() {
        let filling = |longest, bound| QueueFilling { longest, bound };
        assert_eq!(filling(3, 4).max(filling(50, 100)), filling(3, 4));
        assert_eq!(filling(50, 100).max(filling(3, 4)), filling(3, 4));
        assert_eq!(filling(0, 0).max(filling(0, 9)), filling(0, 9));
    }

    #[test]
    fn the_most_severe_class_is_the_least_and_its_exit_code_is_the_documented_one() {
        let order = [
            Class::Violation,
            Class::Crash,
            Class::Nondeterminism,
            Class::Liveness,
            Class::Unknown,
            Class::Stopped,
            Class::Ok,
        ];
        assert!(order.is_sorted());
        assert_eq!(order.map(Class::exit_code), [1, 5, 6, 4, 3, 0, 0]);
    }
}
