//! What can happen, and how it enters the digest.

use crate::digest::Digest;
use crate::fault::ProcessId;
use serde::{Deserialize, Serialize};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The time at which it happened, in simulated ns since the start of the run.
    #[serde(rename = "t")]
    pub at_ns: u64,
    /// The process in which it happened; none for the world itself.
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessId>,
    /// What happened, with its fields.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// Why a unit of the network was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DropCause {
    /// The link loses units.
    Loss,
    /// The link is cut.
    Partition,
    /// The receiver's host is down.
    HostDown,
    /// The receiver knows no such connection, or has closed it.
    NoConnection,
}

/// An operation of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskOperation {
    /// A read.
    Read,
    /// A write.
    Write,
    /// A change of a file's length.
    SetLength,
    /// A synchronisation of a file.
    Sync,
    /// A synchronisation of a folder.
    SyncDir,
    /// An opening or creation of a file.
    Open,
    /// A renaming.
    Rename,
    /// A removal.
    Remove,
    /// A listing, a query of a length, a creation of folders.
    Query,
}

/// The kinds of events. Units of the network are named by their link (from, to) and
/// their ordinal on it, so that a decision can be found again after the code changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "e", rename_all = "snake_case")]
pub enum EventKind {
    /// A process started.
    Start {
        /// How often it has been started before.
        incarnation: u32,
    },
    /// A process ended by itself.
    Exit {
        /// Whether it panicked.
        panicked: bool,
        /// A fingerprint of what it said.
        text: u64,
    },
    /// A process was stopped from outside.
    Crash {
        /// Whether the machine lost power; else only the process was killed.
        power: bool,
    },
    /// A process was paused.
    Pause,
    /// A paused process goes on.
    Resume,
    /// A unit was handed to the network by this process.
    Send {
        /// The receiver.
        to: ProcessId,
        /// The unit's number on its link.
        ordinal: u64,
        /// Its length in bytes.
        length: u64,
        /// A fingerprint of its bytes.
        hash: u64,
    },
    /// A unit reached this process.
    Deliver {
        /// The sender.
        from: ProcessId,
        /// The unit's number on its link.
        ordinal: u64,
        /// Its length in bytes.
        length: u64,
    },
    /// A unit sent by this process was lost.
    Drop {
        /// The receiver.
        to: ProcessId,
        /// The unit's number on its link.
        ordinal: u64,
        /// Why it was lost.
        cause: DropCause,
    },
    /// A unit sent by this process will arrive twice.
    Duplicate {
        /// The receiver.
        to: ProcessId,
        /// The unit's number on its link.
        ordinal: u64,
    },
    /// Bytes of a unit sent by this process were flipped.
    Corrupt {
        /// The receiver.
        to: ProcessId,
        /// The unit's number on its link.
        ordinal: u64,
    },
    /// Something sent by this process waits at its link.
    Hold {
        /// The receiver.
        to: ProcessId,
    },
    /// What waited at a link is sent on.
    Release {
        /// The receiver.
        to: ProcessId,
        /// How many units and control segments are sent on.
        count: u64,
    },
    /// A connection from this process was accepted by the other host.
    Connect {
        /// The host connected to.
        to: ProcessId,
        /// The port there.
        port: u16,
    },
    /// A connection was refused.
    Refused {
        /// The host asked.
        to: ProcessId,
        /// The port there.
        port: u16,
    },
    /// This process learnt that the other end closed its sending direction.
    EndOfStream {
        /// The other end.
        from: ProcessId,
    },
    /// This process learnt that a connection was reset.
    Reset {
        /// The other end.
        from: ProcessId,
    },
    /// An operation of this process's disk took effect.
    Disk {
        /// The operation.
        operation: DiskOperation,
        /// The number of the file on its disk; 0 if it concerns a folder.
        file: u64,
        /// The offset in the file.
        offset: u64,
        /// How many bytes it concerned.
        length: u64,
    },
    /// An operation of this process's disk failed.
    DiskError {
        /// The operation.
        operation: DiskOperation,
        /// The number of the file on its disk; 0 if it concerns a folder.
        file: u64,
        /// The number of the error on Linux.
        errno: u32,
    },
    /// What a crash left of a file that had unsynchronised operations.
    CrashedFile {
        /// The number of the file on its disk.
        file: u64,
        /// How many operations were pending.
        pending: u64,
        /// The length that is left.
        length: u64,
        /// A fingerprint of what is left of the sectors that were being written.
        hash: u64,
    },
    /// Bytes of a file at rest changed, and nobody wrote them.
    Damage {
        /// The number of the file on its disk.
        file: u64,
        /// The offset in the file.
        offset: u64,
        /// How many bytes.
        length: u64,
        /// A fingerprint of what they are now.
        hash: u64,
    },
    /// What a crash left of the names that had not been synchronised.
    CrashedNames {
        /// How many changes were pending.
        pending: u64,
        /// How many were lost.
        lost: u64,
    },
    /// The clock of this process was changed.
    Clock {
        /// The new rate: this many millionths faster than true time.
        drift_ppm: i64,
        /// How far the wall clock jumped, in ns.
        jump_ns: i64,
    },
    /// A fault was injected.
    Fault {
        /// Its number in this run.
        id: u64,
        /// A fingerprint of its serialised form.
        hash: u64,
    },
    /// An injected fault ended.
    Heal {
        /// Its number in this run.
        id: u64,
    },
    /// Something that the application recorded.
    Custom {
        /// The name that the application gave it.
        label: String,
        /// A number that goes with it.
        value: u64,
    },
}

impl Event {
    /// Takes the event into a digest: time, process, kind, fields. The number of each kind is
    /// part of every digest, so no kind ever gets another one.
    #[rustfmt::skip] // This is a table, one line for each kind of event.
    pub(super) fn fold(&self, digest: &mut Digest) {
        use EventKind::*;
        digest.fold(self.at_ns);
        let process = self.process.map_or(0, |process| u64::from(process.0) + 1);
        let id = |process: ProcessId| u64::from(process.0);
        let mut fold = |tag: u64, small: u64, fields: &[u64]| {
            digest.fold(tag << 56 | process << 24 | small);
            fields.iter().for_each(|field| digest.fold(*field));
        };
        match self.kind {
            Start { incarnation } => fold(1, u64::from(incarnation), &[]),
            Exit { panicked, text } => fold(2, u64::from(panicked), &[text]),
            Crash { power } => fold(3, u64::from(power), &[]),
            Pause => fold(4, 0, &[]),
            Resume => fold(5, 0, &[]),
            Send { to, ordinal, length, hash } => fold(6, id(to), &[ordinal << 24 ^ length, hash]),
            Deliver { from, ordinal, length } => fold(7, id(from), &[ordinal << 24 ^ length]),
            Drop { to, ordinal, cause } => fold(8, id(to), &[ordinal << 8 | cause as u64]),
            Duplicate { to, ordinal } => fold(9, id(to), &[ordinal]),
            Corrupt { to, ordinal } => fold(10, id(to), &[ordinal]),
            Hold { to } => fold(11, id(to), &[]),
            Release { to, count } => fold(12, id(to), &[count]),
            Connect { to, port } => fold(13, id(to), &[u64::from(port)]),
            Refused { to, port } => fold(14, id(to), &[u64::from(port)]),
            EndOfStream { from } => fold(15, id(from), &[]),
            Reset { from } => fold(16, id(from), &[]),
            Disk { operation, file, offset, length } =>
                fold(17, operation as u64, &[file << 32 ^ length, offset]),
            DiskError { operation, file, errno } =>
                fold(18, operation as u64, &[file << 32 ^ u64::from(errno)]),
            CrashedFile { file, pending, length, hash } => fold(19, pending, &[file, length, hash]),
            CrashedNames { pending, lost } => fold(20, pending, &[lost]),
            Clock { drift_ppm, jump_ns } => fold(21, 0, &[drift_ppm as u64, jump_ns as u64]),
            Fault { id, hash } => fold(22, 0, &[id, hash]),
            Heal { id } => fold(23, 0, &[id]),
            Custom { ref label, value } => {
                fold(24, 0, &[]);
                digest.fold_bytes(label.as_bytes());
                digest.fold(value);
            }
            Damage { file, offset, length, hash } => fold(25, 0, &[file << 32 ^ length, offset, hash]),
        }
    }
}
