//! Changes of the membership, and of the version of the data formats.

use std::collections::BTreeSet;

use crate::plan::{Change, PlannedChange, Who};
use crate::swarm::draw::pick;
use crate::swarm::faults::Nemesis;

/// Of the changes, those at which the leader is cut off when it takes them.
const CUT_SHARE: f64 = 0.2;

impl Nemesis {
    /// What the operator does, about `gap_ms` apart. The first machines are the
    /// of bootstrap members, the others are spare.
    pub(super) fn changes(&mut self, election_ms: u64) -> Vec<PlannedChange> {
        let gap_ms = pick(&mut self.rng, &[1_000, 3_000, 6_000]);
        let mut changes = Vec::new();
        let mut at_ms = 500 + self.rng.exponential(gap_ms);
        while at_ms + 500 < self.heal_at_ms {
            let change = self.change(election_ms);
            let cut_leader_ms = self
                .rng
                .chance(CUT_SHARE)
                .then(|| election_ms + self.rng.exponential(election_ms * 2));
            changes.push(PlannedChange {
                at_ms,
                change,
                cut_leader_ms,
            });
            at_ms += 300 + self.rng.exponential(gap_ms);
        }
        changes
    }

    /// The machines that begin with the previous version of the data formats: all, as
    /// before an upgrade, some, as in the middle of one, or none.
    pub(super) fn formats(&mut self) -> BTreeSet<u32> {
        let share = pick(&mut self.rng, &[1.0, 0.5, 0.0]);
        (0..self.sites).filter(|_| self.rng.chance(share)).collect()
    }

    /// One machine after the other changes the version that it writes, and perhaps back.
    pub(super) fn upgrades(&mut self, previous: &BTreeSet<u32>) -> Vec<PlannedChange> {
        let gap_ms = pick(&mut self.rng, &[1_500, 4_000]);
        let mut at_ms = 1_000 + self.rng.below(10_000);
        let mut previous = previous.clone();
        let mut changes = Vec::new();
        for _ in 0..self.rng.between(1, 3) {
            let mut sites: Vec<u32> = (0..self.sites).collect();
            self.rng.shuffle(&mut sites);
            for site in sites {
                at_ms += 300 + self.rng.exponential(gap_ms);
                if at_ms + 500 >= self.heal_at_ms {
                    return changes;
                }
                let was_previous = previous.remove(&site);
                if !was_previous {
                    previous.insert(site);
                }
                let change = Change::Reformat {
                    site,
                    previous: !was_previous,
                };
                changes.push(PlannedChange::new(at_ms, change));
            }
        }
        changes
    }

    /// Leadership is handed from one to another, now and then.
    pub(super) fn hand_overs(&mut self) -> Vec<PlannedChange> {
        let gap_ms = pick(&mut self.rng, &[2_000, 6_000]);
        let mut changes = Vec::new();
        let mut at_ms = 500 + self.rng.exponential(gap_ms);
        while at_ms + 500 < self.heal_at_ms {
            let change = Change::HandOver { to: self.site() };
            changes.push(PlannedChange::new(at_ms, change));
            at_ms += 300 + self.rng.exponential(gap_ms);
        }
        changes
    }

    fn who(&mut self) -> Who {
        if self.rng.chance(0.4) {
            Who::Leader
        } else {
            Who::Site(self.site())
        }
    }

    fn site(&mut self) -> u32 {
        self.rng.below(u64::from(self.sites)) as u32
    }

    fn change(&mut self, election_ms: u64) -> Change {
        match self.rng.below(11) {
            10 => Change::Trial {
                site: self.site(),
                learns_ms: self.rng.exponential(1_000),
            },
            0..=3 => Change::Join { site: self.site() },
            4 | 5 => Change::Leave {
                who: self.who(),
                power_off: self.rng.chance(0.3),
            },
            6 | 7 => Change::Replace {
                who: self.who(),
                by: self.site(),
                cut_ms: self
                    .rng
                    .chance(0.5)
                    .then(|| 100 + self.rng.exponential(election_ms * 4)),
                add_first: self.rng.chance(0.5),
            },
            _ => Change::Wipe { who: self.who() },
        }
    }
}
