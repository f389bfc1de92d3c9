//! The typed API of `veridical-client`, by each protocol and against etcd: one program, three
//! stores.

use std::collections::BTreeSet;
use std::time::Duration;

use veridical_client::{
    CallError, Client, ClientConfig, CompactionOptions, Compare, Connector, DeleteOptions,
    GetOptions, Grpc, GrpcClient, HoldError, HoldOptions, LeaseLost, LeaseState,
    LeaseTimeToLiveOptions, Pipelined, PipelinedClient, PutOptions, SortOrder, SortTarget, Txn,
    TxnOp, Watch, WatchError, WatchOptions,
};
use veridical_env::{RealClock, TcpNetwork};

use crate::comparison::store::{Etcd, EtcdMember, start_etcd};
use crate::member::{Cluster, runtime};

/// How long anything may take that has to happen.
const PATIENCE: Duration = Duration::from_secs(30);

/// Writes of the watched keys before, while and after the member is away.
const WATCHED_WRITES: usize = 60;

/// A store of one member, as a process.
trait Process {
    fn address(&self) -> String;
    /// The end of the process, and a start with the same data.
    fn restart(&mut self);
}

impl Process for Cluster {
    fn address(&self) -> String {
        self.addresses().remove(0)
    }

    fn restart(&mut self) {
        self.members[0].kill();
        self.members[0].start();
    }
}

impl Process for EtcdMember {
    fn address(&self) -> String {
        self.client_address()
    }

    fn restart(&mut self) {
        self.end();
        self.start();
    }
}

async fn in_time<R>(what: &str, work: impl Future<Output = R>) -> R {
    tokio::time::timeout(PATIENCE, work)
        .await
        .unwrap_or_else(|_| panic!("{what}: not in time"))
}

/// Everything, one after the other.
fn exercise<T: Connector>(client: &Client<T, RealClock>, process: &mut impl Process) {
    runtime().block_on(async {
        in_time("ready", ready(client)).await;
        in_time("keys", keys(client)).await;
        in_time("transactions", transactions(client)).await;
        in_time("compaction", compaction(client)).await;
        in_time("watch", watch_survives_a_restart(client, process)).await;
        in_time("lease", leases(client)).await;
        in_time("lock", locks(client)).await;
        in_time("election", elections(client)).await;
        in_time("members", members(client, &process.address())).await;
    });
}

async fn ready<T: Connector>(client: &Client<T, RealClock>) {
    while client.get("ready", None).await.is_err() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn keys<T: Connector>(client: &Client<T, RealClock>) {
    let first = client.put("kv/a", "1", None).await.unwrap().revision();
    client.put("kv/b", vec![2], None).await.unwrap();
    let overwritten = client
        .put(String::from("kv/a"), "3", PutOptions::new().with_prev_kv())
        .await
        .unwrap();
    assert_eq!(overwritten.prev_kv.unwrap().value_str(), Ok("1"));

    let one = client.get("kv/a", None).await.unwrap();
    assert_eq!(one.kvs[0].value_str(), Ok("3"));
    let before = GetOptions::new().with_revision(first);
    let before = client.get("kv/a", before).await.unwrap();
    assert_eq!(before.kvs[0].value_str(), Ok("1"));
    let newest = GetOptions::new()
        .with_prefix()
        .with_sort(SortTarget::Mod, SortOrder::Descend)
        .with_limit(1)
        .with_keys_only();
    let newest = client.get("kv/", newest).await.unwrap();
    assert_eq!((newest.count, newest.more), (2, true));
    assert_eq!(newest.kvs[0].key_str(), Ok("kv/a"));
    assert!(newest.kvs[0].value.is_empty());
    let range = GetOptions::new().with_range("kv/b").with_serializable();
    assert_eq!(client.get("kv/a", range).await.unwrap().kvs.len(), 1);

    let ignored = PutOptions::new().with_ignore_value();
    let refused = client.put("kv/none", "", ignored).await;
    let Err(CallError::Refused { message, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(message, "etcdserver: key not found");

    let all = DeleteOptions::new().with_prefix().with_prev_kv();
    let deleted = client.delete("kv/", all).await.unwrap();
    assert_eq!((deleted.deleted, deleted.prev_kvs.len()), (2, 2));
    let count = GetOptions::new().with_prefix().with_count_only();
    assert_eq!(client.get("kv/", count).await.unwrap().count, 0);
}

async fn transactions<T: Connector>(client: &Client<T, RealClock>) {
    let take = Txn::new()
        .when([Compare::missing("txn/owner")])
        .and_then([
            TxnOp::put("txn/owner", "me", None),
            TxnOp::txn(Txn::new().and_then([TxnOp::put("txn/log", "taken", None)])),
        ])
        .or_else([TxnOp::get("txn/owner", None)]);
    let first = client.txn(take.clone()).await.unwrap();
    assert!(first.succeeded);
    let inner = first.responses[1].as_txn().unwrap();
    assert!(inner.responses[0].as_put().is_some());
    let second = client.txn(take).await.unwrap();
    assert!(!second.succeeded);
    let owner = &second.responses[0].as_get().unwrap().kvs[0];
    assert_eq!(owner.value_str(), Ok("me"));

    let exact = Txn::new().when([
        Compare::value("txn/owner").equal("me"),
        Compare::version("txn/owner").less(2),
        Compare::mod_revision("txn/owner").equal(first.revision()),
        Compare::lease("txn/").with_prefix().equal(0),
        Compare::value("txn/none").not_equal("x"),
    ]);
    // The last one is about a key that there is not.
    assert!(!client.txn(exact).await.unwrap().succeeded);
}

async fn compaction<T: Connector>(client: &Client<T, RealClock>) {
    let revision = client.put("compacted", "1", None).await.unwrap().revision();
    client.put("compacted", "2", None).await.unwrap();
    let physical = CompactionOptions::new().with_physical();
    client.compact(revision + 1, physical).await.unwrap();
    let old = GetOptions::new().with_revision(revision);
    let refused = client.get("compacted", old).await;
    assert!(matches!(refused, Err(CallError::Refused { code: 11, .. })));

    let options = WatchOptions::new().with_start_revision(revision);
    // etcd begins such a watch before it ends it.
    let error = match client.watch("compacted", options).await {
        Ok(mut watch) => watch.next().await.unwrap().unwrap_err(),
        Err(error) => error,
    };
    let compact_revision = revision + 1;
    assert_eq!(error, WatchError::Compacted { compact_revision });
}

/// The member ends and comes back while somebody writes.
async fn watch_survives_a_restart<T: Connector>(
    client: &Client<T, RealClock>,
    process: &mut impl Process,
) {
    let options = WatchOptions::new()
        .with_prefix()
        .with_silence_max(Duration::from_secs(1));
    let mut watch = client.watch("watch/", options).await.unwrap();
    let writer = tokio::spawn({
        let client = client.clone();
        async move {
            for number in 0..WATCHED_WRITES {
                // Some are of unknown outcome: what is there at the end counts.
                let _ = client.put(format!("watch/{number:03}"), "v", None).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    });
    let before = events(&mut watch, 5).await;
    tokio::task::block_in_place(|| process.restart());
    writer.await.unwrap();
    let all = GetOptions::new()
        .with_prefix()
        .with_sort(SortTarget::Create, SortOrder::Ascend);
    let written = client.get("watch/", all).await.unwrap();
    assert!(written.kvs.len() > WATCHED_WRITES / 2, "few came through");
    let mut seen = before;
    let missing = written.kvs.len() - seen.len();
    seen.extend(events(&mut watch, missing).await);
    let written: Vec<_> = written
        .kvs
        .into_iter()
        .map(|kv| (kv.mod_revision, kv.key))
        .collect();
    assert_eq!(seen, written);
    watch.cancel();
}

/// At least so many events: their revisions and keys.
async fn events(watch: &mut Watch, count: usize) -> Vec<(i64, bytes::Bytes)> {
    let mut seen = Vec::new();
    while seen.len() < count {
        let batch = watch.next().await.unwrap().unwrap();
        assert_eq!(
            Some(batch.revision),
            batch.events.last().map(|e| e.revision())
        );
        seen.extend(batch.events.into_iter().map(|event| {
            let revision = event.revision();
            (revision, event.kv.unwrap().key)
        }));
    }
    seen
}

async fn leases<T: Connector>(client: &Client<T, RealClock>) {
    let granted = client.lease_grant(3, None).await.unwrap();
    let id = granted.id;
    let with_lease = PutOptions::new().with_lease(id);
    client.put("lease/key", "v", with_lease).await.unwrap();
    let keeper = client.lease_keep_alive(id).await.unwrap();
    assert_eq!((keeper.id(), keeper.state()), (id, LeaseState::Alive));
    // Longer than it lives by itself.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(keeper.state(), LeaseState::Alive);
    let keys = LeaseTimeToLiveOptions::new().with_keys();
    let told = client.lease_time_to_live(id, keys).await.unwrap();
    assert!(told.ttl > 0, "{told:?}");
    assert_eq!(told.keys, ["lease/key"]);
    let ids: BTreeSet<i64> = client
        .leases()
        .await
        .unwrap()
        .leases
        .iter()
        .map(|l| l.id)
        .collect();
    assert!(ids.contains(&id));

    client.lease_revoke(id).await.unwrap();
    assert_eq!(keeper.lost().await, LeaseLost::Gone);
    assert_eq!(keeper.state(), LeaseState::Gone);
    assert!(client.get("lease/key", None).await.unwrap().kvs.is_empty());
    let refused = client.lease_keep_alive(id).await.unwrap_err();
    assert!(matches!(refused, CallError::Refused { code: 5, .. }));
}

async fn locks<T: Connector>(client: &Client<T, RealClock>) {
    let first = client.lock("lock", None).await.unwrap();
    let guarded = |guard| {
        Txn::new()
            .when([guard])
            .and_then([TxnOp::put("guarded", "v", None)])
    };
    assert!(client.txn(guarded(first.guard())).await.unwrap().succeeded);
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.lock("lock", HoldOptions::new().with_ttl(3)).await }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!waiting.is_finished(), "two hold the lock");
    let (token, guard) = (first.fencing_token(), first.guard());
    first.unlock().await.unwrap();
    let second = waiting.await.unwrap().unwrap();
    assert!(second.fencing_token() > token);
    assert!(!client.txn(guarded(guard)).await.unwrap().succeeded);

    // Somebody ends the lease behind the holder's back.
    let key = client.get(second.key(), None).await.unwrap();
    client.lease_revoke(key.kvs[0].lease).await.unwrap();
    assert_eq!(second.lost().await, LeaseLost::Gone);
    assert!(!client.txn(guarded(second.guard())).await.unwrap().succeeded);
    second.unlock().await.unwrap();

    // A lease that is not the lock's own outlives it, and takes the lock a second time.
    let lease = client.lease_grant(10, None).await.unwrap().id;
    let options = HoldOptions::new().with_lease(lease);
    let third = client.lock("lock", options).await.unwrap();
    let again = client.lock("lock", options).await.unwrap();
    assert_eq!(again.fencing_token(), third.fencing_token());
    again.unlock().await.unwrap();
    let told = client.lease_time_to_live(lease, None).await.unwrap();
    assert!(told.ttl > 0);
    client.lease_revoke(lease).await.unwrap();
}

async fn elections<T: Connector>(client: &Client<T, RealClock>) {
    assert!(client.leader("election").await.unwrap().is_none());
    let mut observed = client.observe("election");
    let first = client.campaign("election", "a", None).await.unwrap();
    assert_eq!(observed.next().await.unwrap().unwrap().value_str(), Ok("a"));
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.campaign("election", "b", None).await }
    });
    first.proclaim("a2").await.unwrap();
    assert_eq!(
        observed.next().await.unwrap().unwrap().value_str(),
        Ok("a2")
    );
    let leader = client.leader("election").await.unwrap().unwrap();
    assert_eq!(&leader.key, first.key());
    assert!(!waiting.is_finished(), "two lead");
    let token = first.fencing_token();
    first.resign().await.unwrap();
    let second = waiting.await.unwrap().unwrap();
    assert!(second.fencing_token() > token);
    assert_eq!(observed.next().await.unwrap().unwrap().value_str(), Ok("b"));
    client.delete(second.key(), None).await.unwrap();
    assert_eq!(second.proclaim("c").await, Err(HoldError::KeyChanged));
}

async fn members<T: Connector>(client: &Client<T, RealClock>, address: &str) {
    let list = client.member_list().await.unwrap();
    assert_eq!(list.members.len(), 1);
    let member = client.member(address).unwrap();
    let status = member.status().await.unwrap();
    assert_eq!(status.leader, list.members[0].id);
    let header = status.header.as_ref().unwrap();
    let hashed = client.hash_kv(0).await.unwrap();
    assert_eq!(hashed.revision(), header.revision);
    assert_eq!(hashed.hash, client.hash_kv(0).await.unwrap().hash);
    client.hash().await.unwrap();
    client.defragment().await.unwrap();
    assert!(client.alarms().await.unwrap().alarms.is_empty());
    let added = client.member_add_learner(["http://127.0.0.1:1"]).await;
    let learner = added.unwrap().member.unwrap();
    assert!(learner.is_learner);
    let refused = client.member_promote(learner.id).await.unwrap_err();
    assert!(matches!(refused, CallError::Refused { .. }), "{refused:?}");
    let left = client.member_remove(learner.id).await.unwrap();
    assert_eq!(left.members.len(), 1);
    assert_eq!(client.member_addresses().await.unwrap(), [address]);
}

#[test]
fn the_typed_client_does_what_it_says_by_the_pipelined_protocol() {
    let mut cluster = Cluster::start(1, &[]);
    let client = PipelinedClient::connect([cluster.address()]).expect("an address");
    exercise(&client, &mut cluster);
}

#[test]
fn the_typed_client_does_what_it_says_by_grpc() {
    let mut cluster = Cluster::start(1, &[]);
    let client = GrpcClient::connect([cluster.address()]).expect("an address");
    exercise(&client, &mut cluster);
}

#[test]
fn the_typed_client_does_what_it_says_of_etcd() {
    let Some(etcd) = Etcd::installed() else {
        return;
    };
    let mut member = start_etcd(&etcd, 1).remove(0);
    let client = GrpcClient::connect([format!("http://{}", member.address())]);
    exercise(&client.expect("an address"), &mut member);
}

/// A client that is told of the first of several members, and finds the others by itself.
fn told_of_one<T: Connector>(connector: T, address: &str) -> Client<T, RealClock> {
    let address = address.strip_prefix("http://").unwrap_or(address);
    let config = ClientConfig {
        discovery_interval: Some(Duration::from_millis(100)),
        ..ClientConfig::new(vec![address.to_owned()])
    };
    Client::new(connector, RealClock::default(), config)
}

/// It goes on when the one that it was told of is gone for good.
fn goes_on_without_the_first<T: Connector>(
    client: &Client<T, RealClock>,
    addresses: &[String],
    end_the_first: impl FnOnce(),
) {
    runtime().block_on(async {
        in_time("ready", ready(client)).await;
        let all: BTreeSet<&str> = addresses
            .iter()
            .map(|address| address.strip_prefix("http://").unwrap_or(address))
            .collect();
        in_time("members", async {
            loop {
                let known = client.endpoints().await;
                if known.iter().map(String::as_str).collect::<BTreeSet<_>>() == all {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        end_the_first();
        in_time("without the first", async {
            while client.put("discovery", "goes on", None).await.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
    });
}

#[test]
fn a_client_that_is_told_of_one_member_finds_the_others_by_the_pipelined_protocol() {
    let mut cluster = Cluster::start(3, &[]);
    let client = told_of_one(Pipelined::new(TcpNetwork), &cluster.addresses()[0]);
    let addresses = cluster.addresses();
    goes_on_without_the_first(&client, &addresses, || cluster.members[0].kill());
}

#[test]
fn a_client_that_is_told_of_one_member_finds_the_others_by_grpc() {
    let mut cluster = Cluster::start(3, &[]);
    let client = told_of_one(Grpc::default(), &cluster.addresses()[0]);
    let addresses = cluster.addresses();
    goes_on_without_the_first(&client, &addresses, || cluster.members[0].kill());
}

#[test]
fn a_client_that_is_told_of_one_member_of_etcd_finds_the_others() {
    let Some(etcd) = Etcd::installed() else {
        return;
    };
    let mut members = start_etcd(&etcd, 3);
    let addresses: Vec<_> = members.iter().map(EtcdMember::client_address).collect();
    let client = told_of_one(Grpc::default(), &addresses[0]);
    goes_on_without_the_first(&client, &addresses, || members[0].end());
}
