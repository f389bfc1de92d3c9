//! The task that owns Raft: it feeds ticks, messages and requests in and processes the
//! effects for the log, the state machine and the peers.
//!
//! What belongs to one topic is kept by a part of its own (proposals, reads, leases,
//! membership, snapshots, the log); this file is the loop that calls them in order.

use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tracing::{debug, info};
use veridical_env::{Clock, Environment};
use veridical_probe::{failpoint, queue, reachable};
use veridical_proto::peer::peer_frame::Body;
use veridical_raft::{
    Raft, Ready, Role, SnapshotMeta, SnapshotOutcome, SoftState, StepError, TransferError,
};
use veridical_store::ApiError;

use crate::config::ms;
use crate::consensus::log_queue::{KeptLog, LogQueue};
use crate::consensus::log_writer::DiskJob;
use crate::handles::Handles;
use crate::leases::handover::LeaseHandover;
use crate::leases::service::LeaseFrame;
use crate::limits::Limits;
use crate::membership::directory::Directory;
use crate::membership::tracker::{MEMBERSHIP_CHANGES_MAX, MembershipTracker};
use crate::observe::NodeObserver;
use crate::peers::transport::{Inbound, Transport};
use crate::proposals::dispatcher::Dispatcher;
use crate::proposals::table::Proposals;
use crate::reads::rounds::ReadRounds;
use crate::reads::waiters::answer;
use crate::requests::Request;
use crate::snapshots::coordinator::SnapshotCoordinator;
use crate::snapshots::job::{SnapshotEvent, SnapshotJob};
use crate::state_machine::job::ApplyJob;
use crate::status::Status;
use crate::stop::{Stop, StopReason};

/// The channels that lead to the driver.
pub(crate) struct Inputs {
    pub(crate) inbound: mpsc::Receiver<Inbound>,
    pub(crate) requests: mpsc::Receiver<Request>,
    pub(crate) snapshot_events: mpsc::Receiver<SnapshotEvent>,
    pub(crate) persisted: watch::Receiver<u64>,
    pub(crate) applied: watch::Receiver<u64>,
    pub(crate) members: watch::Receiver<Directory>,
}

/// The channels that lead from it.
pub(crate) struct Outputs {
    pub(crate) disk: mpsc::Sender<DiskJob>,
    pub(crate) apply: mpsc::Sender<ApplyJob>,
    pub(crate) snapshots: mpsc::Sender<SnapshotJob>,
    pub(crate) lease_frames: mpsc::Sender<(u64, LeaseFrame)>,
    pub(crate) status: watch::Sender<Status>,
}

/// Owns Raft.
pub(crate) struct Driver<E: Environment> {
    raft: Raft,
    limits: Limits,
    clock: E::Clock,
    stop: Stop,
    observer: Option<Arc<dyn NodeObserver>>,
    // The queues close in this order when the member stops.
    inputs: Inputs,
    log: LogQueue,
    apply: mpsc::Sender<ApplyJob>,
    snapshots: SnapshotCoordinator,
    lease_frames: mpsc::Sender<(u64, LeaseFrame)>,
    transport: Transport<E>,
    status: watch::Sender<Status>,
    proposals: Proposals,
    dispatcher: Dispatcher<E>,
    reads: ReadRounds,
    leases: LeaseHandover,
    membership: MembershipTracker<E>,
    /// The last applied index that Raft was told.
    applied_index: u64,
    /// It has not reached a majority since its start.
    is_new: bool,
}

impl<E: Environment> Driver<E> {
    /// `newest_file_index` is that of the newest snapshot file, usable or not.
    pub(crate) fn new(
        handles: &Handles<E>,
        raft: Raft,
        inputs: Inputs,
        outputs: Outputs,
        newest_file_index: u64,
    ) -> Self {
        let limits = handles.config.limits.clone();
        let applied_index = *inputs.applied.borrow();
        Self {
            clock: handles.environment.clock().clone(),
            stop: handles.stop.clone(),
            observer: handles.config.observer.clone(),
            transport: handles.transport.clone(),
            proposals: handles.proposals.clone(),
            applied_index,
            is_new: true,
            inputs,
            log: LogQueue::new(outputs.disk),
            dispatcher: Dispatcher::new(handles),
            reads: ReadRounds::new(handles),
            leases: LeaseHandover::new(handles),
            membership: MembershipTracker::new(handles),
            snapshots: SnapshotCoordinator::new(
                outputs.snapshots,
                outputs.apply.clone(),
                limits.install_read_ahead_chunks,
                newest_file_index,
            ),
            apply: outputs.apply,
            lease_frames: outputs.lease_frames,
            status: outputs.status,
            raft,
            limits,
        }
    }

    /// Drives Raft until the member stops.
    pub(crate) async fn run(mut self) {
        let stop = self.stop.clone();
        tokio::select! {
            biased;
            _ = stop.stopped() => {}
            () = self.drive() => {}
        }
        self.leases.stop(self.clock.monotonic());
        let stopped = ApiError::stopped();
        self.proposals.close(&stopped);
        if let Some(observer) = &self.observer {
            observer.proposals_closed(self.raft.id());
        }
        self.reads.close(&stopped);
    }

    async fn drive(&mut self) {
        let tick = ms(self.limits.heartbeat_ms);
        let turn_inputs = self.limits.max_turn_inputs;
        let clock = self.clock.clone();
        let mut timer = Box::pin(clock.sleep(tick));
        if self.raft.membership().voters.len() == 1
            && self.raft.membership().voters.contains(&self.raft.id())
        {
            // Nobody else could be leading.
            self.raft.campaign();
        }
        let mut inbound = Vec::new();
        let mut requests = Vec::new();
        loop {
            self.process_readys().await;
            self.note_queues();
            tokio::select! {
                biased;
                () = &mut timer => {
                    timer = Box::pin(clock.sleep(tick));
                    self.raft.tick();
                    self.on_tick();
                }
                changed = self.inputs.persisted.changed() => {
                    if changed.is_err() { return }
                    self.on_persisted();
                }
                changed = self.inputs.applied.changed() => {
                    if changed.is_err() { return }
                    self.on_applied();
                }
                changed = self.inputs.members.changed() => {
                    if changed.is_err() { return }
                    let directory = self.inputs.members.borrow_and_update().clone();
                    self.membership.follow(&self.raft, &directory);
                }
                event = self.inputs.snapshot_events.recv() => {
                    let Some(event) = event else { return };
                    self.on_snapshot(event).await;
                }
                taken = self.inputs.inbound.recv_many(&mut inbound, turn_inputs) => {
                    if taken == 0 { return }
                    for message in inbound.drain(..) {
                        self.on_inbound(message);
                    }
                }
                taken = self.inputs.requests.recv_many(&mut requests, turn_inputs) => {
                    if taken == 0 { return }
                    // Those who are about to ask, too, get their turn first: what comes together
                    // is one round, and one group commit.
                    tokio::task::yield_now().await;
                    while requests.len() < turn_inputs {
                        let Ok(request) = self.inputs.requests.try_recv() else { break };
                        requests.push(request);
                    }
                    self.on_requests(requests.drain(..));
                }
            }
        }
    }

    fn on_tick(&mut self) {
        if self.is_new && self.reaches_a_majority() {
            self.is_new = false;
            self.raft.shorten_first_election_timeout();
        }
        if self.membership.has_leaving() {
            let directory = self.inputs.members.borrow().clone();
            self.membership.drop_removed_peers(&self.raft, &directory);
        }
        self.retry();
    }

    /// Whether this member and those that have opened connections to it are a majority.
    fn reaches_a_majority(&self) -> bool {
        let (own_id, membership) = (self.raft.id(), self.raft.membership());
        let reached = membership
            .voters
            .iter()
            .filter(|voter| **voter == own_id || self.transport.is_called_by(**voter));
        reached.count() >= membership.quorum()
    }

    /// Brings proposals and read requests to the leader that have not got there.
    fn retry(&mut self) {
        let now = self.clock.monotonic();
        self.dispatcher.dispatch_due(&mut self.raft, now);
        self.reads.retry_read_index(&mut self.raft, now);
    }

    fn on_persisted(&mut self) {
        let written = *self.inputs.persisted.borrow_and_update();
        self.log.settle_persisted(&mut self.raft, written);
    }

    fn on_applied(&mut self) {
        let index = *self.inputs.applied.borrow_and_update();
        assert!(
            (self.applied_index..=self.raft.commit_index()).contains(&index),
            "entry {index} is applied, after {}, and {} is committed",
            self.applied_index,
            self.raft.commit_index()
        );
        self.applied_index = index;
        self.raft.applied(index);
        self.dispatcher.applied(index);
        self.leases
            .applied(&self.raft, index, self.clock.monotonic());
        self.publish_status();
    }

    fn on_requests(&mut self, requests: impl Iterator<Item = Request>) {
        let now = self.clock.monotonic();
        let mut readers = Vec::new();
        for request in requests {
            match request {
                Request::Propose { sequence, command } => {
                    self.dispatcher
                        .dispatch(&mut self.raft, sequence, command, now);
                }
                Request::ProposeInTerm { term, command } => {
                    if self.leads(term) {
                        // Whether it is taken shows when it is applied; the lease clock
                        // asks again otherwise.
                        let _ = self.raft.propose(command);
                    } else {
                        reachable!("node.lease-expired-when-its-leader-was-deposed");
                    }
                }
                Request::Read { reply } if self.reads.has_room(readers.len()) => {
                    readers.push(reply);
                }
                Request::Read { reply } => {
                    reachable!("node.read-refused-at-the-bound");
                    answer(vec![reply], &Err(ApiError::too_many_requests()));
                }
                Request::Confirm { term, reply } => {
                    if !self.leads(term) {
                        answer(vec![reply], &Err(ApiError::not_leader()));
                    } else if self.reads.has_room(readers.len()) {
                        self.reads
                            .start_read_index(&mut self.raft, vec![reply], Some(term), now);
                    } else {
                        reachable!("node.confirmation-refused-at-the-bound");
                        answer(vec![reply], &Err(ApiError::too_many_requests()));
                    }
                }
                Request::ChangeMembership {
                    intent,
                    member,
                    reply,
                } => {
                    let applied_index = *self.inputs.applied.borrow();
                    let directory = self.inputs.members.borrow().clone();
                    let applied = (applied_index, &directory);
                    self.membership
                        .propose(&mut self.raft, applied, intent, member, reply);
                }
                Request::Transfer { to, reply } => {
                    let result = self.raft.transfer_leadership(to);
                    let _ = reply.send(result.map_err(|error| transfer_refusal(&error)));
                }
                Request::HandOver { reply } => {
                    let successor = self.raft.successor();
                    let successor =
                        successor.filter(|to| self.raft.transfer_leadership(*to).is_ok());
                    let _ = reply.send(successor);
                }
            }
        }
        if !readers.is_empty() {
            self.reads
                .start_read_index(&mut self.raft, readers, None, now);
        }
    }

    fn leads(&self, term: u64) -> bool {
        self.raft.role() == Role::Leader && self.raft.term() == term
    }

    fn on_inbound(&mut self, message: Inbound) {
        match message {
            Inbound::Raft(message) => match self.raft.step(message) {
                Ok(()) => {}
                // What it has promised may be lost as well: it must not vote.
                Err(error @ StepError::AcknowledgedEntriesLost { .. }) => {
                    reachable!("node.lost-what-it-had-acknowledged", rare: "disks keep what was synchronised");
                    self.stop.now(StopReason::DurabilityLost(error.to_string()));
                }
                // No correct cluster comes here, and none goes on from here: a message that is
                // only left out comes again for ever, and the member never catches up.
                Err(
                    error @ (StepError::ConflictsWithCommitted { .. }
                    | StepError::LeaderLacksCommitted { .. }
                    | StepError::SecondLeader { .. }),
                ) => {
                    reachable!("node.members-contradict-each-other", rare: "disks keep what was synchronised, and a majority of them never forgets");
                    self.stop.now(StopReason::SafetyLost(error.to_string()));
                }
                Err(error) => debug!(%error, "ignored a message"),
            },
            Inbound::Frame(from, body) => self.on_frame(from, body),
        }
    }

    fn on_frame(&mut self, from: u64, body: Body) {
        match body {
            Body::Forward(forward) => self.dispatcher.on_forward(&mut self.raft, from, forward),
            Body::ForwardRefused(refused) => self.dispatcher.on_refused(&refused),
            Body::SnapshotChunk(chunk) => self.snapshots.on_chunk(from, chunk),
            Body::SnapshotAck(ack) => self.snapshots.on_ack(from, ack),
            // A full queue loses calls and replies; the callers repeat them.
            Body::LeaseCall(call) => {
                let _ = self.lease_frames.try_send((from, LeaseFrame::Call(call)));
            }
            Body::LeaseReply(reply) => {
                let _ = self.lease_frames.try_send((from, LeaseFrame::Reply(reply)));
            }
            // Those that the connection handles itself.
            Body::Hello(_) | Body::Raft(_) | Body::Ping(_) | Body::MembersCall(_) => {
                debug!(peer = from, "ignored a frame");
            }
        }
    }

    async fn on_snapshot(&mut self, event: SnapshotEvent) {
        match event {
            SnapshotEvent::Saved { meta } => {
                self.snapshots.saved(&meta);
                self.compact(&meta).await;
            }
            SnapshotEvent::Flushed { meta } => self.compact(&meta).await,
            SnapshotEvent::Received {
                from,
                term,
                meta,
                directory,
            } => self
                .snapshots
                .received(&mut self.raft, (from, term), meta, directory),
            SnapshotEvent::Sent { to, success } => {
                let outcome = if success {
                    SnapshotOutcome::Sent
                } else {
                    SnapshotOutcome::Failed
                };
                self.raft.report_snapshot(to, outcome);
            }
        }
    }

    /// Drops what this member has durable as of `meta.index` from the log.
    async fn compact(&mut self, meta: &SnapshotMeta) {
        let applied_index = *self.inputs.applied.borrow();
        assert!(
            meta.index <= applied_index,
            "this member's snapshot is as of entry {}, and it has applied {applied_index}",
            meta.index
        );
        let keep = KeptLog {
            entries: self.limits.snapshot_keep_entries,
            bytes: self.limits.snapshot_keep_bytes,
        };
        self.log.compact(&mut self.raft, meta, keep).await;
    }

    /// Processes all effects that Raft has.
    async fn process_readys(&mut self) {
        while let Some(ready) = self.raft.ready() {
            self.process_ready(ready).await;
        }
    }

    async fn process_ready(&mut self, ready: Ready) {
        if let Some(observer) = &self.observer {
            observer.raft_stepped(&self.raft, &ready);
        }
        if let Some(soft_state) = ready.soft_state {
            if soft_state.role == Role::Leader {
                failpoint!("raft.won");
            }
            self.on_role(soft_state);
        }
        if !ready.messages.is_empty() {
            failpoint!("raft.send.before");
            for to in self.transport.send_raft(&ready.messages) {
                self.raft.report_unreachable(to);
            }
            failpoint!("raft.send.after");
        }
        self.membership.learn_addresses(&ready.entries);
        if !self.log.persist(&ready).await {
            self.on_persisted();
        }
        if let Some(meta) = &ready.install_snapshot {
            let directory = self.snapshots.take_received(meta);
            self.membership.follow(&self.raft, &directory);
            self.snapshots.install(meta, directory).await;
        }
        self.membership.settle_changes(&ready.committed);
        if !ready.committed.is_empty() {
            let job = ApplyJob::Committed(ready.committed);
            // The receiver is gone only when the member stops.
            let _ = self.apply.send(job).await;
        }
        for read in ready.read_states {
            self.reads.confirmed(&self.raft, read);
        }
        for request in ready.snapshots_to_send {
            if !self.snapshots.send(&self.raft, request.to) {
                self.raft
                    .report_snapshot(request.to, SnapshotOutcome::Failed);
            }
        }
        self.publish_status();
        if ready
            .soft_state
            .is_some_and(|soft_state| soft_state.leader.is_some())
        {
            self.retry();
        }
    }

    fn on_role(&mut self, soft_state: SoftState) {
        info!(
            term = self.raft.term(), role = ?soft_state.role, leader = soft_state.leader,
            "role changed"
        );
        let leads = soft_state.role == Role::Leader;
        self.leases
            .role_changed(&self.raft, leads, self.clock.monotonic());
        self.dispatcher.role_changed(&self.raft, leads);
    }

    fn publish_status(&self) {
        let status = Status::of(&self.raft);
        self.status.send_if_modified(|present| {
            let modified = *present != status;
            *present = status;
            modified
        });
    }

    /// Says how full the queues of this member are.
    fn note_queues(&self) {
        let limits = &self.limits;
        let inputs = &self.inputs;
        queue!(
            "node.inbox",
            inputs.inbound.len(),
            limits.max_inbox_messages
        );
        queue!(
            "node.requests",
            inputs.requests.len(),
            limits.max_pending_requests
        );
        queue!(
            "node.snapshot-events",
            inputs.snapshot_events.len(),
            inputs.snapshot_events.max_capacity()
        );
        queue!("node.disk-jobs", self.log.waiting(), limits.max_disk_jobs);
        queue!(
            "node.apply-batches",
            waiting(&self.apply),
            limits.max_apply_batches
        );
        queue!(
            "node.snapshot-jobs",
            self.snapshots.waiting(),
            limits.max_snapshot_jobs
        );
        queue!(
            "node.lease-frames",
            waiting(&self.lease_frames),
            limits.max_lease_frames
        );
        queue!(
            "node.membership-changes",
            self.membership.waiting(),
            MEMBERSHIP_CHANGES_MAX
        );
    }
}

/// What a caller is told who wants leadership somewhere else.
fn transfer_refusal(error: &TransferError) -> ApiError {
    if matches!(error, TransferError::NotAVoter { .. }) {
        return ApiError::bad_leader_transferee();
    }
    ApiError::not_leader()
}

/// How many items a channel holds.
fn waiting<T>(sender: &mpsc::Sender<T>) -> usize {
    sender.max_capacity() - sender.capacity()
}
