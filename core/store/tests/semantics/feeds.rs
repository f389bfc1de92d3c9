//! A copy that is kept by feeds is the store, and bytes that are no copy are refused.

use bytes::Bytes;
use proptest::prelude::*;
use std::collections::BTreeMap;
use veridical_proto::command::command::Request;
use veridical_store::{
    FEED_PREFIX_END, Feed, FeedOperation, FeedRestorer, RestoreError, Restorer, Store, StoreConfig,
    check_txn,
};

use crate::generate::{Step, steps};
use crate::{apply, apply_command, apply_ok, command, compact, delete, put};

type Copy = BTreeMap<Bytes, Bytes>;

fn config() -> StoreConfig {
    StoreConfig {
        shards: 3,
        feed: true,
        ..StoreConfig::default()
    }
}

fn fold(copy: &mut Copy, feed: Feed) {
    for operation in feed {
        match operation {
            FeedOperation::Put { key, value } => drop(copy.insert(key, value)),
            FeedOperation::Delete { key } => drop(copy.remove(&key)),
        }
    }
}

fn whole(store: &mut Store) -> Copy {
    let mut source = store.snapshot();
    std::iter::from_fn(|| source.next_put()).collect()
}

fn restore(copy: &Copy) -> Result<Store, RestoreError> {
    let mut restorer = FeedRestorer::new(config());
    for (key, value) in copy {
        restorer.push(key, value)?;
    }
    restorer.finish()
}

/// Restores from the copy, and checks that nothing is missing and nothing too much.
fn check(store: &mut Store, copy: &mut Copy) -> Result<(), TestCaseError> {
    let mut restored = restore(copy).expect("our own entries");
    prop_assert_eq!(restored.reader().state_hash(), store.reader().state_hash());
    // Nobody reads, so nothing is kept from being forgotten.
    prop_assert!(restored.take_feed().is_empty());
    prop_assert_eq!(&*copy, &whole(store));
    fold(copy, store.take_feed());
    Ok(())
}

fn run(steps: &[Step]) -> Result<(), TestCaseError> {
    let mut store = Store::new(config());
    let mut copy = whole(&mut store);
    store.take_feed();
    let mut commands = Vec::new();
    for step in steps {
        match step {
            Step::Apply(Request::Txn(txn)) if check_txn(txn, 128).is_err() => {}
            Step::Apply(request) => {
                let command = command(&store, request.clone());
                apply_command(&mut store, &command);
                commands.push(command);
            }
            Step::Compact(back) => {
                let request = compact(store.revision() - back);
                apply(&mut store, request);
            }
            Step::Resend(back) => {
                if let Some(at) = commands.len().checked_sub(back + 1) {
                    let command = commands[at].clone();
                    apply_command(&mut store, &command);
                }
            }
            Step::Publish => {
                store.publish();
                fold(&mut copy, store.take_feed());
                check(&mut store, &mut copy)?;
            }
            Step::Range(_) | Step::ReadTxn(_) => {}
            Step::Restore(size) => {
                store.publish();
                fold(&mut copy, store.take_feed());
                // By turns as after a crash, and as when a leader's snapshot comes.
                if size % 2 == 0 {
                    store = restore(&copy).expect("our own entries");
                    fold(&mut copy, store.take_feed());
                } else {
                    let mut restorer = Restorer::new(config());
                    let mut source = store.snapshot();
                    while let Some(chunk) = source.next_chunk(*size) {
                        restorer.push(&chunk).expect("our own bytes");
                    }
                    store.install(restorer.finish().expect("our own bytes"));
                    prop_assert!(store.take_feed().is_empty());
                    copy = whole(&mut store);
                    store.take_feed();
                }
                check(&mut store, &mut copy)?;
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 600,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_fold_of_all_feeds_restores_the_store(steps in steps(60)) {
        run(&steps)?;
    }

    #[test]
    fn damaged_entries_give_an_error_or_a_store(
        entry in any::<prop::sample::Index>(),
        byte in any::<prop::sample::Index>(),
        bit in 0u8..8,
        in_key in any::<bool>(),
    ) {
        let mut store = filled();
        let mut entries: Vec<(Vec<u8>, Vec<u8>)> = whole(&mut store)
            .into_iter()
            .map(|(key, value)| (key.to_vec(), value.to_vec()))
            .collect();
        let entry = entry.index(entries.len());
        let damaged = if in_key { &mut entries[entry].0 } else { &mut entries[entry].1 };
        if !damaged.is_empty() {
            let byte = byte.index(damaged.len());
            damaged[byte] ^= 1 << bit;
        }
        let mut restorer = FeedRestorer::new(config());
        let pushed = entries
            .iter()
            .try_for_each(|(key, value)| restorer.push(key, value));
        if pushed.is_ok() {
            drop(restorer.finish());
        }
        prop_assert!(!in_key || pushed.is_err(), "no key can be damaged unnoticed");
    }
}

fn filled() -> Store {
    let mut store = Store::new(config());
    for number in 0..6 {
        apply_ok(&mut store, put(&format!("key/{}", number % 4), "value"));
    }
    apply_ok(&mut store, delete("key/1"));
    store
}

#[test]
fn without_its_header_or_a_version_a_copy_is_refused() {
    let copy = whole(&mut filled());
    assert!(restore(&copy).is_ok());
    for key in copy.keys().filter(|key| key[0] < 3) {
        let mut damaged = copy.clone();
        damaged.remove(key);
        assert!(restore(&damaged).is_err(), "{key:?}");
    }
}

#[test]
fn what_compaction_left_behind_in_a_copy_is_deleted_by_the_restored_store() {
    let mut store = filled();
    let mut copy = whole(&mut store);
    let pinned = store.snapshot();
    store.take_feed();
    let revision = store.revision();
    apply_ok(&mut store, compact(revision));
    store.publish();
    fold(&mut copy, store.take_feed());
    // The old versions are still there, because a snapshot is being read.
    let mut restored = restore(&copy).expect("our own entries");
    drop(pinned);
    let before = copy.len();
    fold(&mut copy, restored.take_feed());
    assert!(copy.len() < before, "{} {before}", copy.len());
    assert_eq!(copy, whole(&mut restored));
}

#[test]
fn a_store_whose_feed_is_off_collects_nothing() {
    let mut store = Store::new(StoreConfig::default());
    apply_ok(&mut store, put("a", "1"));
    store.publish();
    assert!(store.take_feed().is_empty());
}

#[test]
fn every_key_of_a_feed_lies_below_the_owner_s_own() {
    let mut store = filled();
    store.publish();
    for operation in store.take_feed() {
        let (FeedOperation::Put { key, .. } | FeedOperation::Delete { key }) = operation;
        assert!(key[0] < FEED_PREFIX_END);
    }
}

/// The copy would be wrong if feeds had this defect.
#[cfg(feature = "planted-bugs")]
#[test]
fn a_planted_silence_about_revoked_leases_is_found() {
    use veridical_planted::{Planted, PlantedBug};
    use veridical_proto::etcdserverpb::{LeaseGrantRequest, LeaseRevokeRequest};

    let mut store = Store::new(StoreConfig {
        planted: Planted::only(PlantedBug::FeedKeepsLeases),
        ..config()
    });
    let mut copy = whole(&mut store);
    store.take_feed();
    let grant = LeaseGrantRequest { ttl: 60, id: 7 };
    apply_ok(&mut store, Request::LeaseGrant(grant));
    store.publish();
    fold(&mut copy, store.take_feed());
    let revoke = LeaseRevokeRequest { id: 7 };
    apply_ok(&mut store, Request::LeaseRevoke(revoke));
    store.publish();
    fold(&mut copy, store.take_feed());
    assert!(store.reader().lease(7).is_none());
    let restored = restore(&copy).expect("our own entries");
    assert!(restored.reader().lease(7).is_some(), "the bug did not show");
}
