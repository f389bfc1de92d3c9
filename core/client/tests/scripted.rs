//! Watches, leases and locks against members that do what a test says, whatever it is.

#![cfg(not(madsim))]
#![allow(
    clippy::disallowed_methods,
    reason = "the client runs on the real machine here"
)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;
use veridical_client::{
    CallError, Client, ClientConfig, Connector, Event, HoldError, HoldOptions, KeyValue, LeaseLost,
    LeaseState, Link, WatchChannel, WatchError, WatchOptions, WatchRequests,
};
use veridical_env::{Clock, RealClock};
use veridical_proto::etcdserverpb as api;
use veridical_proto::etcdserverpb::response_op::Response as OpAnswer;
use veridical_proto::etcdserverpb::watch_request::RequestUnion;
use veridical_proto::native::request::Body as Ask;
use veridical_proto::native::response::Body as Answer;

type Calls = dyn Fn(Ask) -> Result<Answer, CallError> + Send + Sync;

/// What a member does with a stream of watches, given its number, the first request, and the way
/// back. The stream ends when the way back is dropped.
type Watches =
    dyn Fn(usize, api::WatchCreateRequest, mpsc::Sender<api::WatchResponse>) + Send + Sync;

/// Members that do what they are told; addresses are their numbers.
#[derive(Clone)]
struct Script {
    calls: Arc<Calls>,
    watches: Arc<Watches>,
}

#[derive(Clone)]
struct ScriptLink(Arc<Calls>);

impl Link for ScriptLink {
    async fn call(&self, request: Ask) -> Result<Answer, CallError> {
        (self.0)(request)
    }

    fn is_closed(&self) -> bool {
        false
    }
}

impl Connector for Script {
    type Link = ScriptLink;

    const TAKES_BATCHES: bool = false;

    async fn connect(&self, _address: &str) -> Result<ScriptLink, CallError> {
        Ok(ScriptLink(Arc::clone(&self.calls)))
    }

    async fn watch(&self, address: &str) -> Result<WatchChannel, CallError> {
        let member = address.parse().expect("a number");
        let (requests, mut asked) = mpsc::channel(8);
        let (sender, responses) = mpsc::channel(64);
        let watches = Arc::clone(&self.watches);
        tokio::spawn(async move {
            let mut sender = Some(sender);
            while let Some(api::WatchRequest { request_union }) = asked.recv().await {
                if let (Some(RequestUnion::CreateRequest(create)), Some(sender)) =
                    (request_union, sender.take())
                {
                    watches(member, create, sender);
                }
            }
        });
        Ok(WatchChannel {
            requests: WatchRequests::Stream(requests),
            responses,
        })
    }
}

fn client(
    calls: impl Fn(Ask) -> Result<Answer, CallError> + Send + Sync + 'static,
    watches: impl Fn(usize, api::WatchCreateRequest, mpsc::Sender<api::WatchResponse>)
    + Send
    + Sync
    + 'static,
) -> Client<Script, RealClock> {
    client_with(RealClock::default(), calls, watches)
}

fn client_with(
    clock: RealClock,
    calls: impl Fn(Ask) -> Result<Answer, CallError> + Send + Sync + 'static,
    watches: impl Fn(usize, api::WatchCreateRequest, mpsc::Sender<api::WatchResponse>)
    + Send
    + Sync
    + 'static,
) -> Client<Script, RealClock> {
    let config = ClientConfig {
        retry_delay: Duration::from_millis(5),
        request_timeout: Duration::from_secs(5),
        ..ClientConfig::new(vec!["0".to_owned(), "1".to_owned()])
    };
    let script = Script {
        calls: Arc::new(calls),
        watches: Arc::new(watches),
    };
    Client::new(script, clock, config)
}

fn no_calls(ask: Ask) -> Result<Answer, CallError> {
    panic!("nobody asks {ask:?}")
}

fn header(revision: i64) -> Option<api::ResponseHeader> {
    Some(api::ResponseHeader {
        revision,
        ..Default::default()
    })
}

fn created(revision: i64) -> api::WatchResponse {
    api::WatchResponse {
        header: header(revision),
        created: true,
        ..Default::default()
    }
}

/// Events of these revisions.
fn brings(revisions: &[i64], fragment: bool) -> api::WatchResponse {
    let events = revisions.iter().map(|revision| Event {
        kv: Some(KeyValue {
            key: "k".into(),
            mod_revision: *revision,
            ..Default::default()
        }),
        ..Default::default()
    });
    api::WatchResponse {
        header: header(100),
        events: events.collect(),
        fragment,
        ..Default::default()
    }
}

#[tokio::test]
async fn a_watch_goes_on_at_the_next_member_behind_the_last_whole_revision() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let asked_of = Arc::clone(&asked);
    let client = client(no_calls, move |member, create, sender| {
        let mut asked = asked.lock().unwrap();
        asked.push((member, create.start_revision));
        let responses = match asked.len() {
            // From now on, which is 8, and then it breaks before anything came.
            1 => vec![created(7)],
            // Breaks within revision 9.
            2 => vec![created(9), brings(&[8, 9], true)],
            _ => vec![created(9), brings(&[9, 9, 10], false)],
        };
        for response in responses {
            sender.try_send(response).unwrap();
        }
        if asked.len() == 3 {
            tokio::spawn(async move { sender.closed().await });
        }
    });
    let mut watch = client.watch("k", None).await.unwrap();
    assert_eq!(watch.start_revision(), 8);
    let mut seen = Vec::new();
    while seen.len() < 4 {
        let batch = watch.next().await.unwrap().unwrap();
        seen.extend(batch.events.iter().map(Event::revision));
    }
    assert_eq!(seen, [8, 9, 9, 10]);
    assert_eq!(*asked_of.lock().unwrap(), [(0, 0), (1, 8), (0, 9)]);
}

#[tokio::test]
async fn a_silent_member_is_left() {
    let streams = AtomicUsize::new(0);
    let client = client(no_calls, move |member, _, sender| {
        sender.try_send(created(7)).unwrap();
        if streams.fetch_add(1, Ordering::SeqCst) > 0 {
            sender
                .try_send(brings(&[8 + member as i64], false))
                .unwrap();
        }
        // Held open, and nothing comes.
        tokio::spawn(async move { sender.closed().await });
    });
    let options = WatchOptions::new().with_silence_max(Duration::from_millis(50));
    let mut watch = client.watch("k", options).await.unwrap();
    let batch = watch.next().await.unwrap().unwrap();
    assert_eq!(batch.revision, 9, "it is the other member that brings it");
}

#[tokio::test]
async fn a_compaction_while_nobody_was_reached_ends_the_watch_and_is_named() {
    let streams = AtomicUsize::new(0);
    let client = client(no_calls, move |_, _, sender| {
        if streams.fetch_add(1, Ordering::SeqCst) == 0 {
            sender.try_send(created(7)).unwrap();
            return;
        }
        let compacted = api::WatchResponse {
            canceled: true,
            compact_revision: 20,
            ..created(30)
        };
        sender.try_send(compacted).unwrap();
    });
    let mut watch = client.watch("k", None).await.unwrap();
    let error = WatchError::Compacted {
        compact_revision: 20,
    };
    assert_eq!(watch.next().await, Some(Err(error)));
    assert_eq!(watch.next().await, None);
}

#[tokio::test]
async fn a_watch_that_is_dropped_leaves_no_stream_behind() {
    let (open, mut closed) = mpsc::channel::<()>(1);
    let client = client(no_calls, move |_, _, sender| {
        sender.try_send(created(7)).unwrap();
        let open = open.clone();
        tokio::spawn(async move {
            sender.closed().await;
            open.send(()).await
        });
    });
    let watch = client.watch("k", None).await.unwrap();
    drop(watch);
    tokio::time::timeout(Duration::from_secs(5), closed.recv())
        .await
        .expect("the stream ends");
}

fn renewed(ttl: i64) -> Result<Answer, CallError> {
    Ok(Answer::LeaseKeepAlive(api::LeaseKeepAliveResponse {
        header: header(1),
        id: 7,
        ttl,
    }))
}

#[tokio::test]
async fn a_lease_that_cannot_be_renewed_is_not_said_to_live() {
    let renewals = AtomicUsize::new(0);
    let client = client(
        move |_| match renewals.fetch_add(1, Ordering::SeqCst) {
            0 => renewed(1),
            _ => Err(CallError::Unknown("nobody knows".to_owned())),
        },
        |_, _, _| {},
    );
    let keeper = client.lease_keep_alive(7).await.unwrap();
    assert_eq!(keeper.state(), LeaseState::Alive);
    assert_eq!(keeper.lost().await, LeaseLost::Unconfirmed);
    assert_eq!(keeper.state(), LeaseState::Uncertain);
}

#[tokio::test]
async fn a_lease_lives_from_before_its_renewal_was_sent() {
    let clock = RealClock::default();
    let asked_at = Arc::new(Mutex::new(None));
    let (noted, at) = (Arc::clone(&asked_at), clock);
    let client = client_with(
        clock,
        move |_| {
            noted.lock().unwrap().get_or_insert(at.monotonic());
            // The answer is late, and the member may have renewed it as soon as it was asked.
            std::thread::sleep(Duration::from_millis(300));
            renewed(1)
        },
        |_, _, _| {},
    );
    let keeper = client.lease_keep_alive(7).await.unwrap();
    let until = keeper.expires_at_least().unwrap();
    let asked_at = asked_at.lock().unwrap().unwrap();
    assert!(until <= asked_at + Duration::from_secs(1));
}

#[tokio::test]
async fn a_keeper_that_is_dropped_renews_no_more_and_one_that_lives_does() {
    let renewals = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&renewals);
    let client = client(
        move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            renewed(1)
        },
        |_, _, _| {},
    );
    let keeper = client.lease_keep_alive(7).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(keeper.state(), LeaseState::Alive);
    let while_kept = renewals.load(Ordering::SeqCst);
    assert!(while_kept >= 3, "{while_kept}");
    drop(keeper);
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    // One may have been under way.
    assert!(renewals.load(Ordering::SeqCst) <= while_kept + 1);
}

/// A store of one lock, whose first transaction takes effect and tells nobody.
fn forgetful_store(lease_of_key: i64) -> impl Fn(Ask) -> Result<Answer, CallError> + Send + Sync {
    let transactions = AtomicUsize::new(0);
    let own = move || KeyValue {
        key: "lock/7".into(),
        create_revision: 5,
        mod_revision: 5,
        lease: lease_of_key,
        ..Default::default()
    };
    move |ask| match ask {
        Ask::LeaseGrant(_) => Ok(Answer::LeaseGrant(api::LeaseGrantResponse {
            header: header(4),
            id: 7,
            ttl: 10,
            ..Default::default()
        })),
        Ask::LeaseKeepAlive(_) => renewed(10),
        Ask::LeaseRevoke(_) => Ok(Answer::LeaseRevoke(Default::default())),
        Ask::Txn(_) if transactions.fetch_add(1, Ordering::SeqCst) == 0 => {
            Err(CallError::Unknown("the connection broke".to_owned()))
        }
        Ask::Txn(_) => {
            let found = api::RangeResponse {
                kvs: vec![own()],
                ..Default::default()
            };
            Ok(Answer::Txn(api::TxnResponse {
                header: header(9),
                succeeded: false,
                responses: vec![api::ResponseOp {
                    response: Some(OpAnswer::ResponseRange(found)),
                }],
            }))
        }
        Ask::Range(range) => {
            let is_own = range.range_end.is_empty();
            Ok(Answer::Range(api::RangeResponse {
                header: header(9),
                kvs: is_own.then(own).into_iter().collect(),
                ..Default::default()
            }))
        }
        other => panic!("nobody asks {other:?}"),
    }
}

#[tokio::test]
async fn a_lock_whose_outcome_is_unknown_is_read_back() {
    let client = client(forgetful_store(7), |_, _, _| {});
    let lock = client.lock("lock", HoldOptions::new()).await.unwrap();
    // That of the key, and not the revision of the answer.
    assert_eq!(lock.fencing_token(), 5);
}

#[tokio::test]
async fn a_key_of_somebody_else_is_no_lock() {
    let client = client(forgetful_store(8), |_, _, _| {});
    let refused = client.lock("lock", HoldOptions::new()).await;
    assert_eq!(refused.err(), Some(HoldError::KeyChanged));
}
