//! Bugs that can be planted on purpose, to measure whether the checks find them.

use std::fmt;

macro_rules! planted_bugs {
    ($($(#[$doc:meta])* $variant:ident => $name:literal,)+) => {
        /// A deliberate defect behind a name. Each one is a mistake that real systems
        /// have shipped.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum PlantedBug {
            $($(#[$doc])* $variant,)+
        }

        impl PlantedBug {
            /// Every planted bug, in the order in which reports list them.
            pub const ALL: &'static [PlantedBug] = &[$(PlantedBug::$variant,)+];

            /// The name used on the command line and in reports.
            pub const fn name(self) -> &'static str {
                match self { $(PlantedBug::$variant => $name,)+ }
            }
        }
    };
}

planted_bugs! {
    /// raft: a leader serves linearizable reads without confirming its leadership.
    StaleRead => "stale-read",
    /// node: a write is acknowledged before its log entry is durable.
    AckBeforeFsync => "ack-before-fsync",
    /// node: term and vote are not written before a vote is sent.
    VoteNotPersisted => "vote-not-persisted",
    /// raft: entries of earlier terms are committed by counting replicas
    /// (figure 8 of the Raft paper).
    CommitOldTerm => "commit-old-term",
    /// store: a watcher that fell behind skips what happened while it caught up.
    WatchGap => "watch-gap",
    /// store: a range reads each shard at whatever revision that shard has reached.
    TornCut => "torn-cut",
    /// store: a retried proposal is applied again.
    DoubleApply => "double-apply",
    /// storage: the parent folder is not synchronised after a file is created or renamed.
    DirentLoss => "dirent-loss",
}

impl PlantedBug {
    /// The bug with this name, or `None`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|bug| bug.name() == name)
    }
}

impl fmt::Display for PlantedBug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of planted bugs. Empty unless the feature `planted-bugs` is on and somebody
/// planted one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Planted {
    #[cfg(feature = "planted-bugs")]
    bits: u64,
}

impl Planted {
    /// No bug at all.
    pub const fn none() -> Self {
        Self {
            #[cfg(feature = "planted-bugs")]
            bits: 0,
        }
    }

    /// The set that holds only `bug`.
    #[cfg(feature = "planted-bugs")]
    pub const fn only(bug: PlantedBug) -> Self {
        Self {
            bits: 1 << bug as u64,
        }
    }

    /// Whether `bug` is planted. Constant `false` without the feature.
    #[inline]
    pub const fn has(self, bug: PlantedBug) -> bool {
        #[cfg(feature = "planted-bugs")]
        {
            self.bits & (1 << bug as u64) != 0
        }
        #[cfg(not(feature = "planted-bugs"))]
        {
            let _ = bug;
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_finds_its_bug_and_no_other() {
        for bug in PlantedBug::ALL {
            assert_eq!(PlantedBug::from_name(bug.name()), Some(*bug));
        }
        assert_eq!(PlantedBug::from_name("no-such-bug"), None);
    }

    #[test]
    fn nothing_is_planted_by_default() {
        for bug in PlantedBug::ALL {
            assert!(!Planted::none().has(*bug));
        }
    }

    #[cfg(feature = "planted-bugs")]
    #[test]
    fn a_set_of_one_has_exactly_that_bug() {
        for planted in PlantedBug::ALL {
            for asked in PlantedBug::ALL {
                assert_eq!(Planted::only(*planted).has(*asked), planted == asked);
            }
        }
    }
}
