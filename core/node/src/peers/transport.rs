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
use veridical_storage::format::DataFormat;

use crate::codec::{CodecError, message_from_wire, message_to_wire};
use crate::config::{NodeConfig, ms};
use crate::limits::Limits;

/// The newest version of the peer protocol that this program speaks. Since version 2 a
/// member says where it is reached, and is told that its greeting was taken.
pub const PEER_PROTOCOL_VERSION: u32 = DataFormat::NEWEST;

/// From this version on greetings carry an address and are answered.
const ANSWERED_VERSION: u32 = 2;

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
    #[error("protocol version {theirs}, this member speaks at most {ours}")]
    Version { theirs: u32, ours: u32 },
    #[error("the peer speaks version {0}")]
    Newer(u32),
    #[error("the peer closed the connection without an answer to the greeting")]
    Unanswered,
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
    /// The list of members as this one knows it does not name it, but it is connected to
    /// this member. It is forgotten when its connections end.
    is_caller: bool,
}

/// The peers of a member.
#[derive(Default)]
struct Peers {
    outgoing: BTreeMap<u64, Peer>,
    /// How many connections each peer has opened to this member.
    incoming: BTreeMap<u64, usize>,
    /// The member has stopped: nothing is opened any more.
    is_closed: bool,
}

struct Shared<E: Environment> {
    environment: E,
    limits: Limits,
    data_format: DataFormat,
    cluster_id: u64,
    member_id: u64,
    /// Where peers reach this member; empty if it was not told.
    address: String,
    peers: Mutex<Peers>,
}

impl<E: Environment> Shared<E> {
    /// The newest version of the protocol that this member speaks.
    fn newest_version(&self) -> u32 {
        self.data_format.version()
    }
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
    pub(crate) fn new(environment: E, config: &NodeConfig) -> Self {
        let shared = Shared {
            environment,
            limits: config.limits.clone(),
            data_format: config.data_format,
            cluster_id: config.cluster_id,
            member_id: config.member_id,
            address: config.advertised_peer_address().unwrap_or_default(),
            peers: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    fn peers(&self) -> std::sync::MutexGuard<'_, Peers> {
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
        if let Some(peer) = peers.outgoing.get_mut(&node) {
            if peer.address == address {
                peer.is_caller = false;
                return;
            }
            peer.task.abort();
        }
        let peer = self.open(node, address, false);
        peers.outgoing.insert(node, peer);
    }

    fn open(&self, node: u64, address: &str, is_caller: bool) -> Peer {
        let (outbox, frames) = mpsc::channel(self.shared.limits.max_outbox_frames);
        let connection = Outgoing {
            shared: Arc::clone(&self.shared),
            node,
            address: address.to_owned(),
            frames,
            version: self.shared.newest_version(),
        };
        Peer {
            address: address.to_owned(),
            outbox,
            task: veridical_env::task::spawn(connection.run()),
            is_caller,
        }
    }

    /// A peer has opened a connection and said where it is reached. If no list of members
    /// has named it yet, it is answered there as long as it is connected.
    fn called(&self, node: u64, address: &str) -> Call<E> {
        let mut peers = self.peers();
        *peers.incoming.entry(node).or_default() += 1;
        if !address.is_empty() && !peers.is_closed && !peers.outgoing.contains_key(&node) {
            reachable!("node.peer-known-only-from-its-greeting");
            let peer = self.open(node, address, true);
            peers.outgoing.insert(node, peer);
        }
        Call {
            transport: self.clone(),
            node,
        }
    }

    /// Ends the connections to all peers but those that `keep` names, and those that are
    /// connected to this member: they may be newer than what it knows of.
    pub(crate) fn retain(&self, mut keep: impl FnMut(u64) -> bool) {
        let mut peers = self.peers();
        let Peers {
            outgoing, incoming, ..
        } = &mut *peers;
        outgoing.retain(|node, peer| {
            let named = keep(*node);
            let calls = incoming.contains_key(node);
            if !named && !calls {
                peer.task.abort();
            }
            peer.is_caller = !named;
            named || calls
        });
    }

    /// Ends all connections.
    pub(crate) fn close(&self) {
        let mut peers = self.peers();
        for peer in peers.outgoing.values() {
            peer.task.abort();
        }
        peers.outgoing.clear();
        peers.is_closed = true;
    }

    /// Queues a frame; `false` if it was dropped.
    pub(crate) fn send(&self, to: u64, body: Body) -> bool {
        let peers = self.peers();
        let Some(peer) = peers.outgoing.get(&to) else {
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

/// A connection that a peer has opened.
struct Call<E: Environment> {
    transport: Transport<E>,
    node: u64,
}

impl<E: Environment> Drop for Call<E> {
    fn drop(&mut self) {
        let mut peers = self.transport.peers();
        let Peers {
            outgoing, incoming, ..
        } = &mut *peers;
        let left = incoming.get_mut(&self.node).map_or(0, |count| {
            *count -= 1;
            *count
        });
        if left > 0 {
            return;
        }
        incoming.remove(&self.node);
        if let Some(peer) = outgoing.get(&self.node)
            && peer.is_caller
        {
            peer.task.abort();
            outgoing.remove(&self.node);
        }
    }
}

/// The task behind one outgoing connection.
struct Outgoing<E: Environment> {
    shared: Arc<Shared<E>>,
    node: u64,
    address: String,
    frames: mpsc::Receiver<PeerFrame>,
    /// The version that the next connection begins with.
    version: u32,
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
                            self.choose_version(&error);
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

    /// Which version to begin the next connection with, after this end of the last one.
    fn choose_version(&mut self, end: &PeerError) {
        let newest = self.shared.newest_version();
        self.version = match end {
            PeerError::Newer(theirs) => newest.min(*theirs),
            // A peer that does not know the version closes the connection at once.
            PeerError::Unanswered => DataFormat::OLDEST,
            _ => newest,
        };
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
        let version = self.version;
        let hello = Hello {
            protocol_version: version,
            cluster_id: self.shared.cluster_id,
            from: self.shared.member_id,
            to: self.node,
            address: match version {
                ANSWERED_VERSION.. => self.shared.address.clone(),
                _ => String::new(),
            },
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
        let mut is_taken = version < ANSWERED_VERSION;
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
                        return Err(if is_taken {
                            std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()
                        } else {
                            reachable!("node.greeting-was-not-taken");
                            PeerError::Unanswered
                        });
                    }
                    while let Some(pong) = decode_message::<Pong>(&mut received)? {
                        answered |= pong.ordinal == ping_ordinal;
                        is_taken = true;
                        let newer = pong.protocol_version.min(self.shared.newest_version());
                        if newer > version {
                            reachable!("node.peer-speaks-a-newer-version");
                            return Err(PeerError::Newer(newer));
                        }
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
            reachable!("node.peer-takes-nothing", rare: "256 KiB have to wait in one stream, and a cut or a clog lasts for seconds at most");
            Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into())
        }
    }
}

/// A peer that has called, and has said nothing for so many election timeouts (or up to twice as
/// many) of this member, is gone: it would have pinged once in each of its own. A machine that lost
/// power does not close its connections.
const SILENT_ELECTION_TIMEOUTS: u32 = 10;

/// Accepts connections of peers and hands on what they say. Ends when the receiver of
/// `inbound` is gone.
pub(crate) async fn accept_peers<E: Environment, L: Listener>(
    mut listener: L,
    transport: Transport<E>,
    inbound: mpsc::Sender<Inbound>,
) {
    loop {
        match listener.accept().await {
            Ok((reader, writer, address)) => {
                let (transport, inbound) = (transport.clone(), inbound.clone());
                veridical_env::task::spawn(async move {
                    match serve_peer(reader, writer, transport, inbound).await {
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

async fn serve_peer<E: Environment, R: StreamReader, W: StreamWriter>(
    mut reader: R,
    mut writer: W,
    transport: Transport<E>,
    inbound: mpsc::Sender<Inbound>,
) -> Result<(), PeerError> {
    let shared = &transport.shared;
    let member_id = shared.member_id;
    let clock = shared.environment.clock();
    let mut buffer = BytesMut::new();
    let mut sender = None;
    let silence = ms(shared.limits.election_timeout_ms) * SILENT_ELECTION_TIMEOUTS;
    let mut is_heard = true;
    let mut silence_timer = Box::pin(clock.sleep(silence));
    loop {
        while let Some(frame) = decode_message::<PeerFrame>(&mut buffer)? {
            let body = frame.body.ok_or(CodecError::Missing("body of a frame"))?;
            let Some(Call { node: from, .. }) = &sender else {
                let Body::Hello(hello) = body else {
                    return Err(PeerError::NoHello);
                };
                let from = check_hello(&hello, shared)?;
                sender = Some(transport.called(from, &hello.address));
                if shared.newest_version() >= ANSWERED_VERSION {
                    let answer = Pong {
                        ordinal: 0,
                        protocol_version: shared.newest_version(),
                    };
                    write_pong(&mut writer, answer).await?;
                }
                continue;
            };
            let from = *from;
            let message = match body {
                Body::Ping(ping) => {
                    let answer = Pong {
                        ordinal: ping.ordinal,
                        protocol_version: 0,
                    };
                    write_pong(&mut writer, answer).await?;
                    continue;
                }
                // The network may duplicate the first frame.
                Body::Hello(hello) => {
                    reachable!("node.hello-came-twice");
                    check_hello(&hello, shared)?;
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
        tokio::select! {
            biased;
            read = reader.read(&mut buffer) => {
                if read? == 0 {
                    return Ok(());
                }
                is_heard = true;
            }
            () = &mut silence_timer => {
                if !std::mem::take(&mut is_heard) {
                    reachable!("node.silent-caller-disconnected");
                    return Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into());
                }
                silence_timer = Box::pin(clock.sleep(silence));
            }
        }
    }
}

async fn write_pong<W: StreamWriter>(writer: &mut W, pong: Pong) -> Result<(), PeerError> {
    let mut answer = BytesMut::new();
    encode_frame(&pong, &mut answer);
    Ok(writer.write(answer.freeze()).await?)
}

fn check_hello<E: Environment>(hello: &Hello, shared: &Shared<E>) -> Result<u64, PeerError> {
    let newest = shared.newest_version();
    if !(DataFormat::OLDEST..=newest).contains(&hello.protocol_version) {
        return Err(PeerError::Version {
            theirs: hello.protocol_version,
            ours: newest,
        });
    }
    if hello.cluster_id != shared.cluster_id {
        return Err(PeerError::Cluster {
            theirs: hello.cluster_id,
            ours: shared.cluster_id,
        });
    }
    if hello.to != shared.member_id {
        return Err(PeerError::Receiver {
            theirs: hello.to,
            ours: shared.member_id,
        });
    }
    if hello.from == 0 {
        return Err(CodecError::Missing("sender of a hello").into());
    }
    Ok(hello.from)
}
