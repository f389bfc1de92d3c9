//! Changes of the membership, one at a time: the calls of `Cluster`, and what the leader
//! refuses because it could cost the majority.
//!
//! The rules are etcd's (`--strict-reconfig-check`), decided where the log is written, so
//! that nothing can come in between: a change is looked at in the light of the membership
//! in force, committed or not, and of who answers the leader.

use tokio::sync::oneshot;
use veridical_env::Environment;
use veridical_probe::{reachable, sometimes};
use veridical_proto::etcdserverpb as api;
use veridical_raft::{
    ChangeKind, ChangeRefused, LogIndex, MembershipChange, ProposeError, Raft, Role, Term,
};
use veridical_store::ApiError;

use crate::api::node::{Node, member_id_of};
use crate::consensus::driver::{Driver, Request};
use crate::membership::directory::Directory;

/// A learner may be promoted once it has this share of the leader's log, in percent
/// (etcd's `readyPercentThreshold`).
const PROMOTION_PERCENT: u64 = 90;

/// What somebody wants to do to the membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intent {
    /// Add a member that votes.
    AddVoter,
    /// Add a member that only learns.
    AddLearner,
    /// Let a learner vote.
    Promote,
    /// Remove a member.
    Remove,
    /// Give a member other addresses.
    Update,
}

impl Intent {
    fn kind(self) -> ChangeKind {
        match self {
            Self::AddVoter | Self::Promote => ChangeKind::AddVoter,
            Self::AddLearner => ChangeKind::AddLearner,
            Self::Remove => ChangeKind::Remove,
            Self::Update => ChangeKind::Update,
        }
    }
}

/// A membership change that is in the log.
pub(crate) struct PendingChange {
    pub(crate) index: LogIndex,
    pub(crate) term: Term,
    pub(crate) reply: oneshot::Sender<Result<(), ApiError>>,
}

impl<E: Environment> Driver<E> {
    /// Appends a change, unless it makes no sense or could cost the majority.
    pub(crate) fn change_membership(
        &mut self,
        intent: Intent,
        member: api::Member,
    ) -> Result<(Term, LogIndex), ApiError> {
        if self.raft.role() != Role::Leader {
            return Err(ApiError::not_leader());
        }
        // The addresses in a change are known once it is applied.
        if *self.inputs.applied.borrow() < self.raft.membership_index() {
            reachable!("node.membership-change-refused-behind-another", rare: "the operator asks for one change after the other; only one whose outcome was unknown can be in the way");
            return Err(ApiError::unhealthy());
        }
        let directory = self.inputs.members.borrow().clone();
        check(&self.raft, &directory, intent, &member)?;
        let change = MembershipChange {
            kind: intent.kind(),
            node: member.id,
            context: prost::Message::encode_to_vec(&member).into(),
        };
        self.raft
            .propose_membership(change)
            .map_err(|error| refusal(&error))
    }
}

fn refusal(error: &ProposeError) -> ApiError {
    match error {
        ProposeError::NotLeader { .. } => ApiError::not_leader(),
        ProposeError::Refused(ChangeRefused::UnknownNode(_)) => ApiError::member_not_found(),
        _ => ApiError::unhealthy(),
    }
}

/// Whether a leader may append a change, given the members as they are in its log.
fn check(
    raft: &Raft,
    directory: &Directory,
    intent: Intent,
    member: &api::Member,
) -> Result<(), ApiError> {
    let membership = raft.membership();
    let voters = &membership.voters;
    let answers = |voter: u64| {
        voter == raft.id()
            || raft
                .progress(voter)
                .is_some_and(veridical_raft::Progress::is_recently_active)
    };
    let answering = voters.iter().filter(|voter| answers(**voter)).count();
    let is_taken = directory.iter().any(|(id, known)| {
        id != member.id
            && known
                .peer_ur_ls
                .iter()
                .any(|url| member.peer_ur_ls.contains(url))
    });
    let majority_of = |count: usize| count / 2 + 1;
    match intent {
        Intent::AddVoter | Intent::AddLearner | Intent::Update if is_taken => {
            Err(ApiError::peer_url_exists())
        }
        // A change counts from its entry on (thesis, section 4.1), so a lone voter could
        // never commit a second one that has not started. As a learner it can be added,
        // started and promoted.
        Intent::AddVoter if voters.len() == 1 => Err(ApiError::not_enough_started_members()),
        // The newcomer has not started.
        Intent::AddVoter if answering < majority_of(voters.len() + 1) => Err(ApiError::unhealthy()),
        Intent::Promote if voters.contains(&member.id) => Err(ApiError::not_a_learner()),
        Intent::Promote if !membership.learners.contains(&member.id) => {
            Err(ApiError::member_not_found())
        }
        Intent::Promote => {
            let matched = raft
                .progress(member.id)
                .map_or(0, veridical_raft::Progress::matched);
            if matched * 100 < raft.last_index() * PROMOTION_PERCENT {
                reachable!("node.promotion-of-a-learner-that-lags");
                return Err(ApiError::learner_not_ready());
            }
            let answering = answering + usize::from(answers(member.id));
            let lost = answering < majority_of(voters.len() + 1);
            sometimes!(lost, "node.promotion-refused-for-the-majority", rare: "a learner that has nearly everything falls silent while the voters that answer are a bare majority");
            if lost {
                return Err(ApiError::unhealthy());
            }
            Ok(())
        }
        Intent::Remove if voters.contains(&member.id) => {
            let left = answering - usize::from(answers(member.id));
            let lost = voters.len() > 1 && left < majority_of(voters.len() - 1);
            sometimes!(lost, "node.removal-refused-for-the-majority");
            if lost {
                return Err(ApiError::unhealthy());
            }
            Ok(())
        }
        Intent::AddVoter | Intent::AddLearner | Intent::Update | Intent::Remove => Ok(()),
    }
}

impl<E: Environment> Node<E> {
    async fn change_membership(&self, intent: Intent, member: api::Member) -> Result<(), ApiError> {
        let (reply, changed) = oneshot::channel();
        let leaves = intent == Intent::Remove && member.id == self.member_id();
        let asked = async {
            let request = Request::ChangeMembership {
                intent,
                member,
                reply,
            };
            self.shared
                .requests
                .send(request)
                .await
                .map_err(|_| ApiError::stopped())?;
            changed.await.map_err(|_| ApiError::leader_changed())??;
            if leaves {
                // Nobody confirms anything to it any more.
                return Ok(());
            }
            self.linearizable().await
        };
        self.within(asked, ApiError::timeout).await
    }

    /// Adds a member (`Cluster.MemberAdd`). To be asked of the leader.
    ///
    /// # Errors
    /// Its address is taken, a majority could be lost, a change is under way, the outcome is
    /// unknown.
    pub async fn member_add(
        &self,
        request: api::MemberAddRequest,
    ) -> Result<api::MemberAddResponse, ApiError> {
        // Never the id of a member that was here before: its log and its proposals are
        // not the newcomer's.
        let salt = self.shared.environment.random_seed();
        let id = member_id_of(self.shared.config.cluster_id ^ salt, &request.peer_ur_ls);
        let member = api::Member {
            id,
            peer_ur_ls: request.peer_ur_ls,
            is_learner: request.is_learner,
            ..Default::default()
        };
        let intent = if request.is_learner {
            Intent::AddLearner
        } else {
            Intent::AddVoter
        };
        self.change_membership(intent, member.clone()).await?;
        Ok(api::MemberAddResponse {
            header: Some(self.header(self.shared.reader.revision())),
            member: Some(member),
            members: self.members(),
        })
    }

    /// Removes a member (`Cluster.MemberRemove`). To be asked of the leader.
    ///
    /// # Errors
    /// There is no such member, a majority could be lost, a change is under way, the outcome
    /// is unknown.
    pub async fn member_remove(&self, id: u64) -> Result<api::MemberRemoveResponse, ApiError> {
        let member = self.known_member(id)?;
        self.change_membership(Intent::Remove, member).await?;
        let mut members = self.members();
        members.retain(|member| member.id != id);
        Ok(api::MemberRemoveResponse {
            header: Some(self.header(self.shared.reader.revision())),
            members,
        })
    }

    /// Makes a learner a voter (`Cluster.MemberPromote`). To be asked of the leader.
    ///
    /// # Errors
    /// It is no learner, or one that lags behind; a change is under way; the outcome is
    /// unknown.
    pub async fn member_promote(&self, id: u64) -> Result<api::MemberPromoteResponse, ApiError> {
        let member = self.known_member(id)?;
        self.change_membership(Intent::Promote, member).await?;
        Ok(api::MemberPromoteResponse {
            header: Some(self.header(self.shared.reader.revision())),
            members: self.members(),
        })
    }

    /// Replaces a member's peer addresses (`Cluster.MemberUpdate`). To be asked of the
    /// leader.
    ///
    /// # Errors
    /// There is no such member, the outcome is unknown.
    pub async fn member_update(
        &self,
        request: api::MemberUpdateRequest,
    ) -> Result<api::MemberUpdateResponse, ApiError> {
        let mut member = self.known_member(request.id)?;
        member.peer_ur_ls = request.peer_ur_ls;
        self.change_membership(Intent::Update, member).await?;
        Ok(api::MemberUpdateResponse {
            header: Some(self.header(self.shared.reader.revision())),
            members: self.members(),
        })
    }

    fn known_member(&self, id: u64) -> Result<api::Member, ApiError> {
        let directory = self.shared.members.borrow();
        directory
            .get(id)
            .cloned()
            .ok_or_else(ApiError::member_not_found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use veridical_raft::{
        AppendOutcome, Config, Initial, Membership, Message, MessageBody, SnapshotMeta,
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
        let member = |id| api::Member {
            id,
            peer_ur_ls: vec![format!("http://{id}")],
            ..Default::default()
        };
        let ids: BTreeSet<u64> = raft.membership().members().collect();
        let directory = Directory::new(ids.into_iter().map(|id| (id, member(id))).collect());
        check(raft, &directory, intent, &member(id))
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
        let asked = |intent, id, url| check(&raft, &directory, intent, &member(id, url));
        let taken = Err(ApiError::peer_url_exists());
        assert_eq!(asked(Intent::AddLearner, 2, "http://a"), taken);
        assert_eq!(asked(Intent::Update, 1, "http://a"), Ok(()));
    }
}
