//! The store is its model.

use proptest::prelude::*;
use veridical_planted::Planted;
use veridical_proto::command::{Command, command::Request};
use veridical_store::{
    Applied, MemtableKind, Restorer, Store, StoreConfig, StoreReader, check_txn,
};

use crate::generate::{Step, steps};
use crate::model::Model;
use crate::{apply_command, command, compact};

fn config(memtable: MemtableKind, shards: usize, hash_seed: u64, planted: Planted) -> StoreConfig {
    StoreConfig {
        memtable,
        shards,
        hash_seed,
        planted,
        ..StoreConfig::default()
    }
}

/// A store and what of the model its readers should see.
struct Subject {
    store: Store,
    reader: StoreReader,
    published: Model,
    applied: Vec<Command>,
}

impl Subject {
    fn new(config: StoreConfig) -> Self {
        let store = Store::new(config);
        Self {
            reader: store.reader(),
            store,
            published: Model::new(),
            applied: Vec::new(),
        }
    }

    fn apply(&mut self, request: &Request) -> Applied {
        let command = command(&self.store, request.clone());
        self.applied.push(command.clone());
        apply_command(&mut self.store, &command)
    }

    /// Applies a command once more; `None` if there is none so far back.
    fn resend(&mut self, back: usize) -> Option<Applied> {
        let at = self.applied.len().checked_sub(back + 1)?;
        let command = self.applied[at].clone();
        Some(apply_command(&mut self.store, &command))
    }

    fn publish(&mut self, model: &Model) {
        self.store.publish();
        self.published = model.clone();
    }
}

fn restored(store: &mut Store, chunk_bytes: usize, config: StoreConfig) -> Store {
    let mut source = store.snapshot();
    let mut restorer = Restorer::new(config);
    while let Some(chunk) = source.next_chunk(chunk_bytes) {
        restorer.push(&chunk).expect("our own bytes");
    }
    restorer.finish().expect("our own bytes")
}

/// Runs the steps on two stores that differ in all that must not matter, and on the model.
fn run(steps: &[Step], planted: Planted) -> Result<(), TestCaseError> {
    let configs = [
        config(MemtableKind::Sharded, 3, 1, planted),
        config(MemtableKind::Locked, 1, 0, planted),
    ];
    let mut model = Model::new();
    let [mut sharded, mut locked] = configs.clone().map(Subject::new);
    for step in steps {
        match step {
            Step::Apply(Request::Txn(txn)) if check_txn(txn, 128).is_err() => {}
            Step::Apply(request) => apply_all(request, &mut model, &mut sharded, &mut locked)?,
            Step::Compact(back) => {
                let request = compact(model.revision() - back);
                apply_all(&request, &mut model, &mut sharded, &mut locked)?;
            }
            Step::Resend(back) => {
                for subject in [&mut sharded, &mut locked] {
                    let applied = subject.resend(*back);
                    prop_assert!(matches!(applied, None | Some(Applied::Duplicate)));
                }
            }
            Step::Publish => {
                sharded.publish(&model);
                locked.publish(&model);
                check_published(&sharded)?;
                // Nothing that a snapshot would leave out is still held.
                let copy = restored(&mut sharded.store, 4096, configs[0].clone());
                prop_assert_eq!(copy.reader().size_bytes(), sharded.reader.size_bytes());
                prop_assert_eq!(sharded.reader.state_hash(), locked.reader.state_hash());
                for revision in 0..=model.revision() {
                    prop_assert_eq!(
                        sharded.reader.hash_kv(revision),
                        locked.reader.hash_kv(revision)
                    );
                }
            }
            Step::Range(range) => {
                for subject in [&sharded, &locked] {
                    let published = &subject.published;
                    prop_assert_eq!(
                        subject.reader.range(range),
                        published.range(range, published.revision(), published.compacted)
                    );
                }
            }
            Step::ReadTxn(txn) => {
                let published = &sharded.published;
                prop_assert_eq!(
                    sharded.reader.read_txn(txn),
                    published.read_txn(txn, published.revision(), published.compacted)
                );
            }
            Step::Restore(chunk_bytes) => {
                let config = configs[0].clone();
                let copy = restored(&mut sharded.store, *chunk_bytes, config);
                sharded.publish(&model);
                prop_assert_eq!(copy.reader().state_hash(), sharded.reader.state_hash());
                // By turns a new store and a new content of the old one.
                if chunk_bytes % 2 == 0 {
                    sharded.reader = copy.reader();
                    sharded.store = copy;
                } else {
                    sharded.store.install(copy);
                }
                check_published(&sharded)?;
            }
        }
    }
    Ok(())
}

fn apply_all(
    request: &Request,
    model: &mut Model,
    sharded: &mut Subject,
    locked: &mut Subject,
) -> Result<(), TestCaseError> {
    let expected = match model.apply(request) {
        Ok(response) => Applied::Response(response),
        Err(error) => Applied::Refused(error),
    };
    prop_assert_eq!(&sharded.apply(request), &expected);
    prop_assert_eq!(&locked.apply(request), &expected);
    prop_assert_eq!(sharded.store.revision(), model.revision());
    prop_assert_eq!(sharded.store.compacted_revision(), model.compacted);
    // Batches of another length must not matter either.
    locked.publish(model);
    Ok(())
}

fn check_published(subject: &Subject) -> Result<(), TestCaseError> {
    let (reader, model) = (&subject.reader, &subject.published);
    prop_assert_eq!(reader.revision(), model.revision());
    prop_assert_eq!(reader.compacted_revision(), model.compacted);
    prop_assert_eq!(reader.applied_index(), subject.store.applied_index());
    prop_assert_eq!(
        reader.key_count() as usize,
        model.keys_at(model.revision()).len()
    );
    let leases: Vec<(i64, i64)> = model.leases.iter().map(|(id, ttl)| (*id, *ttl)).collect();
    prop_assert_eq!(reader.leases(), leases);
    for id in 0..6 {
        let view = reader.lease(id);
        prop_assert_eq!(
            view.as_ref().map(|view| view.granted_ttl_s),
            model.leases.get(&id).copied()
        );
        if let Some(view) = view {
            prop_assert_eq!(view.keys, model.lease_keys(id));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 3000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_response_and_every_read_is_the_model_s(steps in steps(60)) {
        run(&steps, Planted::none())?;
    }
}

/// The model would notice if the store had these defects.
#[cfg(feature = "planted-bugs")]
#[test]
fn planted_defects_of_the_state_are_found() {
    use proptest::test_runner::TestRunner;
    use veridical_planted::PlantedBug;

    for bug in [
        PlantedBug::TornCut,
        PlantedBug::DoubleApply,
        PlantedBug::LeaseKeepsKeys,
        PlantedBug::LimitBeforeSort,
        PlantedBug::CompactionOffByOne,
        PlantedBug::TxnPhantomRevision,
        PlantedBug::SessionOversettled,
        PlantedBug::SnapshotWithoutSessions,
        PlantedBug::RestoreWithoutAttachments,
    ] {
        let config = ProptestConfig {
            cases: 3000,
            failure_persistence: None,
            ..ProptestConfig::default()
        };
        let found = TestRunner::new_with_rng(
            config,
            proptest::test_runner::TestRng::deterministic_rng(
                proptest::test_runner::RngAlgorithm::ChaCha,
            ),
        )
        .run(&steps(60), |steps| run(&steps, Planted::only(bug)));
        assert!(found.is_err(), "{bug} was not found");
    }
}

/// Steps that are drawn at random seldom end a lease with several keys.
#[cfg(feature = "planted-bugs")]
#[test]
fn a_planted_revocation_in_several_revisions_is_found() {
    use veridical_planted::PlantedBug;
    use veridical_proto::etcdserverpb::{LeaseGrantRequest, LeaseRevokeRequest, PutRequest};

    let mut steps = vec![Step::Apply(Request::LeaseGrant(LeaseGrantRequest {
        ttl: 60,
        id: 1,
    }))];
    for key in ["a", "b"] {
        steps.push(Step::Apply(Request::Put(PutRequest {
            key: key.into(),
            lease: 1,
            ..Default::default()
        })));
    }
    steps.push(Step::Apply(Request::LeaseRevoke(LeaseRevokeRequest {
        id: 1,
    })));
    run(&steps, Planted::none()).expect("it is as the model says");
    let planted = Planted::only(PlantedBug::RevokeNotAtomic);
    assert!(run(&steps, planted).is_err(), "the bug did not show");
}
