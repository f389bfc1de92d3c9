//! The environment variables of etcd.

use std::process::Command;

use crate::etcdctl::Etcdctl;
use crate::member::{Member, free_port, program, wait_until_ready};

fn run_to_the_end(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().expect("the program ends");
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), complaint)
}

#[test]
fn variables_of_etcd_are_flags_that_a_flag_overrules() {
    let port = free_port();
    let client_urls = format!("http://127.0.0.1:{port}");
    let mut member = Member::new("by-flag").with_environment(&[
        ("ETCD_NAME", "by-variable"),
        ("ETCD_ADVERTISE_CLIENT_URLS", &client_urls),
        ("ETCD_INITIAL_CLUSTER_TOKEN", "of-etcd"),
        ("ETCD_QUOTA_BACKEND_BYTES", "1000000"),
    ]);
    member.start();
    wait_until_ready(&member);
    let log = member.log();
    for remark in [
        "ETCD_NAME has no effect: --name is given",
        "ETCD_QUOTA_BACKEND_BYTES has no effect: there is no flag --quota-backend-bytes",
    ] {
        assert!(log.contains(remark), "{remark}");
    }
    assert!(!log.contains("ETCD_ADVERTISE_CLIENT_URLS"));
    let Some(etcdctl) = Etcdctl::new(&[member.client_address()]) else {
        return;
    };
    let members = etcdctl.json(&["member", "list"]);
    assert_eq!(members["members"][0]["name"], "by-flag");
    assert_eq!(members["members"][0]["clientURLs"][0], client_urls.as_str());
}

#[test]
fn a_cluster_of_one_is_not_founded_where_etcd_would_join_another() {
    let folder = tempfile::tempdir().expect("a folder");
    let (status, complaint) = run_to_the_end(
        program()
            .arg("serve")
            .current_dir(folder.path())
            .env("ETCD_INITIAL_CLUSTER_STATE", "existing"),
    );
    assert_eq!(status, Some(2), "{complaint}");
    assert!(complaint.contains("--join-endpoints"), "{complaint}");
}

#[test]
fn what_is_asked_of_etcd_and_not_there_is_refused_by_the_name_of_its_variable() {
    let folder = tempfile::tempdir().expect("a folder");
    for variable in ["ETCD_CERT_FILE", "ETCD_AUTH_TOKEN", "ETCD_DISCOVERY_SRV"] {
        let (status, complaint) = run_to_the_end(
            program()
                .arg("serve")
                .current_dir(folder.path())
                .env(variable, "x"),
        );
        assert_eq!(status, Some(2), "{complaint}");
        assert!(
            complaint.contains(&format!("{variable} is set, and")),
            "{complaint}"
        );
    }
    assert_eq!(
        std::fs::read_dir(folder.path())
            .expect("it is there")
            .count(),
        0
    );
}
