//! What must hold in every state: paper figure 3, and linearizable read indexes.

use std::collections::BTreeMap;

use veridical_raft::{Entry, LogIndex, NodeId, Payload, Raft, ReadState, Role, Term};

/// A broken invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation(pub String);

/// What was seen so far.
#[derive(Clone, Debug, Default)]
pub struct Invariants {
    leaders: BTreeMap<Term, NodeId>,
    /// Every entry that ever reached a log, by position: its payload and the term of
    /// the entry before it, where known.
    entries: BTreeMap<(LogIndex, Term), Payload>,
    previous_terms: BTreeMap<(LogIndex, Term), Term>,
    /// What any member ever held to be committed: the term of the entry, and that of
    /// the member when it first did. Leaders are the first to know.
    committed: BTreeMap<LogIndex, (Term, Term)>,
    views: BTreeMap<NodeId, View>,
}

/// The last state of a living member.
#[derive(Clone, Debug, Default)]
struct View {
    commit: LogIndex,
    led: Option<(Term, LogIndex)>,
}

impl Invariants {
    /// The highest index that was ever committed.
    pub fn committed_index(&self) -> LogIndex {
        self.committed
            .last_key_value()
            .map_or(0, |(index, _)| *index)
    }

    /// How many terms had a leader.
    pub fn elections(&self) -> usize {
        self.leaders.len()
    }

    /// A crash.
    pub fn forget_volatile(&mut self, id: NodeId) {
        self.views.remove(&id);
    }

    /// Log matching, by induction: a position determines its entry and the term before.
    pub fn check_entries(&mut self, entries: &[Entry]) -> Result<(), Violation> {
        for entry in entries {
            let position = (entry.index, entry.term);
            let known = self
                .entries
                .entry(position)
                .or_insert_with(|| entry.payload.clone());
            if *known != entry.payload {
                return violated(format!("log matching: two entries at {position:?}"));
            }
        }
        for pair in entries.windows(2) {
            let position = (pair[1].index, pair[1].term);
            let known = self.previous_terms.entry(position).or_insert(pair[0].term);
            if *known != pair[0].term {
                return violated(format!("log matching: two histories before {position:?}"));
            }
        }
        Ok(())
    }

    /// State machine safety: the same entry everywhere, each once, in order.
    pub fn check_applied(
        &mut self,
        id: NodeId,
        entry: &Entry,
        last: Option<&Entry>,
    ) -> Result<(), Violation> {
        let expected = last.map_or(0, |last| last.index) + 1;
        if entry.index != expected {
            return violated(format!(
                "node {id} applies {} instead of {expected}",
                entry.index
            ));
        }
        match self.committed.get(&entry.index) {
            Some((term, _)) if *term != entry.term => violated(format!(
                "state machine safety: node {id} applies {} of term {} instead of {term}",
                entry.index, entry.term
            )),
            _ => Ok(()),
        }
    }

    /// A read sees at least what was committed when it was asked.
    pub fn check_read(
        &self,
        id: NodeId,
        read: ReadState,
        least: Option<LogIndex>,
    ) -> Result<(), Violation> {
        let Some(least) = least else {
            return violated(format!(
                "node {id} answers a read that nobody waits for: {read:?}"
            ));
        };
        if read.index < least {
            return violated(format!(
                "stale read: node {id} answers {} although {least} was committed",
                read.index
            ));
        }
        Ok(())
    }

    /// Whatever can be seen from one member's state.
    pub fn check_member(&mut self, raft: &Raft) -> Result<(), Violation> {
        let id = raft.id();
        let view = self.views.entry(id).or_default();
        if raft.commit_index() < view.commit {
            return violated(format!("node {id}: the commit index falls"));
        }
        for index in view.commit.max(raft.first_index() - 1) + 1..=raft.commit_index() {
            let term = raft
                .term_at(index)
                .expect("committed entries are in the log");
            let first_known = (term, raft.term());
            let (known, _) = *self.committed.entry(index).or_insert(first_known);
            if known != term {
                return violated(format!(
                    "node {id} commits {index} of term {term}, committed in term {known} before"
                ));
            }
        }
        view.commit = raft.commit_index();
        if raft.role() != Role::Leader {
            view.led = None;
            return Ok(());
        }
        let leader = *self.leaders.entry(raft.term()).or_insert(id);
        if leader != id {
            return violated(format!(
                "election safety: {leader} and {id} lead term {}",
                raft.term()
            ));
        }
        if let Some((term, last_index)) = view.led
            && term == raft.term()
            && last_index > raft.last_index()
        {
            return violated(format!("leader append-only: the log of {id} shrinks"));
        }
        let newly_elected = view.led.is_none_or(|(term, _)| term != raft.term());
        view.led = Some((raft.term(), raft.last_index()));
        if newly_elected {
            for (index, (term, committed_in)) in self.committed.range(raft.first_index()..) {
                // What leaders of later terms commit is none of its business.
                if *committed_in < raft.term() && raft.term_at(*index) != Some(*term) {
                    return violated(format!(
                        "leader completeness: {id} leads term {} without {index} of term {term}",
                        raft.term()
                    ));
                }
            }
        }
        Ok(())
    }
}

fn violated<T>(text: String) -> Result<T, Violation> {
    Err(Violation(text))
}
