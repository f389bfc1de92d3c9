//! Arriving: what becomes of a delivery at the end of its link, and how it is read.

use super::send::hold;
use super::{Delivery, FlowId, NetworkContext, NetworkModel, Rank};
use crate::counter::Counter;
use crate::schedule::Admission;
use crate::trace::{DropCause, EventKind, Site};
use bytes::{Bytes, BytesMut};
use std::io;
use std::task::{Poll, Waker};

/// The most that one read takes out of a stream, in bytes.
const READ_BYTES_MAX: usize = 64 * 1024;

impl NetworkModel {
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
    pub(super) fn arrive_reset(&mut self, context: &mut NetworkContext<'_>, id: FlowId) {
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
}
