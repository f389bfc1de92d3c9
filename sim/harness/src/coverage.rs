//! Which of the coverage points that the code declares a campaign has reached, and which not
//! (`reachable!`, `sometimes!`, `always!` of the probe crate).
//!
//! Coverage points come from this program, hits from the reports of the runs, so that results of
//! many processes, or of many machines, can be put together.

use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;
use veridical_probe::CoveragePoint;

/// The rarest points that are shown to people; the JSON form has all.
const RAREST_SHOWN: usize = 8;

/// How often a coverage point was reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// By how many seeds.
    pub seeds: u64,
    /// How often, over all of them.
    pub hits: u64,
}

/// A coverage point, or several of the same name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PointCoverage {
    /// Its name.
    pub name: String,
    /// Where it stands, as `file:line`.
    pub at: Vec<String>,
    /// How often it was reached, over all seeds.
    pub hits: u64,
    /// By how many seeds.
    pub seeds: u64,
    /// Why the default campaign is not expected to reach it, if it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rare: Option<String>,
}

/// All points, the rarest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    points: Vec<PointCoverage>,
}

impl Coverage {
    /// Of what was reached, among the points of this program.
    pub fn of(reached: &BTreeMap<String, Reached>) -> Self {
        Self::among(veridical_probe::COVERAGE_POINTS.iter(), reached)
    }

    fn among<'a>(
        declared: impl Iterator<Item = &'a CoveragePoint>,
        reached: &BTreeMap<String, Reached>,
    ) -> Self {
        let mut points: BTreeMap<&str, PointCoverage> = BTreeMap::new();
        for point in declared {
            // A run counts what its own process links, which is all of this program.
            let Some(reached) = reached.get(point.name()) else {
                continue;
            };
            let known = points.entry(point.name()).or_default();
            known.name = point.name().to_owned();
            known.at.push(format!("{}:{}", point.file(), point.line()));
            known.hits = reached.hits;
            known.seeds = reached.seeds;
            known.rare = known.rare.take().or(point.rare().map(str::to_owned));
        }
        let mut points: Vec<PointCoverage> = points.into_values().collect();
        for point in &mut points {
            point.at.sort();
        }
        points.sort_by(|a, b| (a.seeds, a.hits, &a.name).cmp(&(b.seeds, b.hits, &b.name)));
        Self { points }
    }

    /// All of them, the rarest first.
    pub fn points(&self) -> &[PointCoverage] {
        &self.points
    }

    /// Those that no seed has reached.
    pub fn unreached(&self) -> impl Iterator<Item = &PointCoverage> {
        self.points.iter().filter(|point| point.seeds == 0)
    }

    /// Those that the fewest seeds have reached.
    pub fn rarest(&self) -> impl Iterator<Item = &PointCoverage> {
        let reached = self.points.iter().filter(|point| point.seeds > 0);
        reached.take(RAREST_SHOWN)
    }

    /// `N of M reached`.
    pub fn count(&self) -> String {
        let unreached = self.unreached().count();
        let excused = self
            .unreached()
            .filter(|point| point.rare.is_some())
            .count();
        let all = self.points.len();
        match excused {
            0 => format!("{} of {all} reached", all - unreached),
            excused => format!(
                "{} of {all} reached, {excused} of the others with a reason",
                all - unreached
            ),
        }
    }

    /// For people: what was never reached, where it stands and why that is, then the
    /// rarest of the others.
    pub fn render(&self) -> String {
        let mut text = String::new();
        for point in self.unreached() {
            let _ = writeln!(text, "    never   {}", describe(point));
        }
        for point in self.rarest() {
            let _ = writeln!(
                text,
                "    {:<7} {}",
                format!("{}x", point.seeds),
                describe(point)
            );
        }
        text
    }

    /// The same as Markdown; nothing if no run has reported points.
    pub fn markdown(&self) -> String {
        if self.points.is_empty() {
            return String::new();
        }
        let mut text = format!("\n## Coverage points\n\n{}.\n", self.count());
        if self.unreached().next().is_some() {
            text.push_str("\n| never reached | where | why |\n|---|---|---|\n");
        }
        for point in self.unreached() {
            let why = point.rare.as_deref().unwrap_or_default();
            let at = point.at.join(", ");
            let _ = writeln!(text, "| `{}` | {at} | {why} |", point.name);
        }
        if self.rarest().next().is_some() {
            text.push_str("\n| rarest | where | seeds | hits |\n|---|---|---|---|\n");
        }
        for point in self.rarest() {
            let _ = writeln!(
                text,
                "| `{}` | {} | {} | {} |",
                point.name,
                point.at.join(", "),
                point.seeds,
                point.hits
            );
        }
        text
    }
}

fn describe(point: &PointCoverage) -> String {
    let mut text = format!("{} ({})", point.name, point.at.join(", "));
    if let (Some(why), 0) = (&point.rare, point.seeds) {
        let _ = write!(text, ": {why}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use veridical_probe::Claim;

    fn reached(of: &[(&str, u64, u64)]) -> BTreeMap<String, Reached> {
        of.iter()
            .map(|(name, seeds, hits)| {
                let (seeds, hits) = (*seeds, *hits);
                ((*name).to_owned(), Reached { seeds, hits })
            })
            .collect()
    }

    #[test]
    fn what_was_never_reached_is_named_with_its_place_and_its_reason() {
        let declared = [
            CoveragePoint::new("a.often", Claim::Reachable, ("a.rs", 1), None),
            CoveragePoint::new("a.often", Claim::Reachable, ("b.rs", 9), None),
            CoveragePoint::new("a.once", Claim::Sometimes, ("a.rs", 3), None),
            CoveragePoint::new("a.never", Claim::Sometimes, ("a.rs", 5), None),
            CoveragePoint::new("a.hardly", Claim::Sometimes, ("a.rs", 7), Some("a reason")),
        ];
        let hits = reached(&[
            ("a.often", 90, 1_000),
            ("a.once", 1, 7),
            ("a.never", 0, 0),
            ("a.hardly", 0, 0),
        ]);
        let coverage = Coverage::among(declared.iter(), &hits);
        assert_eq!(
            coverage.count(),
            "2 of 4 reached, 1 of the others with a reason"
        );
        let unreached: Vec<&str> = coverage.unreached().map(|point| &*point.name).collect();
        assert_eq!(unreached, ["a.hardly", "a.never"]);
        let rarest: Vec<&str> = coverage.rarest().map(|point| &*point.name).collect();
        assert_eq!(rarest, ["a.once", "a.often"]);
        let (text, markdown) = (coverage.render(), coverage.markdown());
        assert!(
            text.contains("never   a.hardly (a.rs:7): a reason"),
            "{text}"
        );
        assert!(text.contains("never   a.never (a.rs:5)\n"), "{text}");
        assert!(
            text.contains("90x     a.often (a.rs:1, b.rs:9)\n"),
            "{text}"
        );
        assert!(markdown.contains("| `a.once` | a.rs:3 | 1 | 7 |"));
    }

    #[test]
    fn places_of_code_that_no_run_has_linked_are_not_expected() {
        let declared = [CoveragePoint::new(
            "x.y",
            Claim::Reachable,
            ("x.rs", 1),
            None,
        )];
        let coverage = Coverage::among(declared.iter(), &reached(&[]));
        assert!(coverage.points().is_empty());
    }
}
