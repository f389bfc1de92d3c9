//! The leader nemesis: faults that follow the elections instead of a timetable.

use std::time::Duration;
use veridical_world::{CrashKind, Fault, FaultId, ProcessId, Rng, Stream, World};

use crate::cluster::Cluster;
use crate::plan::LeaderNemesisPlan;

/// How long a voter that is crashed by it stays down at most, in ms: it has to be
/// back before the election is forgotten.
const VOTER_DOWN_MS_MAX: u64 = 60;

/// With so many other members, the leader and one of them are a minority.
const COMPANY_MIN: usize = 4;

/// How long a crashed leader stays down, in ms, at least.
const LEADER_DOWN_MS_MIN: u64 = 50;

/// How long a new leader has to commit something before it is struck all the same, in ms.
const FIRST_COMMIT_MS_MAX: u64 = 500;

/// Follows the elections until it is dropped.
pub async fn follow_elections(world: World, cluster: Cluster, plan: LeaderNemesisPlan) {
    world.sleep(Duration::from_millis(plan.from_ms)).await;
    let mut draws = world.rng(Stream::Nemesis);
    let mut elections = cluster.elections();
    // Whoever leads already is the first one; without other faults nobody else would.
    if elections.borrow().term > 0 {
        elections.mark_changed();
    }
    let mut cuts: Vec<FaultId> = Vec::new();
    for number in 0.. {
        if elections.changed().await.is_err() {
            return;
        }
        let election = *elections.borrow_and_update();
        // What is done at one election moves no draw of another.
        let mut rng = draws.fork();
        if plan
            .elections
            .as_ref()
            .is_some_and(|followed| !followed.contains(&number))
        {
            continue;
        }
        if rng.chance(plan.spare_probability) {
            continue;
        }
        let delay = Duration::from_micros(rng.exponential(plan.delay_mean_ms * 1_000));
        if rng.chance(plan.commit_probability) {
            let limit = Duration::from_millis(FIRST_COMMIT_MS_MAX);
            tokio::select! {
                biased;
                () = cluster.commits_something(election.leader) => {}
                () = world.sleep(limit) => {}
            }
        } else if delay > Duration::from_millis(1) {
            world.sleep(delay).await;
        }
        if rng.chance(plan.heal_probability) {
            for cut in cuts.drain(..) {
                world.heal(cut);
            }
        }
        // The name is part of the digest.
        world.record("hunt", number);
        strike(
            &world,
            &cluster,
            &plan,
            election.leader,
            &mut rng,
            &mut cuts,
        );
    }
}

fn strike(
    world: &World,
    cluster: &Cluster,
    plan: &LeaderNemesisPlan,
    leader: u32,
    rng: &mut Rng,
    cuts: &mut Vec<FaultId>,
) {
    let others: Vec<ProcessId> = cluster
        .members()
        .into_keys()
        .filter(|site| *site != leader)
        .map(|site| cluster.process(site))
        .collect();
    let leader = cluster.process(leader);
    if rng.chance(plan.crash_probability) {
        let restart_after_ms = Some(LEADER_DOWN_MS_MIN + rng.exponential(plan.cut_mean_ms));
        let kind = CrashKind::PowerLoss;
        world.inject(&Fault::Crash {
            process: leader,
            kind,
            restart_after_ms,
        });
    } else {
        // Clients stay connected to it and go on feeding it.
        let duration_ms = Some(1 + rng.exponential(plan.cut_mean_ms));
        let mut groups = vec![vec![leader], others.clone()];
        if others.len() >= COMPANY_MIN && rng.chance(plan.companion_probability) {
            let companion = groups[1].swap_remove(rng.index(others.len()));
            groups[0].push(companion);
        }
        cuts.push(world.inject(&Fault::Partition {
            groups,
            duration_ms,
        }));
    }
    if rng.chance(plan.voter_crash_probability) && !others.is_empty() {
        let process = others[rng.index(others.len())];
        let restart_after_ms = Some(1 + rng.below(VOTER_DOWN_MS_MAX));
        let kind = CrashKind::PowerLossWithReset;
        world.inject(&Fault::Crash {
            process,
            kind,
            restart_after_ms,
        });
    }
}
