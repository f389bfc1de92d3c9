//! How a member that was added to a running cluster learns which cluster that is.

use std::collections::BTreeMap;
use std::time::Duration;

use tonic::transport::Endpoint;
use veridical_env::RealEnvironment;
use veridical_node::{KnownCluster, ask_members};
use veridical_proto::etcdserverpb::{Member, MemberListRequest, MemberListResponse};

use super::bootstrap::texts;
use super::flags::Contacts;
use super::identity::Identity;
use crate::causes::with_causes;
use crate::grpc::api::cluster_client::ClusterClient;
use crate::url::Url;

/// For one endpoint, from the connection to the answer.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a member cannot join.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum JoinError {
    #[error(
        "with --initial-cluster-state existing a member without data needs --initial-cluster with the members that run, or --join-endpoints with their client URLs"
    )]
    NoContacts,
    #[error("no member that runs answers: {0}")]
    Unanswered(String),
    #[error("the cluster has no member with the peer URLs {0}; add it first ('member add')")]
    NotAdded(String),
}

/// A cluster that this member is about to join.
#[derive(Debug)]
pub(crate) struct Invitation {
    pub(crate) identity: Identity,
    pub(crate) members: BTreeMap<u64, Member>,
}

async fn ask_client_port(endpoint: &Url) -> Result<KnownCluster, String> {
    let channel = Endpoint::from_shared(endpoint.to_string())
        .map_err(|error| with_causes(&error))?
        .connect_timeout(ASK_TIMEOUT)
        .timeout(ASK_TIMEOUT)
        .connect()
        .await
        .map_err(|error| with_causes(&error))?;
    let request = MemberListRequest { linearizable: true };
    let response = ClusterClient::new(channel).member_list(request).await;
    let MemberListResponse { header, members } = response
        .map_err(|status| status.message().to_owned())?
        .into_inner();
    let header = header.ok_or("it answers without a header")?;
    Ok(KnownCluster {
        cluster_id: header.cluster_id,
        members,
    })
}

async fn ask_peer_port(peer: &Url) -> Result<KnownCluster, String> {
    let environment = RealEnvironment::default();
    ask_members(&environment, &peer.address(), ASK_TIMEOUT)
        .await
        .map_err(|error| error.to_string())
}

/// Asks the contacts in turn who the members are, and finds this one among them. What one member
/// knows may be old, so the next one is asked if this one is not among its members.
///
/// # Errors
/// Nobody answers, or this member was not added.
pub(crate) async fn join(contacts: &Contacts, peer_urls: &[Url]) -> Result<Invitation, JoinError> {
    let mut reasons = Vec::new();
    let mut not_added = None;
    let endpoints = contacts.endpoints.iter().map(|url| (url, true));
    let peers = contacts.peers.iter().map(|url| (url, false));
    for (url, is_for_clients) in endpoints.chain(peers) {
        let answer = match is_for_clients {
            true => ask_client_port(url).await,
            false => ask_peer_port(url).await,
        };
        match answer.map(|cluster| find(cluster, peer_urls)) {
            Ok(Ok(invitation)) => return Ok(invitation),
            Ok(Err(error)) => not_added = Some(error),
            Err(reason) => reasons.push(format!("{url}: {reason}")),
        }
    }
    Err(match not_added {
        Some(error) => error,
        None if reasons.is_empty() => JoinError::NoContacts,
        None => JoinError::Unanswered(reasons.join("; ")),
    })
}

fn find(cluster: KnownCluster, peer_urls: &[Url]) -> Result<Invitation, JoinError> {
    let mut wanted = texts(peer_urls);
    wanted.sort();
    let members: BTreeMap<u64, Member> = cluster
        .members
        .into_iter()
        .map(|member| (member.id, member))
        .collect();
    let own = members.values().find(|member| {
        let mut urls = member.peer_ur_ls.clone();
        urls.sort();
        urls == wanted
    });
    match own {
        Some(own) => {
            let identity = Identity {
                cluster_id: cluster.cluster_id,
                member_id: own.id,
            };
            Ok(Invitation { identity, members })
        }
        None => Err(JoinError::NotAdded(wanted.join(","))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster() -> KnownCluster {
        let member = |id: u64, urls: &[&str]| Member {
            id,
            peer_ur_ls: urls.iter().map(|url| (*url).to_owned()).collect(),
            ..Member::default()
        };
        KnownCluster {
            cluster_id: 9,
            members: vec![
                member(1, &["http://a:1"]),
                member(2, &["http://b:2", "http://b:1"]),
            ],
        }
    }

    fn urls(texts: &[&str]) -> Vec<Url> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_member_finds_itself_by_its_peer_urls_in_any_order() {
        let found = find(cluster(), &urls(&["http://b:1", "http://b:2"])).unwrap();
        assert_eq!(
            found.identity,
            Identity {
                cluster_id: 9,
                member_id: 2
            }
        );
        assert_eq!(found.members.len(), 2);
    }

    #[test]
    fn a_member_that_was_not_added_is_told_so() {
        let error = find(cluster(), &urls(&["http://b:1"])).unwrap_err();
        assert!(matches!(error, JoinError::NotAdded(_)), "{error}");
    }
}
