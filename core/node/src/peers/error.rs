//! Why a connection between members ends.

use veridical_proto::frame::FrameError;

use crate::codec::CodecError;

/// Why a connection from a peer was ended by this side.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeerError {
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
    #[error("a newer connection has its place")]
    Displaced,
    #[error("too many callers that are no members")]
    Crowded,
    #[error(transparent)]
    Io(#[from] std::io::Error),
}
