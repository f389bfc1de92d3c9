//! Properties of a network.

use crate::{Listener, Network, StreamReader, StreamWriter};
use bytes::{Bytes, BytesMut};
use std::future::{Future, poll_fn};
use std::io::ErrorKind;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

/// Checks every promise of [`Network`] and the streams, without faults. `server` is the
/// network as the listening process sees it, `client` as the connecting one does; they
/// may be the same. `listen_address` is a `host:port` of the server; with port 0 each
/// property gets a port of its own.
///
/// # Panics
/// If a promise is not kept.
pub async fn network_conformance<N: Network>(server: &N, client: &N, listen_address: &str) {
    bytes_arrive_in_both_directions_at_once(server, client, listen_address).await;
    what_was_sent_before_the_end_arrives_before_the_end(server, client, listen_address).await;
    one_direction_can_end_alone(server, client, listen_address).await;
    connections_are_apart(server, client, listen_address).await;
    large_transfers_arrive_whole_and_in_order(server, client, listen_address).await;
    a_cancelled_read_has_taken_nothing(server, client, listen_address).await;
    reading_appends(server, client, listen_address).await;
    writing_to_a_peer_that_is_gone_fails_in_the_end(server, client, listen_address).await;
    a_writer_waits_for_a_reader_that_does_not_read(server, client, listen_address).await;
    closing_with_unread_bytes_ends_or_resets_the_stream(server, client, listen_address).await;
    what_is_sent_before_the_other_side_accepts_arrives(server, client, listen_address).await;
    nobody_listening_refuses(server, client, listen_address).await;
    an_address_is_listened_on_once_and_again_after_the_end(server, client, listen_address).await;
}

/// Far longer than anything is under way without faults.
const SETTLE: Duration = Duration::from_millis(50);

type Halves<N> = (<N as Network>::Reader, <N as Network>::Writer);

async fn listen<N: Network>(server: &N, address: &str) -> N::Listener {
    let listener = server
        .listen(address)
        .await
        .expect("a free address can be listened on");
    assert!(
        !listener.local_address().ends_with(":0"),
        "the real port is told"
    );
    listener
}

/// A connection: the client's halves, then the server's.
async fn connect<N: Network>(client: &N, listener: &mut N::Listener) -> (Halves<N>, Halves<N>) {
    let address = listener.local_address();
    let (connected, accepted) = both(client.connect(&address), listener.accept()).await;
    let (reader, writer, peer) = accepted.expect("a connection is accepted");
    assert!(!peer.is_empty(), "the peer has an address");
    (connected.expect("somebody listens"), (reader, writer))
}

async fn send<W: StreamWriter>(writer: &mut W, data: &[u8]) {
    writer
        .write(Bytes::copy_from_slice(data))
        .await
        .expect("the peer is there");
}

async fn receive<R: StreamReader>(reader: &mut R, length: usize) -> BytesMut {
    let mut buffer = BytesMut::new();
    while buffer.len() < length {
        let taken = reader.read(&mut buffer).await.expect("the peer is there");
        assert_ne!(
            taken,
            0,
            "the stream ends after {} of {length} bytes",
            buffer.len()
        );
    }
    assert_eq!(buffer.len(), length, "more arrives than was sent");
    buffer
}

async fn assert_ended<R: StreamReader>(reader: &mut R) {
    let mut buffer = BytesMut::new();
    for _ in 0..2 {
        let taken = reader
            .read(&mut buffer)
            .await
            .expect("a stream that ended in order gives no error");
        assert_eq!(
            (taken, buffer.len()),
            (0, 0),
            "the stream ends and stays ended"
        );
    }
}

async fn bytes_arrive_in_both_directions_at_once<N: Network>(
    server: &N,
    client: &N,
    address: &str,
) {
    let mut listener = listen(server, address).await;
    let ((mut client_reader, mut client_writer), (mut server_reader, mut server_writer)) =
        connect(client, &mut listener).await;
    send(&mut client_writer, b"ping").await;
    send(&mut server_writer, b"hello").await;
    assert_eq!(&receive(&mut server_reader, 4).await[..], b"ping");
    assert_eq!(&receive(&mut client_reader, 5).await[..], b"hello");
    send(&mut client_writer, b"").await;
    send(&mut client_writer, b"more").await;
    assert_eq!(&receive(&mut server_reader, 4).await[..], b"more");
}

async fn what_was_sent_before_the_end_arrives_before_the_end<N: Network>(
    server: &N,
    client: &N,
    address: &str,
) {
    let mut listener = listen(server, address).await;
    let ((client_reader, mut client_writer), (mut server_reader, _server_writer)) =
        connect(client, &mut listener).await;
    send(&mut client_writer, b"last words").await;
    drop((client_reader, client_writer));
    assert_eq!(&receive(&mut server_reader, 10).await[..], b"last words");
    assert_ended(&mut server_reader).await;
}

async fn one_direction_can_end_alone<N: Network>(server: &N, client: &N, address: &str) {
    let mut listener = listen(server, address).await;
    let ((mut client_reader, client_writer), (mut server_reader, mut server_writer)) =
        connect(client, &mut listener).await;
    drop(client_writer);
    assert_ended(&mut server_reader).await;
    send(&mut server_writer, b"still here").await;
    assert_eq!(&receive(&mut client_reader, 10).await[..], b"still here");
}

async fn connections_are_apart<N: Network>(server: &N, client: &N, address: &str) {
    let mut listener = listen(server, address).await;
    let ((_first_reader, mut first), (mut first_server, _first_back)) =
        connect(client, &mut listener).await;
    let ((_second_reader, mut second), (mut second_server, _second_back)) =
        connect(client, &mut listener).await;
    send(&mut second, b"two").await;
    send(&mut first, b"one").await;
    assert_eq!(&receive(&mut first_server, 3).await[..], b"one");
    assert_eq!(&receive(&mut second_server, 3).await[..], b"two");
    // Established connections outlive the listener.
    drop(listener);
    drop(first);
    assert_ended(&mut first_server).await;
    send(&mut second, b"on").await;
    assert_eq!(&receive(&mut second_server, 2).await[..], b"on");
}

async fn large_transfers_arrive_whole_and_in_order<N: Network>(
    server: &N,
    client: &N,
    address: &str,
) {
    const WRITES: u32 = 64;
    const WRITE_BYTES: usize = 100_003;
    let mut listener = listen(server, address).await;
    let ((_client_reader, mut client_writer), (mut server_reader, _server_writer)) =
        connect(client, &mut listener).await;
    let data = |write: u32| -> Vec<u8> {
        (0..WRITE_BYTES as u32)
            .map(|at| (at.wrapping_mul(31).wrapping_add(write * 7) % 253) as u8)
            .collect()
    };
    let sending = async {
        for write in 0..WRITES {
            send(&mut client_writer, &data(write)).await;
        }
    };
    let receiving = receive(&mut server_reader, WRITES as usize * WRITE_BYTES);
    let ((), received) = both(sending, receiving).await;
    for (write, chunk) in (0..).zip(received.chunks(WRITE_BYTES)) {
        assert!(
            chunk == data(write),
            "write {write} of {WRITES} arrives changed or out of order"
        );
    }
}

async fn a_cancelled_read_has_taken_nothing<N: Network>(server: &N, client: &N, address: &str) {
    let mut listener = listen(server, address).await;
    let ((_client_reader, mut client_writer), (mut server_reader, _server_writer)) =
        connect(client, &mut listener).await;
    let mut buffer = BytesMut::new();
    let mut sent = Vec::new();
    for round in 0..50u8 {
        // Cancelled before and, mostly, after bytes are under way.
        assert!(
            poll_once(server_reader.read(&mut buffer))
                .await
                .is_none_or(|read| read.is_ok()),
            "a read that is cancelled does no harm"
        );
        send(&mut client_writer, &[round; 10]).await;
        sent.extend_from_slice(&[round; 10]);
        let _ = poll_once(server_reader.read(&mut buffer)).await;
    }
    while buffer.len() < sent.len() {
        let taken = server_reader
            .read(&mut buffer)
            .await
            .expect("the peer is there");
        assert_ne!(taken, 0, "the stream ends early");
    }
    assert_eq!(&buffer[..], sent);
}

async fn reading_appends<N: Network>(server: &N, client: &N, address: &str) {
    let mut listener = listen(server, address).await;
    let ((_client_reader, mut client_writer), (mut server_reader, _server_writer)) =
        connect(client, &mut listener).await;
    send(&mut client_writer, b"new").await;
    let mut buffer = BytesMut::from(&b"old "[..]);
    while buffer.len() < 7 {
        let before = buffer.len();
        let taken = server_reader
            .read(&mut buffer)
            .await
            .expect("the peer is there");
        assert_eq!(
            buffer.len(),
            before + taken,
            "a read tells how much it appended"
        );
        assert_ne!(taken, 0, "the stream ends early");
    }
    assert_eq!(&buffer[..], b"old new");
}

async fn writing_to_a_peer_that_is_gone_fails_in_the_end<N: Network>(
    server: &N,
    client: &N,
    address: &str,
) {
    const MOST_WRITES: usize = 100_000;
    let mut listener = listen(server, address).await;
    let ((mut client_reader, mut client_writer), accepted) = connect(client, &mut listener).await;
    drop(accepted);
    assert_ended(&mut client_reader).await;
    for _ in 0..MOST_WRITES {
        if client_writer
            .write(Bytes::from_static(&[7; 1000]))
            .await
            .is_err()
        {
            return;
        }
    }
    panic!("{MOST_WRITES} writes to a peer that is gone succeed");
}

/// Backpressure: what is under way and unread is bounded, and nothing of it is lost.
async fn a_writer_waits_for_a_reader_that_does_not_read<N: Network>(
    server: &N,
    client: &N,
    address: &str,
) {
    const WRITE_BYTES: usize = 1 << 16;
    const MOST_WRITES: usize = 1_024;
    const PATIENCE_POLLS: usize = 2_000;
    let mut listener = listen(server, address).await;
    let ((_client_reader, mut client_writer), (mut server_reader, _server_writer)) =
        connect(client, &mut listener).await;
    let mut begun = 0;
    let waiting = loop {
        assert!(
            begun < MOST_WRITES,
            "{MOST_WRITES} writes that nobody reads do not wait"
        );
        begun += 1;
        let writer = &mut client_writer;
        // A future of its own that can be finished later: a write that is cancelled may
        // have sent a part.
        let mut write = Box::pin(writer.write(Bytes::from(vec![begun as u8; WRITE_BYTES])));
        let mut polls = 0;
        let done = loop {
            match poll_once(write.as_mut()).await {
                Some(result) => {
                    result.expect("the peer is there");
                    break true;
                }
                None if polls == PATIENCE_POLLS => break false,
                None => {
                    polls += 1;
                    tokio::task::yield_now().await;
                }
            }
        };
        if !done {
            break write;
        }
    };
    let (written, received) = both(waiting, receive(&mut server_reader, begun * WRITE_BYTES)).await;
    written.expect("there is room again");
    for (number, chunk) in (1..).zip(received.chunks(WRITE_BYTES)) {
        assert!(
            chunk.iter().all(|byte| *byte == number as u8),
            "write {number} of {begun} arrives changed or out of order"
        );
    }
}

async fn closing_with_unread_bytes_ends_or_resets_the_stream<N: Network>(
    server: &N,
    client: &N,
    address: &str,
) {
    let mut listener = listen(server, address).await;
    let ((mut client_reader, mut client_writer), (mut server_reader, server_writer)) =
        connect(client, &mut listener).await;
    send(&mut client_writer, b"first").await;
    receive(&mut server_reader, 5).await;
    send(&mut client_writer, b"never read").await;
    // It has arrived when an answer to it could have been sent.
    settle().await;
    drop((server_reader, server_writer));
    let mut buffer = BytesMut::new();
    match client_reader.read(&mut buffer).await {
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
        // On TCP the end may overtake the reset.
        Ok(taken) => assert_eq!(taken, 0, "nobody has sent anything"),
    }
}

async fn what_is_sent_before_the_other_side_accepts_arrives<N: Network>(
    server: &N,
    client: &N,
    address: &str,
) {
    let mut listener = listen(server, address).await;
    let (_client_reader, mut client_writer) = client
        .connect(&listener.local_address())
        .await
        .expect("who listens is connected to before it accepts");
    send(&mut client_writer, b"early").await;
    let (mut server_reader, _server_writer, _) = listener.accept().await.expect("it waits");
    assert_eq!(&receive(&mut server_reader, 5).await[..], b"early");
}

async fn nobody_listening_refuses<N: Network>(server: &N, client: &N, address: &str) {
    let listener = listen(server, address).await;
    let free = listener.local_address();
    drop(listener);
    match client.connect(&free).await {
        Ok(_) => panic!("a connection to {free}, where nobody listens, succeeds"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{error}"),
    }
}

async fn an_address_is_listened_on_once_and_again_after_the_end<N: Network>(
    server: &N,
    client: &N,
    address: &str,
) {
    let listener = listen(server, address).await;
    let taken = listener.local_address();
    match server.listen(&taken).await {
        Ok(_) => panic!("{taken} is listened on twice"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::AddrInUse, "{error}"),
    }
    drop(listener);
    let mut listener = listen(server, &taken).await;
    assert_eq!(listener.local_address(), taken);
    let ((_client_reader, mut client_writer), (mut server_reader, _server_writer)) =
        connect(client, &mut listener).await;
    send(&mut client_writer, b"again").await;
    assert_eq!(&receive(&mut server_reader, 5).await[..], b"again");
}

/// Drives two futures at once.
async fn both<A: Future, B: Future>(first: A, second: B) -> (A::Output, B::Output) {
    let (mut first, mut second) = (pin!(first), pin!(second));
    let (mut first_output, mut second_output) = (None, None);
    poll_fn(|context| {
        if first_output.is_none()
            && let Poll::Ready(output) = first.as_mut().poll(context)
        {
            first_output = Some(output);
        }
        if second_output.is_none()
            && let Poll::Ready(output) = second.as_mut().poll(context)
        {
            second_output = Some(output);
        }
        match (first_output.take(), second_output.take()) {
            (Some(first), Some(second)) => Poll::Ready((first, second)),
            (first, second) => {
                (first_output, second_output) = (first, second);
                Poll::Pending
            }
        }
    })
    .await
}

/// Waits until what is under way has arrived, in either world.
#[allow(
    clippy::disallowed_methods,
    reason = "the suite has a network and no clock, and goes by true time"
)]
async fn settle() {
    tokio::time::sleep(SETTLE).await;
}

/// Polls a future once and drops it.
async fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}
