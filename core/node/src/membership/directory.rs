//! Who the members are: names and addresses by member id.

use prost::Message as _;
use std::collections::BTreeMap;
use veridical_proto::command::MemberAttributes;
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

    /// Takes what a member tells of itself. Whether anything is new.
    pub(crate) fn announce(&mut self, node: u64, attributes: &MemberAttributes) -> bool {
        let Some(member) = self.members.get_mut(&node) else {
            // It was removed meanwhile.
            return false;
        };
        let is_new = !is_announced(member, attributes);
        member.name.clone_from(&attributes.name);
        member.client_ur_ls.clone_from(&attributes.client_urls);
        is_new
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

/// Whether the members know of one what it tells of itself.
pub(crate) fn is_announced(member: &Member, attributes: &MemberAttributes) -> bool {
    member.name == attributes.name && member.client_ur_ls == attributes.client_urls
}

/// `host:port` of an etcd URL.
pub fn strip_scheme(url: &str) -> &str {
    url.split_once("://")
        .map_or(url, |(_, rest)| rest)
        .trim_end_matches('/')
}

/// The id of a member: the same for the same cluster and addresses, wherever computed
/// (etcd derives its ids from the addresses, too).
pub fn member_id_of(cluster_id: u64, peer_urls: &[String]) -> u64 {
    let mut sorted: Vec<&str> = peer_urls.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    // FNV-1a: short, well known, and stable over versions and platforms.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in cluster_id
        .to_be_bytes()
        .into_iter()
        .chain(sorted.join(",").into_bytes())
    {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(name: &str) -> MemberAttributes {
        MemberAttributes {
            name: name.to_owned(),
            client_urls: vec![format!("http://{name}:1")],
        }
    }

    #[test]
    fn what_a_member_tells_of_itself_is_new_once_and_nothing_to_whom_it_is_unknown() {
        let mut directory = Directory::new(BTreeMap::from([(7, Member::default())]));
        assert!(directory.announce(7, &attributes("a")));
        assert!(!directory.announce(7, &attributes("a")));
        assert!(directory.announce(7, &attributes("b")));
        assert!(!directory.announce(8, &attributes("c")));
        let known = directory.get(7).expect("it is there");
        assert!(is_announced(known, &attributes("b")));
        assert!(directory.get(8).is_none());
    }

    #[test]
    fn a_change_of_the_peer_address_keeps_what_the_member_told_of_itself() {
        let mut directory = Directory::new(BTreeMap::from([(7, Member::default())]));
        directory.announce(7, &attributes("a"));
        let moved = Member {
            peer_ur_ls: vec!["http://elsewhere:2".to_owned()],
            ..Member::default()
        };
        directory.apply(&MembershipChange {
            kind: ChangeKind::Update,
            node: 7,
            context: moved.encode_to_vec().into(),
        });
        let known = directory.get(7).expect("it is there");
        assert_eq!(known.peer_ur_ls, moved.peer_ur_ls);
        assert!(is_announced(known, &attributes("a")));
    }
}
