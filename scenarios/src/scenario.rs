//! Our store as the harness sees it: its scenarios by name, a run of a plan, its planted bugs
//! and what is shown of a run.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use veridical_harness::artefact::write_json;
use veridical_harness::report::Began;
#[cfg(madsim)]
use veridical_harness::run::{Run, Settings};
use veridical_harness::size::Size;
use veridical_harness::style::{ShownOperation, Style};
use veridical_harness::{About, Identity, InvalidPlan, Named, PlantedName, Scenario};
use veridical_histories::etcd::EtcdEvent;
use veridical_node::KNOBS;
use veridical_planted::PlantedBug;
use veridical_world::Rng;

use crate::about::ABOUT;
use crate::mutation;
use crate::plan::{PLAN_FORMAT, Plan};
use crate::shrinking::{self, Kind};
use crate::view::{self, MemberState};
use crate::{
    connected_majority, forced_cluster, forged_disk, impatience, lying_disk, rolling_restarts,
    rotten_disk, slow_disks, stale_disk, swarm, timetable,
};

/// Planted bugs that no seed is known to find, and that are looked for only when they are
/// named. Tests of their crates find them.
const HIDDEN: &[(PlantedBug, &str)] = &[(
    PlantedBug::SnapshotUnpinned,
    "docs/planted-bugs.md says why",
)];

/// Planted bugs that show only where something happens that the swarm does not let happen, or hardly
/// ever elsewhere: a disk decays, a majority is lost; and the scenario in which they do.
const ELSEWHERE: &[(PlantedBug, &str)] = &[
    (PlantedBug::CommittedTakenForApplied, impatience::NAME),
    (PlantedBug::ForcedKeepsAMember, forced_cluster::NAME),
    (PlantedBug::WalChainUnchecked, forged_disk::NAME),
    (PlantedBug::WalImpossibleCutOff, forged_disk::NAME),
    (PlantedBug::WalNearestClaimTaken, forged_disk::NAME),
    (PlantedBug::WalVoteTakenBack, forged_disk::NAME),
    (PlantedBug::WalPayloadUnchecked, rotten_disk::NAME),
];

/// The replicated store with its clients, its operator and its faults.
#[derive(Clone, Copy, Debug)]
pub struct Store;

impl Scenario for Store {
    type Plan = Plan;
    type Event = EtcdEvent;
    type State = MemberState;

    fn about(&self) -> About {
        ABOUT
    }

    fn names(&self) -> Vec<Named> {
        all().collect()
    }

    fn plan(&self, name: &str, seed: u64) -> Option<Plan> {
        plan_of(name, seed)
    }

    #[cfg(madsim)]
    fn run(&self, plan: &Plan, settings: Settings) -> Run<EtcdEvent, MemberState> {
        crate::run::run(plan, settings)
    }

    fn planted_bugs(&self) -> Vec<PlantedName> {
        let named = PlantedBug::ALL.iter().map(|bug| PlantedName {
            name: bug.name(),
            hidden: HIDDEN
                .iter()
                .find(|(hidden, _)| hidden == bug)
                .map(|(_, why)| *why),
            scenario: ELSEWHERE
                .iter()
                .find(|(elsewhere, _)| elsewhere == bug)
                .map(|(_, scenario)| *scenario),
        });
        named.collect()
    }

    /// Changes of plans keep to the rules of the swarm; another scenario has its own.
    fn can_be_explored(&self, name: &str) -> bool {
        swarm::names().any(|known| known == name)
    }

    fn operations(&self, plan: &Plan, history: &[EtcdEvent]) -> Vec<ShownOperation> {
        view::operations(plan, history)
    }

    /// Each knob with its value and its default.
    fn write_further_files(&self, plan: &Plan, dir: &Path) -> io::Result<()> {
        let knobs: BTreeMap<&str, serde_json::Value> = KNOBS
            .iter()
            .map(|knob| {
                let value = (knob.get)(&plan.knobs);
                let pair = serde_json::json!({ "value": value, "default": knob.default });
                (knob.name, pair)
            })
            .collect();
        write_json(&dir.join("knobs.json"), &knobs)
    }

    fn style(&self) -> Style<MemberState> {
        view::style()
    }
}

impl veridical_harness::Plan for Plan {
    const FORMAT: u32 = PLAN_FORMAT;
    const PARTS: &'static [&'static str] = Kind::NAMES;

    fn check(&self) -> Result<(), InvalidPlan> {
        self.validate()
    }

    fn identity(&self) -> Identity {
        Identity {
            format: self.format,
            scenario: self.scenario.clone(),
            seed: self.seed,
            schedule_seed: self.schedule_seed,
            planted: self.planted.clone(),
        }
    }

    fn set_draws(&mut self, seed: u64, schedule_seed: Option<u64>) {
        (self.seed, self.schedule_seed) = (seed, schedule_seed);
    }

    fn set_planted(&mut self, bug: Option<String>) {
        self.planted = bug;
    }

    fn count(&self, sort: usize) -> usize {
        Kind::ALL[sort].count(self)
    }

    fn without(&self, sort: usize, out: &BTreeSet<usize>) -> Self {
        Kind::ALL[sort].without(self, out)
    }

    fn simpler(&self, failed_at_ms: u64) -> Vec<Self> {
        shrinking::simpler(self, failed_at_ms)
    }

    fn resampled(&self, rng: &mut Rng) -> Option<Self> {
        Some(shrinking::resampled(self, rng))
    }

    fn pinned(&self, timetable: &[Began]) -> Option<Self> {
        Some(timetable::pin(self, timetable))
    }

    fn size(&self, failed_at_ms: u64) -> Size {
        shrinking::size(self, failed_at_ms)
    }

    fn shape(&self) -> String {
        shape(self)
    }

    fn changed(kept: &Self, fresh: &Self, rng: &mut Rng) -> Self {
        mutation::changed(kept, fresh, rng)
    }
}

/// All scenarios with what they are about, the default one first.
fn all() -> impl Iterator<Item = Named> {
    let swarms = swarm::names().map(|name| Named {
        name,
        about: if name == swarm::NAME {
            "a random subset of all faults that a majority has to survive"
        } else {
            "the same under one sort of schedule"
        },
    });
    swarms.chain([
        Named {
            name: rotten_disk::NAME,
            about: "the swarm, and one member's disk that decays: no wrong answer, and the member says so",
        },
        Named {
            name: forged_disk::NAME,
            about: "the swarm, and one member's files with altered records and right checksums: it says so, or nothing is lost",
        },
        Named {
            name: lying_disk::NAME,
            about: "the swarm on disks that synchronise nothing, and no loss of power: nothing may be lost",
        },
        Named {
            name: impatience::NAME,
            about: "a calm world and operators who are many, impatient and wrong: writes go on",
        },
        Named {
            name: rolling_restarts::NAME,
            about: "a calm world and members that are told to end, one after the other: writes go on",
        },
        Named {
            name: connected_majority::NAME,
            about: "a calm world and faults of minorities that outlast elections: writes go on meanwhile",
        },
        Named {
            name: forced_cluster::NAME,
            about: "the majority is lost for good, the last member goes on alone, and the cluster grows again",
        },
        Named {
            name: slow_disks::NAME,
            about: "disks that write a few thousand bytes a second, and members that are paused: writes go on",
        },
        Named {
            name: stale_disk::NAME,
            about: "a member with an old copy of its disk: beyond what is promised, to see that it is noticed",
        },
    ])
}

/// The plan of a seed of the scenario with this name, if there is one.
fn plan_of(scenario: &str, seed: u64) -> Option<Plan> {
    match scenario {
        rotten_disk::NAME => Some(rotten_disk::plan(seed)),
        forged_disk::NAME => Some(forged_disk::plan(seed)),
        lying_disk::NAME => Some(lying_disk::plan(seed)),
        impatience::NAME => Some(impatience::plan(swarm::drawn(seed))),
        rolling_restarts::NAME => Some(rolling_restarts::plan(swarm::drawn(seed))),
        connected_majority::NAME => Some(connected_majority::plan(swarm::drawn(seed))),
        forced_cluster::NAME => Some(forced_cluster::plan(swarm::drawn(seed))),
        slow_disks::NAME => Some(slow_disks::plan(swarm::drawn(seed))),
        stale_disk::NAME => Some(stale_disk::plan(seed)),
        _ => swarm::plan_of(scenario, seed),
    }
}

/// What a plan consists of, in words that do not depend on how often and when.
fn shape(plan: &Plan) -> String {
    let mut words: BTreeSet<String> = plan
        .faults
        .iter()
        .map(|timed| timed.fault.name().to_owned())
        .collect();
    if plan.leader_nemesis.is_some() {
        words.insert("leader-nemesis".to_owned());
    }
    let operations = plan.hosts.iter().flat_map(|host| &host.clients).flatten();
    for planned in operations {
        let name = serde_json::to_value(&planned.op)
            .ok()
            .and_then(|op| Some(op.get("do")?.as_str()?.to_owned()));
        words.extend(name);
    }
    if !plan.watchers.is_empty() {
        words.insert("watch".to_owned());
    }
    if words.is_empty() {
        return "nothing but time".to_owned();
    }
    words.into_iter().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_says_which_scenario_made_it() {
        for named in all() {
            assert_eq!(
                plan_of(named.name, 7).map(|plan| plan.scenario).as_deref(),
                Some(named.name)
            );
        }
        assert!(plan_of("no-such-scenario", 7).is_none());
    }

    #[test]
    fn every_plan_that_is_made_is_valid() {
        for named in all() {
            for seed in 1..60 {
                let plan = plan_of(named.name, seed).expect("it is a scenario");
                assert_eq!(plan.validate(), Ok(()), "{} {seed}", named.name);
            }
        }
    }

    #[test]
    fn the_shape_of_a_plan_does_not_depend_on_how_often() {
        let plan = swarm::plan(3);
        let mut twice = plan.clone();
        twice.faults.extend(plan.faults.iter().cloned());
        assert_eq!(shape(&plan), shape(&twice));
        twice.faults.clear();
        twice.hosts.clear();
        twice.watchers.clear();
        twice.leader_nemesis = None;
        assert_eq!(shape(&twice), "nothing but time");
    }

    #[test]
    fn the_parts_of_a_plan_have_as_many_names_as_sorts() {
        assert_eq!(Kind::ALL.len(), Kind::NAMES.len());
    }
}
