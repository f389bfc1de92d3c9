//! How surprising a run is: by how often it comes by the places that the code declares,
//! compared with all runs so far.
//!
//! A place that it has come by so often adds the information in that, in bits: log₂ of how
//! many runs there are for each that has come by as often, or more often. A place that
//! every run reaches adds something as well, if this one reaches it a hundred times
//! more. It is the surprisal of a run whose places had nothing to do with each other.

use std::collections::BTreeMap;

/// Steps between a count and its double: nobody cares for one in a hundred.
const STEPS_PER_DOUBLING: u32 = 4;

/// How often a run came by a place, in steps.
type Step = u32;

/// What a run has reached: the places by their numbers, and how often.
pub type Reached = Vec<(u32, Step)>;

/// How often the runs so far came by which place.
#[derive(Clone, Debug, Default)]
pub struct Surprise {
    runs: u64,
    numbers: BTreeMap<String, u32>,
    /// For each place the runs that came by so often.
    steps: Vec<BTreeMap<Step, u64>>,
}

impl Surprise {
    /// Counts a run; what it has reached, and how much of it no run had before: places,
    /// and steps of how often.
    pub fn note(&mut self, places: &BTreeMap<String, u64>) -> (Reached, usize) {
        let (mut reached, mut new) = (Vec::new(), 0);
        for (name, count) in places {
            if *count == 0 {
                continue;
            }
            let number = self.number(name);
            let step = step(*count);
            let steps = &mut self.steps[number as usize];
            new += usize::from(!steps.contains_key(&step));
            *steps.entry(step).or_default() += 1;
            reached.push((number, step));
        }
        self.runs += 1;
        (reached, new)
    }

    /// The surprise of a run that was counted, in bits.
    pub fn bits(&self, reached: &Reached) -> f64 {
        let all = binary_logarithm(self.runs);
        let of_place = |(number, step): &(u32, Step)| {
            let steps = &self.steps[*number as usize];
            all - binary_logarithm(steps.range(step..).map(|(_, runs)| runs).sum())
        };
        reached.iter().map(of_place).sum()
    }

    /// How many places were reached, and how many steps of all of them.
    pub fn reached(&self) -> (usize, usize) {
        let steps = self.steps.iter().map(BTreeMap::len).sum();
        (self.steps.len(), steps)
    }

    fn number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = self.numbers.len() as u32;
        self.numbers.insert(name.to_owned(), number);
        self.steps.push(BTreeMap::new());
        number
    }
}

/// The step of a count: the count itself where it is small, else a few steps for each
/// doubling.
const fn step(count: u64) -> Step {
    let bits = u64::BITS - count.leading_zeros();
    let fine = STEPS_PER_DOUBLING.trailing_zeros() + 1;
    if bits <= fine {
        return count as Step;
    }
    let place = (count >> (bits - fine)) as Step - STEPS_PER_DOUBLING;
    (bits - fine + 1) * STEPS_PER_DOUBLING + place
}

/// log₂, taken as a straight line from one power of two to the next: the same on any
/// machine, which that of the C library is not. Of 0 it is 0.
fn binary_logarithm(number: u64) -> f64 {
    let Some(whole) = number.checked_ilog2() else {
        return 0.0;
    };
    let power = 1_u64 << whole;
    f64::from(whole) + (number - power) as f64 / power as f64
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
    fn a_run_is_new_once_and_by_how_often_again() {
        let mut surprise = Surprise::default();
        let mut new = |places: &[(&str, u64)]| surprise.note(&run(places)).1;
        assert_eq!(new(&[("a", 64), ("b", 0)]), 1);
        assert_eq!(new(&[("a", 65)]), 0);
        assert_eq!(new(&[("a", 128)]), 1);
        assert_eq!(new(&[("a", 64), ("b", 1)]), 1);
        assert_eq!(surprise.reached(), (2, 3));
    }

    #[test]
    fn what_few_runs_reach_or_reach_as_often_is_a_surprise_and_both_the_greater_one() {
        let mut surprise = Surprise::default();
        for _ in 0..20 {
            surprise.note(&run(&[("often", 3)]));
        }
        let runs = [
            run(&[("often", 3)]),
            run(&[("often", 3), ("x", 1)]),
            run(&[("often", 300), ("x", 1)]),
        ];
        let reached: Vec<Reached> = runs.iter().map(|run| surprise.note(run).0).collect();
        let bits: Vec<f64> = reached.iter().map(|run| surprise.bits(run)).collect();
        assert!(bits[0] < 0.1, "{bits:?}");
        assert!(bits[1] > 3.0 && bits[2] > bits[1] + 4.0, "{bits:?}");
        // What comes again and again is no surprise any more.
        for _ in 0..40 {
            surprise.note(&runs[2]);
        }
        assert!(surprise.bits(&reached[2]) < 2.0);
    }

    #[test]
    fn steps_rise_with_counts_and_are_four_for_each_doubling() {
        let steps: Vec<Step> = (1..10_000).map(step).collect();
        assert!(steps.is_sorted());
        assert!((1..8).all(|count| u64::from(step(count)) == count));
        for count in [8, 100, 1_000] {
            assert_eq!(step(2 * count), step(count) + STEPS_PER_DOUBLING);
        }
        assert!(step(u64::MAX) < 256);
    }

    #[test]
    fn the_logarithm_is_right_at_powers_and_near_elsewhere() {
        for number in 1..2_000_u64 {
            let difference = (number as f64).log2() - binary_logarithm(number);
            assert!((0.0..0.09).contains(&difference), "{number}: {difference}");
        }
        assert_eq!(binary_logarithm(1_024), 10.0);
    }
}
