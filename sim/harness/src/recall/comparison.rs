//! Both ways of looking for planted bugs beside each other: is a guided exploration
//! worth it?
//!
//! Each way looks for a bug several times, each time from another first seed, the same
//! ones for both. An attempt that finds nothing within its budget counts as longer than
//! any other one in the median, and with its whole budget in the sum of runs.

use std::cmp::Ordering;
use std::fmt::Write;

use super::Recalled;

/// What the attempts of one way have come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many attempts there were.
    pub attempts: u64,
    /// How many found the bug.
    pub found: u64,
    /// The runs of all of them.
    pub runs: u64,
}

impl Tally {
    /// Of these attempts.
    pub fn of(attempts: &[Recalled]) -> Self {
        Self {
            attempts: attempts.len() as u64,
            found: attempts.iter().filter(|attempt| attempt.found).count() as u64,
            runs: attempts.iter().map(|attempt| attempt.seeds).sum(),
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            attempts: self.attempts + other.attempts,
            found: self.found + other.found,
            runs: self.runs + other.runs,
        }
    }
}

/// The median of the runs that were needed; none if half of the attempts found nothing.
pub fn median(attempts: &[Recalled]) -> Option<u64> {
    let mut needed: Vec<u64> = attempts
        .iter()
        .map(|attempt| {
            if attempt.found {
                attempt.seeds
            } else {
                u64::MAX
            }
        })
        .collect();
    needed.sort_unstable();
    let median = *needed.get((needed.len().checked_sub(1)?) / 2)?;
    (median != u64::MAX).then_some(median)
}

/// One bug, both ways, attempt by attempt from the same first seeds.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// The bug.
    pub bug: String,
    /// By one seed after the other.
    pub alone: Vec<Recalled>,
    /// By guided explorations.
    pub guided: Vec<Recalled>,
}

impl Comparison {
    /// In how many pairs the guided attempt needed fewer runs, as many, and more.
    pub fn pairs(&self) -> [u64; 3] {
        let needed = |attempt: &Recalled| match attempt.found {
            true => attempt.seeds,
            false => u64::MAX,
        };
        let mut pairs = [0; 3];
        for (alone, guided) in self.alone.iter().zip(&self.guided) {
            pairs[match needed(guided).cmp(&needed(alone)) {
                Ordering::Less => 0,
                Ordering::Equal => 1,
                Ordering::Greater => 2,
            }] += 1;
        }
        pairs
    }
}

/// All of it as a table in Markdown, with the sums in its last line.
pub fn table(comparisons: &[Comparison]) -> String {
    let mut text = String::from(
        "| planted bug | seeds alone: found | median | runs | guided: found | median | runs | \
         sooner, same, later |\n|---|---|---|---|---|---|---|---|\n",
    );
    let (mut alone, mut guided) = (Tally::default(), Tally::default());
    let mut pairs = [0; 3];
    for comparison in comparisons {
        let tallies = [Tally::of(&comparison.alone), Tally::of(&comparison.guided)];
        let medians = [median(&comparison.alone), median(&comparison.guided)];
        let own = comparison.pairs();
        let _ = write!(text, "| `{}` |", comparison.bug);
        for (tally, median) in tallies.into_iter().zip(medians) {
            let median = median.map_or_else(|| "–".to_owned(), |median| median.to_string());
            let Tally {
                attempts,
                found,
                runs,
            } = tally;
            let _ = write!(text, " {found} of {attempts} | {median} | {runs} |");
        }
        let _ = writeln!(text, " {}, {}, {} |", own[0], own[1], own[2]);
        alone = alone.plus(tallies[0]);
        guided = guided.plus(tallies[1]);
        for (sum, own) in pairs.iter_mut().zip(own) {
            *sum += own;
        }
    }
    let _ = writeln!(
        text,
        "| together | {} of {} | | {} | {} of {} | | {} | {}, {}, {} |",
        alone.found,
        alone.attempts,
        alone.runs,
        guided.found,
        guided.attempts,
        guided.runs,
        pairs[0],
        pairs[1],
        pairs[2]
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_that_found_nothing_needs_more_than_any_other() {
        let attempts = [
            Recalled::attempt(true, 9),
            Recalled::attempt(false, 100),
            Recalled::attempt(true, 30),
        ];
        assert_eq!(median(&attempts), Some(30));
        assert_eq!(median(&attempts[1..2]), None);
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn a_comparison_counts_pairs_runs_and_findings_of_both_ways() {
        let comparison = Comparison {
            bug: "torn-cut".to_owned(),
            alone: vec![
                Recalled::attempt(true, 9),
                Recalled::attempt(false, 100),
                Recalled::attempt(true, 30),
            ],
            guided: vec![
                Recalled::attempt(true, 9),
                Recalled::attempt(true, 70),
                Recalled::attempt(true, 31),
            ],
        };
        assert_eq!(comparison.pairs(), [1, 1, 1]);
        let text = table(&[comparison.clone(), comparison]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[2],
            "| `torn-cut` | 2 of 3 | 30 | 139 | 3 of 3 | 31 | 110 | 1, 1, 1 |"
        );
        assert_eq!(
            lines[4],
            "| together | 4 of 6 | | 278 | 6 of 6 | | 220 | 2, 2, 2 |"
        );
    }
}
