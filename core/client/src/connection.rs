//! One connection to one member, with many requests in flight.

use bytes::{BufMut, BytesMut};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use veridical_env::{Clock, Network, StreamReader, StreamWriter};
use veridical_probe::{reachable, sometimes};
use veridical_proto::etcdserverpb as api;
use veridical_proto::frame::{decode_message, encode_frame};
use veridical_proto::native::request::Body as RequestBody;
use veridical_proto::native::response::Body as ResponseBody;
use veridical_proto::native::{Request, Response};

/// The first bytes that a client sends.
const NATIVE_MAGIC: &[u8; 8] = b"VRDCLNT1";

/// Requests that wait to be written; above it callers wait.
const WAITING_REQUESTS_MAX: usize = 1_024;

/// Watch responses that were received and not taken; above it the connection is not
/// read, and the server falls back to its history.
const WATCH_RESPONSES_MAX: usize = 256;

/// Requests are joined into one write up to this many bytes.
const WRITE_BATCH_BYTES: usize = 256 * 1024;

/// Why a call has no response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The server refused it; it has had no effect.
    #[error("{message}")]
    Refused {
        /// A gRPC status code.
        code: u32,
        /// etcd's message where it has one.
        message: String,
    },
    /// It may or may not take effect, now or later.
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
    /// It has certainly had no effect: nobody took it.
    #[error("no member took the request: {0}")]
    Unavailable(String),
}

type Reply = oneshot::Sender<Result<ResponseBody, CallError>>;

/// An open connection. Cheap to clone; it closes when the last clone is dropped.
#[derive(Clone)]
pub struct Connection {
    requests: mpsc::Sender<(RequestBody, Option<Reply>)>,
}

/// What watches on a connection bring, in the order of arrival. Ends with the
/// connection.
pub type WatchResponses = mpsc::Receiver<api::WatchResponse>;

impl Connection {
    /// Connects to a member.
    ///
    /// # Errors
    /// Nobody answers at `address` within `timeout`.
    pub async fn open<N: Network, C: Clock>(
        network: &N,
        clock: &C,
        address: &str,
        timeout: Duration,
    ) -> Result<(Self, WatchResponses), CallError> {
        tokio::select! {
            biased;
            result = Self::connect(network, address) => result,
            () = clock.sleep(timeout) => {
                Err(CallError::Unavailable(format!("connect to {address}: timed out")))
            }
        }
    }

    /// The same without a bound on the time.
    ///
    /// # Errors
    /// Nobody answers at `address`.
    pub(crate) async fn connect<N: Network>(
        network: &N,
        address: &str,
    ) -> Result<(Self, WatchResponses), CallError> {
        let (reader, writer) = network
            .connect(address)
            .await
            .map_err(|error| CallError::Unavailable(format!("connect to {address}: {error}")))?;
        let (requests, waiting) = mpsc::channel(WAITING_REQUESTS_MAX);
        let (watch_sender, watch_responses) = mpsc::channel(WATCH_RESPONSES_MAX);
        veridical_env::task::spawn(serve(reader, writer, waiting, watch_sender));
        Ok((Self { requests }, watch_responses))
    }

    /// Sends a request and waits for its response.
    ///
    /// # Errors
    /// See [`CallError`]. Dropping the call leaves its outcome unknown.
    pub async fn call(&self, request: RequestBody) -> Result<ResponseBody, CallError> {
        let (reply, answer) = oneshot::channel();
        if self.requests.send((request, Some(reply))).await.is_err() {
            return Err(CallError::Unavailable(
                "the connection is closed".to_owned(),
            ));
        }
        match answer.await {
            Ok(result) => result,
            Err(_) => Err(CallError::Unknown("the connection task ended".to_owned())),
        }
    }

    /// Sends a request about watches; what they bring comes through the connection's
    /// [`WatchResponses`].
    ///
    /// # Errors
    /// The connection is closed.
    pub async fn watch(&self, request: api::WatchRequest) -> Result<(), CallError> {
        self.requests
            .send((RequestBody::Watch(request), None))
            .await
            .map_err(|_| CallError::Unavailable("the connection is closed".to_owned()))
    }

    /// Whether calls have no chance any more.
    pub fn is_closed(&self) -> bool {
        self.requests.is_closed()
    }
}

/// Calls that were sent and not answered, by request id.
#[derive(Default)]
struct InFlight(BTreeMap<u64, Reply>);

impl InFlight {
    /// Keeps the caller of the newest request.
    fn insert(&mut self, id: u64, reply: Reply) {
        assert!(
            self.0.last_key_value().is_none_or(|(last, _)| *last < id),
            "request {id} is sent after a later one"
        );
        self.0.insert(id, reply);
    }

    /// Takes the caller of a request that was answered. A server may name any number; only
    /// those up to `last_id` were sent.
    fn remove(&mut self, id: u64, last_id: u64) -> Option<Reply> {
        let reply = self.0.remove(&id)?;
        assert!(id <= last_id, "request {id} waits and was never sent");
        Some(reply)
    }

    /// Tells all callers that the outcome is unknown.
    fn fail(&mut self, reason: &str) {
        for reply in std::mem::take(&mut self.0).into_values() {
            // The caller may have given up.
            let _ = reply.send(Err(CallError::Unknown(reason.to_owned())));
        }
    }
}

async fn serve<R: StreamReader, W: StreamWriter>(
    reader: R,
    writer: W,
    mut waiting: mpsc::Receiver<(RequestBody, Option<Reply>)>,
    watch_responses: mpsc::Sender<api::WatchResponse>,
) {
    let mut in_flight = InFlight::default();
    let reason = exchange(
        reader,
        writer,
        &mut waiting,
        &watch_responses,
        &mut in_flight,
    )
    .await;
    in_flight.fail(&reason);
    waiting.close();
    while let Ok((_, reply)) = waiting.try_recv() {
        if let Some(reply) = reply {
            let _ = reply.send(Err(CallError::Unavailable(reason.clone())));
        }
    }
}

/// Exchanges frames until the connection ends; returns why.
async fn exchange<R: StreamReader, W: StreamWriter>(
    mut reader: R,
    mut writer: W,
    waiting: &mut mpsc::Receiver<(RequestBody, Option<Reply>)>,
    watch_responses: &mpsc::Sender<api::WatchResponse>,
    in_flight: &mut InFlight,
) -> String {
    let mut wire = BytesMut::new();
    wire.put_slice(NATIVE_MAGIC);
    let mut received = BytesMut::new();
    let mut last_id = 0;
    let mut last_ordinal = 0;
    loop {
        tokio::select! {
            biased;
            request = waiting.recv() => {
                let Some(request) = request else { return "closed by the caller".to_owned() };
                // Callers that were answered together ask again together: those that are about
                // to get their turn first, or each request would be a write of its own.
                tokio::task::yield_now().await;
                let mut next = Some(request);
                while let Some((body, reply)) = next.take() {
                    last_id += 1;
                    encode_frame(&Request { id: last_id, body: Some(body) }, &mut wire);
                    if let Some(reply) = reply {
                        in_flight.insert(last_id, reply);
                    }
                    if wire.len() < WRITE_BATCH_BYTES {
                        next = waiting.try_recv().ok();
                    }
                }
                if let Err(error) = writer.write(wire.split().freeze()).await {
                    return format!("write: {error}");
                }
            }
            read = reader.read(&mut received) => {
                match read {
                    Ok(0) => return "the server closed the connection".to_owned(),
                    Ok(_) => {}
                    Err(error) => return format!("read: {error}"),
                }
                loop {
                    let response = match decode_message::<Response>(&mut received) {
                        Ok(Some(response)) => response,
                        Ok(None) => break,
                        Err(error) => return format!("frame: {error}"),
                    };
                    if response.ordinal <= last_ordinal {
                        reachable!("client.response-came-twice");
                        continue;
                    }
                    if response.ordinal != last_ordinal + 1 {
                        reachable!("client.response-lost-on-the-way");
                        return "responses were lost".to_owned();
                    }
                    last_ordinal = response.ordinal;
                    if let Some(ResponseBody::Watch(watch)) = response.body {
                        // Nobody watches any more if this fails.
                        let _ = watch_responses.send(watch).await;
                        continue;
                    }
                    if let Some(reply) = in_flight.remove(response.id, last_id) {
                        sometimes!(
                            reply.is_closed(),
                            "client.response-came-when-the-caller-had-given-up"
                        );
                        let _ = reply.send(result_of(response.body));
                    }
                }
            }
        }
    }
}

fn result_of(body: Option<ResponseBody>) -> Result<ResponseBody, CallError> {
    match body {
        Some(ResponseBody::Failure(failure)) if failure.outcome_unknown => {
            Err(CallError::Unknown(failure.message))
        }
        Some(ResponseBody::Failure(failure)) => Err(CallError::Refused {
            code: failure.code,
            message: failure.message,
        }),
        Some(answer) => Ok(answer),
        None => Err(CallError::Unknown("an empty response".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use std::io;

    fn reply() -> Reply {
        oneshot::channel().0
    }

    #[test]
    #[should_panic(expected = "request 1 is sent after a later one")]
    fn requests_have_rising_numbers() {
        let mut in_flight = InFlight::default();
        in_flight.insert(2, reply());
        in_flight.insert(1, reply());
    }

    #[test]
    #[should_panic(expected = "request 2 waits and was never sent")]
    fn only_requests_that_were_sent_wait() {
        let mut in_flight = InFlight::default();
        in_flight.insert(2, reply());
        in_flight.remove(2, 1);
    }

    /// A reader of a server that says nothing.
    struct Silent;

    impl StreamReader for Silent {
        async fn read(&mut self, _: &mut BytesMut) -> io::Result<usize> {
            std::future::pending().await
        }
    }

    /// A writer whose first write tells that it has begun, and waits until it is to break.
    struct Stuck(Option<(oneshot::Sender<()>, oneshot::Receiver<()>)>);

    impl StreamWriter for Stuck {
        async fn write(&mut self, _: Bytes) -> io::Result<()> {
            let (begun, breaks) = self.0.take().expect("a broken connection is not used");
            let _ = begun.send(());
            let _ = breaks.await;
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }

    #[tokio::test]
    #[allow(
        clippy::disallowed_methods,
        reason = "nothing else runs here that would have to be ordered"
    )]
    async fn what_was_never_sent_is_known_to_have_had_no_effect() {
        let (requests, waiting) = mpsc::channel(8);
        let connection = Connection { requests };
        let (begun, has_begun) = oneshot::channel();
        let (break_it, breaks) = oneshot::channel();
        let (watched, _watches) = mpsc::channel(1);
        let writer = Stuck(Some((begun, breaks)));
        tokio::spawn(serve(Silent, writer, waiting, watched));
        let call = |connection: Connection| async move {
            let status = RequestBody::Status(api::StatusRequest::default());
            connection.call(status).await
        };
        let first = tokio::spawn(call(connection.clone()));
        has_begun.await.expect("the first request is written");
        let second = tokio::spawn(call(connection.clone()));
        while connection.requests.capacity() == 8 {
            tokio::task::yield_now().await;
        }
        break_it.send(()).expect("it is being written");
        let (first, second) = (first.await.unwrap(), second.await.unwrap());
        assert!(matches!(first, Err(CallError::Unknown(_))), "{first:?}");
        assert!(
            matches!(second, Err(CallError::Unavailable(_))),
            "{second:?}"
        );
    }
}
