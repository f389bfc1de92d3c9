//! Which of the places that the code declares a campaign has reached, and which not
//! (`reachable!`, `sometimes!`, `always!` of the probe crate).
//!
//! Places come from this program, hits from the reports of the runs, so that results of
//! many processes, or of many machines, can be put together.

use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;
use veridical_probe::CoveragePoint;

use crate::summary::Reached;

/// The rarest places that are shown to people; the JSON form has all.
const RAREST_SHOWN: usize = 8;

/// A place, or several of the same name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PlaceCoverage {
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

/// All places, the rarest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    places: Vec<PlaceCoverage>,
}

impl Coverage {
    /// Of what was reached, among the places of this program.
    pub fn of(reached: &BTreeMap<String, Reached>) -> Self {
        Self::among(veridical_probe::COVERAGE_POINTS.iter(), reached)
    }

    fn among<'a>(
        declared: impl Iterator<Item = &'a CoveragePoint>,
        reached: &BTreeMap<String, Reached>,
    ) -> Self {
        let mut places: BTreeMap<&str, PlaceCoverage> = BTreeMap::new();
        for place in declared {
            // A run counts what its own process links, which is all of this program.
            let Some(reached) = reached.get(place.name()) else {
                continue;
            };
            let known = places.entry(place.name()).or_default();
            known.name = place.name().to_owned();
            known.at.push(format!("{}:{}", place.file(), place.line()));
            known.hits = reached.hits;
            known.seeds = reached.seeds;
            known.rare = known.rare.take().or(place.rare().map(str::to_owned));
        }
        let mut places: Vec<PlaceCoverage> = places.into_values().collect();
        for place in &mut places {
            place.at.sort();
        }
        places.sort_by(|a, b| (a.seeds, a.hits, &a.name).cmp(&(b.seeds, b.hits, &b.name)));
        Self { places }
    }

    /// All of them, the rarest first.
    pub fn places(&self) -> &[PlaceCoverage] {
        &self.places
    }

    /// Those that no seed has reached.
    pub fn unreached(&self) -> impl Iterator<Item = &PlaceCoverage> {
        self.places.iter().filter(|place| place.seeds == 0)
    }

    /// Those that the fewest seeds have reached.
    pub fn rarest(&self) -> impl Iterator<Item = &PlaceCoverage> {
        let reached = self.places.iter().filter(|place| place.seeds > 0);
        reached.take(RAREST_SHOWN)
    }

    /// `N of M reached`.
    pub fn count(&self) -> String {
        let unreached = self.unreached().count();
        let excused = self
            .unreached()
            .filter(|place| place.rare.is_some())
            .count();
        let all = self.places.len();
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
        for place in self.unreached() {
            let _ = writeln!(text, "    never   {}", describe(place));
        }
        for place in self.rarest() {
            let _ = writeln!(
                text,
                "    {:<7} {}",
                format!("{}x", place.seeds),
                describe(place)
            );
        }
        text
    }

    /// The same as Markdown; nothing if no run has reported places.
    pub fn markdown(&self) -> String {
        if self.places.is_empty() {
            return String::new();
        }
        let mut text = format!("\n## Places\n\n{}.\n", self.count());
        if self.unreached().next().is_some() {
            text.push_str("\n| never reached | where | why |\n|---|---|---|\n");
        }
        for place in self.unreached() {
            let why = place.rare.as_deref().unwrap_or_default();
            let at = place.at.join(", ");
            let _ = writeln!(text, "| `{}` | {at} | {why} |", place.name);
        }
        if self.rarest().next().is_some() {
            text.push_str("\n| rarest | where | seeds | hits |\n|---|---|---|---|\n");
        }
        for place in self.rarest() {
            let _ = writeln!(
                text,
                "| `{}` | {} | {} | {} |",
                place.name,
                place.at.join(", "),
                place.seeds,
                place.hits
            );
        }
        text
    }
}

fn describe(place: &PlaceCoverage) -> String {
    let mut text = format!("{} ({})", place.name, place.at.join(", "));
    if let (Some(why), 0) = (&place.rare, place.seeds) {
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
        let unreached: Vec<&str> = coverage.unreached().map(|place| &*place.name).collect();
        assert_eq!(unreached, ["a.hardly", "a.never"]);
        let rarest: Vec<&str> = coverage.rarest().map(|place| &*place.name).collect();
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
        assert!(coverage.places().is_empty());
    }
}
