//! What a subcommand ends with, as an exit status.

use veridical_bench::BenchFlags;
use veridical_check::ExitStatus;
use veridical_checkers::Verdict;
use veridical_server::ServeArguments;

/// The name of this program, for messages.
pub(crate) const PROGRAM: &str = "veridical";

/// Runs a member until it is told to end.
pub(crate) fn serve(arguments: ServeArguments) -> ExitStatus {
    exit_on_panic();
    match veridical_server::serve(arguments) {
        Ok(()) => ExitStatus::Ok,
        Err(failure) => {
            eprintln!("{PROGRAM} serve: {failure}");
            failure_status(failure.is_usage_error())
        }
    }
}

/// Runs a benchmark.
pub(crate) fn bench(flags: &BenchFlags) -> ExitStatus {
    match veridical_bench::run(flags) {
        Ok(None | Some(Verdict::Ok)) => ExitStatus::Ok,
        Ok(Some(Verdict::Violation(violation))) => {
            eprintln!("{PROGRAM} bench: the store did not tell the truth: {violation}");
            ExitStatus::Violation
        }
        Ok(Some(Verdict::Unknown(_))) => ExitStatus::Unknown,
        Err(error) => {
            eprintln!("{PROGRAM} bench: {error}");
            failure_status(error.is_usage_error())
        }
    }
}

/// The status of a subcommand that failed.
fn failure_status(is_usage_error: bool) -> ExitStatus {
    match is_usage_error {
        true => ExitStatus::Usage,
        false => ExitStatus::Crash,
    }
}

/// A task that panics would leave a member that seems to run: better to end, as after a
/// power failure, and recover.
fn exit_on_panic() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        std::process::exit(ExitStatus::Crash as i32);
    }));
}
