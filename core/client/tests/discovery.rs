//! A client that asks the cluster by itself where its members are.

#![cfg(not(madsim))]
#![allow(
    clippy::disallowed_methods,
    reason = "the client runs on the real machine here"
)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use veridical_client::{CallError, Client, ClientConfig, Connector, Link, Member, WatchChannel};
use veridical_env::RealClock;
use veridical_proto::etcdserverpb as api;
use veridical_proto::native::request::Body as Ask;
use veridical_proto::native::response::Body as Answer;

const INTERVAL: Duration = Duration::from_millis(20);

/// Whatever has to come comes within this.
const PATIENCE: Duration = Duration::from_secs(20);

/// What answers at an address.
#[derive(Clone)]
struct Server {
    cluster_id: u64,
    /// The members that it knows.
    members: Vec<Member>,
}

#[derive(Default)]
struct State {
    /// By address; who is not there does not answer.
    servers: BTreeMap<String, Server>,
    /// Requests by address, and how many of them were for the members.
    asked: BTreeMap<String, usize>,
    discoveries: usize,
}

#[derive(Clone, Default)]
struct Network(Arc<Mutex<State>>);

#[derive(Clone)]
struct Wire {
    network: Network,
    address: String,
}

impl Network {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Servers that all say these are the members.
    fn serve(&self, addresses: &[&str], members: &[Member]) {
        for address in addresses {
            let server = Server {
                cluster_id: 1,
                members: members.to_vec(),
            };
            self.state().servers.insert((*address).to_owned(), server);
        }
    }

    fn end(&self, address: &str) {
        self.state().servers.remove(address);
    }

    fn client(&self, endpoints: &[&str], interval: Option<Duration>) -> Client<Self, RealClock> {
        let config = ClientConfig {
            retry_delay: Duration::from_millis(2),
            request_timeout: Duration::from_secs(5),
            discovery_interval: interval,
            ..ClientConfig::new(
                endpoints
                    .iter()
                    .map(|address| (*address).to_owned())
                    .collect(),
            )
        };
        Client::new(self.clone(), RealClock::default(), config)
    }
}

impl Link for Wire {
    async fn call(&self, request: Ask) -> Result<Answer, CallError> {
        let mut state = self.network.state();
        let Some(server) = state.servers.get(&self.address).cloned() else {
            return Err(CallError::Unavailable("nobody is there".to_owned()));
        };
        *state.asked.entry(self.address.clone()).or_default() += 1;
        let header = Some(api::ResponseHeader {
            cluster_id: server.cluster_id,
            ..Default::default()
        });
        match request {
            Ask::MemberList(_) => {
                state.discoveries += 1;
                Ok(Answer::MemberList(api::MemberListResponse {
                    header,
                    members: server.members,
                }))
            }
            Ask::Put(_) => Ok(Answer::Put(api::PutResponse {
                header,
                prev_kv: None,
            })),
            other => panic!("nobody asks {other:?}"),
        }
    }

    fn is_closed(&self) -> bool {
        !self.network.state().servers.contains_key(&self.address)
    }
}

impl Connector for Network {
    type Link = Wire;

    const TAKES_BATCHES: bool = false;

    async fn connect(&self, address: &str) -> Result<Wire, CallError> {
        match self.state().servers.contains_key(address) {
            true => Ok(Wire {
                network: self.clone(),
                address: address.to_owned(),
            }),
            false => Err(CallError::Unavailable("nobody is there".to_owned())),
        }
    }

    async fn watch(&self, _: &str) -> Result<WatchChannel, CallError> {
        panic!("nobody watches")
    }
}

fn member(name: &str, urls: &[&str]) -> Member {
    Member {
        name: name.to_owned(),
        client_ur_ls: urls.iter().map(|url| format!("http://{url}")).collect(),
        ..Default::default()
    }
}

/// Waits until the client knows these endpoints, in this order.
async fn knows(client: &Client<Network, RealClock>, expected: &[&str]) {
    let begun = Instant::now();
    loop {
        let known = client.endpoints().await;
        if known == expected {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{known:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn a_client_of_one_member_goes_on_when_that_one_is_gone_for_good() {
    let network = Network::default();
    let members = [member("a", &["a:1"]), member("b", &["b:1", "b:2"])];
    network.serve(&["a:1", "b:1"], &members);
    let client = network.client(&["a:1"], Some(INTERVAL));
    client.put("k", "v", None).await.expect("a serves");
    knows(&client, &["a:1", "b:1", "b:2"]).await;
    network.end("a:1");
    client.put("k", "v", None).await.expect("b serves");
    assert!(network.state().asked["b:1"] > 0);
}

#[tokio::test]
async fn members_come_and_go_with_the_cluster() {
    let network = Network::default();
    network.serve(&["a:1"], &[member("a", &["a:1"])]);
    let client = network.client(&["a:1"], Some(INTERVAL));
    client.put("k", "v", None).await.expect("a serves");
    let learner = Member {
        is_learner: true,
        ..member("c", &["c:1"])
    };
    let unstarted = member("", &["d:1"]);
    let members = [member("b", &["b:1"]), learner, unstarted];
    network.serve(&["a:1", "b:1"], &members);
    // What the user has named stays as a fallback.
    knows(&client, &["b:1", "a:1"]).await;
    network.serve(&["a:1", "b:1"], &[member("a", &["a:1"])]);
    knows(&client, &["a:1"]).await;
}

#[tokio::test]
async fn what_was_configured_is_tried_when_no_member_answers_at_its_address() {
    let network = Network::default();
    // As behind a port that is forwarded: members have other addresses for each other.
    network.serve(&["outside:1"], &[member("a", &["inside:1"])]);
    let client = network.client(&["outside:1"], Some(INTERVAL));
    client.put("k", "v", None).await.expect("it serves");
    knows(&client, &["inside:1", "outside:1"]).await;
    for _ in 0..20 {
        client.put("k", "v", None).await.expect("it serves still");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn new_members_are_learnt_from_what_was_configured_when_all_others_are_gone() {
    let network = Network::default();
    network.serve(&["a:1", "b:1"], &[member("b", &["b:1"])]);
    // It would not ask again by itself.
    let client = network.client(&["a:1"], Some(Duration::from_secs(1_000)));
    client.put("k", "v", None).await.expect("it serves");
    knows(&client, &["b:1", "a:1"]).await;
    network.end("a:1");
    client.put("k", "v", None).await.expect("b serves");
    network.end("b:1");
    network.serve(&["a:1", "c:1"], &[member("c", &["c:1"])]);
    client.put("k", "v", None).await.expect("a serves again");
    knows(&client, &["c:1", "a:1"]).await;
}

#[tokio::test]
async fn another_cluster_at_the_address_of_a_member_is_not_believed() {
    let network = Network::default();
    let members = [member("a", &["a:1"]), member("b", &["b:1"])];
    network.serve(&["a:1", "b:1"], &members);
    let client = network.client(&["a:1"], Some(INTERVAL));
    client.put("k", "v", None).await.expect("a serves");
    knows(&client, &["a:1", "b:1"]).await;
    let stranger = Server {
        cluster_id: 2,
        members: vec![member("x", &["x:1"])],
    };
    network.state().servers.insert("a:1".to_owned(), stranger);
    let begun = Instant::now();
    let at_b = |network: &Network| network.state().asked.get("b:1").copied().unwrap_or(0);
    while at_b(&network) < 3 {
        assert!(begun.elapsed() < PATIENCE, "it stays with a stranger");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(client.endpoints().await, ["a:1", "b:1"]);
}

#[tokio::test]
async fn nobody_asks_unless_told_to_and_nobody_once_the_client_is_gone() {
    let network = Network::default();
    network.serve(&["a:1"], &[member("b", &["b:1"])]);
    let client = network.client(&["a:1"], None);
    client.put("k", "v", None).await.expect("a serves");
    tokio::time::sleep(2 * INTERVAL).await;
    assert_eq!(network.state().discoveries, 0);
    assert_eq!(client.endpoints().await, ["a:1"]);
    let client = network.client(&["a:1"], Some(INTERVAL));
    client.put("k", "v", None).await.expect("a serves");
    knows(&client, &["b:1", "a:1"]).await;
    drop(client);
    tokio::time::sleep(INTERVAL).await;
    let asked = network.state().discoveries;
    tokio::time::sleep(5 * INTERVAL).await;
    assert_eq!(network.state().discoveries, asked);
}
