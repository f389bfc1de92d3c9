//! What a leader knows of each other member, and how it paces what it sends.

use std::collections::VecDeque;

use veridical_probe::{reachable, sometimes};

use crate::entry::LogIndex;

/// A leader's view of one other member.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Progress {
    matched: LogIndex,
    next: LogIndex,
    state: ProgressState,
    active: bool,
    /// The same, in the period before the last check.
    was_active: bool,
    /// Whether it ever answered this leader.
    answered: bool,
    /// An append is due even if it carries nothing new: the member may have missed one.
    pub(crate) append_due: bool,
    /// The highest commit index that an append has carried to it.
    pub(crate) sent_commit: LogIndex,
    /// The latest round of reads that it confirmed.
    pub(crate) read_sequence: u64,
    /// The entry here removes the member; the leader still sends to it, so that it learns so.
    pub(crate) leaves_at: Option<LogIndex>,
    inflight: Inflight,
}

/// How a leader sends to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProgressState {
    /// Where the logs agree is unknown: one append at a time.
    Probe {
        /// An append is under way.
        paused: bool,
    },
    /// The logs agree: appends are pipelined.
    Replicate,
    /// The member needs a snapshot; nothing but heartbeats until it has one.
    Snapshot {
        /// Ticks since the owner reported that it was sent.
        sent_ticks: Option<u32>,
    },
}

impl Progress {
    /// A member of which nothing is known yet.
    pub(crate) fn new(next: LogIndex) -> Self {
        assert!(next > 0, "entries have indexes from 1");
        Self {
            matched: 0,
            next,
            state: ProgressState::Probe { paused: false },
            // A new member gets a whole election timeout to say something.
            active: true,
            was_active: false,
            answered: false,
            append_due: true,
            sent_commit: 0,
            read_sequence: 0,
            leaves_at: None,
            inflight: Inflight::default(),
        }
    }

    /// The highest index up to which the member's log is known to agree, durably.
    pub fn matched(&self) -> LogIndex {
        self.matched
    }

    /// The next index to send.
    pub fn next_index(&self) -> LogIndex {
        self.next
    }

    /// How the leader sends.
    pub fn state(&self) -> ProgressState {
        self.state
    }

    /// Whether the member was heard of since the last check (at most an election
    /// timeout ago).
    pub fn is_active(&self) -> bool {
        self.active
    }

    /// Whether the member was heard of since the check before the last one (at most two
    /// election timeouts ago), or is given the time to say something. Right after a check
    /// nobody has been heard of since.
    pub fn is_recently_active(&self) -> bool {
        self.active || self.was_active
    }

    /// Whether the member ever answered this leader. One that was just added has not, and may
    /// never start.
    pub fn has_answered(&self) -> bool {
        self.answered
    }

    /// The number of unacknowledged appends.
    pub fn inflight_appends(&self) -> usize {
        self.inflight.appends.len()
    }

    /// The number of unacknowledged bytes.
    pub fn inflight_bytes(&self) -> usize {
        self.inflight.bytes
    }

    /// Notes a sign of life of the member.
    pub(crate) fn mark_active(&mut self) {
        self.active = true;
        self.answered = true;
    }

    /// A new period begins, in which the member has not been heard of yet.
    pub(crate) fn begin_period(&mut self) {
        self.was_active = std::mem::replace(&mut self.active, false);
    }

    /// Whether an append may be sent now.
    pub(crate) fn can_send(&self, max_appends: usize, max_bytes: usize) -> bool {
        match self.state {
            ProgressState::Probe { paused } => !paused,
            ProgressState::Replicate => {
                self.inflight.appends.len() < max_appends && self.inflight.bytes < max_bytes
            }
            ProgressState::Snapshot { .. } => false,
        }
    }

    /// Whether an append would say something new, given the leader's log and commit.
    pub(crate) fn wants_append(&self, last_index: LogIndex, commit: LogIndex) -> bool {
        self.append_due || self.next <= last_index || self.sent_commit < commit.min(self.next - 1)
    }

    /// An append with entries up to `last` (`bytes` of them; 0 if empty) was sent.
    pub(crate) fn sent(&mut self, last: LogIndex, bytes: usize, commit: LogIndex) {
        self.append_due = false;
        self.sent_commit = self.sent_commit.max(commit.min(last));
        match &mut self.state {
            ProgressState::Probe { paused } => *paused = true,
            ProgressState::Replicate => {
                if last >= self.next {
                    self.inflight.add(last, bytes);
                    self.next = last + 1;
                }
            }
            ProgressState::Snapshot { .. } => unreachable!("nothing is sent meanwhile"),
        }
        self.assert_consistent();
    }

    /// The member's log agrees up to `index`, durably. `first_index` is the beginning of
    /// the leader's log. Says whether that is news.
    pub(crate) fn accepted(&mut self, index: LogIndex, first_index: LogIndex) -> bool {
        let news = index > self.matched;
        self.matched = self.matched.max(index);
        self.next = self.next.max(index + 1);
        match self.state {
            ProgressState::Probe { .. } if index >= self.matched => self.become_replicate(),
            ProgressState::Probe { .. } => {}
            ProgressState::Replicate => self.inflight.free_to(index),
            ProgressState::Snapshot { .. } => {
                if self.matched + 1 >= first_index {
                    sometimes!(
                        matches!(self.state, ProgressState::Snapshot { sent_ticks: None }),
                        "raft.caught-up-while-its-snapshot-was-under-way"
                    );
                    self.become_replicate();
                }
            }
        }
        self.assert_consistent();
        news
    }

    /// What is sent next lies behind what agrees, and behind what is under way; only a
    /// member whose log agrees has anything under way.
    fn assert_consistent(&self) {
        assert!(
            self.next > self.matched,
            "what agrees is sent no second time: {self:?}"
        );
        let sent = self.inflight.appends.back();
        assert!(
            sent.is_none_or(|(last, _)| *last < self.next
                && self.state == ProgressState::Replicate),
            "appends are under way only to a member whose log agrees: {self:?}"
        );
    }

    /// An append after `previous_index` was rejected; the logs may agree up to `hint`.
    /// Says whether the rejection was current.
    pub(crate) fn rejected(&mut self, previous_index: LogIndex, hint: LogIndex) -> bool {
        match self.state {
            ProgressState::Replicate if previous_index > self.matched => {
                self.become_probe(self.matched + 1);
                true
            }
            // A rejection at the matched index itself means that the member lost what it
            // had acknowledged; answering at once would go on for ever.
            ProgressState::Probe { .. }
                if previous_index + 1 == self.next && previous_index > self.matched =>
            {
                self.become_probe(previous_index.min(hint.saturating_add(1)));
                true
            }
            ProgressState::Probe { .. }
            | ProgressState::Replicate
            | ProgressState::Snapshot { .. } => false,
        }
    }

    /// Where the logs agree is in doubt: probe from `next` on.
    pub(crate) fn become_probe(&mut self, next: LogIndex) {
        self.next = next.max(self.matched + 1);
        self.sent_commit = self.sent_commit.min(self.next - 1);
        self.state = ProgressState::Probe { paused: false };
        self.append_due = true;
        self.inflight.clear();
        self.assert_consistent();
    }

    /// What was sent may be lost.
    pub(crate) fn unreachable(&mut self) {
        if self.state == ProgressState::Replicate {
            self.become_probe(self.matched + 1);
        }
    }

    fn become_replicate(&mut self) {
        self.next = self.matched + 1;
        self.state = ProgressState::Replicate;
        self.inflight.clear();
    }

    pub(crate) fn become_snapshot(&mut self) {
        self.state = ProgressState::Snapshot { sent_ticks: None };
        self.append_due = false;
        self.inflight.clear();
    }

    /// The snapshot is on the member's side; it has an election timeout to install it.
    pub(crate) fn snapshot_sent(&mut self) {
        if let ProgressState::Snapshot { sent_ticks } = &mut self.state {
            sent_ticks.get_or_insert(0);
        }
    }

    /// The snapshot did not arrive: find out, no sooner than at the next sign of life,
    /// whether the member still needs one.
    pub(crate) fn snapshot_failed(&mut self) {
        if matches!(self.state, ProgressState::Snapshot { .. }) {
            reachable!("raft.snapshot-did-not-arrive");
            self.become_probe(self.matched + 1);
            self.state = ProgressState::Probe { paused: true };
        }
    }

    /// One tick: a member that does not say that it has installed the snapshot is
    /// probed again at the beginning of the log.
    pub(crate) fn tick(&mut self, patience_ticks: u32, first_index: LogIndex) {
        if let ProgressState::Snapshot {
            sent_ticks: Some(ticks),
        } = &mut self.state
        {
            *ticks += 1;
            if *ticks >= patience_ticks {
                reachable!("raft.snapshot-arrived-and-was-not-installed-in-time");
                self.become_probe(first_index);
            }
        }
    }

    /// The member gave a sign of life: what was sent before may have been lost.
    pub(crate) fn resume(&mut self, last_index: LogIndex, max_appends: usize, max_bytes: usize) {
        if let ProgressState::Probe { paused } = &mut self.state {
            *paused = false;
            self.append_due = true;
        } else if self.state == ProgressState::Replicate && self.matched < last_index {
            // An empty append after the last one sent shows whether one was lost.
            self.append_due = true;
            if !self.can_send(max_appends, max_bytes) {
                reachable!("raft.full-window-reopened-by-a-sign-of-life");
                self.inflight.free_first();
            }
        }
    }
}

/// Appends that were sent and not acknowledged, as (last index, bytes). Bounded by
/// `Config::max_inflight_appends`, which [`Progress::can_send`] enforces.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Inflight {
    appends: VecDeque<(LogIndex, usize)>,
    bytes: usize,
}

impl Inflight {
    fn add(&mut self, last: LogIndex, bytes: usize) {
        assert!(
            self.appends.back().is_none_or(|(before, _)| *before < last),
            "appends go out in the order of the log"
        );
        self.appends.push_back((last, bytes));
        self.bytes += bytes;
    }

    fn free_to(&mut self, index: LogIndex) {
        while self.appends.front().is_some_and(|(last, _)| *last <= index) {
            self.free_first();
        }
    }

    fn free_first(&mut self) {
        if let Some((_, bytes)) = self.appends.pop_front() {
            assert!(
                bytes <= self.bytes,
                "bytes under way are counted until they are acknowledged"
            );
            self.bytes -= bytes;
        }
    }

    fn clear(&mut self) {
        self.appends.clear();
        self.bytes = 0;
    }
}
