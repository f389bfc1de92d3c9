//! `veridical bench` with `--rate`, `--scale` and `--html`: loads that are fixed, and points that
//! are compared.

use crate::benchmark::{bench, report, said, scratch};

#[test]
fn an_open_loop_accounts_for_every_operation_that_was_due() {
    for batch in ["1", "5"] {
        let scratch = scratch();
        let output = bench(
            &scratch,
            &[
                "--local-cluster=1",
                "--rate=500",
                "--duration=1s",
                "--clients=10",
                "--json",
                "--verify",
                "--batch",
                batch,
            ],
        )
        .output()
        .expect("it runs");
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let report = report(&output);
        let number = |name: &str| report[name].as_u64().expect("a number");
        assert_eq!(report["verdict"], "ok", "{report}");
        assert_eq!(number("rate_asked"), 500, "{report}");
        // However slow the machine is: what was due was begun, or is told not to have been.
        let due = number("operations") + number("errors") + number("not_begun");
        assert_eq!(due, 500, "{report}");
        assert!(number("begun_late") <= number("operations") + number("errors"));
        assert_eq!(said(&output), "", "standard error is no terminal");
    }
}

#[test]
fn a_rate_of_nothing_is_refused() {
    let scratch = scratch();
    let output = bench(&scratch, &["--rate=0"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(said(&output).contains("must be above 0"), "{output:?}");
}

#[test]
fn every_number_of_clients_is_a_point_of_the_same_members_and_of_the_page() {
    let (scratch, results) = (scratch(), scratch());
    let page = results.path().join("page.html");
    let output = bench(
        &scratch,
        &[
            "--local-cluster=1",
            "--scale=clients=1,4",
            "--duration=1s",
            "--workload=mixed",
            "--keys=100",
            "--json",
        ],
    )
    .arg(format!("--html={}", page.display()))
    .output()
    .expect("it runs");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report = report(&output);
    let points = report["points"].as_array().expect("points");
    let clients: Vec<_> = points
        .iter()
        .map(|point| point["clients"].as_u64())
        .collect();
    assert_eq!(clients, [Some(1), Some(4)]);
    for point in points {
        assert!(point["operations"].as_u64() > Some(0), "{point}");
        assert_eq!(point["local_cluster"]["program"], "veridical", "{point}");
        assert!(
            point["clients_cpu_us_per_operation"].as_f64() > Some(0.0),
            "{point}"
        );
    }
    let mut left = std::fs::read_dir(scratch.path()).expect("the folder is there");
    assert!(
        left.next().is_none(),
        "the folder of the members is removed"
    );

    let page = std::fs::read_to_string(page).expect("it was written");
    assert!(page.starts_with("<!doctype html>"), "{page}");
    assert_eq!(page.matches("<figure>").count(), 4, "{page}");
    assert!(page.contains("1 member of veridical"), "{page}");
    for outside in ["<script", "http:", "https:", "@import", "url("] {
        assert!(!page.contains(outside), "{outside}: {page}");
    }
}

#[test]
fn each_point_is_checked_from_an_empty_store() {
    let scratch = scratch();
    let flags = [
        "--local-cluster=1",
        "--verify",
        "--scale=clients=1..2",
        "--duration=1s",
        "--workload=mixed",
        "--keys=50",
    ];
    let output = bench(&scratch, &flags).output().expect("it runs");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.ends_with("verdict: ok\n"), "{text}");
    assert_eq!(text.matches("\nveridical ").count(), 2, "{text}");
}

#[test]
fn points_that_cannot_be_measured_are_refused_before_anything_is() {
    let missing = ["--local-cluster=1", "--html=/nowhere/page.html"];
    for (flags, expected) in [
        (&["--scale=clients=1,8", "--verify"][..], "--local-cluster"),
        (&["--scale=1,8"], "expected clients="),
        (&["--scale=clients=1", "--clients=5"], "cannot be used with"),
        (
            &["--local-cluster=1", "--program=veridical,etcd"],
            "there is no etcd in the PATH",
        ),
        (&missing, "/nowhere/page.html"),
    ] {
        let scratch = scratch();
        let output = bench(&scratch, flags)
            .env("PATH", scratch.path())
            .output()
            .expect("it runs");
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(said(&output).contains(expected), "{output:?}");
        assert_eq!(output.stdout, b"", "{output:?}");
    }
}

#[test]
fn a_failure_leaves_no_empty_page_and_keeps_an_earlier_one() {
    let (scratch, results) = (scratch(), scratch());
    let page = results.path().join("page.html");
    let fail = || {
        let output = bench(&scratch, &["--local-cluster=1", "--program=etcd"])
            .arg(format!("--html={}", page.display()))
            .env("PATH", scratch.path())
            .output()
            .expect("it runs");
        assert_eq!(output.status.code(), Some(2), "{output:?}");
    };
    fail();
    assert!(!page.exists());
    std::fs::write(&page, "earlier").expect("it can be written");
    fail();
    let kept = std::fs::read_to_string(&page).expect("it is there");
    assert_eq!(kept, "earlier");
}
