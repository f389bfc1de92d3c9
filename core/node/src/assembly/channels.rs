//! The queues between the tasks of a member, each with its bound.

use tokio::sync::{mpsc, watch};
use veridical_raft::Raft;

use crate::consensus::driver::{Inputs, Outputs};
use crate::consensus::log_writer::DiskJob;
use crate::leases::service::LeaseFrame;
use crate::limits::Limits;
use crate::membership::directory::Directory;
use crate::peers::transport::Inbound;
use crate::requests::{RaftHandle, Request};
use crate::snapshots::job::{SnapshotEvent, SnapshotJob};
use crate::state_machine::job::ApplyJob;
use crate::status::Status;

/// Events of the snapshot task that wait, for each job that can wait there. They are more
/// than a job produces, so that the task never waits for the driver while the driver waits
/// for it.
const EVENTS_PER_SNAPSHOT_JOB: usize = 16;

/// A bounded queue.
struct Queue<T> {
    sender: mpsc::Sender<T>,
    receiver: mpsc::Receiver<T>,
}

impl<T> Queue<T> {
    fn new(bound: usize) -> Self {
        let (sender, receiver) = mpsc::channel(bound);
        Self { sender, receiver }
    }
}

/// A value of which receivers see the newest.
struct Latest<T> {
    sender: watch::Sender<T>,
    receiver: watch::Receiver<T>,
}

impl<T> Latest<T> {
    fn new(value: T) -> Self {
        let (sender, receiver) = watch::channel(value);
        Self { sender, receiver }
    }
}

/// Both ends of everything that leads from one task of a member to another.
pub(crate) struct Channels {
    inbound: Queue<Inbound>,
    requests: Queue<Request>,
    disk: Queue<DiskJob>,
    apply: Queue<ApplyJob>,
    snapshots: Queue<SnapshotJob>,
    snapshot_events: Queue<SnapshotEvent>,
    lease_frames: Queue<(u64, LeaseFrame)>,
    persisted: Latest<u64>,
    applied: Latest<u64>,
    members: Latest<Directory>,
    status: Latest<Status>,
}

/// The ends of the driver, which all other tasks talk to.
pub(crate) struct DriverEnds {
    pub(crate) inputs: Inputs,
    pub(crate) outputs: Outputs,
}

/// The ends of the other tasks, and of a member's calls.
pub(crate) struct TaskEnds {
    pub(crate) inbound: mpsc::Sender<Inbound>,
    pub(crate) raft: RaftHandle,
    pub(crate) disk_jobs: mpsc::Receiver<DiskJob>,
    pub(crate) apply_jobs: mpsc::Receiver<ApplyJob>,
    pub(crate) snapshots: mpsc::Sender<SnapshotJob>,
    pub(crate) snapshot_jobs: mpsc::Receiver<SnapshotJob>,
    pub(crate) snapshot_events: mpsc::Sender<SnapshotEvent>,
    pub(crate) lease_frames: mpsc::Receiver<(u64, LeaseFrame)>,
    pub(crate) persisted: watch::Sender<u64>,
    pub(crate) applied: watch::Sender<u64>,
    pub(crate) members: watch::Sender<Directory>,
    pub(crate) members_seen: watch::Receiver<Directory>,
    pub(crate) status: watch::Receiver<Status>,
}

impl Channels {
    /// Empty queues with the bounds of `limits`; what is seen at first is as of the applied
    /// entry.
    pub(crate) fn new(
        limits: &Limits,
        raft: &Raft,
        applied_index: u64,
        directory: &Directory,
    ) -> Self {
        Self {
            inbound: Queue::new(limits.max_inbox_messages),
            requests: Queue::new(limits.max_pending_requests),
            disk: Queue::new(limits.max_disk_jobs),
            apply: Queue::new(limits.max_apply_batches),
            snapshots: Queue::new(limits.max_snapshot_jobs),
            snapshot_events: Queue::new(EVENTS_PER_SNAPSHOT_JOB * limits.max_snapshot_jobs),
            lease_frames: Queue::new(limits.max_lease_frames),
            persisted: Latest::new(0),
            applied: Latest::new(applied_index),
            members: Latest::new(directory.clone()),
            status: Latest::new(Status::of(raft)),
        }
    }

    /// Gives each side its ends.
    pub(crate) fn split(self) -> (DriverEnds, TaskEnds) {
        let driver = DriverEnds {
            inputs: Inputs {
                inbound: self.inbound.receiver,
                requests: self.requests.receiver,
                snapshot_events: self.snapshot_events.receiver,
                persisted: self.persisted.receiver,
                applied: self.applied.receiver,
                members: self.members.receiver.clone(),
            },
            outputs: Outputs {
                disk: self.disk.sender,
                apply: self.apply.sender,
                snapshots: self.snapshots.sender.clone(),
                lease_frames: self.lease_frames.sender,
                status: self.status.sender,
            },
        };
        let tasks = TaskEnds {
            inbound: self.inbound.sender,
            raft: RaftHandle::new(self.requests.sender),
            disk_jobs: self.disk.receiver,
            apply_jobs: self.apply.receiver,
            snapshots: self.snapshots.sender,
            snapshot_jobs: self.snapshots.receiver,
            snapshot_events: self.snapshot_events.sender,
            lease_frames: self.lease_frames.receiver,
            persisted: self.persisted.sender,
            applied: self.applied.sender,
            members: self.members.sender,
            members_seen: self.members.receiver,
            status: self.status.receiver,
        };
        (driver, tasks)
    }
}
