//! `history stat`: what a history looks like.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Args;
use clap::builder::PossibleValuesParser;
use veridical_histories::convert::summarize;
use veridical_histories::formats::{self, Format, OpenOptions};

use crate::check::format_names;
use crate::exit::ExitStatus;
use crate::input::Input;

/// The flags of `history stat`.
#[derive(Args, Clone, Debug)]
pub struct StatFlags {
    /// The history, gzip or zstd or neither; `-` is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// How it is written [default: told from its content]
    #[arg(long, value_parser = PossibleValuesParser::new(format_names()))]
    format: Option<String>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Reads the history once and prints what it looks like.
///
/// # Errors
/// For a person.
pub(super) fn run(flags: &StatFlags) -> Result<ExitStatus, String> {
    let input = Input::from_argument(&flags.file);
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", input.name());
    let never = Arc::new(AtomicBool::new(false));
    let source = input.open(&never).map_err(|error| failed(&error))?;
    let format = flags.format.as_deref().and_then(Format::from_name);
    let opened =
        formats::open(source, &OpenOptions::of_format(format)).map_err(|error| failed(&error))?;
    let format = opened.format;
    let counted = summarize(opened.history).map_err(|error| failed(&error))?;
    let status = super::complain(&input.name(), &counted);
    if flags.json {
        let mut json = serde_json::to_value(&counted.summary).expect("a summary has a JSON form");
        json["file"] = serde_json::json!(input.name());
        json["format"] = serde_json::json!(format.name());
        json["bad_line_count"] = serde_json::json!(counted.bad_line_count);
        json["truncated"] = serde_json::json!(counted.truncated.map(|cut| cut.to_string()));
        println!("{json}");
    } else {
        println!("{}: {format}\n{}", input.name(), counted.summary);
    }
    Ok(status)
}
