//! The plan of a run: everything that is decided before it starts.
//!
//! A plan is a pure function of a scenario and a seed, and it can be printed, kept and
//! edited. What the run itself draws (delays, losses, scheduling) comes from streams of
//! the same seed.

mod validity;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;
use veridical_harness::TimedFault;
use veridical_node::Limits;
use veridical_planted::{Planted, PlantedBug};
use veridical_world::{DiskFaults, Fault, NetworkFaults, ProcessId, Schedule};

use crate::forgery::Forgery;
use crate::keyspace::Keyspace;
use crate::transaction::{Keep, PlannedTxn, Query};

/// The version of the written form.
pub const PLAN_FORMAT: u32 = 1;

/// A whole run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// [`PLAN_FORMAT`].
    pub format: u32,
    /// The scenario that it was made by.
    pub scenario: String,
    /// The seed that it was made from; seeds the run's own draws, too.
    pub seed: u64,
    /// The planted bug, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planted: Option<String>,
    /// The bootstrap members of the cluster.
    pub members: u32,
    /// Machines beside theirs, on which no member runs until one is installed there.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub spares: u32,
    /// Settings of all members.
    #[serde(with = "crate::knobs")]
    pub knobs: Limits,
    /// Whether members keep a copy of their state in an engine, which a crash takes back
    /// to its last flush, instead of writing snapshots.
    #[serde(default)]
    pub engine: bool,
    /// The network when no fault is on top of it.
    pub network: NetworkFaults,
    /// Each member's disk when no fault is on top of it.
    pub disk: DiskFaults,
    /// Hosts with clients.
    pub hosts: Vec<HostPlan>,
    /// Watchers.
    pub watchers: Vec<WatcherPlan>,
    /// What is done to the cluster, by time.
    pub faults: Vec<TimedFault>,
    /// Machines whose members begin with the previous version of the data formats.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub previous_format: BTreeSet<u32>,
    /// What the operator does to the cluster, one thing after the other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<PlannedChange>,
    /// What the keys look like.
    #[serde(default, skip_serializing_if = "is_default")]
    pub keyspace: Keyspace,
    /// The length of a few values of each client, in bytes; none is so long if it is 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub large_value_bytes: u32,
    /// What operators ask for who do not wait for each other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hasty: Vec<HastyCall>,
    /// What is done at moments that are observed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub strikes: Vec<Strike>,
    /// That the cluster serves all the time, where nothing in the plan keeps it from that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServicePlan>,
    /// When leases begin that are kept alive through every member until their owner ends
    /// them, in ms.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lease_rounds: Vec<u64>,
    /// When callers whose calls travel in batches make many at once, in ms.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub batch_rounds: Vec<u64>,
    /// When callers of a sharded client are at work, in ms. The shards are clusters of their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shard_rounds: Vec<u64>,
    /// When clients take a lock from each other, in ms; from then on one of them also watches
    /// what everybody writes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hold_rounds: Vec<u64>,
    /// When members are asked for what other clients have no use for, in ms.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub examinations: Vec<u64>,
    /// Who connects to the ports of peers and says nothing of use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub strangers: Vec<Strangers>,
    /// That the majority is lost for good, and the last member goes on alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_majority: Option<LostMajority>,
    /// What is done whenever a new leader appears.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        alias = "hunt" // It was called that in plans that are kept.
    )]
    pub leader_nemesis: Option<LeaderNemesisPlan>,
    /// When all faults end, in ms of simulated time.
    pub heal_at_ms: u64,
    /// How long after that the cluster may take until everything works.
    pub heal_bound_ms: u64,
    /// Machines that stay down when all faults end, until the others have shown that a majority is
    /// enough. See [`Plan::left_out`].
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub last_minority: BTreeSet<u32>,
    /// The run lasts at least until then, in ms.
    pub end_at_ms: u64,
    /// Whether at the very end all members lose their power at once, and what was
    /// acknowledged has to be there afterwards.
    #[serde(default)]
    pub last_power_failure: bool,
    /// How long a member that stopped by itself stays down, in ms.
    pub restart_delay_ms: u64,
    /// By how much members' clocks may run wrong before leases are not promised any
    /// more, in millionths.
    pub claimed_drift_ppm: u64,
    /// The member whose disk decays, if one does: it may refuse to go on with what it finds
    /// there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotten_member: Option<u32>,
    /// What is altered in the files of that member, with right checksums, in the order of time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forgeries: Vec<Forgery>,
    /// The seed of the scheduler, if it is not the one that follows from the run's seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule_seed: Option<u64>,
    /// In which order tasks run and messages arrive.
    #[serde(default, skip_serializing_if = "Schedule::is_uniform")]
    pub schedule: Schedule,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// A change of the cluster and when it begins, at the earliest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedChange {
    /// In ms of simulated time.
    pub at_ms: u64,
    /// What the operator does.
    pub change: Change,
    /// At the moment when something is asked of the leader for it, the leader is cut off from
    /// the other members, for so many ms: what it has put into its log is lost, as a rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut_leader_ms: Option<u64>,
}

impl PlannedChange {
    /// A change that is asked for in peace.
    pub fn new(at_ms: u64, change: Change) -> Self {
        Self {
            at_ms,
            change,
            cut_leader_ms: None,
        }
    }
}

/// What an operator does to the cluster. What makes no sense by the time that it is
/// its turn, or would leave too few voters, is left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Change {
    /// A member learns for a while on a machine that has none, and is removed again.
    Trial {
        /// On this machine.
        site: u32,
        /// For so many ms.
        learns_ms: u64,
    },
    /// Installs a member on a machine that has none: it is added as a learner, and
    /// promoted once it has caught up.
    Join {
        /// On this machine.
        site: u32,
    },
    /// Removes a member.
    Leave {
        /// The member.
        who: Who,
        /// Its machine is switched off before.
        #[serde(default)]
        power_off: bool,
    },
    /// Replaces a member by one on another machine.
    Replace {
        /// The member that is replaced.
        who: Who,
        /// The other machine.
        by: u32,
        /// Its machine is cut off from everybody meanwhile, for so many ms.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cut_ms: Option<u64>,
        /// The newcomer votes before the other one leaves.
        #[serde(default)]
        add_first: bool,
    },
    /// Leadership is handed to the member of a machine.
    HandOver {
        /// The machine.
        to: u32,
    },
    /// Tells a member to end, as SIGTERM does; it is started again.
    Terminate {
        /// Which.
        who: Who,
    },
    /// Restarts the member of a machine with another version of the data formats: a step of
    /// a rolling upgrade or downgrade.
    Reformat {
        /// The machine.
        site: u32,
        /// The previous version; the current one otherwise.
        #[serde(default)]
        previous: bool,
    },
    /// The disk of a machine is lost. A voter must not forget what it promised, so the
    /// member is removed, and the machine joins again under a new id.
    Wipe {
        /// The member of that machine.
        who: Who,
    },
}

impl Change {
    /// The same change where machines have other numbers, or are missing (`None`);
    /// nothing if it concerned those.
    #[must_use]
    pub fn renumbered(mut self, number: impl Fn(ProcessId) -> Option<ProcessId>) -> Option<Self> {
        let site = |site: u32| number(ProcessId(site)).map(|process| process.0);
        match &mut self {
            Self::Join { site: by }
            | Self::Trial { site: by, .. }
            | Self::Replace { by, .. }
            | Self::HandOver { to: by }
            | Self::Reformat { site: by, .. } => {
                *by = site(*by)?;
            }
            Self::Leave { .. } | Self::Wipe { .. } | Self::Terminate { .. } => {}
        }
        match &mut self {
            Self::Leave { who, .. }
            | Self::Replace { who, .. }
            | Self::Wipe { who }
            | Self::Terminate { who } => {
                if let Who::Site(number) = who {
                    *number = site(*number)?;
                }
            }
            Self::Join { .. }
            | Self::Trial { .. }
            | Self::HandOver { .. }
            | Self::Reformat { .. } => {}
        }
        Some(self)
    }
}

/// A member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Who {
    /// Whoever led last.
    Leader,
    /// The one on this machine.
    Site(u32),
}

/// A call of an operator who does not wait for the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HastyCall {
    /// When it is made, in ms of simulated time.
    pub at_ms: u64,
    /// Which member is asked.
    pub asked: Who,
    /// What for.
    pub call: AdminCall,
    /// After so many ms the caller gives up.
    pub patience_ms: u64,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum AdminCall {
    /// Adds a member under the address of a machine, which may not exist.
    Add {
        /// The machine.
        machine: u32,
        /// It learns; otherwise it votes from the beginning.
        is_learner: bool,
    },
    /// Removes a member.
    Remove {
        /// Which.
        whom: Whom,
    },
    /// Makes a learner a voter.
    Promote {
        /// Which.
        whom: Whom,
    },
    /// Hands leadership over.
    HandOver {
        /// To whom.
        whom: Whom,
    },
    /// Starts the newcomer that was added under the address of a machine, if there is one and
    /// the machine is free.
    Start {
        /// The machine.
        machine: u32,
    },
}

/// Whom a call names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Whom {
    /// A bootstrap member, by its machine.
    BootstrapMember(u32),
    /// One of those that were added later and are members now, counted from the first.
    Newcomer(u32),
    /// A member that there never was.
    Nobody,
    /// The id 0, which nobody can have.
    Zero,
}

/// Something that is done at a moment which lasts for milliseconds, and which no timetable meets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Strike {
    /// From when on the moment is waited for, in ms of simulated time.
    pub from_ms: u64,
    /// Which moment.
    pub moment: Moment,
    /// How long after it something is done, in µs.
    #[serde(default)]
    pub after_us: u64,
    /// What.
    pub act: Act,
}

/// A moment in the life of a member, as it is observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
    /// A leader has just put a configuration entry into its log; it is not committed.
    ConfigurationUncommitted,
    /// A member has just asked for a read index; its readers wait.
    ReadIndexAsked,
}

/// What is done at an observed moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Act {
    /// A member is cut off from all others.
    Cut {
        /// Which.
        whose: Whose,
        /// For so many ms.
        duration_ms: u64,
    },
    /// A member loses its power.
    Crash {
        /// Which.
        whose: Whose,
        /// After how many ms it is started again.
        restart_after_ms: u64,
    },
    /// One task of a member gets no time.
    Hold {
        /// Whose.
        whose: Whose,
        /// Its number.
        task: u32,
        /// For so many ms.
        duration_ms: u64,
    },
    /// An impatient operator asks the leader for something.
    Ask {
        /// What for.
        call: AdminCall,
    },
}

/// A member, seen from a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Whose {
    /// The one whose moment it is.
    Own,
    /// Whoever led last.
    Leader,
}

/// The disks of all members but one are lost, and that one is told to go on alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LostMajority {
    /// When the others are lost, in ms of simulated time, once all members have the same.
    pub at_ms: u64,
    /// The machine of the one that is left.
    pub survivor: u32,
    /// When it is started to go on alone.
    pub alone_at_ms: u64,
    /// One of the others that comes back with what was on its disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_member: Option<OldMember>,
}

/// A member that was given up, and comes back for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OldMember {
    /// Its machine.
    pub site: u32,
    /// When it comes back, in ms of simulated time.
    pub at_ms: u64,
    /// How long it stays, in ms.
    pub for_ms: u64,
}

/// A crowd of strangers at the port of peers of one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Strangers {
    /// When they come, in ms of simulated time.
    pub at_ms: u64,
    /// The machine of the member.
    pub site: u32,
    /// How many connections they keep open, or open anew.
    pub connections: u32,
    /// For how long, in ms.
    pub for_ms: u64,
}

/// A client that writes all the time, and how long it may have to wait for the next
/// acknowledgement until the faults end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServicePlan {
    /// From an acknowledgement to the next write, in ms.
    pub write_every_ms: u64,
    /// From an acknowledgement to the next one, in percent of an election timeout.
    pub gap_max_percent: u64,
    /// The client that writes is told of one member alone, and asks the cluster for the others.
    #[serde(default)]
    pub discovers: bool,
}

/// A nemesis that follows leaders: shortly after a member has become leader, something is done to
/// it or to those who elected it. Logs diverge and terms rise, which is what the subtle
/// rules of Raft are for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaderNemesisPlan {
    /// When it begins, in ms.
    pub from_ms: u64,
    /// After the election the nemesis waits for an exponentially distributed time of this
    /// mean, in ms.
    pub delay_mean_ms: u64,
    /// The probability that the nemesis waits instead until the leader has committed
    /// something, and strikes at that moment: what was just acknowledged has the fewest
    /// copies.
    #[serde(default)]
    pub commit_probability: f64,
    /// How long a leader is cut off from the other members, on average, in ms.
    pub cut_mean_ms: u64,
    /// The probability that another member is cut off together with it, if it is left in a
    /// minority all the same: then somebody still confirms what it says.
    #[serde(default)]
    pub companion_probability: f64,
    /// The probability that the leader crashes instead.
    pub crash_probability: f64,
    /// The probability that another member crashes and restarts at once, too.
    pub voter_crash_probability: f64,
    /// The probability that the cuts of former leaders end with the new one.
    pub heal_probability: f64,
    /// The probability that a leader is left alone.
    pub spare_probability: f64,
    /// Only these elections are followed, by their numbers from 0; all if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elections: Option<BTreeSet<u64>>,
}

/// A machine with clients that share a connection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostPlan {
    /// The member that it talks to first.
    pub first_member: u32,
    /// Whether requests are sent again where that is safe; otherwise each is tried once.
    pub retries: bool,
    /// A request with all its retries, in ms.
    pub request_timeout_ms: u64,
    /// The length of the values that it writes, in bytes; the shortest that tell them
    /// apart if that is more.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub value_bytes: u32,
    /// How operations of its clients travel together, if they do; only with retries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batches: Option<BatchPlan>,
    /// Its clients; each does one operation after the other.
    #[serde(alias = "lanes")] // They were called that in plans that are kept.
    pub clients: Vec<Vec<PlannedOp>>,
}

/// How operations travel together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchPlan {
    /// Operations in one batch.
    pub operations_max: u32,
    /// Bytes in one batch.
    pub bytes_max: u32,
    /// Batches of reads, and of writes, that are under way at once.
    pub in_flight_max: u32,
    /// How long an operation waits for company beside another batch, in ms.
    pub delay_max_ms: u64,
}

/// A watcher: it follows a range and resumes when its stream breaks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WatcherPlan {
    /// The member that it watches first.
    pub first_member: u32,
    /// When it begins, in ms.
    pub start_at_ms: u64,
    /// The first key, and the first one that is not watched any more.
    pub keys: (u32, u32),
    /// Whether it begins with the first revision of all; otherwise with the present one.
    pub from_beginning: bool,
    /// Ask for the pairs as they were before.
    pub prev_kv: bool,
    /// Leave deletions out.
    pub no_delete: bool,
    /// Leave puts out.
    #[serde(default)]
    pub no_put: bool,
    /// Take large revisions in fragments.
    #[serde(default)]
    pub fragment: bool,
    /// Ask for progress notifications.
    pub progress: bool,
    /// Ask how far it is this often, in ms (`WatchProgressRequest`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask_progress_ms: Option<u64>,
    /// A second watch on the same stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside: Option<BesidePlan>,
}

/// A watch beside another one on the same stream: it is made and canceled by turns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BesidePlan {
    /// The first key, and the first one that is not watched any more;
    /// [`TO_THE_END`](crate::keyspace::TO_THE_END) for all others.
    pub keys: (u32, u32),
    /// How many revisions before the newest that its stream was shown it begins.
    pub back: i64,
    /// Ask for the pairs as they were before.
    pub prev_kv: bool,
    /// How long it lasts, and how long until it is made again, in ms.
    pub period_ms: u64,
    /// It watches one key that nobody writes, and that the first one begins with.
    #[serde(default)]
    pub of_prefix: bool,
}

impl BesidePlan {
    /// The first key of the range.
    pub fn key(&self, keyspace: Keyspace) -> Bytes {
        match self.of_prefix {
            true => keyspace.neighbour(self.keys.0),
            false => keyspace.key(self.keys.0),
        }
    }

    /// The end of the range; of a single key there is none.
    pub fn range_end(&self, keyspace: Keyspace) -> Bytes {
        if self.of_prefix || self.keys.1 == self.keys.0 + 1 {
            Bytes::new()
        } else {
            keyspace.range_end(self.keys.1)
        }
    }
}

/// An operation of a client, and how long it thinks before it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedOp {
    /// In ms.
    pub after_ms: u64,
    /// Not before this time of the run, in ms; so it stays in its place when what came
    /// before it is taken out of the plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_ms: Option<u64>,
    /// What the client does.
    pub op: Op,
}

/// An operation. Keys are numbers; what depends on answers that came before (revisions,
/// lease ids) is filled in when it runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Op {
    /// Write a key.
    Put {
        /// The key.
        key: u32,
        /// Ask for the pair before.
        prev_kv: bool,
        /// Attach it to the client's lease of that number, if it has one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lease: Option<u8>,
    },
    /// Read a key.
    Get {
        /// The key.
        key: u32,
        /// From the member's own state.
        serializable: bool,
    },
    /// Read a range.
    Range {
        /// The first key.
        from: u32,
        /// The first one that is not wanted.
        to: u32,
        /// At most so many; 0 for all.
        limit: i64,
        /// So many revisions before the newest that the client has seen; 0 for now, a negative
        /// number for the future, which is refused.
        back: i64,
        /// Only count.
        count_only: bool,
        /// Only keys.
        keys_only: bool,
        /// By revision of the last change, descending, instead of by key.
        newest_first: bool,
        /// From the member's own state.
        serializable: bool,
    },
    /// Write a key if it is as the client saw it last, else read it.
    CompareAndSwap {
        /// The key.
        key: u32,
    },
    /// Write the same value to two keys at once.
    PutBoth {
        /// One.
        first: u32,
        /// The other.
        second: u32,
    },
    /// Read two keys at once.
    GetBoth {
        /// One.
        first: u32,
        /// The other.
        second: u32,
        /// The second one from the member's own state, if it wants to.
        #[serde(default)]
        serializable: bool,
    },
    /// Delete a key.
    Delete {
        /// The key.
        key: u32,
        /// Ask for the pair before.
        prev_kv: bool,
    },
    /// Delete a range.
    DeleteRange {
        /// The first key.
        from: u32,
        /// The first one that stays.
        to: u32,
        /// Ask for the pairs before.
        #[serde(default)]
        prev_kv: bool,
    },
    /// Forget history up to so many revisions before the newest that the client has seen;
    /// a negative number asks for the future, which is refused.
    Compact {
        /// The number of revisions.
        back: i64,
    },
    /// Get a lease.
    LeaseGrant {
        /// The client's number for it.
        slot: u8,
        /// Its time to live in seconds.
        ttl_s: i64,
    },
    /// Renew a lease.
    LeaseKeepAlive {
        /// The client's number for it.
        slot: u8,
    },
    /// Renew a lease around the time at which it ends, by the client's own clock.
    LeaseKeepAliveLate {
        /// The client's number for it.
        slot: u8,
        /// So many ms after its end; a negative number is before it.
        late_ms: i64,
    },
    /// End a lease.
    LeaseRevoke {
        /// The client's number for it.
        slot: u8,
    },
    /// End a lease, and then the same one again.
    LeaseRevokeAgain {
        /// The client's number for it.
        slot: u8,
    },
    /// Ask for a lease by the number of one that the client has.
    LeaseGrantAgain {
        /// The client's number for it.
        slot: u8,
        /// Its time to live in seconds.
        ttl_s: i64,
    },
    /// Ask how long a lease lasts, and for its keys.
    LeaseTimeToLive {
        /// The client's number for it.
        slot: u8,
        /// Whether its keys are wanted, too.
        keys: bool,
    },
    /// Ask which leases there are.
    LeaseLeases,
    /// Write a key of which something is kept as it is.
    PutKeeping {
        /// The key.
        key: u32,
        /// What is kept.
        keep: Keep,
        /// Ask for the pair before.
        prev_kv: bool,
    },
    /// Read a range, sorted or filtered in any way.
    Query(Query),
    /// Compare, and then do one thing or another.
    Txn(PlannedTxn),
}

impl Plan {
    /// The machines that stay down when all faults end. None where it is not known who the voters
    /// are then, or whether all others have what they promised.
    pub fn left_out(&self) -> BTreeSet<u32> {
        let asks = |strike: &Strike| matches!(strike.act, Act::Ask { .. });
        let is_certain = self.spares == 0
            && self.hasty.is_empty()
            && !self.strikes.iter().any(asks)
            && self.rotten_member.is_none()
            && self.lost_majority.is_none()
            && self.last_minority.len() < self.members.div_ceil(2) as usize;
        match is_certain {
            true => self.last_minority.clone(),
            false => BTreeSet::new(),
        }
    }

    /// What members and clients carry of the planted bug.
    pub fn planted(&self) -> Planted {
        self.planted
            .as_deref()
            .and_then(PlantedBug::from_name)
            .map_or_else(Planted::none, Planted::only)
    }

    /// How many operations clients are to do.
    pub fn operations(&self) -> usize {
        self.hosts
            .iter()
            .flat_map(|host| &host.clients)
            .map(Vec::len)
            .sum()
    }

    /// Machines that have a member, or may get one.
    pub fn sites(&self) -> u32 {
        self.members + self.spares
    }

    /// Whether members find their disks without what they had synchronised.
    pub fn loses_disks(&self) -> bool {
        let loses = |timed: &TimedFault| {
            matches!(
                timed.fault,
                Fault::WipeDisk { .. } | Fault::RestoreDisk { .. }
            )
        };
        self.faults.iter().any(loses)
    }

    /// Whether bits and bytes of a disk change at random: then nothing can be said of what it
    /// had called durable, since the end of a log cannot be told from a torn one.
    pub fn disk_decays(&self) -> bool {
        let decays = |timed: &TimedFault| {
            let reads_go_wrong = timed.fault.clone().disk_faults_mut().is_some_and(|faults| {
                faults.read_flip_probability > 0.0 || faults.misdirected_read_probability > 0.0
            });
            reads_go_wrong || matches!(timed.fault, Fault::BitRot { .. } | Fault::Decay { .. })
        };
        self.faults.iter().any(decays)
    }

    /// When all faults end.
    pub fn heal_at(&self) -> Duration {
        Duration::from_millis(self.heal_at_ms)
    }
}
