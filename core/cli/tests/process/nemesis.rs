//! `veridical bench --nemesis`: faults that need more than signals.
//!
//! What the machine does not allow is skipped by the benchmark, with its reason; a test prints
//! that, and asserts of the rest that it came and did no harm.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::benchmark::{bench, is_empty, report, said, scratch};
use crate::packages;

/// Few clients: of each request that a fault cuts off nobody knows what became of it.
const VERIFIED: &[&str] = &[
    "--local-cluster=3",
    "--verify",
    "--json",
    "--clients=4",
    "--keys=30",
    "--workload=mixed",
];

/// What the benchmark says when it can do nothing of what it was asked for.
const NOTHING: &str = "--nemesis: nothing of it can be done on this machine";

/// Runs it to its end, and prints what was skipped. `None` if that was everything.
fn run(command: &mut Command) -> Option<Output> {
    let output = command.output().expect("it runs");
    let said = said(&output);
    for line in said.lines().filter(|line| line.contains(" is skipped: ")) {
        eprintln!("skipped: {line}");
    }
    if output.status.code() == Some(2) && said.contains(NOTHING) {
        return None;
    }
    Some(output)
}

/// Asserts that each fault came that was not skipped, that the member served again, and that
/// nobody was lied to.
fn assert_true_under(faults: &[&str], output: &Output) {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report = report(output);
    assert_eq!(report["verdict"], "ok", "{report}");
    let cluster = &report["local_cluster"];
    let none = Vec::new();
    let skipped = cluster["skipped"].as_array().unwrap_or(&none);
    for fault in faults {
        let is_skipped = skipped.iter().any(|skipped| skipped["fault"] == *fault);
        let count = cluster["faults"][fault].as_u64();
        assert!(is_skipped || count > Some(0), "{fault}: {report}");
    }
    for fault in cluster["fault_log"].as_array().expect("there were some") {
        assert!(fault["caught_up_after_ms"].is_u64(), "{fault}");
    }
    println!("{}", cluster["faults"]);
}

const FAULTS: &[&str] = &["partition", "disk-full", "power-loss", "clock"];

const ALL_OF_THEM: &[&str] = &["--nemesis=partition,disk,clock", "--duration=20s"];

#[test]
fn members_that_are_cut_off_lose_their_power_their_room_and_their_time_tell_the_truth() {
    let scratch = scratch();
    if let Some(output) = run(bench(&scratch, VERIFIED).args(ALL_OF_THEM)) {
        assert_true_under(FAULTS, &output);
    }
    assert!(is_empty(&scratch), "the folder of the members is removed");
}

#[test]
fn members_of_etcd_tell_the_truth_under_the_same_faults() {
    let Some(etcd) = packages::program("etcd", "etcd-server") else {
        return;
    };
    let folder = etcd.parent().expect("a program is in a folder").to_owned();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::iter::once(folder)
        .chain(std::env::split_paths(&path))
        .collect();
    let path = std::env::join_paths(folders).expect("each was one");
    let scratch = scratch();
    let mut command = bench(&scratch, VERIFIED);
    command.args(ALL_OF_THEM).arg("--program=etcd");
    if let Some(output) = run(command.env("PATH", path)) {
        assert_true_under(FAULTS, &output);
    }
    assert!(is_empty(&scratch), "the folder of the members is removed");
}

/// An acknowledged write that no disk has is lost with the power. Either the members themselves
/// find that, when one of them comes back with less than it had acknowledged or knows more to be
/// committed than a majority, or the checker does, when all have lost the same. The test of the
/// same faults above shows that a store without the bug is not accused.
#[cfg(feature = "planted-bugs")]
#[test]
fn acknowledging_before_synchronising_is_found_out_when_the_power_is_lost() {
    const ATTEMPTS: u64 = 8;
    const FORGOTTEN: &str = "has lost what the member had acknowledged";
    const CONTRADICTED: &str = "the members contradict each other";
    // Many clients: an acknowledged write waits for its disk at any time.
    let flags = [
        "--local-cluster=3",
        "--verify",
        "--clients=16",
        "--keys=30",
        "--workload=mixed",
        "--nemesis=power-loss",
        "--duration=30s",
    ];
    for seed in 1..=ATTEMPTS {
        let scratch = scratch();
        let mut command = bench(&scratch, &flags);
        command
            .arg(format!("--seed={seed}"))
            .env("VERIDICAL_PLANTED", "ack-before-fsync");
        let Some(output) = run(&mut command) else {
            return;
        };
        let said = said(&output);
        let found = match output.status.code() {
            Some(0 | 3) => continue,
            Some(1) => "did not tell the truth",
            Some(5) if said.contains(FORGOTTEN) => FORGOTTEN,
            Some(5) => CONTRADICTED,
            other => panic!("{other:?}: {output:?}"),
        };
        assert!(said.contains(found), "{output:?}");
        println!("seed {seed}: {found}");
        return;
    }
    panic!("{ATTEMPTS} runs did not find it");
}

#[test]
fn what_cannot_be_had_is_skipped_aloud_and_nothing_at_all_is_an_error() {
    let scratch = scratch();
    let without_programs = |nemesis: &str| {
        let mut command = bench(&scratch, VERIFIED);
        command
            .args(["--duration=1s", nemesis])
            .env("PATH", scratch.path());
        command.output().expect("it runs")
    };
    let reason = "there is no unshare in the PATH (Debian: package util-linux)";
    let output = without_programs("--nemesis=partition,pause");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let line = format!("nemesis: partition is skipped: {reason}");
    assert!(said(&output).contains(&line), "{output:?}");
    let skipped = &report(&output)["local_cluster"]["skipped"];
    assert_eq!(skipped[0]["fault"], "partition");
    assert_eq!(skipped[0]["reason"], reason);

    let output = without_programs("--nemesis=partition,disk");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(said(&output).contains(NOTHING), "{output:?}");
}

/// Else it would change the network of the machine.
#[test]
fn nobody_believes_to_be_in_namespaces_of_his_own_by_an_environment_variable() {
    let name = |kind: &str| {
        let link = std::fs::read_link(Path::new("/proc/self/ns").join(kind));
        link.expect("Linux has it").to_string_lossy().into_owned()
    };
    let here = format!("{} {}", name("mnt"), name("net"));
    let scratch = scratch();
    let output = bench(&scratch, VERIFIED)
        .args(["--nemesis=partition", "--duration=1s"])
        .env("VERIDICAL_BENCH_OUTSIDE", here)
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let reason = "VERIDICAL_BENCH_OUTSIDE is set outside";
    assert!(said(&output).contains(reason), "{output:?}");
}
