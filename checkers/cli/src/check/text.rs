//! A verdict for people.

use std::fmt::Write as _;

use veridical_checkers::check::Report;
use veridical_checkers::{Undecided, Verdict, Violation, abridged};

use super::outcome::Outcome;
use super::robustness::Robustness;

/// Operations of a witness that are shown; a longer one is cut.
const WITNESS_SHOWN_MAX: usize = 24;

/// What is printed of a file; the first line of a failure is the command that reproduces
/// it.
pub(super) fn shown(outcome: &Outcome, reproduce: &str) -> String {
    let Ok(report) = &outcome.result else {
        return format!("{}: unknown: not checked\n", outcome.name);
    };
    let mut text = String::new();
    let mut line = |args: std::fmt::Arguments<'_>| {
        text.write_fmt(args)
            .expect("writing to a String does not fail");
        text.push('\n');
    };
    if !report.verdict.is_ok() {
        line(format_args!("{reproduce}"));
    }
    let word = outcome.word().unwrap_or("not checked");
    let so_far = match outcome.was_interrupted || report.stopped_early {
        true => ", interrupted: of the part that was read",
        false => "",
    };
    line(format_args!("{}: {word}{so_far}", outcome.name));
    counts(report, &mut line);
    if let Some(because) = &report.model_because {
        line(format_args!(
            "  read as     {}, because {because}",
            report.model
        ));
    }
    for note in &report.notes {
        line(format_args!("  note        {note}"));
    }
    match &report.verdict {
        Verdict::Ok => {}
        Verdict::Violation(violation) => {
            let unit = match outcome.robustness {
                Some(Robustness::NoTimes) => "as places in the file",
                _ => "in ns",
            };
            witness(violation, unit, &mut line);
            if let Some(robustness) = &outcome.robustness {
                line(format_args!("  clocks      {robustness}"));
            }
        }
        Verdict::Unknown(undecided) => unknown(undecided, &mut line),
    }
    abridged(&text).into_owned()
}

type Line<'a> = &'a mut dyn FnMut(std::fmt::Arguments<'_>);

fn counts(report: &Report, line: Line<'_>) {
    let one_in = |count: u64, one: &str| {
        let plural = if count == 1 { "" } else { "s" };
        format!("{} {one}{plural}", grouped(count))
    };
    line(format_args!(
        "  history     {}, {} of unknown outcome, {}; model {}, format {}",
        one_in(report.operations, "operation"),
        grouped(report.unknown_outcomes),
        one_in(report.keys, "key"),
        report.model,
        report.format
    ));
    let engines = [
        ("A (frontier)", report.engine.frontier),
        ("B (zones)", report.engine.zones),
        ("C (revisions)", report.engine.revisions),
        ("D (collections)", report.engine.collections),
        ("E (graph)", report.engine.graph),
    ];
    let engines: Vec<String> = engines
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| format!("{name} {}", grouped(*count)))
        .collect();
    let engines = match engines.is_empty() {
        true => "none was needed".to_owned(),
        false => engines.join(", "),
    };
    line(format_args!(
        "  engines     {engines}; {} to A; largest frontier {}",
        one_in(report.handovers, "handover"),
        grouped(report.max_configurations)
    ));
    line(format_args!(
        "  speed       {} operations/s, {:.3} s; peak memory {}",
        grouped(report.operations_per_second as u64),
        report.elapsed_ms as f64 / 1e3,
        size(report.peak_memory_bytes)
    ));
}

fn witness(violation: &Violation, unit: &str, line: Line<'_>) {
    let key = match &violation.key {
        Some(key) => format!(", key {key}"),
        None => String::new(),
    };
    line(format_args!(
        "  violation   {} at event {}{key}",
        kind(violation),
        grouped(violation.event)
    ));
    line(format_args!("  expected    {}", violation.expected));
    line(format_args!("  got         {}", violation.got));
    line(format_args!("  witness     call and return {unit}"));
    let shown = violation.operations.iter().take(WITNESS_SHOWN_MAX);
    let rows: Vec<[String; 4]> = shown
        .map(|operation| {
            [
                operation
                    .op
                    .map_or_else(|| "-".to_owned(), |op| op.to_string()),
                format!("client {}", operation.client),
                format!(
                    "[{}, {}]",
                    operation.call_ns,
                    operation
                        .return_ns
                        .map_or_else(|| "never".to_owned(), |at| at.to_string())
                ),
                operation.text.clone(),
            ]
        })
        .collect();
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths = [width(0), width(1), width(2)];
    for [op, client, interval, text] in &rows {
        line(format_args!(
            "    {op:<0$}  {client:<1$}  {interval:<2$}  {text}",
            widths[0], widths[1], widths[2]
        ));
    }
    let more = violation.operations.len().saturating_sub(rows.len());
    if more > 0 {
        line(format_args!("    and {more} more operations"));
    }
}

fn unknown(undecided: &Undecided, line: Line<'_>) {
    let key = match &undecided.key {
        Some(key) => format!(", key {key}"),
        None => String::new(),
    };
    line(format_args!(
        "  unknown     {:?}, events {} to {}{key}: {}",
        undecided.cause,
        grouped(undecided.events.0),
        grouped(undecided.events.1),
        undecided.text
    ));
}

/// The kind's name in machine-readable reports.
fn kind(violation: &Violation) -> String {
    match serde_json::to_value(violation.kind) {
        Ok(serde_json::Value::String(name)) => name,
        _ => format!("{:?}", violation.kind),
    }
}

/// `1234567` as `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Bytes in the unit that suits them.
pub(super) fn size(bytes: u64) -> String {
    let mib = bytes as f64 / f64::from(1 << 20);
    match bytes {
        0..1_024 => format!("{bytes} B"),
        1_024..1_073_741_824 => format!("{mib:.1} MiB"),
        _ => format!("{:.2} GiB", mib / 1024.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(grouped(number), text);
        }
        assert_eq!(size(3 << 20), "3.0 MiB");
    }
}
