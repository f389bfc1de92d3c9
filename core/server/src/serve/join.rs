//! How a member that was added to a running cluster learns which cluster that is.

use std::collections::BTreeMap;
use std::time::Duration;

use tonic::transport::Endpoint;
use veridical_proto::etcdserverpb::{Member, MemberListRequest, MemberListResponse};

use super::bootstrap::texts;
use super::identity::Identity;
use crate::grpc::api::cluster_client::ClusterClient;
use crate::url::Url;

use crate::causes::with_causes;
/// For one endpoint, from the connection to the answer.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a member cannot join.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum JoinError {
    #[error(
        "--join-endpoints is needed with --initial-cluster-state existing for a member without data: client URLs of running members"
    )]
    NoEndpoints,
    #[error("no member answers at --join-endpoints: {0}")]
    Unanswered(String),
    #[error("the cluster has no member with the peer URLs {0}; add it first ('member add')")]
    NotAdded(String),
    #[error("{0} answered without a header")]
    NoHeader(Url),
}

/// A cluster that this member is about to join.
#[derive(Debug)]
pub(crate) struct Invitation {
    pub(crate) identity: Identity,
    pub(crate) members: BTreeMap<u64, Member>,
}

async fn ask(endpoint: &Url) -> Result<MemberListResponse, String> {
    let channel = Endpoint::from_shared(endpoint.to_string())
        .map_err(|error| with_causes(&error))?
        .connect_timeout(ASK_TIMEOUT)
        .timeout(ASK_TIMEOUT)
        .connect()
        .await
        .map_err(|error| with_causes(&error))?;
    let request = MemberListRequest { linearizable: true };
    match ClusterClient::new(channel).member_list(request).await {
        Ok(response) => Ok(response.into_inner()),
        Err(status) => Err(status.message().to_owned()),
    }
}

/// Asks the endpoints in turn who the members are, and finds this one among them.
///
/// # Errors
/// Nobody answers, or this member was not added.
pub(crate) async fn join(endpoints: &[Url], peer_urls: &[Url]) -> Result<Invitation, JoinError> {
    if endpoints.is_empty() {
        return Err(JoinError::NoEndpoints);
    }
    let mut reasons = Vec::new();
    for endpoint in endpoints {
        match ask(endpoint).await {
            Ok(response) => return find(endpoint, response, peer_urls),
            Err(reason) => reasons.push(format!("{endpoint}: {reason}")),
        }
    }
    Err(JoinError::Unanswered(reasons.join("; ")))
}

fn find(
    endpoint: &Url,
    response: MemberListResponse,
    peer_urls: &[Url],
) -> Result<Invitation, JoinError> {
    let header = response
        .header
        .ok_or_else(|| JoinError::NoHeader(endpoint.clone()))?;
    let mut wanted = texts(peer_urls);
    wanted.sort();
    let members: BTreeMap<u64, Member> = response
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
                cluster_id: header.cluster_id,
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
    use veridical_proto::etcdserverpb::ResponseHeader;

    fn response() -> MemberListResponse {
        let member = |id: u64, urls: &[&str]| Member {
            id,
            peer_ur_ls: urls.iter().map(|url| (*url).to_owned()).collect(),
            ..Member::default()
        };
        MemberListResponse {
            header: Some(ResponseHeader {
                cluster_id: 9,
                ..ResponseHeader::default()
            }),
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
        let endpoint = urls(&["http://a:2379"]).remove(0);
        let found = find(&endpoint, response(), &urls(&["http://b:1", "http://b:2"])).unwrap();
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
        let endpoint = urls(&["http://a:2379"]).remove(0);
        let error = find(&endpoint, response(), &urls(&["http://b:1"])).unwrap_err();
        assert!(matches!(error, JoinError::NotAdded(_)), "{error}");
    }
}
