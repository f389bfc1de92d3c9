//! What the network model does, driven without a world.

use super::{Delivery, FlowId, NetworkContext, NetworkFaults, NetworkModel, STREAM_WINDOW_BYTES};
use crate::fault::ProcessId;
use crate::latency::Latency;
use crate::rng::Rng;
use crate::trace::{Journal, Recorder, TraceMode};
use bytes::{Bytes, BytesMut};
use std::task::{Poll, Waker};

const A: ProcessId = ProcessId(0);
const B: ProcessId = ProcessId(1);

/// Two hosts and the time.
struct Bench {
    network: NetworkModel,
    rng: Rng,
    journal: Journal,
    plan: Vec<(u64, Delivery)>,
    now_ns: u64,
}

impl Bench {
    fn new(faults: NetworkFaults) -> Self {
        let mut bench = Self {
            network: NetworkModel::new(faults),
            rng: Rng::from_seed(1),
            journal: Journal::new(TraceMode::Off, None),
            plan: Vec::new(),
            now_ns: 0,
        };
        for process in [A, B] {
            bench.act(|network, context| network.add_host(context));
            bench.network.arrive_host(process, 0);
        }
        bench
    }

    fn act<R>(&mut self, act: impl FnOnce(&mut NetworkModel, &mut NetworkContext<'_>) -> R) -> R {
        let recorder = Recorder {
            now_ns: self.now_ns,
            journal: &mut self.journal,
        };
        act(
            &mut self.network,
            &mut NetworkContext {
                rng: &mut self.rng,
                recorder,
                plan: &mut self.plan,
            },
        )
    }

    /// Lets everything planned arrive.
    fn settle(&mut self) {
        while let Some(next) =
            (0..self.plan.len()).min_by_key(|index| (self.plan[*index].0, *index))
        {
            let (at_ns, delivery) = self.plan.remove(next);
            self.now_ns = at_ns;
            self.act(|network, context| network.arrive(context, delivery));
        }
    }

    /// A connection from A to B: the flows on which A and B send.
    fn connect(&mut self) -> (FlowId, FlowId) {
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

    fn write(&mut self, flow: FlowId, data: &[u8]) -> bool {
        let mut data = Bytes::copy_from_slice(data);
        let written = self
            .act(|network, context| network.poll_write(context, flow, &mut data, Waker::noop()));
        matches!(written, Poll::Ready(Ok(())))
    }

    fn read(&mut self, flow: FlowId) -> Vec<u8> {
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
