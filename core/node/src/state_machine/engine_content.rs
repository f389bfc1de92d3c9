//! What an engine holds of a member: the applied state, and beside it the members and the
//! owner. Here a whole state is written to an engine and read back at the start.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::ops::{Bound, ControlFlow};
use tracing::info;
use veridical_probe::sometimes;
use veridical_raft::SnapshotMeta;
use veridical_storage::engine::{Engine, EngineError, WriteBatch};
use veridical_store::{FEED_PREFIX_END, FeedRestorer, SnapshotSource, Store, StoreConfig};

use crate::assembly::error::StartError;
use crate::codec::{membership_from_bytes, membership_to_bytes};
use crate::config::NodeConfig;
use crate::membership::directory::Directory;

/// Under this key, behind those of the store, lie the members and the term as of the
/// applied index.
pub(crate) const MEMBERS_KEY: &[u8] = &[FEED_PREFIX_END];

/// Puts a whole state in place of the engine's content, in batches of about
/// `batch_bytes`.
pub(crate) fn fill(
    engine: &mut dyn Engine,
    mut source: SnapshotSource,
    members: Bytes,
    batch_bytes: usize,
) -> Result<(), EngineError> {
    let applied_index = source.applied_index();
    engine.begin_replace()?;
    let mut batch = WriteBatch::new();
    batch.put(MEMBERS_KEY, members);
    while let Some((key, value)) = source.next_put() {
        batch.put(key, value);
        if batch.bytes() >= batch_bytes {
            engine.stage(std::mem::take(&mut batch))?;
        }
    }
    engine.stage(batch)?;
    engine.finish_replace(applied_index)?;
    info!(index = applied_index, "filled the engine");
    Ok(())
}

/// A state machine and what else is known of it.
pub(crate) struct AppliedState {
    pub(crate) store: Store,
    /// The last applied entry and the membership as of it.
    pub(crate) meta: SnapshotMeta,
    pub(crate) directory: Directory,
}

/// Decides between the newest snapshot file and the engine: whichever is newer holds the
/// state, and the engine has it afterwards. Tells whether it was the engine's.
pub(crate) fn reconcile(
    engine: &mut dyn Engine,
    config: &NodeConfig,
    store_config: &StoreConfig,
    mut snapshot: AppliedState,
) -> Result<(AppliedState, bool), StartError> {
    let owner = EngineOwner::of(config);
    if let Some(members) = engine.get(MEMBERS_KEY)?
        && engine.applied_index() >= snapshot.meta.index
    {
        let held = load(engine, owner, members, store_config)?;
        return Ok((held, true));
    }
    sometimes!(
        engine.applied_index() > 0,
        "node.engine-behind-the-snapshot-file"
    );
    // It is empty, or a crash came between the file of a received snapshot and its way
    // into the engine.
    let members = owner.members_record(snapshot.meta.term, &snapshot.directory);
    let source = snapshot.store.snapshot();
    snapshot.store.take_feed();
    fill(engine, source, members, config.limits.engine_fill_bytes)?;
    Ok((snapshot, false))
}

fn load(
    engine: &dyn Engine,
    owner: EngineOwner,
    members: Bytes,
    store_config: &StoreConfig,
) -> Result<AppliedState, StartError> {
    let index = engine.applied_index();
    let (meta, directory) = owner.read_members_record(index, members)?;
    let mut restorer = FeedRestorer::new(store_config.clone());
    let mut pushed = Ok(());
    engine.scan(
        Bound::Unbounded,
        Bound::Excluded(MEMBERS_KEY),
        &mut |key, value| {
            pushed = restorer.push(key, value);
            match pushed {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        },
    )?;
    let store = pushed
        .and_then(|()| restorer.finish())
        .map_err(|source| StartError::EngineRestore { index, source })?;
    if store.applied_index() != index {
        let reason = format!(
            "the state is as of entry {}, the content as of {index}",
            store.applied_index()
        );
        return Err(EngineError::Corrupt { reason }.into());
    }
    Ok(AppliedState {
        store,
        meta,
        directory,
    })
}

/// The member whose content an engine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EngineOwner {
    cluster_id: u64,
    member_id: u64,
}

/// Bytes before the membership in the record of the members.
const MEMBERS_HEAD_BYTES: usize = 24;

impl EngineOwner {
    pub(crate) fn of(config: &NodeConfig) -> Self {
        Self {
            cluster_id: config.cluster_id,
            member_id: config.member_id,
        }
    }

    /// The value under [`MEMBERS_KEY`].
    pub(crate) fn members_record(self, term: u64, directory: &Directory) -> Bytes {
        let meta = SnapshotMeta {
            index: 0,
            term,
            membership: directory.membership(),
        };
        let membership = membership_to_bytes(&meta, directory);
        let mut out = BytesMut::with_capacity(MEMBERS_HEAD_BYTES + membership.len());
        out.put_u64_le(self.cluster_id);
        out.put_u64_le(self.member_id);
        out.put_u64_le(term);
        out.put(membership);
        out.freeze()
    }

    fn read_members_record(
        self,
        index: u64,
        mut record: Bytes,
    ) -> Result<(SnapshotMeta, Directory), StartError> {
        if record.len() < MEMBERS_HEAD_BYTES {
            let reason = format!("the record of the members has {} bytes", record.len());
            return Err(EngineError::Corrupt { reason }.into());
        }
        let found = Self {
            cluster_id: record.get_u64_le(),
            member_id: record.get_u64_le(),
        };
        if found != self {
            return Err(StartError::Foreign {
                member_id: found.member_id,
                cluster_id: found.cluster_id,
            });
        }
        let term = record.get_u64_le();
        membership_from_bytes(index, term, record)
            .map_err(|source| StartError::Membership { index, source })
    }
}
