//! `history convert`: the same history in another form.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Args;
use clap::builder::PossibleValuesParser;
use veridical_checkers::picture::{Picture, PictureOptions};
use veridical_checkers::{ObjectKind, ObjectModel};
use veridical_histories::convert::convert;
use veridical_histories::formats::{self, Format, OpenOptions, Opened};

use super::WrittenForm;
use crate::check::{PICTURE_OPERATIONS_MAX, format_names, grouped};
use crate::exit::ExitStatus;
use crate::input::Input;

/// The flags of `history convert`.
#[derive(Args, Clone, Debug)]
pub struct ConvertFlags {
    /// The history, gzip or zstd or neither; `-` is standard input
    #[arg(value_name = "IN")]
    file: PathBuf,

    /// The file to write; `-` is standard output
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,

    /// How it is written [default: told from its content]
    #[arg(long, value_name = "FORMAT", value_parser = PossibleValuesParser::new(format_names()))]
    from: Option<String>,

    /// What to write [default: told from the name of OUT]
    #[arg(long, value_name = "FORM")]
    to: Option<WrittenForm>,

    /// The model by which a picture finds linearization points, such as cas-register
    #[arg(long, value_parser = PossibleValuesParser::new(ObjectKind::ALL.iter().map(|kind| kind.name())))]
    model: Option<String>,
}

/// Reads one file and writes another.
///
/// # Errors
/// For a person.
pub(super) fn run(flags: &ConvertFlags) -> Result<ExitStatus, String> {
    super::refuse_overwriting(&flags.output, std::slice::from_ref(&flags.file))?;
    let input = Input::from_argument(&flags.file);
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", input.name());
    let never = Arc::new(AtomicBool::new(false));
    let source = input.open(&never).map_err(|error| failed(&error))?;
    let from = flags.from.as_deref().and_then(Format::from_name);
    let opened =
        formats::open(source, &OpenOptions::of_format(from)).map_err(|error| failed(&error))?;
    let form = flags
        .to
        .unwrap_or_else(|| WrittenForm::of_output(&flags.output));
    let Some(target) = form.target() else {
        draw(flags, opened, form, &input.name()).map_err(|error| failed(&error))?;
        return Ok(ExitStatus::Ok);
    };
    let sink = super::create(&flags.output)?;
    let converted = convert(opened.history, target, sink).map_err(|error| failed(&error))?;
    let status = super::complain(&input.name(), &converted);
    eprintln!(
        "{} operations, {} events",
        grouped(converted.summary.operations),
        grouped(converted.summary.events)
    );
    Ok(status)
}

fn draw(flags: &ConvertFlags, opened: Opened, form: WrittenForm, name: &str) -> Result<(), String> {
    let kind = flags.model.as_deref().and_then(ObjectKind::from_name);
    let is_page = form == WrittenForm::Html;
    let options = PictureOptions {
        title: name.to_owned(),
        operations_max: if is_page {
            PICTURE_OPERATIONS_MAX
        } else {
            usize::MAX
        },
        event: None,
        model: kind.map(ObjectModel::new),
    };
    let picture =
        Picture::of_history(opened.history, &options).map_err(|error| error.to_string())?;
    let mut sink = super::create(&flags.output)?;
    let written = if is_page {
        picture.write_html(&mut sink)
    } else {
        sink.write_all(picture.to_porcupine_json().as_bytes())
    };
    written
        .and_then(|()| sink.flush())
        .map_err(|error| error.to_string())?;
    eprintln!("{} operations", grouped(picture.len() as u64));
    Ok(())
}
