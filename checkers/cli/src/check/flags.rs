//! The flags of `check`.

use std::path::PathBuf;

use clap::Args;
use clap::builder::PossibleValuesParser;
use veridical_checkers::ObjectKind;
use veridical_checkers::check::CheckModel;
use veridical_histories::formats::{self, Format, Keys, OpenOptions};
use veridical_histories::object::Value;

/// The flags of `check`.
#[derive(Args, Clone, Debug)]
pub struct CheckFlags {
    /// Histories, gzip or zstd or neither; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    pub(super) files: Vec<PathBuf>,

    /// What the histories are judged by [default: told from the operations]
    #[arg(long, value_parser = PossibleValuesParser::new(model_names()))]
    model: Option<String>,

    /// How the files are written [default: told from their content]
    #[arg(long, value_parser = PossibleValuesParser::new(format_names()))]
    format: Option<String>,

    /// Memory for the process, such as 256MiB; idle keys beyond it are moved to temporary
    /// files
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub(super) memory_limit: Option<u64>,

    /// Configurations kept for one key before the exact search is given up there; what
    /// cannot be decided then is reported as unknown
    #[arg(long, default_value_t = 1 << 18, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) configurations: u64,

    /// Threads that check, for histories of single objects
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(super) threads: u16,

    /// What every register, text or counter holds in the beginning, such as 0, "" or [1 2]
    #[arg(long, value_name = "VALUE", value_parser = formats::parse_value)]
    pub(super) initial: Option<Value>,

    /// Values of EDN are pairs of a key and a value (jepsen.independent), or never are, with
    /// --independent=false [default: told from the calls]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    independent: Option<bool>,

    /// A read that returned nil tells nothing, as Knossos has it, instead of "absent"
    #[arg(long)]
    pub(super) nil_is_wildcard: bool,

    /// The revision of the store when the history begins; a fresh one has 1
    #[arg(long, default_value_t = 1)]
    pub(super) initial_revision: i64,

    /// Draw the history, or of a long one the part around the violation, into this file
    #[arg(long, value_name = "FILE")]
    pub(super) html: Option<PathBuf>,

    /// Print one JSON object for each file instead of text
    #[arg(long)]
    pub(super) json: bool,

    /// Write the verdicts as JUnit's XML
    #[arg(long, value_name = "FILE")]
    pub(super) junit: Option<PathBuf>,
}

impl CheckFlags {
    pub(super) fn model(&self) -> Option<CheckModel> {
        self.model.as_deref().and_then(CheckModel::from_name)
    }

    pub(super) fn format(&self) -> Option<Format> {
        self.format.as_deref().and_then(Format::from_name)
    }

    pub(super) fn keys(&self) -> Keys {
        match self.independent {
            None => Keys::Told,
            Some(true) => Keys::Independent,
            Some(false) => Keys::One,
        }
    }

    /// How the files are opened.
    pub(super) fn open_options(&self) -> OpenOptions {
        OpenOptions {
            format: self.format(),
            keys: self.keys(),
            memory_bytes_max: self.memory_limit,
        }
    }

    /// The command of `program` that checks `file` alone in the same way.
    pub(super) fn reproduce(&self, program: &str, file: &str) -> String {
        let mut command = format!("{program} check");
        let mut flag = |name: &str, value: &str| {
            command.push_str(&format!(" --{name}={value}"));
        };
        if let Some(model) = &self.model {
            flag("model", model);
        }
        if let Some(format) = &self.format {
            flag("format", format);
        }
        if self.configurations != 1 << 18 {
            flag("configurations", &self.configurations.to_string());
        }
        if self.initial_revision != 1 {
            flag("initial-revision", &self.initial_revision.to_string());
        }
        if let Some(initial) = &self.initial {
            flag("initial", &quoted(&initial.to_string()));
        }
        if let Some(independent) = self.independent {
            flag("independent", &independent.to_string());
        }
        if self.nil_is_wildcard {
            command.push_str(" --nil-is-wildcard");
        }
        format!("{command} {}", quoted(file))
    }
}

/// `text` as one word of a shell's command.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./,:+=@%".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// The names of all models.
pub(crate) fn model_names() -> Vec<&'static str> {
    let objects = ObjectKind::ALL.iter().map(|kind| kind.name());
    objects.chain(["etcd"]).collect()
}

/// The names of all formats that are read.
pub(crate) fn format_names() -> Vec<&'static str> {
    let formats = Format::ALL.iter().map(|format| format.name());
    formats.chain(["porcupine-kv"]).collect()
}

/// Reads `256MiB`, `1GB`, `4096`.
fn bytes(text: &str) -> Result<u64, String> {
    let split = text
        .find(|c: char| c.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let scale: u64 = match unit.trim() {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" | "K" | "k" => 1 << 10,
        "MiB" | "M" => 1 << 20,
        "GiB" | "G" => 1 << 30,
        _ => return Err("expected bytes, or a number with KiB, MiB or GiB".to_owned()),
    };
    let number: u64 = number
        .trim()
        .parse()
        .map_err(|error| format!("{number:?}: {error}"))?;
    number
        .checked_mul(scale)
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| "must be above 0 and below 16 EiB".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        flags: CheckFlags,
    }

    fn parse(flags: &[&str]) -> Result<CheckFlags, clap::Error> {
        let words = std::iter::once("check").chain(flags.iter().copied());
        Program::try_parse_from(words).map(|program| program.flags)
    }

    #[test]
    fn sizes_have_binary_and_decimal_units() {
        assert_eq!(bytes("256MiB"), Ok(256 << 20));
        assert_eq!(bytes("1GB"), Ok(1_000_000_000));
        assert_eq!(bytes("4096"), Ok(4096));
        for text in ["", "MiB", "0", "1.5GiB", "-1", "1 parsec", "99999999999GiB"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn every_name_that_is_offered_is_a_model_or_a_format() {
        for name in model_names() {
            assert!(CheckModel::from_name(name).is_some(), "{name}");
        }
        for name in format_names() {
            assert!(Format::from_name(name).is_some(), "{name}");
        }
    }

    #[test]
    fn the_command_that_reproduces_is_parsed_to_the_same_check() {
        let flags = parse(&["a", "b c'd", "--model=kv", "--nil-is-wildcard", "--json"]).unwrap();
        assert_eq!(
            flags.reproduce("veridical", "b c'd"),
            r"veridical check --model=kv --nil-is-wildcard 'b c'\''d'"
        );
        assert_eq!(
            flags.reproduce("veridical-check", "a.log"),
            "veridical-check check --model=kv --nil-is-wildcard a.log"
        );
    }

    #[test]
    fn a_file_is_needed_and_names_are_checked() {
        assert!(parse(&[]).is_err());
        assert!(parse(&["a", "--model=bank"]).is_err());
        assert!(parse(&["a", "--format=xml"]).is_err());
    }
}
