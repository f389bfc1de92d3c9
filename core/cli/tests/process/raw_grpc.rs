//! A client of gRPC that does nothing by itself: no limit on messages, no timer. What comes back
//! is what the server said.

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, Request};
use prost::Message;

use crate::member::runtime;

/// How long a call may take that has no deadline of its own.
const PATIENCE: Duration = Duration::from_secs(30);

/// Before every message: whether it is compressed, and its length.
const MESSAGE_HEAD_BYTES: usize = 5;

/// The end of a call.
#[derive(Debug, PartialEq, Eq)]
pub struct Ended {
    pub code: u32,
    pub message: String,
    /// The bytes of each response.
    pub responses: Vec<Bytes>,
}

/// Calls `Service/Method` of the member at `address` with one request, and ends its direction.
pub fn call(address: &str, method: &str, request: &[u8], headers: &[(&str, &str)]) -> Ended {
    let called = async {
        tokio::time::timeout(PATIENCE, send(address, method, request, headers))
            .await
            .expect("the call ends")
    };
    runtime().block_on(called)
}

/// The same with a message and an answer to decode.
pub fn ask<T: Message + Default>(address: &str, method: &str, request: &impl Message) -> T {
    let ended = call(address, method, &request.encode_to_vec(), &[]);
    assert_eq!(ended.code, 0, "{method}: {ended:?}");
    let [response] = &ended.responses[..] else {
        panic!("{method}: {ended:?}");
    };
    T::decode(response.clone()).expect("a response")
}

async fn send(address: &str, method: &str, request: &[u8], headers: &[(&str, &str)]) -> Ended {
    let stream = tokio::net::TcpStream::connect(address)
        .await
        .expect("it listens");
    let (client, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    tokio::spawn(async move {
        // It ends with the client, and the call says what went wrong.
        let _ = connection.await;
    });
    let mut client = client.ready().await.expect("it is ready");
    let mut head = Request::post(format!("http://{address}/etcdserverpb.{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in headers {
        head = head.header(*name, *value);
    }
    let head = head.body(()).expect("a request");
    let (response, mut outgoing) = client.send_request(head, false).expect("it is sent");
    let mut message = BytesMut::with_capacity(MESSAGE_HEAD_BYTES + request.len());
    message.extend_from_slice(&[0]);
    message.extend_from_slice(&(request.len() as u32).to_be_bytes());
    message.extend_from_slice(request);
    // A server that refuses it may have stopped to read.
    let _ = outgoing.send_data(message.freeze(), true);
    let response = response.await.expect("an answer");
    let mut status = response.headers().clone();
    let mut incoming = response.into_body();
    let mut received = BytesMut::new();
    while let Some(data) = incoming.data().await {
        let data = data.expect("an answer");
        received.extend_from_slice(&data);
        // Frees the window; the stream may be over.
        let _ = incoming.flow_control().release_capacity(data.len());
    }
    if let Some(trailers) = incoming.trailers().await.expect("an end") {
        status = trailers;
    }
    Ended {
        code: text(&status, "grpc-status").parse().expect("a code"),
        message: text(&status, "grpc-message").replace("%20", " "),
        responses: messages(received.freeze()),
    }
}

fn text(headers: &HeaderMap, name: &str) -> String {
    headers.get(name).map_or_else(String::new, |value| {
        value.to_str().expect("plain text").to_owned()
    })
}

fn messages(mut received: Bytes) -> Vec<Bytes> {
    let mut messages = Vec::new();
    while !received.is_empty() {
        assert_eq!(received.get_u8(), 0, "it is not compressed");
        let length = received.get_u32() as usize;
        messages.push(received.split_to(length));
    }
    messages
}
