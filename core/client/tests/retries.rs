//! What a client sends again, and what it never does.

#![cfg(not(madsim))]
#![allow(
    clippy::disallowed_methods,
    reason = "the client runs on the real machine here"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use veridical_client::{CallError, Client, ClientConfig, Pipelined, PipelinedClient};
use veridical_env::{Listener, Network, RealClock, StreamReader, TcpNetwork};
use veridical_planted::Planted;

/// Bytes with which every connection begins, before the first request.
const MAGIC_BYTES: usize = 8;

/// A member that takes requests and answers none: it closes the connection. Returns
/// where it listens and how many it took.
async fn silent_member() -> (String, Arc<AtomicUsize>) {
    let mut listener = TcpNetwork.listen("127.0.0.1:0").await.expect("a port");
    let address = listener.local_address();
    let taken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&taken);
    tokio::spawn(async move {
        while let Ok((mut reader, _writer, _address)) = listener.accept().await {
            let mut received = BytesMut::new();
            while received.len() <= MAGIC_BYTES {
                if reader.read(&mut received).await.unwrap_or(0) == 0 {
                    break;
                }
            }
            count.fetch_add(usize::from(received.len() > MAGIC_BYTES), Ordering::SeqCst);
        }
    });
    (address, taken)
}

/// Where nobody listens.
async fn deserted() -> String {
    let listener = TcpNetwork.listen("127.0.0.1:0").await.expect("a port");
    listener.local_address()
}

fn client(addresses: Vec<String>, planted: Planted) -> PipelinedClient {
    let config = ClientConfig {
        request_timeout: Duration::from_millis(500),
        retry_delay: Duration::from_millis(10),
        planted,
        ..ClientConfig::new(addresses)
    };
    Client::new(Pipelined::new(TcpNetwork), RealClock::default(), config)
}

/// How often a put is sent whose connection breaks before it is answered.
async fn sent_puts(planted: Planted) -> usize {
    let (address, taken) = silent_member().await;
    let outcome = client(vec![address], planted)
        .put("key", "value", None)
        .await;
    assert!(outcome.is_err());
    if planted == Planted::none() {
        assert!(matches!(outcome, Err(CallError::Unknown(_))), "{outcome:?}");
    }
    taken.load(Ordering::SeqCst)
}

#[tokio::test]
async fn a_write_whose_outcome_is_unknown_is_sent_once() {
    assert_eq!(sent_puts(Planted::none()).await, 1);
}

#[tokio::test]
async fn a_read_is_sent_again_and_is_never_of_unknown_outcome() {
    let (address, taken) = silent_member().await;
    let outcome = client(vec![address], Planted::none())
        .get("key", None)
        .await;
    assert!(
        matches!(outcome, Err(CallError::Unavailable(_))),
        "{outcome:?}"
    );
    assert!(taken.load(Ordering::SeqCst) > 1);
}

/// Swarm seed 5576: of four endpoints the first and the third were gone, and a client that moved
/// on twice after each saw these two alone.
#[tokio::test]
async fn every_other_endpoint_may_be_gone() {
    let (second, taken_by_second) = silent_member().await;
    let (fourth, taken_by_fourth) = silent_member().await;
    let addresses = vec![deserted().await, second, deserted().await, fourth];
    let outcome = client(addresses, Planted::none()).get("key", None).await;
    assert!(outcome.is_err(), "{outcome:?}");
    assert!(taken_by_second.load(Ordering::SeqCst) > 0);
    assert!(taken_by_fourth.load(Ordering::SeqCst) > 0);
}

/// A member that takes connections and requests, keeps them open and says nothing.
async fn mute_member() -> String {
    let mut listener = TcpNetwork.listen("127.0.0.1:0").await.expect("a port");
    let address = listener.local_address();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok(connection) = listener.accept().await {
            kept.push(connection);
        }
    });
    address
}

#[tokio::test]
async fn a_member_that_says_nothing_is_left_before_the_request_times_out() {
    let (other, taken) = silent_member().await;
    let config = ClientConfig {
        silence_timeout: Duration::from_millis(20),
        retry_delay: Duration::from_millis(10),
        ..ClientConfig::new(vec![mute_member().await, other])
    };
    let client = Client::new(Pipelined::new(TcpNetwork), RealClock::default(), config);
    let writer = client.clone();
    // Whose outcome only the mute member could tell: it is not sent to the other one.
    let write = tokio::spawn(async move { writer.put("key", "value", None).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(taken.load(Ordering::SeqCst), 0);
    let read = client.get("key", None);
    let read = tokio::time::timeout(Duration::from_millis(300), read).await;
    assert!(read.is_err(), "{read:?}");
    assert!(
        taken.load(Ordering::SeqCst) > 0,
        "the read goes elsewhere at once"
    );
    assert!(!write.is_finished(), "the write waits for its answer");
    write.abort();
}

#[cfg(feature = "planted-bugs")]
#[tokio::test]
async fn planted_a_write_whose_outcome_is_unknown_is_sent_again() {
    use veridical_planted::PlantedBug;

    let planted = Planted::only(PlantedBug::UnsafeRetry);
    assert!(sent_puts(planted).await > 1);
}
