//! Plans that have reached something, and which of them is changed next.

use veridical_world::Rng;

use super::rarity::{Feature, Rarity};

/// Plans that are kept at most; the one that is worth least goes first.
const PLANS_MAX: usize = 256;

/// A plan that was run and passed.
#[derive(Clone, Debug)]
struct Entry<P> {
    plan: P,
    features: Vec<Feature>,
    picked: u32,
}

/// The kept plans.
#[derive(Clone, Debug)]
pub struct Corpus<P> {
    entries: Vec<Entry<P>>,
}

impl<P> Default for Corpus<P> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
        }
    }
}

impl<P: Clone> Corpus<P> {
    /// Keeps a plan with what it has reached.
    pub fn add(&mut self, plan: P, features: Vec<Feature>, rarity: &Rarity) {
        self.entries.push(Entry {
            plan,
            features,
            picked: 0,
        });
        if self.entries.len() > PLANS_MAX {
            let worth = |entry: &Entry<P>| energy(entry, rarity);
            let least = (0..self.entries.len())
                .min_by(|a, b| worth(&self.entries[*a]).total_cmp(&worth(&self.entries[*b])));
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
    pub fn pick(&mut self, rng: &mut Rng, rarity: &Rarity) -> Option<P> {
        let number = self.one(rng, rarity)?;
        self.entries[number].picked += 1;
        Some(self.entries[number].plan.clone())
    }

    fn one(&self, rng: &mut Rng, rarity: &Rarity) -> Option<usize> {
        let energies: Vec<f64> = self
            .entries
            .iter()
            .map(|entry| energy(entry, rarity))
            .collect();
        let mut left = rng.unit() * energies.iter().sum::<f64>();
        for (number, energy) in energies.iter().enumerate() {
            left -= energy;
            if left < 0.0 {
                return Some(number);
            }
        }
        energies.len().checked_sub(1)
    }
}

/// How much a plan deserves to be changed: by the rarity of what it reaches, less with
/// every time.
fn energy<P>(entry: &Entry<P>, rarity: &Rarity) -> f64 {
    rarity.worth(&entry.features) / f64::from(1 + entry.picked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy;
    use std::collections::BTreeMap;

    fn noted(rarity: &mut Rarity, places: &[&str]) -> Vec<Feature> {
        let places: BTreeMap<String, u64> =
            places.iter().map(|name| ((*name).to_owned(), 1)).collect();
        rarity.note(&places).0
    }

    #[test]
    fn plans_that_reach_what_is_rare_are_picked_more_often() {
        let (mut corpus, mut rarity) = (Corpus::default(), Rarity::default());
        let mut rng = Rng::from_seed(1);
        assert_eq!(corpus.pick(&mut rng, &rarity), None);
        for seed in 0..20 {
            let places: &[&str] = if seed == 7 {
                &["often", "x"]
            } else {
                &["often"]
            };
            let features = noted(&mut rarity, places);
            corpus.add(toy::plan(seed), features, &rarity);
        }
        let mut rare = 0;
        for _ in 0..40 {
            let plan = corpus.pick(&mut rng, &rarity).expect("there are plans");
            rare += u32::from(plan.seed == 7);
        }
        assert!((8..=35).contains(&rare), "{rare}");
    }

    #[test]
    fn the_corpus_is_bounded_and_loses_what_is_worth_least() {
        let (mut corpus, mut rarity) = (Corpus::default(), Rarity::default());
        let features = noted(&mut rarity, &["often", "x"]);
        corpus.add(toy::plan(7), features, &rarity);
        let often = noted(&mut rarity, &["often"]);
        let plan = toy::plan(1);
        for _ in 0..2 * PLANS_MAX {
            corpus.add(plan.clone(), often.clone(), &rarity);
        }
        assert_eq!(corpus.count(), PLANS_MAX);
        assert!(corpus.entries.iter().any(|entry| entry.plan.seed == 7));
    }
}
