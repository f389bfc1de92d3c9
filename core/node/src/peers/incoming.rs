//! The connections that peers open to a member: greeted, checked, and read into the
//! driver's inbox.

use bytes::{Bytes, BytesMut};
use prost::Message as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tracing::{debug, warn};
use veridical_env::{Clock, Environment, Listener, StreamReader, StreamWriter};
use veridical_probe::reachable;
use veridical_proto::etcdserverpb::Member;
use veridical_proto::frame::{decode_message, encode_frame};
use veridical_proto::peer::peer_frame::Body;
use veridical_proto::peer::{Hello, MembersReply, PeerFrame, Pong};
use veridical_storage::format::DataFormat;

use crate::codec::{CodecError, message_from_wire};
use crate::config::ms;
use crate::membership::directory::Directory;
use crate::peers::ANSWERED_VERSION;
use crate::peers::error::PeerError;
use crate::peers::reception::{Place, Reception};
use crate::peers::shared::Shared;
use crate::peers::transport::{Call, Inbound, Transport};
use crate::throttle::Throttle;

/// A peer that has called, and has said nothing for so many election timeouts (or up to twice as
/// many) of this member, is gone: it would have pinged once in each of its own. A machine that lost
/// power does not close its connections. Whoever has not greeted after so many has to go, whatever
/// it said.
const SILENT_ELECTION_TIMEOUTS: u32 = 10;

/// Before the next attempt when the system refuses a connection, most likely because the process
/// has too many files open.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// At most one warning of a kind in this time is about connections: strangers can make as many as
/// they like.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// Accepts connections of peers and hands on what they say. Ends when the receiver of
/// `inbound` is gone.
pub(crate) async fn accept_peers<E: Environment, L: Listener>(
    mut listener: L,
    transport: Transport<E>,
    members: watch::Receiver<Directory>,
    inbound: mpsc::Sender<Inbound>,
) {
    let clock = transport.shared().environment.clock().clone();
    let refusals = Arc::new(Throttle::new(WARNING_INTERVAL));
    let (failures, crowds) = (
        Throttle::new(WARNING_INTERVAL),
        Throttle::new(WARNING_INTERVAL),
    );
    let shared = transport.shared();
    let reception = Reception::new(shared.limits.max_peer_strangers, shared.planted);
    loop {
        match listener.accept().await {
            Ok((reader, writer, address)) => {
                let (inbound, clock) = (inbound.clone(), clock.clone());
                let refusals = Arc::clone(&refusals);
                let (place, displacement, is_full) = reception.admit();
                if is_full && let Some(unsaid) = crowds.admit(clock.monotonic()) {
                    warn!(%address, unsaid, "strangers connect to the port of peers and do not greet; the oldest makes room");
                }
                let connection = Incoming {
                    transport: transport.clone(),
                    members: members.clone(),
                    writer,
                    place,
                    caller: None,
                };
                veridical_env::task::spawn(async move {
                    let served = tokio::select! {
                        biased;
                        () = displacement.happens() => Err(PeerError::Displaced),
                        served = serve_peer(reader, connection, inbound) => served,
                    };
                    let error = match served {
                        Ok(()) => return debug!(%address, "peer closed its connection"),
                        Err(error) => error,
                    };
                    if matches!(error, PeerError::Io(_) | PeerError::Displaced) {
                        debug!(%address, %error, "connection lost");
                    } else if let Some(unsaid) = refusals.admit(clock.monotonic()) {
                        warn!(%address, %error, unsaid, "refused a peer's connection");
                    }
                });
            }
            Err(error) => {
                if let Some(unsaid) = failures.admit(clock.monotonic()) {
                    warn!(%error, unsaid, "cannot accept a peer's connection");
                }
                clock.sleep(ACCEPT_PAUSE).await;
            }
        }
        if inbound.is_closed() {
            return;
        }
    }
}

async fn serve_peer<E: Environment, R: StreamReader, W: StreamWriter>(
    mut reader: R,
    mut connection: Incoming<E, W>,
    inbound: mpsc::Sender<Inbound>,
) -> Result<(), PeerError> {
    let shared = connection.transport.shared();
    let clock = shared.environment.clock().clone();
    let silence = ms(shared.limits.election_timeout_ms) * SILENT_ELECTION_TIMEOUTS;
    let mut buffer = BytesMut::new();
    let mut is_heard = true;
    let mut silence_timer = Box::pin(clock.sleep(silence));
    loop {
        while let Some(frame) = decode_message::<PeerFrame>(&mut buffer)? {
            let body = frame.body.ok_or(CodecError::Missing("body of a frame"))?;
            if let Some(message) = connection.on_frame(body).await?
                && inbound.send(message).await.is_err()
            {
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
                let is_stranger = connection.caller.is_none();
                if !std::mem::take(&mut is_heard) || is_stranger {
                    reachable!("node.silent-caller-disconnected");
                    return Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into());
                }
                silence_timer = Box::pin(clock.sleep(silence));
            }
        }
    }
}

/// A connection that a peer has opened.
struct Incoming<E: Environment, W: StreamWriter> {
    /// The peer, once it has greeted. It is dropped before the writer closes.
    caller: Option<Call<E>>,
    transport: Transport<E>,
    /// The members as of the applied log, for whoever asks.
    members: watch::Receiver<Directory>,
    writer: W,
    place: Place,
}

impl<E: Environment, W: StreamWriter> Incoming<E, W> {
    /// Takes a frame and returns what the member has to know of it.
    async fn on_frame(&mut self, body: Body) -> Result<Option<Inbound>, PeerError> {
        let Some(from) = self.caller.as_ref().map(Call::node) else {
            match body {
                Body::Hello(hello) => self.on_greeting(&hello).await?,
                Body::MembersCall(_) => self.tell_members().await?,
                Body::Raft(_)
                | Body::Forward(_)
                | Body::ForwardRefused(_)
                | Body::SnapshotChunk(_)
                | Body::SnapshotAck(_)
                | Body::LeaseCall(_)
                | Body::LeaseReply(_)
                | Body::Ping(_) => return Err(PeerError::NoHello),
            }
            return Ok(None);
        };
        match body {
            Body::Ping(ping) => {
                let answer = Pong {
                    ordinal: ping.ordinal,
                    protocol_version: 0,
                };
                write_answer(&mut self.writer, &answer).await?;
                Ok(None)
            }
            Body::MembersCall(_) => {
                self.tell_members().await?;
                Ok(None)
            }
            // The network may duplicate the first frame.
            Body::Hello(hello) => {
                reachable!("node.hello-came-twice");
                check_hello(&hello, self.transport.shared())?;
                Ok(None)
            }
            Body::Raft(message) => {
                let message = message_from_wire(message)?;
                if message.from != from {
                    return Err(PeerError::Sender {
                        claimed: message.from,
                        actual: from,
                    });
                }
                let member_id = self.transport.shared().member_id;
                if message.to != member_id {
                    return Err(PeerError::Receiver {
                        theirs: message.to,
                        ours: member_id,
                    });
                }
                Ok(Some(Inbound::Raft(message)))
            }
            body @ (Body::Forward(_)
            | Body::ForwardRefused(_)
            | Body::SnapshotChunk(_)
            | Body::SnapshotAck(_)
            | Body::LeaseCall(_)
            | Body::LeaseReply(_)) => Ok(Some(Inbound::Frame(from, body))),
        }
    }

    /// Answers somebody who asks who the members are.
    async fn tell_members(&mut self) -> Result<(), PeerError> {
        let members: Vec<Bytes> = {
            let directory = self.members.borrow();
            let members = directory.iter();
            members
                .map(|(id, known)| {
                    Member {
                        id,
                        ..known.clone()
                    }
                    .encode_to_vec()
                    .into()
                })
                .collect()
        };
        let reply = MembersReply {
            cluster_id: self.transport.shared().cluster_id,
            members,
        };
        write_answer(&mut self.writer, &reply).await
    }

    async fn on_greeting(&mut self, hello: &Hello) -> Result<(), PeerError> {
        let shared = self.transport.shared();
        let newest_version = shared.newest_version();
        let from = check_hello(hello, shared)?;
        let is_named = self.members.borrow().get(from).is_some();
        self.place.greeted(from, is_named)?;
        self.caller = Some(self.transport.called(from, &hello.address));
        if newest_version >= ANSWERED_VERSION {
            let answer = Pong {
                ordinal: 0,
                protocol_version: newest_version,
            };
            write_answer(&mut self.writer, &answer).await?;
        }
        Ok(())
    }
}

async fn write_answer<W: StreamWriter>(
    writer: &mut W,
    answer: &impl prost::Message,
) -> Result<(), PeerError> {
    let mut bytes = BytesMut::new();
    encode_frame(answer, &mut bytes);
    Ok(writer.write(bytes.freeze()).await?)
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
