//! `etcdserverpb.Cluster`.

use tonic::{Request, Response, Status};
use veridical_proto::etcdserverpb::{
    Member, MemberAddRequest, MemberAddResponse, MemberListRequest, MemberListResponse,
    MemberPromoteRequest, MemberPromoteResponse, MemberRemoveRequest, MemberRemoveResponse,
    MemberUpdateRequest, MemberUpdateResponse,
};
use veridical_store::ApiError;

use super::api::cluster_server::Cluster;
use super::gate::{Gate, Learner};
use super::{Advertised, status_of};
use crate::url::Url;

/// Who the members are.
pub(crate) struct ClusterService {
    gate: Gate,
    advertised: Advertised,
}

impl ClusterService {
    pub(crate) fn new(gate: Gate, advertised: Advertised) -> Self {
        Self { gate, advertised }
    }

    /// Fills in what the log does not know of this member: its client URLs, and its name
    /// if it was no bootstrap member.
    fn complete(&self, members: &mut [Member]) {
        let own_id = self.gate.node().member_id();
        if let Some(own) = members.iter_mut().find(|member| member.id == own_id) {
            complete(own, &self.advertised);
        }
    }
}

fn complete(own: &mut Member, advertised: &Advertised) {
    if own.name.is_empty() {
        own.name.clone_from(&advertised.name);
    }
    if own.client_ur_ls.is_empty() {
        own.client_ur_ls.clone_from(&advertised.client_urls);
    }
}

/// Refuses peer addresses that no member could be reached at.
fn check_peer_urls(urls: &[String]) -> Result<(), Status> {
    let valid = !urls.is_empty() && urls.iter().all(|url| url.parse::<Url>().is_ok());
    match valid {
        true => Ok(()),
        false => Err(status_of(ApiError::bad_member_urls())),
    }
}

#[tonic::async_trait]
impl Cluster for ClusterService {
    async fn member_add(
        &self,
        request: Request<MemberAddRequest>,
    ) -> Result<Response<MemberAddResponse>, Status> {
        self.gate.admit(request.metadata(), Learner::Refuses)?;
        check_peer_urls(&request.get_ref().peer_ur_ls)?;
        let answer = self.gate.node().member_add(request.into_inner()).await;
        answer.map(Response::new).map_err(status_of)
    }

    async fn member_remove(
        &self,
        request: Request<MemberRemoveRequest>,
    ) -> Result<Response<MemberRemoveResponse>, Status> {
        self.gate.admit(request.metadata(), Learner::Refuses)?;
        let answer = self.gate.node().member_remove(request.get_ref().id).await;
        answer.map(Response::new).map_err(status_of)
    }

    async fn member_update(
        &self,
        request: Request<MemberUpdateRequest>,
    ) -> Result<Response<MemberUpdateResponse>, Status> {
        self.gate.admit(request.metadata(), Learner::Refuses)?;
        check_peer_urls(&request.get_ref().peer_ur_ls)?;
        let answer = self.gate.node().member_update(request.into_inner()).await;
        answer.map(Response::new).map_err(status_of)
    }

    async fn member_list(
        &self,
        request: Request<MemberListRequest>,
    ) -> Result<Response<MemberListResponse>, Status> {
        self.gate.admit(request.metadata(), Learner::Refuses)?;
        let answer = self.gate.node().member_list(request.get_ref()).await;
        let mut answer = answer.map_err(status_of)?;
        self.complete(&mut answer.members);
        Ok(Response::new(answer))
    }

    async fn member_promote(
        &self,
        request: Request<MemberPromoteRequest>,
    ) -> Result<Response<MemberPromoteResponse>, Status> {
        self.gate.admit(request.metadata(), Learner::Refuses)?;
        let answer = self.gate.node().member_promote(request.get_ref().id).await;
        answer.map(Response::new).map_err(status_of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_tells_of_itself_only_what_the_log_does_not() {
        let advertised = Advertised {
            name: "flag".to_owned(),
            client_urls: vec!["http://a:1".to_owned()],
        };
        let mut own = Member {
            name: "log".to_owned(),
            ..Member::default()
        };
        complete(&mut own, &advertised);
        assert_eq!(
            (own.name.as_str(), &own.client_ur_ls),
            ("log", &advertised.client_urls)
        );
        own = Member {
            client_ur_ls: vec!["http://b:1".to_owned()],
            ..Member::default()
        };
        complete(&mut own, &advertised);
        assert_eq!(
            (own.name.as_str(), own.client_ur_ls[0].as_str()),
            ("flag", "http://b:1")
        );
    }

    #[test]
    fn peer_urls_that_cannot_be_dialled_are_refused_with_the_message_of_etcd() {
        let refused = |urls: &[&str]| {
            let urls: Vec<String> = urls.iter().map(|url| (*url).to_owned()).collect();
            check_peer_urls(&urls)
                .err()
                .map(|status| status.message().to_owned())
        };
        let message = Some("etcdserver: given member URLs are invalid".to_owned());
        assert_eq!(refused(&["http://10.0.0.1:2380"]), None);
        assert_eq!(refused(&[]), message);
        assert_eq!(refused(&["10.0.0.1:2380"]), message);
        assert_eq!(
            refused(&["http://10.0.0.1:2380", "http://10.0.0.2"]),
            message
        );
    }
}
