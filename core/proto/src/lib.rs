//! Every message that leaves a process: the etcd v3 API, what members say to each
//! other, what the Raft log and the snapshots carry, and the frame around each of them
//! on a byte stream.
//!
//! Inputs: bytes from a peer, a client or a file; messages to send.
//! Outputs: messages; bytes. Decoding arbitrary bytes gives a message or an error,
//! never a panic.
//! Dependencies: nothing of this workspace.
//!
//! The `.proto` files in `proto/` are the documentation of the fields.

mod access;
pub mod frame;

/// Keys, values and events of the etcd v3 API.
#[allow(
    missing_docs,
    reason = "the fields are documented in the `.proto` files"
)]
pub mod mvccpb {
    include!(concat!(env!("OUT_DIR"), "/mvccpb.rs"));
}

/// Requests and responses of the etcd v3 API.
#[allow(
    missing_docs,
    reason = "the fields are documented in the `.proto` files"
)]
pub mod etcdserverpb {
    include!(concat!(env!("OUT_DIR"), "/etcdserverpb.rs"));
}

/// The commands that the Raft log carries.
#[allow(
    missing_docs,
    clippy::module_inception,
    reason = "the fields are documented in the `.proto` files; the package names the module"
)]
pub mod command {
    include!(concat!(env!("OUT_DIR"), "/veridical_command.rs"));
}

/// What members say to each other.
#[allow(
    missing_docs,
    reason = "the fields are documented in the `.proto` files"
)]
pub mod peer {
    include!(concat!(env!("OUT_DIR"), "/veridical_peer.rs"));
}

/// The pipelined client protocol.
#[allow(
    missing_docs,
    reason = "the fields are documented in the `.proto` files"
)]
pub mod native {
    include!(concat!(env!("OUT_DIR"), "/veridical_native.rs"));
}

/// The records of a snapshot of the state machine.
#[allow(
    missing_docs,
    reason = "the fields are documented in the `.proto` files"
)]
pub mod snapshot {
    include!(concat!(env!("OUT_DIR"), "/veridical_snapshot.rs"));
}
