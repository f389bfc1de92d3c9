//! Runs that are compared with each other: one for each number of clients of `--scale`, and of
//! these one for each program of `--program`.
//!
//! Inputs: the flags; signals to stop.
//! Outputs: a report of each run, and what the checker says of all of them; the same as one
//! table, one JSON object or one page.

mod plan;
mod scale;
mod table;

use serde::Serialize;
use tokio_util::sync::CancellationToken;
use veridical_checkers::Verdict;

use super::flags::BenchFlags;
use super::local_cluster::{Observed, Program, Supervisor};
use super::report::{Report, Setting};
use super::run::{self, BenchError, Finished};
pub(crate) use plan::{Plan, Run};
pub(crate) use scale::Scale;
#[cfg(test)]
pub(crate) use table::tests::point;
pub(crate) use table::{Point, Table};

/// What all runs came to, up to the last one that ended well.
pub(crate) struct Series {
    pub(crate) reports: Vec<Report>,
    /// `None` if nothing was checked.
    pub(crate) verdict: Option<Verdict>,
    /// Why there are fewer runs than were asked for, unless somebody stopped it or the
    /// checker said enough; or what else went wrong in the run of which it said so.
    pub(crate) failure: Option<BenchError>,
}

impl Series {
    /// Measures one run after the other. It ends early when it is told to stop, when one
    /// fails, and when the store did not tell the truth.
    pub(crate) async fn measure(flags: &BenchFlags, plan: &Plan, stop: &CancellationToken) -> Self {
        let mut series = Self {
            reports: Vec::new(),
            verdict: None,
            failure: None,
        };
        let mut members = Members {
            are_kept: plan.has_same_members,
            kept: None,
        };
        let mut outcome = plan.look_for_programs();
        if outcome.is_ok() {
            outcome = series.measure_all(flags, plan, stop, &mut members).await;
        }
        let stopped = members.stop().await;
        series.failure = outcome.and(stopped).err();
        if matches!(series.failure, Some(BenchError::Interrupted)) && !series.reports.is_empty() {
            series.failure = None;
        }
        series
    }

    async fn measure_all(
        &mut self,
        flags: &BenchFlags,
        plan: &Plan,
        stop: &CancellationToken,
        members: &mut Members,
    ) -> Result<(), BenchError> {
        for run in &plan.runs {
            let label = plan.is_series.then(|| run.label());
            let flags = run.flags(flags);
            let (finished, observed) = members.measure(&flags, run, label, stop).await?;
            let report = Report::new(Setting::of(&flags), &finished).with_local_cluster(observed);
            self.reports.push(report);
            let member_failure = finished.member_failure;
            let verdict = finished.recorded.and_then(|recorded| recorded.verdict);
            let is_enough = verdict.as_ref().is_some_and(|verdict| !verdict.is_ok());
            self.verdict = verdict;
            if let Some(error) = member_failure {
                return Err(error.into());
            }
            if is_enough || finished.interrupted {
                break;
            }
        }
        Ok(())
    }

    fn points(&self) -> Vec<Point> {
        self.reports.iter().map(Report::point).collect()
    }

    /// One JSON object with all reports.
    pub(crate) fn to_json(&self) -> String {
        #[derive(Serialize)]
        struct Points<'a> {
            points: &'a [Report],
        }
        let points = Points {
            points: &self.reports,
        };
        serde_json::to_string(&points).expect("numbers and texts can be written as JSON")
    }

    /// For people.
    pub(crate) fn to_text(&self) -> String {
        let table = Table::new(&self.points());
        match self.title() {
            Some(title) => format!("{title}\n{}", table.to_text()),
            None => String::new(),
        }
    }

    /// What is the same in all runs. `None` without any.
    fn title(&self) -> Option<String> {
        let mut parts = vec![self.reports.first()?.setting_text()];
        for members in self.reports.iter().filter_map(Report::members) {
            if !parts.contains(&members) {
                parts.push(members);
            }
        }
        Some(parts.join(", "))
    }

    /// One HTML page. `None` without any run.
    pub(crate) fn to_page(&self, command: &str) -> Option<String> {
        let points = self.points();
        let title = self.title()?;
        let table = Table::new(&points);
        Some(super::page::page(&title, command, &points, &table))
    }
}

impl Plan {
    /// Looks for the programs before the first one is measured.
    fn look_for_programs(&self) -> Result<(), BenchError> {
        let mut programs: Vec<_> = self.runs.iter().filter_map(|run| run.program).collect();
        programs.sort_unstable();
        programs.dedup();
        for program in programs {
            Program::find(program)?;
        }
        Ok(())
    }
}

/// The members of the runs, where the benchmark starts them.
struct Members {
    /// Whether one run leaves them to the next one.
    are_kept: bool,
    kept: Option<Supervisor>,
}

impl Members {
    /// Measures the members that the flags name, or those that they tell to start. After an
    /// error, and after the last run, those are gone.
    async fn measure(
        &mut self,
        flags: &BenchFlags,
        run: &Run,
        label: Option<String>,
        stop: &CancellationToken,
    ) -> Result<(Finished, Option<Observed>), BenchError> {
        let (Some(size), Some(program)) = (flags.local.members(), run.program) else {
            return Ok((run::run(flags, label, stop, None).await?, None));
        };
        let mut supervisor = match self.kept.take() {
            Some(kept) => kept,
            None => tokio::select! {
                biased;
                () = stop.cancelled() => return Err(BenchError::Interrupted),
                started = Supervisor::start(flags, program, size) => started?,
            },
        };
        let mut flags = flags.clone();
        flags.endpoints = supervisor.addresses();
        let finished = run::run(&flags, label, stop, Some(&mut supervisor)).await;
        // Of a failed request it is the cause if a member has ended.
        let ended = supervisor.check_running();
        if self.are_kept && finished.is_ok() && ended.is_ok() {
            let observed = supervisor.take_observed();
            self.kept = Some(supervisor);
            return Ok((finished?, observed));
        }
        let stopped = supervisor.stop().await;
        let finished = match (finished, ended) {
            (Ok(mut finished), Err(error)) if finished.is_violation() => {
                finished.member_failure.get_or_insert(error);
                finished
            }
            (Err(BenchError::LocalCluster(error)), _) | (_, Err(error)) => {
                return Err(error.into());
            }
            (finished, Ok(())) => finished?,
        };
        Ok((finished, stopped?))
    }

    /// Stops those that the last run has left.
    async fn stop(self) -> Result<(), BenchError> {
        if let Some(kept) = self.kept {
            kept.stop().await?;
        }
        Ok(())
    }
}
