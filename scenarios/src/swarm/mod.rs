//! The default scenario: a plan in which every seed switches a random subset of the
//! fault families on, and gives each a random intensity (Groce et al., "Swarm Testing",
//! ISSTA 2012).
//!
//! The fault envelope that keeps a run answerable: whatever stops a member for good is
//! undone at the latest when the faults end; disks lie to nobody and rot nowhere, so a
//! majority can always recover. A disk is lost only together with its member: the operator
//! removes it, one at a time and while two sound voters are left, and the machine joins
//! again under another id.

mod baseline;
mod changes;
mod draw;
mod faults;
mod full_disks;
mod held_tasks;
mod keys;

mod leader_nemesis;
mod moments;
mod open_files;
mod schedule;
mod strangers;
mod workload;

use std::collections::BTreeSet;
use veridical_harness::TimedFault;
use veridical_node::Limits;
use veridical_world::{DiskFaults, Latency, Rng, Stream};

use crate::connected_majority;
use crate::impatience;
use crate::keyspace::Keyspace;
use crate::knobs;
use crate::plan::{HastyCall, HostPlan, PLAN_FORMAT, Plan, PlannedChange, Strike, WatcherPlan};
use crate::rolling_restarts;
use crate::slow_disks;
pub use crate::swarm::draw::NAME;
use crate::swarm::draw::{CLAIMED_DRIFT_PPM, FAMILIES, Family};
#[cfg(all(test, madsim))]
pub(crate) use crate::swarm::faults::FAILPOINTS;
use crate::swarm::faults::Nemesis;
pub(crate) use crate::swarm::held_tasks::number as held_task_number;
use crate::swarm::keys::{Keys, large_values};
use crate::swarm::moments::Operators;
use crate::swarm::schedule::{SORTS, schedule};
use crate::swarm::workload::{batches, fill, hosts, watchers};

/// Keys that plans use.
const KEYS_MAX: u64 = 16;

/// How long a healed cluster on quick disks may need.
const HEAL_BOUND_MS: u64 = 30_000;

/// How many syncs that stall one after the other a healed cluster may need besides.
const STALLED_SYNCS_MAX: u64 = 60;

/// Machines on which a member can be installed later, at most.
const SPARES_MAX: u64 = 2;

/// Seeds in which few writes fit into a response.
const CUT_RESPONSES_SHARE: f64 = 0.15;

/// Seeds in which leases are kept alive through every member until they are ended.
const LEASE_ROUNDS_SHARE: f64 = 0.12;

/// So many of them.
const LEASE_ROUNDS: u32 = 30;

/// Seeds in which callers whose calls travel in batches make many at once, and how often.
const BATCH_ROUNDS_SHARE: f64 = 0.25;
const BATCH_ROUNDS: u32 = 12;

/// Seeds in which callers of a sharded client are at work, and how often.
const SHARD_ROUNDS_SHARE: f64 = 0.15;
const SHARD_ROUNDS: u32 = 12;

/// Seeds in which clients take a lock from each other, and how often.
const HOLD_ROUNDS_SHARE: f64 = 0.15;
const HOLD_ROUNDS: u32 = 5;

/// Seeds in which members are asked for what other clients have no use for, and how often.
const EXAMINATIONS_SHARE: f64 = 0.2;
const EXAMINATIONS: u32 = 2;

/// Seeds in which only leaders are attacked.
const PURE_LEADER_NEMESIS_SHARE: f64 = 0.05;

/// The names of the swarm's scenarios: as it is, and with one sort of schedule only.
pub fn names() -> impl Iterator<Item = &'static str> {
    SORTS.iter().map(|(name, _)| *name)
}

/// The plan of a seed of the scenario with this name, if it is one of the swarm's.
pub fn plan_of(scenario: &str, seed: u64) -> Option<Plan> {
    let (name, sort) = SORTS.iter().find(|(name, _)| *name == scenario)?;
    let plan = plan(seed);
    Some(Plan {
        scenario: (*name).to_owned(),
        // Where messages are held back, clients wait.
        schedule: match plan.service {
            None => schedule(seed, *sort),
            Some(_) => plan.schedule.clone(),
        },
        ..plan
    })
}

/// The plan of a seed.
pub fn plan(seed: u64) -> Plan {
    let drawn = drawn(seed);
    if rolling_restarts::is_in_swarm(seed) {
        return rolling_restarts::of(drawn);
    }
    if connected_majority::is_in_swarm(seed) {
        return connected_majority::of(drawn);
    }
    if slow_disks::is_in_swarm(seed) {
        return slow_disks::of(drawn);
    }
    drawn
}

/// The plan of a seed as it is drawn, before a few are replaced by one in a calm world.
pub(crate) fn drawn(seed: u64) -> Plan {
    let mut knobs_rng = Rng::for_stream(seed, Stream::Knobs);
    let mut nemesis_rng = Rng::for_stream(seed, Stream::Nemesis);
    let members = if knobs_rng.chance(0.2) { 5 } else { 3 };
    let mut knobs = knobs::draw(seed);
    let engine = knobs_rng.chance(0.3);
    let heal_at_ms = 45_000 + nemesis_rng.below(10_000);
    let end_at_ms = heal_at_ms + 15_000;
    let users = Clients::draw(seed, members, end_at_ms, &mut knobs);
    let (chosen, is_leader_nemesis_alone) = families(&mut nemesis_rng);
    let spares = spares(&chosen, &mut nemesis_rng);
    let mut nemesis = Nemesis {
        rng: nemesis_rng,
        sites: members + spares,
        clients: (users.hosts.len() + users.watchers.len()) as u32,
        heal_at_ms,
        faults: Vec::new(),
    };
    let mut network = nemesis.network(&chosen);
    network.window_bytes = baseline::window_bytes(seed);
    let disk = nemesis.disk(&chosen);
    for family in &chosen {
        nemesis.family(*family, &knobs);
    }
    let (previous_format, changes) = changes(&mut nemesis, &chosen, &knobs);
    let (hasty, strikes) = interference(seed, members, spares, heal_at_ms);
    let leader_nemesis = chosen
        .contains(&Family::LeaderNemesis)
        .then(|| nemesis.leader_nemesis(&mut knobs, is_leader_nemesis_alone));
    if is_leader_nemesis_alone {
        // Slow enough that a cut falls between an entry and the next one.
        network.delay = Latency::new(5_000, 1_000);
    }
    let snapshots = (!engine).then_some(&mut knobs);
    let mut faults = of_own_streams(seed, members, heal_at_ms, snapshots);
    faults.extend(nemesis.faults);
    faults.sort_by_key(|fault| fault.at_ms);
    let often = |part, share, count| rounds(seed, part, share, count, heal_at_ms);
    Plan {
        format: PLAN_FORMAT,
        scenario: NAME.to_owned(),
        seed,
        planted: None,
        members,
        spares,
        knobs,
        engine,
        network,
        disk,
        hosts: users.hosts,
        watchers: users.watchers,
        faults,
        previous_format,
        changes,
        keyspace: users.keyspace,
        large_value_bytes: users.large_value_bytes,
        hasty,
        strikes,
        service: None,
        lease_rounds: often("lease rounds", LEASE_ROUNDS_SHARE, LEASE_ROUNDS),
        batch_rounds: often("batch rounds", BATCH_ROUNDS_SHARE, BATCH_ROUNDS),
        shard_rounds: often("shard rounds", SHARD_ROUNDS_SHARE, SHARD_ROUNDS),
        hold_rounds: often("hold rounds", HOLD_ROUNDS_SHARE, HOLD_ROUNDS),
        examinations: often("examinations", EXAMINATIONS_SHARE, EXAMINATIONS),
        strangers: strangers::strangers(seed, members, heal_at_ms),
        lost_majority: None,
        leader_nemesis,
        heal_at_ms,
        last_minority: last_minority(seed, members),
        heal_bound_ms: heal_bound_ms(&disk),
        end_at_ms,
        last_power_failure: true,
        restart_delay_ms: 1_000,
        claimed_drift_ppm: CLAIMED_DRIFT_PPM,
        rotten_member: None,
        forgeries: Vec::new(),
        schedule_seed: None,
        schedule: schedule(seed, None),
    }
}

/// Seeds in which a minority stays down when the faults end.
const LAST_MINORITY_SHARE: f64 = 0.3;

/// Who stays down when the faults end: mostly as many as can. They are drawn from a stream of their
/// own.
fn last_minority(seed: u64, members: u32) -> BTreeSet<u32> {
    let mut rng = Rng::for_part(seed, Stream::Nemesis, "last minority");
    if !rng.chance(LAST_MINORITY_SHARE) {
        return BTreeSet::new();
    }
    let mut all: Vec<u32> = (0..members).collect();
    rng.shuffle(&mut all);
    all.truncate(members as usize / 2);
    all.into_iter().collect()
}

/// How many sites have no member in the beginning.
fn spares(chosen: &[Family], rng: &mut Rng) -> u32 {
    match chosen.contains(&Family::Membership) {
        true => rng.between(1, SPARES_MAX) as u32,
        false => 0,
    }
}

/// How long a cluster may need once all faults have ended. A sync that stalls longer than an election
/// timeout costs a term, and of two voters neither may stall.
fn heal_bound_ms(disk: &DiskFaults) -> u64 {
    HEAL_BOUND_MS + STALLED_SYNCS_MAX * disk.sync_latency.tail_mean_us / 1_000
}

/// Who uses the cluster, and for what.
struct Clients {
    keyspace: Keyspace,
    large_value_bytes: u32,
    hosts: Vec<HostPlan>,
    watchers: Vec<WatcherPlan>,
}

impl Clients {
    /// Of a seed, and the settings of members that they need.
    fn draw(seed: u64, members: u32, end_at_ms: u64, knobs: &mut Limits) -> Self {
        let mut rng = Rng::for_stream(seed, Stream::Workload);
        let few = rng.between(2, KEYS_MAX) as u32;
        let drawn = Keys::draw(seed, few, knobs);
        drawn.fit(knobs);
        let Keys {
            keyspace,
            keys,
            at_once,
        } = drawn;
        let mut hosts = hosts(&mut rng, members, keys, end_at_ms);
        if at_once > 0 {
            fill(&mut hosts, keys, at_once);
        }
        batches(
            &mut hosts,
            &mut Rng::for_part(seed, Stream::Workload, "batches"),
        );
        fit_chunks(knobs, &hosts);
        if keyspace == Keyspace::Names {
            cut_responses(seed, knobs, &hosts);
        }
        let large_value_bytes = large_values(seed, knobs);
        let watchers = watchers(&mut rng, members, keys);
        Self {
            keyspace,
            large_value_bytes,
            hosts,
            watchers,
        }
    }
}

/// The families of faults that a seed switches on, and whether it is the leader nemesis alone.
fn families(rng: &mut Rng) -> (Vec<Family>, bool) {
    let chosen: Vec<Family> = FAMILIES.into_iter().filter(|_| rng.chance(0.4)).collect();
    // A few seeds do nothing but attack leaders, so that nothing else gets in between.
    match rng.chance(PURE_LEADER_NEMESIS_SHARE) {
        true => (vec![Family::LeaderNemesis], true),
        false => (chosen, false),
    }
}

/// Faults that draw from streams of their own. Some want many snapshots, where members write any
/// and their settings are at hand.
fn of_own_streams(
    seed: u64,
    members: u32,
    heal_at_ms: u64,
    snapshots: Option<&mut Limits>,
) -> Vec<TimedFault> {
    let mut faults = moments::crashes(seed, members, heal_at_ms);
    if let Some(knobs) = snapshots {
        faults.extend(full_disks::leftovers(seed, members, heal_at_ms, knobs));
    }
    faults.extend(open_files::limits(seed, members, heal_at_ms));
    faults.extend(held_tasks::holds(seed, members, heal_at_ms));
    faults
}

/// What impatient operators ask for, and what is done at observed moments.
fn interference(
    seed: u64,
    members: u32,
    spares: u32,
    heal_at_ms: u64,
) -> (Vec<HastyCall>, Vec<Strike>) {
    // Whoever counts voters before he takes one away must be the only one who does.
    let hasty = match spares {
        0 => impatience::of_swarm(seed, members, heal_at_ms),
        _ => Vec::new(),
    };
    let operators = match (spares, hasty.is_empty()) {
        (0, true) => Operators::None,
        (_, true) => Operators::Patient,
        (_, false) => Operators::Impatient,
    };
    let mut strikes = moments::strikes(seed, operators, members, heal_at_ms);
    strikes.extend(held_tasks::strikes(seed, operators, heal_at_ms));
    strikes.sort_by_key(|strike| strike.from_ms);
    (hasty, strikes)
}

/// The members that begin with the previous format of data, and what the operator does.
fn changes(
    nemesis: &mut Nemesis,
    chosen: &[Family],
    knobs: &Limits,
) -> (BTreeSet<u32>, Vec<PlannedChange>) {
    let mut changes = Vec::new();
    if chosen.contains(&Family::Membership) {
        changes = nemesis.changes(knobs.election_timeout_ms);
    }
    let mut previous_format = BTreeSet::new();
    if chosen.contains(&Family::Upgrade) {
        previous_format = nemesis.formats();
        changes.extend(nemesis.upgrades(&previous_format));
        changes.sort_by_key(|change| change.at_ms);
    }
    if chosen.contains(&Family::HandOver) {
        changes.extend(nemesis.hand_overs());
        changes.sort_by_key(|change| change.at_ms);
    }
    (previous_format, changes)
}

/// A snapshot of long values in tiny chunks would take longer than the run.
pub(crate) fn fit_chunks(knobs: &mut Limits, hosts: &[HostPlan]) {
    let longest_value = hosts.iter().map(|host| host.value_bytes).max();
    knobs.snapshot_chunk_bytes = knobs
        .snapshot_chunk_bytes
        .max(longest_value.unwrap_or_default() as usize);
}

/// In some seeds what watches are sent at once has to be cut: a few writes fit into a
/// response, and no more.
fn cut_responses(seed: u64, knobs: &mut Limits, hosts: &[HostPlan]) {
    let mut rng = Rng::for_part(seed, Stream::Knobs, "cut responses");
    if rng.chance(CUT_RESPONSES_SHARE) {
        let longest_value = hosts.iter().map(|host| host.value_bytes).max();
        knobs.max_request_bytes = 1_024 + 4 * longest_value.unwrap_or_default() as usize;
    }
}

/// Times before the faults end, in some seeds, of something that happens beside everything
/// else. Each sort draws from a stream of its own.
fn rounds(seed: u64, part: &str, share: f64, count: u32, heal_at_ms: u64) -> Vec<u64> {
    let mut rng = Rng::for_part(seed, Stream::Workload, part);
    if !rng.chance(share) {
        return Vec::new();
    }
    let mut rounds: Vec<u64> = (0..count).map(|_| rng.below(heal_at_ms)).collect();
    rounds.sort_unstable();
    rounds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_a_function_of_its_seed() {
        assert_eq!(plan(7), plan(7));
        assert_ne!(plan(7), plan(8));
    }

    #[test]
    fn a_plan_survives_its_written_form() {
        for seed in 0..50 {
            let plan = plan(seed);
            let text = serde_json::to_string(&plan).expect("a plan can be written");
            assert_eq!(serde_json::from_str::<Plan>(&text).expect("and read"), plan);
        }
    }

    #[test]
    fn every_plan_has_60_seconds_and_500_operations_unless_disks_are_slow() {
        for seed in 0..500 {
            let plan = plan(seed);
            assert!(
                plan.operations() >= 500 || slow_disks::is_in_swarm(seed),
                "seed {seed}: {}",
                plan.operations()
            );
            assert!(plan.end_at_ms >= 60_000);
        }
    }

    #[test]
    fn plans_use_three_members_mostly_and_five_sometimes() {
        let fives = (0..500).filter(|seed| plan(*seed).members == 5).count();
        assert!((50..200).contains(&fives), "{fives}");
    }

    #[test]
    fn no_fault_begins_after_the_heal() {
        for seed in 0..200 {
            let plan = plan(seed);
            assert!(
                plan.faults
                    .iter()
                    .all(|fault| fault.at_ms < plan.heal_at_ms)
            );
        }
    }
}
