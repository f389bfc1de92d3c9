//! `history gen`: correct histories of any length, and ones with a known error.

use std::path::PathBuf;

use clap::Args;
use clap::builder::PossibleValuesParser;
use veridical_checkers::etcd::{EtcdChecker, EtcdOptions};
use veridical_checkers::{Rejection, Verdict};
use veridical_histories::convert::{Target, write};
use veridical_histories::etcd::EtcdEvent;
use veridical_histories::generate::Distribution;
use veridical_histories::generate::etcd::{EtcdHistory, EtcdWorkload};
use veridical_histories::generate::inject_etcd::{EtcdInjection, inject};
use veridical_histories::generate::object::{Injection, ObjectHistory, ObjectKind, ObjectWorkload};
use veridical_histories::random::Random;

use super::WrittenForm;
use crate::check::grouped;
use crate::exit::ExitStatus;

/// Places tried for an error before a history counts as having none for it.
const INJECTION_ATTEMPTS_MAX: u64 = 200;

/// The flags of `history gen`.
#[derive(Args, Clone, Debug)]
pub struct GenerateFlags {
    /// Operations
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    ops: u64,

    /// Clients; each calls when its last operation has ended
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    clients: u32,

    /// Keys
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    keys: u64,

    /// How keys are chosen
    #[arg(long, default_value = "uniform", value_parser = PossibleValuesParser::new(["uniform", "zipf"]))]
    dist: String,

    /// Share of reads
    #[arg(long, default_value_t = 0.5, value_parser = share)]
    reads: f64,

    /// Share of operations whose outcome stays unknown
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    unknown: f64,

    /// From how many values registers and maps take what they write [default: each once]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    values: Option<u64>,

    /// What is generated
    #[arg(long, default_value = "kv", value_parser = PossibleValuesParser::new(generated_models()))]
    model: String,

    /// Put one error in
    #[arg(long, value_name = "ERROR", value_parser = PossibleValuesParser::new(injections()))]
    inject: Option<String>,

    /// All random choices follow from it
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// The file to write; `-` is standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,

    /// What to write [default: told from the name of FILE]
    #[arg(long, value_name = "FORM")]
    to: Option<WrittenForm>,
}

/// The models that are generated.
fn generated_models() -> Vec<&'static str> {
    let objects = ObjectKind::ALL.iter().map(|kind| kind.name());
    objects.chain(["etcd"]).collect()
}

/// The errors of either vocabulary.
fn injections() -> Vec<&'static str> {
    let mut names: Vec<&str> = Injection::ALL.iter().map(|i| i.name()).collect();
    for injection in EtcdInjection::ALL {
        if !names.contains(&injection.name()) {
            names.push(injection.name());
        }
    }
    names
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        Ok(_) => Err("must lie between 0 and 1".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Writes the history that the flags describe.
///
/// # Errors
/// For a person.
pub(super) fn run(flags: &GenerateFlags) -> Result<ExitStatus, String> {
    let form = flags
        .to
        .unwrap_or_else(|| WrittenForm::of_output(&flags.output));
    let target = form
        .target()
        .ok_or("events are generated, not pictures: see `history convert`")?;
    let kind = ObjectKind::from_name(&flags.model);
    if flags.values.is_some() {
        if !kind.is_some_and(ObjectKind::has_values) {
            return Err(format!("the model {} does not choose values", flags.model));
        }
        // Whoever reads what was written before may read what is written again.
        if flags
            .inject
            .as_deref()
            .is_some_and(|name| name != Injection::PhantomRead.name())
        {
            return Err(
                "of values that are written again only phantom-read is an error".to_owned(),
            );
        }
    }
    match kind {
        Some(kind) => generate_objects(flags, kind, target),
        None => generate_etcd(flags, target),
    }
}

fn generate_objects(
    flags: &GenerateFlags,
    kind: ObjectKind,
    target: Target,
) -> Result<ExitStatus, String> {
    let injection = match &flags.inject {
        None => None,
        Some(name) => Some(
            Injection::from_name(name)
                .filter(|injection| injection.fits(kind))
                .ok_or_else(|| format!("the model {} cannot show {name}", flags.model))?,
        ),
    };
    let mut history = ObjectHistory::new(ObjectWorkload {
        seed: flags.seed,
        kind,
        operations: flags.ops,
        clients: flags.clients as usize,
        keys: flags.keys,
        distribution: Distribution::from_name(&flags.dist).expect("the flag's values are names"),
        reads: flags.reads,
        unknown: flags.unknown,
        values: flags.values,
        injection,
    });
    let sink = super::create(&flags.output)?;
    let events = write(history.by_ref(), target, sink)
        .map_err(|error| format!("{}: {error}", flags.output.display()))?;
    if injection.is_some() && !history.has_injected() {
        return Err(no_place(flags));
    }
    told(flags, events);
    Ok(ExitStatus::Ok)
}

fn no_place(flags: &GenerateFlags) -> String {
    format!(
        "this history has no place for {}: it needs more operations, fewer keys or another seed",
        flags.inject.as_deref().unwrap_or_default()
    )
}

fn told(flags: &GenerateFlags, events: u64) {
    eprintln!(
        "{} operations, {} events",
        grouped(flags.ops),
        grouped(events)
    );
}

fn generate_etcd(flags: &GenerateFlags, target: Target) -> Result<ExitStatus, String> {
    let injection = match &flags.inject {
        None => None,
        Some(name) => Some(
            EtcdInjection::from_name(name)
                .ok_or_else(|| format!("the model etcd cannot show {name}"))?,
        ),
    };
    use EtcdInjection as E;
    let has_watches = matches!(
        injection,
        Some(E::DroppedWatchEvent | E::DuplicatedWatchEvent | E::ReorderedWatchEvents)
    );
    let writes = 1.0 - flags.reads;
    let history = EtcdHistory::new(EtcdWorkload {
        seed: flags.seed,
        operations: flags.ops,
        clients: flags.clients as usize,
        keys: flags.keys,
        distribution: Distribution::from_name(&flags.dist).expect("the flag's values are names"),
        gets: 80.0 * flags.reads,
        ranges: 20.0 * flags.reads,
        puts: 60.0 * writes,
        deletes: 10.0 * writes,
        txns: 30.0 * writes,
        leases: match injection {
            Some(E::EarlyExpiry) => 5.0,
            _ => 0.0,
        },
        unknown: flags.unknown,
        watches: u64::from(has_watches),
        ..EtcdWorkload::default()
    });
    let history: Box<dyn Iterator<Item = EtcdEvent>> = match injection {
        None => Box::new(history),
        Some(injection) => {
            let events = with_error(history.collect(), injection, flags.seed)
                .ok_or_else(|| no_place(flags))?;
            Box::new(events.into_iter())
        }
    };
    let sink = super::create(&flags.output)?;
    let events = write(history, target, sink)
        .map_err(|error| format!("{}: {error}", flags.output.display()))?;
    told(flags, events);
    Ok(ExitStatus::Ok)
}

/// The history with the error at a place where it shows. A lost write that nobody reads
/// again is no violation, so the checker is asked.
fn with_error(
    events: Vec<EtcdEvent>,
    injection: EtcdInjection,
    seed: u64,
) -> Option<Vec<EtcdEvent>> {
    (0..INJECTION_ATTEMPTS_MAX).find_map(|attempt| {
        let mut changed = events.clone();
        let mut random = Random::new(seed.wrapping_mul(INJECTION_ATTEMPTS_MAX) + attempt);
        let is_shown = inject(&mut changed, injection, &mut random) && is_wrong(&changed);
        is_shown.then_some(changed)
    })
}

fn is_wrong(events: &[EtcdEvent]) -> bool {
    let mut checker = EtcdChecker::new(EtcdOptions::default());
    for event in events {
        match checker.observe(event) {
            Ok(()) => {}
            Err(Rejection::Violation(_)) => return true,
            Err(Rejection::Malformed(_)) => return false,
        }
    }
    matches!(checker.finish(), Verdict::Violation(_))
}
