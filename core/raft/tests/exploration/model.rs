//! Three members, as a stateright model over the real [`Raft`].
//!
//! Actions: an election timeout, the delivery of a message in any order (or never, which
//! is a loss), a proposal, and a crash right after any of these, before what it asked
//! for became durable. Time does not exist: whatever ticks would do is an explicit
//! action, and pre-vote and check-quorum, which are about time, are off.
//!
//! A member's step and its persistence are one action with two outcomes, durable or
//! lost. That loses no behaviour: between the two nothing happens on this member, and
//! the others see only its messages, which are sent alike. (Several Readys under way at
//! once are the business of the random scheduler in `tests/cluster`.)

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use bytes::Bytes;
use stateright::{Model, Property};
use veridical_planted::Planted;
use veridical_raft::invariants::{CommittedLog, Leaders, LogView, check_log_matching};
use veridical_raft::{
    Config, Entry, HardState, Initial, LogIndex, Membership, Message, MessageBody, NodeId, Raft,
    Role, SnapshotMeta, Term,
};

pub const MEMBERS: NodeId = 3;

/// The bounds of the exploration.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// No election beyond this term.
    pub max_term: Term,
    pub timeouts: u8,
    pub crashes: u8,
    pub proposals: u8,
    pub duplicates: u8,
}

/// The model: bounds, deliberate bugs, and where to start.
#[derive(Clone, Debug)]
pub struct Cluster {
    pub bounds: Bounds,
    pub planted: Planted,
    /// A script that leads from a fresh cluster to the initial state.
    pub prefix: Vec<Step>,
}

/// A step of a scripted prefix.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// The member's election timer fires.
    Timeout(NodeId),
    /// All messages from the first to the second member arrive.
    Deliver(NodeId, NodeId),
    /// The member crashes, losing only what it had in memory, and restarts.
    Restart(NodeId),
    /// Every message under way is lost.
    LoseAll,
}

/// What may happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Timeout(NodeId),
    Deliver(Arc<Message>, Fate),
    /// A message arrives and comes again later.
    Duplicate(Arc<Message>),
    Propose(NodeId, Fate),
    /// A crash that loses nothing but memory.
    Restart(NodeId),
}

/// What becomes of what a step asks to persist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Durable,
    /// The member crashes first, and restarts.
    Lost,
}

/// A member and its disk.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Member {
    pub raft: Raft,
    hard_state: HardState,
    entries: Vec<Entry>,
}

/// A state of the cluster, with what has to be remembered to judge it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    pub members: Vec<Arc<Member>>,
    /// Under way, sorted by fingerprint.
    network: Vec<(u64, Arc<Message>)>,
    leaders: Leaders,
    /// What leaders have held to be committed.
    committed: CommittedLog,
    timeouts: u8,
    crashes: u8,
    proposals: u8,
    duplicates: u8,
    pub two_leaders: bool,
    pub two_commits: bool,
    /// A member found a message impossible that another member sent.
    pub refused: bool,
}

impl Hash for State {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.members.hash(state);
        for (fingerprint, _) in &self.network {
            fingerprint.hash(state);
        }
        self.leaders.hash(state);
        self.committed.hash(state);
        (self.timeouts, self.crashes, self.proposals, self.duplicates).hash(state);
        (self.two_leaders, self.two_commits, self.refused).hash(state);
    }
}

impl State {
    fn member(&self, id: NodeId) -> &Member {
        &self.members[id as usize - 1]
    }

    fn send(&mut self, message: Message) {
        // The member would ignore it, now and after any crash: leave it out, so that
        // states that differ only in such messages are one.
        let durable_term = self.member(message.to).hard_state.term;
        let response = matches!(
            message.body,
            MessageBody::VoteResponse { .. } | MessageBody::AppendResponse { .. }
        );
        if response && message.term < durable_term {
            return;
        }
        let mut hasher = DefaultHasher::new();
        message.hash(&mut hasher);
        let key = hasher.finish();
        if let Err(place) = self.network.binary_search_by_key(&key, |(key, _)| *key) {
            self.network.insert(place, (key, Arc::new(message)));
        }
    }

    fn forget_dead_responses(&mut self, id: NodeId) {
        let term = self.member(id).hard_state.term;
        self.network.retain(|(_, message)| {
            let response = matches!(
                message.body,
                MessageBody::VoteResponse { .. } | MessageBody::AppendResponse { .. }
            );
            message.to != id || message.term >= term || !response
        });
    }

    /// Lets a member do something, then carries out its effects.
    fn act(&mut self, id: NodeId, fate: Fate, planted: Planted, input: impl FnOnce(&mut Raft)) {
        let mut member = self.member(id).clone();
        input(&mut member.raft);
        loop {
            self.observe(&member.raft);
            let Some(ready) = member.raft.ready() else {
                break;
            };
            for message in ready.messages {
                self.send(message);
            }
            if fate == Fate::Lost {
                continue;
            }
            if let Some(hard_state) = ready.hard_state {
                member.hard_state = hard_state;
            }
            if let Some(first) = ready.entries.first() {
                member.entries.truncate(first.index as usize - 1);
                member.entries.extend(ready.entries);
            }
            for message in ready.persisted_messages {
                self.send(message);
            }
            member.raft.persisted(ready.number);
        }
        if fate == Fate::Lost {
            member.raft = start(id, member.hard_state, member.entries.clone(), planted);
        }
        self.members[id as usize - 1] = Arc::new(member);
        self.forget_dead_responses(id);
    }

    /// Notes who leads and what is committed.
    fn observe(&mut self, raft: &Raft) {
        if raft.role() != Role::Leader {
            return;
        }
        let (id, term) = (raft.id(), raft.term());
        self.two_leaders |= self.leaders.leads(id, term).is_err();
        let (log, commit) = (log_of(raft), raft.commit_index());
        self.two_commits |= self.committed.commits((id, term), &log, 0, commit).is_err();
    }

    /// Whether any two logs that agree at a position agree before it.
    pub fn logs_match(&self) -> bool {
        let members = self.members.iter();
        let logs: Vec<_> = members
            .map(|member| (member.raft.id(), log_of(&member.raft)))
            .collect();
        check_log_matching(&logs).is_ok()
    }

    /// Whether every leader has everything that was committed in earlier terms.
    pub fn leaders_are_complete(&self) -> bool {
        !self.two_commits
            && self
                .members
                .iter()
                .map(|member| &member.raft)
                .filter(|raft| raft.role() == Role::Leader)
                .all(|leader| {
                    let log = log_of(leader);
                    self.committed
                        .check_complete(leader.id(), leader.term(), &log)
                        .is_ok()
                })
    }

    pub fn committed_index(&self) -> LogIndex {
        self.committed.last_index()
    }

    pub fn terms_led(&self) -> usize {
        self.leaders.terms()
    }
}

/// The whole log; nothing is compacted here.
fn log_of(raft: &Raft) -> LogView {
    LogView::of_entries(raft.entries(1..LogIndex::MAX))
}

fn start(id: NodeId, hard_state: HardState, entries: Vec<Entry>, planted: Planted) -> Raft {
    let config = Config {
        pre_vote: false,
        check_quorum: false,
        // One entry an append: more interleavings.
        max_append_bytes: 1,
        planted,
        ..Config::new(id)
    };
    let initial = Initial {
        hard_state,
        snapshot: SnapshotMeta {
            membership: Membership::of_voters(1..=MEMBERS),
            ..SnapshotMeta::default()
        },
        entries,
        applied: 0,
        seed: 0,
        blank: false,
    };
    Raft::new(config, initial).expect("what was persisted fits")
}

impl Cluster {
    fn fresh(&self) -> State {
        let member = |id| {
            Arc::new(Member {
                raft: start(id, HardState::default(), Vec::new(), self.planted),
                hard_state: HardState::default(),
                entries: Vec::new(),
            })
        };
        State {
            members: (1..=MEMBERS).map(member).collect(),
            network: Vec::new(),
            leaders: Leaders::default(),
            committed: CommittedLog::default(),
            timeouts: self.bounds.timeouts,
            crashes: self.bounds.crashes,
            proposals: self.bounds.proposals,
            duplicates: self.bounds.duplicates,
            two_leaders: false,
            two_commits: false,
            refused: false,
        }
    }

    fn after(&self, prefix: &[Step]) -> State {
        let mut state = self.fresh();
        for step in prefix {
            match *step {
                Step::Timeout(id) => state.act(id, Fate::Durable, self.planted, Raft::campaign),
                Step::Deliver(from, to) => {
                    let network = std::mem::take(&mut state.network);
                    let (arriving, rest) = network
                        .into_iter()
                        .partition(|(_, message)| message.from == from && message.to == to);
                    state.network = rest;
                    for (_, message) in arriving {
                        self.deliver(&mut state, &message, Fate::Durable);
                    }
                }
                Step::Restart(id) => state.act(id, Fate::Lost, self.planted, |_| {}),
                Step::LoseAll => state.network.clear(),
            }
        }
        state
    }

    fn deliver(&self, state: &mut State, message: &Message, fate: Fate) {
        let mut refused = false;
        state.act(message.to, fate, self.planted, |raft| {
            refused = raft.step(message.clone()).is_err();
        });
        state.refused |= refused;
    }
}

impl Model for Cluster {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![self.after(&self.prefix)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let fates: &[Fate] = if state.crashes > 0 {
            &[Fate::Durable, Fate::Lost]
        } else {
            &[Fate::Durable]
        };
        for (_, message) in &state.network {
            for fate in fates {
                actions.push(Action::Deliver(message.clone(), *fate));
            }
            if state.duplicates > 0 {
                actions.push(Action::Duplicate(message.clone()));
            }
        }
        for id in 1..=MEMBERS {
            let raft = &state.member(id).raft;
            if state.timeouts > 0
                && raft.role() != Role::Leader
                && raft.term() < self.bounds.max_term
            {
                actions.push(Action::Timeout(id));
            }
            if state.proposals > 0 && raft.role() == Role::Leader {
                actions.extend(fates.iter().map(|fate| Action::Propose(id, *fate)));
            }
            if state.crashes > 0 && raft.term() > 0 {
                actions.push(Action::Restart(id));
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Deliver(message, fate) => {
                state
                    .network
                    .retain(|(_, other)| !Arc::ptr_eq(other, &message));
                state.crashes -= u8::from(fate == Fate::Lost);
                self.deliver(&mut state, &message, fate);
            }
            Action::Duplicate(message) => {
                state.duplicates -= 1;
                self.deliver(&mut state, &message, Fate::Durable);
            }
            Action::Timeout(id) => {
                state.timeouts -= 1;
                state.act(id, Fate::Durable, self.planted, Raft::campaign);
            }
            Action::Propose(id, fate) => {
                state.proposals -= 1;
                state.crashes -= u8::from(fate == Fate::Lost);
                let command = Bytes::from_static(b"x");
                state.act(id, fate, self.planted, |raft| {
                    raft.propose(command).expect("a leader takes one proposal");
                });
            }
            Action::Restart(id) => {
                state.crashes -= 1;
                state.act(id, Fate::Lost, self.planted, |_| {});
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("election safety", |_, state: &State| !state.two_leaders),
            Property::always("log matching", |_, state: &State| state.logs_match()),
            Property::always("leader completeness", |_, state: &State| {
                state.leaders_are_complete()
            }),
            Property::always("no message is impossible", |_, state: &State| {
                !state.refused
            }),
            Property::sometimes("an entry is committed", |_, state: &State| {
                state.committed_index() > 0
            }),
            Property::sometimes("a second term commits", |_, state: &State| {
                state.terms_led() >= 2 && state.committed_index() >= 2
            }),
        ]
    }
}
