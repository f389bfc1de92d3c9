//! What many runs say at their end, as a table for people.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::coverage::{Coverage, Reached};
use crate::output::plural;
use crate::report::{Class, QueueFilling, RunReport};

/// Queues that the table shows; the JSON forms have all.
const FULLEST_QUEUES_SHOWN: usize = 8;

/// Groups of counters by the beginnings of their names, and as they are titled.
const COUNTER_GROUPS: [(&str, &str); 10] = [
    ("membership.", "  membership"),
    ("upgrade.", "  upgrade"),
    ("moments.", "  observed moments"),
    ("unknown.", "  unknown outcomes"),
    ("net.", "  net"),
    ("disk.", "  disk"),
    ("process.", "  process"),
    ("failpoint.", "  failpoint"),
    ("clock.", "  clock"),
    ("schedule.", "  schedule"),
];

fn table(rows: &[(&str, String)]) -> String {
    let lines = rows
        .iter()
        .map(|(name, value)| format!("  {name:<22} {value}\n"));
    lines.collect()
}

/// The sum of many reports.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Seeds that ended.
    pub seeds: u64,
    /// Operations of clients.
    pub operations: u64,
    /// Of these, those whose outcome nobody can tell.
    pub unknown_outcomes: u64,
    /// What else clients observed, by name.
    pub observations: BTreeMap<String, u64>,
    /// Simulated time in ms.
    pub simulated_ms: u64,
    /// Wall time of all runs together in ms; with several jobs they overlap.
    pub run_wall_ms: f64,
    /// The most memory of any run, in bytes.
    pub peak_memory_bytes: u64,
    /// What happened how often.
    pub faults: BTreeMap<String, u64>,
    /// Coverage points that have to be reached now and then, and how often they were.
    pub points: BTreeMap<String, Reached>,
    /// How full each queue of the store has been at most, over all seeds.
    pub queues: BTreeMap<String, QueueFilling>,
    /// Seeds by how they ended.
    pub verdicts: BTreeMap<Class, u64>,
    digests: BTreeMap<u64, String>,
}

impl Summary {
    /// Adds a report.
    pub fn add(&mut self, report: &RunReport) {
        self.seeds += 1;
        self.operations += report.operations;
        self.unknown_outcomes += report.unknown_outcomes;
        for (name, count) in &report.observations {
            *self.observations.entry(name.clone()).or_default() += count;
        }
        self.simulated_ms += report.simulated_ms;
        self.run_wall_ms += report.wall_ms;
        self.peak_memory_bytes = self.peak_memory_bytes.max(report.peak_memory_bytes);
        for (name, count) in &report.faults {
            *self.faults.entry(name.clone()).or_default() += count;
        }
        for (name, count) in &report.sometimes {
            let point = self.points.entry(name.clone()).or_default();
            point.hits += count;
            point.seeds += u64::from(*count > 0);
        }
        for (name, filling) in &report.queues {
            let fullest = self.queues.entry(name.clone()).or_default();
            *fullest = fullest.max(*filling);
        }
        *self.verdicts.entry(report.verdict).or_default() += 1;
        self.digests.insert(report.seed, report.digest.clone());
    }

    /// How the most severe of the seeds ended.
    pub fn most_severe(&self) -> Class {
        self.verdicts.keys().next().copied().unwrap_or(Class::Ok)
    }

    /// The digest over the digests of all seeds, in the order of the seeds.
    pub fn digest(&self) -> String {
        let mut digest = veridical_world::Digest::default();
        for (seed, of_seed) in &self.digests {
            digest.fold(*seed);
            digest.fold_bytes(of_seed.as_bytes());
        }
        format!("{:032x}", digest.value())
    }

    /// The table, eight lines: what was done, how fast, how it ended. `wall` is the time that
    /// the whole campaign took.
    pub fn render(&self, wall: Duration) -> String {
        let mut rows = vec![
            ("seeds", self.seeds.to_string()),
            ("operations", self.operations()),
            (
                "simulated time",
                format!("{:.1} h", self.simulated_ms as f64 / 3_600_000.0),
            ),
            (
                "wall time",
                format!(
                    "{:.1} s ({:.1} s of runs)",
                    wall.as_secs_f64(),
                    self.run_wall_ms / 1_000.0
                ),
            ),
        ];
        if self.run_wall_ms > 0.0 {
            let per_wall = |amount: f64| format!("{:.0} on one core", amount / self.run_wall_ms);
            rows.push(("simulated / wall", per_wall(self.simulated_ms as f64)));
            rows.push((
                "verified operations/s",
                per_wall(self.operations as f64 * 1_000.0),
            ));
        }
        let verdicts: Vec<String> = self
            .verdicts
            .iter()
            .map(|(class, count)| format!("{count} {class}"))
            .collect();
        rows.push(("verdicts", verdicts.join(", ")));
        rows.push(("digest", self.digest()));
        table(&rows)
    }

    /// What was counted: memory, faults and their effects, queues, coverage points.
    pub fn render_counters(&self) -> String {
        let mut rows = vec![
            (
                "peak memory",
                format!("{:.1} MiB", self.peak_memory_bytes as f64 / 1_048_576.0),
            ),
            (
                "faults injected",
                self.list(|name| name.starts_with("fault."), "fault."),
            ),
        ];
        for (group, title) in COUNTER_GROUPS {
            let effects = self.list(|name| name.starts_with(group), group);
            if !effects.is_empty() {
                rows.push((title, effects));
            }
        }
        if !self.queues.is_empty() {
            rows.push(("fullest queues", self.fullest_queues()));
        }
        let coverage = Coverage::of(&self.points);
        if !self.points.is_empty() {
            rows.push(("coverage points", coverage.count()));
        }
        let mut text = table(&rows);
        // What a single run did not reach says nothing.
        if self.seeds > 1 && !self.points.is_empty() {
            text.push_str(&coverage.render());
        }
        text
    }

    fn operations(&self) -> String {
        let observations: String = self
            .observations
            .iter()
            .map(|(name, count)| format!(", {count} {name}"))
            .collect();
        format!(
            "{} ({} with unknown outcome){observations}",
            self.operations, self.unknown_outcomes
        )
    }

    /// The queues that came nearest to their bounds.
    fn fullest_queues(&self) -> String {
        let mut queues: Vec<_> = self
            .queues
            .iter()
            .filter(|(_, filling)| filling.longest > 0)
            .collect();
        let share = |filling: &QueueFilling| filling.longest as f64 / filling.bound as f64;
        queues.sort_by(|(_, a), (_, b)| share(b).total_cmp(&share(a)));
        let items: Vec<String> = queues
            .into_iter()
            .take(FULLEST_QUEUES_SHOWN)
            .map(|(name, filling)| format!("{name} {}/{}", filling.longest, filling.bound))
            .collect();
        items.join(", ")
    }

    fn list(&self, wanted: impl Fn(&str) -> bool, prefix: &str) -> String {
        let items: Vec<String> = self
            .faults
            .iter()
            .filter(|(name, _)| wanted(name))
            .map(|(name, count)| format!("{} {count}", name.trim_start_matches(prefix)))
            .collect();
        items.join(", ")
    }
}

/// How many runs failed, and how many are undecided, which is no failure.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NotOk {
    failures: u64,
    undecided: u64,
}

impl NotOk {
    pub(crate) fn add(&mut self, verdict: Class) {
        if verdict.is_failure() {
            self.failures += 1;
        } else if verdict != Class::Ok {
            self.undecided += 1;
        }
    }
}

impl fmt::Display for NotOk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", plural(self.failures, "failure"))?;
        match self.undecided {
            0 => Ok(()),
            some => write!(f, ", {some} undecided"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Finding;

    #[test]
    fn the_digest_does_not_depend_on_the_order_of_arrival() {
        let report = |seed| RunReport {
            digest: format!("{seed:032x}"),
            ..RunReport::of_seed(seed, Finding::new(Class::Ok, "", ""))
        };
        let mut forth = Summary::default();
        let mut back = Summary::default();
        for seed in 0..5 {
            forth.add(&report(seed));
            back.add(&report(4 - seed));
        }
        assert_eq!(forth.digest(), back.digest());
        back.add(&report(9));
        assert_ne!(forth.digest(), back.digest());
    }

    #[test]
    fn what_is_undecided_is_told_and_is_no_failure() {
        let mut told = NotOk::default();
        told.add(Class::Ok);
        told.add(Class::Crash);
        assert_eq!(told.to_string(), "1 failure");
        told.add(Class::Unknown);
        told.add(Class::Liveness);
        assert_eq!(told.to_string(), "2 failures, 1 undecided");
    }
}
