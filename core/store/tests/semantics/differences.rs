//! Where the store answers otherwise than etcd, on purpose. `docs/serving.md` lists them.

use std::sync::Arc;

use veridical_proto::command::command::Request;
use veridical_proto::etcdserverpb::{
    LeaseGrantRequest, RangeRequest, WatchCreateRequest, WatchRequest, range_request,
    watch_request::RequestUnion,
};
use veridical_store::{Store, StoreConfig};

use crate::{apply_ok, compact, put};

fn store_of(writes: &[(&str, &str)]) -> Store {
    let mut store = Store::new(StoreConfig::default());
    for (key, value) in writes {
        apply_ok(&mut store, put(key, value));
    }
    store.publish();
    store
}

/// etcd takes the keys `a` and `b`, one more than asked for, and sorts those.
#[test]
fn a_target_other_than_the_key_sorts_the_whole_range_before_the_limit() {
    let store = store_of(&[("a", "3"), ("b", "2"), ("c", "1")]);
    let range = RangeRequest {
        key: "a".into(),
        range_end: "z".into(),
        limit: 1,
        sort_target: range_request::SortTarget::Value as i32,
        ..Default::default()
    };
    let read = store.reader().range(&range).expect("it is read");
    assert_eq!(read.kvs[0].key, "c");
    assert!(read.more);
}

/// etcd lists them by the time that is left.
#[test]
fn leases_are_listed_by_their_identifiers() {
    let mut store = store_of(&[]);
    for (id, ttl) in [(9, 10), (3, 600), (5, 1)] {
        apply_ok(
            &mut store,
            Request::LeaseGrant(LeaseGrantRequest { id, ttl }),
        );
    }
    store.publish();
    let leases = store.reader().leases();
    let ids: Vec<i64> = leases.into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, [3, 5, 9]);
}

/// etcd hashes nothing of what is newer than a compaction then.
#[test]
fn the_hash_of_a_negative_revision_is_that_of_the_newest() {
    let store = store_of(&[("a", "1"), ("b", "2")]);
    let reader = store.reader();
    let newest = reader.hash_kv(0).expect("it is there");
    assert_eq!(reader.hash_kv(-1), Ok(newest));
    assert_eq!(reader.hash_kv(i64::MIN), Ok(newest));
    assert_eq!(reader.hash_kv(3), Ok(newest));
    assert_ne!(reader.hash_kv(2), Ok(newest));
}

/// With etcd it stays taken until the client cancels the watch.
#[test]
fn the_identifier_of_a_watch_that_a_compaction_cancelled_is_free_again() {
    let mut store = store_of(&[("a", "1"), ("a", "2"), ("a", "3")]);
    apply_ok(&mut store, compact(4));
    store.publish();
    let mut stream = store.reader().open_watch_stream(Arc::new(|| ()));
    let mut create = |start_revision| {
        let create = WatchCreateRequest {
            key: "a".into(),
            start_revision,
            watch_id: 7,
            ..Default::default()
        };
        let request = WatchRequest {
            request_union: Some(RequestUnion::CreateRequest(create)),
        };
        stream.handle(request).expect("there is room");
        let responses = std::iter::from_fn(|| stream.poll());
        responses.collect::<Vec<_>>()
    };
    let past = create(2);
    assert!(past[0].created && !past[0].canceled);
    assert!(past[1].canceled && past[1].compact_revision == 4);
    let present = create(0);
    assert!(present[0].created && !present[0].canceled, "{present:?}");
    assert_eq!(present[0].watch_id, 7);
}
