//! How well the checks find bugs: each planted bug is looked for until a seed finds it
//! or the budget ends.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use veridical_probe::PlantedBug;

use crate::campaign::{Campaign, Seeds};
use crate::report::{Class, RunReport};

/// Planted bugs that no seed is known to find, and that are looked for only when they are
/// named. Tests of their crates find them; docs/planted-bugs.md says what they wait for.
pub const HIDE_FROM_RUNS: &[PlantedBug] = &[PlantedBug::SnapshotUnpinned];

/// What came of looking for one planted bug.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recalled {
    /// The bug.
    pub bug: String,
    /// Whether some seed found it.
    pub found: bool,
    /// How many seeds were run, the finding one included.
    pub seeds: u64,
    /// How long it took, in ms of wall time.
    pub wall_ms: u64,
    /// How it showed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<Class>,
    /// The sort of finding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    /// The command that runs the finding seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reproduce: Option<String>,
}

/// Looks for a planted bug among `budget` seeds from `first` on.
pub fn recall(
    bug: &str,
    scenario: &str,
    first: u64,
    budget: u64,
    jobs: usize,
    program: PathBuf,
    interrupted: &AtomicBool,
) -> Recalled {
    let started = Instant::now();
    let campaign = Campaign {
        scenario: scenario.to_owned(),
        planted: Some(bug.to_owned()),
        jobs,
        check_determinism: false,
        log: None,
        program,
    };
    let seeds = Seeds::new(first, budget);
    let stop = AtomicBool::new(false);
    let finding: Mutex<Option<RunReport>> = Mutex::new(None);
    let mut ran = 0;
    campaign.run(
        || {
            (!interrupted.load(Ordering::Relaxed))
                .then(|| seeds.next())
                .flatten()
        },
        &stop,
        |report| {
            ran += 1;
            let mut finding = finding.lock().expect("nobody panics with the finding");
            // What the checker could not decide is no finding.
            let found = !matches!(report.verdict, Class::Ok | Class::Unknown);
            if found
                && finding
                    .as_ref()
                    .is_none_or(|known| report.seed < known.seed)
            {
                stop.store(true, Ordering::Relaxed);
                *finding = Some(report);
            }
        },
    );
    let finding = finding
        .into_inner()
        .expect("nobody panics with the finding");
    Recalled {
        bug: bug.to_owned(),
        found: finding.is_some(),
        seeds: finding
            .as_ref()
            .map_or(ran, |report| report.seed - first + 1),
        wall_ms: started.elapsed().as_millis() as u64,
        class: finding.as_ref().map(|report| report.verdict),
        signature: finding
            .as_ref()
            .and_then(|report| Some(report.finding.as_ref()?.signature.clone())),
        reproduce: finding.map(|report| report.reproduce),
    }
}
