//! The example of docs/algorithms/network.md: one unit before, one during and one after a
//! partition, on both kinds of streams.

use super::tests::{A, B, Bench};
use super::{LossMode, NetworkFaults, RETRANSMISSION_TIMEOUT_MS};
use crate::latency::Latency;

const MS: u64 = 1_000_000;

/// What B has read of "1" (sent at 0 ms), "2" (sent while the link is cut, from 10 to 50 ms)
/// and "3" (sent at 60 ms): at 100 ms, and when everything has arrived.
fn read_by_b(loss: LossMode) -> (Vec<u8>, Vec<u8>) {
    let mut bench = Bench::new(NetworkFaults {
        delay: Latency::new(1_000, 0),
        loss,
        ..NetworkFaults::none()
    });
    let (forth, _) = bench.connect();
    let begun_ns = bench.now_ns;
    let at = |ms: u64| begun_ns + ms * MS;
    assert!(bench.write(forth, b"1"));
    bench.settle_until(at(10));
    bench.now_ns = at(10);
    bench.network.cut(A, B);
    assert!(bench.write(forth, b"2"));
    bench.settle_until(at(50));
    bench.now_ns = at(50);
    bench.act(|network, context| network.heal(context, A, B));
    bench.settle_until(at(60));
    bench.now_ns = at(60);
    assert!(bench.write(forth, b"3"));
    bench.settle_until(at(100));
    let early = bench.read(forth);
    bench.settle_until(at(60 + RETRANSMISSION_TIMEOUT_MS));
    let mut all = early.clone();
    all.extend(bench.read(forth));
    (early, all)
}

#[test]
fn datagrams_lose_what_a_partition_swallows_and_the_rest_arrives_at_once() {
    let (early, all) = read_by_b(LossMode::Datagram);
    assert_eq!((&early[..], &all[..]), (&b"13"[..], &b"13"[..]));
}

#[test]
fn a_stream_holds_what_a_partition_swallows_and_all_behind_it() {
    let (early, all) = read_by_b(LossMode::Stream);
    assert_eq!(all, b"123");
    assert!(early == b"1" || early == b"123", "{early:?}");
}
