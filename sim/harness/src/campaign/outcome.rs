//! What a campaign leaves: a summary for people (Markdown), for programs (JSON) and for
//! CI systems (JUnit).

use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::groups::Group;
use super::ledger::Header;
use crate::artefact::write_json;
use crate::coverage::{Coverage, PointCoverage};
use crate::junit;
use crate::report::{Class, QueueFilling, RunReport};
use crate::summary::Summary;

/// A year in ms.
const YEAR_MS: f64 = 365.25 * 86_400_000.0;

/// Seeds of a group that a summary for people names.
const NAMED_SEEDS: usize = 10;

/// Simulated time in years.
pub fn years(simulated_ms: u64) -> f64 {
    simulated_ms as f64 / YEAR_MS
}

/// What came of a campaign, or of a part of it.
#[derive(Clone, Debug)]
pub struct CampaignOutcome<'a> {
    /// What it was.
    pub header: &'a Header,
    /// The sum of all reports.
    pub summary: Summary,
    /// Failures.
    pub groups: Vec<Group>,
    /// Seeds that are still to be run.
    pub missing: u64,
    /// Seeds of which two processes say different things.
    pub contradictions: Vec<u64>,
    /// The wall time of this process.
    pub wall: Duration,
}

#[derive(Serialize)]
struct AsJson<'a> {
    #[serde(flatten)]
    header: &'a Header,
    done: u64,
    missing: u64,
    verdicts: BTreeMap<&'a str, u64>,
    operations: u64,
    unknown_outcomes: u64,
    simulated_ms: u64,
    run_wall_ms: f64,
    peak_memory_bytes: u64,
    digest: String,
    contradictions: &'a [u64],
    places: Vec<PointCoverage>,
    queues: &'a BTreeMap<String, QueueFilling>,
    groups: &'a [Group],
}

impl CampaignOutcome<'_> {
    /// The most severe result of all seeds; a contradiction is nondeterminism.
    pub fn most_severe(&self) -> Class {
        let seeds = self.summary.most_severe();
        if self.contradictions.is_empty() {
            seeds
        } else {
            seeds.min(Class::Nondeterminism)
        }
    }

    /// Writes `summary.json`, `summary.md` and `junit.xml`.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn write(&self, dir: &Path, reports: &[RunReport]) -> io::Result<()> {
        std::fs::create_dir_all(dir)?;
        write_json(&dir.join("summary.json"), &self.as_json())?;
        std::fs::write(dir.join("summary.md"), self.markdown())?;
        std::fs::write(
            dir.join("junit.xml"),
            junit::render(&self.header.scenario, reports),
        )
    }

    fn coverage(&self) -> Coverage {
        Coverage::of(&self.summary.points)
    }

    fn as_json(&self) -> AsJson<'_> {
        let verdicts = self.summary.verdicts.iter();
        AsJson {
            header: self.header,
            done: self.summary.seeds,
            missing: self.missing,
            verdicts: verdicts
                .map(|(class, count)| (class.word(), *count))
                .collect(),
            operations: self.summary.operations,
            unknown_outcomes: self.summary.unknown_outcomes,
            simulated_ms: self.summary.simulated_ms,
            run_wall_ms: self.summary.run_wall_ms,
            peak_memory_bytes: self.summary.peak_memory_bytes,
            digest: self.summary.digest(),
            contradictions: &self.contradictions,
            places: self.coverage().points().to_vec(),
            queues: &self.summary.queues,
            groups: &self.groups,
        }
    }

    /// The summary for people.
    pub fn markdown(&self) -> String {
        let header = self.header;
        let mut text = format!(
            "# Campaign `{}`{}, seeds {}..{}\n\n",
            header.scenario,
            header
                .planted
                .as_ref()
                .map(|bug| format!(" with `{bug}` planted"))
                .unwrap_or_default(),
            header.seeds.start,
            header.seeds.end
        );
        let verdicts: Vec<String> = self
            .summary
            .verdicts
            .iter()
            .map(|(class, count)| format!("{count} {class}"))
            .collect();
        let mut row = |name: &str, value: String| {
            let _ = writeln!(text, "| {name} | {value} |");
        };
        row("", String::new());
        row("---", "---".to_owned());
        row(
            "seeds",
            format!("{} done, {} missing", self.summary.seeds, self.missing),
        );
        row("verdicts", verdicts.join(", "));
        row("operations", self.summary.operations.to_string());
        row(
            "simulated time",
            format!("{:.5} years", years(self.summary.simulated_ms)),
        );
        row(
            "processor time of runs",
            format!("{:.1} s", self.summary.run_wall_ms / 1_000.0),
        );
        row("digest", format!("`{}`", self.summary.digest()));
        row("program", format!("`{}`", header.version.program));
        if !self.contradictions.is_empty() {
            let _ = writeln!(
                text,
                "\n**Nondeterminism:** seeds {:?} have two digests.",
                self.contradictions
            );
        }
        if self.groups.is_empty() {
            text.push_str("\nNo failures.\n");
        } else {
            text.push_str("\n## Failures\n");
        }
        for group in &self.groups {
            self.describe(group, &mut text);
        }
        text.push_str(&self.coverage().markdown());
        text
    }

    fn describe(&self, group: &Group, text: &mut String) {
        let at = group.signature.location.as_ref();
        let at = at.map(|at| format!(" at `{at}`")).unwrap_or_default();
        let named: Vec<String> = group
            .seeds
            .iter()
            .take(NAMED_SEEDS)
            .map(u64::to_string)
            .collect();
        let more = group.seeds.len() - named.len();
        let more = match more {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let _ = writeln!(
            text,
            "\n### {} ({}){at}: {} seeds\n\n`{}`\n\nSeeds {}{more}.\n\n```\n{}\n```\n",
            group.signature.class,
            group.signature.signature,
            group.seeds.len(),
            group.reproduce,
            named.join(", "),
            group.text.trim_end()
        );
        for kept in &group.kept {
            let _ = write!(text, "- seed {}: `{}`", kept.seed, kept.folder.display());
            if let Some((folder, size)) = &kept.shrunk {
                let _ = write!(text, "; small: `{}` ({size})", folder.display());
            }
            if let Some(shape) = &kept.shape {
                let _ = write!(text, "; {shape}");
            }
            text.push('\n');
        }
        let shapes = group.shapes();
        if shapes.len() > 1 {
            let _ = writeln!(
                text,
                "\nThe small plans are of {} shapes: perhaps as many causes.",
                shapes.len()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::groups::group;
    use super::super::shard::Shard;
    use super::*;
    use crate::artefact::Version;
    use crate::report::Finding;

    fn header() -> Header {
        Header {
            scenario: "swarm".to_owned(),
            planted: Some("watch-gap".to_owned()),
            seeds: 1..4,
            shard: Shard::WHOLE,
            version: Version {
                veridical: "0".to_owned(),
                plan_format: 1,
                program: "p".to_owned(),
            },
        }
    }

    #[test]
    fn the_summary_names_what_failed_and_how_to_see_it() {
        let finding = Finding::new(Class::Violation, "watch", "a gap");
        let reports = [RunReport::of_seed(2, finding)];
        let mut summary = Summary::default();
        summary.add(&reports[0]);
        let header = header();
        let outcome = CampaignOutcome {
            header: &header,
            summary,
            groups: group(&reports),
            missing: 2,
            contradictions: vec![],
            wall: Duration::ZERO,
        };
        let text = outcome.markdown();
        for part in [
            "violation (watch): 1 seeds",
            "cargo sim run --scenario swarm --seed 2",
            "1 done, 2 missing",
            "`watch-gap` planted",
            "a gap",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let json = serde_json::to_value(outcome.as_json()).expect("written");
        assert_eq!(json["groups"][0]["seeds"][0], 2);
        assert_eq!(json["verdicts"]["violation"], 1);
    }

    #[test]
    fn a_seed_with_two_digests_is_nondeterminism() {
        let header = header();
        let outcome = CampaignOutcome {
            header: &header,
            summary: Summary::default(),
            groups: vec![],
            missing: 3,
            contradictions: vec![2],
            wall: Duration::ZERO,
        };
        assert_eq!(outcome.most_severe(), Class::Nondeterminism);
    }
}
