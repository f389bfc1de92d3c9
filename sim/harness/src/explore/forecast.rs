//! What the run of a plan will reach, predicted from what the runs of other plans have.
//!
//! A plan is drawn in microseconds and run in tenths of a second. So of several plans the
//! most promising one is run: a ridge regression (Hoerl and Kennard, "Ridge Regression:
//! Biased Estimation for Nonorthogonal Problems", Technometrics 12, 1970) from the traits
//! of a plan to the surprise of its run. The surprise is the sum of `-ln p` over the
//! places that the run has reached, where `p` is the share of all runs that reach it: a
//! place that every run comes by is no surprise, one that every hundredth does is a big one.

use std::collections::{BTreeMap, VecDeque};

use serde_json::Value;

use crate::scenario::Plan;

/// Fewer runs than this tell nothing.
const RUNS_MIN: usize = 16;

/// Runs that are learnt from at most, the last ones.
const RUNS_MAX: usize = 2_048;

/// A trait that fewer plans differ in tells nothing.
const PLANS_MIN: usize = 4;

/// How strongly weights are held near 0: about so many runs speak against an effect.
const RIDGE: f64 = 100.0;

/// What a plan is like: numbers by name.
pub type Traits = BTreeMap<String, f64>;

/// The numbers of the places that a run has reached.
pub type Places = Vec<u32>;

/// The traits of a plan: its numbers by their magnitude, its words, and in lists (faults,
/// changes, operations) how often each word comes.
pub fn traits(plan: &impl Plan) -> Traits {
    let mut traits = Traits::new();
    let value = serde_json::to_value(plan).expect("a plan can be written");
    let Value::Object(fields) = value else {
        unreachable!("a plan is an object");
    };
    for (name, value) in &fields {
        // The others tell who made the plan, not what it is like.
        if !matches!(
            &**name,
            "format" | "scenario" | "seed" | "planted" | "schedule_seed"
        ) {
            collect(name, value, false, &mut traits);
        }
    }
    for value in traits.values_mut() {
        *value = value.max(0.0).ln_1p();
    }
    traits
}

fn collect(path: &str, value: &Value, is_in_list: bool, traits: &mut Traits) {
    let mut add = |path: String, amount: f64| *traits.entry(path).or_default() += amount;
    match value {
        Value::Null => {}
        Value::Bool(is) => add(path.to_owned(), f64::from(u8::from(*is))),
        Value::Number(_) if is_in_list => {}
        Value::Number(number) => add(path.to_owned(), number.as_f64().unwrap_or_default()),
        Value::String(word) => add(format!("{path}={word}"), 1.0),
        Value::Array(items) => {
            add(path.to_owned(), items.len() as f64);
            for item in items {
                collect(path, item, true, traits);
            }
        }
        Value::Object(fields) => {
            for (name, value) in fields {
                collect(&format!("{path}.{name}"), value, is_in_list, traits);
            }
        }
    }
}

/// What was learnt. See the module's header.
#[derive(Clone, Debug, Default)]
pub struct Forecast {
    runs: VecDeque<(Traits, Places)>,
    weights: BTreeMap<String, Weight>,
}

/// What a trait counts.
#[derive(Clone, Copy, Debug)]
struct Weight {
    mean: f64,
    /// Surprise for each unit above the mean.
    slope: f64,
}

impl Forecast {
    /// Takes a run in. It counts from the next [`Forecast::learn`] on.
    pub fn note(&mut self, traits: Traits, places: Places) {
        if self.runs.len() == RUNS_MAX {
            self.runs.pop_front();
        }
        self.runs.push_back((traits, places));
    }

    /// Learns from all runs that were taken in.
    pub fn learn(&mut self) {
        if self.runs.len() < RUNS_MIN {
            return;
        }
        let count = self.runs.len() as f64;
        let surprises = self.surprises();
        let mean_surprise = surprises.iter().sum::<f64>() / count;
        let columns = self.columns();
        let rows: Vec<Vec<f64>> = self
            .runs
            .iter()
            .map(|(traits, _)| {
                let of = |column: &Column| {
                    let value = traits.get(&column.name).copied().unwrap_or_default();
                    (value - column.mean) / column.deviation
                };
                columns.iter().map(of).collect()
            })
            .collect();
        let size = columns.len();
        let mut matrix = vec![vec![0.0; size]; size];
        let mut right = vec![0.0; size];
        for (row, surprise) in rows.iter().zip(surprises) {
            for (i, x) in row.iter().enumerate() {
                right[i] += x * (surprise - mean_surprise);
                for (cell, y) in matrix[i][..=i].iter_mut().zip(row) {
                    *cell += x * y;
                }
            }
        }
        for (i, row) in matrix.iter_mut().enumerate() {
            row[i] += RIDGE;
        }
        let solution = solve(matrix, right);
        self.weights = columns
            .into_iter()
            .zip(solution)
            .map(|(column, slope)| {
                let weight = Weight {
                    mean: column.mean,
                    slope: slope / column.deviation,
                };
                (column.name, weight)
            })
            .collect();
    }

    /// By how much the run of a plan with these traits is predicted to surprise more than
    /// the average; 0 as long as nothing is learnt.
    pub fn surprise(&self, traits: &Traits) -> f64 {
        self.weights
            .iter()
            .map(|(name, weight)| {
                let value = traits.get(name).copied().unwrap_or_default();
                weight.slope * (value - weight.mean)
            })
            .sum()
    }

    /// The surprise of each run.
    fn surprises(&self) -> Vec<f64> {
        let mut reached: BTreeMap<u32, f64> = BTreeMap::new();
        for place in self.runs.iter().flat_map(|(_, places)| places) {
            *reached.entry(*place).or_default() += 1.0;
        }
        let count = self.runs.len() as f64;
        let of_place = |place: &u32| (count / reached[place]).ln();
        let each = self.runs.iter();
        each.map(|(_, places)| places.iter().map(of_place).sum())
            .collect()
    }

    /// The traits that enough plans differ in.
    fn columns(&self) -> Vec<Column> {
        let mut sums: BTreeMap<&str, (usize, f64, f64)> = BTreeMap::new();
        for (name, value) in self.runs.iter().flat_map(|(traits, _)| traits) {
            let sum = sums.entry(name).or_default();
            sum.0 += 1;
            sum.1 += value;
            sum.2 += value * value;
        }
        let count = self.runs.len() as f64;
        sums.into_iter()
            .filter(|(_, (plans, ..))| *plans >= PLANS_MIN)
            .map(|(name, (_, sum, squares))| {
                let mean = sum / count;
                Column {
                    name: name.to_owned(),
                    mean,
                    deviation: (squares / count - mean * mean).max(0.0).sqrt(),
                }
            })
            .filter(|column| column.deviation > 1e-6)
            .collect()
    }
}

/// A trait that is learnt from.
struct Column {
    name: String,
    mean: f64,
    deviation: f64,
}

/// Solves a symmetric positive definite system, given by its lower triangle (Cholesky).
fn solve(mut matrix: Vec<Vec<f64>>, mut right: Vec<f64>) -> Vec<f64> {
    let size = right.len();
    for i in 0..size {
        for j in 0..=i {
            let (upper, lower) = matrix.split_at_mut(i);
            let row = &mut lower[0];
            let own = if j < i { &upper[j][..j] } else { &row[..j] };
            let sum: f64 = own.iter().zip(&row[..j]).map(|(a, b)| a * b).sum();
            row[j] = if j < i {
                (row[j] - sum) / upper[j][j]
            } else {
                (row[j] - sum).sqrt()
            };
        }
    }
    for i in 0..size {
        let sum: f64 = (0..i).map(|k| matrix[i][k] * right[k]).sum();
        right[i] = (right[i] - sum) / matrix[i][i];
    }
    for i in (0..size).rev() {
        let sum: f64 = (i + 1..size).map(|k| matrix[k][i] * right[k]).sum();
        right[i] = (right[i] - sum) / matrix[i][i];
    }
    right
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy;

    #[test]
    fn a_system_is_solved() {
        let matrix = vec![vec![4.0], vec![2.0, 5.0], vec![0.0, 1.0, 3.0]];
        let solution = solve(matrix, vec![8.0, 15.0, 11.0]);
        for (got, expected) in solution.iter().zip([1.0, 2.0, 3.0]) {
            assert!((got - expected).abs() < 1e-9, "{solution:?}");
        }
    }

    #[test]
    fn traits_tell_numbers_words_and_how_often_a_word_comes_in_a_list() {
        let plan = toy::plan(1);
        let traits = traits(&plan);
        let ln_1p = |count: usize| (count as f64).ln_1p();
        assert_eq!(traits["faults"], ln_1p(plan.faults.len()));
        let of_sorts = traits
            .iter()
            .filter(|(name, _)| name.starts_with("faults.fault.fault="));
        let all: f64 = of_sorts.map(|(_, value)| value.exp_m1()).sum();
        assert_eq!(all.round() as usize, plan.faults.len());
        assert_eq!(traits["end_at_ms"], ln_1p(1_000));
        assert!(!traits.keys().any(|name| name.contains("seed")));
    }

    /// Runs of plans of which those with a fourth trait come by a rare place.
    fn learnt(runs: u32) -> Forecast {
        let mut forecast = Forecast::default();
        for number in 0..runs {
            forecast.note(traits_of(number), places_of(number));
        }
        forecast.learn();
        forecast
    }

    fn traits_of(number: u32) -> Traits {
        let bit = |at: u32| f64::from(number >> at & 1);
        let named = |(at, name): (u32, &str)| (name.to_owned(), bit(at));
        let names = ["one", "two", "three", "four"];
        (0..).zip(names).map(named).collect()
    }

    fn places_of(number: u32) -> Places {
        let rare = (number & 8 != 0).then_some(7);
        [1].into_iter().chain(rare).collect()
    }

    #[test]
    fn what_leads_to_rare_places_is_learnt() {
        let forecast = learnt(400);
        let surprise = |number| forecast.surprise(&traits_of(number));
        let least_with = (8..16).map(surprise).fold(f64::INFINITY, f64::min);
        let most_without = (0..8).map(surprise).fold(f64::NEG_INFINITY, f64::max);
        assert!(
            least_with > most_without + 0.3,
            "{least_with} {most_without}"
        );
    }

    #[test]
    fn of_few_runs_nothing_is_learnt() {
        let forecast = learnt(RUNS_MIN as u32 - 1);
        assert_eq!(forecast.surprise(&traits_of(8)), 0.0);
    }

    #[test]
    fn only_the_last_runs_are_kept() {
        let forecast = learnt(2 * RUNS_MAX as u32);
        assert_eq!(forecast.runs.len(), RUNS_MAX);
    }
}
