//! Where log lines go: standard error, so that standard output stays clean.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use super::flags::{LogFormat, LogLevel};

/// Refines or replaces `--log-level`, by module.
const FILTER_VARIABLE: &str = "RUST_LOG";

/// Starts logging for this process.
///
/// # Errors
/// `RUST_LOG` is set to something that is no filter.
pub(crate) fn start(level: LogLevel, format: LogFormat) -> Result<(), String> {
    let filter = match std::env::var(FILTER_VARIABLE) {
        Ok(filter) if !filter.is_empty() => {
            EnvFilter::try_new(filter).map_err(|error| format!("{FILTER_VARIABLE}: {error}"))?
        }
        _ => EnvFilter::new(match level {
            LogLevel::Debug => "info,veridical=debug,veridical_node=debug,veridical_server=debug",
            LogLevel::Info => "info",
            LogLevel::Warn => "warn",
            LogLevel::Error => "error",
        }),
    };
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => lines.with_target(false).init(),
        LogFormat::Json => lines.json().init(),
    }
    Ok(())
}
