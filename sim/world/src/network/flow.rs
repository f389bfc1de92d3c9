//! One direction of a connection.

use super::Delivery;
use crate::fault::ProcessId;
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::task::Waker;

/// How many bytes of one stream may be under way or unread, unless
/// [`NetworkFaults::window_bytes`](super::NetworkFaults::window_bytes) says otherwise.
pub const STREAM_WINDOW_BYTES: usize = 256 * 1024;

/// Names a flow. The other direction of the same connection has the index with the last
/// bit flipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FlowId {
    index: u32,
    generation: u32,
}

impl FlowId {
    /// The other direction of the same connection.
    pub const fn back(self) -> Self {
        Self {
            index: self.index ^ 1,
            generation: self.generation,
        }
    }
}

/// One direction of a connection: the sender's end, the receiver's end, and what is
/// between them.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) from: ProcessId,
    pub(super) to: ProcessId,
    /// Which start of the receiving process the flow belongs to.
    pub(super) to_incarnation: u32,
    /// Arrived and not yet read.
    pub(super) arrived: VecDeque<Bytes>,
    /// Bytes in `arrived`.
    pub(super) unread_bytes: usize,
    /// Bytes under way or unread, as far as the sender knows.
    pub(super) window_bytes: usize,
    /// The numbers of all units under way that keep the order, and of the end, ascending.
    pub(super) under_way: VecDeque<u64>,
    /// What got here before something that was sent earlier: after a clog this happens.
    pub(super) early: BTreeMap<u64, Delivery>,
    /// When the last unit that keeps the order arrives, in ns.
    pub(super) last_at_ns: u64,
    /// The end of the stream has arrived.
    pub(super) ended: bool,
    /// The receiver has been told of a reset.
    pub(super) reader_reset: bool,
    /// The sender has been told of a reset.
    pub(super) writer_reset: bool,
    pub(super) reader_open: bool,
    pub(super) writer_open: bool,
    pub(super) reader_waker: Option<Waker>,
    pub(super) writer_waker: Option<Waker>,
}

impl Flow {
    fn new(from: ProcessId, to: ProcessId, to_incarnation: u32) -> Self {
        Self {
            from,
            to,
            to_incarnation,
            arrived: VecDeque::new(),
            unread_bytes: 0,
            window_bytes: 0,
            under_way: VecDeque::new(),
            early: BTreeMap::new(),
            last_at_ns: 0,
            ended: false,
            reader_reset: false,
            writer_reset: false,
            reader_open: true,
            writer_open: true,
            reader_waker: None,
            writer_waker: None,
        }
    }

    /// Whether something that was sent before `ordinal` has still to arrive. If not, the
    /// number is not under way any more.
    #[inline]
    pub(super) fn has_gap_before(&mut self, ordinal: u64) -> bool {
        match self.under_way.front() {
            Some(first) if *first < ordinal => true,
            Some(first) => {
                if *first == ordinal {
                    self.under_way.pop_front();
                }
                false
            }
            None => false,
        }
    }

    /// The number was lost: nobody has to wait for it.
    pub(super) fn lose(&mut self, ordinal: u64) {
        if let Ok(at) = self.under_way.binary_search(&ordinal) {
            self.under_way.remove(at);
        }
    }

    /// What got here too early and has no gap before it any more.
    #[inline]
    pub(super) fn take_early(&mut self) -> Option<Delivery> {
        let (ordinal, _) = self.early.first_key_value()?;
        if self.under_way.front() != Some(ordinal) {
            return None;
        }
        self.under_way.pop_front();
        self.early.pop_first().map(|(_, delivery)| delivery)
    }

    /// Frees `bytes` of the window and lets a waiting writer go on.
    pub(super) fn release(&mut self, bytes: usize) {
        self.window_bytes = self.window_bytes.saturating_sub(bytes);
        if let Some(waker) = self.writer_waker.take() {
            waker.wake();
        }
    }

    /// Lets a waiting reader look again.
    pub(super) fn wake_reader(&mut self) {
        if let Some(waker) = self.reader_waker.take() {
            waker.wake();
        }
    }

    /// Lets a waiting writer look again.
    pub(super) fn wake_writer(&mut self) {
        if let Some(waker) = self.writer_waker.take() {
            waker.wake();
        }
    }
}

/// All flows, in pairs. A pair is forgotten once both its ends are closed on both sides.
#[derive(Debug, Default)]
pub(super) struct Flows {
    pairs: Vec<(u32, Option<[Flow; 2]>)>,
    free: Vec<u32>,
}

impl Flows {
    /// A new connection; names the flow from `from` to `to`.
    pub(super) fn open(&mut self, from: (ProcessId, u32), to: (ProcessId, u32)) -> FlowId {
        let pair = [
            Flow::new(from.0, to.0, to.1),
            Flow::new(to.0, from.0, from.1),
        ];
        let (slot, generation) = match self.free.pop() {
            Some(slot) => {
                let entry = &mut self.pairs[slot as usize];
                entry.0 += 1;
                entry.1 = Some(pair);
                (slot, entry.0)
            }
            None => {
                self.pairs.push((0, Some(pair)));
                (
                    u32::try_from(self.pairs.len() - 1).expect("fewer connections than 2^32"),
                    0,
                )
            }
        };
        FlowId {
            index: slot * 2,
            generation,
        }
    }

    /// The flow, unless it has been forgotten.
    #[inline]
    pub(super) fn get(&mut self, id: FlowId) -> Option<&mut Flow> {
        let (generation, pair) = self.pairs.get_mut(id.index as usize / 2)?;
        if *generation != id.generation {
            return None;
        }
        pair.as_mut().map(|pair| &mut pair[id.index as usize & 1])
    }

    /// Whether some flow is like this.
    pub(super) fn any(&self, is_so: impl Fn(&Flow) -> bool) -> bool {
        let pairs = self.pairs.iter().filter_map(|(_, pair)| pair.as_ref());
        pairs.flatten().any(is_so)
    }

    /// Forgets the connection of `id` if nobody holds it any more.
    pub(super) fn forget_if_closed(&mut self, id: FlowId) {
        let slot = id.index / 2;
        let entry = &mut self.pairs[slot as usize];
        let closed = entry.0 == id.generation
            && entry.1.as_ref().is_some_and(|pair| {
                pair.iter()
                    .all(|flow| !flow.reader_open && !flow.writer_open)
            });
        if closed {
            entry.1 = None;
            self.free.push(slot);
        }
    }

    /// The names of all flows for which `wanted` holds.
    pub(super) fn ids(&self, wanted: impl Fn(&Flow) -> bool) -> Vec<FlowId> {
        let mut ids = Vec::new();
        for (slot, (generation, pair)) in self.pairs.iter().enumerate() {
            for (direction, flow) in pair.iter().flatten().enumerate() {
                if wanted(flow) {
                    ids.push(FlowId {
                        index: (slot * 2 + direction) as u32,
                        generation: *generation,
                    });
                }
            }
        }
        ids
    }

    /// How many connections somebody holds.
    pub(super) fn connections(&self) -> usize {
        self.pairs.iter().filter(|(_, pair)| pair.is_some()).count()
    }

    /// How many connections a process holds an end of.
    pub(super) fn held_by(&self, process: ProcessId) -> usize {
        let holds = |flow: &Flow| {
            flow.from == process && flow.writer_open || flow.to == process && flow.reader_open
        };
        let pairs = self.pairs.iter().filter_map(|(_, pair)| pair.as_ref());
        pairs.filter(|pair| pair.iter().any(holds)).count()
    }
}
