//! How many entries of 4 KiB a second the log makes durable on the real disk, by the
//! number of entries that share a sync. `cargo bench -p veridical-storage`.

#![allow(
    clippy::disallowed_methods,
    reason = "it measures a real disk in real time"
)]

use bytes::Bytes;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use veridical_env::RealDisk;
use veridical_storage::wal::{LogEntry, Wal, WalConfig, WalRecord};

const ENTRY_BYTES: usize = 4096;
const ZEROS_AHEAD_BYTES: u64 = 256 * 1024;
const RUN_TIME: Duration = Duration::from_secs(2);

fn run<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the real disk blocks and does not wait"),
    }
}

fn main() {
    let data = Bytes::from(vec![7; ENTRY_BYTES]);
    for entries_per_sync in [1, 16, 256] {
        let dir = tempfile::tempdir().expect("a folder");
        let (mut wal, _) =
            run(Wal::open(RealDisk, dir.path(), WalConfig::default())).expect("an empty folder");
        let (start, mut index, mut syncs) = (Instant::now(), 0u64, 0u64);
        while start.elapsed() < RUN_TIME {
            let batch: Vec<WalRecord> = (0..entries_per_sync)
                .map(|_| {
                    index += 1;
                    WalRecord::Entry(LogEntry {
                        term: 1,
                        index,
                        kind: 0,
                        data: data.clone(),
                    })
                })
                .collect();
            run(wal.append(&batch)).expect("the disk works");
            run(wal.sync()).expect("the disk works");
            if wal.zeros_ahead_bytes() < ZEROS_AHEAD_BYTES / 2 {
                run(wal.fill_ahead(ZEROS_AHEAD_BYTES)).expect("the disk works");
            }
            syncs += 1;
        }
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "{entries_per_sync:4} entries a sync: {:8.0} entries/s {:6.0} syncs/s {:6.1} MB/s",
            index as f64 / seconds,
            syncs as f64 / seconds,
            (index as usize * ENTRY_BYTES) as f64 / seconds / 1e6,
        );
    }
}
