//! What is rare: how many runs have reached a place, have come by that often, or have
//! reached two rare places together.
//!
//! Counts are compared by magnitude, as AFL does with branches: a run that comes by a
//! place a hundred times more often than others is another sort of run.

use std::collections::BTreeMap;

/// Places of a run that are paired at most, the rarest of them.
const PAIRED_PLACES_MAX: usize = 12;

/// A place is rare if at most one run in so many has reached it.
const RARE_SHARE: u64 = 5;

/// Before so many runs nothing is called rare.
const RUNS_MIN: u64 = 20;

/// How much a magnitude counts beside a place.
const MAGNITUDE_WEIGHT: f64 = 0.2;

/// How much a pair of places counts beside a place.
const PAIR_WEIGHT: f64 = 0.5;

/// What a run is worth that has nothing rare.
const WORTH_MIN: f64 = 0.01;

/// Something that a run has reached. Places go by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Feature {
    /// A place.
    Place(u32),
    /// A place about so often: the number of bits of the count.
    Magnitude(u32, u32),
    /// Two rare places, the lower number first.
    Pair(u32, u32),
}

impl Feature {
    /// The place, if it is one.
    pub const fn place(self) -> Option<u32> {
        match self {
            Self::Place(number) => Some(number),
            Self::Magnitude(..) | Self::Pair(..) => None,
        }
    }

    const fn weight(self) -> f64 {
        match self {
            Self::Place(_) => 1.0,
            Self::Magnitude(..) => MAGNITUDE_WEIGHT,
            Self::Pair(..) => PAIR_WEIGHT,
        }
    }
}

/// How many runs have reached what.
#[derive(Clone, Debug, Default)]
pub struct Rarity {
    runs: u64,
    numbers: BTreeMap<String, u32>,
    reached: BTreeMap<Feature, u64>,
}

impl Rarity {
    /// Counts a run; what it has reached, and how much of it no run had before.
    pub fn note(&mut self, places: &BTreeMap<String, u64>) -> (Vec<Feature>, usize) {
        let mut features = Vec::new();
        let mut rare = Vec::new();
        for (name, count) in places {
            if *count == 0 {
                continue;
            }
            let number = self.number(name);
            features.push(Feature::Place(number));
            features.push(Feature::Magnitude(
                number,
                u64::BITS - count.leading_zeros(),
            ));
            let before = self.of(Feature::Place(number));
            if self.runs >= RUNS_MIN && before * RARE_SHARE <= self.runs {
                rare.push((before, number));
            }
        }
        rare.sort_unstable();
        rare.truncate(PAIRED_PLACES_MAX);
        for (at, (_, one)) in rare.iter().enumerate() {
            for (_, other) in &rare[..at] {
                features.push(Feature::Pair(*one.min(other), *one.max(other)));
            }
        }
        let new = features.iter().filter(|one| self.of(**one) == 0).count();
        for feature in &features {
            *self.reached.entry(*feature).or_default() += 1;
        }
        self.runs += 1;
        (features, new)
    }

    /// The worth of a run with these features: the fewer runs have one, the more it adds;
    /// what many have adds next to nothing, however much of it there is.
    pub fn worth(&self, features: &[Feature]) -> f64 {
        features
            .iter()
            .map(|feature| (feature.weight(), self.of(*feature).max(1)))
            .filter(|(_, runs)| runs * RARE_SHARE <= self.runs.max(RUNS_MIN))
            .map(|(weight, runs)| weight / runs as f64)
            .sum::<f64>()
            .max(WORTH_MIN)
    }

    /// How many different things were reached: places, and all of it.
    pub fn reached(&self) -> (usize, usize) {
        let is_place = |feature: &&Feature| matches!(feature, Feature::Place(_));
        let places = self.reached.keys().filter(is_place).count();
        (places, self.reached.len())
    }

    fn of(&self, feature: Feature) -> u64 {
        self.reached.get(&feature).copied().unwrap_or_default()
    }

    fn number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = self.numbers.len() as u32;
        self.numbers.insert(name.to_owned(), number);
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(places: &[(&str, u64)]) -> BTreeMap<String, u64> {
        places
            .iter()
            .map(|(name, count)| ((*name).to_owned(), *count))
            .collect()
    }

    #[test]
    fn a_run_is_new_once_and_by_magnitude_again() {
        let mut rarity = Rarity::default();
        let new = |rarity: &mut Rarity, places: &[(&str, u64)]| rarity.note(&run(places)).1;
        assert_eq!(new(&mut rarity, &[("a", 4), ("b", 0)]), 2);
        assert_eq!(new(&mut rarity, &[("a", 7)]), 0);
        assert_eq!(new(&mut rarity, &[("a", 8)]), 1);
        assert_eq!(new(&mut rarity, &[("a", 4), ("b", 1)]), 2);
        assert_eq!(rarity.reached(), (2, 5));
    }

    #[test]
    fn what_few_runs_have_is_worth_more_and_two_rare_places_together_most() {
        let mut rarity = Rarity::default();
        for _ in 0..RUNS_MIN {
            rarity.note(&run(&[("often", 1)]));
        }
        let (often, _) = rarity.note(&run(&[("often", 1)]));
        let (one, _) = rarity.note(&run(&[("often", 1), ("x", 1)]));
        let (other, _) = rarity.note(&run(&[("often", 1), ("y", 1)]));
        let (both, _) = rarity.note(&run(&[("often", 1), ("x", 1), ("y", 1)]));
        assert!(both.contains(&Feature::Pair(1, 2)), "{both:?}");
        let worth = [often, one, other, both].map(|features| rarity.worth(&features));
        assert!(worth.is_sorted(), "{worth:?}");
        assert!(worth[0] < worth[1]);
    }
}
