//! A failure of a planted bug, kept, run again and made small, by the program itself.
#![cfg(madsim)]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the test runs on the host"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The bug whose failures are quickest to find.
const BUG: &str = "stale-read";

/// Seeds within which it is found.
const SEEDS: &str = "60";

fn simulator(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_veridical-sim"))
        .args(arguments)
        .output()
        .expect("the program starts")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn path(path: &Path) -> &str {
    path.to_str().expect("paths of tests are text")
}

/// A kept failure in a folder of this test's own.
fn failure(dir: &Path) -> PathBuf {
    let recalled = simulator(&["recall", "--bug", BUG, "--seeds", SEEDS, "--jobs", "1"]);
    let line = text(&recalled);
    let (_, seed) = line.split_once("--seed ").expect("the bug is found");
    let seed: String = seed.chars().take_while(char::is_ascii_digit).collect();
    simulator(&[
        "run",
        "--seed",
        &seed,
        "--planted",
        BUG,
        "--artefacts",
        path(dir),
    ]);
    dir.join(format!("swarm-{seed}-{BUG}"))
}

#[test]
fn a_kept_failure_is_the_same_run_again_and_is_gone_without_the_bug() {
    let dir = tempfile::tempdir().expect("a folder");
    let kept = failure(dir.path());
    for file in [
        "plan.json",
        "report.json",
        "decisions.jsonl",
        "history.jsonl",
        "trace.jsonl",
        "knobs.json",
        "version.json",
        "witness.txt",
        "logs/member-1.log",
    ] {
        assert!(kept.join(file).exists(), "{file}");
    }
    // Each log is of its own process: members start under their own names.
    for member in ["member-1", "member-2"] {
        let log = std::fs::read_to_string(kept.join(format!("logs/{member}.log"))).expect("read");
        let own = format!("address={member}");
        assert!(log.contains("recovered") && !log.contains(&own), "{log}");
        let seconds = |line: &str| line.split_whitespace().next()?.parse::<f64>().ok();
        let times: Vec<f64> = log.lines().filter_map(seconds).collect();
        assert!(times.len() > 1 && times.is_sorted(), "{log}");
    }
    let again = simulator(&["replay", path(&kept)]);
    assert!(text(&again).contains("event for event"), "{}", text(&again));
    assert_eq!(again.status.code(), Some(1));
    let gone = simulator(&[
        "replay",
        path(&kept),
        "--planted",
        "none",
        "--schedules",
        "3",
    ]);
    assert!(text(&gone).contains("it passes"), "{}", text(&gone));
    assert_eq!(gone.status.code(), Some(0));
}

#[test]
fn a_record_brings_back_decisions_that_the_seed_does_not() {
    let dir = tempfile::tempdir().expect("a folder");
    let kept = failure(dir.path());
    // Another seed stands for code whose draws have moved: the plan is the same, and
    // every decision that is not in the record is another one.
    let plan = kept.join("plan.json");
    let text_of_plan = std::fs::read_to_string(&plan).expect("read");
    let (before, rest) = text_of_plan
        .split_once("\"seed\": ")
        .expect("a plan has a seed");
    let (_, after) = rest.split_once(',').expect("and more");
    let schedule = kept_schedule(&kept);
    let moved = format!("{before}\"schedule_seed\": {schedule},\n  \"seed\": 987654321,{after}");
    std::fs::write(&plan, moved).expect("written");
    let by_record = simulator(&["replay", path(&kept), "--schedules", "1"]);
    assert!(
        text(&by_record).contains("event for event"),
        "{}",
        text(&by_record)
    );
    let by_seed = simulator(&["replay", path(&kept), "--schedules", "1", "--ignore-record"]);
    assert!(
        !text(&by_seed).contains("event for event"),
        "{}",
        text(&by_seed)
    );
}

/// The seed of the schedule under which a failure was kept.
fn kept_schedule(kept: &Path) -> u64 {
    let report = std::fs::read_to_string(kept.join("report.json")).expect("read");
    let (_, seed) = report
        .split_once("\"seed\": ")
        .expect("a report has a seed");
    let seed: String = seed.chars().take_while(char::is_ascii_digit).collect();
    let seed = seed.parse().expect("it is a number");
    veridical_world::stream_seed(seed, veridical_world::Stream::Schedule)
}

#[test]
fn a_failure_becomes_small_and_fails_in_the_same_way() {
    let dir = tempfile::tempdir().expect("a folder");
    let kept = failure(dir.path());
    let small = dir.path().join("small");
    let arguments = [
        "shrink",
        path(&kept),
        "--jobs",
        "1",
        "--time-limit",
        "60",
        "--out",
    ];
    let shrunk = simulator(&[&arguments[..], &[path(&small)]].concat());
    assert_eq!(shrunk.status.code(), Some(0), "{}", text(&shrunk));
    let operations = |line: &str| -> u64 {
        let said = text(&shrunk);
        let line = said
            .lines()
            .find(|said| said.starts_with(line))
            .expect("it says so");
        let number = line.split_whitespace().nth(1).expect("a number follows");
        number.parse().expect("it is one")
    };
    assert!(operations("before") > 500);
    assert!(operations("after") <= 10, "{}", text(&shrunk));
    let again = simulator(&["replay", path(&small)]);
    assert!(text(&again).contains("event for event"), "{}", text(&again));
    // The bugbase finds it again, and sees when it does not fail any more.
    let base = dir.path().join("base");
    let added = simulator(&["bugbase", path(&base), "--add", path(&small)]);
    assert_eq!(added.status.code(), Some(0), "{}", text(&added));
    let plan = base.join("small/plan.json");
    let unplanted = std::fs::read_to_string(&plan).expect("read").replace(
        &format!("\"planted\": \"{BUG}\""),
        "\"planted\": \"watch-gap\"",
    );
    std::fs::write(&plan, unplanted).expect("written");
    let bad = simulator(&["bugbase", path(&base)]);
    assert_eq!(bad.status.code(), Some(1), "{}", text(&bad));
}

#[test]
fn what_cannot_be_replayed_is_refused_with_its_name() {
    let dir = tempfile::tempdir().expect("a folder");
    let output = simulator(&["replay", path(dir.path())]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("plan.json"), "{}", text(&output));
}
