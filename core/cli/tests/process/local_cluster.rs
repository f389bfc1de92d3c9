//! `veridical bench --local-cluster`: members that the benchmark starts, disturbs and removes.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::benchmark::{self, is_empty, report, said, scratch};
use crate::member::{READY_TIMEOUT, program};
use crate::packages;

/// Few clients: of each request that a fault cuts off nobody knows what became of it.
const VERIFIED: &[&str] = &[
    "--verify",
    "--json",
    "--clients=5",
    "--keys=30",
    "--workload=mixed",
];

/// A benchmark of three members, whose folders are made in `scratch`.
fn bench(scratch: &TempDir, flags: &[&str]) -> Command {
    let mut command = benchmark::bench(scratch, flags);
    command.arg("--local-cluster=3");
    command
}

fn spawn(mut command: Command) -> Child {
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs")
}

fn signal(signal: &str, process_id: u32) {
    let sent = Command::new("kill")
        .args([format!("-{signal}"), process_id.to_string()])
        .status();
    assert!(sent.expect("kill runs").success());
}

/// The processes that a process has started, in the order of their starts.
fn children_of(process_id: u32) -> Vec<u32> {
    let mut children = Vec::new();
    let tasks = std::fs::read_dir(format!("/proc/{process_id}/task")).expect("it runs");
    for task in tasks.filter_map(Result::ok) {
        // A thread may end meanwhile.
        let text = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        children.extend(
            text.split_whitespace()
                .filter_map(|id| id.parse::<u32>().ok()),
        );
    }
    children.sort_unstable();
    children
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + READY_TIMEOUT;
    while !is_so() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Starts a benchmark that goes on until it is told to end, and waits until its clients work.
fn running(scratch: &TempDir, flags: &[&str]) -> (Child, Vec<u32>) {
    let history = scratch.path().join("history.jsonl");
    let mut command = bench(scratch, flags);
    command.arg(format!("--history={}", history.display()));
    let running = spawn(command);
    wait_until("a history", || {
        history.metadata().is_ok_and(|history| history.len() > 0)
    });
    let members = children_of(running.id());
    std::fs::remove_file(history).expect("it is there");
    (running, members)
}

/// Asserts that the members are told of, were disturbed, and told the truth.
fn assert_true_under_faults(output: &Output, program: &str) -> serde_json::Value {
    assert_eq!(output.status.code(), Some(0), "{program}: {output:?}");
    let report = report(output);
    let cluster = &report["local_cluster"];
    assert_eq!(report["verdict"], "ok", "{report}");
    assert!(report["operations"].as_u64() > Some(0), "{report}");
    assert_eq!(cluster["program"], program, "{report}");
    let faults = cluster["fault_log"].as_array().expect("there were some");
    assert!(!faults.is_empty(), "{report}");
    for fault in faults {
        assert!(fault["caught_up_after_ms"].is_u64(), "{fault}");
    }
    let members = cluster["members"].as_array().expect("there are some");
    assert_eq!(members.len(), 3, "{report}");
    for member in members {
        assert!(member["cpu_seconds"].as_f64() > Some(0.0), "{member}");
        assert!(
            member["peak_resident_bytes"].as_u64() > Some(1 << 20),
            "{member}"
        );
    }
    report
}

#[test]
fn members_that_are_killed_paused_and_restarted_tell_the_truth_by_both_protocols() {
    for protocol in ["grpc", "native"] {
        let scratch = scratch();
        let output = bench(&scratch, VERIFIED)
            .args(["--nemesis=kill,pause,restart", "--duration=6s"])
            .arg(format!("--protocol={protocol}"))
            .output()
            .expect("it runs");
        let report = assert_true_under_faults(&output, "veridical");
        println!("{protocol}: {}", report["local_cluster"]["faults"]);
        assert!(is_empty(&scratch), "the folder of the members is removed");
    }
}

#[test]
fn members_of_etcd_that_are_killed_paused_and_restarted_tell_the_truth() {
    let Some(etcd) = packages::program("etcd", "etcd-server") else {
        return;
    };
    let scratch = scratch();
    let folder = etcd.parent().expect("a program is in a folder");
    let output = bench(&scratch, VERIFIED)
        .args([
            "--program=etcd",
            "--nemesis=kill,pause,restart",
            "--duration=6s",
        ])
        .env("PATH", folder)
        .output()
        .expect("it runs");
    let report = assert_true_under_faults(&output, "etcd");
    println!("{}", report["local_cluster"]["faults"]);
    assert!(is_empty(&scratch), "the folder of the members is removed");
}

/// SIGKILL leaves what is in the page cache, so a bug like `ack-before-fsync` cannot show here
/// (`nemesis.rs` finds it). One that answers from a state that is too old, or changes it twice, does.
#[cfg(feature = "planted-bugs")]
#[test]
fn members_with_a_planted_bug_are_found_out_and_that_ends_the_benchmark() {
    const LONGEST: Duration = Duration::from_secs(60);
    for bug in ["read-before-applied", "double-apply"] {
        let scratch = scratch();
        let started = Instant::now();
        let output = bench(&scratch, VERIFIED)
            .arg("--nemesis=kill,pause,restart")
            .arg(format!("--duration={}s", LONGEST.as_secs()))
            .env("VERIDICAL_PLANTED", bug)
            .output()
            .expect("it runs");
        assert_eq!(output.status.code(), Some(1), "{bug}: {output:?}");
        assert!(said(&output).contains("did not tell the truth"), "{bug}");
        assert!(started.elapsed() < LONGEST, "{bug}: it goes on for nothing");
    }
}

#[test]
fn an_interrupt_prints_what_was_measured_and_leaves_nothing_behind() {
    for kind in ["INT", "TERM"] {
        let scratch = scratch();
        let flags = ["--json", "--duration=60s", "--nemesis=pause,kill"];
        let (running, members) = running(&scratch, &flags);
        assert_eq!(members.len(), 3);
        std::thread::sleep(Duration::from_millis(1_500));
        signal(kind, running.id());
        let output = running.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let report = report(&output);
        assert_eq!(report["interrupted"], true);
        assert!(report["operations"].as_u64() > Some(0), "{report}");
        for member in members {
            let process = format!("/proc/{member}");
            assert!(!Path::new(&process).exists(), "{member} runs on");
        }
        assert!(is_empty(&scratch), "the folder of the members is removed");
    }
}

#[test]
fn a_member_that_ends_by_itself_is_named_with_the_end_of_its_log() {
    let scratch = scratch();
    let (running, members) = running(&scratch, &["--duration=60s", "--clients=4"]);
    signal("KILL", members[1]);
    let output = running.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    let said = said(&output);
    assert!(
        said.contains("member m1 ended by itself (signal: 9"),
        "{said}"
    );
    assert!(said.contains("the last lines of its log:\n"), "{said}");
    assert!(said.contains("INFO"), "{said}");
    assert!(is_empty(&scratch), "the folder of the members is removed");
}

#[test]
fn what_cannot_be_measured_is_refused_with_its_reason() {
    for (flags, expected) in [
        (&["--program=etcd"][..], "there is no etcd in the PATH"),
        (
            &["--program=etcd", "--protocol=native"],
            "etcd does not speak it",
        ),
        (&["--endpoints=127.0.0.1:1"], "cannot be used with"),
    ] {
        let scratch = scratch();
        let output = bench(&scratch, flags)
            .env("PATH", scratch.path())
            .output()
            .expect("it runs");
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(said(&output).contains(expected), "{output:?}");
    }
    let output = program()
        .args(["bench", "--local-cluster=2", "--nemesis=kill"])
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(said(&output).contains("it takes at least 3"), "{output:?}");
}
