//! What the network model does, driven without a world.

use super::{
    Delivery, FlowId, LossMode, NetworkContext, NetworkFaults, NetworkModel, STREAM_WINDOW_BYTES,
};
use crate::fault::ProcessId;
use crate::latency::Latency;
use crate::schedule::Schedule;
use crate::trace::{DecisionMode, Decisions, Journal, Recorder, TraceMode};
use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use std::task::{Poll, Waker};

pub(super) const A: ProcessId = ProcessId(0);
pub(super) const B: ProcessId = ProcessId(1);

/// Two hosts and the time.
pub(super) struct Bench {
    pub(super) network: NetworkModel,
    decisions: Decisions,
    journal: Journal,
    scheduled: Vec<(u64, Delivery)>,
    pub(super) now_ns: u64,
}

impl Bench {
    pub(super) fn new(faults: NetworkFaults) -> Self {
        let mut bench = Self {
            network: NetworkModel::new(faults, &Schedule::Uniform),
            decisions: Decisions::new(1, DecisionMode::default()),
            journal: Journal::new(TraceMode::Off, None),
            scheduled: Vec::new(),
            now_ns: 0,
        };
        for process in [A, B] {
            bench.act(|network, context| network.add_host(context));
            bench.network.arrive_host(process, 0);
        }
        bench
    }

    pub(super) fn act<R>(
        &mut self,
        act: impl FnOnce(&mut NetworkModel, &mut NetworkContext<'_>) -> R,
    ) -> R {
        let recorder = Recorder {
            now_ns: self.now_ns,
            journal: &mut self.journal,
        };
        act(
            &mut self.network,
            &mut NetworkContext {
                decisions: &mut self.decisions,
                recorder,
                scheduled: &mut self.scheduled,
            },
        )
    }

    /// Lets everything that is scheduled arrive.
    fn settle(&mut self) {
        self.settle_until(u64::MAX);
    }

    /// Lets everything arrive that is scheduled until then.
    pub(super) fn settle_until(&mut self, end_ns: u64) {
        while let Some(next) =
            (0..self.scheduled.len()).min_by_key(|index| (self.scheduled[*index].0, *index))
        {
            if self.scheduled[next].0 > end_ns {
                break;
            }
            let (at_ns, delivery) = self.scheduled.remove(next);
            self.now_ns = at_ns;
            self.act(|network, context| network.arrive(context, delivery));
        }
    }

    /// A connection from A to B: the flows on which A and B send.
    pub(super) fn connect(&mut self) -> (FlowId, FlowId) {
        if self.network.listen(B, 7).is_err() {
            // It listens already.
        }
        let connect = self.act(|network, context| network.connect(context, A, B, 7));
        self.settle();
        let Poll::Ready(Ok(forth)) = self.network.poll_connect(connect, Waker::noop()) else {
            panic!("the connection is there");
        };
        let Poll::Ready(Ok((back, peer, _))) = self.network.poll_accept(B, 7, Waker::noop()) else {
            panic!("it waits to be accepted");
        };
        assert_eq!((peer, back), (A, forth.back()));
        (forth, back)
    }

    pub(super) fn write(&mut self, flow: FlowId, data: &[u8]) -> bool {
        let mut data = Bytes::copy_from_slice(data);
        let written = self
            .act(|network, context| network.poll_write(context, flow, &mut data, Waker::noop()));
        matches!(written, Poll::Ready(Ok(())))
    }

    pub(super) fn read(&mut self, flow: FlowId) -> Vec<u8> {
        let mut buffer = BytesMut::new();
        while let Poll::Ready(Ok(1..)) = self
            .act(|network, context| network.poll_read(context, flow, &mut buffer, Waker::noop()))
        {
        }
        buffer.to_vec()
    }

    fn close(&mut self, own: FlowId) {
        self.act(|network, context| {
            network.close_writer(context, own);
            network.close_reader(context, own.back());
        });
    }
}

#[test]
fn a_connection_is_forgotten_once_both_sides_closed_it() {
    let mut bench = Bench::new(NetworkFaults::none());
    for _ in 0..3 {
        let (forth, back) = bench.connect();
        assert!(bench.write(forth, b"hello"));
        bench.settle();
        assert_eq!(bench.read(forth), b"hello");
        bench.close(forth);
        bench.settle();
        assert_eq!(bench.network.connections(), 1);
        bench.close(back);
        bench.settle();
        assert_eq!(bench.network.connections(), 0);
    }
}

#[test]
fn the_window_bounds_what_is_under_way_and_unread() {
    let mut bench = Bench::new(NetworkFaults::none());
    let (forth, _) = bench.connect();
    let unit = vec![0; STREAM_WINDOW_BYTES / 4];
    let written = (0..10).filter(|_| bench.write(forth, &unit)).count();
    assert_eq!(written, 4);
    bench.settle();
    assert!(!bench.write(forth, &unit), "nobody has read");
    assert_eq!(bench.read(forth).len(), STREAM_WINDOW_BYTES);
    assert!(bench.write(forth, &unit));
    let (wide, _) = bench.connect();
    assert!(
        bench.write(wide, &vec![0; 3 * STREAM_WINDOW_BYTES]),
        "one unit of any size passes"
    );
}

#[test]
fn a_small_window_lets_one_unit_after_the_other_pass() {
    let mut bench = Bench::new(NetworkFaults {
        window_bytes: 10,
        ..NetworkFaults::none()
    });
    let (forth, _) = bench.connect();
    assert!(bench.write(forth, &[0; 6]));
    assert!(!bench.write(forth, &[0; 6]), "the first is under way");
    assert!(bench.write(forth, &[0; 4]), "there is room for it");
    bench.settle();
    bench.read(forth);
    assert!(bench.write(forth, &[0; 60]), "one unit of any size passes");
}

#[test]
fn the_same_pair_of_hosts_is_as_far_apart_all_the_time() {
    let faults = NetworkFaults {
        delay: Latency::new(100, 0),
        pair_offset_max_us: 10_000,
        ..NetworkFaults::none()
    };
    let mut bench = Bench::new(faults);
    let (forth, back) = bench.connect();
    let mut took = |flow| {
        let begun_ns = bench.now_ns;
        assert!(bench.write(flow, b"x"));
        bench.settle();
        bench.now_ns - begun_ns
    };
    let first = (took(forth), took(back));
    assert_eq!((took(forth), took(back)), first);
    assert!(first.0 > 100_000 && first.0 != first.1, "{first:?}");
}

#[derive(Clone, Debug)]
enum Step {
    Write(u8),
    Wait(u64),
    Cut,
    Heal,
    Clog,
    Unclog,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..20u8).prop_map(Step::Write),
        4 => (0..2_000_000u64).prop_map(Step::Wait),
        1 => Just(Step::Cut),
        1 => Just(Step::Heal),
        1 => Just(Step::Clog),
        1 => Just(Step::Unclog),
    ]
}

/// Does the steps, then ends all faults; returns what was written and what was read.
fn written_and_read(faults: NetworkFaults, steps: Vec<Step>) -> (Vec<u8>, Vec<u8>) {
    let mut bench = Bench::new(NetworkFaults::none());
    let (flow, _) = bench.connect();
    bench.network.faults = faults;
    let (mut cuts, mut clogs) = (0, 0);
    let mut written = Vec::new();
    for step in steps {
        match step {
            Step::Write(length) => {
                let data: Vec<u8> = (0..length)
                    .map(|at| (written.len() as u8).wrapping_add(at))
                    .collect();
                assert!(bench.write(flow, &data));
                written.extend(data);
            }
            Step::Wait(ns) => {
                let end_ns = bench.now_ns + ns;
                bench.settle_until(end_ns);
                bench.now_ns = end_ns;
            }
            Step::Cut => {
                bench.network.cut(A, B);
                cuts += 1;
            }
            Step::Clog => {
                bench.network.clog(A, B);
                clogs += 1;
            }
            Step::Heal if cuts > 0 => {
                bench.act(|network, context| network.heal(context, A, B));
                cuts -= 1;
            }
            Step::Unclog if clogs > 0 => {
                bench.act(|network, context| network.unclog(context, A, B));
                clogs -= 1;
            }
            Step::Heal | Step::Unclog => {}
        }
    }
    for _ in 0..cuts {
        bench.act(|network, context| network.heal(context, A, B));
    }
    for _ in 0..clogs {
        bench.act(|network, context| network.unclog(context, A, B));
    }
    bench.settle();
    let read = bench.read(flow);
    (written, read)
}

proptest! {
    /// As TCP: whatever is cut, clogged and lost, in whatever order.
    #[test]
    fn a_reliable_stream_delivers_exactly_what_was_written(
        steps in prop::collection::vec(step(), 1..60),
        drop_probability in 0.0..0.5,
    ) {
        let faults = NetworkFaults { loss: LossMode::Stream, drop_probability, ..NetworkFaults::none() };
        let (written, read) = written_and_read(faults, steps);
        prop_assert_eq!(written, read);
    }

    /// Without cuts and losses the units of the default mode are a stream as well.
    #[test]
    fn clogs_alone_lose_and_reorder_nothing(steps in prop::collection::vec(step(), 1..60)) {
        let steps: Vec<Step> = steps.into_iter().filter(|step| !matches!(step, Step::Cut)).collect();
        let (written, read) = written_and_read(NetworkFaults::none(), steps);
        prop_assert_eq!(written, read);
    }

    /// What a cut loses is whole units; the rest keeps its order.
    #[test]
    fn a_cut_loses_units_and_never_parts_of_them(steps in prop::collection::vec(step(), 1..60)) {
        let units: Vec<usize> = steps
            .iter()
            .filter_map(|step| if let Step::Write(length) = step { Some(usize::from(*length)) } else { None })
            .collect();
        let (written, read) = written_and_read(NetworkFaults::none(), steps);
        let (mut at, mut left) = (0, &read[..]);
        for length in units {
            let unit = &written[at..at + length];
            at += length;
            left = left.strip_prefix(unit).unwrap_or(left);
        }
        prop_assert!(left.is_empty(), "{:?} of {:?}", read, written);
    }
}
