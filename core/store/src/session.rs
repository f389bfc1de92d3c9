//! Which proposals have been applied, so that one that is proposed again has no second
//! effect.
//!
//! A proposal is named by (member, incarnation, sequence). The proposer promises not to
//! repeat a settled one; everything it may repeat is remembered. This is the client table
//! of Raft (Ongaro, *Consensus: Bridging Theory and Practice*, 6.3), with the member that
//! took the request in the place of the client, and a window in the place of one request
//! at a time.

use std::collections::{BTreeMap, BTreeSet};

use veridical_planted::{Planted, PlantedBug};
use veridical_probe::{queue, sometimes};
use veridical_proto::{command::Command, snapshot};

/// Most applied and unsettled proposals that one member may have. A proposer keeps its
/// window of requests in flight below this; a command beyond it is refused.
pub const SESSION_WINDOW_MAX: usize = 65_536;

/// What a command is, as far as its name tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Not seen before: apply it. It is remembered from now on.
    New,
    /// Applied before, settled, or of an incarnation that is over.
    Duplicate,
    /// New, but the member has too many unsettled ones.
    WindowFull,
}

/// One session for each member that ever proposed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SessionTable {
    sessions: BTreeMap<u64, Session>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Session {
    incarnation: u64,
    /// Everything below is settled.
    settled_below: u64,
    /// What has been applied of the rest.
    applied: BTreeSet<u64>,
    /// Wrapping sum of a hash of each member of `applied`.
    applied_sum: u64,
}

/// What identifies a session's contents, small enough to be copied at every publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SessionDigest {
    pub(crate) member_id: u64,
    pub(crate) incarnation: u64,
    pub(crate) settled_below: u64,
    pub(crate) applied_count: u64,
    pub(crate) applied_sum: u64,
}

impl SessionTable {
    /// Decides on a command and remembers it if it is new.
    pub(crate) fn admit(&mut self, command: &Command, planted: Planted) -> Admission {
        let session = self.sessions.entry(command.member_id).or_default();
        if command.incarnation < session.incarnation {
            return Admission::Duplicate;
        }
        if command.incarnation > session.incarnation {
            sometimes!(
                !session.applied.is_empty(),
                "store.incarnation-ended-with-unsettled-proposals"
            );
            *session = Session {
                incarnation: command.incarnation,
                ..Session::default()
            };
        }
        sometimes!(
            command.sequence < session.settled_below,
            "store.proposal-came-again-after-it-was-settled"
        );
        sometimes!(
            session.applied.contains(&command.sequence),
            "store.proposal-came-again-before-it-was-settled"
        );
        if command.sequence < session.settled_below || session.applied.contains(&command.sequence) {
            return Admission::Duplicate;
        }
        sometimes!(
            session
                .applied
                .last()
                .is_some_and(|last| command.sequence < *last),
            "store.proposals-applied-out-of-order"
        );
        session.settle(command.settled_below, planted);
        if session.applied.len() >= SESSION_WINDOW_MAX {
            return Admission::WindowFull;
        }
        session.insert(command.sequence);
        queue!(
            "store.session-window",
            session.applied.len(),
            SESSION_WINDOW_MAX
        );
        Admission::New
    }

    /// The digest of every session, by member.
    pub(crate) fn digests(&self) -> impl Iterator<Item = SessionDigest> {
        self.sessions
            .iter()
            .map(|(member_id, session)| SessionDigest {
                member_id: *member_id,
                incarnation: session.incarnation,
                settled_below: session.settled_below,
                applied_count: session.applied.len() as u64,
                applied_sum: session.applied_sum,
            })
    }

    /// The records of a snapshot, by member.
    pub(crate) fn records(&self) -> impl Iterator<Item = snapshot::Session> {
        self.sessions
            .iter()
            .map(|(member_id, session)| session.record(*member_id))
    }

    /// The record of one member's session, if there is one.
    pub(crate) fn record(&self, member_id: u64) -> Option<snapshot::Session> {
        let session = self.sessions.get(&member_id)?;
        Some(session.record(member_id))
    }

    /// Takes a record of a snapshot; false if it is not the first of its member.
    pub(crate) fn load(&mut self, record: &snapshot::Session) -> bool {
        let mut session = Session {
            incarnation: record.incarnation,
            settled_below: record.settled_below,
            ..Session::default()
        };
        for sequence in &record.applied {
            session.insert(*sequence);
        }
        self.sessions.insert(record.member_id, session).is_none()
    }
}

impl Session {
    fn record(&self, member_id: u64) -> snapshot::Session {
        snapshot::Session {
            member_id,
            incarnation: self.incarnation,
            settled_below: self.settled_below,
            applied: self.applied.iter().copied().collect(),
        }
    }

    fn insert(&mut self, sequence: u64) {
        if self.applied.insert(sequence) {
            self.applied_sum = self.applied_sum.wrapping_add(mix(sequence));
        }
    }

    fn settle(&mut self, settled_below: u64, planted: Planted) {
        self.settled_below = self.settled_below.max(settled_below);
        let kept_from = if planted.has(PlantedBug::SessionOversettled) {
            self.settled_below + 1
        } else {
            self.settled_below
        };
        while let Some(first) = self.applied.first().copied() {
            if first >= kept_from {
                break;
            }
            self.applied.pop_first();
            self.applied_sum = self.applied_sum.wrapping_sub(mix(first));
        }
        assert!(
            self.applied
                .first()
                .is_none_or(|first| *first >= self.settled_below),
            "what is settled is forgotten"
        );
        assert!(
            !self.applied.is_empty() || self.applied_sum == 0,
            "the sum is that of the sequences that are remembered"
        );
    }
}

/// The finalizer of SplitMix64 (Steele, Lea and Flood, 2014).
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn command(incarnation: u64, sequence: u64, settled_below: u64) -> Command {
        Command {
            member_id: 1,
            incarnation,
            sequence,
            settled_below,
            request: None,
        }
    }

    #[test]
    fn a_repeated_proposal_is_a_duplicate_whatever_came_between() {
        let mut table = SessionTable::default();
        assert_eq!(
            table.admit(&command(1, 2, 0), Planted::none()),
            Admission::New
        );
        assert_eq!(
            table.admit(&command(1, 1, 0), Planted::none()),
            Admission::New
        );
        assert_eq!(
            table.admit(&command(1, 2, 0), Planted::none()),
            Admission::Duplicate
        );
        assert_eq!(
            table.admit(&command(1, 1, 0), Planted::none()),
            Admission::Duplicate
        );
    }

    #[test]
    fn a_settled_proposal_is_a_duplicate_though_it_is_forgotten() {
        let mut table = SessionTable::default();
        assert_eq!(
            table.admit(&command(1, 1, 0), Planted::none()),
            Admission::New
        );
        assert_eq!(
            table.admit(&command(1, 5, 4), Planted::none()),
            Admission::New
        );
        assert_eq!(table.digests().next().expect("one").applied_count, 1);
        assert_eq!(
            table.admit(&command(1, 1, 0), Planted::none()),
            Admission::Duplicate
        );
        assert_eq!(
            table.admit(&command(1, 3, 0), Planted::none()),
            Admission::Duplicate
        );
        assert_eq!(
            table.admit(&command(1, 4, 0), Planted::none()),
            Admission::New
        );
    }

    #[test]
    fn a_new_incarnation_begins_anew_and_ends_the_old_one() {
        let mut table = SessionTable::default();
        assert_eq!(
            table.admit(&command(1, 7, 7), Planted::none()),
            Admission::New
        );
        assert_eq!(
            table.admit(&command(2, 1, 0), Planted::none()),
            Admission::New
        );
        assert_eq!(
            table.admit(&command(1, 8, 0), Planted::none()),
            Admission::Duplicate
        );
        assert_eq!(
            table.admit(&command(2, 1, 0), Planted::none()),
            Admission::Duplicate
        );
    }

    #[test]
    fn a_window_that_is_full_refuses_until_something_settles() {
        let mut table = SessionTable::default();
        for sequence in 0..SESSION_WINDOW_MAX as u64 {
            assert_eq!(
                table.admit(&command(1, sequence, 0), Planted::none()),
                Admission::New
            );
        }
        let next = SESSION_WINDOW_MAX as u64;
        assert_eq!(
            table.admit(&command(1, next, 0), Planted::none()),
            Admission::WindowFull
        );
        assert_eq!(
            table.admit(&command(1, next, 1), Planted::none()),
            Admission::New
        );
    }

    proptest! {
        #[test]
        fn no_name_is_ever_admitted_twice_and_records_restore_the_table(
            commands in prop::collection::vec((1u64..4, 0u64..30, 0u64..20), 0..200),
        ) {
            let mut table = SessionTable::default();
            let mut admitted = BTreeSet::new();
            for (incarnation, sequence, settled_below) in commands {
                let settled_below = settled_below.min(sequence);
                if table.admit(&command(incarnation, sequence, settled_below), Planted::none()) == Admission::New {
                    prop_assert!(admitted.insert((incarnation, sequence)));
                }
            }
            let mut restored = SessionTable::default();
            for record in table.records() {
                prop_assert!(restored.load(&record));
            }
            prop_assert_eq!(&restored, &table);
            prop_assert!(restored.digests().eq(table.digests()));
        }
    }
}
