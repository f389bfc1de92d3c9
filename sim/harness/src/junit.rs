//! Reports in the form that CI systems read (JUnit XML).

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use std::time::Duration;

use crate::report::{Class, RunReport};

/// The XML of a campaign: a test case for each seed. `scenario` names the test suite.
pub fn render(scenario: &str, reports: &[RunReport]) -> String {
    let mut suite = TestSuite::new(scenario);
    suite.add_test_cases(reports.iter().map(test_case));
    let mut junit = Report::new("veridical-sim");
    junit.add_test_suite(suite);
    junit
        .to_string()
        .expect("a report in memory can be written")
}

fn test_case(report: &RunReport) -> TestCase {
    let status = match &report.finding {
        None if report.verdict == Class::Ok => TestCaseStatus::success(),
        None => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_type(report.verdict.word());
            status
        }
        Some(finding) => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_type(finding.class.word());
            status.set_message(finding.signature.as_str());
            status.set_description(format!("{}\n{}", report.reproduce, finding.text));
            status
        }
    };
    let mut case = TestCase::new(format!("seed {}", report.seed), status);
    case.set_classname(report.scenario.as_str());
    case.set_time(Duration::from_secs_f64(report.wall_ms.max(0.0) / 1_000.0));
    case
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Finding;

    #[test]
    fn a_failure_is_written_with_its_markup_escaped_and_without_what_xml_forbids() {
        let finding = Finding::new(Class::Violation, "stale", "a < b & c\u{1}");
        let xml = render("swarm", &[RunReport::of_seed(3, finding)]);
        assert!(
            xml.contains("failures=\"1\"") && xml.contains("a &lt; b &amp; c"),
            "{xml}"
        );
        assert!(!xml.contains('\u{1}'));
        assert!(
            xml.contains("cargo sim run --scenario swarm --seed 3"),
            "{xml}"
        );
    }
}
