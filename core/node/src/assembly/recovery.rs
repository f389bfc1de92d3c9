//! From a data folder to a member that is ready to run.

use std::path::Path;
use tracing::{error, info, warn};
use veridical_env::{Disk, Environment};
use veridical_planted::PlantedBug;
use veridical_probe::{failpoint, reachable, sometimes};
use veridical_raft::{Config, Entry, HardState, Initial, LogIndex, Payload, Raft, SnapshotMeta};
use veridical_storage::engine::Engine;
use veridical_storage::snapshot::{SnapshotConfig, SnapshotHeader, SnapshotStore};
use veridical_storage::wal::{
    LogEntry, MemberRecord, Recovered, SnapshotMark, Wal, WalConfig, WalRecord,
};
use veridical_store::{Restorer, Store, StoreConfig};

use crate::assembly::error::StartError;
use crate::assembly::lone_member::go_on_alone;
use crate::codec::{entry_from_log, membership_from_bytes, membership_to_bytes};
use crate::config::NodeConfig;
use crate::consensus::log_queue::KeptLog;
use crate::membership::directory::Directory;
use crate::snapshots::task::snapshot_dir;
use crate::state_machine::engine_content::{AppliedState, reconcile};

/// A member's state as of its last moment on disk.
pub(crate) struct RecoveredMember<E: Environment> {
    pub(crate) incarnation: u64,
    pub(crate) wal: Wal<E::Disk>,
    pub(crate) files: SnapshotStore<E::Disk>,
    pub(crate) state: AppliedState,
    /// The newest snapshot file, usable or not.
    pub(crate) newest_file_index: LogIndex,
    pub(crate) raft: Raft,
}

/// Reads the data folder, or begins one.
pub(crate) async fn recover<E: Environment>(
    environment: &E,
    config: &NodeConfig,
    store_config: &StoreConfig,
    raft_config: Config,
    engine: Option<&mut Box<dyn Engine>>,
) -> Result<RecoveredMember<E>, StartError> {
    let disk = environment.disk();
    let wal_dir = config.data_dir.join("wal");
    let snap_dir = snapshot_dir(&config.data_dir);
    disk.create_dir_all(&wal_dir).await?;
    disk.create_dir_all(&snap_dir).await?;
    // What was left unfinished goes first: it may be what fills the disk, and the log needs room
    // for a segment.
    let (files, (mut wal, recovered)) = if config.planted.has(PlantedBug::LeftoversRemovedLate) {
        let log = open_wal(disk, &wal_dir, config).await?;
        (open_snapshots(disk, &snap_dir, config).await?, log)
    } else {
        let files = open_snapshots(disk, &snap_dir, config).await?;
        (files, open_wal(disk, &wal_dir, config).await?)
    };
    if recovered.member.is_none() && files.list().await?.is_empty() && !config.join {
        bootstrap_cluster(&files, config, store_config).await?;
    }
    let newest_file_index = files.list().await?.first().map_or(0, |file| file.index);
    let snapshot = load_snapshot(&files, store_config).await?;
    let (state, kept_entries) = match engine {
        Some(engine) => {
            let (state, of_engine) = reconcile(engine.as_mut(), config, store_config, snapshot)?;
            // A file is there for followers that lack an entry that it covers.
            let kept_entries = config.limits.snapshot_keep_entries * u64::from(of_engine);
            (state, kept_entries)
        }
        None => (snapshot, 0),
    };
    let keep = KeptLog {
        entries: kept_entries,
        bytes: config.limits.snapshot_keep_bytes,
    };
    let (base, entries) = log_around(&state.meta, keep, &recovered, &wal_dir)?;
    let incarnation = begin_incarnation(&mut wal, config, &recovered, &state.meta).await?;
    info!(
        incarnation,
        applied_index = state.meta.index,
        entries = entries.len(),
        revision = state.store.revision(),
        "recovered"
    );
    let mut initial = initial_of(
        &recovered,
        &state.meta,
        base,
        entries,
        environment.random_seed(),
    );
    if config.force_new_cluster {
        let member_id = config.member_id;
        go_on_alone(
            &mut wal,
            member_id,
            &state.directory,
            &mut initial,
            config.planted,
        )
        .await?;
    }
    let raft = Raft::new(raft_config, initial).map_err(|source| StartError::Raft {
        log: wal_dir,
        source,
    })?;
    Ok(RecoveredMember {
        incarnation,
        wal,
        files,
        state,
        newest_file_index,
        raft,
    })
}

/// What Raft begins with: the log around the applied entry, and what it has promised.
fn initial_of(
    recovered: &Recovered,
    applied: &SnapshotMeta,
    base: SnapshotMeta,
    entries: Vec<Entry>,
    seed: u64,
) -> Initial {
    assert!(
        base.index <= applied.index,
        "the log begins after entry {}, entry {} is applied",
        base.index,
        applied.index
    );
    let hard_state = recovered
        .hard_state
        .map_or_else(Default::default, |state| HardState {
            term: state.term,
            vote: (state.vote != 0).then_some(state.vote),
            commit: state.commit,
        });
    Initial {
        hard_state: hard_state_since(hard_state, applied),
        applied: applied.index,
        snapshot: base,
        entries,
        seed,
        // New, or emptied: it cannot tell.
        blank: recovered.hard_state.is_none() && recovered.entries.is_empty() && applied.index == 0,
    }
}

/// Writes to the log, synchronised, that this member lives once more, and returns how many
/// times it has. Before that nothing of this life may leave the member.
async fn begin_incarnation<D: Disk>(
    wal: &mut Wal<D>,
    config: &NodeConfig,
    recovered: &Recovered,
    applied: &SnapshotMeta,
) -> Result<u64, StartError> {
    let reused = config.planted.has(PlantedBug::IncarnationReused);
    let incarnation = recovered
        .member
        .as_ref()
        .map_or(1, |member| member.incarnation + u64::from(!reused));
    let mut records = Vec::new();
    if recovered.snapshot.as_ref().map_or(0, |mark| mark.index) < applied.index {
        reachable!("node.snapshot-was-durable-before-its-mark");
        // A crash came between the snapshot's file and its mark: what follows the
        // snapshot does not follow the log as it is.
        let mark = SnapshotMark {
            index: applied.index,
            term: applied.term,
        };
        records.push(WalRecord::Snapshot(mark));
    }
    records.push(WalRecord::Member(MemberRecord {
        cluster_id: config.cluster_id,
        member_id: config.member_id,
        incarnation,
    }));
    failpoint!("recovery.incarnation.before");
    wal.append(&records).await?;
    if !config.planted.has(PlantedBug::IncarnationUnsynced) {
        wal.sync().await?;
    }
    failpoint!("recovery.incarnation.after");
    Ok(incarnation)
}

async fn open_wal<D: Disk>(
    disk: &D,
    dir: &Path,
    config: &NodeConfig,
) -> Result<(Wal<D>, Recovered), StartError> {
    let wal_config = WalConfig {
        segment_bytes: config.limits.wal_segment_bytes,
        format: config.data_format,
        planted: config.planted,
    };
    let (wal, recovered) = Wal::open(disk.clone(), dir, wal_config).await?;
    if let Some(member) = recovered.member
        && (member.member_id, member.cluster_id) != (config.member_id, config.cluster_id)
    {
        return Err(StartError::Foreign {
            member_id: member.member_id,
            cluster_id: member.cluster_id,
        });
    }
    if let Some(tail) = &recovered.truncated_tail {
        reachable!("node.torn-tail-cut-off-at-the-start");
        warn!(file = %tail.file.display(), offset = tail.offset, bytes = tail.bytes, "cut a torn tail off the log");
    }
    Ok((wal, recovered))
}

async fn open_snapshots<D: Disk>(
    disk: &D,
    dir: &Path,
    config: &NodeConfig,
) -> Result<SnapshotStore<D>, StartError> {
    let snapshot_config = SnapshotConfig {
        cluster_id: config.cluster_id,
        format: config.data_format,
        planted: config.planted,
    };
    let (files, leftovers) = SnapshotStore::open(disk.clone(), dir, snapshot_config).await?;
    if !leftovers.is_empty() {
        reachable!("node.unfinished-snapshot-removed-at-the-start");
        info!(?leftovers, "removed unfinished snapshots");
    }
    Ok(files)
}

/// A bootstrap member begins with a snapshot of index 0 that names all of them, so that
/// later starts do not depend on what they are told, and newcomers can be served from it.
async fn bootstrap_cluster<D: Disk>(
    files: &SnapshotStore<D>,
    config: &NodeConfig,
    store_config: &StoreConfig,
) -> Result<(), StartError> {
    let directory = Directory::new(config.initial_members.clone());
    let meta = SnapshotMeta {
        index: 0,
        term: 0,
        membership: directory.membership(),
    };
    let header = SnapshotHeader {
        index: 0,
        term: 0,
        meta: membership_to_bytes(&meta, &directory),
    };
    let mut writer = files.create(&header).await?;
    let mut empty = Store::new(store_config.clone());
    let mut source = empty.snapshot();
    while let Some(chunk) = source.next_chunk(config.limits.snapshot_chunk_bytes) {
        writer.write_chunk(&chunk).await?;
    }
    writer.finish().await?;
    Ok(())
}

async fn load_snapshot<D: Disk>(
    files: &SnapshotStore<D>,
    store_config: &StoreConfig,
) -> Result<AppliedState, StartError> {
    let newest = files.newest_valid().await?;
    for error in &newest.refused {
        error!(%error, "passed over a damaged snapshot");
    }
    let Some(file) = newest.valid else {
        // Whatever the log says from its first entry on, who the bootstrap members are stands
        // in the first snapshot alone: without it this would be a member of nothing.
        if let Some(damaged) = newest.refused.into_iter().next() {
            reachable!(
                "node.no-snapshot-is-sound",
                rare: "disks keep what was synchronised; the scenario rotten-disk comes by"
            );
            return Err(damaged.into());
        }
        // A member that joins: the leader's snapshot is going to say who the members are.
        return Ok(AppliedState {
            store: Store::new(store_config.clone()),
            meta: SnapshotMeta::default(),
            directory: Directory::default(),
        });
    };
    let mut reader = files.read(&file).await?;
    let header = reader.header().clone();
    let (meta, directory) =
        membership_from_bytes(header.index, header.term, header.meta).map_err(|source| {
            StartError::Membership {
                index: header.index,
                source,
            }
        })?;
    let mut restorer = Restorer::new(store_config.clone());
    let refused = |source| StartError::Restore {
        index: header.index,
        source,
    };
    while let Some(chunk) = reader.next_chunk().await? {
        restorer.push(&chunk).map_err(refused)?;
    }
    Ok(AppliedState {
        store: restorer.finish().map_err(refused)?,
        meta,
        directory,
    })
}

/// The log as Raft begins with it: what it begins after, and its entries. Up to
/// `keep` of them are applied already and kept for followers that lack them.
fn log_around(
    applied: &SnapshotMeta,
    keep: KeptLog,
    recovered: &Recovered,
    log: &Path,
) -> Result<(SnapshotMeta, Vec<Entry>), StartError> {
    let marked = recovered.snapshot.map_or(0, |mark| mark.index);
    let first_index = recovered
        .entries
        .first()
        .map_or(marked + 1, |entry| entry.index);
    if first_index > applied.index + 1 {
        return Err(StartError::Gap {
            log: log.to_owned(),
            first_index,
            snapshot_index: applied.index,
        });
    }
    let decode = |entry: &LogEntry| {
        entry_from_log(entry.clone()).map_err(|source| StartError::Entry {
            log: log.to_owned(),
            index: entry.index,
            source,
        })
    };
    let last_applied = recovered
        .entries
        .iter()
        .position(|entry| (entry.index, entry.term) == (applied.index, applied.term));
    let Some(last_applied) = last_applied else {
        // A state that is newer than a log, or contradicts it, replaces it (Raft paper,
        // section 7): what it holds is committed.
        let follows = first_index == applied.index + 1;
        sometimes!(
            !follows && !recovered.entries.is_empty(),
            "node.state-contradicts-the-log-at-the-start"
        );
        let following: &[LogEntry] = if follows { &recovered.entries } else { &[] };
        let entries = following.iter().map(decode).collect::<Result<_, _>>()?;
        return Ok((applied.clone(), entries));
    };
    let mut base = applied.clone();
    let (mut before, mut before_bytes) = (Vec::new(), 0);
    for pair in recovered.entries[..=last_applied].windows(2).rev() {
        let entry = decode(&pair[1])?;
        // The membership is known as of the applied entry, and as of earlier ones only
        // up to its last change.
        before_bytes += entry.size_bytes();
        if before.len() as u64 >= keep.entries
            || before_bytes > keep.bytes
            || matches!(entry.payload, Payload::Membership(_))
        {
            break;
        }
        (base.index, base.term) = (pair[0].index, pair[0].term);
        before.push(entry);
    }
    before.reverse();
    let mut entries = before;
    sometimes!(
        !entries.is_empty(),
        "node.applied-entries-kept-for-followers-at-the-start"
    );
    for entry in &recovered.entries[last_applied + 1..] {
        entries.push(decode(entry)?);
    }
    Ok((base, entries))
}

/// A snapshot may be newer than the last hard state. (The other way round, a commit
/// index beyond the log, cannot be: it is written behind the entries. Raft refuses it.)
fn hard_state_since(mut hard_state: HardState, snapshot: &SnapshotMeta) -> HardState {
    hard_state.commit = hard_state.commit.max(snapshot.index);
    if hard_state.term < snapshot.term {
        reachable!("node.snapshot-of-a-later-term-than-the-last-vote", rare: "a crash between the file of a received snapshot and the hard state of its term, on a member that did not vote in it");
        hard_state.term = snapshot.term;
        hard_state.vote = None;
    }
    hard_state
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "the log begins after entry 5, entry 3 is applied")]
    fn the_log_begins_at_or_before_what_is_applied() {
        let at = |index| SnapshotMeta {
            index,
            ..SnapshotMeta::default()
        };
        initial_of(&Recovered::default(), &at(3), at(5), Vec::new(), 0);
    }
}
