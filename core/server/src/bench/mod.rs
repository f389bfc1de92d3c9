//! `veridical bench`: measures a store that speaks etcd's API, and checks what it answers.
//!
//! Closed loop: every client sends its next request when it has its last answer, so
//! latencies are those of a store that is offered exactly this many requests at once.

mod distribution;
mod endpoint;
mod flags;
mod recording;
mod report;
mod run;
mod workload;

use clap::ValueEnum;
use veridical_checkers::Verdict;

use crate::exit::ExitStatus;
pub(crate) use flags::BenchFlags;
use report::{Report, Setting};

/// Runs the benchmark that the flags describe and prints what it measured.
pub(crate) fn run(flags: BenchFlags) -> ExitStatus {
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(reason) => {
            eprintln!("veridical bench: no runtime: {reason}");
            return ExitStatus::Crash;
        }
    };
    let finished = match runtime.block_on(run::run(&flags)) {
        Ok(finished) => finished,
        Err(reason) => {
            eprintln!("veridical bench: {reason}");
            return reason.status();
        }
    };
    let setting = Setting {
        workload: name_of(flags.workload),
        protocol: name_of(flags.protocol),
        clients: flags.clients,
        connections: flags.connections(),
        value_bytes: flags.value_bytes,
    };
    let report = Report::new(
        setting,
        &finished.measurements,
        finished.elapsed,
        finished.interrupted,
        finished.recorded.as_ref(),
    );
    match flags.json {
        true => println!("{}", report.to_json()),
        false => print!("{}", report.to_table()),
    }
    let verdict = finished.recorded.and_then(|recorded| recorded.verdict);
    if let Some(verdict) = &verdict
        && !flags.json
    {
        println!("verdict: {verdict}");
    }
    match verdict {
        None | Some(Verdict::Ok) => ExitStatus::Ok,
        Some(Verdict::Violation(violation)) => {
            eprintln!("veridical bench: the store did not tell the truth: {violation}");
            ExitStatus::Violation
        }
        Some(Verdict::Unknown(_)) => ExitStatus::Unknown,
    }
}

/// The name of a flag's value.
fn name_of(value: impl ValueEnum) -> String {
    value
        .to_possible_value()
        .map_or_else(String::new, |value| value.get_name().to_owned())
}
