//! The listener of a run, who is told more than its events say.

use super::Event;
use crate::fault::{Fault, FaultId, ProcessId};

/// A unit that was handed to the network, with what it carries: an event has only a
/// fingerprint of that.
#[derive(Clone, Copy, Debug)]
pub struct SentUnit<'a> {
    /// The time at which it was sent, in simulated ns since the start of the run.
    pub at_ns: u64,
    /// The sender.
    pub from: ProcessId,
    /// The receiver.
    pub to: ProcessId,
    /// The unit's number on its link.
    pub ordinal: u64,
    /// The bytes that it carries.
    pub data: &'a [u8],
}

/// Listens to a run. It has no effect on it: nothing of what it does reaches the digest or
/// draws a random number.
///
/// It is told while the world is locked, so it must not call the world, nor anything
/// that does. The world decodes nothing: what a unit means is the listener's business.
pub trait TraceListener: Send {
    /// A process was added to the world; processes are numbered in that order.
    fn process_added(&mut self, process: ProcessId, name: &str) {
        let _ = (process, name);
    }

    /// Something happened.
    fn event(&mut self, event: &Event) {
        let _ = event;
    }

    /// A unit was sent; its [`EventKind::Send`](super::EventKind::Send) comes right
    /// before.
    fn unit_sent(&mut self, unit: SentUnit<'_>) {
        let _ = unit;
    }

    /// A fault was injected; its [`EventKind::Fault`](super::EventKind::Fault) comes
    /// right before, its end is [`EventKind::Heal`](super::EventKind::Heal).
    fn fault_injected(&mut self, at_ns: u64, id: FaultId, fault: &Fault) {
        let _ = (at_ns, id, fault);
    }
}
