//! Plans whose runs passed, and which of them is changed next.

use veridical_sim::Rng;

use super::surprise::{Reached, Surprise};
use crate::plan::Plan;

/// Plans that are kept at most; the one that is worth least goes first.
const PLANS_MAX: usize = 256;

/// A plan that was run and passed.
#[derive(Clone, Debug)]
struct Entry {
    plan: Plan,
    reached: Reached,
    picked: u32,
}

/// The kept plans.
#[derive(Clone, Debug, Default)]
pub struct Corpus {
    entries: Vec<Entry>,
}

impl Corpus {
    /// Keeps a plan with what it has reached.
    pub fn add(&mut self, plan: Plan, reached: Reached, surprise: &Surprise) {
        self.entries.push(Entry {
            plan,
            reached,
            picked: 0,
        });
        if self.entries.len() > PLANS_MAX {
            let energies = self.energies(surprise);
            let least = (0..energies.len()).min_by(|a, b| energies[*a].total_cmp(&energies[*b]));
            if let Some(least) = least {
                self.entries.remove(least);
            }
        }
    }

    /// How many plans there are.
    pub fn count(&self) -> usize {
        self.entries.len()
    }

    /// A plan to be changed, by their energies; `None` as long as nothing is kept.
    pub fn pick(&mut self, rng: &mut Rng, surprise: &Surprise) -> Option<Plan> {
        let energies = self.energies(surprise);
        let mut left = rng.unit() * energies.iter().sum::<f64>();
        let drawn = energies.iter().position(|energy| {
            left -= energy;
            left < 0.0
        });
        let number = drawn.or(energies.len().checked_sub(1))?;
        self.entries[number].picked += 1;
        Some(self.entries[number].plan.clone())
    }

    fn energies(&self, surprise: &Surprise) -> Vec<f64> {
        let energy = |entry: &Entry| energy(entry, surprise);
        self.entries.iter().map(energy).collect()
    }
}

/// How much a plan deserves to be changed: the fourth power of its surprise, so that the
/// tenth that surprises most is picked about every other time; less with every time.
fn energy(entry: &Entry, surprise: &Surprise) -> f64 {
    let square = surprise.bits(&entry.reached).powi(2);
    square * square / f64::from(1 + entry.picked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm;
    use std::collections::BTreeMap;

    fn noted(surprise: &mut Surprise, places: &[&str]) -> Reached {
        let places: BTreeMap<String, u64> =
            places.iter().map(|name| ((*name).to_owned(), 1)).collect();
        surprise.note(&places).0
    }

    #[test]
    fn plans_that_surprise_are_picked_more_often_and_others_now_and_then() {
        let (mut corpus, mut surprise) = (Corpus::default(), Surprise::default());
        let mut rng = Rng::from_seed(1);
        assert_eq!(corpus.pick(&mut rng, &surprise), None);
        for seed in 0..20 {
            let own = format!("some-{}", seed % 5);
            let places: &[&str] = if seed == 7 { &[&own, "x"] } else { &[&own] };
            let reached = noted(&mut surprise, places);
            corpus.add(swarm::plan(seed), reached, &surprise);
        }
        let mut rare = 0;
        for _ in 0..40 {
            let plan = corpus.pick(&mut rng, &surprise).expect("there are plans");
            rare += u32::from(plan.seed == 7);
        }
        assert!((8..=35).contains(&rare), "{rare}");
    }

    #[test]
    fn the_corpus_is_bounded_and_loses_what_is_worth_least() {
        let (mut corpus, mut surprise) = (Corpus::default(), Surprise::default());
        let reached = noted(&mut surprise, &["often", "x"]);
        corpus.add(swarm::plan(7), reached, &surprise);
        let often = noted(&mut surprise, &["often"]);
        let plan = swarm::plan(1);
        for _ in 0..2 * PLANS_MAX {
            corpus.add(plan.clone(), often.clone(), &surprise);
        }
        assert_eq!(corpus.count(), PLANS_MAX);
        assert!(corpus.entries.iter().any(|entry| entry.plan.seed == 7));
    }
}
