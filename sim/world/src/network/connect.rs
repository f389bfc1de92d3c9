//! Listening, connecting, accepting.

use super::send::hold;
use super::{Delivery, FlowId, NetworkContext};
use crate::counter::Counter;
use crate::fault::ProcessId;
use crate::network::NetworkModel;
use crate::network::link::Link;
use crate::schedule::Travel;
use crate::trace::{EventKind, Site};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::task::{Poll, Waker};

/// How many connections may wait to be accepted. A request beyond that is not answered
/// and sent again later, as with a full backlog of TCP.
pub const LISTEN_BACKLOG: usize = 128;

/// The first port that is handed out to the one who connects (RFC 6335).
const FIRST_EPHEMERAL_PORT: u16 = 49_152;

/// After how long a request to connect is first sent again, in ns; doubled each time
/// (RFC 6298, section 2).
const CONNECT_RETRY_NS: u64 = 1_000_000_000;

/// Beyond this the wait is not doubled any more.
const CONNECT_RETRY_MAX_NS: u64 = 60_000_000_000;

/// Names an attempt to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectId(u64);

/// An attempt to connect.
#[derive(Debug)]
pub(super) struct Connecting {
    pub(super) from: ProcessId,
    to: ProcessId,
    port: u16,
    own_port: u16,
    retry_ns: u64,
    outcome: Option<Result<FlowId, io::ErrorKind>>,
    waker: Option<Waker>,
}

/// A connection that waits to be accepted: the stream on which the listener's side
/// sends, the peer and its port.
type Waiting = (FlowId, ProcessId, u16);

/// A port that is listened on.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    waiting: VecDeque<Waiting>,
    waker: Option<Waker>,
}

/// A host.
#[derive(Debug)]
pub(super) struct Host {
    /// Whether its machine runs.
    pub(super) up: bool,
    /// How often its process has been started before.
    pub(super) incarnation: u32,
    pub(super) listeners: BTreeMap<u16, Backlog>,
    next_port: u16,
}

impl Host {
    /// The next port that nobody listens on.
    fn take_port(&mut self) -> u16 {
        loop {
            let port = self.next_port;
            self.next_port = port.checked_add(1).unwrap_or(FIRST_EPHEMERAL_PORT);
            if !self.listeners.contains_key(&port) {
                return port;
            }
        }
    }
}

impl NetworkModel {
    /// Adds a host, which is down until [`NetworkModel::arrive_host`].
    pub fn add_host(&mut self, context: &mut NetworkContext<'_>) {
        let spread_us = self.faults.pair_offset_max_us;
        let mut link = |from: usize, to: usize| Link {
            offset_ns: if spread_us == 0 {
                0
            } else {
                let (from, to) = (ProcessId(from as u32), ProcessId(to as u32));
                let mut rng = context.draw(Site::Distance { from, to }, 0);
                rng.between(0, spread_us * 1_000)
            },
            ..Link::default()
        };
        let new = self.hosts.len();
        for (from, row) in self.links.iter_mut().enumerate() {
            row.push(link(from, new));
        }
        let row = (0..=new).map(|to| link(new, to)).collect();
        self.links.push(row);
        self.hosts.push(Host {
            up: false,
            incarnation: 0,
            listeners: BTreeMap::new(),
            next_port: FIRST_EPHEMERAL_PORT,
        });
    }

    /// A process was started on its host.
    pub fn arrive_host(&mut self, process: ProcessId, incarnation: u32) {
        let host = &mut self.hosts[process.index()];
        host.up = true;
        host.incarnation = incarnation;
    }

    /// Listens on a port, or on one that is free if it is 0.
    pub fn listen(&mut self, process: ProcessId, port: u16) -> io::Result<u16> {
        let host = &mut self.hosts[process.index()];
        let port = if port == 0 { host.take_port() } else { port };
        if host.listeners.contains_key(&port) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        host.listeners.insert(port, Backlog::default());
        Ok(port)
    }

    /// Stops listening; who waits to be accepted is reset.
    pub fn close_listener(
        &mut self,
        context: &mut NetworkContext<'_>,
        process: ProcessId,
        port: u16,
    ) {
        let host = &mut self.hosts[process.index()];
        let Some(backlog) = host.listeners.remove(&port) else {
            return;
        };
        for (flow, ..) in backlog.waiting {
            self.send_reset(context, flow);
            self.close_writer(context, flow);
            self.close_reader(context, flow.back());
        }
    }

    /// Whether somebody waits to be accepted.
    pub fn has_waiting(&self, process: ProcessId, port: u16) -> bool {
        let backlog = self.hosts[process.index()].listeners.get(&port);
        backlog.is_some_and(|backlog| !backlog.waiting.is_empty())
    }

    /// How many sockets a process holds. A connection that waits to be accepted is none yet.
    pub fn sockets_of(&self, process: ProcessId) -> usize {
        let host = &self.hosts[process.index()];
        let waiting = host.listeners.values().map(|backlog| backlog.waiting.len());
        let connected = self.flows.held_by(process);
        let asking = self
            .connecting
            .values()
            .filter(|asking| asking.from == process);
        host.listeners.len() + connected.saturating_sub(waiting.sum()) + asking.count()
    }

    /// The next connection, or `waker` is woken when there is one.
    pub fn poll_accept(
        &mut self,
        process: ProcessId,
        port: u16,
        waker: &Waker,
    ) -> Poll<io::Result<Waiting>> {
        match self.hosts[process.index()].listeners.get_mut(&port) {
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
            Some(backlog) => match backlog.waiting.pop_front() {
                Some(waiting) => Poll::Ready(Ok(waiting)),
                None => {
                    backlog.waker = Some(waker.clone());
                    Poll::Pending
                }
            },
        }
    }

    /// Begins to connect.
    pub fn connect(
        &mut self,
        context: &mut NetworkContext<'_>,
        from: ProcessId,
        to: ProcessId,
        port: u16,
    ) -> ConnectId {
        let own_port = self.hosts[from.index()].take_port();
        let id = ConnectId(self.next_connect);
        self.next_connect += 1;
        let connecting = Connecting {
            from,
            to,
            port,
            own_port,
            retry_ns: CONNECT_RETRY_NS,
            outcome: None,
            waker: None,
        };
        self.connecting.insert(id.0, connecting);
        self.send_request(context, id);
        id
    }

    /// How an attempt ended, or `waker` is woken when it does.
    pub fn poll_connect(&mut self, id: ConnectId, waker: &Waker) -> Poll<io::Result<FlowId>> {
        let Some(connecting) = self.connecting.get_mut(&id.0) else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        match connecting.outcome.take() {
            None => {
                connecting.waker = Some(waker.clone());
                Poll::Pending
            }
            Some(outcome) => {
                self.connecting.remove(&id.0);
                Poll::Ready(outcome.map_err(io::Error::from))
            }
        }
    }

    /// Whoever wanted to connect has given up.
    pub fn cancel_connect(&mut self, context: &mut NetworkContext<'_>, id: ConnectId) {
        if let Some(Connecting {
            outcome: Some(Ok(flow)),
            ..
        }) = self.connecting.remove(&id.0)
        {
            self.abandon(context, flow);
        }
    }

    /// Closes the connecting side of a connection that nobody takes.
    fn abandon(&mut self, context: &mut NetworkContext<'_>, flow: FlowId) {
        self.send_reset(context, flow);
        self.close_reader(context, flow.back());
        self.close_writer(context, flow);
    }

    /// Sends a request to connect, and schedules the next attempt if it gets lost.
    pub(super) fn send_request(&mut self, context: &mut NetworkContext<'_>, id: ConnectId) {
        let Some(connecting) = self.connecting.get(&id.0) else {
            return;
        };
        let (from, to) = (connecting.from, connecting.to);
        let link = &mut self.links[from.index()][to.index()];
        let mut rng = context.draw_control(from, to);
        let fate = link.decide(&self.faults, &mut rng, from == to, Travel::AsDrawn);
        if link.clogs > 0 {
            let ordinal = link.take_ordinal();
            hold(
                link,
                context,
                (from, to),
                ordinal,
                Delivery::Request { connect: id },
            );
        } else if link.cuts > 0 || fate.lost {
            let lost = if fate.lost {
                Counter::Drop
            } else {
                Counter::DropPartition
            };
            context.recorder.count(lost);
            self.retry(context, id);
        } else {
            let at_ns = context.recorder.now_ns + fate.delay_ns.max(1);
            context
                .scheduled
                .push((at_ns, Delivery::Request { connect: id }));
        }
    }

    /// Schedules the next attempt to send a request.
    fn retry(&mut self, context: &mut NetworkContext<'_>, id: ConnectId) {
        let Some(connecting) = self.connecting.get_mut(&id.0) else {
            return;
        };
        let at_ns = context.recorder.now_ns + connecting.retry_ns;
        connecting.retry_ns = (connecting.retry_ns * 2).min(CONNECT_RETRY_MAX_NS);
        context
            .scheduled
            .push((at_ns, Delivery::RequestAgain { connect: id }));
    }

    /// A request arrives at the listener's host.
    pub(super) fn arrive_request(&mut self, context: &mut NetworkContext<'_>, id: ConnectId) {
        let Some(connecting) = self.connecting.get(&id.0) else {
            return;
        };
        let (from, to, port) = (connecting.from, connecting.to, connecting.port);
        let own_port = connecting.own_port;
        let (forth_cut, back_cut) = (self.link(from, to).cuts > 0, self.link(to, from).cuts > 0);
        let from_incarnation = self.hosts[from.index()].incarnation;
        let host = &mut self.hosts[to.index()];
        if forth_cut || back_cut || !host.up {
            context.recorder.count(if host.up {
                Counter::DropPartition
            } else {
                Counter::DropDead
            });
            return self.retry(context, id);
        }
        let incarnation = host.incarnation;
        let flow = match host.listeners.get_mut(&port) {
            None => {
                context.recorder.count(Counter::Refused);
                context
                    .recorder
                    .record(from, EventKind::Refused { to, port });
                None
            }
            Some(backlog) if backlog.waiting.len() >= LISTEN_BACKLOG => {
                return self.retry(context, id);
            }
            Some(backlog) => {
                let flow = self.flows.open((from, from_incarnation), (to, incarnation));
                backlog.waiting.push_back((flow.back(), from, own_port));
                if let Some(waker) = backlog.waker.take() {
                    waker.wake();
                }
                context.recorder.count(Counter::Connect);
                context
                    .recorder
                    .record(from, EventKind::Connect { to, port });
                Some(flow)
            }
        };
        let link = &mut self.links[to.index()][from.index()];
        let mut rng = context.draw_control(to, from);
        let fate = link.decide(&self.faults, &mut rng, from == to, Travel::AsDrawn);
        let at_ns = context.recorder.now_ns + fate.delay_ns.max(1);
        if let Some(back) = flow.and_then(|flow| self.flows.get(flow.back())) {
            // The listener's first words must not overtake the answer.
            back.last_at_ns = at_ns;
        }
        context
            .scheduled
            .push((at_ns, Delivery::Answer { connect: id, flow }));
    }

    /// The answer arrives at the one who connects.
    pub(super) fn arrive_answer(
        &mut self,
        context: &mut NetworkContext<'_>,
        id: ConnectId,
        flow: Option<FlowId>,
    ) {
        let Some(connecting) = self.connecting.get(&id.0) else {
            if let Some(flow) = flow {
                self.abandon(context, flow);
            }
            return;
        };
        let (from, to) = (connecting.from, connecting.to);
        let link = &mut self.links[to.index()][from.index()];
        if link.cuts > 0 || link.clogs > 0 {
            // The listener sends its answer again until it gets through.
            let ordinal = link.take_ordinal();
            return hold(
                link,
                context,
                (to, from),
                ordinal,
                Delivery::Answer { connect: id, flow },
            );
        }
        let Some(connecting) = self.connecting.get_mut(&id.0) else {
            return;
        };
        connecting.outcome = Some(flow.ok_or(io::ErrorKind::ConnectionRefused));
        if let Some(waker) = connecting.waker.take() {
            waker.wake();
        }
    }
}
