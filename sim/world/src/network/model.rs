//! Sending, arriving, reading, closing; cuts and clogs.

use super::connect::{Connecting, Host};
use super::flow::{Flows, STREAM_WINDOW_BYTES};
use super::link::Link;
use super::{Delivery, FlowId, NetworkContext, NetworkFaults, Rank};
use crate::counter::{Counter, Counters};
use crate::digest::fingerprint;
use crate::fault::ProcessId;
use crate::network::LossMode;
use crate::rng::Rng;
use crate::schedule::{Admission, MessageScheduler, Schedule, Travel};
use crate::trace::{DropCause, EventKind, SentUnit, Site};
use bytes::{Bytes, BytesMut};
use std::collections::BTreeMap;
use std::io;
use std::task::{Poll, Waker};

/// The most that one read takes out of a stream, in bytes.
const READ_BYTES_MAX: usize = 64 * 1024;

/// How soon what was held is on its way again after a clog ended, in ns.
const RELEASE_NS: u64 = 1_000;

/// How long a unit on this link travels, as far as the schedule says.
#[inline]
fn travel(
    scheduler: &mut MessageScheduler<FlowId>,
    context: &mut NetworkContext<'_>,
    (from, to): (ProcessId, ProcessId),
) -> Travel {
    if from == to {
        return Travel::AsDrawn;
    }
    if scheduler.wants_priority((from, to)) {
        let mut rng = context.draw(Site::LinkPriority { from, to }, 0);
        scheduler.set_priority((from, to), rng.next_u64() as u32);
    }
    scheduler.send((from, to))
}

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
    scheduler: MessageScheduler<FlowId>,
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

    /// Writes `data` as one unit, or has `waker` woken when there may be room for it.
    pub fn poll_write(
        &mut self,
        context: &mut NetworkContext<'_>,
        id: FlowId,
        data: &mut Bytes,
        waker: &Waker,
    ) -> Poll<io::Result<()>> {
        let Some(flow) = self.flows.get(id) else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        if flow.writer_reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if data.is_empty() {
            return Poll::Ready(Ok(()));
        }
        if flow.window_bytes > 0 && flow.window_bytes + data.len() > STREAM_WINDOW_BYTES {
            if flow.writer_waker.is_none() {
                context.recorder.count(Counter::Backpressure);
            }
            flow.writer_waker = Some(waker.clone());
            return Poll::Pending;
        }
        flow.window_bytes += data.len();
        self.send(context, id, std::mem::take(data));
        Poll::Ready(Ok(()))
    }

    /// Sends one unit whose bytes the window already counts.
    fn send(&mut self, context: &mut NetworkContext<'_>, id: FlowId, mut data: Bytes) {
        let Some(flow) = self.flows.get(id) else {
            return;
        };
        let (from, to) = (flow.from, flow.to);
        let link = &mut self.links[from.index()][to.index()];
        let ordinal = link.take_ordinal();
        let length = data.len();
        context.recorder.count(Counter::Send);
        let hash = fingerprint(&data);
        context.recorder.record(
            from,
            EventKind::Send {
                to,
                ordinal,
                length: length as u64,
                hash,
            },
        );
        context.recorder.journal.tell_unit(SentUnit {
            at_ns: context.recorder.now_ns,
            from,
            to,
            ordinal,
            data: &data,
        });

        let travel = travel(&mut self.scheduler, context, (from, to));
        let mut rng = context.draw(Site::Unit { from, to }, hash);
        let fate = link.decide(&self.faults, &mut rng, from == to, travel);
        let loss = link.behaviour(&self.faults).loss;
        if link.cuts > 0 && loss == LossMode::Datagram {
            context.recorder.count(Counter::DropPartition);
            context.recorder.record(
                from,
                EventKind::Drop {
                    to,
                    ordinal,
                    cause: DropCause::Partition,
                },
            );
            flow.release(length);
            return;
        }
        if fate.reset {
            context.recorder.count(Counter::ResetFault);
            self.reset_both(context, id);
            return;
        }
        if fate.lost {
            context.recorder.count(Counter::Drop);
            context.recorder.record(
                from,
                EventKind::Drop {
                    to,
                    ordinal,
                    cause: DropCause::Loss,
                },
            );
            flow.release(length);
            return;
        }
        if fate.slow {
            context.recorder.count(Counter::SlowUnit);
        }
        for _ in 0..fate.retransmissions {
            context.recorder.count(Counter::Retransmit);
        }
        if fate.corrupted {
            data = corrupt(data, &mut context.draw(Site::Corruption { from, to }, hash));
            context.recorder.count(Counter::Corrupt);
            context
                .recorder
                .record(from, EventKind::Corrupt { to, ordinal });
        }
        let usual_at_ns = context.recorder.now_ns + fate.delay_ns.max(1);
        let (at_ns, rank) = if fate.reordered {
            (usual_at_ns, Rank::Loose)
        } else {
            flow.last_at_ns = usual_at_ns.max(flow.last_at_ns + 1);
            flow.under_way.push_back(ordinal);
            (flow.last_at_ns, Rank::Ordered)
        };
        if let Some(after_ns) = fate.copy_after_ns {
            context.recorder.count(Counter::Duplicate);
            context
                .recorder
                .record(from, EventKind::Duplicate { to, ordinal });
            let copy = Delivery::Unit {
                flow: id,
                ordinal,
                data: data.clone(),
                rank: Rank::Copy,
            };
            context.scheduled.push((at_ns + after_ns.max(1), copy));
        }
        let unit = Delivery::Unit {
            flow: id,
            ordinal,
            data,
            rank,
        };
        if link.holds(loss) {
            hold(link, context, (from, to), ordinal, unit);
        } else {
            if fate.reordered {
                context.recorder.count(Counter::Reorder);
            }
            if rank == Rank::Ordered && from != to {
                self.scheduler.set_out((from, to), id, ordinal, at_ns);
            }
            context.scheduled.push((at_ns, unit));
        }
    }

    /// Reads what has arrived, or has `waker` woken when something does.
    pub fn poll_read(
        &mut self,
        context: &mut NetworkContext<'_>,
        id: FlowId,
        buffer: &mut BytesMut,
        waker: &Waker,
    ) -> Poll<io::Result<usize>> {
        let Some(flow) = self.flows.get(id) else {
            return Poll::Ready(Ok(0));
        };
        if flow.reader_reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if flow.arrived.is_empty() {
            if flow.ended {
                return Poll::Ready(Ok(0));
            }
            match &mut flow.reader_waker {
                Some(known) if known.will_wake(waker) => {}
                slot => *slot = Some(waker.clone()),
            }
            return Poll::Pending;
        }
        let mut limit = flow.unread_bytes.min(READ_BYTES_MAX);
        let (from, to) = (flow.from, flow.to);
        let behaviour = self.links[from.index()][to.index()].behaviour(&self.faults);
        if limit > 1 && behaviour.fragment_probability > 0.0 {
            let mut rng = context.draw(Site::Read { from, to }, 0);
            if rng.chance(behaviour.fragment_probability) {
                limit = rng.between(1, limit as u64 - 1) as usize;
                context.recorder.count(Counter::Fragment);
            }
        }
        let mut taken = 0;
        while taken < limit {
            let Some(first) = flow.arrived.front_mut() else {
                break;
            };
            if first.len() <= limit - taken {
                taken += first.len();
                buffer.extend_from_slice(first);
                flow.arrived.pop_front();
            } else {
                let part = first.split_to(limit - taken);
                taken += part.len();
                buffer.extend_from_slice(&part);
            }
        }
        flow.unread_bytes -= taken;
        flow.release(taken);
        Poll::Ready(Ok(taken))
    }

    /// The writer was dropped: the stream ends after what was sent.
    pub fn close_writer(&mut self, context: &mut NetworkContext<'_>, id: FlowId) {
        let Some(flow) = self.flows.get(id) else {
            return;
        };
        if !std::mem::replace(&mut flow.writer_open, false) {
            return;
        }
        flow.writer_waker = None;
        if !flow.writer_reset {
            let (from, to) = (flow.from, flow.to);
            let link = &mut self.links[from.index()][to.index()];
            let ordinal = link.take_ordinal();
            let mut rng = context.draw_control(from, to);
            let fate = link.decide(&self.faults, &mut rng, from == to, Travel::AsDrawn);
            flow.last_at_ns =
                (context.recorder.now_ns + fate.delay_ns.max(1)).max(flow.last_at_ns + 1);
            flow.under_way.push_back(ordinal);
            let end = Delivery::End { flow: id, ordinal };
            // The end of a stream is sent again until it gets through, whatever is lost.
            if link.cuts > 0 || link.clogs > 0 {
                hold(link, context, (from, to), ordinal, end);
            } else {
                context.scheduled.push((flow.last_at_ns, end));
            }
        }
        self.flows.forget_if_closed(id);
    }

    /// The reader was dropped. If the sender may be waiting for it to read, the
    /// connection is reset, as TCP does when unread data is thrown away.
    pub fn close_reader(&mut self, context: &mut NetworkContext<'_>, id: FlowId) {
        let Some(flow) = self.flows.get(id) else {
            return;
        };
        if !std::mem::replace(&mut flow.reader_open, false) {
            return;
        }
        flow.reader_waker = None;
        flow.arrived.clear();
        flow.unread_bytes = 0;
        if flow.window_bytes > 0 && !flow.reader_reset {
            self.send_reset(context, id.back());
        }
        self.flows.forget_if_closed(id);
    }

    /// Sends a reset to the receiving end of `id`; from then on the sending end knows the
    /// connection no more. It is lost on a cut link; the next unit from there provokes
    /// another.
    pub(super) fn send_reset(&mut self, context: &mut NetworkContext<'_>, id: FlowId) {
        let Some(flow) = self.flows.get(id) else {
            return;
        };
        flow.writer_reset = true;
        flow.wake_writer();
        let (from, to) = (flow.from, flow.to);
        let link = &mut self.links[from.index()][to.index()];
        let mut rng = context.draw_control(from, to);
        let fate = link.decide(&self.faults, &mut rng, from == to, Travel::AsDrawn);
        context.scheduled.push((
            context.recorder.now_ns + fate.delay_ns.max(1),
            Delivery::Reset { flow: id },
        ));
    }

    /// Resets a connection at both ends at once.
    fn reset_both(&mut self, context: &mut NetworkContext<'_>, id: FlowId) {
        self.arrive_reset(context, id);
        self.arrive_reset(context, id.back());
    }

    /// Resets all connections between two hosts, at both ends at once.
    pub fn reset_between(&mut self, context: &mut NetworkContext<'_>, a: ProcessId, b: ProcessId) {
        for id in self.flows.ids(|flow| flow.from == a && flow.to == b) {
            context.recorder.count(Counter::ResetFault);
            self.reset_both(context, id);
        }
    }

    /// A scheduled delivery is due.
    pub fn arrive(&mut self, context: &mut NetworkContext<'_>, delivery: Delivery) {
        if let Delivery::Unit {
            flow,
            ordinal,
            rank: Rank::Ordered,
            ..
        } = &delivery
            && let Admission::At(at_ns) =
                self.scheduler
                    .arrive(*flow, *ordinal, context.recorder.now_ns)
        {
            context.scheduled.push((at_ns, delivery));
            return;
        }
        match delivery {
            Delivery::Unit { .. } | Delivery::End { .. } => {
                self.arrive_in_stream(context, delivery)
            }
            Delivery::Reset { flow } => {
                let Some((from, to)) = self.flows.get(flow).map(|flow| (flow.from, flow.to)) else {
                    return;
                };
                let link = self.link(from, to);
                if link.cuts > 0 {
                    context.recorder.count(Counter::DropPartition);
                } else if link.clogs > 0 {
                    let ordinal = link.take_ordinal();
                    hold(link, context, (from, to), ordinal, Delivery::Reset { flow });
                } else {
                    self.arrive_reset(context, flow);
                }
            }
            Delivery::Request { connect } => self.arrive_request(context, connect),
            Delivery::RequestAgain { connect } => self.send_request(context, connect),
            Delivery::Answer { connect, flow } => self.arrive_answer(context, connect, flow),
        }
    }

    /// A unit, or the end of a stream, is at the end of its link: passes, waits or is lost.
    fn arrive_in_stream(&mut self, context: &mut NetworkContext<'_>, delivery: Delivery) {
        let (id, ordinal, rank) = match &delivery {
            Delivery::Unit {
                flow,
                ordinal,
                rank,
                ..
            } => (*flow, *ordinal, *rank),
            Delivery::End { flow, ordinal } => (*flow, *ordinal, Rank::Ordered),
            Delivery::Reset { .. }
            | Delivery::Request { .. }
            | Delivery::RequestAgain { .. }
            | Delivery::Answer { .. } => unreachable!("only streams have an order"),
        };
        let Some(flow) = self.flows.get(id) else {
            context.recorder.count(Counter::DropDead);
            return;
        };
        let (from, to) = (flow.from, flow.to);
        let link = &mut self.links[from.index()][to.index()];
        if link.cuts > 0 || link.clogs > 0 {
            let is_end = matches!(delivery, Delivery::End { .. });
            if is_end || link.holds(link.behaviour(&self.faults).loss) {
                hold(link, context, (from, to), ordinal, delivery);
                return;
            }
            context.recorder.count(Counter::DropPartition);
            let kind = EventKind::Drop {
                to,
                ordinal,
                cause: DropCause::Partition,
            };
            context.recorder.record(from, kind);
            flow.lose(ordinal);
            if let Delivery::Unit {
                data,
                rank: Rank::Ordered | Rank::Loose,
                ..
            } = &delivery
            {
                flow.release(data.len());
            }
        } else if rank == Rank::Ordered && flow.has_gap_before(ordinal) {
            flow.early.insert(ordinal, delivery);
            return;
        } else {
            self.accept(context, delivery);
        }
        while let Some(early) = self.flows.get(id).and_then(|flow| flow.take_early()) {
            self.accept(context, early);
        }
    }

    /// A unit, or the end of a stream, is handed to the receiving host.
    fn accept(&mut self, context: &mut NetworkContext<'_>, delivery: Delivery) {
        match delivery {
            Delivery::Unit {
                flow,
                ordinal,
                data,
                rank,
            } => {
                self.accept_unit(context, flow, ordinal, data, rank);
            }
            Delivery::End { flow, .. } => self.accept_end(context, flow),
            Delivery::Reset { .. }
            | Delivery::Request { .. }
            | Delivery::RequestAgain { .. }
            | Delivery::Answer { .. } => unreachable!("only streams have an order"),
        }
    }

    fn accept_unit(
        &mut self,
        context: &mut NetworkContext<'_>,
        id: FlowId,
        ordinal: u64,
        data: Bytes,
        rank: Rank,
    ) {
        let Some(flow) = self.flows.get(id) else {
            return;
        };
        let (from, to, length) = (flow.from, flow.to, data.len());
        let host = &self.hosts[to.index()];
        if !host.up {
            // Nobody acknowledges: the bytes stay in the sender's window.
            context.recorder.count(Counter::DropDead);
            let kind = EventKind::Drop {
                to,
                ordinal,
                cause: DropCause::HostDown,
            };
            context.recorder.record(from, kind);
        } else if flow.to_incarnation != host.incarnation || !flow.reader_open || flow.reader_reset
        {
            context.recorder.count(Counter::DropDead);
            let kind = EventKind::Drop {
                to,
                ordinal,
                cause: DropCause::NoConnection,
            };
            context.recorder.record(from, kind);
            self.send_reset(context, id.back());
        } else {
            context.recorder.count(Counter::Deliver);
            let kind = EventKind::Deliver {
                from,
                ordinal,
                length: length as u64,
            };
            context.recorder.record(to, kind);
            if rank == Rank::Copy {
                flow.window_bytes += length;
            }
            flow.unread_bytes += length;
            flow.arrived.push_back(data);
            flow.wake_reader();
        }
    }

    fn accept_end(&mut self, context: &mut NetworkContext<'_>, id: FlowId) {
        let Some(flow) = self.flows.get(id) else {
            return;
        };
        let (from, to) = (flow.from, flow.to);
        let host = &self.hosts[to.index()];
        if host.up && flow.to_incarnation == host.incarnation && flow.reader_open && !flow.ended {
            flow.ended = true;
            flow.wake_reader();
            context.recorder.record(to, EventKind::EndOfStream { from });
        }
    }

    /// The receiving end of `id` learns that the connection was reset.
    fn arrive_reset(&mut self, context: &mut NetworkContext<'_>, id: FlowId) {
        let Some(flow) = self.flows.get(id) else {
            return;
        };
        let (from, to) = (flow.from, flow.to);
        let host = &self.hosts[to.index()];
        if !host.up || flow.to_incarnation != host.incarnation || flow.reader_reset {
            return;
        }
        flow.reader_reset = true;
        flow.arrived.clear();
        flow.unread_bytes = 0;
        flow.wake_reader();
        if let Some(back) = self.flows.get(id.back()) {
            back.writer_reset = true;
            back.wake_writer();
        }
        context.recorder.count(Counter::Reset);
        context.recorder.record(to, EventKind::Reset { from });
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

/// How late a reliable stream notices the end of a partition at most, in ns: it waits
/// for the next retransmission.
const RETRANSMISSION_JITTER_NS: u64 = super::RETRANSMISSION_TIMEOUT_MS * 1_000_000;

pub(super) fn hold(
    link: &mut Link,
    context: &mut NetworkContext<'_>,
    (from, to): (ProcessId, ProcessId),
    ordinal: u64,
    delivery: Delivery,
) {
    context.recorder.count(Counter::Hold);
    context.recorder.record(from, EventKind::Hold { to });
    link.held.push((ordinal, delivery));
}

/// `data` with one to three bytes flipped.
fn corrupt(data: Bytes, rng: &mut Rng) -> Bytes {
    let mut bytes = BytesMut::from(&data[..]);
    for _ in 0..rng.between(1, 3) {
        let at = rng.index(bytes.len());
        // Never 0, so that the byte really changes; two flips may hit the same byte,
        // and with different bits they cannot cancel each other out.
        let flip = 1 << rng.below(8);
        if bytes[at] == data[at] {
            bytes[at] ^= flip;
        }
    }
    bytes.freeze()
}
