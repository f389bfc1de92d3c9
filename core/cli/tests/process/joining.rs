//! A member that is added to a running cluster, from etcdctl's `member add` to its vote.

use std::time::{Duration, Instant};

use crate::etcdctl::Etcdctl;
use crate::member::{Cluster, Member, wait_until_ready};

const CAUGHT_UP_TIMEOUT: Duration = Duration::from_secs(30);

/// Waits until a member shows the first thirty keys, majority or not.
fn wait_until_caught_up(etcdctl: &Etcdctl) {
    let deadline = Instant::now() + CAUGHT_UP_TIMEOUT;
    loop {
        let printed = etcdctl.run_with_input(&["get", "--prefix", "k", "--consistency=s"], "");
        if printed.stdout.lines().count() / 2 >= 30 {
            return;
        }
        assert!(Instant::now() < deadline, "the learner does not catch up");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn join(flags: &[&str]) {
    if Etcdctl::new(&[]).is_none() {
        return;
    }
    let cluster = Cluster::start(1, flags);
    let first = cluster.addresses().remove(0);
    let etcdctl = Etcdctl::new(std::slice::from_ref(&first)).expect("it is there");
    for number in 0..30 {
        etcdctl.ok(&["put", &format!("k{number}"), "v"]);
    }
    let newcomer = Member::new("newcomer");
    let peer_url = newcomer.peer_url();
    let peer_urls = format!("--peer-urls={peer_url}");
    assert!(
        etcdctl
            .error(&["member", "add", "newcomer", &peer_urls])
            .ends_with("re-configuration failed due to not enough started members"),
    );
    let added = etcdctl.ok(&["member", "add", "newcomer", "--learner", &peer_urls]);
    let id = added.split_whitespace().nth(1).expect("an id").to_owned();
    let mut newcomer = newcomer.with_flags(&[
        "--initial-cluster-state=existing",
        &format!("--initial-cluster=newcomer={peer_url}"),
        &format!("--join-endpoints=http://{first}"),
    ]);
    newcomer.start();
    let of_newcomer = Etcdctl::new(&[newcomer.client_address()]).expect("it is there");
    wait_until_caught_up(&of_newcomer);
    etcdctl.ok(&["member", "promote", &id]);
    wait_until_ready(&newcomer);
    assert_eq!(of_newcomer.ok(&["put", "k30", "v"]), "OK\n");

    // It comes back without being told whom to join.
    assert_eq!(newcomer.end("TERM").code(), Some(0));
    newcomer.start();
    wait_until_ready(&newcomer);
    assert_eq!(of_newcomer.ok(&["get", "k30"]), "k30\nv\n");

    // Removed, it ends by itself. With an empty folder, and added again under the same
    // name and URL, it is another member and serves.
    etcdctl.ok(&["member", "remove", &id]);
    assert_eq!(newcomer.wait().code(), Some(0), "{}", newcomer.log());
    std::fs::remove_dir_all(newcomer.data_dir()).expect("it had a folder");
    let added = etcdctl.ok(&["member", "add", "newcomer", "--learner", &peer_urls]);
    let second_id = added.split_whitespace().nth(1).expect("an id").to_owned();
    assert_ne!(second_id, id);
    newcomer.start();
    wait_until_caught_up(&of_newcomer);
    etcdctl.ok(&["member", "promote", &second_id]);
    wait_until_ready(&newcomer);
    assert_eq!(of_newcomer.ok(&["put", "k31", "v"]), "OK\n");
    assert_eq!(of_newcomer.ok(&["get", "k31"]), "k31\nv\n");
}

#[test]
fn a_newcomer_gets_the_log_of_a_young_cluster_and_a_vote() {
    join(&[]);
}

#[test]
fn a_newcomer_gets_a_snapshot_of_an_older_cluster_and_a_vote() {
    join(&["--snapshot-count=10"]);
}

/// What `member add` prints for the newcomer's environment.
fn environment_of(added: &str) -> Vec<(&str, &str)> {
    added
        .lines()
        .filter_map(|line| line.split_once('='))
        .filter(|(name, _)| name.starts_with("ETCD_"))
        .map(|(name, value)| (name, value.trim_matches('"')))
        .collect()
}

/// Name, state, and client addresses of each member, as one of them lists them.
fn listed(etcdctl: &Etcdctl) -> Vec<(String, String, String)> {
    let mut members: Vec<_> = etcdctl
        .ok(&["member", "list"])
        .lines()
        .map(|line| {
            let fields: Vec<&str> = line.split(", ").collect();
            (
                fields[2].to_owned(),
                fields[1].to_owned(),
                fields[4].to_owned(),
            )
        })
        .collect();
    members.sort();
    members
}

#[test]
fn a_newcomer_starts_with_what_member_add_prints_and_all_learn_its_name_and_addresses() {
    if Etcdctl::new(&[]).is_none() {
        return;
    }
    let cluster = Cluster::start(3, &[]);
    let first = cluster.addresses().remove(0);
    let newcomer = Member::new("m3");
    let peer_urls = format!("--peer-urls={}", newcomer.peer_url());
    let added = cluster
        .addresses()
        .iter()
        .find_map(|address| {
            let etcdctl = Etcdctl::new(std::slice::from_ref(address)).expect("it is there");
            let printed = etcdctl.run_with_input(&["member", "add", "m3", &peer_urls], "");
            printed.success.then_some(printed.stdout)
        })
        .expect("the leader adds it");
    let environment = environment_of(&added);
    assert_eq!(environment.len(), 4, "{added}");
    let before = listed(&Etcdctl::new(std::slice::from_ref(&first)).expect("it is there"));
    assert_eq!(
        before[0],
        (String::new(), "unstarted".to_owned(), String::new())
    );

    let mut newcomer = newcomer.with_environment(&environment);
    newcomer.start();
    wait_until_ready(&newcomer);
    let members = cluster.members.iter().chain([&newcomer]);
    let expected: Vec<_> = members
        .map(|member| {
            let client_url = format!("http://{}", member.client_address());
            (member.name.clone(), "started".to_owned(), client_url)
        })
        .collect();
    let deadline = Instant::now() + CAUGHT_UP_TIMEOUT;
    for address in [first, newcomer.client_address()] {
        let etcdctl = Etcdctl::new(&[address]).expect("it is there");
        while listed(&etcdctl) != expected {
            assert!(Instant::now() < deadline, "{:?}", listed(&etcdctl));
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

#[test]
fn a_member_that_starts_with_other_client_addresses_tells_the_others() {
    if Etcdctl::new(&[]).is_none() {
        return;
    }
    let mut cluster = Cluster::start(3, &[]);
    let mut moved = cluster.members.remove(2);
    assert_eq!(moved.end("TERM").code(), Some(0));
    moved = moved.with_flags(&["--advertise-client-urls=http://moved.example:1"]);
    moved.start();
    wait_until_ready(&moved);
    let etcdctl = Etcdctl::new(&[cluster.members[0].client_address()]).expect("it is there");
    let deadline = Instant::now() + CAUGHT_UP_TIMEOUT;
    while listed(&etcdctl)[2].2 != "http://moved.example:1" {
        assert!(Instant::now() < deadline, "{:?}", listed(&etcdctl));
        std::thread::sleep(Duration::from_millis(100));
    }
}
