//! A scenario beyond what the swarm may do: records in the files of one member are altered, and
//! their checksums are made right again, except where a wrong one could pass for a torn write,
//! while faults of all kinds go on. Only what can be known is altered ([`crate::forgery`]), so
//! more is asserted than in `rotten-disk`: the member refuses to start and names the file, or it
//! has all that it had called durable.

use veridical_world::{Rng, Stream};

use crate::forgery::{Forged, Forgery};
use crate::plan::{Change, Plan};
use crate::swarm;

/// The scenario's name.
pub const NAME: &str = "forged-disk";

/// The most forgeries of a run. A member that refuses to start stays down, so that those that
/// come later find nothing new.
const FORGERIES_MAX: u64 = 3;

/// Segments of the log are so small in most runs, in bytes: only where there are several, one is
/// closed.
const SEGMENT_BYTES: [u64; 2] = [16 * 1024, 64 * 1024];

/// The plan of a seed.
pub fn plan(seed: u64) -> Plan {
    let mut plan = swarm::drawn(seed);
    let mut rng = Rng::for_part(seed, Stream::Nemesis, NAME);
    let rotten = rng.below(u64::from(plan.members)) as u32;
    let mut forgeries: Vec<Forgery> = (0..rng.between(1, FORGERIES_MAX))
        .map(|_| Forgery {
            at_ms: rng.between(3_000, plan.heal_at_ms - 1),
            what: Forged::ALL[rng.index(Forged::ALL.len())],
            draw: rng.next_u64(),
        })
        .collect();
    forgeries.sort_by_key(|forgery| forgery.at_ms);
    if rng.chance(0.75) {
        plan.knobs.wal_segment_bytes = SEGMENT_BYTES[rng.index(SEGMENT_BYTES.len())];
    }
    // Two sound disks have to be left, also for changes of the membership.
    plan.changes
        .retain(|planned| matches!(planned.change, Change::Reformat { .. }));
    plan.hasty.clear();
    Plan {
        scenario: NAME.to_owned(),
        rotten_member: Some(rotten),
        forgeries,
        ..plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_sort_of_forgery_comes_by_and_nothing_decays_at_random() {
        let mut seen = BTreeSet::new();
        for seed in 0..100 {
            let plan = plan(seed);
            assert!(plan.rotten_member.is_some() && !plan.disk_decays());
            seen.extend(plan.forgeries.iter().map(|forgery| forgery.what));
        }
        assert_eq!(seen, BTreeSet::from(Forged::ALL));
    }
}
