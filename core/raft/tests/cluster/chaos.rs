//! A random scheduler over the whole cluster: whatever can go wrong goes wrong, then
//! everything heals, and the cluster must make progress.

use bytes::Bytes;
use veridical_planted::Planted;
use veridical_raft::invariants::InvariantViolation;
use veridical_raft::{
    ChangeKind, Config, Membership, MembershipChange, NodeId, Raft, Role, SnapshotOutcome,
};

use crate::harness::Cluster;

/// SplitMix64.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Dice(seed)
    }

    pub fn roll(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }

    pub fn chance(&mut self, percent: usize) -> bool {
        self.roll(100) < percent
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        (!from.is_empty()).then(|| from[self.roll(from.len())])
    }
}

/// What a run reached; a test that never gets anywhere proves nothing.
#[derive(Debug, Default, Clone, Copy)]
pub struct Coverage {
    pub elections: usize,
    pub committed: u64,
    pub crashes: usize,
    pub snapshots: usize,
    pub membership_changes: usize,
    pub transfers: usize,
    pub reads: usize,
}

/// How nasty a run is; drawn per seed, so that each seed leaves something out.
struct Mood {
    drop_percent: usize,
    duplicate_percent: usize,
    crash: usize,
    cut: usize,
    membership: usize,
    transfer: usize,
    compact: usize,
}

const MAX_NETWORK: usize = 400;
const MAX_MEMBERS_EVER: u64 = 9;

pub struct Chaos {
    pub cluster: Cluster,
    dice: Dice,
    mood: Mood,
    coverage: Coverage,
    template: Config,
}

impl Chaos {
    pub fn new(seed: u64, planted: Planted) -> Self {
        let mut dice = Dice::new(seed);
        let size = [1, 2, 3, 3, 3, 5][dice.roll(6)];
        let careful = dice.chance(75);
        let template = Config {
            election_ticks: 5 + dice.roll(10) as u32,
            max_append_bytes: [1, 100, 1 << 20][dice.roll(3)],
            max_inflight_appends: 1 + dice.roll(4),
            max_inflight_bytes: [1, 200, 1 << 20][dice.roll(3)],
            max_uncommitted_bytes: 2000,
            max_pending_reads: 1 + dice.roll(8),
            pre_vote: careful,
            check_quorum: careful,
            planted,
            ..Config::new(1)
        };
        let mut cluster = Cluster::new(size, seed, |config| {
            *config = Config {
                id: config.id,
                ..template.clone()
            };
        });
        cluster.synchronous = dice.chance(20);
        let mood = Mood {
            drop_percent: [0, 5, 30][dice.roll(3)],
            duplicate_percent: [0, 5, 30][dice.roll(3)],
            crash: [0, 3, 10][dice.roll(3)],
            cut: [0, 2, 5][dice.roll(3)],
            membership: [0, 5, 20][dice.roll(3)],
            transfer: [0, 2, 10][dice.roll(3)],
            compact: [0, 5, 20][dice.roll(3)],
        };
        Chaos {
            cluster,
            dice,
            mood,
            coverage: Coverage::default(),
            template,
        }
    }

    /// `steps` random steps, then healing.
    pub fn run(mut self, steps: usize) -> Result<Coverage, InvariantViolation> {
        self.wreck(steps)?;
        self.heal_and_progress()?;
        self.coverage.elections = self.cluster.invariants.terms_led();
        self.coverage.committed = self.cluster.invariants.committed();
        Ok(self.coverage)
    }

    /// `steps` random steps.
    pub fn wreck(&mut self, steps: usize) -> Result<(), InvariantViolation> {
        for _ in 0..steps {
            self.step()?;
        }
        Ok(())
    }

    fn step(&mut self) -> Result<(), InvariantViolation> {
        let alive = self.cluster.alive();
        let somebody = self.dice.pick(&alive);
        match self.dice.roll(1000) {
            0..450 => self.deliver_one()?,
            450..650 => {
                if let Some(id) = somebody {
                    self.cluster.act(id, Raft::tick)?;
                }
            }
            650..800 => {
                if let Some(id) = somebody {
                    let count = 1 + self.dice.roll(3);
                    self.cluster.persist(id, count)?;
                }
            }
            800..870 => {
                if let Some(id) = self.leader_or(somebody) {
                    let command = Bytes::from(vec![b'x'; self.dice.roll(60)]);
                    let _ = self.cluster.act(id, |raft| raft.propose(command))?;
                }
            }
            870..910 => {
                if let Some(id) = somebody
                    && self.cluster.read(id)?.is_some()
                {
                    self.coverage.reads += 1;
                }
            }
            910..930 => self.end_a_snapshot()?,
            930..935 => {
                if let (Some(id), Some(to)) = (somebody, self.dice.pick(&alive)) {
                    self.cluster.act(id, |raft| raft.report_unreachable(to))?;
                }
            }
            935..940 => {
                if let Some(id) = somebody {
                    self.cluster.act(id, Raft::campaign)?;
                }
            }
            _ => self.mischief(somebody)?,
        }
        Ok(())
    }

    fn mischief(&mut self, somebody: Option<NodeId>) -> Result<(), InvariantViolation> {
        let Some(id) = somebody else {
            return self.restart_one();
        };
        if self.dice.chance(self.mood.crash) {
            let survivors = self.dice.roll(4);
            let torn = self.dice.roll(6);
            self.cluster.crash_torn(id, survivors, torn);
            self.coverage.crashes += 1;
        }
        if self.dice.chance(15) {
            self.restart_one()?;
        }
        if self.dice.chance(self.mood.cut) {
            self.cut_something();
        }
        if self.dice.chance(10) {
            self.cluster.heal();
        }
        if self.dice.chance(self.mood.membership) {
            self.change_membership()?;
        }
        if self.dice.chance(self.mood.transfer)
            && let Some(leader) = self.cluster.leader()
            && let Some(to) = self.dice.pick(&self.cluster.alive())
            && self
                .cluster
                .act(leader, |raft| raft.transfer_leadership(to))?
                .is_ok()
        {
            self.coverage.transfers += 1;
        }
        if self.cluster.is_alive(id) && self.dice.chance(self.mood.compact) {
            let (applied, first) = {
                let raft = self.cluster.raft(id);
                (raft.applied_index(), raft.first_index())
            };
            let installing = |ready: &veridical_raft::Ready| ready.install_snapshot.is_some();
            let busy = self.cluster.member(id).outstanding.iter().any(installing);
            if applied >= first && !busy {
                let keep = self.dice.roll(3) as u64;
                if applied - keep.min(applied) >= first {
                    self.cluster.compact(id, applied - keep);
                }
            }
        }
        Ok(())
    }

    fn leader_or(&mut self, somebody: Option<NodeId>) -> Option<NodeId> {
        let leader = self.cluster.leader();
        if self.dice.chance(90) {
            leader
        } else {
            somebody
        }
    }

    fn deliver_one(&mut self) -> Result<(), InvariantViolation> {
        while self.cluster.network.len() > MAX_NETWORK {
            let lost = self.dice.roll(self.cluster.network.len());
            self.cluster.network.swap_remove(lost);
        }
        if self.cluster.network.is_empty() {
            return Ok(());
        }
        let chosen = self.dice.roll(self.cluster.network.len());
        let message = if self.dice.chance(self.mood.duplicate_percent) {
            self.cluster.network[chosen].clone()
        } else {
            self.cluster.network.swap_remove(chosen)
        };
        if self.dice.chance(self.mood.drop_percent) {
            return Ok(());
        }
        self.cluster.deliver(message)
    }

    fn end_a_snapshot(&mut self) -> Result<(), InvariantViolation> {
        if self.cluster.snapshots.is_empty() {
            return Ok(());
        }
        let chosen = self.dice.roll(self.cluster.snapshots.len());
        let transfer = self.cluster.snapshots.swap_remove(chosen);
        let outcome = if self.dice.chance(70) {
            self.coverage.snapshots += 1;
            SnapshotOutcome::Sent
        } else {
            SnapshotOutcome::Failed
        };
        self.cluster.finish_snapshot(transfer, outcome)
    }

    fn restart_one(&mut self) -> Result<(), InvariantViolation> {
        let dead: Vec<_> = self.dead().collect();
        match self.dice.pick(&dead) {
            Some(id) => self.cluster.restart(id),
            None => Ok(()),
        }
    }

    fn dead(&self) -> impl Iterator<Item = NodeId> + '_ {
        let members = self.cluster.members.iter();
        members
            .filter(|(_, member)| member.raft.is_none())
            .map(|(id, _)| *id)
    }

    fn cut_something(&mut self) {
        let ids: Vec<_> = self.cluster.members.keys().copied().collect();
        let (Some(a), Some(b)) = (self.dice.pick(&ids), self.dice.pick(&ids)) else {
            return;
        };
        if self.dice.chance(50) {
            self.cluster.isolate(a);
        } else {
            self.cluster.cut.insert((a, b));
        }
    }

    fn change_membership(&mut self) -> Result<(), InvariantViolation> {
        let Some(leader) = self.cluster.leader() else {
            return Ok(());
        };
        let membership = self.cluster.raft(leader).membership().clone();
        let members: Vec<_> = membership.members().collect();
        let learners: Vec<_> = membership.learners.iter().copied().collect();
        let fresh = self.cluster.members.len() as u64 + 1;
        let (kind, node) = match self.dice.roll(5) {
            0 => (Some(ChangeKind::AddLearner), fresh),
            1 => (Some(ChangeKind::AddVoter), fresh),
            2 => (
                Some(ChangeKind::AddVoter),
                self.dice.pick(&learners).unwrap_or(0),
            ),
            3 => (
                Some(ChangeKind::Update),
                self.dice.pick(&members).unwrap_or(0),
            ),
            _ => (
                Some(ChangeKind::Remove),
                self.dice.pick(&members).unwrap_or(0),
            ),
        };
        let (Some(kind), true) = (kind, node <= MAX_MEMBERS_EVER) else {
            return Ok(());
        };
        let change = MembershipChange {
            kind,
            node,
            context: Bytes::new(),
        };
        let outcome = self
            .cluster
            .act(leader, |raft| raft.propose_membership(change))?;
        if outcome.is_ok() {
            self.coverage.membership_changes += 1;
            if node == fresh {
                let config = Config {
                    id: fresh,
                    ..self.template.clone()
                };
                self.cluster.add(config, Membership::default());
            }
        }
        Ok(())
    }

    /// Faults end; within a bound a leader is there and what it is given is applied by
    /// every member, reads included.
    fn heal_and_progress(&mut self) -> Result<(), InvariantViolation> {
        self.cluster.heal();
        let dead: Vec<_> = self.dead().collect();
        for id in dead {
            self.cluster.restart(id)?;
        }
        let mut asked: Option<(NodeId, u64)> = None;
        let mut proposed = None;
        for _ in 0..3000 {
            self.shut_down_the_removed();
            self.cluster.fair_tick()?;
            let Some(leader) = self.cluster.leader() else {
                continue;
            };
            let raft = self.cluster.raft(leader);
            let everybody_applied = proposed.is_some_and(|(term, index)| {
                raft.term() == term
                    && raft.membership().members().all(|id| {
                        self.cluster.is_alive(id) && self.cluster.raft(id).applied_index() >= index
                    })
            });
            if proposed.is_none_or(|(term, _)| term != raft.term()) {
                let outcome = self
                    .cluster
                    .act(leader, |raft| raft.propose(Bytes::new()))?;
                proposed = outcome.ok();
            }
            let answered = asked.is_some_and(|(id, context)| {
                let mut answers = self.cluster.member(id).answered_reads.iter();
                answers.any(|(answered, _)| *answered == context)
            });
            if everybody_applied && answered {
                return Ok(());
            }
            if !answered && self.dice.chance(5) {
                let reader = self.dice.pick(&self.cluster.alive()).expect("all live");
                asked = self.cluster.read(reader)?.map(|context| (reader, context));
            }
        }
        let states = self.cluster.describe();
        InvariantViolation::new(
            "no-progress",
            format!("no progress after healing: {states:#?}"),
        )
    }

    /// A removed member shuts down when it learns so. One that never learns goes on;
    /// without pre-vote and check-quorum it may disturb for ever, so there the owner
    /// stops it.
    fn shut_down_the_removed(&mut self) {
        let careful = self.template.pre_vote;
        let leader = self.cluster.leader();
        for id in self.cluster.alive() {
            let knows = self.cluster.member(id).knows_it_is_removed;
            let is_out = leader.is_some_and(|leader| {
                let raft = self.cluster.raft(leader);
                !raft.membership_at_applied().contains(id) && !raft.membership().contains(id)
            });
            let leads = self.cluster.raft(id).role() == Role::Leader;
            if (knows || (is_out && !careful)) && !leads {
                self.cluster.crash(id);
            }
        }
    }
}
