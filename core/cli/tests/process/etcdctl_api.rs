//! What etcdctl gets from one member and from three, command by command.

use std::time::{Duration, Instant};

use crate::etcdctl::Etcdctl;
use crate::member::Cluster;

/// Long enough that a lease does not end before it is looked at.
const LONG_TTL_S: &str = "600";

fn with_etcdctl(size: usize, test: impl Fn(&Etcdctl)) {
    // Before the members, which nobody needs without it.
    if Etcdctl::new(&[]).is_none() {
        return;
    }
    let cluster = Cluster::start(size, &[]);
    let etcdctl = Etcdctl::new(&cluster.addresses()).expect("it is there");
    test(&etcdctl);
}

macro_rules! with_one_member_and_with_three {
    ($($test:ident)+) => {
        mod one_member {
            $(#[test] fn $test() { super::with_etcdctl(1, super::$test); })+
        }
        mod three_members {
            $(#[test] fn $test() { super::with_etcdctl(3, super::$test); })+
        }
    };
}

with_one_member_and_with_three! {
    puts_are_got_by_key_prefix_range_revision_and_order
    deletes_delete_what_they_say_and_show_it
    transactions_take_the_branch_that_their_compares_choose
    watches_bring_every_event_from_their_revision_on
    leases_carry_their_keys_away
    leases_last_for_one_and_a_half_election_timeouts_at_least
    compacted_and_future_revisions_are_refused_word_for_word
    bad_requests_are_refused_word_for_word
    the_state_of_members_can_be_asked_for
}

fn puts_are_got_by_key_prefix_range_revision_and_order(etcdctl: &Etcdctl) {
    for (key, value) in [("k/1", "c"), ("k/2", "b"), ("k/3", "a"), ("l", "d")] {
        assert_eq!(etcdctl.ok(&["put", key, value]), "OK\n");
    }
    let revision = etcdctl.revision().to_string();
    assert_eq!(
        etcdctl.ok(&["put", "k/2", "B", "--prev-kv"]),
        "OK\nk/2\nb\n"
    );

    assert_eq!(etcdctl.ok(&["get", "k/1"]), "k/1\nc\n");
    assert_eq!(etcdctl.ok(&["get", "k"]), "");
    assert_eq!(
        etcdctl.ok(&["get", "--prefix", "k/"]),
        "k/1\nc\nk/2\nB\nk/3\na\n"
    );
    assert_eq!(etcdctl.ok(&["get", "k/2", "l"]), "k/2\nB\nk/3\na\n");
    assert_eq!(etcdctl.ok(&["get", "k/3", "--from-key"]), "k/3\na\nl\nd\n");
    assert_eq!(
        etcdctl.ok(&["get", "--prefix", "k/", "--keys-only"]),
        "k/1\n\nk/2\n\nk/3\n\n"
    );
    assert_eq!(etcdctl.ok(&["get", "k/2", "--print-value-only"]), "B\n");
    assert_eq!(etcdctl.ok(&["get", "k/2", "--rev", &revision]), "k/2\nb\n");
    assert_eq!(
        etcdctl.ok(&["get", "--prefix", "k/", "--limit", "2"]),
        "k/1\nc\nk/2\nB\n"
    );
    assert_eq!(
        etcdctl.ok(&["get", "--prefix", "k/", "--sort-by=VALUE", "--order=ASCEND"]),
        "k/2\nB\nk/3\na\nk/1\nc\n"
    );
    assert_eq!(
        etcdctl.ok(&[
            "get",
            "--prefix",
            "k/",
            "--sort-by=MODIFY",
            "--order=DESCEND"
        ]),
        "k/2\nB\nk/3\na\nk/1\nc\n"
    );
    assert_eq!(etcdctl.ok(&["get", "k/1", "--consistency=s"]), "k/1\nc\n");
    let limited = etcdctl.json(&["get", "--prefix", "k/", "--limit", "1"]);
    assert_eq!(limited["count"], 3);
    assert_eq!(limited["more"], true);
    let kv = &limited["kvs"][0];
    assert_eq!(
        (&kv["version"], &kv["create_revision"]),
        (&1.into(), &kv["mod_revision"])
    );
    let kv = etcdctl.json(&["get", "k/2"])["kvs"][0].clone();
    assert_eq!(kv["version"], 2);
    assert!(kv["mod_revision"].as_i64() > kv["create_revision"].as_i64());
}

fn deletes_delete_what_they_say_and_show_it(etcdctl: &Etcdctl) {
    for key in ["d/1", "d/2", "d/3", "e"] {
        etcdctl.ok(&["put", key, "v"]);
    }
    assert_eq!(etcdctl.ok(&["del", "d/1", "--prev-kv"]), "1\nd/1\nv\n");
    assert_eq!(etcdctl.ok(&["del", "d/1"]), "0\n");
    assert_eq!(etcdctl.ok(&["del", "--prefix", "d/"]), "2\n");
    assert_eq!(etcdctl.ok(&["get", "--prefix", ""]), "e\nv\n");
}

fn transactions_take_the_branch_that_their_compares_choose(etcdctl: &Etcdctl) {
    etcdctl.ok(&["put", "t", "1"]);
    let txn = "value(\"t\") = \"1\"\nversion(\"u\") = \"0\"\n\nput u yes\nget t\n\nput u no\n\n";
    let first = etcdctl.run_with_input(&["txn"], txn);
    assert_eq!(first.stdout, "SUCCESS\n\nOK\n\nt\n1\n");
    let second = etcdctl.run_with_input(&["txn"], txn);
    assert_eq!(second.stdout, "FAILURE\n\nOK\n");
    assert_eq!(etcdctl.ok(&["get", "u"]), "u\nno\n");
}

fn watches_bring_every_event_from_their_revision_on(etcdctl: &Etcdctl) {
    etcdctl.ok(&["put", "w/before", "1"]);
    let from = (etcdctl.revision() + 1).to_string();
    etcdctl.ok(&["put", "w/1", "a"]);
    etcdctl.ok(&["put", "other", "x"]);
    let mut watch = etcdctl.watch(&["--prefix", "w/", "--rev", &from, "--prev-kv"]);
    watch.expect("PUT\nw/1\na\n");
    etcdctl.ok(&["put", "w/1", "b"]);
    watch.expect("PUT\nw/1\na\nPUT\nw/1\na\nw/1\nb\n");
    etcdctl.ok(&["del", "w/1"]);
    watch.expect("PUT\nw/1\na\nPUT\nw/1\na\nw/1\nb\nDELETE\nw/1\nb\nw/1\n\n");

    let mut from_now = etcdctl.watch(&["w/2"]);
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut expected = String::new();
    // It has no sign for having begun: write until it has seen something.
    while expected.is_empty() {
        assert!(
            Instant::now() < deadline,
            "a watch without a revision sees nothing"
        );
        etcdctl.ok(&["put", "w/2", "c"]);
        std::thread::sleep(Duration::from_millis(100));
        expected = from_now.printed();
    }
    assert!(expected.starts_with("PUT\nw/2\nc\n"), "{expected:?}");
}

fn leases_last_for_one_and_a_half_election_timeouts_at_least(etcdctl: &Etcdctl) {
    // The election timeout is one second by default.
    for asked in ["1", "0", "-7", "2"] {
        let granted = etcdctl.ok(&["lease", "grant", "--", asked]);
        let lease = lease_id(&granted);
        assert_eq!(granted, format!("lease {lease} granted with TTL(2s)\n"));
    }
}

fn lease_id(granted: &str) -> String {
    let word = granted.split_whitespace().nth(1);
    word.unwrap_or_else(|| panic!("no lease in {granted:?}"))
        .to_owned()
}

fn leases_carry_their_keys_away(etcdctl: &Etcdctl) {
    let granted = etcdctl.ok(&["lease", "grant", LONG_TTL_S]);
    let lease = lease_id(&granted);
    assert_eq!(granted, format!("lease {lease} granted with TTL(600s)\n"));
    let attach = format!("--lease={lease}");
    etcdctl.ok(&["put", "leased", "v", &attach]);
    assert_eq!(
        etcdctl.ok(&["lease", "keep-alive", "--once", &lease]),
        format!("lease {lease} keepalived with TTL(600)\n")
    );
    let left = etcdctl.json(&["lease", "timetolive", &lease, "--keys"]);
    assert_eq!(left["granted-ttl"], 600);
    assert!(
        (590..=600).contains(&left["ttl"].as_i64().expect("a number")),
        "{left}"
    );
    assert_eq!(left["keys"], serde_json::json!(["bGVhc2Vk"]));
    assert_eq!(
        etcdctl.ok(&["lease", "list"]),
        format!("found 1 leases\n{lease}\n")
    );
    assert_eq!(
        etcdctl.ok(&["lease", "revoke", &lease]),
        format!("lease {lease} revoked\n")
    );
    assert_eq!(etcdctl.ok(&["get", "leased"]), "");
    assert_eq!(
        etcdctl.ok(&["lease", "timetolive", &lease]),
        format!("lease {lease} already expired\n")
    );
    assert_eq!(
        etcdctl.error(&["lease", "revoke", &lease]),
        "Error: failed to revoke lease (etcdserver: requested lease not found)"
    );

    let short = lease_id(&etcdctl.ok(&["lease", "grant", "2"]));
    etcdctl.ok(&["put", "short", "v", &format!("--lease={short}")]);
    let deadline = Instant::now() + Duration::from_secs(20);
    while !etcdctl.ok(&["get", "short"]).is_empty() {
        assert!(Instant::now() < deadline, "the key outlives its lease");
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn compacted_and_future_revisions_are_refused_word_for_word(etcdctl: &Etcdctl) {
    for value in ["1", "2", "3"] {
        etcdctl.ok(&["put", "c", value]);
    }
    let revision = etcdctl.revision();
    let at = |revision: i64| revision.to_string();
    assert_eq!(
        etcdctl.ok(&["compact", &at(revision - 1)]),
        format!("compacted revision {}\n", revision - 1)
    );
    assert_eq!(
        etcdctl.error(&["get", "c", "--rev", &at(revision - 2)]),
        "Error: etcdserver: mvcc: required revision has been compacted"
    );
    assert_eq!(
        etcdctl.ok(&["get", "c", "--rev", &at(revision - 1)]),
        "c\n2\n"
    );
    assert_eq!(
        etcdctl.error(&["compact", &at(revision - 1)]),
        "Error: etcdserver: mvcc: required revision has been compacted"
    );
    for arguments in [
        &["get", "c", "--rev", &at(revision + 9)][..],
        &["compact", &at(revision + 9)],
    ] {
        assert_eq!(
            etcdctl.error(arguments),
            "Error: etcdserver: mvcc: required revision is a future revision"
        );
    }
    let compacted = etcdctl.watch_error(&["c", "--rev", &at(revision - 2)]);
    assert!(
        compacted.contains("etcdserver: mvcc: required revision has been compacted"),
        "{compacted:?}"
    );
}

fn bad_requests_are_refused_word_for_word(etcdctl: &Etcdctl) {
    assert_eq!(
        etcdctl.error(&["put", "", "v"]),
        "Error: etcdserver: key is not provided"
    );
    assert_eq!(
        etcdctl.error(&["get", ""]),
        "Error: etcdserver: key is not provided"
    );
    assert_eq!(
        etcdctl.error(&["put", "absent", "--ignore-value"]),
        "Error: etcdserver: key not found"
    );
    assert_eq!(
        etcdctl.error(&["put", "k", "v", "--lease=1234"]),
        "Error: etcdserver: requested lease not found"
    );
    assert_eq!(
        etcdctl.error(&["lease", "grant", "9000000001"]),
        "Error: failed to grant lease (etcdserver: too large lease TTL)"
    );
    let large = etcdctl.run_with_input(&["put", "large"], &"x".repeat(1_600_000));
    assert!(!large.success);
    assert!(
        large.stderr.contains("etcdserver: request is too large"),
        "{}",
        large.stderr
    );
    let twice = etcdctl.run_with_input(&["txn"], "\n\nput k 1\nput k 2\n\n\n");
    assert!(
        twice
            .stderr
            .contains("etcdserver: duplicate key given in txn request"),
        "{}",
        twice.stderr
    );
    assert_eq!(
        etcdctl.ok(&["get", "--prefix", ""]),
        "",
        "a refused request left something"
    );
}

fn the_state_of_members_can_be_asked_for(etcdctl: &Etcdctl) {
    etcdctl.ok(&["put", "k", "v"]);
    let members = etcdctl.json(&["member", "list"]);
    let members = members["members"].as_array().expect("members");
    let statuses = etcdctl.json(&["endpoint", "status"]);
    let statuses = statuses.as_array().expect("one for each endpoint");
    assert_eq!(statuses.len(), members.len());
    let leaders: Vec<_> = statuses
        .iter()
        .filter(|status| status["Status"]["leader"] == status["Status"]["header"]["member_id"])
        .collect();
    assert_eq!(leaders.len(), 1, "{statuses:?}");
    let table = etcdctl.ok(&["endpoint", "status", "-w", "table"]);
    assert_eq!(table.lines().count(), 4 + members.len(), "{table}");
    for member in members {
        assert!(
            member["name"]
                .as_str()
                .is_some_and(|name| name.starts_with('m')),
            "{member}"
        );
    }
    let one = etcdctl.first_endpoint();
    let endpoint_of_all = one.ok(&["endpoint", "status", "--cluster"]);
    assert!(
        endpoint_of_all.starts_with("http://127.0.0.1:"),
        "{endpoint_of_all}"
    );
    let table = etcdctl.ok(&["member", "list", "-w", "table"]);
    assert_eq!(
        table.matches("| started |").count(),
        members.len(),
        "{table}"
    );
    let health = etcdctl.run_with_input(&["endpoint", "health"], "");
    let health = health.stdout + &health.stderr;
    assert_eq!(
        health.matches("is healthy").count(),
        members.len(),
        "{health}"
    );

    let hashes = etcdctl.ok(&["endpoint", "hashkv"]);
    let mut hashes: Vec<_> = hashes
        .lines()
        .filter_map(|line| line.split_once(", "))
        .map(|(_, hash)| hash)
        .collect();
    assert_eq!(hashes.len(), members.len());
    hashes.dedup();
    assert_eq!(hashes.len(), 1, "members disagree");

    assert_eq!(etcdctl.ok(&["alarm", "list"]), "");
    assert!(
        etcdctl
            .ok(&["defrag"])
            .starts_with("Finished defragmenting")
    );
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("snapshot").display().to_string();
    let one = etcdctl.first_endpoint();
    assert!(
        one.error(&["snapshot", "save", &file])
            .contains("Unimplemented")
    );
}
