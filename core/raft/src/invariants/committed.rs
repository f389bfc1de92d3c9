//! What is committed anywhere: state machine safety and leader completeness (paper,
//! sections 5.4 and figure 3).

use std::collections::BTreeMap;

use super::InvariantViolation;
use super::log_view::{Link, LogView, describe};
use crate::entry::{LogIndex, NodeId, Term};

/// The most committed entries that are remembered.
const ENTRIES_MAX: usize = 1 << 16;

/// The most terms of which it is remembered how much was committed in them.
const TERMS_MAX: usize = 256;

/// The entries that some member has known to be committed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct CommittedLog {
    entries: BTreeMap<LogIndex, Link>,
    /// The highest index that a member knew to be committed while it was in a term.
    known_in: BTreeMap<Term, LogIndex>,
}

impl CommittedLog {
    /// The committed entry at `index`, if it is known.
    pub fn at(&self, index: LogIndex) -> Option<Link> {
        self.entries.get(&index).copied()
    }

    /// The highest index that some member knows to be committed.
    pub fn last_index(&self) -> LogIndex {
        self.entries.last_key_value().map_or(0, |(index, _)| *index)
    }

    /// `member`, which is in `term` and has the log `log`, knows the entries behind
    /// `before` and up to `commit` to be committed.
    ///
    /// # Errors
    /// `state-machine-safety`: its log ends earlier, or another member knows of other
    /// entries there.
    pub fn commits(
        &mut self,
        (member, term): (NodeId, Term),
        log: &LogView,
        before: LogIndex,
        commit: LogIndex,
    ) -> Result<(), InvariantViolation> {
        if commit > log.last_index() {
            return InvariantViolation::new(
                "state-machine-safety",
                format!(
                    "member {member} takes the entries up to {commit} for committed, and its \
                     log ends at {}",
                    log.last_index()
                ),
            );
        }
        for index in before + 1..=commit {
            let Some(link) = log.at(index) else {
                continue;
            };
            let known = *self.entries.entry(index).or_insert(link);
            if known != link {
                return InvariantViolation::new(
                    "state-machine-safety",
                    format!(
                        "at member {member} the committed entry {index} is of term {}, at \
                         another of term {}, and they or those before them differ",
                        link.term, known.term
                    ),
                );
            }
        }
        while self.entries.len() > ENTRIES_MAX {
            self.entries.pop_first();
        }
        let highest = self.known_in.entry(term).or_default();
        *highest = commit.max(*highest);
        if self.known_in.len() > TERMS_MAX {
            self.forget_oldest_term();
        }
        Ok(())
    }

    /// Leader completeness of `member`, which leads `term` with the log `log`: whatever was
    /// committed in an earlier term is in it. Returns up to which index that is settled;
    /// entries are compared with all that comes before them, so the last one is enough.
    ///
    /// # Errors
    /// `leader-completeness`: an entry is missing, or another one is in its place.
    pub fn check_complete(
        &self,
        member: NodeId,
        term: Term,
        log: &LogView,
    ) -> Result<LogIndex, InvariantViolation> {
        let earlier = self.known_in.range(..term).map(|(_, index)| *index);
        let compared = earlier.fold(log.base_index(), u64::max);
        if compared > log.base_index() {
            let committed = self.at(compared);
            let own = log.at(compared);
            if committed.is_some() && own != committed {
                return incomplete(member, term, compared, own);
            }
        }
        Ok(compared)
    }

    /// Forgets the oldest term, but not how much was committed in it.
    fn forget_oldest_term(&mut self) {
        if let Some((_, index)) = self.known_in.pop_first()
            && let Some(mut next) = self.known_in.first_entry()
        {
            *next.get_mut() = index.max(*next.get());
        }
    }
}

/// The violation of a leader that lacks the committed entry `index`.
pub(super) fn incomplete<T>(
    leader: NodeId,
    term: Term,
    index: LogIndex,
    own: Option<Link>,
) -> Result<T, InvariantViolation> {
    InvariantViolation::new(
        "leader-completeness",
        format!(
            "member {leader} became leader of term {term} without entry {index}, which was \
             committed in an earlier term; it had {}",
            describe(own)
        ),
    )
}
