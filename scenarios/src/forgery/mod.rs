//! Decay that knows the formats: a field of a stored record is altered, or two records are
//! exchanged, and the checksums are made right again. One sort leaves the checksum wrong: only
//! what has a wrong one can pass for a write that was torn.
//!
//! What has a right checksum and a possible content cannot be told from what was written, if
//! there is no second copy to compare it with: another byte in the value of the newest entry, for
//! one. Here is only done what *can* be known, and so it has to be: the member refuses to start
//! and says what is wrong where, or it behaves as if nothing had happened.

#[cfg(any(madsim, test))]
mod alteration;
#[cfg(any(madsim, test))]
mod log_file;
#[cfg(any(madsim, test))]
mod log_records;
#[cfg(any(madsim, test))]
mod snapshot_file;
#[cfg(any(madsim, test))]
mod snapshot_records;

use serde::{Deserialize, Serialize};

/// A forgery of a plan: the member whose disk decays is killed, its files are altered, and it
/// starts again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forgery {
    /// When, in ms of simulated time.
    pub at_ms: u64,
    /// What is altered.
    pub what: Forged,
    /// Seeds the choice of the place, among those that there are by then.
    pub draw: u64,
}

/// What is altered, and by what that can be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Forged {
    /// A byte of a record in a segment that is not the last: the next one names it by a
    /// checksum.
    ClosedRecord,
    /// Two records of such a segment, exchanged: by the same.
    ClosedExchange,
    /// The index of an entry: it follows none.
    EntryIndex,
    /// The term of an entry: it falls along the log.
    EntryTerm,
    /// The term of a hard state: an earlier one has a greater one.
    HardStateTerm,
    /// The vote of a hard state becomes another one or none: an earlier one of the same term has
    /// one.
    Vote,
    /// How often the member has started: an earlier record says more.
    Incarnation,
    /// Whose log it is: an earlier record says otherwise.
    Owner,
    /// The kind of a record: there is none of this number.
    Kind,
    /// The length of a record: its kind has another one.
    Length,
    /// How much a record says to be durable: more than what lies before it.
    Claim,
    /// A bit of a record that more records of its batch follow, and its checksum stays wrong: a
    /// later batch, which is durable itself, says it to be durable.
    TornInside,
    /// A field of the header of the last segment: it contradicts the segments before it, or
    /// the frames behind it.
    SegmentHeader,
    /// A byte of the data of a snapshot: the footer has a checksum over all.
    SnapshotData,
    /// Two chunks of a snapshot, exchanged: by the same.
    SnapshotExchange,
    /// How many chunks a snapshot has.
    SnapshotCount,
    /// Of which entry a snapshot is: its name says otherwise.
    SnapshotPlace,
    /// Of which cluster a snapshot is.
    SnapshotCluster,
}

impl Forged {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::ClosedRecord,
        Self::ClosedExchange,
        Self::EntryIndex,
        Self::EntryTerm,
        Self::HardStateTerm,
        Self::Vote,
        Self::Incarnation,
        Self::Owner,
        Self::Kind,
        Self::Length,
        Self::Claim,
        Self::TornInside,
        Self::SegmentHeader,
        Self::SnapshotData,
        Self::SnapshotExchange,
        Self::SnapshotCount,
        Self::SnapshotPlace,
        Self::SnapshotCluster,
    ];

    /// The counter of those that were done.
    pub const fn counter(self) -> &'static str {
        match self {
            Self::ClosedRecord => "forgery.closed_record",
            Self::ClosedExchange => "forgery.closed_exchange",
            Self::EntryIndex => "forgery.entry_index",
            Self::EntryTerm => "forgery.entry_term",
            Self::HardStateTerm => "forgery.hard_state_term",
            Self::Vote => "forgery.vote",
            Self::Incarnation => "forgery.incarnation",
            Self::Owner => "forgery.owner",
            Self::Kind => "forgery.kind",
            Self::Length => "forgery.length",
            Self::Claim => "forgery.claim",
            Self::TornInside => "forgery.torn_inside",
            Self::SegmentHeader => "forgery.segment_header",
            Self::SnapshotData => "forgery.snapshot_data",
            Self::SnapshotExchange => "forgery.snapshot_exchange",
            Self::SnapshotCount => "forgery.snapshot_count",
            Self::SnapshotPlace => "forgery.snapshot_place",
            Self::SnapshotCluster => "forgery.snapshot_cluster",
        }
    }
}

#[cfg(madsim)]
mod simulated {
    use std::sync::Arc;
    use std::time::Duration;
    use veridical_harness::timed_fault::sleep_until;
    use veridical_world::{CrashKind, Fault, World};

    use crate::cluster::Cluster;
    use crate::observer::Observer;
    use crate::plan::Plan;

    /// How long the member is down, in ms: its files are altered meanwhile.
    const DOWN_MS: u64 = 5;

    /// Carries out the forgeries of a plan, one after the other.
    pub async fn forge(world: World, cluster: Cluster, observer: Observer, plan: Arc<Plan>) {
        let Some(site) = plan.rotten_member else {
            return;
        };
        let process = cluster.process(site);
        for forgery in &plan.forgeries {
            sleep_until(&world, Duration::from_millis(forgery.at_ms)).await;
            world.inject(&Fault::Crash {
                process,
                kind: CrashKind::Kill,
                restart_after_ms: Some(DOWN_MS),
            });
            let read_files = |suffix: &str| world.read_files(process, suffix);
            if let Some(altered) = forgery.alteration(read_files) {
                world.forge_file(process, &altered.file, altered.offset, &altered.bytes);
                observer.count(forgery.what.counter());
            }
        }
    }
}

#[cfg(madsim)]
pub use simulated::forge;

#[cfg(all(test, not(madsim)))]
mod tests;
