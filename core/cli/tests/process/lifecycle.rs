//! Signals, exit statuses and data folders.

use std::fs;

use crate::member::{Cluster, Member, client, free_port, program, runtime, wait_until_ready};

const OK: Option<i32> = Some(0);
const USAGE: Option<i32> = Some(2);
const CRASH: Option<i32> = Some(5);

fn put(address: &str, key: &str, value: &str) {
    runtime().block_on(async {
        client(vec![address.to_owned()])
            .put(key, value, None)
            .await
            .expect("the put is acknowledged");
    });
}

fn get(address: &str, key: &str) -> Option<String> {
    runtime().block_on(async {
        let read = client(vec![address.to_owned()])
            .get(key, None)
            .await
            .expect("it is read");
        let kv = read.kvs.first()?;
        Some(String::from_utf8_lossy(&kv.value).into_owned())
    })
}

#[test]
fn sigterm_and_sigint_end_with_status_0_and_a_restart_has_everything() {
    let mut cluster = Cluster::start(1, &[]);
    let member = &mut cluster.members[0];
    for (round, signal) in ["TERM", "INT"].into_iter().enumerate() {
        put(&member.client_address(), &format!("k{round}"), "v");
        assert_eq!(member.end(signal).code(), OK);
        member.start();
        wait_until_ready(member);
        for earlier in 0..=round {
            assert_eq!(
                get(&member.client_address(), &format!("k{earlier}")).as_deref(),
                Some("v")
            );
        }
    }
}

#[test]
fn a_restart_depends_on_the_folder_and_not_on_the_flags() {
    let mut cluster = Cluster::start(1, &[]);
    let member = &mut cluster.members[0];
    put(&member.client_address(), "k", "v");
    assert_eq!(member.end("TERM").code(), OK);
    let mut restarted = cluster
        .members
        .remove(0)
        .with_flags(&["--initial-cluster-token=other"]);
    restarted.start();
    wait_until_ready(&restarted);
    assert_eq!(get(&restarted.client_address(), "k").as_deref(), Some("v"));
}

/// Runs the program until it ends by itself.
fn refusal(flags: &[&str]) -> (Option<i32>, String) {
    let output = program()
        .arg("serve")
        .args(flags)
        .output()
        .expect("the program runs");
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

#[test]
fn flags_that_cannot_be_used_end_with_status_2_and_say_why() {
    for (flags, reason) in [
        (&["--no-such-flag"][..], "--no-such-flag"),
        (
            &["--election-timeout=1"],
            "--election-timeout: 1 ms must be at least",
        ),
        (
            &["--listen-client-urls=nonsense"],
            "--listen-client-urls: 'nonsense' has no scheme",
        ),
        (&["--engine=rocksdb"], "--engine rocksdb"),
        (&["--heartbeat-interval=soon"], "--heartbeat-interval"),
    ] {
        let (code, said) = refusal(flags);
        assert_eq!(code, USAGE, "{said}");
        assert!(said.contains(reason), "{said}");
    }
}

#[test]
fn a_member_that_cannot_use_its_disk_says_what_the_system_said() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("wal"), "no folder").unwrap();
    let data_dir = format!("--data-dir={}", folder.path().display());
    let client_urls = format!("--listen-client-urls=http://127.0.0.1:{}", free_port());
    let peer_urls = format!("--listen-peer-urls=http://127.0.0.1:{}", free_port());
    let (code, said) = refusal(&[&data_dir, &client_urls, &peer_urls]);
    assert_eq!(code, CRASH, "{said}");
    let last = said.lines().last().unwrap();
    assert_eq!(last.matches("(os error ").count(), 1, "{said}");
}

#[test]
fn an_environment_variable_is_a_flag_that_the_command_line_overrides() {
    let output = program()
        .arg("serve")
        .env("VERIDICAL_ELECTION_TIMEOUT", "1")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), USAGE);
    let output = program()
        .args(["serve", "--election-timeout=1000", "--listen-client-urls=x"])
        .env("VERIDICAL_ELECTION_TIMEOUT", "1")
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("--listen-client-urls: 'x'"));
}

#[test]
fn a_folder_and_a_port_that_are_in_use_end_with_status_2_and_their_name() {
    let cluster = Cluster::start(1, &[]);
    let member = &cluster.members[0];
    let folder = format!("--data-dir={}", member.data_dir().display());
    let client_url = format!("--listen-client-urls=http://127.0.0.1:{}", free_port());
    let (code, said) = refusal(&[&folder, &client_url]);
    assert_eq!(code, USAGE, "{said}");
    assert!(said.contains("in use by another process"), "{said}");
    assert!(
        said.contains(&member.data_dir().display().to_string()),
        "{said}"
    );

    let other = tempfile::tempdir().unwrap();
    let folder = format!("--data-dir={}", other.path().join("data").display());
    let taken = format!("http://{}", member.client_address());
    let (code, said) = refusal(&[&folder, &format!("--listen-client-urls={taken}")]);
    assert_eq!(code, USAGE, "{said}");
    assert!(
        said.contains(&format!("cannot listen on {taken}")),
        "{said}"
    );

    // The peers' port is taken, the clients' is not.
    let (code, said) = refusal(&[
        &folder,
        &client_url,
        &format!("--listen-peer-urls={}", member.peer_url()),
    ]);
    assert_eq!(code, USAGE, "{said}");
    assert!(said.contains(&member.peer_url()), "{said}");
}

#[test]
fn a_damaged_log_is_refused_with_its_file_and_not_cut() {
    let mut member = Cluster::start(1, &[]).members.remove(0);
    for number in 0..50 {
        put(
            &member.client_address(),
            &format!("k{number}"),
            "a value of some length",
        );
    }
    assert_eq!(member.end("TERM").code(), OK);
    let mut segments: Vec<_> = fs::read_dir(member.data_dir().join("wal"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    segments.sort();
    let segment = &segments[0];
    let mut bytes = fs::read(segment).unwrap();
    // In the middle: durable records follow, so it is no torn tail.
    let written = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[written / 2] ^= 0x40;
    fs::write(segment, &bytes).unwrap();
    member.start();
    assert_eq!(member.wait().code(), CRASH, "{}", member.log());
    let file_name = segment.file_name().unwrap().to_str().unwrap();
    assert!(member.log().contains(file_name), "{}", member.log());
    assert_eq!(
        fs::read(segment).unwrap(),
        bytes,
        "the evidence was changed"
    );
}

#[test]
fn a_folder_that_lost_its_log_is_not_begun_anew() {
    let mut member = Cluster::start(1, &[]).members.remove(0);
    put(&member.client_address(), "k", "v");
    assert_eq!(member.end("TERM").code(), OK);
    fs::remove_dir_all(member.data_dir().join("wal")).unwrap();
    member.start();
    assert_eq!(member.wait().code(), CRASH);
    assert!(
        member.log().contains("its log is missing"),
        "{}",
        member.log()
    );
}

#[test]
fn log_lines_are_json_objects_if_asked_for() {
    let mut member: Member = Cluster::start(1, &["--log-format=json"]).members.remove(0);
    assert_eq!(member.end("TERM").code(), OK);
    let log = member.log();
    assert!(log.lines().count() >= 3, "{log}");
    for line in log.lines() {
        let parsed: serde_json::Value = serde_json::from_str(line).expect(line);
        assert!(parsed["level"].is_string(), "{line}");
    }
}
