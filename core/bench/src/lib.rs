//! A benchmark for stores that speak etcd's API, which can check every answer while it runs.
//!
//! Inputs: flags ([`BenchFlags`]); the answers of a store, over gRPC or the pipelined
//! protocol; SIGINT and SIGTERM; what the system tells of members that it started itself.
//! Outputs: a table or one JSON object on standard output, a line on a terminal meanwhile, a
//! history in a file, a verdict; signals to such members.
//! Dependencies: client, proto, env, histories, checkers.
//!
//! It measures etcd as well as Veridical and so knows neither server; members that it starts
//! itself are programs to it. This is why it is a crate
//! of its own and not a part of `core/server`, which knows no checker, or of `core/cli`, which
//! is a front.
//!
//! Closed loop: every client sends its next request when it has its last answer, so
//! latencies are those of a store that is offered exactly this many requests at once. With
//! `--rate` it is an open loop ([`pace`]): latencies are those of requests that come when they
//! come.

mod distribution;
mod endpoint;
mod flags;
mod live;
mod local_cluster;
mod nemesis;
mod pace;
mod recording;
mod report;
mod run;
mod signals;
mod worker;
mod workload;

use clap::ValueEnum;
use std::io::{self, Write};
use veridical_checkers::Verdict;

pub use flags::BenchFlags;
pub use local_cluster::LocalClusterError;
use local_cluster::{Observed, Supervisor};
pub use recording::RecordingError;
use report::{Report, Setting};
pub use run::BenchError;
use run::Finished;
use signals::StopSignals;

/// Runs the benchmark that the flags describe and prints what it measured. Gives back what
/// the checker says, where one was asked for.
///
/// # Errors
/// See [`BenchError`]. Requests that fail are counted and are no errors.
pub fn run(flags: &BenchFlags) -> Result<Option<Verdict>, BenchError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(BenchError::Runtime)?;
    let (finished, observed) = runtime.block_on(measure(flags))?;
    let setting = Setting {
        workload: name_of(flags.workload),
        protocol: name_of(flags.protocol),
        clients: flags.clients,
        connections: flags.connections(),
        value_bytes: flags.value_bytes,
        rate_asked: flags.rate,
    };
    let report = Report::new(
        setting,
        &finished.measurements,
        finished.elapsed,
        finished.interrupted,
        finished.recorded.as_ref(),
    )
    .with_local_cluster(observed);
    let verdict = finished.recorded.and_then(|recorded| recorded.verdict);
    let text = match (flags.json, &verdict) {
        (true, _) => format!("{}\n", report.to_json()),
        (false, Some(verdict)) => format!("{}verdict: {verdict}\n", report.to_table()),
        (false, None) => report.to_table(),
    };
    // A reader who has gone does not change what was found.
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(BenchError::Output(error)),
        Ok(()) | Err(_) => Ok(verdict),
    }
}

/// Measures the members that the flags name, or those that they tell to start, which are gone
/// afterwards, also after an error.
async fn measure(flags: &BenchFlags) -> Result<(Finished, Option<Observed>), BenchError> {
    let signals = StopSignals::listen().map_err(BenchError::Signals)?;
    let stop = signals.token();
    let Some(size) = flags.local.members() else {
        return Ok((run::run(flags, None, stop, None).await?, None));
    };
    let mut supervisor = tokio::select! {
        biased;
        () = stop.cancelled() => return Err(BenchError::Interrupted),
        started = Supervisor::start(flags, size) => started?,
    };
    let mut flags = flags.clone();
    flags.endpoints = supervisor.addresses();
    let finished = run::run(&flags, None, stop, Some(&mut supervisor)).await;
    // Of a failed request it is the cause if a member has ended.
    let ended = supervisor.check_running();
    let stopped = supervisor.stop().await;
    let finished = match (finished, ended) {
        (Err(BenchError::LocalCluster(error)), _) | (_, Err(error)) => return Err(error.into()),
        (finished, Ok(())) => finished?,
    };
    Ok((finished, stopped?))
}

/// The name of a flag's value.
fn name_of(value: impl ValueEnum) -> String {
    value
        .to_possible_value()
        .map_or_else(String::new, |value| value.get_name().to_owned())
}
