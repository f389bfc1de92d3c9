//! Leadership and membership through etcdctl.

use std::time::{Duration, Instant};

use crate::etcdctl::Etcdctl;
use crate::member::{Cluster, Member};

const SETTLED_TIMEOUT: Duration = Duration::from_secs(30);

fn status_of(address: &str) -> serde_json::Value {
    let etcdctl = Etcdctl::new(&[address.to_owned()]).expect("it is there");
    etcdctl.json(&["endpoint", "status"])[0]["Status"].clone()
}

/// The address of the leader.
pub fn leader(cluster: &Cluster) -> String {
    let deadline = Instant::now() + SETTLED_TIMEOUT;
    loop {
        for address in cluster.addresses() {
            let status = status_of(&address);
            if status["leader"] == status["header"]["member_id"] {
                return address;
            }
        }
        assert!(Instant::now() < deadline, "there is no leader");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn hexadecimal(id: &serde_json::Value) -> String {
    format!("{:x}", id.as_u64().expect("an id"))
}

#[test]
fn leadership_moves_where_it_is_told_to() {
    if Etcdctl::new(&[]).is_none() {
        return;
    }
    let cluster = Cluster::start(3, &[]);
    let etcdctl = Etcdctl::new(&cluster.addresses()).expect("it is there");
    let old = leader(&cluster);
    let target = cluster
        .addresses()
        .into_iter()
        .find(|address| *address != old)
        .expect("another");
    let target_id = hexadecimal(&status_of(&target)["header"]["member_id"]);
    etcdctl.ok(&["move-leader", &target_id]);
    assert_eq!(hexadecimal(&status_of(&target)["leader"]), target_id);
    assert_eq!(etcdctl.ok(&["put", "k", "v"]), "OK\n");
    assert_eq!(
        Etcdctl::new(&[old]).expect("it is there").ok(&["get", "k"]),
        "k\nv\n"
    );
}

#[test]
fn members_are_added_listed_updated_and_removed() {
    if Etcdctl::new(&[]).is_none() {
        return;
    }
    let cluster = Cluster::start(3, &[]);
    let leader = leader(&cluster);
    let etcdctl = Etcdctl::new(std::slice::from_ref(&leader)).expect("it is there");
    let peer_urls = "--peer-urls=http://127.0.0.1:1";
    let added = etcdctl.ok(&["member", "add", "newcomer", "--learner", peer_urls]);
    let id = added.split_whitespace().nth(1).expect("an id").to_owned();
    let listed = |id: &str| {
        let members = etcdctl.json(&["member", "list"]);
        let members = members["members"].as_array().expect("members").clone();
        members
            .into_iter()
            .find(|member| hexadecimal(&member["ID"]) == id)
    };
    let newcomer = listed(&id).expect("it is listed");
    assert_eq!(newcomer["isLearner"], true);
    assert_eq!(
        newcomer["peerURLs"],
        serde_json::json!(["http://127.0.0.1:1"])
    );
    assert_eq!(
        etcdctl.error(&["member", "add", "again", peer_urls]),
        "Error: etcdserver: Peer URLs already exists"
    );
    etcdctl.ok(&["member", "update", &id, "--peer-urls=http://127.0.0.1:2"]);
    let newcomer = listed(&id).expect("it is listed");
    assert_eq!(
        newcomer["peerURLs"],
        serde_json::json!(["http://127.0.0.1:2"])
    );

    let first = cluster
        .addresses()
        .into_iter()
        .find(|address| *address != leader)
        .expect("one");
    let first_id = hexadecimal(&status_of(&first)["header"]["member_id"]);
    for victim in [&id, &first_id] {
        etcdctl.ok(&["member", "remove", victim]);
        assert_eq!(listed(victim), None);
        assert_eq!(etcdctl.ok(&["put", "k", "v"]), "OK\n");
    }
    assert_eq!(
        etcdctl.error(&["member", "remove", &first_id]),
        "Error: etcdserver: member not found"
    );
}

#[test]
fn a_member_that_was_not_added_is_told_so() {
    let cluster = Cluster::start(1, &[]);
    let mut stranger = Member::new("stranger");
    let peer_url = stranger.peer_url();
    stranger = stranger.with_flags(&[
        "--initial-cluster-state=existing",
        &format!("--initial-cluster=stranger={peer_url}"),
        &format!("--join-endpoints=http://{}", cluster.addresses()[0]),
    ]);
    stranger.start();
    assert_eq!(stranger.wait().code(), Some(2), "{}", stranger.log());
    assert!(
        stranger.log().contains("no member with the peer URLs"),
        "{}",
        stranger.log()
    );
}
