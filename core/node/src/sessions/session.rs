//! The pipelined client protocol, server side: requests of one connection are served
//! concurrently and answered in whatever order they finish.

use bytes::BytesMut;
use std::sync::Arc;
use tokio::sync::{Semaphore, mpsc};
use tracing::debug;
use veridical_env::{Clock, Environment, Listener, StreamReader, StreamWriter};
use veridical_planted::PlantedBug;
use veridical_probe::{queue, reachable, sometimes};
use veridical_proto::etcdserverpb as api;
use veridical_proto::frame::{FrameError, decode_message, encode_frame};
use veridical_proto::native::request::Body as RequestBody;
use veridical_proto::native::response::Body as ResponseBody;
use veridical_proto::native::{self, Response};
use veridical_store::ApiError;

use crate::api::batch::failure;
use crate::api::node::Node;
use crate::config::ms;
use crate::peers::incoming::ACCEPT_PAUSE;

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
                node.environment().clock().sleep(ACCEPT_PAUSE).await;
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
    writer: impl StreamWriter,
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
    let (responses, outgoing) = mpsc::channel::<Response>(limit);
    let (watch_requests, watch_input) = mpsc::channel(limit);
    let ends_with_refusal = node
        .config()
        .planted
        .has(PlantedBug::SessionEndsWithRefusal);
    let writing = write_responses(writer, outgoing, write_bytes, ends_with_refusal);
    let watching = watch(node.clone(), watch_input, responses.clone());
    let requests = Requests {
        node,
        permits: Arc::new(Semaphore::new(limit)),
        limit,
        last_id: 0,
        responses,
        watch_requests,
    };
    // Each half of the connection ends with whoever uses it: a client whose requests cannot be
    // read any more is told so by a reset, not by the end of the answers.
    let reading = requests.read(reader, buffer);
    tokio::select! {
        biased;
        result = writing => result,
        result = reading => result,
        () = watching => Ok(()),
    }
}

/// Writes responses as they come, joined up to `write_bytes`.
async fn write_responses(
    mut writer: impl StreamWriter,
    mut outgoing: mpsc::Receiver<Response>,
    write_bytes: usize,
    ends_with_refusal: bool,
) -> Result<(), SessionError> {
    let mut wire = BytesMut::new();
    let mut ordinal = 0;
    let mut encode = |mut response: Response, wire: &mut BytesMut| {
        ordinal += 1;
        response.ordinal = ordinal;
        encode_frame(&response, wire);
    };
    while let Some(response) = outgoing.recv().await {
        // Whoever has answered wakes this task at once. Others have often been answered by the
        // same entries, or the same confirmation, and are about to: they get their turn first,
        // or each answer would be a write of its own.
        tokio::task::yield_now().await;
        let is_refusal = matches!(response.body, Some(ResponseBody::Failure(_)));
        encode(response, &mut wire);
        while wire.len() < write_bytes {
            let Ok(response) = outgoing.try_recv() else {
                break;
            };
            encode(response, &mut wire);
        }
        writer.write(wire.split().freeze()).await?;
        if is_refusal && ends_with_refusal {
            return Ok(());
        }
    }
    Ok(())
}

/// The requests of one connection.
struct Requests<E: Environment> {
    node: Node<E>,
    /// One for each request that may be served at once.
    permits: Arc<Semaphore>,
    limit: usize,
    /// The id of the last request: they are numbered without gaps.
    last_id: u64,
    responses: mpsc::Sender<Response>,
    watch_requests: mpsc::Sender<api::WatchRequest>,
}

impl<E: Environment> Requests<E> {
    /// Reads and serves requests until the client closes the connection. `buffer` holds
    /// what was read already.
    async fn read(
        mut self,
        mut reader: impl StreamReader,
        mut buffer: BytesMut,
    ) -> Result<(), SessionError> {
        loop {
            while let Some(request) = decode_message::<native::Request>(&mut buffer)? {
                if !self.take(request).await? {
                    return Ok(());
                }
            }
            if reader.read(&mut buffer).await? == 0 {
                return Ok(());
            }
        }
    }

    /// Begins to serve a request. Returns `false` if nothing can be served any more.
    async fn take(&mut self, request: native::Request) -> Result<bool, SessionError> {
        let native::Request { id, body } = request;
        if id <= self.last_id {
            reachable!("node.request-came-twice");
            return Ok(true);
        }
        if id != self.last_id + 1 {
            reachable!("node.request-lost-on-the-way");
            return Err(SessionError::Gap {
                expected: self.last_id + 1,
                got: id,
            });
        }
        self.last_id = id;
        let Some(body) = body else { return Ok(true) };
        if let RequestBody::Watch(request) = body {
            // The watches end with the session.
            let _ = self.watch_requests.send(request).await;
            return Ok(true);
        }
        sometimes!(
            self.permits.available_permits() == 0,
            "node.session-waits-at-the-bound-of-requests"
        );
        let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await else {
            return Ok(false);
        };
        queue!(
            "node.session-requests",
            self.limit - self.permits.available_permits(),
            self.limit
        );
        let (node, responses) = (self.node.clone(), self.responses.clone());
        veridical_env::task::spawn(async move {
            let served = serve_request(&node, body).await;
            if let Err(error) = &served
                && error.outcome_unknown
                && node.config().planted.has(PlantedBug::UnknownNotTold)
            {
                return;
            }
            let answer = served.unwrap_or_else(|error| ResponseBody::Failure(failure(error)));
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
        Ok(true)
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
                body: Some(ResponseBody::Watch(response)),
            };
            if responses.send(response).await.is_err() {
                return;
            }
            // A watch with much to catch up on must not keep others waiting.
            match node.config().limits.watch_pace_ms {
                0 => tokio::task::yield_now().await,
                pace_ms => node.environment().clock().sleep(ms(pace_ms)).await,
            }
            // Nor must whoever wants to cancel one of them.
            if let Ok(request) = requests.try_recv() {
                next = Some(request);
                break;
            }
        }
        if next.is_some() {
            continue;
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

/// Serves what clients ask all the time.
async fn serve_request<E: Environment>(
    node: &Node<E>,
    body: RequestBody,
) -> Result<ResponseBody, ApiError> {
    Ok(match body {
        RequestBody::Range(request) => ResponseBody::Range(node.range(&request).await?),
        RequestBody::Put(request) => ResponseBody::Put(node.put(request).await?),
        RequestBody::DeleteRange(request) => {
            ResponseBody::DeleteRange(node.delete_range(request).await?)
        }
        RequestBody::Txn(request) => ResponseBody::Txn(node.txn(request).await?),
        // The state of a task is copied when it begins: those of rarer requests, which are
        // several times as large, are kept out of it.
        other => return Box::pin(serve_other_request(node, other)).await,
    })
}

/// Serves everything else.
async fn serve_other_request<E: Environment>(
    node: &Node<E>,
    body: RequestBody,
) -> Result<ResponseBody, ApiError> {
    Ok(match body {
        RequestBody::Compaction(request) => ResponseBody::Compaction(node.compact(request).await?),
        RequestBody::LeaseGrant(request) => {
            ResponseBody::LeaseGrant(node.lease_grant(request).await?)
        }
        RequestBody::LeaseRevoke(request) => {
            ResponseBody::LeaseRevoke(node.lease_revoke(request).await?)
        }
        RequestBody::LeaseKeepAlive(request) => {
            ResponseBody::LeaseKeepAlive(node.lease_keep_alive(request.id).await?)
        }
        RequestBody::LeaseTimeToLive(request) => {
            ResponseBody::LeaseTimeToLive(node.lease_time_to_live(&request).await?)
        }
        RequestBody::LeaseLeases(_) => ResponseBody::LeaseLeases(node.lease_leases().await?),
        RequestBody::Status(_) => ResponseBody::Status(node.status()),
        RequestBody::MemberList(request) => {
            ResponseBody::MemberList(node.member_list(&request).await?)
        }
        RequestBody::HashKv(request) => ResponseBody::HashKv(node.hash_kv(&request)?),
        RequestBody::Hash(_) => ResponseBody::Hash(node.hash()?),
        RequestBody::Alarm(request) => ResponseBody::Alarm(node.alarm(&request)?),
        RequestBody::Defragment(_) => ResponseBody::Defragment(node.defragment()),
        RequestBody::MemberAdd(request) => ResponseBody::MemberAdd(node.member_add(request).await?),
        RequestBody::MemberRemove(request) => {
            ResponseBody::MemberRemove(node.member_remove(request.id).await?)
        }
        RequestBody::MemberPromote(request) => {
            ResponseBody::MemberPromote(node.member_promote(request.id).await?)
        }
        RequestBody::MemberUpdate(request) => {
            ResponseBody::MemberUpdate(node.member_update(request).await?)
        }
        RequestBody::MoveLeader(request) => {
            ResponseBody::MoveLeader(node.move_leader(request.target_id).await?)
        }
        RequestBody::Batch(batch) => ResponseBody::Batch(node.batch(batch).await?),
        RequestBody::Watch(_) => unreachable!("watches are served by their own task"),
        RequestBody::Range(_)
        | RequestBody::Put(_)
        | RequestBody::DeleteRange(_)
        | RequestBody::Txn(_) => unreachable!("it is served without this detour"),
    })
}
