//! A member's log as it is seen from outside: for each index the term, and a hash over
//! everything up to there.

use std::collections::VecDeque;
use veridical_raft::{ChangeKind, Entry, LogIndex, Payload, Term};
use veridical_world::Digest;

/// Entries that are remembered of one member's log; older ones are forgotten.
const LINKS_MAX: usize = 1 << 16;

/// One entry, and all before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    /// The entry's term.
    pub(super) term: Term,
    /// Over the terms and contents of all entries up to this one.
    pub(super) prefix: u64,
}

impl Link {
    /// Before the first entry of all.
    pub(super) const ORIGIN: Self = Self { term: 0, prefix: 0 };

    /// The link of the entry that follows this one.
    fn next(self, entry: &Entry) -> Self {
        let mut digest = Digest::default();
        digest.fold(self.prefix);
        digest.fold(entry.term);
        match &entry.payload {
            Payload::Noop => digest.fold(0),
            Payload::Command(command) => digest.fold_bytes(command),
            Payload::Membership(change) => {
                digest.fold(match change.kind {
                    ChangeKind::AddVoter => 1,
                    ChangeKind::AddLearner => 2,
                    ChangeKind::Remove => 3,
                    ChangeKind::Update => 4,
                });
                digest.fold(change.node);
                digest.fold_bytes(&change.context);
            }
        }
        Self {
            term: entry.term,
            prefix: digest.value() as u64,
        }
    }
}

/// A log from some index on.
#[derive(Clone, Debug)]
pub(super) struct LogView {
    base_index: LogIndex,
    base: Link,
    links: VecDeque<Link>,
}

impl LogView {
    /// An empty log behind `base`, which is the link at `base_index`.
    pub(super) fn after(base_index: LogIndex, base: Link) -> Self {
        Self {
            base_index,
            base,
            links: VecDeque::new(),
        }
    }

    /// The index before the first one that is known.
    pub(super) fn base_index(&self) -> LogIndex {
        self.base_index
    }

    /// The index before the first one that is known, and the link there.
    pub(super) fn base(&self) -> (LogIndex, Link) {
        (self.base_index, self.base)
    }

    /// Its end.
    pub(super) fn last_index(&self) -> LogIndex {
        self.base_index + self.links.len() as u64
    }

    /// The link at `index`, if that is known.
    pub(super) fn at(&self, index: LogIndex) -> Option<Link> {
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
