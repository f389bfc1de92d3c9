//! The pipelined client protocol, server side: requests of one connection are served
//! concurrently and answered in whatever order they finish.

use bytes::BytesMut;
use std::sync::Arc;
use tokio::sync::{Semaphore, mpsc};
use tracing::debug;
use veridical_env::{Clock, Environment, Listener, StreamReader, StreamWriter};
use veridical_probe::{queue, reachable, sometimes};
use veridical_proto::etcdserverpb as api;
use veridical_proto::frame::{FrameError, decode_message, encode_frame};
use veridical_proto::native::request::Body as Ask;
use veridical_proto::native::response::Body as Answer;
use veridical_proto::native::{Failure, Request, Response};
use veridical_store::ApiError;

use crate::api::node::Node;
use crate::config::ms;

/// The first bytes of a connection that speaks this protocol; what they are not is
/// HTTP/2.
pub const NATIVE_MAGIC: &[u8; 8] = b"VRDCLNT1";

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The client does not speak the protocol.
    #[error("the connection does not begin with the protocol's magic bytes")]
    NotNative,
    /// The bytes are no frames.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// Requests were lost on the way.
    #[error("request {expected} was expected, {got} came")]
    Gap {
        /// The next request by count.
        expected: u64,
        /// What came instead.
        got: u64,
    },
    /// The connection broke.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Accepts and serves clients until the listener's task is dropped.
pub async fn accept_clients<E: Environment, L: Listener>(node: Node<E>, mut listener: L) {
    loop {
        match listener.accept().await {
            Ok((reader, writer, address)) => {
                let node = node.clone();
                veridical_env::task::spawn(async move {
                    if let Err(error) = serve_client(node, reader, writer, BytesMut::new()).await {
                        debug!(%address, %error, "client session ended");
                    }
                });
            }
            Err(error) => {
                debug!(%error, "cannot accept a client");
                tokio::task::yield_now().await;
            }
        }
    }
}

/// Serves one client. `buffer` holds what was read from the connection already.
///
/// # Errors
/// The client breaks the protocol, or the connection breaks.
pub async fn serve_client<E: Environment>(
    node: Node<E>,
    mut reader: impl StreamReader,
    mut writer: impl StreamWriter,
    mut buffer: BytesMut,
) -> Result<(), SessionError> {
    while buffer.len() < NATIVE_MAGIC.len() {
        if reader.read(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
    if !buffer.starts_with(NATIVE_MAGIC) {
        return Err(SessionError::NotNative);
    }
    let _magic = buffer.split_to(NATIVE_MAGIC.len());

    let limit = node.config().limits.max_session_requests;
    let write_bytes = node.config().limits.session_write_bytes;
    let (responses, mut outgoing) = mpsc::channel::<Response>(limit);
    let (watch_requests, watch_input) = mpsc::channel(limit);
    let writing = async move {
        let mut wire = BytesMut::new();
        let mut ordinal = 0;
        let mut encode = |mut response: Response, wire: &mut BytesMut| {
            ordinal += 1;
            response.ordinal = ordinal;
            encode_frame(&response, wire);
        };
        while let Some(response) = outgoing.recv().await {
            encode(response, &mut wire);
            while wire.len() < write_bytes {
                let Ok(response) = outgoing.try_recv() else {
                    break;
                };
                encode(response, &mut wire);
            }
            writer.write(wire.split().freeze()).await?;
        }
        Ok::<(), SessionError>(())
    };
    let watching = watch(node.clone(), watch_input, responses.clone());
    let reading = async move {
        let permits = Arc::new(Semaphore::new(limit));
        let mut last_id = 0;
        loop {
            while let Some(request) = decode_message::<Request>(&mut buffer)? {
                let Request { id, body } = request;
                if id <= last_id {
                    reachable!("node.request-came-twice");
                    continue;
                }
                if id != last_id + 1 {
                    reachable!("node.request-lost-on-the-way");
                    return Err(SessionError::Gap {
                        expected: last_id + 1,
                        got: id,
                    });
                }
                last_id = id;
                let Some(body) = body else { continue };
                if let Ask::Watch(request) = body {
                    // Ends with the session.
                    let _ = watch_requests.send(request).await;
                    continue;
                }
                sometimes!(
                    permits.available_permits() == 0,
                    "node.session-waits-at-the-bound-of-requests"
                );
                let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
                    return Ok(());
                };
                queue!(
                    "node.session-requests",
                    limit - permits.available_permits(),
                    limit
                );
                let (node, responses) = (node.clone(), responses.clone());
                veridical_env::task::spawn(async move {
                    let answer = serve_request(&node, body).await.unwrap_or_else(failure);
                    // The client may be gone.
                    let _ = responses
                        .send(Response {
                            id,
                            ordinal: 0,
                            body: Some(answer),
                        })
                        .await;
                    drop(permit);
                });
            }
            if reader.read(&mut buffer).await? == 0 {
                return Ok::<(), SessionError>(());
            }
        }
    };
    tokio::select! {
        biased;
        result = writing => result,
        result = reading => result,
        () = watching => Ok(()),
    }
}

/// Serves the watches of one connection.
async fn watch<E: Environment>(
    node: Node<E>,
    mut requests: mpsc::Receiver<api::WatchRequest>,
    responses: mpsc::Sender<Response>,
) {
    // Most connections watch nothing.
    let Some(first) = requests.recv().await else {
        return std::future::pending().await;
    };
    let mut watcher = node.watch();
    let mut next = Some(first);
    loop {
        if let Some(request) = next.take()
            && let Err(error) = watcher.handle(request)
        {
            debug!(%error, "refused a watch request");
            return;
        }
        while let Some(response) = watcher.poll() {
            let response = Response {
                id: 0,
                ordinal: 0,
                body: Some(Answer::Watch(response)),
            };
            if responses.send(response).await.is_err() {
                return;
            }
            // A watch with much to catch up on must not keep others waiting.
            match node.config().limits.watch_pace_ms {
                0 => tokio::task::yield_now().await,
                pace_ms => node.environment().clock().sleep(ms(pace_ms)).await,
            }
        }
        tokio::select! {
            biased;
            request = requests.recv() => match request {
                Some(request) => next = Some(request),
                None => return std::future::pending().await,
            },
            () = watcher.ready() => {}
        }
    }
}

async fn serve_request<E: Environment>(node: &Node<E>, body: Ask) -> Result<Answer, ApiError> {
    Ok(match body {
        Ask::Range(request) => Answer::Range(node.range(&request).await?),
        Ask::Put(request) => Answer::Put(node.put(request).await?),
        Ask::DeleteRange(request) => Answer::DeleteRange(node.delete_range(request).await?),
        Ask::Txn(request) => Answer::Txn(node.txn(request).await?),
        Ask::Compaction(request) => Answer::Compaction(node.compact(request).await?),
        Ask::LeaseGrant(request) => Answer::LeaseGrant(node.lease_grant(request).await?),
        Ask::LeaseRevoke(request) => Answer::LeaseRevoke(node.lease_revoke(request).await?),
        Ask::LeaseKeepAlive(request) => {
            Answer::LeaseKeepAlive(node.lease_keep_alive(request.id).await?)
        }
        Ask::LeaseTimeToLive(request) => {
            Answer::LeaseTimeToLive(node.lease_time_to_live(&request).await?)
        }
        Ask::LeaseLeases(_) => Answer::LeaseLeases(node.lease_leases().await?),
        Ask::Status(_) => Answer::Status(node.status()),
        Ask::MemberList(request) => Answer::MemberList(node.member_list(&request).await?),
        Ask::HashKv(request) => Answer::HashKv(node.hash_kv(&request)?),
        Ask::MemberAdd(request) => Answer::MemberAdd(node.member_add(request).await?),
        Ask::MemberRemove(request) => Answer::MemberRemove(node.member_remove(request.id).await?),
        Ask::MemberPromote(request) => {
            Answer::MemberPromote(node.member_promote(request.id).await?)
        }
        Ask::MoveLeader(request) => Answer::MoveLeader(node.move_leader(request.target_id).await?),
        Ask::Watch(_) => unreachable!("watches are served by their own task"),
    })
}

fn failure(error: ApiError) -> Answer {
    Answer::Failure(Failure {
        code: u32::from(error.code.number()),
        message: error.message.into_owned(),
        outcome_unknown: error.outcome_unknown,
    })
}
