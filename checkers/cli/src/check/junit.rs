//! Verdicts as JUnit's XML, one test case a file.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use veridical_checkers::Verdict;

use super::outcome::Outcome;

/// The name of the report and of its only suite.
const SUITE: &str = "veridical check";

/// Writes the document for all files.
///
/// # Errors
/// For a person: the file cannot be written.
pub(super) fn write(outcomes: &[Outcome], path: &Path) -> Result<(), String> {
    let mut sink = BufWriter::new(File::create(path).map_err(|error| error.to_string())?);
    let report = report(outcomes);
    report
        .serialize(&mut sink)
        .map_err(|error| error.to_string())?;
    sink.flush().map_err(|error| error.to_string())
}

fn report(outcomes: &[Outcome]) -> Report {
    let mut suite = TestSuite::new(SUITE);
    suite.add_test_cases(outcomes.iter().map(case));
    suite.set_time(outcomes.iter().map(duration).sum());
    let mut report = Report::new(SUITE);
    report.add_test_suite(suite);
    report
}

fn case(outcome: &Outcome) -> TestCase {
    let mut case = TestCase::new(outcome.name.as_str(), status(outcome));
    let model = outcome.result.as_ref().map(|report| report.model.as_str());
    case.set_classname(model.unwrap_or("unknown"));
    case.set_time(duration(outcome));
    case
}

fn duration(outcome: &Outcome) -> Duration {
    let report = outcome.result.as_ref();
    report.map_or(Duration::ZERO, |report| {
        Duration::from_millis(report.elapsed_ms)
    })
}

fn status(outcome: &Outcome) -> TestCaseStatus {
    use NonSuccessKind::{Error, Failure};
    let report = match &outcome.result {
        Ok(report) => report,
        Err(failure) => return non_success(Error, "no verdict", failure.to_string()),
    };
    match &report.verdict {
        Verdict::Violation(violation) => non_success(Failure, "violation", violation.to_string()),
        Verdict::Unknown(undecided) => non_success(Error, "unknown", undecided.to_string()),
        Verdict::Ok if outcome.is_cut_short() => {
            non_success(Error, "unknown", "interrupted before the end".to_owned())
        }
        Verdict::Ok if outcome.bad_line_count() > 0 => non_success(
            Error,
            "lines that are no events",
            outcome.bad_lines().join("\n"),
        ),
        Verdict::Ok => TestCaseStatus::success(),
    }
}

fn non_success(kind: NonSuccessKind, message: &'static str, text: String) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    status.set_message(message);
    status.set_description(text);
    status
}
