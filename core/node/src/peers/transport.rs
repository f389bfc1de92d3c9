//! Which peers a member is connected to, and the way to their outboxes.

use std::sync::Arc;
use tokio::sync::mpsc;
use veridical_env::Environment;
use veridical_probe::{queue, reachable, sometimes};
use veridical_proto::peer::PeerFrame;
use veridical_proto::peer::peer_frame::Body;
use veridical_raft::Message;

use crate::codec::message_to_wire;
use crate::config::NodeConfig;
use crate::membership::directory::Directory;
use crate::peers::outgoing::Outgoing;
use crate::peers::shared::{Peer, Peers, Shared};

/// What a peer said, decoded.
#[derive(Debug)]
pub(crate) enum Inbound {
    /// A Raft message.
    Raft(Message),
    /// Any other frame, with its sender.
    Frame(u64, Body),
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
        Self {
            shared: Arc::new(Shared::new(environment, config)),
        }
    }

    /// What all connections know of this member.
    pub(crate) fn shared(&self) -> &Shared<E> {
        &self.shared
    }

    fn peers(&self) -> std::sync::MutexGuard<'_, Peers> {
        self.shared
            .peers
            .lock()
            .expect("no panic while the peers are locked")
    }

    /// Opens the connections to the members of a directory.
    pub(crate) fn connect(&self, directory: &Directory) {
        for (node, _) in directory.iter() {
            if let Some(address) = directory.peer_address(node) {
                self.set_peer(node, &address);
            }
        }
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
        let shared = Arc::clone(&self.shared);
        let connection = Outgoing::new(shared, node, address.to_owned(), frames);
        Peer {
            address: address.to_owned(),
            outbox,
            task: veridical_env::task::spawn(connection.run()),
            is_caller,
        }
    }

    /// A peer has opened a connection and said where it is reached. If no list of members
    /// has named it yet, it is answered there as long as it is connected.
    pub(crate) fn called(&self, node: u64, address: &str) -> Call<E> {
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

    /// Whether a peer is connected to this member.
    pub(crate) fn is_called_by(&self, node: u64) -> bool {
        self.peers().incoming.contains_key(&node)
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

/// A connection that a peer has opened, counted while it lasts.
pub(crate) struct Call<E: Environment> {
    transport: Transport<E>,
    node: u64,
}

impl<E: Environment> Call<E> {
    /// Who has opened it.
    pub(crate) fn node(&self) -> u64 {
        self.node
    }
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
