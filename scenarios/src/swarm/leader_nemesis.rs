//! The leader nemesis of a plan.

use veridical_node::Limits;

use crate::plan::LeaderNemesisPlan;
use crate::swarm::draw::pick;
use crate::swarm::faults::Nemesis;

impl Nemesis {
    pub(super) fn leader_nemesis(
        &mut self,
        knobs: &mut Limits,
        is_pure: bool,
    ) -> LeaderNemesisPlan {
        let rng = &mut self.rng;
        let from_ms = rng.below(5_000);
        let spare_probability = if is_pure {
            0.0
        } else {
            pick(rng, &[0.0, 0.3, 0.6])
        };
        if is_pure || rng.chance(0.5) {
            // The leaders change places again and again, each cut off when it has sent
            // one entry or two (figure 8 of the Raft paper).
            knobs.max_append_bytes = 64;
            knobs.max_inflight_appends = 1;
            knobs.heartbeat_ms = 50;
            knobs.election_timeout_ms = 250;
            knobs.connect_timeout_ms = 50;
            knobs.reconnect_delay_ms = 10;
            return LeaderNemesisPlan {
                from_ms,
                delay_mean_ms: if is_pure {
                    3
                } else {
                    pick(rng, &[2, 4, 8, 16])
                },
                commit_probability: if is_pure {
                    0.5
                } else {
                    pick(rng, &[0.0, 0.3, 0.6])
                },
                cut_mean_ms: knobs.election_timeout_ms * rng.between(2, 5),
                companion_probability: 0.0,
                crash_probability: 0.0,
                voter_crash_probability: 0.0,
                heal_probability: 1.0,
                spare_probability,
                elections: None,
            };
        }
        LeaderNemesisPlan {
            from_ms,
            delay_mean_ms: pick(rng, &[3, 15, 60, 400]),
            commit_probability: pick(rng, &[0.0, 0.3]),
            cut_mean_ms: knobs.election_timeout_ms * rng.between(1, 4),
            companion_probability: pick(rng, &[0.0, 0.5]),
            crash_probability: pick(rng, &[0.0, 0.2, 0.5]),
            voter_crash_probability: pick(rng, &[0.0, 0.3, 0.7]),
            heal_probability: pick(rng, &[0.3, 0.7, 1.0]),
            spare_probability,
            elections: None,
        }
    }
}
