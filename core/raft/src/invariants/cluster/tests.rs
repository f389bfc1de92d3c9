use std::collections::BTreeSet;

use bytes::Bytes;

use super::*;
use crate::entry::{ChangeKind, HardState, MembershipChange, Payload};
use crate::message::{AppendOutcome, Message, MessageBody};
use crate::ready::SoftState;
use crate::snapshot::SnapshotMeta;

fn entry(index: LogIndex, term: Term, says: &'static str) -> Entry {
    Entry {
        term,
        index,
        payload: Payload::Command(Bytes::from_static(says.as_bytes())),
    }
}

/// A history of a cluster, step by step.
#[derive(Default)]
struct Story {
    invariants: ClusterInvariants,
    logs: BTreeMap<NodeId, Vec<Entry>>,
    states: BTreeMap<NodeId, MemberState>,
    /// Of the last `Ready`.
    number: u64,
}

impl Story {
    /// Three members that have just been founded.
    fn begins() -> Self {
        let mut story = Self::default();
        for member in 1..=3 {
            story.starts(member, 0).expect("an empty log is right");
        }
        story
    }

    fn state(&self, member: NodeId) -> MemberState {
        self.states.get(&member).copied().unwrap_or(MemberState {
            member,
            term: 0,
            vote: None,
            role: Role::Follower,
            leader: None,
            base_index: 0,
            applied: 0,
            commit: 0,
            last_index: 0,
            last_term: 0,
            persisted: 0,
        })
    }

    /// Starts (again) with the first `kept` entries of its log.
    fn starts(&mut self, member: NodeId, kept: usize) -> Result<(), InvariantViolation> {
        let log = self.logs.entry(member).or_default();
        log.truncate(kept);
        let log = log.clone();
        let state = MemberState {
            role: Role::Follower,
            commit: 0,
            last_index: kept as u64,
            persisted: kept as u64,
            ..self.state(member)
        };
        self.starts_as(state, &log)
    }

    fn starts_as(&mut self, state: MemberState, log: &[Entry]) -> Result<(), InvariantViolation> {
        self.states.insert(state.member, state);
        let start = LogStart {
            base_index: 0,
            base_term: 0,
            membership: Membership::of_voters([1, 2, 3]),
            applied: 0,
        };
        self.invariants.started(state, start, log.iter())
    }

    fn step(&mut self, state: MemberState, ready: &Ready) -> Result<(), InvariantViolation> {
        self.states.insert(state.member, state);
        self.number += 1;
        let number = self.number;
        self.invariants.stepped(
            state,
            &Ready {
                number,
                ..ready.clone()
            },
        )
    }

    /// Takes part in a term, with this vote; and its disk knows, if it is to.
    fn votes(
        &mut self,
        member: NodeId,
        term: Term,
        vote: Option<NodeId>,
        is_durable: bool,
    ) -> Result<(), InvariantViolation> {
        let state = MemberState {
            term,
            vote,
            role: Role::Follower,
            ..self.state(member)
        };
        let hard_state = HardState {
            term,
            vote,
            commit: 0,
        };
        let ready = Ready {
            hard_state: Some(hard_state),
            ..Ready::default()
        };
        self.step(state, &ready)?;
        if is_durable {
            self.invariants
                .persisted(member, self.number, || false)
                .expect("it is synchronised");
        }
        Ok(())
    }

    /// Its log is replaced from the first of these on.
    fn appends(&mut self, member: NodeId, entries: &[Entry]) -> Result<(), InvariantViolation> {
        let log = self.logs.entry(member).or_default();
        log.truncate(entries[0].index as usize - 1);
        log.extend_from_slice(entries);
        let state = MemberState {
            last_index: log.len() as u64,
            ..self.state(member)
        };
        let ready = Ready {
            entries: entries.to_vec(),
            ..Ready::default()
        };
        self.step(state, &ready)
    }

    fn leads(&mut self, member: NodeId, term: Term) -> Result<(), InvariantViolation> {
        self.votes(member, term, Some(member), true)?;
        // Nobody looks at who votes here.
        for voter in [member, if member == 3 { 1 } else { 3 }] {
            let _ = self.invariants.elections.has_voted(voter, term, member);
        }
        self.takes_the_lead(member, term)
    }

    fn takes_the_lead(&mut self, member: NodeId, term: Term) -> Result<(), InvariantViolation> {
        let state = MemberState {
            term,
            role: Role::Leader,
            ..self.state(member)
        };
        let ready = Ready {
            soft_state: Some(SoftState {
                role: Role::Leader,
                leader: Some(member),
            }),
            ..Ready::default()
        };
        self.step(state, &ready)
    }

    fn follows(&mut self, member: NodeId, term: Term) {
        let before = self.state(member);
        let state = MemberState {
            term,
            vote: before.vote.filter(|_| before.term == term),
            role: Role::Follower,
            ..self.state(member)
        };
        self.step(state, &Ready::default())
            .expect("to follow is no crime");
    }

    fn persists(&mut self, member: NodeId) {
        let state = self.state(member);
        let state = MemberState {
            persisted: state.last_index,
            ..state
        };
        self.invariants
            .persisted(member, self.number, || false)
            .expect("it is synchronised");
        self.step(state, &Ready::default())
            .expect("to persist is no crime");
    }

    /// Those who acknowledged it have it on their disks.
    fn commits(&mut self, member: NodeId, commit: LogIndex) -> Result<(), InvariantViolation> {
        for member in 1..=3 {
            self.invariants
                .persisted(member, self.number, || false)
                .expect("it is synchronised");
        }
        self.knows_committed(member, commit)
    }

    fn knows_committed(
        &mut self,
        member: NodeId,
        commit: LogIndex,
    ) -> Result<(), InvariantViolation> {
        let state = MemberState {
            commit,
            ..self.state(member)
        };
        self.step(state, &Ready::default())
    }

    fn applies(&mut self, member: NodeId, entries: &[Entry]) -> Result<(), InvariantViolation> {
        self.invariants
            .persisted(member, self.number, || false)
            .expect("it is synchronised");
        self.hands_out(member, entries)
    }

    /// Hands entries out to be applied.
    fn hands_out(&mut self, member: NodeId, entries: &[Entry]) -> Result<(), InvariantViolation> {
        let ready = Ready {
            committed: entries.to_vec(),
            ..Ready::default()
        };
        self.step(self.state(member), &ready)
    }

    /// Member 1 leads term 1 and has put two entries into its log and that of member 2,
    /// and committed them; member 3 has only the first.
    fn with_two_committed() -> Self {
        let mut story = Self::begins();
        story.leads(1, 1).expect("the first leader");
        story.follows(2, 1);
        story.follows(3, 1);
        for member in [1, 2] {
            story
                .appends(member, &[entry(1, 1, "a"), entry(2, 1, "b")])
                .expect("equal logs");
        }
        story.appends(3, &[entry(1, 1, "a")]).expect("a prefix");
        story.commits(1, 2).expect("a majority has them");
        story
    }
}

#[track_caller]
fn violates(result: Result<(), InvariantViolation>, signature: &str) {
    assert_eq!(
        result.expect_err("an invariant is violated").signature,
        signature
    );
}

#[test]
fn a_cluster_that_works_violates_no_invariant() {
    let mut story = Story::with_two_committed();
    story
        .applies(1, &[entry(1, 1, "a"), entry(2, 1, "b")])
        .expect("committed");
    // An entry that is never committed, and its replacement by another leader.
    story.appends(1, &[entry(3, 1, "lost")]).expect("appended");
    story.follows(2, 2);
    story.leads(2, 2).expect("it has what is committed");
    story.appends(2, &[entry(3, 2, "c")]).expect("appended");
    story.follows(1, 2);
    story.follows(3, 2);
    story.appends(1, &[entry(3, 2, "c")]).expect("replaced");
    story
        .appends(3, &[entry(2, 1, "b"), entry(3, 2, "c")])
        .expect("caught up");
    story.commits(2, 3).expect("all have it");
    story.commits(3, 3).expect("all have it");
    story.starts(1, 3).expect("as it was");
}

#[test]
fn two_leaders_of_a_term_break_election_safety() {
    let mut story = Story::begins();
    story.leads(1, 4).expect("the first");
    violates(story.leads(2, 4), "two-leaders");
}

#[test]
fn a_leader_that_replaces_its_entries_is_found() {
    let mut story = Story::begins();
    story.leads(1, 1).expect("the first leader");
    story
        .appends(1, &[entry(1, 1, "a"), entry(2, 1, "b")])
        .expect("appended");
    violates(story.appends(1, &[entry(2, 1, "c")]), "leader-append-only");
}

#[test]
fn a_leader_whose_log_shrinks_is_found() {
    let mut story = Story::begins();
    story.leads(1, 1).expect("the first leader");
    story.appends(1, &[entry(1, 1, "a")]).expect("appended");
    let state = MemberState {
        last_index: 0,
        ..story.state(1)
    };
    violates(story.step(state, &Ready::default()), "leader-append-only");
}

#[test]
fn other_contents_under_the_same_index_and_term_break_log_matching() {
    let mut story = Story::begins();
    story.appends(1, &[entry(1, 1, "a")]).expect("the first");
    violates(story.appends(2, &[entry(1, 1, "b")]), "log-matching");
}

#[test]
fn another_prefix_before_the_same_entry_breaks_log_matching() {
    let mut story = Story::begins();
    story
        .appends(1, &[entry(1, 1, "a"), entry(2, 3, "c")])
        .expect("the first");
    story.appends(2, &[entry(1, 2, "b")]).expect("another term");
    violates(story.appends(2, &[entry(2, 3, "c")]), "log-matching");
}

#[test]
fn a_leader_without_a_committed_entry_breaks_completeness() {
    let mut story = Story::with_two_committed();
    violates(story.leads(3, 2), "leader-completeness");
}

#[test]
fn a_leader_without_an_entry_whose_commit_is_seen_later_breaks_completeness() {
    let mut story = Story::begins();
    story.leads(1, 1).expect("the first leader");
    story.appends(1, &[entry(1, 1, "a")]).expect("appended");
    story.leads(3, 2).expect("nothing is known to be committed");
    violates(story.commits(1, 1), "leader-completeness");
}

#[test]
fn different_committed_entries_break_state_machine_safety() {
    let mut story = Story::with_two_committed();
    story
        .appends(3, &[entry(2, 3, "other")])
        .expect("not committed");
    violates(story.commits(3, 2), "state-machine-safety");
}

#[test]
fn a_commit_index_behind_the_end_of_the_log_breaks_state_machine_safety() {
    let mut story = Story::with_two_committed();
    violates(story.commits(3, 2), "state-machine-safety");
}

#[test]
fn an_entry_applied_twice_or_left_out_breaks_state_machine_safety() {
    let mut story = Story::with_two_committed();
    story.applies(1, &[entry(1, 1, "a")]).expect("the first");
    violates(
        story.applies(1, &[entry(1, 1, "a")]),
        "state-machine-safety",
    );
    let mut story = Story::with_two_committed();
    violates(
        story.applies(1, &[entry(2, 1, "b")]),
        "state-machine-safety",
    );
}

#[test]
fn a_member_that_removes_what_it_knows_to_be_committed_breaks_state_machine_safety() {
    let mut story = Story::with_two_committed();
    story.commits(2, 2).expect("the same");
    violates(
        story.appends(2, &[entry(2, 1, "b")]),
        "state-machine-safety",
    );
}

#[test]
fn a_snapshot_of_another_term_than_what_is_committed_breaks_state_machine_safety() {
    let mut story = Story::with_two_committed();
    let ready = Ready {
        install_snapshot: Some(SnapshotMeta {
            index: 2,
            term: 7,
            ..SnapshotMeta::default()
        }),
        ..Ready::default()
    };
    violates(story.step(story.state(3), &ready), "state-machine-safety");
}

#[test]
fn a_log_goes_on_behind_an_installed_snapshot() {
    let mut story = Story::with_two_committed();
    let ready = Ready {
        install_snapshot: Some(SnapshotMeta {
            index: 2,
            term: 1,
            ..SnapshotMeta::default()
        }),
        ..Ready::default()
    };
    let state = MemberState {
        last_index: 2,
        ..story.state(3)
    };
    story.step(state, &ready).expect("as it was committed");
    story
        .logs
        .insert(3, vec![entry(1, 1, "a"), entry(2, 1, "b")]);
    story.appends(1, &[entry(3, 1, "c")]).expect("appended");
    story.appends(3, &[entry(3, 1, "c")]).expect("the same");
    violates(story.appends(2, &[entry(3, 1, "d")]), "log-matching");
}

#[test]
fn a_member_that_comes_back_without_what_it_called_durable_is_found() {
    let mut story = Story::with_two_committed();
    story.starts(2, 1).expect("nothing was durable");
    story.appends(2, &[entry(2, 1, "b")]).expect("again");
    story.persists(2);
    violates(story.starts(2, 1), "durable-entries-lost");
}

/// A snapshot of what was committed was on its disk, and the member crashed before anybody was
/// told. Swarm seed 633.
#[test]
fn a_snapshot_that_contradicts_a_log_may_take_its_place_and_one_that_agrees_may_not() {
    let starts_behind = |base_index| {
        let mut story = Story::with_two_committed();
        let own = [entry(2, 2, "x"), entry(3, 2, "y")];
        story.appends(3, &own).expect("nobody else has them");
        story.persists(3);
        let state = MemberState {
            commit: base_index,
            last_index: base_index,
            persisted: base_index,
            ..story.state(3)
        };
        let start = LogStart {
            base_index,
            base_term: 1,
            membership: Membership::of_voters([1, 2, 3]),
            applied: base_index,
        };
        story.invariants.started(state, start, [].into_iter())
    };
    starts_behind(2).expect("what was committed is something else");
    violates(starts_behind(1), "durable-entries-lost");
}

#[test]
fn a_member_whose_disk_decays_may_lose_what_it_called_durable_and_no_other_may() {
    let mut story = Story::default();
    for member in [1, 2] {
        story.starts(member, 0).expect("an empty log is right");
        story.appends(member, &[entry(1, 1, "a")]).expect("a log");
        story.persists(member);
    }
    story.invariants.disk_decays(2);
    story.starts(2, 0).expect("its disk decays");
    violates(story.starts(1, 0), "durable-entries-lost");
}

/// A member says something at once, without waiting for its disk.
fn says(story: &mut Story, member: NodeId, body: MessageBody) -> Result<(), InvariantViolation> {
    let state = story.state(member);
    let message = Message {
        from: member,
        to: 1,
        term: state.term,
        body,
    };
    let ready = Ready {
        messages: vec![message],
        ..Ready::default()
    };
    story.step(state, &ready)
}

#[test]
fn an_entry_that_is_acknowledged_or_applied_before_its_disk_has_it_is_found() {
    let accepted = || MessageBody::AppendResponse {
        outcome: AppendOutcome::Accepted { index: 3 },
    };
    let begins = || {
        let mut story = Story::with_two_committed();
        let further = [entry(3, 1, "c")];
        story.appends(1, &further).expect("appended");
        story.appends(2, &further).expect("appended");
        story
    };
    let mut story = begins();
    violates(says(&mut story, 2, accepted()), "not-durable");
    let mut story = begins();
    let entries = [entry(1, 1, "a"), entry(2, 1, "b"), entry(3, 1, "c")];
    violates(story.hands_out(1, &entries), "not-durable");
    let mut story = begins();
    story.persists(2);
    says(&mut story, 2, accepted()).expect("it is on the disk");
}

#[test]
fn a_log_that_is_taken_for_durable_while_its_replacement_is_under_way_is_found() {
    let mut story = Story::begins();
    story.appends(2, &[entry(1, 1, "a")]).expect("appended");
    story.persists(2);
    // What is durable is the entry before this one.
    violates(story.appends(2, &[entry(1, 2, "b")]), "not-durable");
}

#[test]
fn a_vote_that_changes_in_its_term_is_found_also_over_a_restart() {
    let mut story = Story::begins();
    story.votes(2, 4, Some(1), true).expect("its first vote");
    story.votes(2, 4, Some(1), true).expect("the same");
    for vote in [None, Some(3)] {
        let state = MemberState {
            vote,
            ..story.state(2)
        };
        let mut restarted = Story::begins();
        restarted
            .votes(2, 4, Some(1), true)
            .expect("its first vote");
        violates(restarted.starts_as(state, &[]), "vote-changed");
    }
    violates(story.votes(2, 4, Some(3), true), "vote-changed");
    let mut story = Story::begins();
    story.votes(2, 4, Some(1), false).expect("its first vote");
    let state = MemberState {
        term: 0,
        vote: None,
        ..story.state(2)
    };
    story.starts_as(state, &[]).expect("nobody was told");
}

#[test]
fn a_vote_that_is_told_or_counted_before_it_is_durable_is_found() {
    let granted = || MessageBody::VoteResponse { granted: true };
    let mut story = Story::begins();
    story.votes(2, 4, Some(1), false).expect("its vote");
    violates(says(&mut story, 2, granted()), "not-durable");
    let mut story = Story::begins();
    story.votes(2, 4, Some(1), true).expect("its vote");
    says(&mut story, 2, granted()).expect("it is on the disk");
    let mut story = Story::begins();
    story.votes(3, 4, Some(3), false).expect("its own vote");
    violates(story.takes_the_lead(3, 4), "not-durable");
}

#[test]
fn a_configuration_that_is_not_that_of_the_log_is_found() {
    let removal = Entry {
        payload: Payload::Membership(MembershipChange {
            kind: ChangeKind::Remove,
            node: 3,
            context: Bytes::new(),
        }),
        ..entry(2, 1, "")
    };
    let (all, two) = (
        Membership::of_voters([1, 2, 3]),
        Membership::of_voters([1, 2]),
    );
    let mut story = Story::begins();
    story
        .appends(2, &[entry(1, 1, "a"), removal])
        .expect("appended");
    story
        .invariants
        .check_configuration(2, &two)
        .expect("it is in the log");
    violates(
        story.invariants.check_configuration(2, &all),
        "configuration-differs",
    );
    story
        .invariants
        .check_applied_configuration(2, 1, &all)
        .expect("as of then");
    violates(
        story.invariants.check_applied_configuration(2, 2, &all),
        "configuration-differs",
    );
    // Another leader replaces the removal.
    story.appends(2, &[entry(2, 2, "b")]).expect("replaced");
    story
        .invariants
        .check_configuration(2, &all)
        .expect("it is rolled back");
    violates(
        story.invariants.check_configuration(2, &two),
        "configuration-differs",
    );
}

#[test]
fn a_leader_that_too_few_have_voted_for_is_found() {
    let mut story = Story::begins();
    story.votes(1, 4, Some(1), true).expect("its own vote");
    violates(story.takes_the_lead(1, 4), "elected-without-majority");
    let mut story = Story::begins();
    story.votes(1, 4, Some(1), true).expect("its own vote");
    story.votes(2, 4, Some(1), true).expect("another one");
    story.takes_the_lead(1, 4).expect("two of three");
}

/// Asked for its vote and at the end of its patience in one step, a member writes only the later
/// term down. Swarm seeds 6456 and 7508.
#[test]
fn a_vote_given_right_before_the_voter_stands_itself_counts() {
    let mut story = Story::begins();
    story.votes(1, 4, Some(1), true).expect("its own vote");
    let state = MemberState {
        term: 5,
        vote: Some(2),
        role: Role::Candidate,
        ..story.state(2)
    };
    let ready = Ready {
        hard_state: Some(HardState {
            term: 5,
            vote: Some(2),
            commit: 0,
        }),
        persisted_messages: vec![Message {
            from: 2,
            to: 1,
            term: 4,
            body: MessageBody::VoteResponse { granted: true },
        }],
        ..Ready::default()
    };
    story.step(state, &ready).expect("both are right");
    let early = story.invariants.elections.check_majority(
        &MemberState {
            role: Role::Leader,
            ..story.state(1)
        },
        &BTreeSet::from([1, 2, 3]),
    );
    violates(early, "elected-without-majority");
    story
        .invariants
        .persisted(2, story.number, || false)
        .expect("it is synchronised");
    story.takes_the_lead(1, 4).expect("two of three");
}

#[test]
fn a_member_that_gives_two_candidates_its_vote_is_found() {
    let mut story = Story::begins();
    story.votes(3, 4, Some(1), true).expect("its vote");
    let ready = Ready {
        hard_state: Some(HardState {
            term: 5,
            vote: None,
            commit: 0,
        }),
        persisted_messages: vec![Message {
            from: 3,
            to: 2,
            term: 4,
            body: MessageBody::VoteResponse { granted: true },
        }],
        ..Ready::default()
    };
    let state = MemberState {
        term: 5,
        vote: None,
        ..story.state(3)
    };
    story.step(state, &ready).expect("nothing is durable");
    violates(
        story.invariants.persisted(3, story.number, || false),
        "voted-twice",
    );
}

#[test]
fn what_is_called_durable_and_was_not_synchronised_is_found() {
    let mut story = Story::begins();
    let ready = Ready {
        entries: vec![entry(1, 1, "a")],
        must_sync: true,
        ..Ready::default()
    };
    let state = MemberState {
        last_index: 1,
        ..story.state(1)
    };
    story.step(state, &ready).expect("appended");
    violates(
        story.invariants.persisted(1, story.number, || true),
        "not-durable",
    );
}

#[test]
fn a_commit_index_that_goes_back_breaks_state_machine_safety() {
    let mut story = Story::with_two_committed();
    violates(story.commits(1, 1), "state-machine-safety");
}

#[test]
fn a_vote_for_a_log_that_ends_earlier_than_the_own_one_is_found() {
    let vote_for = |last_index, last_term| {
        let mut story = Story::with_two_committed();
        let state = MemberState {
            term: 4,
            vote: Some(3),
            ..story.state(3)
        };
        let request = Message {
            from: 3,
            to: 2,
            term: 4,
            body: MessageBody::Vote {
                last_index,
                last_term,
                transfer: false,
            },
        };
        let ready = Ready {
            hard_state: Some(HardState {
                term: 4,
                vote: Some(3),
                commit: 0,
            }),
            persisted_messages: vec![request],
            ..Ready::default()
        };
        story.step(state, &ready).expect("it may ask");
        story.votes(2, 4, Some(3), true)
    };
    vote_for(2, 1).expect("as long");
    vote_for(1, 2).expect("of a later term");
    violates(vote_for(1, 1), "vote-for-older-log");
}

#[test]
fn a_leader_that_commits_what_is_on_no_majority_of_disks_or_of_an_earlier_term_is_found() {
    let mut story = Story::begins();
    story.leads(1, 1).expect("the first leader");
    story.appends(1, &[entry(1, 1, "a")]).expect("appended");
    story.persists(1);
    story.appends(2, &[entry(1, 1, "a")]).expect("the same");
    violates(story.knows_committed(1, 1), "committed-without-majority");
    let mut story = Story::begins();
    for member in [1, 2] {
        story.appends(member, &[entry(1, 1, "a")]).expect("equal");
    }
    story.leads(1, 2).expect("the next leader");
    violates(story.commits(1, 1), "committed-without-majority");
}
