//! Who the members are: names and addresses by member id.

use prost::Message as _;
use std::collections::BTreeMap;
use veridical_proto::etcdserverpb::Member;
use veridical_raft::{ChangeKind, Membership, MembershipChange};

/// The members of the cluster as of some log index.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Directory {
    members: BTreeMap<u64, Member>,
}

impl Directory {
    /// The directory of these members.
    pub fn new(members: BTreeMap<u64, Member>) -> Self {
        Self { members }
    }

    /// Whether it names nobody, as that of a member that has no state yet.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The entry of one member.
    pub fn get(&self, node: u64) -> Option<&Member> {
        self.members.get(&node)
    }

    /// Adds or replaces a member.
    pub fn insert(&mut self, node: u64, member: Member) {
        self.members.insert(node, member);
    }

    /// All members by id.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Member)> {
        self.members.iter().map(|(node, member)| (*node, member))
    }

    /// Follows a change that Raft has committed. The context is an encoded `Member`,
    /// checked when the entry was decoded.
    pub(crate) fn apply(&mut self, change: &MembershipChange) {
        if change.kind == ChangeKind::Remove {
            self.members.remove(&change.node);
            return;
        }
        let Ok(mut member) = Member::decode(change.context.clone()) else {
            return;
        };
        member.id = change.node;
        if let Some(known) = self.members.get(&change.node) {
            // A member announces its own name and client addresses; a change of its
            // role or peer address carries neither.
            if member.name.is_empty() {
                member.name.clone_from(&known.name);
            }
            if member.client_ur_ls.is_empty() {
                member.client_ur_ls.clone_from(&known.client_ur_ls);
            }
            if member.peer_ur_ls.is_empty() {
                member.peer_ur_ls.clone_from(&known.peer_ur_ls);
            }
        }
        member.is_learner = match change.kind {
            ChangeKind::AddLearner => true,
            ChangeKind::AddVoter => false,
            ChangeKind::Update | ChangeKind::Remove => self
                .members
                .get(&change.node)
                .is_some_and(|known| known.is_learner),
        };
        self.members.insert(change.node, member);
    }

    /// Who votes and who only learns.
    pub fn membership(&self) -> Membership {
        let mut membership = Membership::default();
        for (node, member) in &self.members {
            if member.is_learner {
                membership.learners.insert(*node);
            } else {
                membership.voters.insert(*node);
            }
        }
        membership
    }

    /// `host:port` of a member's first peer address, without its scheme.
    pub fn peer_address(&self, node: u64) -> Option<String> {
        let url = self.members.get(&node)?.peer_ur_ls.first()?;
        Some(strip_scheme(url).to_owned())
    }
}

/// `host:port` of an etcd URL.
pub fn strip_scheme(url: &str) -> &str {
    url.split_once("://")
        .map_or(url, |(_, rest)| rest)
        .trim_end_matches('/')
}
