//! Sending: what is decided of a unit when it sets out, and how a sender ends a stream.

use super::link::{Fate, Link};
use super::{Delivery, FlowId, LossMode, NetworkContext, NetworkModel, Rank};
use crate::counter::Counter;
use crate::digest::fingerprint;
use crate::fault::ProcessId;
use crate::rng::Rng;
use crate::schedule::{MessageScheduler, Travel};
use crate::trace::{DropCause, EventKind, SentUnit, Site};
use bytes::{Bytes, BytesMut};
use std::io;
use std::task::{Poll, Waker};

/// A unit that is being sent.
struct Unit {
    flow: FlowId,
    from: ProcessId,
    to: ProcessId,
    /// Its number on its link.
    ordinal: u64,
    data: Bytes,
    /// A fingerprint of its bytes as they were written.
    hash: u64,
}

impl Unit {
    /// Counts and records that the unit is sent, and tells the listener.
    fn announce(&self, context: &mut NetworkContext<'_>) {
        context.recorder.count(Counter::Send);
        let kind = EventKind::Send {
            to: self.to,
            ordinal: self.ordinal,
            length: self.data.len() as u64,
            hash: self.hash,
        };
        context.recorder.record(self.from, kind);
        context.recorder.journal.tell_unit(SentUnit {
            at_ns: context.recorder.now_ns,
            from: self.from,
            to: self.to,
            ordinal: self.ordinal,
            data: &self.data,
        });
    }

    /// Counts and records that the unit is lost.
    fn lose(&self, context: &mut NetworkContext<'_>, counter: Counter, cause: DropCause) {
        context.recorder.count(counter);
        let kind = EventKind::Drop {
            to: self.to,
            ordinal: self.ordinal,
            cause,
        };
        context.recorder.record(self.from, kind);
    }

    /// Flips some of the unit's bytes.
    fn corrupt(&mut self, context: &mut NetworkContext<'_>) {
        let (from, to, ordinal) = (self.from, self.to, self.ordinal);
        let mut rng = context.draw(Site::Corruption { from, to }, self.hash);
        self.data = corrupt(std::mem::take(&mut self.data), &mut rng);
        context.recorder.count(Counter::Corrupt);
        context
            .recorder
            .record(from, EventKind::Corrupt { to, ordinal });
    }
}

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

impl NetworkModel {
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
        let link = &self.links[flow.from.index()][flow.to.index()];
        let window_bytes = link.behaviour(&self.faults).window_bytes;
        if flow.window_bytes > 0 && flow.window_bytes + data.len() > window_bytes {
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
    fn send(&mut self, context: &mut NetworkContext<'_>, id: FlowId, data: Bytes) {
        let Some(flow) = self.flows.get(id) else {
            return;
        };
        let (from, to) = (flow.from, flow.to);
        let link = &mut self.links[from.index()][to.index()];
        link.units_sent += 1;
        let mut unit = Unit {
            flow: id,
            from,
            to,
            ordinal: link.take_ordinal(),
            hash: fingerprint(&data),
            data,
        };
        unit.announce(context);
        let travel = travel(&mut self.scheduler, context, (from, to));
        let mut rng = context.draw(Site::Unit { from, to }, unit.hash);
        let fate = link.decide(&self.faults, &mut rng, from == to, travel);
        if link.cuts > 0 && link.behaviour(&self.faults).loss == LossMode::Datagram {
            unit.lose(context, Counter::DropPartition, DropCause::Partition);
            flow.release(unit.data.len());
            return;
        }
        if fate.reset {
            context.recorder.count(Counter::ResetFault);
            self.reset_both(context, id);
            return;
        }
        if fate.lost {
            unit.lose(context, Counter::Drop, DropCause::Loss);
            flow.release(unit.data.len());
            return;
        }
        if fate.slow {
            context.recorder.count(Counter::SlowUnit);
        }
        for _ in 0..fate.retransmissions {
            context.recorder.count(Counter::Retransmit);
        }
        if fate.corrupted {
            unit.corrupt(context);
        }
        self.set_out(context, unit, fate);
    }

    /// Puts a unit on its way, or has it wait at its link, with its copy if it has one.
    fn set_out(&mut self, context: &mut NetworkContext<'_>, unit: Unit, fate: Fate) {
        let Unit {
            flow: id,
            from,
            to,
            ordinal,
            data,
            ..
        } = unit;
        let Some(flow) = self.flows.get(id) else {
            return;
        };
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
        let delivery = Delivery::Unit {
            flow: id,
            ordinal,
            data,
            rank,
        };
        let link = &mut self.links[from.index()][to.index()];
        if link.holds(link.behaviour(&self.faults).loss) {
            hold(link, context, (from, to), ordinal, delivery);
            return;
        }
        if fate.reordered {
            context.recorder.count(Counter::Reorder);
        }
        if rank == Rank::Ordered && from != to {
            self.scheduler.set_out((from, to), id, ordinal, at_ns);
        }
        context.scheduled.push((at_ns, delivery));
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
}

/// Has a delivery wait at its link until cuts and clogs are gone.
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
