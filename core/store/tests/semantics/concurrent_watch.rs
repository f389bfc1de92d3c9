//! Watches on other threads lose nothing while the writer publishes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use veridical_proto::etcdserverpb::{
    WatchCreateRequest, WatchProgressRequest, WatchRequest, watch_request::RequestUnion,
};
use veridical_store::{Store, StoreConfig, StoreReader, WATCH_ID_NONE, WatchLimits};

use crate::{apply_ok, put};

const RUN_MS: u64 = 500;

/// What a watching thread saw.
struct Seen {
    events: i64,
    progress: u64,
    caught_up: u64,
}

/// Watches everything from the beginning, now and then slowly, until `stop` and then to the
/// end. Every revision writes one key, so the events' revisions have no gaps.
fn follow(reader: &StoreReader, stop: &AtomicBool) -> Seen {
    let woken = Arc::new(AtomicBool::new(true));
    let flag = Arc::clone(&woken);
    let notify = Arc::new(move || flag.store(true, Ordering::Release));
    let mut stream = reader.open_watch_stream(notify);
    let request = |union| WatchRequest {
        request_union: Some(union),
    };
    let create = WatchCreateRequest {
        key: "\0".into(),
        range_end: "\0".into(),
        start_revision: 2,
        ..Default::default()
    };
    let created = stream.handle(request(RequestUnion::CreateRequest(create)));
    created.expect("there is room");
    let mut seen = Seen {
        events: 0,
        progress: 0,
        caught_up: 0,
    };
    let mut last = 1;
    let mut polls = 0u64;
    loop {
        let stopping = stop.load(Ordering::Acquire);
        if !woken.swap(false, Ordering::AcqRel) {
            if stopping && last == reader.revision() {
                return seen;
            }
            thread::yield_now();
            continue;
        }
        while let Some(response) = stream.poll() {
            let revision = response.header.as_ref().expect("a header").revision;
            if response.watch_id == WATCH_ID_NONE {
                assert_eq!(revision, last, "progress before all events up to it");
                seen.progress += 1;
            }
            for event in &response.events {
                let revision = event.kv.as_ref().expect("a pair").mod_revision;
                assert_eq!(revision, last + 1, "a gap or a repetition");
                last = revision;
                seen.events += 1;
            }
            seen.caught_up += u64::from(response.events.len() > 1);
            polls += 1;
            if polls.is_multiple_of(64) && !stopping {
                thread::sleep(Duration::from_micros(300));
            }
            if polls.is_multiple_of(3) {
                let progress = RequestUnion::ProgressRequest(WatchProgressRequest {});
                stream.handle(request(progress)).expect("there is room");
            }
        }
    }
}

#[test]
fn threads_that_watch_see_every_revision_once_and_in_order() {
    let mut store = Store::new(StoreConfig {
        watch: WatchLimits {
            max_buffered_events: 32,
            max_catch_up_revisions: 20,
            ..WatchLimits::default()
        },
        ..StoreConfig::default()
    });
    let stop = Arc::new(AtomicBool::new(false));
    let followers: Vec<_> = (0..3)
        .map(|_| {
            let (reader, stop) = (store.reader(), Arc::clone(&stop));
            thread::spawn(move || follow(&reader, &stop))
        })
        .collect();
    let started = Instant::now();
    let mut number = 0u64;
    while started.elapsed() < Duration::from_millis(RUN_MS) {
        for _ in 0..number % 5 + 1 {
            number += 1;
            apply_ok(&mut store, put(&format!("key/{}", number % 50), "v"));
        }
        store.publish();
        if number.is_multiple_of(7) {
            thread::yield_now();
        }
    }
    stop.store(true, Ordering::Release);
    for follower in followers {
        let seen = follower.join().expect("a watch lost nothing");
        assert_eq!(seen.events, number as i64);
        assert!(seen.progress > 0 && seen.caught_up > 0, "it was no test");
    }
}
