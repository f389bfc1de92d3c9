//! `veridical bench` against real members.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::member::{Cluster, program};

fn bench(cluster: &Cluster, flags: &[&str]) -> Command {
    let mut command = program();
    command
        .arg("bench")
        .arg(format!("--endpoints={}", cluster.addresses().join(",")))
        .args(flags)
        .stdin(Stdio::null());
    command
}

fn report(output: &std::process::Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}: {output:?}");
    })
}

#[test]
fn every_workload_passes_the_checker_by_both_protocols() {
    for protocol in ["grpc", "native"] {
        for workload in [
            "put", "get", "mixed", "ycsb-a", "ycsb-b", "ycsb-c", "ycsb-d", "ycsb-e", "ycsb-f",
        ] {
            let cluster = Cluster::start(1, &[]);
            let output = bench(
                &cluster,
                &[
                    "--verify",
                    "--json",
                    "--duration=400ms",
                    "--clients=8",
                    "--keys=200",
                    &format!("--workload={workload}"),
                    &format!("--protocol={protocol}"),
                ],
            )
            .output()
            .expect("it runs");
            assert_eq!(output.status.code(), Some(0), "{workload}: {output:?}");
            let report = report(&output);
            assert_eq!(report["verdict"], "ok", "{workload}");
            assert_eq!(report["errors"], 0, "{workload}: {report}");
            assert!(
                report["operations"].as_u64() > Some(10),
                "{workload}: {report}"
            );
        }
    }
}

#[test]
fn kills_under_a_verified_load_show_no_violation() {
    for protocol in ["grpc", "native"] {
        let mut cluster = Cluster::start(3, &["--heartbeat-interval=50", "--election-timeout=500"]);
        let running = bench(
            &cluster,
            &[
                "--verify",
                "--json",
                "--duration=8s",
                // Few: of each request that a kill cuts off nobody knows what became of it.
                "--clients=5",
                "--keys=30",
                "--workload=mixed",
                &format!("--protocol={protocol}"),
            ],
        )
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
        for victim in 0..3 {
            std::thread::sleep(Duration::from_millis(1_500));
            cluster.members[victim].kill();
            std::thread::sleep(Duration::from_millis(400));
            cluster.members[victim].start();
        }
        let output = running.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(0), "{protocol}: {output:?}");
        let report = report(&output);
        assert_eq!(report["verdict"], "ok", "{report}");
        println!(
            "{protocol}: {} operations, {} errors",
            report["operations"], report["errors"]
        );
    }
}

const SHORT: [&str; 5] = [
    "--verify",
    "--duration=1s",
    "--clients=4",
    "--keys=50",
    "--workload=mixed",
];

#[test]
fn a_store_with_another_writer_is_not_vouched_for() {
    let cluster = Cluster::start(1, &[]);
    // Two verified loads on one store: each sees writes that nobody told it of.
    let first = bench(&cluster, &SHORT)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    let foreign = bench(&cluster, &["--duration=2s", "--clients=2", "--keys=50"])
        .output()
        .expect("it runs");
    assert_eq!(foreign.status.code(), Some(0), "{foreign:?}");
    let first = first.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&first.stderr);
    assert_eq!(first.status.code(), Some(1), "{said}");
    assert!(said.contains("did not tell the truth"), "{said}");
}

#[test]
fn a_store_with_keys_is_verified_from_what_it_holds() {
    let cluster = Cluster::start(1, &[]);
    // More keys than a page has, by every kind of step.
    for workload in ["txn", "ycsb-e", "metastore", "ycsb-f"] {
        let workload = format!("--workload={workload}");
        let flags = ["--verify", "--duration=500ms", "--clients=4", "--keys=2500"];
        let verified = bench(&cluster, &flags)
            .arg(&workload)
            .output()
            .expect("it runs");
        assert_eq!(verified.status.code(), Some(0), "{workload}: {verified:?}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let history = folder.path().join("history.jsonl");
    let recorded = bench(&cluster, &SHORT)
        .arg(format!("--history={}", history.display()))
        .output()
        .expect("it runs");
    assert_eq!(recorded.status.code(), Some(2), "{recorded:?}");
    let said = String::from_utf8_lossy(&recorded.stderr);
    assert!(said.contains("begins with a new store"), "{said}");
    assert!(!history.exists(), "nothing was recorded");
}

#[test]
fn an_interrupt_prints_what_was_measured() {
    let cluster = Cluster::start(1, &[]);
    let folder = tempfile::tempdir().expect("a folder");
    let history = folder.path().join("history.jsonl");
    let running = bench(
        &cluster,
        &["--json", "--duration=60s", "--clients=4", "--verify"],
    )
    .arg(format!("--history={}", history.display()))
    .stdout(Stdio::piped())
    .stderr(Stdio::piped())
    .spawn()
    .expect("it runs");
    std::thread::sleep(Duration::from_millis(1_000));
    let interrupted = Command::new("kill")
        .arg("-INT")
        .arg(running.id().to_string())
        .status()
        .expect("kill runs");
    assert!(interrupted.success());
    let output = running.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report = report(&output);
    assert_eq!(report["interrupted"], true);
    assert_eq!(report["verdict"], "ok");
    assert!(report["operations"].as_u64() > Some(0), "{report}");
    let lines = std::fs::read_to_string(&history)
        .expect("a history")
        .lines()
        .count();
    assert_eq!(report["history_events"].as_u64(), Some(lines as u64));
}

#[test]
fn nobody_there_is_a_usage_error() {
    let output = program()
        .args(["bench", "--endpoints=127.0.0.1:1", "--duration=1s"])
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot connect to 127.0.0.1:1"));
}
