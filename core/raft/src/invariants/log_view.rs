//! A member's log as it is seen from outside: for each index the term, and a hash over
//! everything up to there.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::InvariantViolation;
use crate::entry::{Entry, LogIndex, NodeId, Term};

/// Entries that are remembered of one member's log; older ones are forgotten.
const LINKS_MAX: usize = 1 << 16;

/// One entry, and all before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Link {
    /// The entry's term.
    pub term: Term,
    /// Over the terms and contents of all entries up to this one.
    pub prefix: u64,
}

impl Link {
    /// Before the first entry of all.
    pub const ORIGIN: Self = Self { term: 0, prefix: 0 };

    /// The link of the entry that follows this one.
    fn next(self, entry: &Entry) -> Self {
        let mut hasher = DefaultHasher::new();
        (self.prefix, entry.term, &entry.payload).hash(&mut hasher);
        Self {
            term: entry.term,
            prefix: hasher.finish(),
        }
    }
}

/// A log from some index on.
#[derive(Clone, Debug)]
pub struct LogView {
    base_index: LogIndex,
    base: Link,
    links: VecDeque<Link>,
}

impl LogView {
    /// The log of a member from index 1 on.
    pub fn of_entries<'a>(entries: impl Iterator<Item = &'a Entry>) -> Self {
        let mut log = Self::after(0, Link::ORIGIN);
        for entry in entries {
            log.push(entry);
        }
        log
    }

    /// An empty log behind `base`, which is the link at `base_index`.
    pub fn after(base_index: LogIndex, base: Link) -> Self {
        Self {
            base_index,
            base,
            links: VecDeque::new(),
        }
    }

    /// The index before the first one that is known.
    pub fn base_index(&self) -> LogIndex {
        self.base_index
    }

    /// The index before the first one that is known, and the link there.
    pub(super) fn base(&self) -> (LogIndex, Link) {
        (self.base_index, self.base)
    }

    /// Its end.
    pub fn last_index(&self) -> LogIndex {
        self.base_index + self.links.len() as u64
    }

    /// The link at `index`, if that is known.
    pub fn at(&self, index: LogIndex) -> Option<Link> {
        let offset = index.checked_sub(self.base_index)?;
        match offset.checked_sub(1) {
            None => Some(self.base),
            Some(offset) => self.links.get(offset as usize).copied(),
        }
    }

    /// The links of `from` and of everything after it.
    pub(super) fn since(&self, from: LogIndex) -> impl Iterator<Item = Link> {
        let skipped = from.saturating_sub(self.base_index + 1) as usize;
        self.links.iter().skip(skipped).copied()
    }

    /// Adds an entry to the end.
    pub(super) fn push(&mut self, entry: &Entry) -> Link {
        let last = self.links.back().copied().unwrap_or(self.base);
        let link = last.next(entry);
        self.push_link(link);
        link
    }

    /// Adds a link to the end.
    pub(super) fn push_link(&mut self, link: Link) {
        self.links.push_back(link);
        if self.links.len() > LINKS_MAX
            && let Some(oldest) = self.links.pop_front()
        {
            self.base_index += 1;
            self.base = oldest;
        }
    }

    /// Removes everything behind `last_index`.
    pub(super) fn truncate(&mut self, last_index: LogIndex) {
        self.links
            .truncate(last_index.saturating_sub(self.base_index) as usize);
    }
}

/// Log matching (paper, figure 3) of whole logs, all of which begin at index 1: two logs
/// that have an entry of the same term at an index are equal up to there.
///
/// # Errors
/// `log-matching`: the first two that differ.
pub fn check_log_matching(logs: &[(NodeId, LogView)]) -> Result<(), InvariantViolation> {
    for (at, (one_id, one)) in logs.iter().enumerate() {
        for (other_id, other) in &logs[at + 1..] {
            let shared = one.links.iter().zip(&other.links);
            let Some(last) = shared
                .clone()
                .rposition(|(one, other)| one.term == other.term)
            else {
                continue;
            };
            // Each link stands for all before it.
            if one.links[last] != other.links[last] {
                return InvariantViolation::new(
                    "log-matching",
                    format!(
                        "members {one_id} and {other_id} have an entry {} of term {}, but what \
                         is in it or before it differs",
                        last + 1,
                        one.links[last].term
                    ),
                );
            }
        }
    }
    Ok(())
}

/// An entry in words.
pub(super) fn describe(link: Option<Link>) -> String {
    link.map_or_else(
        || "nothing there".to_owned(),
        |link| format!("one of term {}", link.term),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Payload;

    fn log(terms: &[Term]) -> LogView {
        let entries: Vec<Entry> = (1..)
            .zip(terms)
            .map(|(index, term)| Entry {
                term: *term,
                index,
                payload: Payload::Noop,
            })
            .collect();
        LogView::of_entries(entries.iter())
    }

    #[test]
    fn logs_that_agree_somewhere_and_differ_before_are_found() {
        let matching = [(1, log(&[1, 1, 2])), (2, log(&[1, 1])), (3, log(&[1, 3]))];
        check_log_matching(&matching).expect("they differ only at their ends");
        let differing = [(1, log(&[1, 1, 3])), (2, log(&[1, 2, 3]))];
        let violation = check_log_matching(&differing).expect_err("entry 2 differs");
        assert_eq!(violation.signature, "log-matching");
    }
}
