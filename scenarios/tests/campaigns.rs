//! Campaigns as processes: killed, in shards, merged.
#![cfg(madsim)]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the test runs on the host"
)]

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const SEEDS: &str = "1..25";

fn campaign(out: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_veridical-sim"));
    command
        .args([
            "campaign",
            "--seeds",
            SEEDS,
            "--jobs",
            "1",
            "--shrink-time",
            "0",
            "--out",
        ])
        .arg(out)
        .env_remove("SLURM_ARRAY_TASK_ID")
        .env_remove("JOB_COMPLETION_INDEX");
    command
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn digest(summary: &Path) -> String {
    let text = std::fs::read_to_string(summary.join("summary.json")).expect("a summary");
    let (_, rest) = text.split_once("\"digest\": \"").expect("with a digest");
    rest.chars().take_while(|c| *c != '"').collect()
}

/// Waits until the ledger has so many lines.
fn wait_for_seeds(ledger: &Path, count: usize) {
    let begun = Instant::now();
    let lines = || std::fs::read_to_string(ledger).map_or(0, |text| text.lines().count());
    while lines() < count {
        assert!(
            begun.elapsed() < Duration::from_secs(120),
            "no seeds are done"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_campaign_that_was_killed_goes_on_and_shards_come_to_the_same() {
    let dir = tempfile::tempdir().expect("a folder");
    let whole = dir.path().join("whole");
    let output = campaign(&whole).output().expect("it runs");
    assert!(text(&output).contains(" 0 missing"), "{}", text(&output));
    for file in ["summary.md", "junit.xml"] {
        assert!(whole.join(file).exists(), "{file}");
    }

    let killed = dir.path().join("killed");
    let mut child = campaign(&killed)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let ledger = killed.join("seeds.jsonl");
    wait_for_seeds(&ledger, 3);
    child.kill().expect("SIGKILL can be sent");
    child.wait().expect("it has ended");
    let mut torn = std::fs::read(&ledger).expect("read");
    torn.extend_from_slice(b"{\"seed\":99");
    std::fs::write(&ledger, torn).expect("written");
    let output = campaign(&killed).output().expect("it runs");
    assert!(
        text(&output).contains("were done before"),
        "{}",
        text(&output)
    );
    assert_eq!(digest(&killed), digest(&whole));

    let parts = dir.path().join("parts");
    let engines: [&[(&str, &str)]; 3] = [
        &[
            ("SLURM_ARRAY_TASK_ID", "1"),
            ("SLURM_ARRAY_TASK_MIN", "1"),
            ("SLURM_ARRAY_TASK_COUNT", "3"),
        ],
        &[("JOB_COMPLETION_INDEX", "1"), ("VERIDICAL_SHARDS", "3")],
        &[("JOB_COMPLETION_INDEX", "2"), ("VERIDICAL_SHARDS", "3")],
    ];
    let merged = dir.path().join("merged");
    let merge = || {
        let output = Command::new(env!("CARGO_BIN_EXE_veridical-sim"))
            .args(["campaign", "merge"])
            .arg(&parts)
            .arg("--out")
            .arg(&merged)
            .output();
        text(&output.expect("it runs"))
    };
    for (number, variables) in engines.into_iter().enumerate() {
        let output = campaign(&parts)
            .envs(variables.iter().copied())
            .output()
            .expect("it runs");
        assert!(text(&output).contains(" 0 missing"), "{}", text(&output));
        assert_eq!(merge().contains(" 0 missing"), number == 2);
    }
    assert_eq!(digest(&merged), digest(&whole));
}

#[test]
fn another_campaign_does_not_go_into_the_same_folder() {
    let dir = tempfile::tempdir().expect("a folder");
    let run = |planted: &[&str]| {
        campaign(dir.path())
            .args(["--time-limit", "0"])
            .args(planted)
            .output()
            .expect("it runs")
    };
    assert_eq!(run(&[]).status.code(), Some(0));
    let refused = run(&["--planted", "watch-gap"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused).contains("planted bug"), "{}", text(&refused));
}

#[test]
fn an_indexed_job_that_does_not_know_how_many_it_is_says_so() {
    let dir = tempfile::tempdir().expect("a folder");
    let output = campaign(dir.path())
        .env("JOB_COMPLETION_INDEX", "3")
        .env_remove("VERIDICAL_SHARDS")
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output).contains("VERIDICAL_SHARDS"),
        "{}",
        text(&output)
    );
}

#[test]
fn output_that_nobody_reads_ends_the_process_without_a_word() {
    for arguments in [&["list"][..], &["run", "--seed", "1", "--seeds", "1"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = Command::new(env!("CARGO_BIN_EXE_veridical-sim"))
            .args(arguments)
            .stdout(writer)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(141), "{arguments:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{arguments:?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn output_that_cannot_be_written_is_an_error_with_its_cause() {
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_veridical-sim"))
        .arg("list")
        .stdout(full)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.starts_with("cannot print: "), "{told}");
}
