//! A cluster in one thread: members with simulated disks, a network that is a bag of
//! messages, and the invariants checked after whatever happens.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use veridical_raft::invariants::{
    ClusterInvariants, InvariantViolation, LogStart, MemberState, ReadInvariants,
};
use veridical_raft::{
    AppendOutcome, ChangeKind, Config, Entry, HardState, Initial, LogIndex, Membership, Message,
    MessageBody, NodeId, Payload, Raft, Ready, SnapshotMeta, SnapshotOutcome, Term,
};

/// What survives a crash.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    pub hard_state: HardState,
    pub snapshot: SnapshotMeta,
    pub entries: Vec<Entry>,
    /// What the state machine has flushed.
    pub applied: LogIndex,
}

impl Disk {
    pub fn last_index(&self) -> LogIndex {
        self.snapshot.index + self.entries.len() as u64
    }

    fn write(&mut self, ready: &Ready) {
        self.write_snapshot(ready);
        self.write_hard_state(ready);
        self.write_entries(&ready.entries);
    }

    /// A crash in the middle of writing: `progress` says how far it came.
    fn write_torn(&mut self, ready: &Ready, progress: usize) {
        match progress {
            0 => self.write_hard_state(ready),
            1 => self.write_snapshot(ready),
            _ => {
                self.write_snapshot(ready);
                self.write_hard_state(ready);
                let written = ready.entries.len().min(progress - 2);
                self.write_entries(&ready.entries[..written]);
            }
        }
    }

    fn write_snapshot(&mut self, ready: &Ready) {
        if let Some(meta) = &ready.install_snapshot {
            self.snapshot = meta.clone();
            self.entries.clear();
            self.applied = meta.index;
        }
    }

    fn write_hard_state(&mut self, ready: &Ready) {
        if let Some(hard_state) = ready.hard_state {
            self.hard_state = hard_state;
        }
    }

    fn write_entries(&mut self, entries: &[Entry]) {
        if let Some(first) = entries.first() {
            // Part of what the Ready wrote may be compacted by now.
            let base = self.snapshot.index;
            self.entries
                .truncate((first.index.max(base + 1) - base - 1) as usize);
            let new = entries.iter().filter(|entry| entry.index > base);
            self.entries.extend(new.cloned());
        }
    }

    fn compact(&mut self, meta: SnapshotMeta) {
        self.entries
            .drain(..(meta.index - self.snapshot.index) as usize);
        self.snapshot = meta;
    }
}

/// One member: alive while `raft` is there.
#[derive(Clone, Debug)]
pub struct Member {
    pub config: Config,
    pub disk: Disk,
    pub raft: Option<Raft>,
    /// Issued, not durable.
    pub outstanding: VecDeque<Ready>,
    pub answered_reads: Vec<(u64, LogIndex)>,
    pub applied: Vec<Entry>,
    pub restarts: u64,
    /// It has applied its own removal.
    pub knows_it_is_removed: bool,
}

/// A snapshot on its way.
#[derive(Clone, Debug)]
pub struct SnapshotTransfer {
    pub from: NodeId,
    pub to: NodeId,
    pub term: Term,
    pub meta: SnapshotMeta,
}

/// The members and the network between them.
#[derive(Clone, Debug)]
pub struct Cluster {
    pub members: BTreeMap<NodeId, Member>,
    pub network: Vec<Message>,
    pub snapshots: Vec<SnapshotTransfer>,
    /// Links that lose everything, as (from, to).
    pub cut: BTreeSet<(NodeId, NodeId)>,
    pub invariants: ClusterInvariants,
    pub reads: ReadInvariants,
    /// Whether Readys become durable at once.
    pub synchronous: bool,
    next_context: u64,
    seed: u64,
}

impl Cluster {
    /// Bootstrap members `1..=size`, configured by `configure`, nobody leading.
    pub fn new(size: u64, seed: u64, configure: impl Fn(&mut Config)) -> Self {
        let bootstrap_members = Membership::of_voters(1..=size);
        let mut cluster = Cluster {
            members: BTreeMap::new(),
            network: Vec::new(),
            snapshots: Vec::new(),
            cut: BTreeSet::new(),
            invariants: ClusterInvariants::default(),
            reads: ReadInvariants::default(),
            synchronous: true,
            next_context: 0,
            seed,
        };
        for id in 1..=size {
            let mut config = Config::new(id);
            configure(&mut config);
            cluster.add(config, bootstrap_members.clone());
        }
        cluster
    }

    /// Starts a member with an empty disk.
    pub fn add(&mut self, config: Config, membership: Membership) {
        let id = config.id;
        let disk = Disk {
            snapshot: SnapshotMeta {
                membership,
                ..SnapshotMeta::default()
            },
            ..Disk::default()
        };
        let member = Member {
            config,
            disk,
            raft: None,
            outstanding: VecDeque::new(),
            answered_reads: Vec::new(),
            applied: Vec::new(),
            restarts: 0,
            knows_it_is_removed: false,
        };
        self.members.insert(id, member);
        self.restart(id).expect("an empty disk contradicts nothing");
    }

    pub fn member(&self, id: NodeId) -> &Member {
        &self.members[&id]
    }

    /// The member's Raft; it must be alive.
    pub fn raft(&self, id: NodeId) -> &Raft {
        self.members[&id].raft.as_ref().expect("alive")
    }

    pub fn is_alive(&self, id: NodeId) -> bool {
        self.members
            .get(&id)
            .is_some_and(|member| member.raft.is_some())
    }

    pub fn alive(&self) -> Vec<NodeId> {
        let alive = |(id, member): (&NodeId, &Member)| member.raft.as_ref().map(|_| *id);
        self.members.iter().filter_map(alive).collect()
    }

    /// The leader of the highest term.
    pub fn leader(&self) -> Option<NodeId> {
        self.members
            .values()
            .filter_map(|member| member.raft.as_ref())
            .filter(|raft| raft.role() == veridical_raft::Role::Leader)
            .max_by_key(|raft| raft.term())
            .map(Raft::id)
    }

    /// Where the living members stand, for whoever has to find out what went wrong.
    pub fn describe(&self) -> Vec<String> {
        self.members
            .values()
            .filter_map(|member| member.raft.as_ref())
            .map(|raft| {
                format!(
                    "{}: {:?} term {} log {}..{} commit {} applied {} {:?}",
                    raft.id(),
                    raft.role(),
                    raft.term(),
                    raft.first_index(),
                    raft.last_index(),
                    raft.commit_index(),
                    raft.applied_index(),
                    raft.membership()
                )
            })
            .collect()
    }

    /// Does something to a living member, then carries out the effects.
    pub fn act<T>(
        &mut self,
        id: NodeId,
        action: impl FnOnce(&mut Raft) -> T,
    ) -> Result<T, InvariantViolation> {
        let raft = self
            .members
            .get_mut(&id)
            .and_then(|member| member.raft.as_mut());
        let outcome = action(raft.expect("alive"));
        self.drain(id)?;
        Ok(outcome)
    }

    fn drain(&mut self, id: NodeId) -> Result<(), InvariantViolation> {
        loop {
            let member = self.members.get_mut(&id).expect("exists");
            let raft = member.raft.as_mut().expect("alive");
            let announced = raft.has_ready();
            let ready = raft.ready();
            assert_eq!(announced, ready.is_some(), "has_ready agrees with ready");
            let Some(mut ready) = ready else {
                break;
            };
            self.invariants.stepped(MemberState::from(&*raft), &ready)?;
            self.invariants.check_configuration(id, raft.membership())?;
            self.network.append(&mut ready.messages);
            for request in std::mem::take(&mut ready.snapshots_to_send) {
                let meta = raft
                    .snapshot_meta_at(raft.applied_index())
                    .expect("the applied index is never compacted");
                self.snapshots.push(SnapshotTransfer {
                    from: id,
                    to: request.to,
                    term: raft.term(),
                    meta,
                });
            }
            for read in &ready.read_states {
                assert!(
                    self.reads.is_waiting(id, read.context),
                    "only reads that wait are answered"
                );
                member.answered_reads.push((read.context, read.index));
            }
            self.reads.answered(id, &ready.read_states)?;
            let named = ready.hard_state.map_or(0, |hard_state| hard_state.commit);
            assert!(
                named <= member.disk.last_index(),
                "a hard state names what is durable"
            );
            for entry in std::mem::take(&mut ready.committed) {
                let durable = member.disk.last_index();
                assert!(entry.index <= durable, "only what is durable is applied");
                if let Payload::Membership(change) = &entry.payload {
                    member.knows_it_is_removed |=
                        change.node == id && change.kind == ChangeKind::Remove;
                }
                member.applied.push(entry);
            }
            let applied = member.applied.last().map_or(0, |entry| entry.index);
            if applied > raft.applied_index() {
                raft.applied(applied);
            }
            member.outstanding.push_back(ready);
            if self.synchronous {
                self.persist(id, usize::MAX)?;
            }
        }
        Ok(())
    }

    /// Makes up to `count` outstanding Readys durable.
    pub fn persist(&mut self, id: NodeId, count: usize) -> Result<(), InvariantViolation> {
        let member = self.members.get_mut(&id).expect("exists");
        let mut last = None;
        for _ in 0..count {
            let Some(mut ready) = member.outstanding.pop_front() else {
                break;
            };
            member.disk.write(&ready);
            if let Some(meta) = &ready.install_snapshot {
                member.applied.push(Entry {
                    term: meta.term,
                    index: meta.index,
                    payload: Payload::Noop,
                });
            }
            for message in &ready.persisted_messages {
                check_promise(message, &member.disk);
            }
            self.network.append(&mut ready.persisted_messages);
            last = Some(ready.number);
        }
        if let (Some(number), Some(raft)) = (last, member.raft.as_mut()) {
            self.invariants.persisted(id, number, || false)?;
            raft.persisted(number);
            if !self.synchronous {
                self.drain(id)?;
            }
        }
        Ok(())
    }

    /// Loses what is not durable; `survivors` of the outstanding Readys reached the disk
    /// all the same, and the next one in part (see [`Disk::write_torn`]).
    pub fn crash_torn(&mut self, id: NodeId, survivors: usize, torn: usize) {
        let member = self.members.get_mut(&id).expect("exists");
        for (position, ready) in member.outstanding.drain(..).enumerate() {
            if position < survivors {
                member.disk.write(&ready);
            } else {
                member.disk.write_torn(&ready, torn);
                break;
            }
        }
        member.raft = None;
        member.applied.clear();
    }

    /// Loses exactly what is not durable.
    pub fn crash(&mut self, id: NodeId) {
        self.members
            .get_mut(&id)
            .expect("exists")
            .outstanding
            .clear();
        self.crash_torn(id, 0, 0);
    }

    /// Starts a member from its disk.
    pub fn restart(&mut self, id: NodeId) -> Result<(), InvariantViolation> {
        let member = self.members.get_mut(&id).expect("exists");
        assert!(member.raft.is_none(), "only the dead are restarted");
        member.restarts += 1;
        let disk = member.disk.clone();
        let initial = Initial {
            hard_state: disk.hard_state,
            snapshot: disk.snapshot,
            entries: disk.entries,
            applied: disk.applied,
            seed: self.seed ^ (id << 32) ^ member.restarts,
            blank: false,
        };
        let raft = Raft::new(member.config.clone(), initial).expect("what was persisted fits");
        if disk.applied > 0 {
            member.applied.push(Entry {
                term: raft.term_at(disk.applied).expect("in the log"),
                index: disk.applied,
                payload: Payload::Noop,
            });
        }
        self.reads.started(id);
        let entries = raft.entries(raft.first_index()..raft.last_index() + 1);
        self.invariants
            .started(MemberState::from(&raft), LogStart::from(&raft), entries)?;
        member.raft = Some(raft);
        Ok(())
    }

    /// Delivers one message, if its receiver lives and the link is not cut.
    pub fn deliver(&mut self, message: Message) -> Result<(), InvariantViolation> {
        let to = message.to;
        if self.is_alive(to) && !self.cut.contains(&(message.from, to)) {
            let text = format!("{message:?}");
            let outcome = self.act(to, |raft| raft.step(message))?;
            if let Err(error) = outcome {
                return InvariantViolation::new("message-refused", format!("{error}: {text}"));
            }
        }
        Ok(())
    }

    /// Delivers all messages and snapshots, and what follows from them, until silence.
    pub fn settle(&mut self) -> Result<(), InvariantViolation> {
        for _ in 0..10_000 {
            if self.network.is_empty() && self.snapshots.is_empty() {
                return Ok(());
            }
            for message in std::mem::take(&mut self.network) {
                self.deliver(message)?;
            }
            for transfer in std::mem::take(&mut self.snapshots) {
                self.finish_snapshot(transfer, SnapshotOutcome::Sent)?;
            }
        }
        InvariantViolation::new("no-silence", "the cluster never falls silent".into())
    }

    /// Ends a snapshot transfer.
    pub fn finish_snapshot(
        &mut self,
        transfer: SnapshotTransfer,
        outcome: SnapshotOutcome,
    ) -> Result<(), InvariantViolation> {
        let SnapshotTransfer {
            from,
            to,
            term,
            meta,
        } = transfer;
        let arrives = self.is_alive(to)
            && !self.cut.contains(&(from, to))
            && outcome == SnapshotOutcome::Sent;
        if arrives {
            self.act(to, |raft| raft.offer_snapshot(from, term, meta))?;
        }
        if self.is_alive(from) {
            let outcome = if arrives {
                outcome
            } else {
                SnapshotOutcome::Failed
            };
            self.act(from, |raft| raft.report_snapshot(to, outcome))?;
        }
        Ok(())
    }

    /// A tick on every living member, then silence.
    pub fn tick_all(&mut self) -> Result<(), InvariantViolation> {
        for id in self.alive() {
            self.act(id, Raft::tick)?;
        }
        self.settle()
    }

    /// A tick on every living member, and what follows from it as far as it comes in
    /// three rounds: what was issued becomes durable, and what was sent arrives.
    pub fn fair_tick(&mut self) -> Result<(), InvariantViolation> {
        for id in self.alive() {
            self.act(id, Raft::tick)?;
        }
        for _ in 0..3 {
            for id in self.alive() {
                self.persist(id, usize::MAX)?;
            }
            for message in std::mem::take(&mut self.network) {
                self.deliver(message)?;
            }
            for transfer in std::mem::take(&mut self.snapshots) {
                self.finish_snapshot(transfer, SnapshotOutcome::Sent)?;
            }
        }
        Ok(())
    }

    /// Makes `id` the leader of a healthy cluster.
    pub fn elect(&mut self, id: NodeId) {
        self.act(id, Raft::campaign).expect("safe");
        self.settle().expect("safe");
        assert_eq!(self.leader(), Some(id), "election");
    }

    /// Proposes on `id`, which must lead; silence is up to the caller.
    pub fn propose(&mut self, id: NodeId, command: &'static str) -> (Term, LogIndex) {
        let command = Bytes::from_static(command.as_bytes());
        let outcome = self.act(id, |raft| raft.propose(command)).expect("safe");
        outcome.expect("accepted")
    }

    /// Asks for a read on `id`; says under which context, if it was taken.
    pub fn read(&mut self, id: NodeId) -> Result<Option<u64>, InvariantViolation> {
        self.next_context += 1;
        let context = self.next_context;
        self.reads.asked(id, context, self.invariants.committed());
        // A read that is refused is never answered.
        let taken = self.act(id, |raft| raft.read_index(context))?.is_ok();
        Ok(taken.then_some(context))
    }

    /// Forgets the log of `id` up to `index`, on disk too.
    pub fn compact(&mut self, id: NodeId, index: LogIndex) {
        let member = self.members.get_mut(&id).expect("exists");
        let raft = member.raft.as_mut().expect("alive");
        // Only what is durable can be replaced by a snapshot of it.
        assert!(
            member
                .outstanding
                .iter()
                .all(|ready| ready.install_snapshot.is_none())
        );
        let meta = raft.snapshot_meta_at(index).expect("applied");
        if raft.compact(index).is_ok() {
            member.disk.applied = member.disk.applied.max(index);
            member.disk.compact(meta);
        }
    }

    /// Cuts `id` off from everybody, both ways.
    pub fn isolate(&mut self, id: NodeId) {
        for other in self.members.keys().copied() {
            self.cut.insert((id, other));
            self.cut.insert((other, id));
        }
    }

    pub fn heal(&mut self) {
        self.cut.clear();
    }
}

/// What a message promises must be on disk when it is sent.
fn check_promise(message: &Message, disk: &Disk) {
    if let MessageBody::AppendResponse {
        outcome: AppendOutcome::Accepted { index },
    } = message.body
    {
        assert!(index <= disk.last_index(), "acknowledged but not durable");
    }
    let votes = matches!(
        message.body,
        MessageBody::VoteResponse { granted: true } | MessageBody::Vote { .. }
    );
    assert!(
        !votes || message.term <= disk.hard_state.term,
        "voted but not durable"
    );
}
