//! The connection that a member opens to one peer, written by a task of its own.

use bytes::BytesMut;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tracing::debug;
use veridical_env::{Clock, Environment, Network, StreamReader, StreamWriter};
use veridical_probe::reachable;
use veridical_proto::frame::{decode_message, encode_frame};
use veridical_proto::peer::peer_frame::Body;
use veridical_proto::peer::{Hello, PeerFrame, Ping, Pong};
use veridical_storage::format::DataFormat;

use crate::config::ms;
use crate::peers::ANSWERED_VERSION;
use crate::peers::error::PeerError;
use crate::peers::shared::Shared;

/// The task behind one outgoing connection.
pub(crate) struct Outgoing<E: Environment> {
    shared: Arc<Shared<E>>,
    node: u64,
    address: String,
    frames: mpsc::Receiver<PeerFrame>,
    /// The version that the next connection begins with.
    version: u32,
}

impl<E: Environment> Outgoing<E> {
    /// Brings `frames` to the peer `node` at `address`.
    pub(crate) fn new(
        shared: Arc<Shared<E>>,
        node: u64,
        address: String,
        frames: mpsc::Receiver<PeerFrame>,
    ) -> Self {
        let version = shared.newest_version();
        Self {
            shared,
            node,
            address,
            frames,
            version,
        }
    }

    pub(crate) async fn run(mut self) {
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
            PeerError::Frame(_)
            | PeerError::Codec(_)
            | PeerError::NoHello
            | PeerError::Version { .. }
            | PeerError::Cluster { .. }
            | PeerError::Receiver { .. }
            | PeerError::Sender { .. }
            | PeerError::Displaced
            | PeerError::Crowded
            | PeerError::Io(_) => newest,
        };
    }

    /// Sends frames until the connection breaks (`Err`) or the member drops the peer
    /// (`Ok`).
    async fn pump(
        &mut self,
        mut reader: <E::Network as Network>::Reader,
        mut writer: <E::Network as Network>::Writer,
    ) -> Result<(), PeerError> {
        let clock = self.shared.environment.clock().clone();
        let patience = ms(self.shared.limits.election_timeout_ms);
        let mut buffer = BytesMut::new();
        let hello = Some(Body::Hello(self.hello()));
        encode_frame(&PeerFrame { body: hello }, &mut buffer);
        write_within(&clock, patience, &mut writer, &mut buffer).await?;

        let mut received = BytesMut::new();
        let mut liveness = Liveness {
            ping_ordinal: 0,
            answered: true,
            is_taken: self.version < ANSWERED_VERSION,
        };
        let mut ping_at = clock.monotonic() + patience;
        let mut ping_timer = Box::pin(clock.sleep(patience));
        loop {
            tokio::select! {
                biased;
                frame = self.frames.recv() => {
                    let Some(frame) = frame else { return Ok(()) };
                    self.encode_waiting(&frame, &mut buffer);
                }
                read = reader.read(&mut received) => {
                    if read? == 0 {
                        return Err(liveness.end());
                    }
                    self.on_received(&mut received, &mut liveness)?;
                }
                () = &mut ping_timer => {}
            }
            let now = clock.monotonic();
            if now >= ping_at {
                liveness.ping(&mut buffer)?;
                ping_at = now + patience;
                ping_timer = Box::pin(clock.sleep(patience));
            }
            if !buffer.is_empty() {
                write_within(&clock, patience, &mut writer, &mut buffer).await?;
            }
        }
    }

    /// The first frame of a connection.
    fn hello(&self) -> Hello {
        Hello {
            protocol_version: self.version,
            cluster_id: self.shared.cluster_id,
            from: self.shared.member_id,
            to: self.node,
            address: if self.version >= ANSWERED_VERSION {
                self.shared.address.clone()
            } else {
                String::new()
            },
        }
    }

    /// Joins a frame and those that wait behind it into one write.
    fn encode_waiting(&mut self, first: &PeerFrame, buffer: &mut BytesMut) {
        encode_frame(first, buffer);
        while buffer.len() < self.shared.limits.peer_write_bytes {
            let Ok(frame) = self.frames.try_recv() else {
                break;
            };
            encode_frame(&frame, buffer);
        }
    }

    /// Follows the answers of the peer.
    fn on_received(
        &self,
        received: &mut BytesMut,
        liveness: &mut Liveness,
    ) -> Result<(), PeerError> {
        while let Some(pong) = decode_message::<Pong>(received)? {
            liveness.answered |= pong.ordinal == liveness.ping_ordinal;
            liveness.is_taken = true;
            let newer = pong.protocol_version.min(self.shared.newest_version());
            if newer > self.version {
                reachable!("node.peer-speaks-a-newer-version");
                return Err(PeerError::Newer(newer));
            }
        }
        Ok(())
    }
}

/// Whether the peer at the other end is there.
struct Liveness {
    /// The number of the last ping.
    ping_ordinal: u64,
    /// Whether the last ping was answered.
    answered: bool,
    /// Whether the peer has taken the greeting.
    is_taken: bool,
}

impl Liveness {
    /// Writes another ping, unless the last one has no answer.
    fn ping(&mut self, buffer: &mut BytesMut) -> Result<(), PeerError> {
        if !self.answered {
            reachable!("node.silent-peer-disconnected");
            return Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into());
        }
        self.answered = false;
        self.ping_ordinal += 1;
        let ping = Body::Ping(Ping {
            ordinal: self.ping_ordinal,
        });
        encode_frame(&PeerFrame { body: Some(ping) }, buffer);
        Ok(())
    }

    /// What it means that the peer closed the connection.
    fn end(&self) -> PeerError {
        if self.is_taken {
            std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()
        } else {
            reachable!("node.greeting-was-not-taken");
            PeerError::Unanswered
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
