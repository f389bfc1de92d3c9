//! Members of the cluster.

use veridical_env::Clock;
use veridical_proto::etcdserverpb as api;
use veridical_proto::native::request::Body as RequestBody;
use veridical_proto::native::response::Body as ResponseBody;

use crate::address::{AddressError, host_and_port};
use crate::ask::{ask, mismatch};
use crate::client::{Client, ClientConfig};
use crate::connection::CallError;
use crate::connector::Connector;

pub use veridical_proto::etcdserverpb::{
    Member, MemberAddResponse, MemberListResponse, MemberPromoteResponse, MemberRemoveResponse,
    MemberUpdateResponse, MoveLeaderResponse,
};

/// With these words a member refuses what only the leader does.
const NOT_LEADER: &str = "etcdserver: not leader";

/// As [`ask`], of the leader.
macro_rules! ask_the_leader {
    ($client:expr, $kind:ident, $request:expr) => {
        match $client
            .call_the_leader(RequestBody::$kind($request))
            .await?
        {
            ResponseBody::$kind(answer) => Ok(answer),
            other => Err(mismatch(&other)),
        }
    };
}

impl<T: Connector, C: Clock> Client<T, C> {
    /// A client of one member alone, `host:port` or `http://host:port`, with the same settings
    /// and a connection of its own. For what is asked of a member and not of the cluster:
    /// [`Client::status`], [`Client::hash_kv`].
    ///
    /// # Errors
    /// It is no address.
    pub fn member(&self, address: &str) -> Result<Self, AddressError> {
        Ok(self.client_of(host_and_port(address)?))
    }

    fn client_of(&self, address: String) -> Self {
        let config = ClientConfig {
            endpoints: vec![address],
            first_endpoint: 0,
            discovery_interval: None,
            ..self.config().clone()
        };
        Self::new(self.connector().clone(), self.clock().clone(), config)
    }

    /// Calls, and if a member refuses because it does not lead, asks each one in turn.
    async fn call_the_leader(&self, request: RequestBody) -> Result<ResponseBody, CallError> {
        let mut result = self.call(request.clone()).await;
        if !is_led_by_another(&result) {
            return result;
        }
        for address in self.endpoints().await {
            result = self.client_of(address).call(request.clone()).await;
            if !is_led_by_another(&result) {
                break;
            }
        }
        result
    }

    /// Who the members are, as a majority knows it.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub async fn member_list(&self) -> Result<MemberListResponse, CallError> {
        ask!(
            self,
            MemberList,
            api::MemberListRequest { linearizable: true }
        )
    }

    /// Where the members can be reached by clients, as `host:port`; several addresses of one
    /// member stand one behind the other. What this client cannot connect to (TLS) is left out, as
    /// are members that have not started yet.
    ///
    /// ```no_run
    /// # async fn example(client: veridical_client::PipelinedClient)
    /// # -> Result<(), Box<dyn std::error::Error>> {
    /// use veridical_client::PipelinedClient;
    ///
    /// let everywhere = PipelinedClient::connect(client.member_addresses().await?)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// See [`Client::call`].
    pub async fn member_addresses(&self) -> Result<Vec<String>, CallError> {
        Ok(addresses(&self.member_list().await?.members))
    }

    /// Adds a voter.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub async fn member_add(
        &self,
        peer_urls: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<MemberAddResponse, CallError> {
        ask_the_leader!(self, MemberAdd, addition(peer_urls, false))
    }

    /// Adds a learner, which gets everything and has no vote.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub async fn member_add_learner(
        &self,
        peer_urls: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<MemberAddResponse, CallError> {
        ask_the_leader!(self, MemberAdd, addition(peer_urls, true))
    }

    /// Makes a learner a voter.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub async fn member_promote(&self, id: u64) -> Result<MemberPromoteResponse, CallError> {
        ask_the_leader!(self, MemberPromote, api::MemberPromoteRequest { id })
    }

    /// Removes a member.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub async fn member_remove(&self, id: u64) -> Result<MemberRemoveResponse, CallError> {
        ask_the_leader!(self, MemberRemove, api::MemberRemoveRequest { id })
    }

    /// Says where a member is from now on.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub async fn member_update(
        &self,
        id: u64,
        peer_urls: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<MemberUpdateResponse, CallError> {
        let request = api::MemberUpdateRequest {
            id,
            peer_ur_ls: peer_urls.into_iter().map(Into::into).collect(),
        };
        ask_the_leader!(self, MemberUpdate, request)
    }

    /// Hands leadership over to a voter.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub async fn move_leader(&self, target_id: u64) -> Result<MoveLeaderResponse, CallError> {
        ask_the_leader!(self, MoveLeader, api::MoveLeaderRequest { target_id })
    }
}

/// Whether a member refused because it does not lead; the request has had no effect then.
fn is_led_by_another(result: &Result<ResponseBody, CallError>) -> bool {
    matches!(result, Err(CallError::Refused { message, .. }) if message == NOT_LEADER)
}

fn addition(
    peer_urls: impl IntoIterator<Item = impl Into<String>>,
    is_learner: bool,
) -> api::MemberAddRequest {
    api::MemberAddRequest {
        peer_ur_ls: peer_urls.into_iter().map(Into::into).collect(),
        is_learner,
    }
}

pub(crate) fn addresses(members: &[Member]) -> Vec<String> {
    let urls = members.iter().flat_map(|member| &member.client_ur_ls);
    urls.filter_map(|url| host_and_port(url).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_that_can_be_connected_to() {
        let member = |urls: &[&str]| Member {
            client_ur_ls: urls.iter().map(|url| (*url).to_owned()).collect(),
            ..Member::default()
        };
        let members = [
            member(&["http://a:2379", "https://a:2380"]),
            member(&[]),
            member(&["http://c:2379"]),
        ];
        assert_eq!(addresses(&members), ["a:2379", "c:2379"]);
    }
}
