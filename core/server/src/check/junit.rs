//! Verdicts as JUnit's XML, one test case a file.

use std::fmt::Write as _;

use veridical_checkers::Verdict;

use super::outcome::Outcome;

/// The document for all files.
pub(super) fn document(outcomes: &[Outcome]) -> String {
    let cases: Vec<Case> = outcomes.iter().map(Case::of).collect();
    let count = |kind| cases.iter().filter(|case| case.kind == kind).count();
    let seconds: f64 = cases.iter().map(|case| case.seconds).sum();
    let mut document = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n  \
         <testsuite name=\"veridical check\" tests=\"{}\" failures=\"{}\" errors=\"{}\" \
         time=\"{seconds:.3}\">\n",
        cases.len(),
        count(Kind::Failure),
        count(Kind::Error)
    );
    for case in &cases {
        let body = match case.kind {
            Kind::Passed => String::new(),
            Kind::Failure => element("failure", case),
            Kind::Error => element("error", case),
        };
        writeln!(
            document,
            "    <testcase name=\"{}\" classname=\"{}\" time=\"{:.3}\">{body}</testcase>",
            escaped(&case.name),
            escaped(&case.model),
            case.seconds
        )
        .expect("writing to a String does not fail");
    }
    document.push_str("  </testsuite>\n</testsuites>\n");
    document
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Passed,
    Failure,
    Error,
}

struct Case {
    name: String,
    model: String,
    seconds: f64,
    kind: Kind,
    message: &'static str,
    text: String,
}

impl Case {
    fn of(outcome: &Outcome) -> Self {
        let case = |kind, message, text| Self {
            name: outcome.name.clone(),
            model: "unknown".to_owned(),
            seconds: 0.0,
            kind,
            message,
            text,
        };
        let error = |message, text| case(Kind::Error, message, text);
        let report = match &outcome.result {
            Ok(report) => report,
            Err(failure) => return error("no verdict", failure.to_string()),
        };
        let mut case = match &report.verdict {
            Verdict::Violation(violation) => {
                case(Kind::Failure, "violation", violation.to_string())
            }
            Verdict::Unknown(undecided) => error("unknown", undecided.to_string()),
            Verdict::Ok if outcome.is_cut_short() => {
                error("unknown", "interrupted before the end".to_owned())
            }
            Verdict::Ok if outcome.bad_line_count() > 0 => {
                error("lines that are no events", outcome.bad_lines().join("\n"))
            }
            Verdict::Ok => case(Kind::Passed, "", String::new()),
        };
        case.model.clone_from(&report.model);
        case.seconds = report.elapsed_ms as f64 / 1e3;
        case
    }
}

fn element(name: &str, case: &Case) -> String {
    format!(
        "<{name} message=\"{}\">{}</{name}>",
        escaped(case.message),
        escaped(&case.text)
    )
}

/// Text for XML: markup escaped, characters that XML cannot hold left out.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\n' | '\t' => escaped.push(character),
            other if other.is_control() => {}
            other => escaped.push(other),
        }
    }
    escaped
}
