//! Reports in the form that CI systems read (JUnit XML).

use std::fmt::Write as _;

use crate::report::{Class, RunReport};

/// The XML of a campaign: a test case for each seed.
pub fn render(reports: &[RunReport]) -> String {
    let failures = reports
        .iter()
        .filter(|report| report.verdict != Class::Ok)
        .count();
    let seconds: f64 = reports.iter().map(|report| report.wall_ms / 1_000.0).sum();
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        text,
        "<testsuite name=\"veridical-sim\" tests=\"{}\" failures=\"{failures}\" time=\"{seconds:.3}\">",
        reports.len()
    );
    for report in reports {
        let _ = write!(
            text,
            "  <testcase classname=\"{}\" name=\"seed {}\" time=\"{:.3}\"",
            escape(&report.scenario),
            report.seed,
            report.wall_ms / 1_000.0
        );
        match &report.finding {
            None => text.push_str("/>\n"),
            Some(finding) => {
                let _ = writeln!(
                    text,
                    ">\n    <failure type=\"{}\" message=\"{}\">{}\n{}</failure>\n  </testcase>",
                    finding.class,
                    escape(&finding.signature),
                    escape(&report.reproduce),
                    escape(&finding.text)
                );
            }
        }
    }
    text.push_str("</testsuite>\n");
    text
}

fn escape(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            '&' => "&amp;".to_owned(),
            '<' => "&lt;".to_owned(),
            '>' => "&gt;".to_owned(),
            '"' => "&quot;".to_owned(),
            // Not allowed in XML 1.0 at all.
            control if control.is_control() && control != '\n' => "\u{fffd}".to_owned(),
            other => other.to_string(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Finding;

    #[test]
    fn a_failure_is_written_with_its_markup_escaped() {
        let finding = Finding::new(Class::Violation, "stale", "a < b & c");
        let xml = render(&[RunReport::without_result(3, "swarm", None, finding)]);
        assert!(xml.contains("failures=\"1\"") && xml.contains("a &lt; b &amp; c"));
        assert!(xml.contains("cargo sim run --scenario swarm --seed 3"));
    }
}
