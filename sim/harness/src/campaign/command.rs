//! `cargo sim campaign` and `cargo sim campaign merge`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::Campaign;
use super::groups::{Group, KeptFailure, group};
use super::ledger::{Header, Ledger, merge};
use super::outcome::{CampaignOutcome, years};
use super::shard::Shard;
use crate::artefact::{Kept, Version};
use crate::command_line::{CampaignArguments, CampaignCommand, MergeArguments};
use crate::error::{CommandError, file_error};
use crate::isolated::{keep_run, was_stopped};
use crate::output::{print_line, print_note, print_text};
use crate::program::Program;
use crate::progress::Progress;
use crate::report::{Class, RunReport};
use crate::scenario::{Plan, Scenario};
use crate::selection::{chosen, interruption, jobs, plan_of};
use crate::shrink::Shrink;
use crate::size::Size;
use crate::summary::{NotOk, Summary};

/// Failures of a group that are kept and made small.
const KEPT_PER_GROUP: usize = 3;

/// Groups whose failures are kept.
const KEPT_GROUPS_MAX: usize = 20;

/// `cargo sim campaign`: returns the exit code.
///
/// # Errors
/// See [`CommandError`].
pub fn campaign<S: Scenario>(
    scenario: &S,
    arguments: &CampaignArguments,
) -> Result<u8, CommandError> {
    match &arguments.command {
        Some(CampaignCommand::Merge(merge)) => merge_shards(merge),
        None => run(scenario, arguments),
    }
}

fn run<S: Scenario>(scenario: &S, arguments: &CampaignArguments) -> Result<u8, CommandError> {
    let name = chosen(scenario, arguments.scenario.as_deref());
    let planted = arguments.planted.as_deref();
    plan_of(scenario, &name, arguments.seeds.start, planted)?;
    let shard = match arguments.shard {
        Some(shard) => shard,
        None => Shard::from_environment(|name| std::env::var(name).ok())?,
    };
    let program = Program::this(&scenario.about())?;
    let header = Header {
        scenario: name.clone(),
        planted: arguments.planted.clone(),
        seeds: arguments.seeds.clone(),
        shard,
        version: Version::of_this_program(scenario).map_err(file_error(&program.path))?,
    };
    let dir = match shard {
        Shard::WHOLE => arguments.out.clone(),
        Shard { index, count } => arguments.out.join(format!("shard-{index}-of-{count}")),
    };
    let (mut ledger, done) = Ledger::open(&dir, &header)?;
    let mut sum = Sum::default();
    for report in done {
        sum.add(report);
    }
    let wanted: Vec<u64> = header
        .seeds
        .clone()
        .filter(|seed| shard.has(*seed) && !sum.seeds.contains(seed))
        .collect();
    if !sum.seeds.is_empty() {
        print_note!("{} seeds were done before", sum.seeds.len());
    }
    let campaign = Campaign {
        scenario: name,
        planted: arguments.planted.clone(),
        jobs: jobs(arguments.jobs),
        check_determinism: arguments.check_determinism,
        log: None,
        program,
    };
    let interrupted = interruption();
    let started = Instant::now();
    let time_limit = arguments.time_limit.map(Duration::from_secs);
    let missing = wanted.len() as u64;
    let ran = run_seeds(
        &campaign,
        wanted,
        (time_limit, arguments.until_failure),
        &interrupted,
        &mut ledger,
        &mut sum,
    )?;
    let mut groups = group(&sum.reports);
    let shrink_time = Duration::from_secs(arguments.shrink_time);
    for group in groups.iter_mut().take(KEPT_GROUPS_MAX) {
        if !interrupted.load(Ordering::Relaxed) {
            let keeping = Keeping {
                campaign: &campaign,
                dir: &dir,
                shrink_time,
                interrupted: &interrupted,
            };
            keeping.keep::<S::Plan>(group);
        }
    }
    let outcome = CampaignOutcome {
        header: &header,
        groups,
        missing: missing - ran,
        contradictions: Vec::new(),
        wall: started.elapsed(),
        summary: sum.summary,
    };
    finish(&outcome, &dir, &sum.reports, arguments.counters)
}

/// Runs the seeds that are wanted until the time is over; each report goes to the ledger and
/// to the sum. How many were run.
fn run_seeds(
    campaign: &Campaign,
    wanted: Vec<u64>,
    (time_limit, until_failure): (Option<Duration>, bool),
    interrupted: &AtomicBool,
    ledger: &mut Ledger,
    sum: &mut Sum,
) -> Result<u64, CommandError> {
    let started = Instant::now();
    let mut progress = Progress::new(wanted.len() as u64);
    let next = Mutex::new(wanted.into_iter());
    let mut ran = 0;
    let mut written = Ok(());
    let failed_to_write = AtomicBool::new(false);
    let has_failed = AtomicBool::new(false);
    campaign.run(
        || {
            let is_late = time_limit.is_some_and(|limit| started.elapsed() >= limit);
            let is_over = until_failure && has_failed.load(Ordering::Relaxed);
            if is_late || is_over || failed_to_write.load(Ordering::Relaxed) {
                return None;
            }
            next.lock().expect("no panic holds it").next()
        },
        interrupted,
        |report| {
            if was_stopped(&report) {
                return;
            }
            ran += 1;
            if written.is_ok() {
                written = ledger.append(&report);
                failed_to_write.store(written.is_err(), Ordering::Relaxed);
            }
            has_failed.fetch_or(report.verdict.is_failure(), Ordering::Relaxed);
            sum.add(report);
            progress.advance(|| sum.status(ran, started.elapsed()));
        },
    );
    progress.finish();
    written?;
    Ok(ran)
}

/// All reports so far.
#[derive(Default)]
struct Sum {
    summary: Summary,
    seeds: BTreeSet<u64>,
    reports: Vec<RunReport>,
    told: NotOk,
}

impl Sum {
    fn add(&mut self, mut report: RunReport) {
        self.summary.add(&report);
        self.seeds.insert(report.seed);
        self.told.add(report.verdict);
        // They are in the sum, and would take most of the room.
        report.faults.clear();
        report.sometimes.clear();
        report.queues.clear();
        if report.verdict == Class::Ok {
            // What only tells failures apart.
            report.knobs.clear();
            report.schedule.clear();
        }
        self.reports.push(report);
    }

    fn status(&self, ran: u64, wall: Duration) -> String {
        let mut text = format!(
            "{:.1} seeds/s  {:.5} simulated years  {}",
            ran as f64 / wall.as_secs_f64().max(1e-3),
            years(self.summary.simulated_ms),
            self.told
        );
        let reached = self.summary.points.values().filter(|point| point.seeds > 0);
        if !self.summary.points.is_empty() {
            text.push_str(&format!(
                "  {} of {} coverage points reached",
                reached.count(),
                self.summary.points.len()
            ));
        }
        text
    }
}

/// How failures are kept and made small.
struct Keeping<'a> {
    campaign: &'a Campaign,
    dir: &'a Path,
    /// For each of them; none of them is made small if it is zero.
    shrink_time: Duration,
    interrupted: &'a AtomicBool,
}

impl Keeping<'_> {
    /// Keeps the first failures of a group and makes them small.
    fn keep<P: Plan>(&self, group: &mut Group) {
        // A run that differs from itself has nothing that could be kept.
        if group.signature.class == Class::Nondeterminism {
            return;
        }
        for seed in group.seeds.iter().take(KEPT_PER_GROUP) {
            let folder = self
                .dir
                .join("failures")
                .join(group.name())
                .join(seed.to_string());
            if !folder.exists() {
                self.campaign.keep(*seed, &folder);
            }
            // A process that died has left no folder.
            let Ok(kept) = Kept::<P>::read(&folder) else {
                continue;
            };
            let (shrunk, shape) = match self.small(&kept, &folder) {
                Some((small, size, shape)) => (Some((small, size)), Some(shape)),
                None => (None, None),
            };
            group.kept.push(KeptFailure {
                seed: *seed,
                folder,
                shrunk,
                shape,
            });
        }
    }

    /// Makes a kept failure small, beside its folder: the folder, how big it is and its
    /// shape.
    fn small<P: Plan>(&self, kept: &Kept<P>, folder: &Path) -> Option<(PathBuf, Size, String)> {
        let (class, signature) = kept.failure()?;
        if self.shrink_time.is_zero() {
            return None;
        }
        let program = &self.campaign.program;
        let shrink = Shrink {
            program,
            jobs: self.campaign.jobs,
            deadline: Instant::now() + self.shrink_time,
            interrupted: self.interrupted,
            goal: (class, signature.to_owned()),
        };
        let smallest = shrink.run(&kept.plan, |_| {})?;
        let mut name = folder.to_owned().into_os_string();
        name.push("-shrunk");
        let small = PathBuf::from(name);
        keep_run(program, &smallest.plan, None, &small);
        Some((small, smallest.size(), smallest.plan.shape()))
    }
}

fn merge_shards(arguments: &MergeArguments) -> Result<u8, CommandError> {
    let Some(merged) = merge(&arguments.dirs)? else {
        return Err(CommandError::NoCampaign);
    };
    let mut sum = Sum::default();
    for report in merged.reports.into_values() {
        sum.add(report);
    }
    let outcome = CampaignOutcome {
        header: &merged.header,
        groups: group(&sum.reports),
        missing: merged.missing,
        contradictions: merged.contradictions,
        wall: Duration::ZERO,
        summary: sum.summary,
    };
    finish(&outcome, &arguments.out, &sum.reports, false)
}

/// Writes and prints what came of it; the exit code.
fn finish(
    outcome: &CampaignOutcome<'_>,
    dir: &Path,
    reports: &[RunReport],
    prints_counters: bool,
) -> Result<u8, CommandError> {
    outcome.write(dir, reports).map_err(file_error(dir))?;
    for group in &outcome.groups {
        print_line!(
            "{}\n{} ({}), {} seeds: {}",
            group.reproduce,
            group.signature.class,
            group.signature.signature,
            group.seeds.len(),
            group.text.lines().next().unwrap_or_default()
        );
        for kept in &group.kept {
            match &kept.shrunk {
                Some((folder, size)) => print_line!("  small: {} ({size})", folder.display()),
                None => print_line!("  kept in {}", kept.folder.display()),
            }
        }
    }
    print_line!(
        "seeds {}..{} of scenario {}, shard {}, {} missing",
        outcome.header.seeds.start,
        outcome.header.seeds.end,
        outcome.header.scenario,
        outcome.header.shard,
        outcome.missing
    );
    if !outcome.contradictions.is_empty() {
        print_line!("nondeterminism: seeds {:?}", outcome.contradictions);
    }
    print_text!("{}", outcome.summary.render(outcome.wall));
    if prints_counters {
        print_text!("{}", outcome.summary.render_counters());
    }
    print_line!("written to {}", dir.display());
    Ok(outcome.most_severe().exit_code())
}
