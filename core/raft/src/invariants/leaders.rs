//! Election safety: at most one leader in a term (paper, section 5.2 and figure 3).

use std::collections::BTreeMap;

use super::InvariantViolation;
use crate::entry::{NodeId, Term};

/// The most terms whose leaders are remembered.
const TERMS_MAX: usize = 256;

/// Who has led each term.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Leaders {
    by_term: BTreeMap<Term, NodeId>,
    forgotten: usize,
}

impl Leaders {
    /// `member` is seen to lead `term`.
    ///
    /// # Errors
    /// `two-leaders`: another member was seen to lead it.
    pub fn leads(&mut self, member: NodeId, term: Term) -> Result<(), InvariantViolation> {
        let known = *self.by_term.entry(term).or_insert(member);
        if self.by_term.len() > TERMS_MAX {
            self.by_term.pop_first();
            self.forgotten += 1;
        }
        if known == member {
            return Ok(());
        }
        InvariantViolation::new(
            "two-leaders",
            format!("members {known} and {member} both led term {term}"),
        )
    }

    /// How many terms have had a leader.
    pub fn terms(&self) -> usize {
        self.by_term.len() + self.forgotten
    }
}
