//! What befalls the members of a local cluster while it is measured.
//!
//! The faults are those of `docs/faults.md` that a process of a real system can be made to
//! suffer from outside. Which one befalls whom, when and for how long is a function of the
//! seed. A fault waits while it would take the majority away (but see [`Reach::All`]); a member that is still catching
//! up with the others counts as one that is not there.

mod affliction;
mod kind;
mod partition;
mod record;
mod schedule;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use affliction::{Affliction, strike};
use kind::{Fault, Reach};
pub(crate) use kind::{FaultKind, FaultWord};
pub(crate) use partition::{Loss, Site};
pub(crate) use record::FaultRecord;
use schedule::{PlannedFault, Schedule};

use crate::local_cluster::{LocalCluster, LocalClusterError};

/// Injects faults and ends them.
pub(crate) struct Nemesis {
    kinds: Vec<FaultKind>,
    schedule: Schedule,
    next: PlannedFault,
    /// How many members may be afflicted at once.
    afflicted_max: usize,
    /// When measuring began.
    origin: Instant,
    /// When the next fault is due.
    due: Instant,
    /// By the numbers of members.
    afflicted: BTreeMap<usize, Affliction>,
    records: Vec<FaultRecord>,
}

impl Nemesis {
    /// A nemesis of that many members, which has these faults.
    ///
    /// # Errors
    /// No member of so few may fail.
    ///
    /// # Panics
    /// If there are no faults.
    pub(crate) fn new(
        kinds: &[FaultKind],
        members: usize,
        seed: u64,
    ) -> Result<Self, LocalClusterError> {
        let afflicted_max = afflicted_max(members)?;
        let mut schedule = Schedule::new(kinds, members, seed);
        let next = schedule.next_fault();
        let now = Instant::now();
        Ok(Self {
            kinds: kinds.to_vec(),
            schedule,
            next,
            afflicted_max,
            origin: now,
            due: now,
            afflicted: BTreeMap::new(),
            records: Vec::new(),
        })
    }

    /// Counts time from now on.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.origin = now;
        self.due = now + self.next.gap;
    }

    /// Whether a member ought to run, if only to be paused: it was not sent a signal to end, or
    /// was started again since.
    pub(crate) fn is_due_to_run(&self, member: usize) -> bool {
        self.afflicted
            .get(&member)
            .is_none_or(Affliction::is_due_to_run)
    }

    /// Whether all members are well.
    pub(crate) fn is_idle(&self) -> bool {
        self.afflicted.is_empty()
    }

    /// The faults that were asked for, and those that were injected.
    pub(crate) fn into_outcome(self) -> (Vec<FaultKind>, Vec<FaultRecord>) {
        (self.kinds, self.records)
    }

    /// Does what is due: ends faults, and begins the next one. While `heals`, all faults end
    /// at once and none begins.
    ///
    /// # Errors
    /// A member does not end when it is told to, ends in another way, or does not serve again.
    pub(crate) fn act(
        &mut self,
        cluster: &mut LocalCluster,
        now: Instant,
        heals: bool,
    ) -> Result<(), LocalClusterError> {
        let mut well = Vec::new();
        for (member, affliction) in &mut self.afflicted {
            affliction.advance(cluster, *member, now, heals)?;
            let record = &mut self.records[affliction.record];
            record.lasted_ms = affliction.lasted().map(millis);
            if let Some(consequence) = affliction.consequence() {
                record.detail = Some(consequence.to_owned());
            }
            if let Some(after) = affliction.caught_up_after(now) {
                record.caught_up_after_ms = Some(millis(after));
                well.push(*member);
            }
        }
        for member in well {
            self.afflicted.remove(&member);
        }
        if !heals && now >= self.due && self.afflicted.len() < self.afflicted_max {
            self.inject(cluster, now)?;
        }
        Ok(())
    }

    /// Injects the next fault.
    fn inject(
        &mut self,
        cluster: &mut LocalCluster,
        now: Instant,
    ) -> Result<(), LocalClusterError> {
        let PlannedFault {
            fault,
            member,
            lasts,
            gap: _,
        } = self.next;
        let victims = self.victims(fault, member, cluster.members.len());
        strike(cluster, fault, &victims)?;
        for victim in victims {
            let affliction = Affliction::new(fault, lasts, now, self.records.len());
            self.afflicted.insert(victim, affliction);
            self.records.push(FaultRecord {
                at_ms: millis(now.duration_since(self.origin)),
                fault: fault.kind().name(),
                member: cluster.members[victim].name().to_owned(),
                detail: fault.detail(),
                lasted_ms: None,
                caught_up_after_ms: None,
            });
        }
        self.next = self.schedule.next_fault();
        self.due = now + self.next.gap;
        Ok(())
    }

    /// Whom a fault befalls that was drawn for one member.
    fn victims(&self, fault: Fault, member: usize, members: usize) -> Vec<usize> {
        // Another member takes the place of one that is not well.
        let mut well = (0..members)
            .map(|step| (member + step) % members)
            .filter(|member| !self.afflicted.contains_key(member));
        match fault {
            Fault::PowerLoss(Reach::All) => well.collect(),
            Fault::Kill
            | Fault::Pause
            | Fault::Restart
            | Fault::Partition(_)
            | Fault::PowerLoss(Reach::One)
            | Fault::DiskFull
            | Fault::Clock { .. } => {
                vec![well.next().expect("only a minority is afflicted")]
            }
        }
    }
}

/// How many of so many members may be afflicted at once.
///
/// # Errors
/// No member of so few may fail.
pub(crate) fn afflicted_max(members: usize) -> Result<usize, LocalClusterError> {
    match (members - 1) / 2 {
        0 => Err(LocalClusterError::NoMinority(members)),
        minority => Ok(minority),
    }
}

fn millis(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_without_a_minority_has_no_nemesis() {
        for members in [1, 2] {
            let refused = Nemesis::new(&[FaultKind::Kill], members, 1);
            assert!(matches!(refused, Err(LocalClusterError::NoMinority(_))));
        }
    }

    #[test]
    fn a_loss_of_all_power_befalls_everybody_who_is_well() {
        let mut nemesis = Nemesis::new(&[FaultKind::PowerLoss], 5, 1).unwrap();
        let now = Instant::now();
        let paused = Affliction::new(Fault::Pause, Duration::ZERO, now, 0);
        nemesis.afflicted.insert(1, paused);
        let victims = |reach| nemesis.victims(Fault::PowerLoss(reach), 1, 5);
        assert_eq!(victims(Reach::All), [2, 3, 4, 0]);
        assert_eq!(victims(Reach::One), [2]);
    }

    #[test]
    fn never_more_than_a_minority_is_afflicted() {
        for (members, expected) in [(3, 1), (4, 1), (5, 2), (7, 3)] {
            assert_eq!(afflicted_max(members).unwrap(), expected);
        }
    }
}
