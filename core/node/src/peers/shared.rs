//! What all connections of a member know of it.

use std::collections::BTreeMap;
use std::sync::Mutex;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use veridical_env::Environment;
use veridical_planted::Planted;
use veridical_proto::peer::PeerFrame;
use veridical_storage::format::DataFormat;

use crate::config::NodeConfig;
use crate::limits::Limits;

/// The way to one peer.
pub(crate) struct Peer {
    pub(crate) address: String,
    pub(crate) outbox: mpsc::Sender<PeerFrame>,
    pub(crate) task: JoinHandle<()>,
    /// The list of members as this one knows it does not name it, but it is connected to
    /// this member. It is forgotten when its connections end.
    pub(crate) is_caller: bool,
}

/// The peers of a member.
#[derive(Default)]
pub(crate) struct Peers {
    pub(crate) outgoing: BTreeMap<u64, Peer>,
    /// How many connections each peer has opened to this member.
    pub(crate) incoming: BTreeMap<u64, usize>,
    /// The member has stopped: nothing is opened any more.
    pub(crate) is_closed: bool,
}

/// What all connections of a member know.
pub(crate) struct Shared<E: Environment> {
    pub(crate) environment: E,
    pub(crate) limits: Limits,
    pub(crate) data_format: DataFormat,
    pub(crate) cluster_id: u64,
    pub(crate) member_id: u64,
    /// Where peers reach this member; empty if it was not told.
    pub(crate) address: String,
    pub(crate) planted: Planted,
    pub(crate) peers: Mutex<Peers>,
}

impl<E: Environment> Shared<E> {
    pub(crate) fn new(environment: E, config: &NodeConfig) -> Self {
        Self {
            environment,
            limits: config.limits.clone(),
            data_format: config.data_format,
            cluster_id: config.cluster_id,
            member_id: config.member_id,
            address: config.advertised_peer_address().unwrap_or_default(),
            planted: config.planted,
            peers: Mutex::default(),
        }
    }

    /// The newest version of the protocol that this member speaks.
    pub(crate) fn newest_version(&self) -> u32 {
        self.data_format.version()
    }
}
