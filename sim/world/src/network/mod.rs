//! The simulated network: hosts, links and byte streams, without any runtime.
//!
//! [`model::NetworkModel`] is a state machine: it is told what processes do (connect,
//! write, read, close) and which [`Delivery`] is due, and it schedules further deliveries.
//! Each unit's fate is decided when it is sent and checked again when it arrives.

mod address;
mod arrive;
mod connect;
mod faults;
mod flow;
mod link;
mod model;
mod send;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod worked_example;

pub use connect::LISTEN_BACKLOG;
pub use faults::{LossMode, NetworkFaults, RETRANSMISSION_TIMEOUT_MS};
pub use flow::STREAM_WINDOW_BYTES;

pub use address::{host_address, parse_port, resolve};
pub use connect::ConnectId;
pub use flow::FlowId;
pub use model::{Departure, NetworkModel};

use crate::fault::ProcessId;
use crate::rng::Rng;
use crate::trace::{Decisions, Recorder, Site};
use bytes::Bytes;

/// How a unit goes with the others of its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// It arrives after everything that was sent before it and is not lost.
    Ordered,
    /// It arrives whenever it does.
    Loose,
    /// It is a second copy: it arrives whenever it does, and the window does not count it.
    Copy,
}

/// Something on its way through the network.
#[derive(Debug)]
pub enum Delivery {
    /// A unit of a stream.
    Unit {
        /// The stream that it belongs to.
        flow: FlowId,
        /// Its number on its link.
        ordinal: u64,
        /// What it carries.
        data: Bytes,
        /// How it goes with the others of its stream.
        rank: Rank,
    },
    /// The end of a stream: the sender closed it.
    End {
        /// The stream that it belongs to.
        flow: FlowId,
        /// Its number on its link.
        ordinal: u64,
    },
    /// A reset, on its way to the receiving end of this stream; it ends both
    /// directions of the connection.
    Reset {
        /// The stream that leads to the one who is told.
        flow: FlowId,
    },
    /// A request to connect arrives at the listener's host.
    Request {
        /// The attempt to connect.
        connect: ConnectId,
    },
    /// A request to connect is sent again, since nobody answered.
    RequestAgain {
        /// The attempt to connect.
        connect: ConnectId,
    },
    /// The answer to a request arrives at the one who connects.
    Answer {
        /// The attempt to connect that is answered.
        connect: ConnectId,
        /// The stream on which the one who connects sends; none if refused.
        flow: Option<FlowId>,
    },
}

/// What the network model needs from the world to do something.
pub struct NetworkContext<'a> {
    /// Where its random numbers come from.
    pub decisions: &'a mut Decisions,
    /// The time, and where to record.
    pub recorder: Recorder<'a>,
    /// Deliveries that are to be scheduled: when (ns) and what.
    pub scheduled: &'a mut Vec<(u64, Delivery)>,
}

impl NetworkContext<'_> {
    /// The generator for a decision at `site` about something with this fingerprint.
    fn draw(&mut self, site: Site, content: u64) -> Rng {
        self.decisions.draw(site, self.recorder.now_ns, content)
    }

    /// The generator for the fate of a control segment.
    fn draw_control(&mut self, from: ProcessId, to: ProcessId) -> Rng {
        self.draw(Site::Control { from, to }, 0)
    }
}
