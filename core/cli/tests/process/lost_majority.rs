//! A majority that must not be lost by what operators ask for, and one that is lost for good.

use crate::etcdctl::Etcdctl;
use crate::etcdctl_cluster::leader;
use crate::member::{Cluster, Member, wait_until_ready};

const KEYS: usize = 20;

#[test]
fn quick_additions_of_members_that_never_start_cost_nobody_the_majority() {
    if Etcdctl::new(&[]).is_none() {
        return;
    }
    let cluster = Cluster::start(3, &[]);
    let etcdctl = Etcdctl::new(&[leader(&cluster)]).expect("it is there");
    let add = |port: u16| format!("--peer-urls=http://127.0.0.1:{port}");
    etcdctl.ok(&["member", "add", "first", &add(1)]);
    for port in [2, 3] {
        assert_eq!(
            etcdctl.error(&["member", "add", "another", &add(port)]),
            "Error: etcdserver: unhealthy cluster"
        );
    }
    assert_eq!(etcdctl.ok(&["put", "k", "v"]), "OK\n");
    etcdctl.ok(&["member", "add", "learner", "--learner", &add(4)]);
    assert_eq!(
        etcdctl.error(&["member", "add", "learner", "--learner", &add(5)]),
        "Error: etcdserver: too many learner members in cluster"
    );
    assert_eq!(
        etcdctl.error(&["move-leader", "bad1d"]),
        "Error: etcdserver: bad leader transferee"
    );
    assert_eq!(etcdctl.ok(&["put", "k", "w"]), "OK\n");
}

#[test]
fn the_last_member_of_three_goes_on_alone_with_all_data_and_the_cluster_grows_again() {
    if Etcdctl::new(&[]).is_none() {
        return;
    }
    let mut cluster = Cluster::start(3, &[]);
    let all = Etcdctl::new(&cluster.addresses()).expect("it is there");
    for number in 0..KEYS {
        all.ok(&["put", &format!("k{number}"), "v"]);
    }
    let mut last = cluster.members.pop().expect("three");
    let of_last = Etcdctl::new(&[last.client_address()]).expect("it is there");
    // A linearizable read: it has everything.
    let keys = |etcdctl: &Etcdctl| {
        let printed = etcdctl.ok(&["get", "k", "--prefix", "--keys-only"]);
        printed.split_whitespace().count()
    };
    assert_eq!(keys(&of_last), KEYS);
    cluster.members.iter_mut().for_each(Member::kill);
    drop(cluster);
    last.kill();

    let mut last = last.with_flags(&["--force-new-cluster"]);
    last.start();
    wait_until_ready(&last);
    assert_eq!(keys(&of_last), KEYS);
    assert_eq!(of_last.ok(&["put", "k-alone", "v"]), "OK\n");
    assert_eq!(of_last.ok(&["member", "list"]).lines().count(), 1);

    let mut grown = Vec::new();
    for name in ["second", "third"] {
        let newcomer = Member::new(name);
        let peer_urls = format!("--peer-urls={}", newcomer.peer_url());
        let added = of_last.ok(&["member", "add", name, "--learner", &peer_urls]);
        let id = added.split_whitespace().nth(1).expect("an id").to_owned();
        let mut newcomer = newcomer.with_flags(&[
            "--initial-cluster-state=existing",
            &format!("--join-endpoints=http://{}", last.client_address()),
        ]);
        newcomer.start();
        while of_last
            .run_with_input(&["member", "promote", &id], "")
            .stdout
            .is_empty()
        {
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        wait_until_ready(&newcomer);
        grown.push(newcomer);
    }
    // It is one of three again: without it, the others serve.
    last.kill();
    let of_grown = Etcdctl::new(&[grown[0].client_address()]).expect("it is there");
    wait_until_ready(&grown[0]);
    assert_eq!(of_grown.ok(&["put", "k-again", "v"]), "OK\n");
    assert_eq!(keys(&of_grown), KEYS + 2);
}

#[test]
fn a_folder_without_data_has_nothing_to_go_on_with() {
    let mut member = Member::new("nobody").with_flags(&["--force-new-cluster"]);
    member.start();
    assert_eq!(member.wait().code(), Some(2), "{}", member.log());
    assert!(
        member.log().contains("--force-new-cluster"),
        "{}",
        member.log()
    );
}
