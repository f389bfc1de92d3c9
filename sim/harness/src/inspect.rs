//! One run in this process: for a campaign, which reads its report, or for a person who
//! looks at it closely.

#[cfg(not(madsim))]
use crate::command_line::{OneArguments, RunArguments};
#[cfg(not(madsim))]
use crate::error::CommandError;
#[cfg(not(madsim))]
use crate::scenario::Scenario;

#[cfg(madsim)]
pub use simulated::{one, run};

#[cfg(madsim)]
mod simulated {
    use std::fs::File;
    use std::io::{BufWriter, Write};
    use std::path::Path;

    use crate::artefact::{self, ReadError};
    use crate::command_line::{OneArguments, RunArguments};
    use crate::error::{CommandError, file_error};
    use crate::kept_logs::KeptLogs;
    use crate::output::{print_line, print_text};
    use crate::process_log::ProcessLogs;
    use crate::recording::{RecordedState, Recording};
    use crate::report::{Class, RunReport};
    use crate::run::{Keep, Limits, Run, Settings};
    use crate::scenario::{Plan, Scenario};
    use crate::selection::{chosen, plan_of};
    use crate::style::Ending;
    use crate::view::{View, describe};

    /// The plan in a file, or on standard input.
    fn given_plan<P: Plan>(path: &Path) -> Result<P, CommandError> {
        if path.as_os_str() != "-" {
            return Ok(artefact::read_plan(path)?);
        }
        let plan = serde_json::from_reader(std::io::stdin().lock()).map_err(|source| {
            ReadError::Content {
                path: path.to_owned(),
                source,
            }
        })?;
        Ok(artefact::checked(plan, path)?)
    }

    /// `one`: a single run; prints its report as a line of JSON.
    ///
    /// # Errors
    /// See [`CommandError`].
    pub fn one<S: Scenario>(scenario: &S, arguments: &OneArguments) -> Result<u8, CommandError> {
        let plan = match &arguments.plan {
            Some(path) => given_plan(path)?,
            None => {
                let name = chosen(scenario, arguments.scenario.as_deref());
                let planted = arguments.planted.as_deref();
                plan_of(scenario, &name, arguments.seed, planted)?
            }
        };
        let record = arguments
            .decisions
            .as_ref()
            .map(|path| artefact::read_lines(path))
            .transpose()?;
        let kept = arguments.artefact.is_some();
        // Unset, RUST_LOG means silence here: formatting costs more than the run.
        let filter = std::env::var("RUST_LOG").ok();
        let logs = ProcessLogs::begin(kept, filter.as_deref())?;
        let settings = Settings {
            keep: Keep {
                history: kept,
                trace: kept || arguments.trace.is_some(),
                decisions: kept,
                timetable: arguments.timetable,
                recording: kept,
            },
            record,
            until: None,
            limits: match arguments.larger_limits {
                true => Limits::Larger,
                false => Limits::Usual,
            },
        };
        let mut result = scenario.run(&plan, settings);
        if arguments.plan.is_some() {
            // No seed leads to it.
            let dir = arguments.artefact.as_deref();
            let dir = dir.map_or_else(|| "DIR".to_owned(), |dir| dir.display().to_string());
            result.report.reproduce = format!("{} replay {dir}", scenario.about().command);
        }
        if let Some(path) = &arguments.trace {
            artefact::write_lines(path, &result.trace).map_err(file_error(path))?;
        }
        if let Some(dir) = &arguments.artefact {
            let contents = artefact::Contents {
                plan: &plan,
                report: &result.report,
                history: &result.history,
                trace: &result.trace,
                decisions: &result.decisions,
                logs: &collected(&logs),
                recording: &result.recording.take().unwrap_or_default(),
            };
            artefact::write(scenario, dir, &contents).map_err(file_error(dir))?;
        }
        print_line!(
            "{}",
            serde_json::to_string(&result.report).expect("a report can be written")
        );
        Ok(result.report.verdict.exit_code())
    }

    fn collected(logs: &ProcessLogs) -> KeptLogs {
        logs.take()
            .into_iter()
            .map(|(process, log)| (process, (log.lines.into(), log.dropped)))
            .collect()
    }

    /// `run` of one seed that somebody looks at: stopped at a time, with logs, as a page, as a
    /// trace. Prints what came of it.
    ///
    /// # Errors
    /// See [`CommandError`].
    pub fn run<S: Scenario>(
        scenario: &S,
        arguments: &RunArguments,
        plan: &S::Plan,
    ) -> Result<u8, CommandError> {
        let shown = arguments.html.is_some() || arguments.trace.is_some();
        let logs = ProcessLogs::begin(shown, arguments.log.as_deref())?;
        let settings = Settings {
            keep: Keep {
                history: shown || arguments.until.is_some(),
                recording: shown || arguments.until.is_some(),
                ..Keep::default()
            },
            record: None,
            until: arguments.until,
            limits: Limits::Usual,
        };
        let mut run = scenario.run(plan, settings);
        let logs = collected(&logs);
        let recording = run.recording.take().unwrap_or_default();
        let view = View {
            plan,
            report: &run.report,
            recording: &recording,
            history: &run.history,
            logs: &logs,
        };
        if let Some(path) = &arguments.html {
            let mut file = BufWriter::new(File::create(path).map_err(file_error(path))?);
            view.write_page(scenario, &mut file)
                .map_err(file_error(path))?;
            file.flush().map_err(file_error(path))?;
        }
        if let Some(path) = &arguments.output {
            let mut file = BufWriter::new(File::create(path).map_err(file_error(path))?);
            view.write_trace(scenario, &mut file)
                .map_err(file_error(path))?;
            file.flush().map_err(file_error(path))?;
        }
        print_text!("{}", summary(scenario, &run, &view));
        Ok(run.report.verdict.exit_code())
    }

    /// What came of a run, and how things were when it was stopped.
    fn summary<S: Scenario>(
        scenario: &S,
        run: &Run<S::Event, S::State>,
        view: &View<'_, S>,
    ) -> String {
        let report = &run.report;
        let mut text = ending(report);
        let Some(nodes) = &run.nodes_at_end else {
            return text;
        };
        text.push_str(&format!("members:{nodes}\n"));
        let open: Vec<String> = scenario
            .operations(view.plan, view.history)
            .into_iter()
            .filter(|operation| operation.ending == Ending::Open)
            .filter_map(|operation| {
                let since_ms = operation.call_ns / 1_000_000;
                let (op, session) = (operation.op?, operation.session);
                let text = operation.text;
                Some(format!(
                    "  #{op} client {session} since {since_ms} ms: {text}\n"
                ))
            })
            .collect();
        text.push_str(&format!(
            "open operations: {}\n{}",
            open.len(),
            open.concat()
        ));
        text.push_str(&active_faults(report, view.recording));
        text
    }

    /// How a run ended, with the command that runs it again.
    fn ending(report: &RunReport) -> String {
        if report.finding.is_some() {
            return artefact::witness(report);
        }
        format!(
            "{}{}\n{} at {} ms of simulated time, seed {}, digest {}\n",
            report.reproduce,
            match report.verdict {
                Class::Stopped => format!(" --until {}ms", report.simulated_ms),
                Class::Violation
                | Class::Crash
                | Class::Nondeterminism
                | Class::Liveness
                | Class::Unknown
                | Class::Ok => String::new(),
            },
            report.verdict,
            report.simulated_ms,
            report.seed,
            report.digest
        )
    }

    /// Of a run that was stopped, what lasts until its end is under way.
    fn active_faults<S: RecordedState>(report: &RunReport, recording: &Recording<S>) -> String {
        let active: Vec<String> = recording
            .faults
            .iter()
            .filter(|fault| {
                fault.ended_ns.is_none()
                    && fault.end_ns(recording.end_ns).is_some()
                    && report.verdict == Class::Stopped
            })
            .map(|fault| {
                let since_ms = fault.at_ns / 1_000_000;
                let what = describe(&fault.fault, &recording.processes);
                format!("  {what}, since {since_ms} ms\n")
            })
            .collect();
        format!("active faults: {}\n{}", active.len(), active.concat())
    }
}

/// `one` in a build without the simulated world.
///
/// # Errors
/// Always.
#[cfg(not(madsim))]
pub fn one<S: Scenario>(_: &S, _: &OneArguments) -> Result<u8, CommandError> {
    Err(CommandError::NoWorld)
}

/// A run that is looked at, in a build without the simulated world.
///
/// # Errors
/// Always.
#[cfg(not(madsim))]
pub fn run<S: Scenario>(_: &S, _: &RunArguments, _: &S::Plan) -> Result<u8, CommandError> {
    Err(CommandError::NoWorld)
}
