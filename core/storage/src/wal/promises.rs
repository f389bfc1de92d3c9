//! What a member never takes back (Ongaro and Ousterhout 2014, figure 2), as its log shows it.
//!
//! A record that was changed together with its checksum cannot be told from a right one by
//! itself. What comes before it often can: terms, votes and lives only go forward. The
//! writer does not ask, since it is for the consensus protocol to keep its promises; whoever
//! reads a log that breaks them must not vote on it.

use super::frame::Payload;
use super::record::{HardState, MemberRecord, WalRecord};
use super::shape::LogShape;
use veridical_planted::{Planted, PlantedBug};

/// A record that takes back what an earlier one says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BrokenPromise {
    /// Terms do not fall along a log.
    #[error("entry {index} has term {term}, the one before it {before}")]
    EntryTermFalls { index: u64, term: u64, before: u64 },
    /// A member never goes back to an earlier term.
    #[error("the hard state goes back from term {before} to {term}")]
    TermFalls { term: u64, before: u64 },
    /// A member votes once in a term.
    #[error("the vote in term {term} is {vote:#x}, it was {before:#x} before")]
    VoteChanges { term: u64, vote: u64, before: u64 },
    /// A log is of one member.
    #[error(
        "the log is of member {member:#x} of cluster {cluster:#x}, and was of another one before"
    )]
    OwnerChanges { member: u64, cluster: u64 },
    /// A member counts how often it started.
    #[error("the member has started {incarnation} times, and {before} times before that")]
    IncarnationFalls { incarnation: u64, before: u64 },
    /// No member starts so often, and it has to be able to start once more.
    #[error("{0} is no number of starts")]
    NoIncarnation(u64),
}

/// Whether a record keeps what the records before it promise.
pub(super) fn check(
    before: &LogShape,
    payload: &Payload,
    planted: Planted,
) -> Result<(), BrokenPromise> {
    let state = before.state();
    match payload {
        Payload::Record(WalRecord::Entry(entry)) => {
            let earlier = entry.index.checked_sub(1);
            match earlier.and_then(|index| before.term_at(index)) {
                Some(term) if entry.term < term => Err(BrokenPromise::EntryTermFalls {
                    index: entry.index,
                    term: entry.term,
                    before: term,
                }),
                Some(_) | None => Ok(()),
            }
        }
        Payload::Record(WalRecord::HardState(now)) => match state.hard_state {
            Some(earlier) => check_hard_state(earlier, *now, planted),
            None => Ok(()),
        },
        Payload::Record(WalRecord::Member(now)) if now.incarnation == u64::MAX => {
            Err(BrokenPromise::NoIncarnation(now.incarnation))
        }
        Payload::Record(WalRecord::Member(now)) => match state.member {
            Some(earlier) => check_member(earlier, *now),
            None => Ok(()),
        },
        Payload::Record(WalRecord::Snapshot(_))
        | Payload::Restart(_)
        | Payload::OldestSegment(_) => Ok(()),
    }
}

fn check_hard_state(
    before: HardState,
    now: HardState,
    planted: Planted,
) -> Result<(), BrokenPromise> {
    if now.term < before.term {
        return Err(BrokenPromise::TermFalls {
            term: now.term,
            before: before.term,
        });
    }
    let passes = planted.has(PlantedBug::WalVoteTakenBack) && now.vote == 0;
    if now.term == before.term && before.vote != 0 && now.vote != before.vote && !passes {
        return Err(BrokenPromise::VoteChanges {
            term: now.term,
            vote: now.vote,
            before: before.vote,
        });
    }
    Ok(())
}

fn check_member(before: MemberRecord, now: MemberRecord) -> Result<(), BrokenPromise> {
    if (now.cluster_id, now.member_id) != (before.cluster_id, before.member_id) {
        return Err(BrokenPromise::OwnerChanges {
            member: now.member_id,
            cluster: now.cluster_id,
        });
    }
    if now.incarnation < before.incarnation {
        return Err(BrokenPromise::IncarnationFalls {
            incarnation: now.incarnation,
            before: before.incarnation,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::record::LogEntry;
    use super::*;
    use bytes::Bytes;

    fn entry(term: u64, index: u64) -> Payload {
        Payload::Record(WalRecord::Entry(LogEntry {
            term,
            index,
            kind: 0,
            data: Bytes::new(),
        }))
    }

    fn hard_state(term: u64, vote: u64) -> Payload {
        let commit = 0;
        Payload::Record(WalRecord::HardState(HardState { term, vote, commit }))
    }

    fn member(cluster_id: u64, incarnation: u64) -> Payload {
        Payload::Record(WalRecord::Member(MemberRecord {
            cluster_id,
            member_id: 1,
            incarnation,
        }))
    }

    #[test]
    fn what_was_promised_is_not_taken_back() {
        let mut shape = LogShape::default();
        for payload in [entry(3, 1), entry(4, 2), hard_state(4, 7), member(1, 5)] {
            check(&shape, &payload, Planted::none()).expect("it keeps what comes before");
            shape.apply(&payload).expect("it follows the log");
        }
        for kept in [
            entry(4, 3),
            // Another leader's entry may be of an earlier term than the one that it replaces.
            entry(3, 2),
            hard_state(4, 7),
            hard_state(5, 0),
            member(1, 5),
            member(1, 6),
        ] {
            assert_eq!(check(&shape, &kept, Planted::none()), Ok(()), "{kept:?}");
        }
        for broken in [
            entry(3, 3),
            entry(2, 2),
            hard_state(3, 7),
            hard_state(4, 0),
            hard_state(4, 8),
            member(2, 6),
            member(1, 4),
            member(1, u64::MAX),
        ] {
            assert!(
                check(&shape, &broken, Planted::none()).is_err(),
                "{broken:?}"
            );
        }
    }
}
