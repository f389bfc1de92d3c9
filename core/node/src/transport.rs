//! Connections between members: one outgoing connection to each peer, written by a task
//! of its own, and readers for those that peers open to this member.
//!
//! Frames may be lost: when an outbox is full, when a connection breaks. Raft and the
//! retries above cope with that. A corrupt frame ends its connection.

use bytes::BytesMut;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::{debug, info, warn};
use veridical_env::{Clock, Environment, Listener, Network, StreamReader, StreamWriter};
use veridical_probe::{queue, reachable, sometimes};
use veridical_proto::frame::{FrameError, decode_message, encode_frame};
use veridical_proto::peer::peer_frame::Body;
use veridical_proto::peer::{Hello, PeerFrame, Ping, Pong};
use veridical_raft::Message;

use crate::codec::{CodecError, message_from_wire, message_to_wire};
use crate::config::ms;
use crate::limits::Limits;

/// The version of the peer protocol that this program speaks.
pub const PEER_PROTOCOL_VERSION: u32 = 1;

/// What a peer said, decoded.
#[derive(Debug)]
pub(crate) enum Inbound {
    /// A Raft message.
    Raft(Message),
    /// Any other frame, with its sender.
    Frame(u64, Body),
}

/// Why a connection from a peer was ended by this side.
#[derive(Debug, thiserror::Error)]
enum PeerError {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Codec(#[from] CodecError),
    #[error("the first frame is not a hello")]
    NoHello,
    #[error("protocol version {0}, this member speaks {PEER_PROTOCOL_VERSION}")]
    Version(u32),
    #[error("cluster {theirs:#x}, this member is of {ours:#x}")]
    Cluster { theirs: u64, ours: u64 },
    #[error("it is for member {theirs:#x}, this is {ours:#x}")]
    Receiver { theirs: u64, ours: u64 },
    #[error("a message in the name of {claimed:#x} on the connection of {actual:#x}")]
    Sender { claimed: u64, actual: u64 },
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

struct Peer {
    address: String,
    outbox: mpsc::Sender<PeerFrame>,
    task: JoinHandle<()>,
}

struct Shared<E: Environment> {
    environment: E,
    limits: Limits,
    cluster_id: u64,
    member_id: u64,
    peers: Mutex<BTreeMap<u64, Peer>>,
}

/// The outgoing connections of one member.
pub(crate) struct Transport<E: Environment> {
    shared: Arc<Shared<E>>,
}

impl<E: Environment> Clone for Transport<E> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<E: Environment> Transport<E> {
    pub(crate) fn new(environment: E, limits: Limits, cluster_id: u64, member_id: u64) -> Self {
        let shared = Shared {
            environment,
            limits,
            cluster_id,
            member_id,
            peers: Mutex::new(BTreeMap::new()),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    fn peers(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Peer>> {
        self.shared
            .peers
            .lock()
            .expect("no panic while the peers are locked")
    }

    /// Opens or redirects the connection to a peer.
    pub(crate) fn set_peer(&self, node: u64, address: &str) {
        if node == self.shared.member_id {
            return;
        }
        let mut peers = self.peers();
        if let Some(peer) = peers.get(&node) {
            if peer.address == address {
                return;
            }
            peer.task.abort();
        }
        let (outbox, frames) = mpsc::channel(self.shared.limits.max_outbox_frames);
        let connection = Outgoing {
            shared: Arc::clone(&self.shared),
            node,
            address: address.to_owned(),
            frames,
        };
        let task = veridical_env::task::spawn(connection.run());
        peers.insert(
            node,
            Peer {
                address: address.to_owned(),
                outbox,
                task,
            },
        );
    }

    /// Ends the connections to all peers but those that `keep` names.
    pub(crate) fn retain(&self, mut keep: impl FnMut(u64) -> bool) {
        self.peers().retain(|node, peer| {
            let kept = keep(*node);
            if !kept {
                peer.task.abort();
            }
            kept
        });
    }

    /// Ends all connections.
    pub(crate) fn close(&self) {
        let mut peers = self.peers();
        for peer in peers.values() {
            peer.task.abort();
        }
        peers.clear();
    }

    /// Queues a frame; `false` if it was dropped.
    pub(crate) fn send(&self, to: u64, body: Body) -> bool {
        let peers = self.peers();
        let Some(peer) = peers.get(&to) else {
            return false;
        };
        let queued = peer.outbox.try_send(PeerFrame { body: Some(body) }).is_ok();
        sometimes!(!queued, "node.frame-dropped-at-a-full-outbox");
        queue!(
            "node.outbox",
            peer.outbox.max_capacity() - peer.outbox.capacity(),
            self.shared.limits.max_outbox_frames
        );
        queued
    }

    /// Queues Raft messages; returns the receivers for which one was dropped.
    pub(crate) fn send_raft(&self, messages: &[Message]) -> Vec<u64> {
        let mut dropped = Vec::new();
        for message in messages {
            if !self.send(message.to, Body::Raft(message_to_wire(message))) {
                dropped.push(message.to);
            }
        }
        dropped
    }
}

/// The task behind one outgoing connection.
struct Outgoing<E: Environment> {
    shared: Arc<Shared<E>>,
    node: u64,
    address: String,
    frames: mpsc::Receiver<PeerFrame>,
}

impl<E: Environment> Outgoing<E> {
    async fn run(mut self) {
        let clock = self.shared.environment.clock().clone();
        loop {
            let connected = {
                let network = self.shared.environment.network();
                tokio::select! {
                    biased;
                    result = network.connect(&self.address) => result,
                    () = clock.sleep(ms(self.shared.limits.connect_timeout_ms)) => {
                        Err(std::io::ErrorKind::TimedOut.into())
                    }
                }
            };
            match connected {
                Ok((reader, writer)) => {
                    debug!(peer = self.node, address = %self.address, "connected to peer");
                    match self.pump(reader, writer).await {
                        Ok(()) => return,
                        Err(error) => {
                            debug!(peer = self.node, %error, "connection to peer lost");
                        }
                    }
                }
                Err(error) => debug!(peer = self.node, %error, "cannot connect to peer"),
            }
            // What waits here is old by now; Raft sends anew.
            while self.frames.try_recv().is_ok() {}
            clock.sleep(ms(self.shared.limits.reconnect_delay_ms)).await;
        }
    }

    /// Sends frames until the connection breaks (`Err`) or the member lets go (`Ok`).
    async fn pump(
        &mut self,
        mut reader: <E::Network as Network>::Reader,
        mut writer: <E::Network as Network>::Writer,
    ) -> Result<(), PeerError> {
        let clock = self.shared.environment.clock().clone();
        let patience = ms(self.shared.limits.election_timeout_ms);
        let mut buffer = BytesMut::new();
        let hello = Hello {
            protocol_version: PEER_PROTOCOL_VERSION,
            cluster_id: self.shared.cluster_id,
            from: self.shared.member_id,
            to: self.node,
        };
        encode_frame(
            &PeerFrame {
                body: Some(Body::Hello(hello)),
            },
            &mut buffer,
        );
        write_within(&clock, patience, &mut writer, &mut buffer).await?;

        let mut received = BytesMut::new();
        let mut ping_ordinal = 0;
        let mut answered = true;
        let mut ping_at = clock.monotonic() + patience;
        let mut ping_timer = Box::pin(clock.sleep(patience));
        loop {
            tokio::select! {
                biased;
                frame = self.frames.recv() => {
                    let Some(frame) = frame else { return Ok(()) };
                    encode_frame(&frame, &mut buffer);
                    while buffer.len() < self.shared.limits.peer_write_bytes {
                        let Ok(frame) = self.frames.try_recv() else { break };
                        encode_frame(&frame, &mut buffer);
                    }
                }
                read = reader.read(&mut received) => {
                    if read? == 0 {
                        return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
                    }
                    while let Some(pong) = decode_message::<Pong>(&mut received)? {
                        answered |= pong.ordinal == ping_ordinal;
                    }
                }
                () = &mut ping_timer => {}
            }
            let now = clock.monotonic();
            if now >= ping_at {
                if !answered {
                    reachable!("node.silent-peer-disconnected");
                    return Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into());
                }
                answered = false;
                ping_ordinal += 1;
                let ping = Body::Ping(Ping {
                    ordinal: ping_ordinal,
                });
                encode_frame(&PeerFrame { body: Some(ping) }, &mut buffer);
                ping_at = now + patience;
                ping_timer = Box::pin(clock.sleep(patience));
            }
            if !buffer.is_empty() {
                write_within(&clock, patience, &mut writer, &mut buffer).await?;
            }
        }
    }
}

/// Writes the buffer, and gives up when the receiver takes nothing for `patience`.
async fn write_within<C: Clock, W: StreamWriter>(
    clock: &C,
    patience: Duration,
    writer: &mut W,
    buffer: &mut BytesMut,
) -> Result<(), PeerError> {
    let data = buffer.split().freeze();
    tokio::select! {
        biased;
        result = writer.write(data) => Ok(result?),
        () = clock.sleep(patience) => {
            reachable!("node.peer-takes-nothing");
            Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into())
        }
    }
}

/// Accepts connections of peers and hands on what they say. Ends when the receiver of
/// `inbound` is gone.
pub(crate) async fn accept_peers<L: Listener>(
    mut listener: L,
    cluster_id: u64,
    member_id: u64,
    inbound: mpsc::Sender<Inbound>,
) {
    loop {
        match listener.accept().await {
            Ok((reader, writer, address)) => {
                let inbound = inbound.clone();
                veridical_env::task::spawn(async move {
                    let served = serve_peer(reader, writer, cluster_id, member_id, inbound).await;
                    match served {
                        Ok(()) => debug!(%address, "peer closed its connection"),
                        Err(PeerError::Io(error)) => debug!(%address, %error, "connection lost"),
                        Err(error) => warn!(%address, %error, "refused a peer's connection"),
                    }
                });
            }
            Err(error) => {
                info!(%error, "cannot accept a connection");
                tokio::task::yield_now().await;
            }
        }
        if inbound.is_closed() {
            return;
        }
    }
}

async fn serve_peer<R: StreamReader, W: StreamWriter>(
    mut reader: R,
    mut writer: W,
    cluster_id: u64,
    member_id: u64,
    inbound: mpsc::Sender<Inbound>,
) -> Result<(), PeerError> {
    let mut buffer = BytesMut::new();
    let mut sender = None;
    loop {
        while let Some(frame) = decode_message::<PeerFrame>(&mut buffer)? {
            let body = frame.body.ok_or(CodecError::Missing("body of a frame"))?;
            let Some(from) = sender else {
                let Body::Hello(hello) = body else {
                    return Err(PeerError::NoHello);
                };
                sender = Some(check_hello(&hello, cluster_id, member_id)?);
                continue;
            };
            let message = match body {
                Body::Ping(ping) => {
                    let mut answer = BytesMut::new();
                    encode_frame(
                        &Pong {
                            ordinal: ping.ordinal,
                        },
                        &mut answer,
                    );
                    writer.write(answer.freeze()).await?;
                    continue;
                }
                // The network may duplicate the first frame.
                Body::Hello(hello) => {
                    reachable!("node.hello-came-twice");
                    check_hello(&hello, cluster_id, member_id)?;
                    continue;
                }
                Body::Raft(message) => {
                    let message = message_from_wire(message)?;
                    if message.from != from {
                        return Err(PeerError::Sender {
                            claimed: message.from,
                            actual: from,
                        });
                    }
                    if message.to != member_id {
                        return Err(PeerError::Receiver {
                            theirs: message.to,
                            ours: member_id,
                        });
                    }
                    Inbound::Raft(message)
                }
                other => Inbound::Frame(from, other),
            };
            if inbound.send(message).await.is_err() {
                return Ok(());
            }
        }
        if reader.read(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
}

fn check_hello(hello: &Hello, cluster_id: u64, member_id: u64) -> Result<u64, PeerError> {
    if hello.protocol_version != PEER_PROTOCOL_VERSION {
        return Err(PeerError::Version(hello.protocol_version));
    }
    if hello.cluster_id != cluster_id {
        return Err(PeerError::Cluster {
            theirs: hello.cluster_id,
            ours: cluster_id,
        });
    }
    if hello.to != member_id {
        return Err(PeerError::Receiver {
            theirs: hello.to,
            ours: member_id,
        });
    }
    if hello.from == 0 {
        return Err(CodecError::Missing("sender of a hello").into());
    }
    Ok(hello.from)
}
