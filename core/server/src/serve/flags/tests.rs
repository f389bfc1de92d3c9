use clap::Parser;

use super::*;

#[derive(Parser)]
struct Program {
    #[command(flatten)]
    flags: ServeFlags,
}

fn settle(flags: &[&str]) -> Result<ServeConfig, FlagError> {
    let words = std::iter::once("serve").chain(flags.iter().copied());
    Program::try_parse_from(words)
        .expect("clap accepts it")
        .flags
        .settle()
}

fn refusal(flags: &[&str]) -> String {
    settle(flags)
        .expect_err("the flags cannot be used")
        .to_string()
}

fn urls(texts: &[&str]) -> Vec<Url> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn without_flags_it_is_a_cluster_of_one_on_the_ports_of_etcd() {
    let config = settle(&[]).unwrap();
    assert_eq!(config.name, "default");
    assert_eq!(config.data_dir, PathBuf::from("default.veridical"));
    assert_eq!(config.listen_client_urls, urls(&["http://localhost:2379"]));
    assert_eq!(
        config.advertise_client_urls,
        urls(&["http://localhost:2379"])
    );
    assert_eq!(config.listen_peer_url.to_string(), "http://localhost:2380");
    assert_eq!(config.limits, Limits::default());
    let Beginning::Bootstrap { cluster, token } = config.beginning else {
        panic!("it founds a cluster");
    };
    assert_eq!(cluster, "default=http://localhost:2380".parse().unwrap());
    assert_eq!(token, "veridical-cluster");
}

#[test]
fn every_flag_reaches_its_setting() {
    let config = settle(&[
        "--name=b",
        "--data-dir=/var/lib/b",
        "--listen-client-urls=http://0.0.0.0:1,http://[::1]:2",
        "--advertise-client-urls=http://b.example:1",
        "--listen-peer-urls=http://0.0.0.0:3",
        "--initial-advertise-peer-urls=http://b.example:3",
        "--initial-cluster=a=http://a.example:3,b=http://b.example:3",
        "--initial-cluster-token=t",
        "--heartbeat-interval=20",
        "--election-timeout=300",
        "--snapshot-count=7",
        "--snapshot-bytes=12",
        "--max-txn-ops=8",
        "--max-request-bytes=9",
        "--max-connections=10",
        "--handshake-timeout=11",
    ])
    .unwrap();
    let cluster = "a=http://a.example:3,b=http://b.example:3".parse().unwrap();
    let expected = ServeConfig {
        name: "b".to_owned(),
        data_dir: PathBuf::from("/var/lib/b"),
        listen_client_urls: urls(&["http://0.0.0.0:1", "http://[::1]:2"]),
        advertise_client_urls: urls(&["http://b.example:1"]),
        listen_peer_url: "http://0.0.0.0:3".parse().unwrap(),
        advertise_peer_urls: urls(&["http://b.example:3"]),
        force_new_cluster: false,
        beginning: Beginning::Bootstrap {
            cluster,
            token: "t".to_owned(),
        },
        limits: Limits {
            heartbeat_ms: 20,
            election_timeout_ms: 300,
            snapshot_entries: 7,
            snapshot_log_bytes: 12,
            max_txn_ops: 8,
            max_request_bytes: 9,
            ..Limits::default()
        },
        engine: EngineKind::Memory,
        data_format: DataFormat::Current,
        max_connections: Some(10),
        handshake_timeout: Duration::from_millis(11),
        planted: Planted::none(),
    };
    assert_eq!(config, expected);
}

#[test]
fn whoever_joins_asks_the_peers_of_the_initial_cluster() {
    let config = settle(&[
        "--name=c",
        "--initial-cluster-state=existing",
        "--listen-peer-urls=http://c.example:3",
        "--initial-cluster=a=http://a.example:3,c=http://c.example:3,=http://b.example:3",
        "--join-endpoints=http://a.example:1",
    ])
    .unwrap();
    let contacts = Contacts {
        endpoints: urls(&["http://a.example:1"]),
        peers: urls(&["http://b.example:3", "http://a.example:3"]),
    };
    assert_eq!(config.beginning, Beginning::Join(contacts));
}

#[test]
fn every_refusal_names_its_flag_and_the_reason() {
    for (flags, message) in [
        (
            &["--listen-client-urls=localhost:2379"][..],
            "--listen-client-urls: 'localhost:2379' has no scheme (expected http://host:port)",
        ),
        (
            &["--advertise-client-urls=https://a:1"],
            "--advertise-client-urls: 'https://a:1' asks for TLS, which this version does not \
             have (expected http://host:port)",
        ),
        (
            &["--listen-client-urls=http://0.0.0.0:2379"],
            "--advertise-client-urls is needed, because http://0.0.0.0:2379 is no address that \
             others could connect to",
        ),
        (
            &["--listen-peer-urls=http://localhost:0"],
            "--initial-advertise-peer-urls is needed, because --listen-peer-urls leaves the port \
             to the system",
        ),
        (
            &["--listen-peer-urls=http://a:1,http://a:2"],
            "--listen-peer-urls: this version listens on one peer URL, 2 are given",
        ),
        (
            &["--listen-client-urls="],
            "--listen-client-urls: at least one URL is needed",
        ),
        (
            &["--name="],
            "--name: must not be empty nor contain '=' or ','",
        ),
        (
            &["--initial-cluster=b=http://localhost:2380"],
            "--initial-cluster: this member, 'default', is not among the members",
        ),
        (
            &["--initial-cluster=default=http://elsewhere:2380"],
            "--initial-cluster: has http://elsewhere:2380 for 'default', but \
             --initial-advertise-peer-urls is http://localhost:2380",
        ),
        (
            &["--initial-cluster=default"],
            "--initial-cluster: 'default' is not of the form name=URL",
        ),
        (
            &["--heartbeat-interval=0"],
            "--heartbeat-interval: must be above 0 ms",
        ),
        (
            &["--election-timeout=499"],
            "--election-timeout: 499 ms must be at least 5 times --heartbeat-interval (100 ms)",
        ),
        (
            &["--election-timeout=50001"],
            "--election-timeout: 50001 ms must be at most 50000 ms",
        ),
        (&["--max-txn-ops=0"], "--max-txn-ops: must be above 0"),
    ] {
        assert_eq!(refusal(flags), message, "{flags:?}");
    }
}

#[test]
fn rocksdb_is_refused_by_a_build_without_it() {
    let settled = settle(&["--engine=rocksdb"]);
    if cfg!(feature = "rocksdb") {
        assert_eq!(settled.expect("it is there").engine, EngineKind::Rocksdb);
    } else {
        assert_eq!(settled.expect_err("it is not there"), FlagError::Engine);
    }
}
