//! Which fault befalls whom, when and for how long.

use std::time::Duration;

use veridical_histories::random::Random;

use super::kind::{Fault, FaultKind, Reach};
use super::partition::Cut;

/// From one fault to the next, in milliseconds.
const GAP_MS: (u64, u64) = (300, 1_200);

/// How long a fault lasts, in milliseconds: also longer than an election takes, so that
/// another member leads when the old leader comes back.
const LASTS_MS: (u64, u64) = (100, 2_500);

/// How often a loss of power is one of all members.
const ALL_PROBABILITY: f64 = 0.7;

/// How far a member's clocks may be ahead: a month. One that is started again may so find them
/// far before or behind what they were.
const AHEAD_SECONDS_MAX: u64 = 30 * 24 * 60 * 60;

/// A fault that is to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PlannedFault {
    pub(super) fault: Fault,
    pub(super) member: usize,
    /// Since the fault before it.
    pub(super) gap: Duration,
    pub(super) lasts: Duration,
}

/// Faults without end.
pub(super) struct Schedule {
    random: Random,
    kinds: Vec<FaultKind>,
    /// What is left of the present round.
    round: Vec<FaultKind>,
    members: usize,
}

impl Schedule {
    /// A schedule for members `0..members`.
    ///
    /// # Panics
    /// If there are no kinds of faults.
    pub(super) fn new(kinds: &[FaultKind], members: usize, seed: u64) -> Self {
        assert!(!kinds.is_empty(), "there is nothing to choose from");
        Self {
            // The clients draw from the same seed.
            random: Random::new(seed ^ 0x6e65_6d65_7369_7300),
            kinds: kinds.to_vec(),
            round: Vec::new(),
            members,
        }
    }

    /// The next fault. Each kind comes once in a round, so that a short run has all of them.
    pub(super) fn next_fault(&mut self) -> PlannedFault {
        if self.round.is_empty() {
            self.round.clone_from(&self.kinds);
        }
        let choice = self.random.index(self.round.len());
        let kind = self.round.swap_remove(choice);
        PlannedFault {
            member: self.random.index(self.members),
            gap: self.between(GAP_MS),
            lasts: self.between(LASTS_MS),
            // It comes last: faults of which nothing else is drawn stay what they were.
            fault: self.fault(kind),
        }
    }

    fn fault(&mut self, kind: FaultKind) -> Fault {
        match kind {
            FaultKind::Kill => Fault::Kill,
            FaultKind::Pause => Fault::Pause,
            FaultKind::Restart => Fault::Restart,
            FaultKind::Partition => Fault::Partition(Cut::draw(&mut self.random, self.members)),
            FaultKind::PowerLoss => Fault::PowerLoss(match self.random.chance(ALL_PROBABILITY) {
                true => Reach::All,
                false => Reach::One,
            }),
            FaultKind::DiskFull => Fault::DiskFull,
            FaultKind::Clock => Fault::Clock {
                ahead_seconds: self.random.below(AHEAD_SECONDS_MAX),
            },
        }
    }

    fn between(&mut self, (low_ms, high_ms): (u64, u64)) -> Duration {
        Duration::from_millis(low_ms + self.random.below(high_ms - low_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [FaultKind; 7] = [
        FaultKind::Kill,
        FaultKind::Pause,
        FaultKind::Restart,
        FaultKind::Partition,
        FaultKind::PowerLoss,
        FaultKind::DiskFull,
        FaultKind::Clock,
    ];

    fn first(count: usize, seed: u64) -> Vec<PlannedFault> {
        let mut schedule = Schedule::new(&ALL, 3, seed);
        (0..count).map(|_| schedule.next_fault()).collect()
    }

    #[test]
    fn a_schedule_is_a_function_of_its_seed() {
        assert_eq!(first(20, 7), first(20, 7));
        assert_ne!(first(20, 7), first(20, 8));
    }

    #[test]
    fn every_round_has_every_kind_and_every_member_is_hit() {
        for seed in 0..20 {
            let faults = first(70, seed);
            for round in faults.chunks(ALL.len()) {
                let mut kinds: Vec<_> = round.iter().map(|fault| fault.fault.kind()).collect();
                kinds.sort_unstable();
                assert_eq!(kinds, ALL);
            }
            for member in 0..3 {
                assert!(faults.iter().any(|fault| fault.member == member), "{seed}");
            }
        }
    }
}
