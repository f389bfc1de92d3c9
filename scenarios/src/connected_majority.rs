//! A calm world in which something happens to a minority of the members, and to nobody else, for
//! longer than elections take: they are cut off in one direction or in both, lose or delay what
//! they send, are paused, starved, without a disk, or restarted over and over. The others are
//! connected, powered and neither paused nor starved all the time, so what clients write has to be
//! acknowledged by them, also while the fault lasts.

use veridical_harness::TimedFault;
use veridical_node::Limits;
use veridical_world::{CrashKind, DiskFaults, Fault, NetworkFaults, ProcessId, Rng, Stream};

use crate::calm::{calm, discovers};
use crate::plan::{Plan, ServicePlan};
use crate::swarm::held_task_number;

/// The scenario's name.
pub const NAME: &str = "connected-majority";

/// The share of the swarm's plans that are of this sort.
const SWARM_SHARE: f64 = 0.05;

/// When the first fault begins, in ms: there is a leader by then.
const FAULTS_FROM_MS: u64 = 3_000;

/// When the faults end, in ms.
const HEAL_AT_MS: u64 = 60_000;

/// How long a fault lasts, in election timeouts: from one that is hardly noticed to one that
/// outlasts any gap that is allowed.
const FAULT_ELECTION_TIMEOUTS: (u64, u64) = (1, 40);

/// Between two faults, on average, in ms: sometimes nothing has recovered when the next one begins.
const REST_MEAN_MS: u64 = 1_000;

/// Election timeouts of members, in ms.
const ELECTION_TIMEOUTS_MS: [u64; 2] = [300, 500];

/// Acknowledged writes are at most so many election timeouts apart: a leader is missed, and the
/// first elections are draws.
const GAP_ELECTION_TIMEOUTS_MAX: u64 = 10;

/// And so many ms besides: a client may be waiting for a member that answers nothing.
const SILENT_MEMBER_MS: u64 = 3_000;

/// From an acknowledgement to the next write, in ms.
const WRITE_EVERY_MS: u64 = 50;

/// Whether the swarm's plan of a seed is of this sort.
pub(crate) fn is_in_swarm(seed: u64) -> bool {
    Rng::for_part(seed, Stream::Nemesis, "connected majority in the swarm").chance(SWARM_SHARE)
}

/// The clients of a plan of the swarm, in the scenario of this name.
pub fn plan(drawn: Plan) -> Plan {
    Plan {
        scenario: NAME.to_owned(),
        ..of(drawn)
    }
}

/// The clients of a plan of the swarm, and faults of minorities.
pub(crate) fn of(drawn: Plan) -> Plan {
    let mut rng = Rng::for_part(drawn.seed, Stream::Nemesis, NAME);
    let members = if rng.chance(0.4) { 5 } else { 3 };
    let election_timeout_ms = ELECTION_TIMEOUTS_MS[rng.index(ELECTION_TIMEOUTS_MS.len())];
    let service = Some(ServicePlan {
        write_every_ms: WRITE_EVERY_MS,
        gap_max_percent: 100 * GAP_ELECTION_TIMEOUTS_MAX
            + 100 * SILENT_MEMBER_MS / election_timeout_ms,
        discovers: discovers(drawn.seed),
    });
    let knobs = Limits {
        heartbeat_ms: election_timeout_ms / 10,
        election_timeout_ms,
        ..Limits::default()
    };
    let mut plan = Plan {
        service,
        knobs,
        members,
        heal_at_ms: HEAL_AT_MS,
        end_at_ms: HEAL_AT_MS + 5_000,
        ..calm(drawn)
    };
    let (shortest, longest) = FAULT_ELECTION_TIMEOUTS;
    let mut at_ms = FAULTS_FROM_MS + rng.exponential(REST_MEAN_MS);
    loop {
        let lasts_ms = election_timeout_ms * rng.between(shortest, longest);
        if at_ms + lasts_ms >= HEAL_AT_MS {
            plan.faults.sort_by_key(|timed| timed.at_ms);
            return plan;
        }
        let minority = Minority::draw(&mut rng, members);
        plan.faults
            .extend(minority.faults(&mut rng, at_ms, lasts_ms));
        at_ms += lasts_ms + rng.exponential(REST_MEAN_MS);
    }
}

/// Members to whom something happens, and the majority.
#[derive(Debug)]
struct Minority {
    victims: Vec<ProcessId>,
    others: Vec<ProcessId>,
}

impl Minority {
    fn draw(rng: &mut Rng, members: u32) -> Self {
        let victims_max = (members - 1) / 2;
        let mut others: Vec<ProcessId> = (0..members).map(ProcessId).collect();
        let victims = (0..rng.between(1, u64::from(victims_max)))
            .map(|_| others.swap_remove(rng.index(others.len())))
            .collect();
        Self { victims, others }
    }

    /// The same thing for each victim, or one that concerns all of them.
    fn faults(&self, rng: &mut Rng, at_ms: u64, lasts_ms: u64) -> Vec<TimedFault> {
        let faults = if rng.chance(0.6) {
            self.of_links(rng, lasts_ms)
        } else {
            let kind = rng.below(8);
            let victims = self.victims.iter();
            let each = victims.flat_map(|victim| of_machine(rng, kind, *victim, lasts_ms));
            each.collect()
        };
        let timed = faults.into_iter().map(|(after_ms, fault)| TimedFault {
            at_ms: at_ms + after_ms,
            fault,
        });
        timed.collect()
    }

    fn of_links(&self, rng: &mut Rng, lasts_ms: u64) -> Vec<(u64, Fault)> {
        let duration_ms = Some(lasts_ms);
        let (victims, others) = (self.victims.clone(), self.others.clone());
        let one_way = |from, to| Fault::OneWay {
            from,
            to,
            duration_ms,
        };
        let fault = match rng.below(7) {
            0 => Fault::Partition {
                groups: vec![victims, others],
                duration_ms,
            },
            1 => one_way(victims, others),
            2 => one_way(others, victims),
            // They are still heard by one of the others, who may take them for leaders.
            3 => Fault::Bridge {
                left: victims,
                bridge: others[0],
                right: others[1..].to_vec(),
                duration_ms,
            },
            4 => {
                let (from, to) = if rng.chance(0.5) {
                    (victims, others)
                } else {
                    (others, victims)
                };
                Fault::Link {
                    from,
                    to,
                    faults: NetworkFaults {
                        drop_probability: 0.5,
                        ..NetworkFaults::none()
                    },
                    duration_ms,
                }
            }
            5 => Fault::Clog {
                from: victims,
                to: others,
                duration_ms,
            },
            _ => one_way(others[..1].to_vec(), victims),
        };
        vec![(0, fault)]
    }
}

/// What happens to one machine, and after how many ms.
fn of_machine(rng: &mut Rng, kind: u64, process: ProcessId, lasts_ms: u64) -> Vec<(u64, Fault)> {
    let duration_ms = Some(lasts_ms);
    let fault = match kind {
        0 => Fault::Pause {
            process,
            duration_ms,
        },
        1 => Fault::Suspend {
            process,
            duration_ms,
        },
        2 => Fault::Starve {
            process,
            run_ms: 1 + rng.below(20),
            stop_ms: 100 + rng.below(2_000),
            duration_ms,
        },
        3 => Fault::DiskStall {
            process,
            duration_ms: lasts_ms,
        },
        4 => Fault::Disk {
            process,
            faults: DiskFaults {
                throttle_bytes_per_s: 500 + rng.below(5_000),
                ..DiskFaults::none()
            },
            duration_ms,
        },
        5 => Fault::DiskFull {
            process,
            free_bytes: rng.below(20_000),
            duration_ms,
        },
        6 => Fault::HoldTask {
            process,
            task: held_task_number(rng),
            duration_ms,
        },
        _ => return restarts(rng, process, lasts_ms),
    };
    vec![(0, fault)]
}

/// A machine whose member is killed over and over, as one that its supervisor starts again.
fn restarts(rng: &mut Rng, process: ProcessId, lasts_ms: u64) -> Vec<(u64, Fault)> {
    let mut faults = Vec::new();
    let mut after_ms = 0;
    while after_ms < lasts_ms {
        let down_ms = 1 + rng.exponential(lasts_ms / 4);
        let fault = Fault::Crash {
            process,
            kind: [CrashKind::Kill, CrashKind::PowerLoss][rng.index(2)],
            restart_after_ms: Some(down_ms.min(lasts_ms - after_ms)),
        };
        faults.push((after_ms, fault));
        after_ms += down_ms + rng.exponential(lasts_ms / 4);
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm;
    use std::collections::BTreeSet;

    #[test]
    fn a_majority_has_nothing_to_suffer_at_any_time() {
        for seed in 0..100 {
            let plan = plan(swarm::drawn(seed));
            assert_eq!(plan.validate().err().map(|error| error.reason), None);
            assert!(plan.faults.len() > 1, "{seed}");
            assert!(plan.faults.is_sorted_by_key(|timed| timed.at_ms));
            let last = plan.faults.iter().map(|timed| timed.at_ms).max();
            assert!(last < Some(plan.heal_at_ms));
        }
        let mut rng = Rng::for_part(1, Stream::Nemesis, "test");
        for members in [3, 5] {
            let minority = Minority::draw(&mut rng, members);
            assert!(minority.victims.len() < minority.others.len());
        }
    }

    #[test]
    fn links_and_machines_of_every_sort_suffer() {
        let plans = (0..100).map(|seed| plan(swarm::drawn(seed)));
        let names: BTreeSet<&str> = plans
            .flat_map(|plan| plan.faults)
            .map(|timed| timed.fault.name())
            .collect();
        assert!(names.len() >= 12, "{names:?}");
    }

    #[test]
    fn a_few_plans_of_the_swarm_are_of_this_sort() {
        let count = (0..500).filter(|seed| is_in_swarm(*seed)).count();
        assert!((10..50).contains(&count), "{count}");
    }
}
