//! What becomes of the operations of a batch that is cut off or done in part.

#![allow(
    clippy::disallowed_methods,
    reason = "the client runs on the real machine here"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use veridical_client::{BatchLimits, CallError, Client, ClientConfig, Pipelined, PipelinedClient};
use veridical_env::{Listener, Network, RealClock, StreamReader, StreamWriter, TcpNetwork};
use veridical_planted::Planted;
use veridical_proto::etcdserverpb::{PutRequest, PutResponse, RangeRequest, ResponseHeader};
use veridical_proto::frame::{decode_message, encode_frame};
use veridical_proto::native::batch_operation::Operation;
use veridical_proto::native::batch_result::Result as ResultKind;
use veridical_proto::native::request::Body as Ask;
use veridical_proto::native::response::Body as Answer;
use veridical_proto::native::{BatchResult, BatchResults, Failure, Request, Response};

/// Bytes with which every connection begins, before the first request.
const MAGIC_BYTES: usize = 8;

/// A member that answers the batches that it gets, one after the other, as `script` says: with
/// results, or by closing the connection. Returns where it listens and how many it got.
async fn scripted_member(
    script: impl Fn(usize, &[Operation]) -> Option<Vec<ResultKind>> + Send + Sync + 'static,
) -> (String, Arc<AtomicUsize>) {
    let mut listener = TcpNetwork.listen("127.0.0.1:0").await.expect("a port");
    let address = listener.local_address();
    let batches = Arc::new(AtomicUsize::new(0));
    let (count, script) = (Arc::clone(&batches), Arc::new(script));
    tokio::spawn(async move {
        while let Ok((mut reader, mut writer, _address)) = listener.accept().await {
            let (count, script) = (Arc::clone(&count), Arc::clone(&script));
            tokio::spawn(async move {
                let mut received = BytesMut::new();
                while received.len() < MAGIC_BYTES {
                    reader.read(&mut received).await.expect("the magic");
                }
                let _magic = received.split_to(MAGIC_BYTES);
                let mut ordinal = 0;
                loop {
                    let request = decode_message::<Request>(&mut received).expect("a frame");
                    let Some(request) = request else {
                        if reader.read(&mut received).await.unwrap_or(0) == 0 {
                            return;
                        }
                        continue;
                    };
                    let Some(Ask::Batch(batch)) = request.body else {
                        return;
                    };
                    let operations = batch.operations.into_iter();
                    let operations: Vec<_> = operations.filter_map(|op| op.operation).collect();
                    let number = count.fetch_add(1, Ordering::SeqCst);
                    let Some(results) = script(number, &operations) else {
                        return;
                    };
                    let results = results.into_iter();
                    let results = results.map(|result| BatchResult {
                        result: Some(result),
                    });
                    ordinal += 1;
                    let response = Response {
                        id: request.id,
                        ordinal,
                        body: Some(Answer::Batch(BatchResults {
                            header: Some(ResponseHeader::default()),
                            results: results.collect(),
                        })),
                    };
                    let mut wire = BytesMut::new();
                    encode_frame(&response, &mut wire);
                    writer.write(wire.freeze()).await.expect("an answer");
                }
            });
        }
    });
    (address, batches)
}

fn client(address: String, planted: Planted) -> PipelinedClient {
    let config = ClientConfig {
        request_timeout: Duration::from_millis(500),
        retry_delay: Duration::from_millis(5),
        batching: Some(BatchLimits::default()),
        planted,
        ..ClientConfig::new(vec![address])
    };
    Client::new(Pipelined::new(TcpNetwork), RealClock::default(), config)
}

fn put(key: &str) -> Operation {
    Operation::Put(PutRequest {
        key: key.to_owned().into(),
        ..Default::default()
    })
}

fn get(key: &str) -> Operation {
    Operation::Range(RangeRequest {
        key: key.to_owned().into(),
        ..Default::default()
    })
}

/// A put that was done with this revision.
fn done(revision: i64) -> ResultKind {
    ResultKind::Put(PutResponse {
        header: Some(ResponseHeader {
            revision,
            ..Default::default()
        }),
        prev_kv: None,
    })
}

fn failed(code: u32, outcome_unknown: bool) -> ResultKind {
    ResultKind::Failure(Failure {
        code,
        message: "no".to_owned(),
        outcome_unknown,
    })
}

/// An outcome in a word.
fn word(outcome: &Result<Answer, CallError>) -> String {
    match outcome {
        Ok(Answer::Put(put)) => format!("done {}", put.header.as_ref().unwrap().revision),
        Ok(_) => "done".to_owned(),
        Err(CallError::Refused { code, .. }) => format!("refused {code}"),
        Err(CallError::Unknown(_)) => "unknown".to_owned(),
        Err(CallError::Unavailable(_)) => "not done".to_owned(),
    }
}

fn words(outcomes: &[Result<Answer, CallError>]) -> Vec<String> {
    outcomes.iter().map(word).collect()
}

#[tokio::test]
async fn the_writes_of_a_batch_that_is_cut_off_are_unknown_and_not_sent_again() {
    let (address, batches) = scripted_member(|_, _| None).await;
    let client = client(address, Planted::none());
    let outcomes = client.batch(vec![put("a"), get("b"), put("c")]).await;
    assert_eq!(words(&outcomes), ["unknown", "not done", "unknown"]);
    assert_eq!(batches.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_batch_that_only_reads_is_sent_again_when_it_is_cut_off() {
    let (address, batches) = scripted_member(|number, operations| {
        (number > 0).then(|| operations.iter().map(|_| failed(11, false)).collect())
    })
    .await;
    let outcomes = client(address, Planted::none())
        .batch(vec![get("a"), get("b")])
        .await;
    assert_eq!(words(&outcomes), ["refused 11", "refused 11"]);
    assert_eq!(batches.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn what_was_not_begun_is_sent_again_in_its_order_and_nothing_else_is() {
    let (address, _) = scripted_member(|number, operations| {
        let keys = operations.iter().map(|operation| match operation {
            Operation::Put(put) => put.key.clone(),
            other => panic!("unexpected {other:?}"),
        });
        let keys: Vec<_> = keys.collect();
        Some(match number {
            0 => {
                assert_eq!(keys, ["a", "b", "c", "d"]);
                vec![
                    done(2),
                    failed(9, false),
                    failed(14, false),
                    ResultKind::Untried(true),
                ]
            }
            _ => {
                assert_eq!(keys, ["c", "d"]);
                vec![done(3), done(4)]
            }
        })
    })
    .await;
    let operations = ["a", "b", "c", "d"].map(put).to_vec();
    let outcomes = client(address, Planted::none()).batch(operations).await;
    assert_eq!(
        words(&outcomes),
        ["done 2", "refused 9", "done 3", "done 4"]
    );
}

#[tokio::test]
async fn nothing_is_sent_behind_a_write_whose_outcome_is_unknown() {
    let (address, batches) = scripted_member(|_, _| {
        let untried = ResultKind::Untried(true);
        Some(vec![done(2), failed(14, true), untried])
    })
    .await;
    let operations = ["a", "b", "c"].map(put).to_vec();
    let outcomes = client(address, Planted::none()).batch(operations).await;
    assert_eq!(words(&outcomes), ["done 2", "unknown", "not done"]);
    assert_eq!(batches.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_answer_with_another_number_of_results_says_nothing() {
    let (address, _) = scripted_member(|_, _| Some(vec![done(2)])).await;
    let outcomes = client(address, Planted::none())
        .batch(vec![put("a"), put("b")])
        .await;
    assert_eq!(words(&outcomes), ["unknown", "unknown"]);
}
