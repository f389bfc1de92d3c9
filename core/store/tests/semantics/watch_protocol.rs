//! How watches answer: identifiers, errors, progress, fragments, cancellation.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use prost::Message;
use veridical_proto::command::command::Request;
use veridical_proto::etcdserverpb::{
    PutRequest, RequestOp, TxnRequest, WatchCancelRequest, WatchCreateRequest,
    WatchProgressRequest, WatchRequest, WatchResponse, request_op, watch_request::RequestUnion,
};
use veridical_store::{
    ApiError, Restorer, Store, StoreConfig, WATCH_ID_NONE, WatchLimits, WatchStream,
};

use crate::{apply_ok, compact, put};

fn store_with(watch: WatchLimits, max_request_bytes: usize) -> Store {
    Store::new(StoreConfig {
        watch,
        max_request_bytes,
        ..StoreConfig::default()
    })
}

fn store() -> Store {
    store_with(WatchLimits::default(), 10_000)
}

fn stream(store: &Store) -> WatchStream {
    store.reader().open_watch_stream(Arc::new(|| ()))
}

fn watch(key: &str) -> WatchCreateRequest {
    WatchCreateRequest {
        key: key.as_bytes().to_vec().into(),
        ..Default::default()
    }
}

fn create(stream: &mut WatchStream, request: WatchCreateRequest) -> WatchResponse {
    send(stream, RequestUnion::CreateRequest(request)).expect("there is room");
    let response = stream.poll().expect("an answer");
    assert!(response.created);
    response
}

fn send(stream: &mut WatchStream, request: RequestUnion) -> Result<(), ApiError> {
    stream.handle(WatchRequest {
        request_union: Some(request),
    })
}

fn write(store: &mut Store, key: &str, value: &str) {
    apply_ok(store, put(key, value));
    store.publish();
}

fn drain(stream: &mut WatchStream) -> Vec<WatchResponse> {
    std::iter::from_fn(|| stream.poll()).collect()
}

fn revision(response: &WatchResponse) -> i64 {
    response.header.as_ref().expect("a header").revision
}

#[test]
fn identifiers_are_assigned_around_those_that_clients_choose() {
    let store = store();
    let mut stream = stream(&store);
    assert_eq!(create(&mut stream, watch("a")).watch_id, 0);
    let chosen = WatchCreateRequest {
        watch_id: 1,
        ..watch("a")
    };
    assert_eq!(create(&mut stream, chosen.clone()).watch_id, 1);
    assert_eq!(create(&mut stream, watch("a")).watch_id, 2);
    let duplicate = create(&mut stream, chosen);
    assert!(duplicate.canceled);
    assert_eq!(duplicate.watch_id, WATCH_ID_NONE);
    assert_eq!(
        duplicate.cancel_reason,
        "mvcc: duplicate watch ID provided on the WatchStream"
    );
    assert_eq!(stream.watch_count(), 3);
}

#[test]
fn impossible_watches_are_canceled_as_they_are_created() {
    let store = store();
    let mut stream = stream(&store);
    let empty = WatchCreateRequest {
        range_end: "a".into(),
        ..watch("b")
    };
    let response = create(&mut stream, empty);
    assert_eq!(
        (
            response.watch_id,
            response.canceled,
            response.cancel_reason.as_str()
        ),
        (-1, true, "mvcc: watcher range is empty")
    );
    let before_time = WatchCreateRequest {
        start_revision: -1,
        ..watch("b")
    };
    assert_eq!(
        create(&mut stream, before_time).cancel_reason,
        "etcdserver: mvcc: required revision has been compacted"
    );
    assert_eq!(stream.watch_count(), 0);
}

#[test]
fn a_watch_from_a_compacted_revision_is_canceled_with_the_compacted_one() {
    let mut store = store();
    for value in ["1", "2", "3", "4"] {
        write(&mut store, "a", value);
    }
    apply_ok(&mut store, compact(4));
    store.publish();
    let mut stream = stream(&store);
    for (start_revision, events) in [(3, None), (4, Some(2)), (5, Some(1))] {
        let request = WatchCreateRequest {
            start_revision,
            ..watch("a")
        };
        let id = create(&mut stream, request).watch_id;
        let response = stream.poll().expect("something");
        assert_eq!(response.watch_id, id);
        match events {
            Some(events) => assert_eq!(response.events.len(), events),
            None => assert_eq!((response.canceled, response.compact_revision), (true, 4)),
        }
    }
    assert_eq!(stream.watch_count(), 2);
}

#[test]
fn a_watch_in_the_future_is_given_nothing_before() {
    let mut store = store();
    let mut stream = stream(&store);
    let request = WatchCreateRequest {
        start_revision: 4,
        ..watch("a")
    };
    create(&mut stream, request);
    for value in ["2", "3", "4", "5"] {
        write(&mut store, "a", value);
    }
    let values: Vec<_> = drain(&mut stream)
        .into_iter()
        .flat_map(|response| response.events)
        .map(|event| event.kv.expect("a pair").value)
        .collect();
    assert_eq!(values, ["4", "5"]);
}

#[test]
fn a_canceled_watch_says_so_and_no_more() {
    let mut store = store();
    let mut stream = stream(&store);
    let id = create(&mut stream, watch("a")).watch_id;
    write(&mut store, "a", "1");
    let cancel = |watch_id| RequestUnion::CancelRequest(WatchCancelRequest { watch_id });
    send(&mut stream, cancel(id)).expect("there is room");
    send(&mut stream, cancel(77)).expect("there is room");
    let rest = drain(&mut stream);
    assert_eq!(rest.len(), 1);
    assert!(rest[0].canceled && rest[0].watch_id == id && rest[0].compact_revision == 0);
    write(&mut store, "a", "2");
    assert_eq!(drain(&mut stream), []);
}

#[test]
fn progress_is_told_when_everything_before_it_has_been() {
    let mut store = store();
    let mut stream = stream(&store);
    let request = || RequestUnion::ProgressRequest(WatchProgressRequest {});
    send(&mut stream, request()).expect("there is room");
    assert_eq!(drain(&mut stream), [], "no watches, no progress");

    create(&mut stream, watch("a"));
    let behind = WatchCreateRequest {
        start_revision: 1,
        ..watch("b")
    };
    create(&mut stream, behind);
    write(&mut store, "a", "1");
    write(&mut store, "b", "1");
    send(&mut stream, request()).expect("there is room");
    let responses = drain(&mut stream);
    let (progress, events) = responses.split_last().expect("responses");
    assert!(progress.events.is_empty() && progress.watch_id == WATCH_ID_NONE);
    assert_eq!(revision(progress), 3);
    assert_eq!(events.len(), 2);
}

#[test]
fn periodic_progress_is_left_out_after_events() {
    let mut store = store();
    let mut stream = stream(&store);
    let id = create(
        &mut stream,
        WatchCreateRequest {
            progress_notify: true,
            ..watch("a")
        },
    )
    .watch_id;
    create(&mut stream, watch("b"));
    write(&mut store, "z", "1");
    stream.tick_progress();
    let quiet = drain(&mut stream);
    assert_eq!(quiet.len(), 1, "only the watch that asked");
    assert_eq!((quiet[0].watch_id, revision(&quiet[0])), (id, 2));
    write(&mut store, "a", "1");
    assert_eq!(drain(&mut stream).len(), 1);
    stream.tick_progress();
    assert_eq!(drain(&mut stream), [], "the event told as much");
    stream.tick_progress();
    assert_eq!(drain(&mut stream).len(), 1);
}

#[test]
fn no_progress_is_told_below_the_first_revision_that_was_asked_for() {
    let mut store = store();
    let mut stream = stream(&store);
    let to_come = |key, start_revision| WatchCreateRequest {
        progress_notify: true,
        start_revision,
        ..watch(key)
    };
    let soon = create(&mut stream, to_come("a", 3)).watch_id;
    let late = create(&mut stream, to_come("b", 5)).watch_id;
    let request = || RequestUnion::ProgressRequest(WatchProgressRequest {});
    send(&mut stream, request()).expect("there is room");
    stream.tick_progress();
    assert_eq!(drain(&mut stream), [], "neither has begun");

    write(&mut store, "z", "1");
    write(&mut store, "z", "2");
    stream.tick_progress();
    let told = drain(&mut stream);
    assert_eq!(told.len(), 1, "one has begun, and not all have: {told:?}");
    assert_eq!((told[0].watch_id, revision(&told[0])), (soon, 3));

    write(&mut store, "z", "3");
    write(&mut store, "z", "4");
    stream.tick_progress();
    let told = drain(&mut stream);
    let mut whose: Vec<i64> = told.iter().map(|response| response.watch_id).collect();
    whose.sort_unstable();
    assert_eq!(
        whose,
        [WATCH_ID_NONE, soon, late],
        "also what was asked for"
    );
    assert!(told.iter().all(|response| revision(response) == 5));
}

#[test]
fn a_quiet_watch_is_told_of_progress_although_others_wait_for_events() {
    let mut store = store();
    write(&mut store, "busy", "0");
    let mut stream = stream(&store);
    let notified = |key, start_revision| WatchCreateRequest {
        progress_notify: true,
        start_revision,
        ..watch(key)
    };
    let quiet = create(&mut stream, notified("quiet", 0)).watch_id;
    let busy = create(&mut stream, notified("busy", 0)).watch_id;
    let behind = create(&mut stream, notified("busy", 1)).watch_id;
    write(&mut store, "busy", "1");
    stream.tick_progress();
    let responses = drain(&mut stream);
    let first = &responses[0];
    assert!(first.events.is_empty());
    assert_eq!((first.watch_id, revision(first)), (quiet, 3));
    for id in [busy, behind] {
        let of_watch: Vec<&WatchResponse> = responses
            .iter()
            .filter(|response| response.watch_id == id)
            .collect();
        let (last, before) = of_watch.split_last().expect("events");
        assert!(!before.is_empty() && last.events.is_empty(), "{of_watch:?}");
        assert!(before.iter().all(|response| !response.events.is_empty()));
    }
}

#[test]
fn nothing_comes_between_the_parts_of_a_response() {
    let mut store = store_with(WatchLimits::default(), 1000);
    let mut stream = stream(&store);
    create(
        &mut stream,
        WatchCreateRequest {
            range_end: "z".into(),
            fragment: true,
            ..watch("a")
        },
    );
    let ops = (0..20).map(|number| RequestOp {
        request: Some(request_op::Request::RequestPut(PutRequest {
            key: format!("k{number}").into(),
            value: vec![b'v'; 200].into(),
            ..Default::default()
        })),
    });
    let txn = TxnRequest {
        success: ops.collect(),
        ..Default::default()
    };
    apply_ok(&mut store, Request::Txn(txn));
    store.publish();
    let first = stream.poll().expect("a part");
    assert!(first.fragment);
    send(&mut stream, RequestUnion::CreateRequest(watch("other"))).expect("there is room");
    let rest = drain(&mut stream);
    let parts = rest.iter().take_while(|part| part.fragment).count();
    assert!(!rest[parts].events.is_empty(), "the last part: {rest:?}");
    assert!(rest[parts + 1].created, "{rest:?}");
}

#[test]
fn fragments_stay_below_the_limit_and_add_up() {
    let mut store = store_with(WatchLimits::default(), 1000);
    let mut stream = stream(&store);
    let range = |fragment| WatchCreateRequest {
        range_end: "z".into(),
        fragment,
        ..watch("a")
    };
    create(&mut stream, range(true));
    create(&mut stream, range(false));
    let ops = (0..20)
        .map(|number| RequestOp {
            request: Some(request_op::Request::RequestPut(PutRequest {
                key: format!("key/{number}").into(),
                value: vec![b'v'; 150].into(),
                ..Default::default()
            })),
        })
        .collect();
    let txn = TxnRequest {
        success: ops,
        ..Default::default()
    };
    apply_ok(&mut store, Request::Txn(txn));
    store.publish();
    let (parts, whole): (Vec<_>, Vec<_>) = drain(&mut stream)
        .into_iter()
        .partition(|response| response.watch_id == 0);
    assert!(parts.len() >= 4);
    assert!(parts.iter().all(|part| part.encoded_len() < 1000));
    let last = parts.len() - 1;
    assert!(
        parts
            .iter()
            .enumerate()
            .all(|(at, part)| part.fragment == (at < last))
    );
    let joined: Vec<_> = parts.into_iter().flat_map(|part| part.events).collect();
    assert_eq!(whole.len(), 1);
    assert_eq!(joined, whole[0].events);
}

#[test]
fn a_client_that_does_not_read_its_answers_is_refused_more() {
    let limits = WatchLimits {
        max_control_responses: 2,
        max_watches_per_stream: 3,
        ..WatchLimits::default()
    };
    let store = store_with(limits, 10_000);
    let mut stream = stream(&store);
    let ask = |stream: &mut WatchStream| send(stream, RequestUnion::CreateRequest(watch("a")));
    assert_eq!(ask(&mut stream), Ok(()));
    assert_eq!(ask(&mut stream), Ok(()));
    assert_eq!(ask(&mut stream), Err(ApiError::too_many_requests()));
    assert_eq!(drain(&mut stream).len(), 2);
    create(&mut stream, watch("a"));
    let beyond = create(&mut stream, watch("a"));
    assert!(beyond.canceled);
    assert_eq!(beyond.cancel_reason, "etcdserver: too many requests");
}

#[test]
fn a_stream_that_is_not_read_holds_no_more_than_its_limit() {
    let limits = WatchLimits {
        max_buffered_events: 10,
        ..WatchLimits::default()
    };
    let mut store = store_with(limits, 10_000);
    let woken = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&woken);
    let mut stream = store.reader().open_watch_stream(Arc::new(move || {
        counter.fetch_add(1, Ordering::Relaxed);
    }));
    create(&mut stream, watch("a"));
    for number in 0..1000 {
        write(&mut store, "a", &number.to_string());
    }
    // Ten in the queue, one that found it full; nothing is done for it after that.
    assert_eq!(woken.load(Ordering::Relaxed), 11);
    let events: Vec<_> = drain(&mut stream)
        .into_iter()
        .flat_map(|response| response.events)
        .collect();
    assert_eq!(events.len(), 1000);
}

#[test]
fn a_dropped_stream_is_forgotten() {
    let mut store = store();
    let woken = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&woken);
    let mut stream = store.reader().open_watch_stream(Arc::new(move || {
        counter.fetch_add(1, Ordering::Relaxed);
    }));
    create(&mut stream, watch("a"));
    drop(stream);
    write(&mut store, "a", "1");
    assert_eq!(woken.load(Ordering::Relaxed), 0);
}

#[test]
fn an_installed_snapshot_gives_watches_what_they_missed_or_tells_what_is_gone() {
    for compacted in [false, true] {
        let mut ahead = store();
        for value in ["1", "2", "3"] {
            write(&mut ahead, "a", value);
        }
        if compacted {
            apply_ok(&mut ahead, compact(4));
        }
        let mut source = ahead.snapshot();
        let mut restorer = Restorer::new(StoreConfig::default());
        while let Some(chunk) = source.next_chunk(100) {
            restorer.push(&chunk).expect("our own bytes");
        }

        let mut behind = store();
        let mut stream = stream(&behind);
        write(&mut behind, "a", "1");
        create(&mut stream, watch("a"));
        behind.install(restorer.finish().expect("our own bytes"));
        let responses = drain(&mut stream);
        assert_eq!(responses.len(), 1);
        if compacted {
            assert!(responses[0].canceled);
            assert_eq!(responses[0].compact_revision, 4);
        } else {
            assert_eq!(responses[0].events.len(), 2);
        }
    }
}

#[test]
fn a_long_way_to_catch_up_is_gone_in_stages_and_progress_waits_for_its_end() {
    let mut store = store();
    let writes = |number: usize| RequestOp {
        request: Some(request_op::Request::RequestPut(PutRequest {
            key: format!("a/{number}").into(),
            ..Default::default()
        })),
    };
    // More changes than one poll looks at, and at their end the one that is watched.
    for _ in 0..600 {
        let txn = TxnRequest {
            success: (0..128).map(writes).collect(),
            ..Default::default()
        };
        apply_ok(&mut store, Request::Txn(txn));
    }
    write(&mut store, "b", "1");
    let woken = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&woken);
    let mut stream = store.reader().open_watch_stream(Arc::new(move || {
        counter.fetch_add(1, Ordering::Relaxed);
    }));
    let from_start = WatchCreateRequest {
        start_revision: 2,
        ..watch("b")
    };
    create(&mut stream, from_start);
    let progress = RequestUnion::ProgressRequest(WatchProgressRequest {});
    send(&mut stream, progress).expect("there is room");
    assert_eq!(stream.poll(), None, "others have their turn");
    assert_eq!(woken.load(Ordering::Relaxed), 1, "but it goes on by itself");
    let rest = drain(&mut stream);
    assert_eq!(rest.len(), 2);
    assert_eq!(rest[0].events.len(), 1);
    assert_eq!(rest[1].watch_id, WATCH_ID_NONE);
}
