//! The plan of the usual case: operations of clients and faults, each with its time.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use veridical_world::{DiskFaults, NetworkFaults, Rng, Schedule};

use crate::parts::{keep, steps_to};
use crate::scenario::{Identity, Plan};
use crate::size::{FAULTS_GOAL, OPERATIONS_GOAL, Size};
use crate::timed_fault::{TimedFault, merged};

/// How many faults a changed plan may come to have.
const FAULTS_MAX: usize = 200;

/// The version of the written form.
const FORMAT: u32 = 1;

/// An operation of a client and when it is called, at the earliest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimedOperation<O> {
    /// In ms of simulated time.
    pub at_ms: u64,
    /// The client, from 0.
    pub client: u64,
    /// What the client does.
    pub op: O,
}

/// Operations of clients and faults, each with its time, under the conditions of a world.
///
/// ```
/// use veridical_harness::{Plan, TimedOperation, TimedPlan};
///
/// let mut plan = TimedPlan::new("my-scenario", 7);
/// plan.operations = vec![TimedOperation { at_ms: 30, client: 1, op: "read" }
///     .map(str::to_owned)];
/// plan.end_at_ms = 1_000;
/// assert_eq!(plan.size(1_000).operations, 1);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, bound = "O: Serialize + DeserializeOwned")]
pub struct TimedPlan<O> {
    /// The version of the written form.
    pub format: u32,
    /// The scenario that it was made by.
    pub scenario: String,
    /// The seed that it was made from.
    pub seed: u64,
    /// The planted bug, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planted: Option<String>,
    /// The network when no fault is on top of it.
    pub network: NetworkFaults,
    /// Each disk when no fault is on top of it.
    pub disk: DiskFaults,
    /// What clients do, in the order of the times.
    pub operations: Vec<TimedOperation<O>>,
    /// What is done to the system, in the order of the times.
    pub faults: Vec<TimedFault>,
    /// When all faults end, in ms of simulated time.
    pub heal_at_ms: u64,
    /// The run lasts at least until then, in ms.
    pub end_at_ms: u64,
    /// The seed of the scheduler, if it is not the one that follows from the run's seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule_seed: Option<u64>,
    /// In which order tasks run and messages arrive.
    #[serde(default, skip_serializing_if = "Schedule::is_uniform")]
    pub schedule: Schedule,
}

impl<O> TimedOperation<O> {
    /// The same call of another operation.
    pub fn map<P>(self, convert: impl FnOnce(O) -> P) -> TimedOperation<P> {
        TimedOperation {
            at_ms: self.at_ms,
            client: self.client,
            op: convert(self.op),
        }
    }
}

impl<O> TimedPlan<O> {
    /// A plan of a seed in which nothing happens yet, in a world that is in order.
    pub fn new(scenario: &str, seed: u64) -> Self {
        Self {
            format: FORMAT,
            scenario: scenario.to_owned(),
            seed,
            planted: None,
            network: NetworkFaults::none(),
            disk: DiskFaults::none(),
            operations: Vec::new(),
            faults: Vec::new(),
            heal_at_ms: 0,
            end_at_ms: 0,
            schedule_seed: None,
            schedule: Schedule::Uniform,
        }
    }

    /// Puts operations and faults into the order of their times.
    pub fn sort(&mut self) {
        self.operations.sort_by_key(|operation| operation.at_ms);
        self.faults.sort_by_key(|timed| timed.at_ms);
    }

    /// The operations of one client.
    pub fn operations_of(&self, client: u64) -> impl Iterator<Item = &TimedOperation<O>> {
        self.operations
            .iter()
            .filter(move |operation| operation.client == client)
    }
}

/// The sorts of parts, by their places in [`Plan::PARTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Faults,
    Operations,
    Moments,
}

const SORTS: [Sort; 3] = [Sort::Faults, Sort::Operations, Sort::Moments];

impl<O> Plan for TimedPlan<O>
where
    O: Clone + Debug + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static,
{
    const FORMAT: u32 = FORMAT;
    const PARTS: &'static [&'static str] = &["faults", "operations", "moments"];

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
        match SORTS[sort] {
            Sort::Faults => self.faults.len(),
            Sort::Operations => self.operations.len(),
            Sort::Moments => self.schedule.moments(),
        }
    }

    fn without(&self, sort: usize, out: &BTreeSet<usize>) -> Self {
        let mut less = self.clone();
        match SORTS[sort] {
            Sort::Faults => less.faults = keep(&self.faults, out),
            Sort::Operations => less.operations = keep(&self.operations, out),
            Sort::Moments => less.schedule = self.schedule.without(|number| out.contains(&number)),
        }
        less
    }

    fn simpler(&self, failed_at_ms: u64) -> Vec<Self> {
        let mut simpler = vec![self.ended_at(failed_at_ms + 1)];
        simpler.extend(
            steps_to(&self.network, &NetworkFaults::none())
                .into_iter()
                .map(|network| Self {
                    network,
                    ..self.clone()
                }),
        );
        let disks = steps_to(&self.disk, &DiskFaults::none()).into_iter();
        simpler.extend(disks.map(|disk| Self {
            disk,
            ..self.clone()
        }));
        simpler.push(Self {
            schedule: Schedule::Uniform,
            ..self.clone()
        });
        simpler.extend(merged(&self.faults).into_iter().map(|faults| Self {
            faults,
            ..self.clone()
        }));
        simpler.retain(|candidate| candidate != self);
        simpler
    }

    fn resampled(&self, rng: &mut Rng) -> Option<Self> {
        let mut small = self.clone();
        small.set_draws(rng.next_u64(), Some(rng.next_u64()));
        let faults = 1 + rng.index(FAULTS_GOAL);
        small.faults = sample(&self.faults, faults, rng);
        let operations = 1 + rng.index(OPERATIONS_GOAL);
        small.operations = sample(&self.operations, operations, rng);
        Some(small)
    }

    fn size(&self, failed_at_ms: u64) -> Size {
        let clients: BTreeSet<u64> = self.operations.iter().map(|one| one.client).collect();
        let conditions = steps_to(&self.network, &NetworkFaults::none()).len()
            + steps_to(&self.disk, &DiskFaults::none()).len()
            - 2;
        Size {
            operations: self.operations.len(),
            faults: self.faults.len(),
            others: vec![
                ("clients", clients.len()),
                ("conditions beside the default", conditions),
                ("moments of the schedule", self.schedule.moments()),
            ],
            failed_at_ms,
        }
    }

    fn shape(&self) -> String {
        let faults = self
            .faults
            .iter()
            .map(|timed| timed.fault.name().to_owned());
        let operations = self.operations.iter().map(|one| {
            let text = format!("{:?}", one.op);
            let word = text.split(|c: char| !c.is_alphanumeric()).next();
            word.unwrap_or_default().to_owned()
        });
        let words: BTreeSet<String> = faults.chain(operations).collect();
        match words.is_empty() {
            true => "nothing but time".to_owned(),
            false => words.into_iter().collect::<Vec<_>>().join(" "),
        }
    }

    fn changed(kept: &Self, fresh: &Self, rng: &mut Rng) -> Self {
        let mut child = fresh.clone();
        child.schedule_seed = Some(rng.next_u64());
        child.planted.clone_from(&kept.planted);
        let either = |rng: &mut Rng| if rng.chance(0.5) { kept } else { fresh };
        child.network = either(rng).network;
        child.disk = either(rng).disk;
        child.schedule = either(rng).schedule.clone();
        child.operations.clone_from(&either(rng).operations);
        let share = rng.unit();
        let both = kept.faults.iter().chain(&fresh.faults);
        child.faults = both.filter(|_| rng.chance(share)).cloned().collect();
        child.faults.retain(|timed| timed.at_ms < child.heal_at_ms);
        child.faults.truncate(FAULTS_MAX);
        child.sort();
        child
    }
}

impl<O: Clone> TimedPlan<O> {
    /// The same, ended at that time if it would not end sooner.
    fn ended_at(&self, end_at_ms: u64) -> Self {
        let mut shorter = self.clone();
        shorter.heal_at_ms = self.heal_at_ms.min(end_at_ms);
        shorter.end_at_ms = self.end_at_ms.min(end_at_ms);
        shorter.faults.retain(|timed| timed.at_ms < end_at_ms);
        shorter.operations.retain(|one| one.at_ms < end_at_ms);
        shorter
    }
}

/// At most `count` of the parts, in their order.
fn sample<T: Clone>(parts: &[T], count: usize, rng: &mut Rng) -> Vec<T> {
    if parts.is_empty() {
        return Vec::new();
    }
    let mut chosen: BTreeMap<usize, T> = BTreeMap::new();
    for _ in 0..count {
        let number = rng.index(parts.len());
        chosen.insert(number, parts[number].clone());
    }
    chosen.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy;

    #[test]
    fn parts_that_are_left_out_are_gone_and_nothing_else_changes() {
        let plan = toy::plan(3);
        for sort in 0..TimedPlan::<u32>::PARTS.len() {
            let count = plan.count(sort);
            if count < 2 {
                continue;
            }
            let less = plan.without(sort, &BTreeSet::from([0, count - 1]));
            assert_eq!(less.count(sort), count - 2);
            assert_eq!(plan.without(sort, &BTreeSet::new()), plan);
        }
    }

    #[test]
    fn simpler_plans_lead_to_the_simplest() {
        let mut plan = toy::plan(3);
        let mut steps = 0;
        while let Some(simpler) = plan.simpler(400).into_iter().next() {
            plan = simpler;
            steps += 1;
            assert!(steps < 100);
        }
        assert!(plan.schedule.is_uniform());
        assert_eq!(plan.network, NetworkFaults::none());
        assert_eq!(plan.end_at_ms, 401);
    }

    #[test]
    fn a_changed_plan_is_a_function_of_the_draws_and_its_faults_end_with_the_heal() {
        for seed in 0..100 {
            let (kept, fresh) = (toy::plan(seed), toy::plan(seed + 1_000));
            let changed = TimedPlan::changed(&kept, &fresh, &mut Rng::from_seed(seed));
            let again = TimedPlan::changed(&kept, &fresh, &mut Rng::from_seed(seed));
            assert_eq!(changed, again);
            assert_eq!(changed.seed, fresh.seed);
            let healed = |timed: &TimedFault| timed.at_ms < changed.heal_at_ms;
            assert!(changed.faults.iter().all(healed));
        }
    }

    #[test]
    fn resampled_plans_can_be_looked_through() {
        let mut rng = Rng::from_seed(1);
        for seed in 0..50 {
            let small = toy::plan(seed).resampled(&mut rng).expect("it knows how");
            let size = small.size(0);
            assert!(size.operations <= OPERATIONS_GOAL && size.faults <= FAULTS_GOAL);
        }
    }
}
