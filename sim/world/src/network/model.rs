//! The state of the network: hosts, links and streams; departures, cuts and clogs.

use super::connect::{Connecting, Host};
use super::flow::Flows;
use super::link::Link;
use super::{FlowId, NetworkContext, NetworkFaults, RETRANSMISSION_TIMEOUT_MS};
use crate::counter::{Counter, Counters};
use crate::fault::ProcessId;
use crate::schedule::{MessageScheduler, Schedule};
use crate::trace::{EventKind, Site};
use std::collections::BTreeMap;

/// How soon what was held is on its way again after a clog ended, in ns.
const RELEASE_NS: u64 = 1_000;

/// How late a reliable stream notices the end of a partition at most, in ns: it waits
/// for the next retransmission.
const RETRANSMISSION_JITTER_NS: u64 = RETRANSMISSION_TIMEOUT_MS * 1_000_000;

/// How a process leaves the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// Its host vanishes and says nothing.
    Silent,
    /// Its host vanishes and its peers are told by resets.
    Reset,
    /// Its host lives on and closes the sockets of the process.
    Closed,
}

/// All hosts, links and streams.
#[derive(Debug, Default)]
pub struct NetworkModel {
    pub(super) hosts: Vec<Host>,
    pub(super) links: Vec<Vec<Link>>,
    pub(super) flows: Flows,
    pub(super) connecting: BTreeMap<u64, Connecting>,
    pub(super) next_connect: u64,
    /// How the network as a whole behaves.
    pub faults: NetworkFaults,
    /// When units arrive, if the schedule has a say in it.
    pub(super) scheduler: MessageScheduler<FlowId>,
}

impl NetworkModel {
    /// A network without hosts.
    pub fn new(faults: NetworkFaults, schedule: &Schedule) -> Self {
        Self {
            faults,
            scheduler: MessageScheduler::by(schedule),
            ..Self::default()
        }
    }

    /// Enters how often the schedule decided something.
    pub fn count(&self, counters: &mut Counters) {
        let counts = self.scheduler.counts();
        counters.set(Counter::MessageHeld, counts.held);
        counters.set(Counter::LinkChange, counts.changes);
        counters.set(Counter::MessageDelay, counts.delays);
    }

    /// Ends what the schedule does to the order of messages.
    pub fn let_pass(&mut self) {
        self.scheduler.let_pass();
    }

    pub(super) fn link(&mut self, from: ProcessId, to: ProcessId) -> &mut Link {
        &mut self.links[from.index()][to.index()]
    }

    /// A process has left: its sockets are gone.
    pub fn depart(&mut self, context: &mut NetworkContext<'_>, process: ProcessId, how: Departure) {
        self.connecting
            .retain(|_, connecting| connecting.from != process);
        let ports: Vec<u16> = self.hosts[process.index()]
            .listeners
            .keys()
            .copied()
            .collect();
        for id in self
            .flows
            .ids(|flow| flow.from == process || flow.to == process)
        {
            let Some(flow) = self.flows.get(id) else {
                continue;
            };
            let (sends, receives) = (flow.from == process, flow.to == process);
            if how == Departure::Closed {
                if sends {
                    self.close_writer(context, id);
                }
                if receives {
                    self.close_reader(context, id);
                }
                continue;
            }
            if sends {
                flow.writer_open = false;
                flow.writer_waker = None;
            }
            if receives {
                flow.reader_open = false;
                flow.reader_waker = None;
                flow.arrived.clear();
                flow.unread_bytes = 0;
            }
            if sends && how == Departure::Reset {
                self.send_reset(context, id);
            }
            self.flows.forget_if_closed(id);
        }
        for port in ports {
            self.close_listener(context, process, port);
        }
        self.hosts[process.index()].up = how == Departure::Closed;
    }

    /// Cuts the link from one host to another once more.
    pub fn cut(&mut self, from: ProcessId, to: ProcessId) {
        self.link(from, to).cuts += 1;
    }

    /// Takes one cut back.
    pub fn heal(&mut self, context: &mut NetworkContext<'_>, from: ProcessId, to: ProcessId) {
        let link = self.link(from, to);
        link.cuts = link.cuts.saturating_sub(1);
        self.release_held(context, from, to, RETRANSMISSION_JITTER_NS);
    }

    /// Clogs the link from one host to another once more.
    pub fn clog(&mut self, from: ProcessId, to: ProcessId) {
        self.link(from, to).clogs += 1;
    }

    /// Takes one clog back; what waited arrives in a burst.
    pub fn unclog(&mut self, context: &mut NetworkContext<'_>, from: ProcessId, to: ProcessId) {
        let link = self.link(from, to);
        link.clogs = link.clogs.saturating_sub(1);
        self.release_held(context, from, to, 0);
    }

    /// Whether the machine of a process runs.
    pub fn is_up(&self, process: ProcessId) -> bool {
        self.hosts[process.index()].up
    }

    /// How many connections somebody holds.
    pub fn connections(&self) -> usize {
        self.flows.connections()
    }

    /// How many units with data a host has sent so far, whatever became of them.
    pub fn units_sent(&self, from: ProcessId) -> u64 {
        let links = &self.links[from.index()];
        links.iter().map(|link| link.units_sent).sum()
    }

    /// Whether somebody on a host waits for room in a window to write.
    pub fn has_waiting_writer(&self, from: ProcessId) -> bool {
        self.flows
            .any(|flow| flow.from == from && flow.writer_waker.is_some())
    }

    /// Whether the link is cut.
    pub fn is_cut(&self, from: ProcessId, to: ProcessId) -> bool {
        self.links[from.index()][to.index()].cuts > 0
    }

    /// Gives one link a behaviour of its own until [`NetworkModel::remove_override`].
    pub fn add_override(
        &mut self,
        from: ProcessId,
        to: ProcessId,
        key: u64,
        faults: NetworkFaults,
    ) {
        self.link(from, to).overrides.push((key, faults));
    }

    /// Ends the behaviour that was added under `key`.
    pub fn remove_override(&mut self, from: ProcessId, to: ProcessId, key: u64) {
        self.link(from, to)
            .overrides
            .retain(|(known, _)| *known != key);
    }

    fn release_held(
        &mut self,
        context: &mut NetworkContext<'_>,
        from: ProcessId,
        to: ProcessId,
        jitter_ns: u64,
    ) {
        let link = self.link(from, to);
        if link.cuts > 0 || link.clogs > 0 || link.held.is_empty() {
            return;
        }
        let mut held = std::mem::take(&mut link.held);
        held.sort_by_key(|(ordinal, _)| *ordinal);
        context.recorder.record(
            from,
            EventKind::Release {
                to,
                count: held.len() as u64,
            },
        );
        let jitter_ns = if jitter_ns == 0 {
            0
        } else {
            context.draw(Site::Release { from, to }, 0).below(jitter_ns)
        };
        let mut at_ns = context.recorder.now_ns + RELEASE_NS + jitter_ns;
        for (_, delivery) in held {
            at_ns += 1;
            context.scheduled.push((at_ns, delivery));
        }
    }
}
