//! The task that owns Raft: it feeds ticks, messages and requests in and carries the
//! effects out to the log, the state machine and the peers.

mod in_log;
mod members;
mod queues;
mod reading;

use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{debug, info, warn};
use veridical_env::{Clock, Environment};
use veridical_planted::{Planted, PlantedBug};
use veridical_probe::{failpoint, reachable, sometimes};
use veridical_proto::etcdserverpb::Member;
use veridical_proto::peer::peer_frame::Body;
use veridical_proto::peer::{Forward, ForwardRefused};
use veridical_raft::{ProposeError, Raft, Ready, Role, SnapshotMeta, SnapshotOutcome, StepError};
use veridical_storage::wal::{HardState, SnapshotMark, WalRecord};
use veridical_store::{ApiError, StoreReader};

use self::in_log::{CommandName, InLog};
use crate::codec::entry_to_log;
use crate::config::ms;
use crate::consensus::log_writer::DiskJob;
use crate::leases::lessor::LeaseKeeper;
use crate::limits::Limits;
use crate::membership::changes::{Intent, PendingChange};
use crate::membership::directory::Directory;
use crate::observe::NodeObserver;
use crate::peers::transport::{Inbound, Transport};
use crate::proposals::table::{Attempt, Proposals};
use crate::reads::waiters::{AppliedWaiters, ReadBatches, ReadReply, answer};
use crate::snapshots::task::{SnapshotEvent, SnapshotJob};
use crate::state_machine::applier::ApplyJob;
use crate::status::Status;
use crate::stop::{Stop, StopReason};

/// Membership changes that wait until something at their index is committed. Raft takes
/// one at a time; those of leaders that were deposed may still wait.
const MEMBERSHIP_CHANGES_MAX: usize = 64;

/// What this member's own tasks ask of Raft.
pub(crate) enum Request {
    /// Hand out a registered proposal.
    Propose { sequence: u64, command: Bytes },
    /// Append a command if this member leads `term`, else forget it.
    ProposeInTerm { term: u64, command: Bytes },
    /// Answer once the state is as new as the cluster's is now.
    Read { reply: ReadReply },
    /// The same, but only if this member leads `term` all the while.
    Confirm { term: u64, reply: ReadReply },
    /// Change the membership.
    ChangeMembership {
        intent: Intent,
        member: Member,
        reply: oneshot::Sender<Result<(), ApiError>>,
    },
    /// Hand leadership to another member.
    Transfer {
        to: u64,
        reply: oneshot::Sender<Result<(), ApiError>>,
    },
}

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
pub(crate) struct Outputs<E: Environment> {
    pub(crate) disk: mpsc::Sender<DiskJob>,
    pub(crate) apply: mpsc::Sender<ApplyJob>,
    pub(crate) snapshots: mpsc::Sender<SnapshotJob>,
    pub(crate) lease_frames: mpsc::Sender<(u64, Body)>,
    pub(crate) transport: Transport<E>,
    pub(crate) status: watch::Sender<Status>,
}

/// Owns Raft.
pub(crate) struct Driver<E: Environment> {
    pub(crate) raft: Raft,
    pub(crate) limits: Limits,
    pub(crate) clock: E::Clock,
    pub(crate) inputs: Inputs,
    pub(crate) outputs: Outputs<E>,
    pub(crate) proposals: Proposals,
    pub(crate) waiters: AppliedWaiters,
    pub(crate) keeper: LeaseKeeper,
    pub(crate) reader: StoreReader,
    pub(crate) planted: Planted,
    pub(crate) observer: Option<Arc<dyn NodeObserver>>,
    pub(crate) stop: Stop,
    /// The index of the newest snapshot file.
    newest_file_index: u64,
    pub(crate) turn: Turn,
}

/// What the driver keeps between turns.
#[derive(Default)]
pub(crate) struct Turn {
    reads: ReadBatches,
    pub(crate) changes: Vec<PendingChange>,
    /// The number of the last `Ready`.
    last_number: u64,
    /// The number of the last one that was handed to the disk.
    last_disk_number: u64,
    /// The first index of this member's own term, while it leads and does not yet time
    /// the leases.
    promote_at: Option<u64>,
    /// Connections are open to members that were removed.
    leaving: bool,
    /// A newer snapshot file was asked for and is not there yet.
    save_asked: bool,
    /// While this member leads.
    in_log: InLog,
    /// Directories of received snapshots, until Raft installs or ignores them.
    received: BTreeMap<(u64, u64), Directory>,
}

impl<E: Environment> Driver<E> {
    #[allow(
        clippy::too_many_arguments,
        reason = "the task is put together in one place"
    )]
    pub(crate) fn new(
        raft: Raft,
        limits: Limits,
        clock: E::Clock,
        inputs: Inputs,
        outputs: Outputs<E>,
        proposals: Proposals,
        waiters: AppliedWaiters,
        keeper: LeaseKeeper,
        reader: StoreReader,
        newest_file_index: u64,
        planted: Planted,
        observer: Option<Arc<dyn NodeObserver>>,
        stop: Stop,
    ) -> Self {
        Self {
            raft,
            limits,
            clock,
            inputs,
            outputs,
            proposals,
            waiters,
            keeper,
            reader,
            planted,
            observer,
            stop,
            newest_file_index,
            turn: Turn::default(),
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
        self.keeper.demote(self.clock.monotonic());
        let stopped = ApiError::stopped();
        self.proposals.close(&stopped);
        self.waiters.close(&stopped);
        for batch in self.turn.reads.drain() {
            answer(batch.replies, &Err(stopped.clone()));
        }
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
            self.carry_out().await;
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
                    self.settle_persisted();
                }
                changed = self.inputs.applied.changed() => {
                    if changed.is_err() { return }
                    self.on_applied();
                }
                changed = self.inputs.members.changed() => {
                    if changed.is_err() { return }
                    self.follow_members();
                }
                event = self.inputs.snapshot_events.recv() => {
                    let Some(event) = event else { return };
                    self.on_snapshot(event).await;
                }
                taken = self.inputs.inbound.recv_many(&mut inbound, turn_inputs) => {
                    if taken == 0 { return }
                    for message in inbound.drain(..) {
                        self.on_inbound(message).await;
                    }
                }
                taken = self.inputs.requests.recv_many(&mut requests, turn_inputs) => {
                    if taken == 0 { return }
                    self.on_requests(requests.drain(..));
                }
            }
        }
    }

    fn on_tick(&mut self) {
        if self.turn.leaving {
            let directory = self.inputs.members.borrow().clone();
            self.let_go(&directory);
        }
        let now = self.clock.monotonic();
        self.hand_out_again(now);
        self.ask_again(now);
    }

    /// Hands proposals to the present leader that were not handed to it yet, or whose
    /// forwarding may have been lost.
    fn hand_out_again(&mut self, now: Duration) {
        if self.raft.leader().is_none() {
            return;
        }
        let due = self.proposals.due(
            now,
            self.raft.term(),
            ms(self.limits.retry_ms),
            self.raft.id(),
        );
        for (sequence, command) in due {
            if !self.hand_out(sequence, command, now) {
                return;
            }
        }
    }

    /// Gives a proposal to the leader, which may be this member. `false` if it is of no
    /// use to go on with others.
    fn hand_out(&mut self, sequence: u64, command: Bytes, now: Duration) -> bool {
        let Some(leader) = self.raft.leader() else {
            return false;
        };
        let attempt = Attempt {
            at: now,
            term: self.raft.term(),
            leader,
        };
        if !self.proposals.attempt(sequence, attempt) {
            return true;
        }
        if leader == self.raft.id() {
            let name = CommandName {
                member_id: leader,
                incarnation: self.proposals.incarnation(),
                sequence,
            };
            if self.turn.in_log.has(&name) {
                reachable!("node.own-proposal-in-the-log-from-an-earlier-term");
                return true;
            }
            let taken = self.raft.propose(command).is_ok();
            if !taken {
                // It waits for the next tick.
                self.proposals.refused(sequence);
            }
            taken
        } else {
            let incarnation = self.proposals.incarnation();
            let forward = Body::Forward(Forward {
                command,
                sequence,
                incarnation,
            });
            self.outputs.transport.send(leader, forward)
        }
    }

    fn on_requests(&mut self, requests: impl Iterator<Item = Request>) {
        let now = self.clock.monotonic();
        let mut readers = Vec::new();
        for request in requests {
            match request {
                Request::Propose { sequence, command } => {
                    self.hand_out(sequence, command, now);
                }
                Request::ProposeInTerm { term, command } => {
                    if self.raft.role() == Role::Leader && self.raft.term() == term {
                        // Whether it is taken shows when it is applied; the lease clock
                        // asks again otherwise.
                        let _ = self.raft.propose(command);
                    } else {
                        reachable!("node.lease-expired-when-its-leader-was-deposed");
                    }
                }
                Request::Read { reply } if self.has_room_to_read(readers.len()) => {
                    readers.push(reply);
                }
                Request::Read { reply } => {
                    reachable!("node.read-refused-at-the-bound");
                    answer(vec![reply], &Err(ApiError::too_many_requests()));
                }
                Request::Confirm { term, reply } => {
                    let leads = self.raft.role() == Role::Leader && self.raft.term() == term;
                    if !leads {
                        answer(vec![reply], &Err(ApiError::not_leader()));
                    } else if self.has_room_to_read(readers.len()) {
                        self.ask(vec![reply], Some(term), now);
                    } else {
                        reachable!("node.confirmation-refused-at-the-bound");
                        answer(vec![reply], &Err(ApiError::too_many_requests()));
                    }
                }
                Request::ChangeMembership { reply, .. }
                    if self.turn.changes.len() >= MEMBERSHIP_CHANGES_MAX =>
                {
                    let _ = reply.send(Err(ApiError::too_many_requests()));
                }
                Request::ChangeMembership {
                    intent,
                    member,
                    reply,
                } => match self.change_membership(intent, member) {
                    Ok((term, index)) => {
                        self.turn.changes.push(PendingChange { index, term, reply });
                    }
                    Err(error) => {
                        let _ = reply.send(Err(error));
                    }
                },
                Request::Transfer { to, reply } => {
                    let result = self.raft.transfer_leadership(to);
                    let _ = reply.send(result.map_err(|_| ApiError::not_leader()));
                }
            }
        }
        if !readers.is_empty() {
            self.ask(readers, None, now);
        }
    }

    async fn on_inbound(&mut self, message: Inbound) {
        match message {
            Inbound::Raft(message) => {
                match self.raft.step(message) {
                    Ok(()) => {}
                    // What it has promised may be lost as well: it must not vote.
                    Err(error @ StepError::AcknowledgedEntriesLost { .. }) => {
                        reachable!("node.lost-what-it-had-acknowledged", rare: "disks keep what was synchronised; the scenario stale-disk comes by");
                        self.stop.now(StopReason::Forgetful(error.to_string()));
                    }
                    Err(error) => debug!(%error, "ignored a message"),
                }
            }
            Inbound::Frame(from, Body::Forward(forward)) => self.on_forward(from, forward),
            Inbound::Frame(_, Body::ForwardRefused(refused)) => {
                self.proposals.refused(refused.sequence);
            }
            Inbound::Frame(from, Body::SnapshotChunk(chunk)) => {
                // A full queue loses the chunk; the sender repeats it.
                let _ = self
                    .outputs
                    .snapshots
                    .try_send(SnapshotJob::Chunk { from, chunk });
            }
            Inbound::Frame(from, Body::SnapshotAck(ack)) => {
                let _ = self
                    .outputs
                    .snapshots
                    .try_send(SnapshotJob::Ack { from, ack });
            }
            Inbound::Frame(from, body @ (Body::LeaseCall(_) | Body::LeaseReply(_))) => {
                // A full queue loses the call; the caller repeats it.
                let _ = self.outputs.lease_frames.try_send((from, body));
            }
            Inbound::Frame(from, _) => debug!(peer = from, "ignored a frame"),
        }
    }

    /// Appends what a follower has passed on, unless it is in the log already.
    fn on_forward(&mut self, from: u64, forward: Forward) {
        let name = CommandName {
            member_id: from,
            incarnation: forward.incarnation,
            sequence: forward.sequence,
        };
        if self.turn.in_log.has(&name) {
            reachable!("node.forwarded-again-while-in-the-log");
            return;
        }
        let overloaded = match self.raft.propose(forward.command) {
            Ok((_, index)) => {
                self.turn.in_log.insert(name, index);
                return;
            }
            Err(error) => matches!(error, ProposeError::Overloaded { .. }),
        };
        sometimes!(!overloaded, "node.forwarded-to-a-member-that-leads-no-more");
        let answer = ForwardRefused {
            sequence: forward.sequence,
            overloaded,
        };
        self.outputs
            .transport
            .send(from, Body::ForwardRefused(answer));
    }

    async fn on_snapshot(&mut self, event: SnapshotEvent) {
        match event {
            SnapshotEvent::Saved { meta } => {
                self.turn.save_asked = false;
                self.newest_file_index = self.newest_file_index.max(meta.index);
                self.forget_log(&meta).await;
            }
            SnapshotEvent::Flushed { meta } => self.forget_log(&meta).await,
            SnapshotEvent::Received {
                from,
                term,
                meta,
                directory,
            } => {
                self.newest_file_index = self.newest_file_index.max(meta.index);
                let key = (meta.index, meta.term);
                if self.raft.offer_snapshot(from, term, meta) {
                    self.turn.received.insert(key, directory);
                }
            }
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

    /// What is durable as of `meta.index` need not be in the log.
    async fn forget_log(&mut self, meta: &SnapshotMeta) {
        failpoint!("log.forget.before");
        let keep_from = meta.index.saturating_sub(self.limits.snapshot_keep_entries);
        if keep_from >= self.raft.first_index()
            && let Err(error) = self.raft.compact(keep_from)
        {
            warn!(%error, "kept the log");
        }
        // The log on disk only has to bridge from the snapshot on.
        let first_needed = self.raft.first_index().min(meta.index + 1);
        let mark = SnapshotMark {
            index: meta.index,
            term: meta.term,
        };
        self.to_disk(DiskJob::Persist {
            number: self.turn.last_disk_number,
            records: vec![WalRecord::Snapshot(mark)],
            sync: true,
            messages: Vec::new(),
        })
        .await;
        self.to_disk(DiskJob::Release {
            index: first_needed,
        })
        .await;
    }

    fn on_applied(&mut self) {
        let index = *self.inputs.applied.borrow_and_update();
        self.raft.applied(index);
        self.turn.in_log.applied(index);
        if let Some(promote_at) = self.turn.promote_at
            && index >= promote_at
        {
            self.turn.promote_at = None;
            self.keeper
                .promote(self.raft.term(), self.clock.monotonic(), &self.reader);
        }
        self.publish_status();
    }

    /// Tells Raft what is durable. A `Ready` that wrote nothing is durable with those
    /// before it.
    fn settle_persisted(&mut self) {
        let written = *self.inputs.persisted.borrow_and_update();
        if written == self.turn.last_disk_number {
            self.raft.persisted(self.turn.last_number);
        } else {
            self.raft.persisted(written);
        }
    }

    async fn to_disk(&self, job: DiskJob) {
        // The receiver is gone only when the member stops, which ends this task too.
        let _ = self.outputs.disk.send(job).await;
    }

    /// Carries out all effects that Raft has.
    async fn carry_out(&mut self) {
        while let Some(ready) = self.raft.ready() {
            self.carry_out_one(ready).await;
        }
    }

    async fn carry_out_one(&mut self, ready: Ready) {
        if let Some(observer) = &self.observer {
            observer.raft_stepped(&self.raft, &ready);
        }
        if let Some(soft_state) = ready.soft_state {
            info!(
                term = self.raft.term(), role = ?soft_state.role, leader = soft_state.leader,
                "role changed"
            );
            self.keeper.demote(self.clock.monotonic());
            let leads = soft_state.role == Role::Leader;
            self.turn.in_log = match leads {
                true => InLog::of(&self.raft),
                false => InLog::default(),
            };
            self.turn.promote_at = leads
                // The entry with which its term began; everything of earlier terms
                // lies before it.
                .then(|| self.raft.last_index());
        }
        if !ready.messages.is_empty() {
            failpoint!("raft.send.before");
            for to in self.outputs.transport.send_raft(&ready.messages) {
                self.raft.report_unreachable(to);
            }
            failpoint!("raft.send.after");
        }
        self.learn_addresses(&ready);
        self.persist(&ready).await;
        self.settle_changes(&ready);
        if !ready.committed.is_empty() {
            let _ = self
                .outputs
                .apply
                .send(ApplyJob::Committed(ready.committed))
                .await;
        }
        for read in ready.read_states {
            if let Some(batch) = self.turn.reads.remove(read.context) {
                match batch.own_term {
                    Some(own) if own != self.raft.term() || self.raft.role() != Role::Leader => {
                        answer(batch.replies, &Err(ApiError::not_leader()));
                    }
                    _ if self.planted.has(PlantedBug::ReadBeforeApplied) => {
                        answer(batch.replies, &Ok(()));
                    }
                    _ => self.waiters.wait(read.index, batch.replies),
                }
            }
        }
        for request in ready.snapshots_to_send {
            if !self.send_snapshot(request.to) {
                self.raft
                    .report_snapshot(request.to, SnapshotOutcome::Failed);
            }
        }
        self.publish_status();
        if ready
            .soft_state
            .is_some_and(|soft_state| soft_state.leader.is_some())
        {
            let now = self.clock.monotonic();
            self.hand_out_again(now);
            self.ask_again(now);
        }
    }

    /// Has the newest snapshot file sent to a follower. `false`: Raft has to ask again.
    fn send_snapshot(&mut self, to: u64) -> bool {
        // With an engine the log goes before there is a file, and the follower would not
        // get from the newest file to the log. The snapshot of the founding has no entry
        // that a newcomer could acknowledge.
        if self.newest_file_index == 0 || self.newest_file_index + 1 < self.raft.first_index() {
            reachable!("node.follower-waits-for-a-snapshot-file");
            if !self.turn.save_asked {
                let job = ApplyJob::SaveSnapshot;
                self.turn.save_asked = self.outputs.apply.try_send(job).is_ok();
            }
            return false;
        }
        let term = self.raft.term();
        let job = SnapshotJob::Send { to, term };
        self.outputs.snapshots.try_send(job).is_ok()
    }

    async fn persist(&mut self, ready: &Ready) {
        let mut records = Vec::with_capacity(ready.entries.len() + 2);
        if let Some(meta) = &ready.install_snapshot {
            records.push(WalRecord::Snapshot(SnapshotMark {
                index: meta.index,
                term: meta.term,
            }));
        }
        records.extend(
            ready
                .entries
                .iter()
                .map(|entry| WalRecord::Entry(entry_to_log(entry))),
        );
        // Behind the entries: a torn tail must not leave a commit index without them.
        if let Some(hard_state) = &ready.hard_state {
            records.push(WalRecord::HardState(HardState {
                term: hard_state.term,
                vote: hard_state.vote.unwrap_or(0),
                commit: hard_state.commit,
            }));
        }
        self.turn.last_number = ready.number;
        if records.is_empty() && ready.persisted_messages.is_empty() {
            self.settle_persisted();
            return;
        }
        // Without records it goes through the disk's queue all the same: its promises
        // may be about what earlier ones wrote.
        self.turn.last_disk_number = ready.number;
        self.to_disk(DiskJob::Persist {
            number: ready.number,
            records,
            sync: ready.must_sync || ready.install_snapshot.is_some(),
            messages: ready.persisted_messages.clone(),
        })
        .await;
        if let Some(meta) = &ready.install_snapshot {
            let directory = self
                .turn
                .received
                .remove(&(meta.index, meta.term))
                .unwrap_or_default();
            self.turn.received.clear();
            connect(&self.outputs.transport, &directory, self.raft.id());
            self.let_go(&directory);
            let (sender, chunks) = mpsc::channel(self.limits.install_read_ahead_chunks);
            let load = SnapshotJob::Load {
                meta: meta.clone(),
                chunks: sender,
            };
            let _ = self.outputs.snapshots.send(load).await;
            let install = ApplyJob::Install {
                meta: meta.clone(),
                directory,
                chunks,
            };
            let _ = self.outputs.apply.send(install).await;
        }
    }

    fn publish_status(&self) {
        let status = Status {
            term: self.raft.term(),
            leader: self.raft.leader(),
            role: self.raft.role(),
            commit_index: self.raft.commit_index(),
            last_index: self.raft.last_index(),
            learner: self.raft.membership().learners.contains(&self.raft.id()),
        };
        self.outputs.status.send_if_modified(|present| {
            let modified = *present != status;
            *present = status;
            modified
        });
    }
}

/// Opens the connections to the members of a directory.
pub(crate) fn connect<E: Environment>(transport: &Transport<E>, directory: &Directory, own: u64) {
    for (node, _) in directory.iter() {
        if node != own
            && let Some(address) = directory.peer_address(node)
        {
            transport.set_peer(node, &address);
        }
    }
}
