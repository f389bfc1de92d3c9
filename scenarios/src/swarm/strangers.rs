//! Crowds of strangers at the ports of peers, in a few seeds.

use veridical_world::{Rng, Stream};

use crate::plan::Strangers;

/// Seeds with such crowds.
const SHARE: f64 = 0.06;

/// How many crowds.
const CROWDS: (u64, u64) = (1, 3);

/// How many come at once.
const CONNECTIONS: (u64, u64) = (5, 60);

/// How long they stay, on average, in ms.
const MEAN_MS: u64 = 8_000;

/// The crowds of a seed; they draw from a stream of their own.
pub(super) fn strangers(seed: u64, members: u32, heal_at_ms: u64) -> Vec<Strangers> {
    let mut rng = Rng::for_part(seed, Stream::Nemesis, "strangers");
    if !rng.chance(SHARE) {
        return Vec::new();
    }
    let count = rng.between(CROWDS.0, CROWDS.1);
    let crowds = (0..count).map(|_| {
        let at_ms = rng.below(heal_at_ms);
        Strangers {
            at_ms,
            site: rng.below(u64::from(members)) as u32,
            connections: rng.between(CONNECTIONS.0, CONNECTIONS.1) as u32,
            for_ms: (1 + rng.exponential(MEAN_MS)).min(heal_at_ms - at_ms),
        }
    });
    crowds.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_seeds_have_strangers_and_they_are_gone_when_the_faults_end() {
        let plans: Vec<_> = (0..400).map(|seed| strangers(seed, 3, 50_000)).collect();
        let with = plans.iter().filter(|plan| !plan.is_empty()).count();
        assert!((10..50).contains(&with), "{with}");
        let mut crowds = plans.iter().flatten();
        assert!(crowds.all(|crowd| crowd.at_ms + crowd.for_ms <= 50_000 && crowd.site < 3));
    }
}
