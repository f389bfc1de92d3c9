//! What must hold of one member by itself. These checks are cheap, so that every member
//! makes them after each input, in production too.

use super::InvariantViolation;
use crate::entry::{LogIndex, NodeId, Term};
use crate::ready::Role;

/// A term, and whom a member has voted for in it.
pub type Vote = (Term, Option<NodeId>);

/// What can be seen of a member at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberState {
    /// The member.
    pub member: NodeId,
    /// Its term.
    pub term: Term,
    /// The candidate that it voted for in that term.
    pub vote: Option<NodeId>,
    /// Its role in that term.
    pub role: Role,
    /// The leader of that term, as far as it knows.
    pub leader: Option<NodeId>,
    /// The index right before its log.
    pub base_index: LogIndex,
    /// The highest index that its owner has applied.
    pub applied: LogIndex,
    /// The highest index that it knows to be committed.
    pub commit: LogIndex,
    /// The end of the part of its log that is durable.
    pub persisted: LogIndex,
    /// The end of its log.
    pub last_index: LogIndex,
    /// The term of the entry there.
    pub last_term: Term,
}

impl MemberState {
    /// Its term and vote.
    pub fn vote(&self) -> Vote {
        (self.term, self.vote)
    }

    /// Whether it leads, and has led the same term in the state `before`.
    pub fn still_leads(&self, before: &MemberState) -> bool {
        let led = (before.role, before.term) == (Role::Leader, self.term);
        led && self.role == Role::Leader
    }
}

/// Whether a member can be in this state at all.
///
/// # Errors
/// `member-state`: its parts contradict each other.
pub fn check_state(state: &MemberState) -> Result<(), InvariantViolation> {
    let leads = state.role == Role::Leader;
    let stands = matches!(state.role, Role::Leader | Role::Candidate);
    let contradiction = if state.commit > state.last_index {
        "its commit index is behind the end of its log"
    } else if state.applied > state.commit {
        "it has applied what it does not know to be committed"
    } else if state.base_index > state.commit {
        "its log begins behind its commit index"
    } else if state.persisted > state.last_index {
        "more of its log is durable than there is"
    } else if state.last_term > state.term {
        "its log ends with an entry of a later term"
    } else if leads != (state.leader == Some(state.member)) {
        "it leads and does not follow itself, or the other way round"
    } else if stands && state.vote != Some(state.member) {
        "it stands for election or leads, and has not voted for itself"
    } else if leads && state.last_term != state.term {
        "it leads, and its log does not end with an entry of its term"
    } else {
        return Ok(());
    };
    InvariantViolation::new(
        "member-state",
        format!("member {}: {contradiction}: {state:?}", state.member),
    )
}

/// What never goes back, however much has happened between two states of a member that has
/// not restarted.
///
/// # Errors
/// `vote-changed`, `state-machine-safety` (the commit index falls).
pub fn check_monotonic(
    before: &MemberState,
    after: &MemberState,
) -> Result<(), InvariantViolation> {
    check_vote_stands(before.vote(), after)?;
    if after.commit < before.commit {
        return InvariantViolation::new(
            "state-machine-safety",
            format!(
                "member {} knew that the entries up to {} are committed, and now up to {}",
                after.member, before.commit, after.commit
            ),
        );
    }
    Ok(())
}

/// What a single input of a member may change, beyond [`check_monotonic`].
///
/// # Errors
/// `leader-append-only`; `member-state` for what no single step does.
pub fn check_step(before: &MemberState, after: &MemberState) -> Result<(), InvariantViolation> {
    check_monotonic(before, after)?;
    if after.still_leads(before) && after.last_index < before.last_index {
        return leader_rewrites(after, "removes the end of its log");
    }
    let same_term = before.term == after.term;
    let begins_to_lead = after.role == Role::Leader && !after.still_leads(before);
    let impossible = if after.applied < before.applied {
        "its applied index falls"
    } else if after.base_index < before.base_index {
        "entries that it has let go of are back"
    } else if same_term
        && before
            .leader
            .is_some_and(|_| after.leader.is_some_and(|_| after.leader != before.leader))
    {
        "two members lead its term"
    } else if begins_to_lead && (before.role, before.term) != (Role::Candidate, after.term) {
        "it leads a term in which it was no candidate"
    } else {
        return Ok(());
    };
    InvariantViolation::new(
        "member-state",
        format!(
            "member {}: {impossible}: {before:?}, then {after:?}",
            after.member
        ),
    )
}

/// A vote stands for the whole of its term, and terms do not fall; also over a restart.
///
/// # Errors
/// `vote-changed`.
pub fn check_vote_stands(before: Vote, after: &MemberState) -> Result<(), InvariantViolation> {
    let (term, vote) = before;
    if after.term > term || (after.term == term && (vote.is_none() || after.vote == vote)) {
        return Ok(());
    }
    InvariantViolation::new(
        "vote-changed",
        format!(
            "member {} knows of {} ({:?}), and knew of {}",
            after.member,
            describe_vote(after.vote()),
            after.role,
            describe_vote(before),
        ),
    )
}

/// The violation of a leader whose log does more than grow.
pub(super) fn leader_rewrites<T>(
    leader: &MemberState,
    what: &str,
) -> Result<T, InvariantViolation> {
    InvariantViolation::new(
        "leader-append-only",
        format!(
            "member {}, leader of term {}, {what}",
            leader.member, leader.term
        ),
    )
}

/// A vote in words.
pub(super) fn describe_vote((term, vote): Vote) -> String {
    match vote {
        Some(vote) => format!("a vote for {vote} in term {term}"),
        None => format!("no vote in term {term}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A leader with five entries, four of them committed and three applied.
    fn leader() -> MemberState {
        MemberState {
            member: 1,
            term: 3,
            vote: Some(1),
            role: Role::Leader,
            leader: Some(1),
            base_index: 2,
            applied: 3,
            commit: 4,
            persisted: 5,
            last_index: 5,
            last_term: 3,
        }
    }

    fn candidate() -> MemberState {
        MemberState {
            role: Role::Candidate,
            leader: None,
            last_term: 2,
            ..leader()
        }
    }

    fn follower() -> MemberState {
        MemberState {
            role: Role::Follower,
            vote: None,
            leader: Some(2),
            ..leader()
        }
    }

    #[track_caller]
    fn violates(checked: Result<(), InvariantViolation>, signature: &str, part: &str) {
        let violation = checked.expect_err("an invariant is violated");
        assert_eq!(violation.signature, signature);
        assert!(violation.text.contains(part), "{violation}");
    }

    #[test]
    fn states_that_contradict_themselves_are_found() {
        for state in [leader(), candidate(), follower()] {
            check_state(&state).expect("a state that can be");
        }
        type Change = fn(&mut MemberState);
        let impossible: [(MemberState, Change, &str); 10] = [
            (leader(), |state| state.commit = 6, "behind the end"),
            (leader(), |state| state.applied = 5, "has applied"),
            (
                leader(),
                |state| (state.base_index, state.applied, state.commit) = (5, 4, 4),
                "begins behind",
            ),
            (
                leader(),
                |state| state.persisted = 6,
                "durable than there is",
            ),
            (follower(), |state| state.last_term = 4, "a later term"),
            (leader(), |state| state.leader = None, "follow itself"),
            (follower(), |state| state.leader = Some(1), "follow itself"),
            (leader(), |state| state.vote = None, "voted for itself"),
            (
                candidate(),
                |state| state.vote = Some(2),
                "voted for itself",
            ),
            (leader(), |state| state.last_term = 2, "of its term"),
        ];
        for (mut state, change, part) in impossible {
            change(&mut state);
            violates(check_state(&state), "member-state", part);
        }
    }

    #[test]
    fn what_never_goes_back_is_found_when_it_does() {
        let before = leader();
        type Change = fn(&mut MemberState);
        let impossible: [(Change, &str, &str); 7] = [
            (|after| after.term = 2, "vote-changed", "in term 2"),
            (|after| after.vote = Some(2), "vote-changed", "for 2"),
            (|after| after.vote = None, "vote-changed", "no vote"),
            (|after| after.commit = 3, "state-machine-safety", "up to 3"),
            (
                |after| after.last_index = 4,
                "leader-append-only",
                "the end",
            ),
            (|after| after.applied = 2, "member-state", "applied index"),
            (|after| after.base_index = 1, "member-state", "are back"),
        ];
        check_step(&before, &before).expect("nothing has changed");
        for (change, signature, part) in impossible {
            let mut after = before;
            change(&mut after);
            violates(check_step(&before, &after), signature, part);
        }
    }

    #[test]
    fn leaders_that_no_election_made_are_found() {
        check_step(&candidate(), &leader()).expect("it has won");
        let begins = MemberState {
            vote: Some(1),
            ..follower()
        };
        violates(
            check_step(&begins, &leader()),
            "member-state",
            "two members",
        );
        let begins = MemberState {
            leader: None,
            ..begins
        };
        violates(
            check_step(&begins, &leader()),
            "member-state",
            "no candidate",
        );
        let other = MemberState {
            leader: Some(3),
            ..follower()
        };
        violates(
            check_step(&follower(), &other),
            "member-state",
            "two members",
        );
    }
}
