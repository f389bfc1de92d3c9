//! Changes of the membership, one at a time, and what the leader refuses because it could
//! cost the majority.
//!
//! The rules are those of etcd 3.4 to 3.6 (`--strict-reconfig-check`), decided where the log is written, so
//! that nothing can come in between: a change is looked at in the light of the membership
//! in force, committed or not, and of who answers the leader.

use veridical_planted::PlantedBug;
use veridical_probe::{reachable, sometimes};
use veridical_proto::etcdserverpb as api;
use veridical_raft::{ChangeRefused, LogIndex, MembershipChange, ProposeError, Raft, Role, Term};
use veridical_store::ApiError;

use crate::membership::directory::Directory;
use crate::requests::Intent;

/// A learner may be promoted once it has this share of the leader's log, in percent
/// (etcd's `readyPercentThreshold`).
const PROMOTION_PERCENT: u64 = 90;

/// Appends a change, unless it makes no sense or could cost the majority. `applied` is the
/// last applied index, and the members as of it. There may be up to `learners_max` learners.
///
/// # Errors
/// Why it was refused; nothing was appended then.
pub(crate) fn propose_change(
    raft: &mut Raft,
    applied: (LogIndex, &Directory),
    intent: Intent,
    member: api::Member,
    learners_max: usize,
) -> Result<(Term, LogIndex), ApiError> {
    if raft.role() != Role::Leader {
        return Err(ApiError::not_leader());
    }
    let (applied_index, directory) = applied;
    // The addresses in a change are known once it is applied.
    let planted = raft.config().planted;
    let may_overlap = planted.has(PlantedBug::ChangesOverlap);
    let known_index = match planted.has(PlantedBug::CommittedTakenForApplied) {
        true => raft.commit_index(),
        false => applied_index,
    };
    if known_index < raft.membership_index() && !may_overlap {
        reachable!("node.membership-change-refused-behind-another", rare: "the operator asks for one change after the other; only one whose outcome was unknown can be in the way");
        return Err(ApiError::unhealthy());
    }
    let standing = Standing { raft, directory };
    standing.check(intent, &member, learners_max)?;
    let change = MembershipChange {
        kind: intent.kind(),
        node: member.id,
        context: prost::Message::encode_to_vec(&member).into(),
    };
    raft.propose_membership(change)
        .map_err(|error| refusal(&error))
}

fn refusal(error: &ProposeError) -> ApiError {
    match error {
        ProposeError::NotLeader { .. } => ApiError::not_leader(),
        ProposeError::Refused(ChangeRefused::UnknownNode(_)) => ApiError::member_not_found(),
        // What else keeps a leader from a change passes, or is repaired by the operator.
        ProposeError::Overloaded { .. }
        | ProposeError::Transferring { .. }
        | ProposeError::MembershipChangePending { .. }
        | ProposeError::TermNotCommitted
        | ProposeError::Refused(
            ChangeRefused::ReservedId
            | ChangeRefused::AlreadyVoter(_)
            | ChangeRefused::AlreadyLearner(_)
            | ChangeRefused::LastVoter(_),
        ) => ApiError::unhealthy(),
    }
}

/// A leader and the members as they are in its log.
#[derive(Clone, Copy)]
struct Standing<'a> {
    raft: &'a Raft,
    directory: &'a Directory,
}

const fn majority_of(count: usize) -> usize {
    count / 2 + 1
}

impl Standing<'_> {
    /// Whether a member is heard of, and so counts when something is to be decided. Whoever
    /// was just added and has never said anything may never start.
    fn answers(&self, member: u64) -> bool {
        member == self.raft.id()
            || self
                .raft
                .progress(member)
                .is_some_and(|progress| progress.is_recently_active() && progress.has_answered())
    }

    /// Whether a member was ever there: it answered this leader, or its name is known, which
    /// a bootstrap member has from the beginning.
    fn has_started(&self, member: u64) -> bool {
        let has_name = self
            .directory
            .get(member)
            .is_some_and(|known| !known.name.is_empty());
        let has_answered = self
            .raft
            .progress(member)
            .is_some_and(veridical_raft::Progress::has_answered);
        member == self.raft.id() || has_name || has_answered
    }

    fn count_voters(&self, holds: impl Fn(u64) -> bool) -> usize {
        let voters = self.raft.membership().voters.iter();
        voters.filter(|voter| holds(**voter)).count()
    }

    /// Whether the leader may append a change.
    fn check(
        &self,
        intent: Intent,
        member: &api::Member,
        learners_max: usize,
    ) -> Result<(), ApiError> {
        let membership = self.raft.membership();
        let is_voter = membership.voters.contains(&member.id);
        match intent {
            Intent::AddVoter | Intent::AddLearner | Intent::Update if self.is_taken(member) => {
                Err(ApiError::peer_url_exists())
            }
            Intent::AddVoter => self.check_new_voter(),
            Intent::AddLearner if membership.learners.len() >= learners_max => {
                reachable!("node.learner-refused-at-the-limit");
                Err(ApiError::too_many_learners())
            }
            Intent::Promote if is_voter => Err(ApiError::not_a_learner()),
            Intent::Promote if !membership.learners.contains(&member.id) => {
                Err(ApiError::member_not_found())
            }
            Intent::Promote => self.check_promotion(member.id),
            Intent::Remove if is_voter => self.check_removal(member.id),
            Intent::AddLearner | Intent::Update | Intent::Remove => Ok(()),
        }
    }

    /// Whether another member has one of these addresses.
    fn is_taken(&self, member: &api::Member) -> bool {
        self.directory.iter().any(|(id, known)| {
            id != member.id
                && known
                    .peer_ur_ls
                    .iter()
                    .any(|url| member.peer_ur_ls.contains(url))
        })
    }

    /// Whether a voter may be added who has not started: all others answer, so that they are
    /// a majority without it.
    fn check_new_voter(&self) -> Result<(), ApiError> {
        let voters = self.raft.membership().voters.len();
        let started = self.count_voters(|voter| self.has_started(voter));
        // A change counts from its entry on (thesis, section 4.1), so a lone voter could
        // never commit a second one that has not started. As a learner it can be added,
        // started and promoted.
        if voters == 1 || started < majority_of(voters + 1) {
            return Err(ApiError::not_enough_started_members());
        }
        let silent = voters - self.count_voters(|voter| self.answers(voter));
        sometimes!(
            silent > 0 && started < voters,
            "node.voter-refused-while-another-has-not-started"
        );
        match silent {
            0 => Ok(()),
            _ => Err(ApiError::unhealthy()),
        }
    }

    /// Whether a learner has nearly everything, and those who answer are a majority with it.
    fn check_promotion(&self, id: u64) -> Result<(), ApiError> {
        let matched = self
            .raft
            .progress(id)
            .map_or(0, veridical_raft::Progress::matched);
        if matched * 100 < self.raft.last_index() * PROMOTION_PERCENT {
            reachable!("node.promotion-of-a-learner-that-lags");
            return Err(ApiError::learner_not_ready());
        }
        let answering =
            self.count_voters(|voter| self.answers(voter)) + usize::from(self.answers(id));
        let lost = answering < majority_of(self.raft.membership().voters.len() + 1);
        sometimes!(lost, "node.promotion-refused-for-the-majority", rare: "a learner that has nearly everything falls silent while the voters that answer are a bare majority");
        match lost {
            true => Err(ApiError::unhealthy()),
            false => Ok(()),
        }
    }

    /// Whether the voters that are left are enough without this one.
    fn check_removal(&self, id: u64) -> Result<(), ApiError> {
        let left = self.raft.membership().voters.len() - 1;
        let silent_counts = self
            .raft
            .config()
            .planted
            .has(PlantedBug::SilentVoterCounts);
        let started = self.count_voters(|voter| voter != id && self.has_started(voter));
        if started < majority_of(left) && !silent_counts {
            return Err(ApiError::not_enough_started_members());
        }
        let answering =
            self.count_voters(|voter| voter != id && (self.answers(voter) || silent_counts));
        let lost = answering < majority_of(left);
        sometimes!(lost, "node.removal-refused-for-the-majority");
        match lost {
            true => Err(ApiError::unhealthy()),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use veridical_raft::{
        AppendOutcome, ChangeKind, Config, Initial, Membership, Message, MessageBody, SnapshotMeta,
    };

    const ELECTION_TICKS: u32 = 10;

    /// Member 1, which leads these voters and learners after one of the voters has voted
    /// for it; nobody has acknowledged anything.
    fn leader(voters: &[u64], learners: &[u64]) -> Raft {
        let membership = Membership {
            voters: voters.iter().copied().collect(),
            learners: learners.iter().copied().collect(),
        };
        let config = Config {
            pre_vote: false,
            election_ticks: ELECTION_TICKS,
            ..Config::new(1)
        };
        let initial = Initial {
            snapshot: SnapshotMeta {
                membership,
                ..SnapshotMeta::default()
            },
            ..Initial::default()
        };
        let mut raft = Raft::new(config, initial).expect("sound");
        raft.campaign();
        settle(&mut raft);
        for voter in voters.iter().skip(1) {
            if raft.role() != Role::Leader {
                says(
                    &mut raft,
                    *voter,
                    MessageBody::VoteResponse { granted: true },
                );
            }
        }
        settle(&mut raft);
        assert_eq!(raft.role(), Role::Leader);
        raft
    }

    fn settle(raft: &mut Raft) {
        while let Some(ready) = raft.ready() {
            raft.persisted(ready.number);
        }
    }

    fn says(raft: &mut Raft, from: u64, body: MessageBody) {
        let (to, term) = (raft.id(), raft.term());
        let message = Message {
            from,
            to,
            term,
            body,
        };
        raft.step(message).expect("a correct message");
    }

    /// Two election timeouts pass in which only `answering` are heard, and have all.
    fn hears(raft: &mut Raft, answering: &[u64]) {
        for _ in 0..4 * ELECTION_TICKS {
            for node in answering {
                let index = raft.last_index();
                let outcome = AppendOutcome::Accepted { index };
                says(raft, *node, MessageBody::AppendResponse { outcome });
            }
            raft.tick();
            settle(raft);
        }
        assert_eq!(raft.role(), Role::Leader);
    }

    fn outcome(raft: &Raft, intent: Intent, id: u64) -> Result<(), ApiError> {
        // The bootstrap members have names from the beginning.
        let member = |id| api::Member {
            id,
            name: if id <= 3 {
                format!("m{id}")
            } else {
                String::new()
            },
            peer_ur_ls: vec![format!("http://{id}")],
            ..Default::default()
        };
        let ids: BTreeSet<u64> = raft.membership().members().collect();
        let directory = Directory::new(ids.into_iter().map(|id| (id, member(id))).collect());
        let directory = &directory;
        Standing { raft, directory }.check(intent, &member(id), 1)
    }

    fn add(raft: &mut Raft, kind: ChangeKind, node: u64) {
        let change = MembershipChange {
            kind,
            node,
            context: Default::default(),
        };
        raft.propose_membership(change).expect("it may");
        settle(raft);
    }

    #[test]
    fn a_voter_that_answers_is_not_removed_when_the_others_are_no_majority_without_it() {
        let mut raft = leader(&[1, 2, 3], &[]);
        hears(&mut raft, &[2]);
        assert_eq!(
            outcome(&raft, Intent::Remove, 2),
            Err(ApiError::unhealthy())
        );
        // The silent one is no loss.
        assert_eq!(outcome(&raft, Intent::Remove, 3), Ok(()));
        hears(&mut raft, &[2, 3]);
        assert_eq!(outcome(&raft, Intent::Remove, 2), Ok(()));
        // Nor is this member, as long as the others answer.
        assert_eq!(outcome(&raft, Intent::Remove, 1), Ok(()));
    }

    #[test]
    fn a_voter_is_not_added_when_it_would_take_the_majority_away() {
        let mut raft = leader(&[1, 2, 3], &[]);
        hears(&mut raft, &[2]);
        assert_eq!(
            outcome(&raft, Intent::AddVoter, 4),
            Err(ApiError::unhealthy())
        );
        assert_eq!(outcome(&raft, Intent::AddLearner, 4), Ok(()));
        hears(&mut raft, &[2, 3]);
        assert_eq!(outcome(&raft, Intent::AddVoter, 4), Ok(()));
        let alone = leader(&[1], &[]);
        let refused = Err(ApiError::not_enough_started_members());
        assert_eq!(outcome(&alone, Intent::AddVoter, 2), refused);
        assert_eq!(outcome(&alone, Intent::AddLearner, 2), Ok(()));
    }

    #[test]
    fn a_newcomer_counts_for_nothing_until_it_has_answered() {
        let mut raft = leader(&[1, 2, 3], &[]);
        hears(&mut raft, &[2, 3]);
        add(&mut raft, ChangeKind::AddVoter, 4);
        hears(&mut raft, &[2, 3]);
        assert_eq!(
            outcome(&raft, Intent::AddVoter, 5),
            Err(ApiError::unhealthy())
        );
        // Three of four answer: one may go, and then no other.
        assert_eq!(outcome(&raft, Intent::Remove, 3), Ok(()));
        add(&mut raft, ChangeKind::Remove, 3);
        hears(&mut raft, &[2]);
        assert_eq!(
            outcome(&raft, Intent::Remove, 2),
            Err(ApiError::not_enough_started_members())
        );
        hears(&mut raft, &[2, 4]);
        assert_eq!(outcome(&raft, Intent::Remove, 2), Ok(()));
        assert_eq!(outcome(&raft, Intent::AddVoter, 5), Ok(()));
    }

    #[test]
    fn a_new_leader_counts_nobody_before_it_has_heard_of_him() {
        let raft = leader(&[1, 2, 3], &[]);
        assert!(outcome(&raft, Intent::AddVoter, 4).is_err());
        assert!(outcome(&raft, Intent::Remove, 2).is_err());
    }

    #[test]
    fn the_last_voter_stays() {
        let alone = leader(&[1], &[]);
        assert_eq!(
            outcome(&alone, Intent::Remove, 1),
            Err(ApiError::not_enough_started_members())
        );
    }

    #[test]
    fn there_are_no_more_learners_than_allowed() {
        let mut raft = leader(&[1, 2, 3], &[]);
        hears(&mut raft, &[2, 3]);
        add(&mut raft, ChangeKind::AddLearner, 4);
        hears(&mut raft, &[2, 3]);
        assert_eq!(
            outcome(&raft, Intent::AddLearner, 5),
            Err(ApiError::too_many_learners())
        );
    }

    #[test]
    fn only_a_learner_that_has_nearly_everything_is_promoted() {
        let mut raft = leader(&[1, 2, 3], &[4]);
        hears(&mut raft, &[2, 3]);
        let lags = Err(ApiError::learner_not_ready());
        assert_eq!(outcome(&raft, Intent::Promote, 4), lags);
        hears(&mut raft, &[2, 3, 4]);
        assert_eq!(outcome(&raft, Intent::Promote, 4), Ok(()));
        for _ in 0..100 {
            raft.propose(vec![0].into()).expect("it leads");
        }
        settle(&mut raft);
        assert_eq!(outcome(&raft, Intent::Promote, 4), lags);
        let votes = Err(ApiError::not_a_learner());
        assert_eq!(outcome(&raft, Intent::Promote, 2), votes);
        // It was removed in the meantime: it must not come back as a voter.
        let gone = Err(ApiError::member_not_found());
        assert_eq!(outcome(&raft, Intent::Promote, 5), gone);
    }

    #[test]
    fn an_address_belongs_to_one_member() {
        let raft = leader(&[1], &[]);
        let member = |id, url: &str| api::Member {
            id,
            peer_ur_ls: vec![url.to_owned()],
            ..Default::default()
        };
        let directory = Directory::new([(1, member(1, "http://a"))].into());
        let standing = Standing {
            raft: &raft,
            directory: &directory,
        };
        let asked = |intent, id, url| standing.check(intent, &member(id, url), 1);
        let taken = Err(ApiError::peer_url_exists());
        assert_eq!(asked(Intent::AddLearner, 2, "http://a"), taken);
        assert_eq!(asked(Intent::Update, 1, "http://a"), Ok(()));
    }
}
