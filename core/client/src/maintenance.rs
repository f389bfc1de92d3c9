//! What is asked of one member, whichever the client is connected to: [`Client::member`] makes
//! one of a certain member.

use veridical_env::Clock;
use veridical_proto::etcdserverpb as api;
use veridical_proto::etcdserverpb::alarm_request::AlarmAction;

use crate::ask::ask;
use crate::client::Client;
use crate::connection::CallError;
use crate::connector::Connector;

pub use veridical_proto::etcdserverpb::{
    AlarmResponse, AlarmType, DefragmentResponse, HashKvResponse, HashResponse, StatusResponse,
};

impl<T: Connector, C: Clock> Client<T, C> {
    /// How a member is: its version, its leader, how far it is.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub async fn status(&self) -> Result<StatusResponse, CallError> {
        ask!(self, Status, api::StatusRequest {})
    }

    /// A hash over all keys up to a revision, 0 for the newest: the same on members that agree.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub async fn hash_kv(&self, revision: i64) -> Result<HashKvResponse, CallError> {
        ask!(self, HashKv, api::HashKvRequest { revision })
    }

    /// A hash over everything that a member has.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub async fn hash(&self) -> Result<HashResponse, CallError> {
        ask!(self, Hash, api::HashRequest {})
    }

    /// Gives room of deleted data back to the file system, where a store keeps such room.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub async fn defragment(&self) -> Result<DefragmentResponse, CallError> {
        ask!(self, Defragment, api::DefragmentRequest {})
    }

    /// The alarms that are raised; Veridical has none.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub async fn alarms(&self) -> Result<AlarmResponse, CallError> {
        self.alarm(AlarmAction::Get, 0, AlarmType::None).await
    }

    /// Ends an alarm of a member.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub async fn alarm_deactivate(
        &self,
        member_id: u64,
        alarm: AlarmType,
    ) -> Result<AlarmResponse, CallError> {
        self.alarm(AlarmAction::Deactivate, member_id, alarm).await
    }

    async fn alarm(
        &self,
        action: AlarmAction,
        member_id: u64,
        alarm: AlarmType,
    ) -> Result<AlarmResponse, CallError> {
        let request = api::AlarmRequest {
            action: action.into(),
            member_id,
            alarm: alarm.into(),
        };
        ask!(self, Alarm, request)
    }
}
