//! Snapshots are consistent, and bytes that are not a snapshot are refused.

use bytes::Bytes;
use proptest::prelude::*;
use veridical_proto::command::command::Request;
use veridical_proto::etcdserverpb::{LeaseGrantRequest, PutRequest, RangeRequest};
use veridical_store::{RestoreError, Restorer, SnapshotSource, Store, StoreConfig};

use crate::{apply_ok, compact, delete, put};

fn config() -> StoreConfig {
    StoreConfig {
        shards: 4,
        ..StoreConfig::default()
    }
}

fn filled(keys: usize) -> Store {
    let mut store = Store::new(config());
    apply_ok(
        &mut store,
        Request::LeaseGrant(LeaseGrantRequest { ttl: 60, id: 7 }),
    );
    for number in 0..keys {
        apply_ok(&mut store, put(&format!("key/{number}"), "old"));
    }
    for number in (0..keys).step_by(3) {
        apply_ok(&mut store, put(&format!("key/{number}"), "new"));
    }
    for number in (0..keys).step_by(7) {
        apply_ok(&mut store, delete(&format!("key/{number}")));
    }
    apply_ok(
        &mut store,
        Request::Put(PutRequest {
            key: "leased".into(),
            lease: 7,
            ..Default::default()
        }),
    );
    store
}

fn bytes(mut source: SnapshotSource) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(chunk) = source.next_chunk(1000) {
        assert!(chunk.len() <= 1000);
        bytes.extend_from_slice(&chunk);
    }
    assert_eq!(source.next_chunk(1000), None);
    bytes
}

fn restore(bytes: &[u8]) -> Result<Store, RestoreError> {
    let mut restorer = Restorer::new(config());
    restorer.push(bytes)?;
    restorer.finish()
}

#[test]
fn a_snapshot_does_not_see_what_is_applied_and_compacted_while_it_is_written() {
    let mut store = filled(2000);
    let source = store.snapshot();
    let before = store.reader().state_hash();
    let mut chunks = Vec::new();
    let mut source = source;
    let mut round = 0;
    while let Some(chunk) = source.next_chunk(4000) {
        chunks.extend_from_slice(&chunk);
        for number in 0..20 {
            let key = format!("key/{}", (round * 37 + number * 11) % 2500);
            match number % 3 {
                0 => drop(apply_ok(&mut store, delete(&key))),
                _ => drop(apply_ok(&mut store, put(&key, "later"))),
            }
        }
        let revision = store.revision();
        apply_ok(&mut store, compact(revision));
        store.publish();
        round += 1;
    }
    assert!(round > 10, "only {round} chunks");
    let restored = restore(&chunks).expect("our own bytes");
    assert_eq!(restored.reader().state_hash(), before);
    assert_ne!(store.reader().state_hash(), before);
}

#[test]
fn what_a_snapshot_held_back_from_compaction_is_forgotten_afterwards() {
    let mut store = filled(500);
    let source = store.snapshot();
    let revision = store.revision();
    apply_ok(&mut store, compact(revision));
    store.publish();
    let held = store.reader().size_bytes();
    drop(source);
    store.publish();
    let released = store.reader().size_bytes();
    assert!(released < held, "{released} {held}");
    let restored = restore(&bytes(store.snapshot())).expect("our own bytes");
    assert_eq!(restored.reader().size_bytes(), released);
}

#[test]
fn what_the_compacted_revision_itself_overwrote_is_forgotten() {
    let mut store = Store::new(config());
    for (key, value) in [("a", "old"), ("b", "old"), ("a", "new")] {
        apply_ok(&mut store, put(key, value));
    }
    // The first compaction keeps the old value, and forgets that revision 2 wrote it.
    for revision in [3, 4] {
        apply_ok(&mut store, compact(revision));
        store.publish();
        let held = store.reader().size_bytes();
        let restored = restore(&bytes(store.snapshot())).expect("our own bytes");
        assert_eq!(
            restored.reader().size_bytes(),
            held,
            "compacted at {revision}"
        );
    }
}

#[test]
fn a_snapshot_that_is_cut_anywhere_is_refused() {
    let whole = bytes(filled(10).snapshot());
    assert!(restore(&whole).is_ok());
    for length in 0..whole.len() {
        let refused = restore(&whole[..length]).expect_err("it is not complete");
        assert!(
            matches!(refused, RestoreError::Truncated { .. }),
            "{length}: {refused}"
        );
    }
}

#[test]
fn readers_and_leases_survive_an_installation() {
    let ahead = bytes(filled(30).snapshot());
    let mut store = Store::new(config());
    let reader = store.reader();
    apply_ok(&mut store, put("key/1", "mine"));
    store.publish();
    store.install(restore(&ahead).expect("our own bytes"));
    let all = RangeRequest {
        key: "\0".into(),
        range_end: "\0".into(),
        ..Default::default()
    };
    assert_eq!(reader.range(&all).expect("the present").count, 30 - 5 + 1);
    assert_eq!(
        reader.lease(7).expect("restored").keys,
        [Bytes::from("leased")]
    );
    assert_eq!(store.leases(), [(7, 60)]);
    // And the store goes on from there.
    apply_ok(
        &mut store,
        Request::LeaseRevoke(veridical_proto::etcdserverpb::LeaseRevokeRequest { id: 7 }),
    );
    store.publish();
    assert_eq!(reader.range(&all).expect("the present").count, 30 - 5);
}

#[test]
#[should_panic(expected = "store.snapshots-are-not-installed-over-newer-contents")]
fn an_older_snapshot_is_not_installed() {
    let old = restore(&bytes(filled(3).snapshot())).expect("our own bytes");
    filled(30).install(old);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 3000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn damaged_bytes_give_an_error_or_a_store_that_works(
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0u8..8), 1..4),
    ) {
        let mut damaged = bytes(filled(6).snapshot());
        for (at, bit) in flips {
            let at = at.index(damaged.len());
            damaged[at] ^= 1 << bit;
        }
        if let Ok(mut store) = restore(&damaged) {
            let again = bytes(store.snapshot());
            let copy = restore(&again).expect("our own bytes");
            prop_assert_eq!(copy.reader().state_hash(), store.reader().state_hash());
            let leases = store.leases();
            for (id, _) in leases {
                let revoke = veridical_proto::etcdserverpb::LeaseRevokeRequest { id };
                let index = store.applied_index();
                if index < u64::MAX && store.revision() < i64::MAX {
                    crate::apply(&mut store, Request::LeaseRevoke(revoke));
                }
            }
        }
    }
}

/// A snapshot that does not hold compactions back would be no snapshot.
#[cfg(feature = "planted-bugs")]
#[test]
fn a_planted_snapshot_without_a_pin_is_found() {
    use veridical_planted::{Planted, PlantedBug};

    let mut store = Store::new(StoreConfig {
        planted: Planted::only(PlantedBug::SnapshotUnpinned),
        ..config()
    });
    for round in 0..3 {
        for number in 0..500 {
            apply_ok(
                &mut store,
                put(&format!("key/{number}"), &round.to_string()),
            );
        }
    }
    let mut source = store.snapshot();
    let first = source.next_chunk(1000).expect("there are keys");
    let revision = store.revision();
    apply_ok(&mut store, compact(revision));
    store.publish();
    let mut chunks = first.to_vec();
    while let Some(chunk) = source.next_chunk(1000) {
        chunks.extend_from_slice(&chunk);
    }
    assert!(restore(&chunks).is_err(), "the bug did not show");
}
