//! The bootstrap members of a cluster and the identities that follow from them.

use std::collections::BTreeMap;
use std::str::FromStr;

use veridical_node::member_id_of;
use veridical_proto::etcdserverpb::Member;

use crate::url::{Url, UrlError};

/// Peer URLs by member name, each list sorted (etcd: `--initial-cluster`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InitialCluster {
    members: BTreeMap<String, Vec<Url>>,
}

/// Why a text names no bootstrap members.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum InitialClusterError {
    #[error("'{0}' is not of the form name=URL")]
    Form(String),
    #[error(transparent)]
    Url(#[from] UrlError),
    #[error("{url} belongs to '{first}' and to '{second}'")]
    Duplicate {
        url: Url,
        first: String,
        second: String,
    },
    #[error("this member, '{0}', is not among the members")]
    Absent(String),
    #[error("has {listed} for '{name}', but --initial-advertise-peer-urls is {advertised}")]
    Mismatch {
        name: String,
        listed: String,
        advertised: String,
    },
}

fn sorted(urls: &[Url]) -> Vec<Url> {
    let mut urls = urls.to_vec();
    urls.sort();
    urls.dedup();
    urls
}

fn joined(urls: &[Url]) -> String {
    urls.iter()
        .map(Url::to_string)
        .collect::<Vec<_>>()
        .join(",")
}

/// URLs as the API has them.
pub(crate) fn texts(urls: &[Url]) -> Vec<String> {
    urls.iter().map(Url::to_string).collect()
}

impl InitialCluster {
    /// A cluster of one.
    pub(crate) fn alone(name: &str, peer_urls: &[Url]) -> Self {
        Self {
            members: BTreeMap::from([(name.to_owned(), sorted(peer_urls))]),
        }
    }

    /// The peer URLs of all members but one.
    pub(crate) fn urls_of_others(&self, name: &str) -> Vec<Url> {
        let others = self.members.iter().filter(|(other, _)| *other != name);
        others.flat_map(|(_, urls)| urls.iter().cloned()).collect()
    }

    /// Checks that a member is there with the addresses that it tells others.
    ///
    /// # Errors
    /// [`InitialClusterError::Absent`], [`InitialClusterError::Mismatch`].
    pub(crate) fn check_contains(
        &self,
        name: &str,
        advertised: &[Url],
    ) -> Result<(), InitialClusterError> {
        let Some(listed) = self.members.get(name) else {
            return Err(InitialClusterError::Absent(name.to_owned()));
        };
        let advertised = sorted(advertised);
        if *listed == advertised {
            return Ok(());
        }
        Err(InitialClusterError::Mismatch {
            name: name.to_owned(),
            listed: joined(listed),
            advertised: joined(&advertised),
        })
    }

    /// The id of the cluster: the same for the same token and addresses.
    pub(crate) fn cluster_id(&self, token: &str) -> u64 {
        let token_id = member_id_of(0, &[token.to_owned()]);
        let urls: Vec<Url> = self.members.values().flatten().cloned().collect();
        member_id_of(token_id, &texts(&sorted(&urls)))
    }

    /// The id of a bootstrap member.
    ///
    /// # Panics
    /// If it is none: see [`InitialCluster::check_contains`].
    pub(crate) fn member_id(&self, token: &str, name: &str) -> u64 {
        let urls = self
            .members
            .get(name)
            .expect("checked when the flags were settled");
        member_id_of(self.cluster_id(token), &texts(urls))
    }

    /// The bootstrap members as the directory of members has them, by id.
    pub(crate) fn directory(&self, token: &str) -> BTreeMap<u64, Member> {
        let cluster_id = self.cluster_id(token);
        let member = |(name, urls): (&String, &Vec<Url>)| {
            let peer_ur_ls = texts(urls);
            let id = member_id_of(cluster_id, &peer_ur_ls);
            (
                id,
                Member {
                    id,
                    name: name.clone(),
                    peer_ur_ls,
                    ..Member::default()
                },
            )
        };
        self.members.iter().map(member).collect()
    }
}

impl FromStr for InitialCluster {
    type Err = InitialClusterError;

    /// Reads `name=URL,name=URL`; a name may come several times.
    fn from_str(text: &str) -> Result<Self, InitialClusterError> {
        Self::parse(text, true)
    }
}

impl InitialCluster {
    /// Reads `name=URL,name=URL`; a name may come several times. Of a cluster that runs members
    /// may have no name: those that were added and have not started (`etcdctl member add`
    /// writes them so).
    ///
    /// # Errors
    /// The text has another form, or an address belongs to two names.
    pub(crate) fn parse(text: &str, has_names: bool) -> Result<Self, InitialClusterError> {
        let mut members: BTreeMap<String, Vec<Url>> = BTreeMap::new();
        let mut owners: BTreeMap<Url, String> = BTreeMap::new();
        for part in text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            let form = || InitialClusterError::Form(part.to_owned());
            let (name, url) = part.split_once('=').ok_or_else(form)?;
            if name.is_empty() && has_names {
                return Err(form());
            }
            let url: Url = url.parse()?;
            if let Some(first) = owners.insert(url.clone(), name.to_owned())
                && first != name
            {
                return Err(InitialClusterError::Duplicate {
                    url,
                    first,
                    second: name.to_owned(),
                });
            }
            members.entry(name.to_owned()).or_default().push(url);
        }
        for urls in members.values_mut() {
            *urls = sorted(urls);
        }
        Ok(Self { members })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(text: &str) -> InitialCluster {
        text.parse().unwrap()
    }

    #[test]
    fn identities_depend_on_the_addresses_and_the_token_and_not_on_the_order() {
        let first = cluster("a=http://a:1,b=http://b:1");
        let second = cluster("b=http://b:1,a=http://a:1");
        assert_eq!(first.cluster_id("t"), second.cluster_id("t"));
        assert_eq!(first.directory("t"), second.directory("t"));
        assert_ne!(first.cluster_id("t"), first.cluster_id("u"));
        assert_ne!(
            first.cluster_id("t"),
            cluster("a=http://a:1").cluster_id("t")
        );
        assert_ne!(first.member_id("t", "a"), first.member_id("t", "b"));
        assert_ne!(first.member_id("t", "a"), first.member_id("u", "a"));
    }

    #[test]
    fn a_name_may_have_several_addresses() {
        let members = cluster("a=http://a:2,b=http://b:1,a=http://a:1").directory("t");
        let of_a = members.values().find(|member| member.name == "a").unwrap();
        assert_eq!(of_a.peer_ur_ls, ["http://a:1", "http://a:2"]);
        assert_eq!(members.len(), 2);
    }

    #[test]
    fn two_names_with_one_address_are_refused() {
        let refused = "a=http://a:1,b=http://a:1"
            .parse::<InitialCluster>()
            .unwrap_err();
        assert_eq!(refused.to_string(), "http://a:1 belongs to 'a' and to 'b'");
    }

    #[test]
    fn only_members_of_a_cluster_that_runs_may_have_no_name() {
        let text = "=http://a:1,b=http://b:1";
        assert!(InitialCluster::parse(text, true).is_err());
        let running = InitialCluster::parse(text, false).unwrap();
        let others: Vec<String> = texts(&running.urls_of_others("b"));
        assert_eq!(others, ["http://a:1"]);
    }
}
