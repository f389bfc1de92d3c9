//! How a member that is about to join learns from one that runs which cluster that is, and who
//! its members are (etcd: `GetClusterFromRemotePeers`).

use bytes::{Bytes, BytesMut};
use prost::Message as _;
use std::time::Duration;
use veridical_env::{Clock, Environment, Network, StreamReader, StreamWriter};
use veridical_proto::etcdserverpb::Member;
use veridical_proto::frame::{FrameError, decode_message, encode_frame};
use veridical_proto::peer::peer_frame::Body;
use veridical_proto::peer::{MembersCall, MembersReply, PeerFrame};

/// A cluster as one of its members knows it, by the log that it has applied.
#[derive(Clone, Debug, PartialEq)]
pub struct KnownCluster {
    /// The cluster's id.
    pub cluster_id: u64,
    /// Its members.
    pub members: Vec<Member>,
}

/// Why a member was not told.
#[derive(Debug, thiserror::Error)]
pub enum IntroductionError {
    /// There is no connection, or it broke.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// What came is no answer.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A member in the answer cannot be understood.
    #[error("a member in the answer: {0}")]
    Member(#[from] prost::DecodeError),
    /// It closed the connection; an earlier program does so.
    #[error("it does not answer who the members are")]
    Unanswered,
    /// It has not learnt yet itself who the members are.
    #[error("it does not know yet who the members are")]
    Unknown,
    /// Nothing came in time.
    #[error("no answer within {} ms", .0.as_millis())]
    Late(Duration),
}

/// Asks the member whose peers reach it at `address` who the members are.
///
/// # Errors
/// It does not answer within `patience`, or does not know.
pub async fn ask_members<E: Environment>(
    environment: &E,
    address: &str,
    patience: Duration,
) -> Result<KnownCluster, IntroductionError> {
    let reply = tokio::select! {
        biased;
        reply = exchange(environment, address) => reply?,
        () = environment.clock().sleep(patience) => return Err(IntroductionError::Late(patience)),
    };
    if reply.members.is_empty() {
        return Err(IntroductionError::Unknown);
    }
    let members = reply.members.into_iter().map(Member::decode);
    Ok(KnownCluster {
        cluster_id: reply.cluster_id,
        members: members.collect::<Result<_, _>>()?,
    })
}

async fn exchange<E: Environment>(
    environment: &E,
    address: &str,
) -> Result<MembersReply, IntroductionError> {
    let (mut reader, mut writer) = environment.network().connect(address).await?;
    let mut buffer = BytesMut::new();
    let body = Some(Body::MembersCall(MembersCall {}));
    encode_frame(&PeerFrame { body }, &mut buffer);
    writer.write(Bytes::from(buffer)).await?;
    let mut received = BytesMut::new();
    loop {
        if let Some(reply) = decode_message(&mut received)? {
            return Ok(reply);
        }
        if reader.read(&mut received).await? == 0 {
            return Err(IntroductionError::Unanswered);
        }
    }
}
