//! `etcdserverpb.Maintenance`.

use std::pin::Pin;

use futures_util::Stream;
use tonic::{Request, Response, Status};
use veridical_proto::etcdserverpb::{
    AlarmRequest, AlarmResponse, DefragmentRequest, DefragmentResponse, HashKvRequest,
    HashKvResponse, HashRequest, HashResponse, MoveLeaderRequest, MoveLeaderResponse,
    SnapshotRequest, SnapshotResponse, StatusRequest, StatusResponse,
};

use super::api::maintenance_server::Maintenance;
use super::gate::{Gate, Learner};
use super::status_of;

/// The state of this member.
pub(crate) struct MaintenanceService {
    gate: Gate,
}

impl MaintenanceService {
    pub(crate) fn new(gate: Gate) -> Self {
        Self { gate }
    }
}

#[tonic::async_trait]
impl Maintenance for MaintenanceService {
    async fn alarm(
        &self,
        request: Request<AlarmRequest>,
    ) -> Result<Response<AlarmResponse>, Status> {
        self.gate.admit(request.metadata(), Learner::Refuses)?;
        let answer = self.gate.node().alarm(request.get_ref());
        answer.map(Response::new).map_err(status_of)
    }

    async fn status(
        &self,
        request: Request<StatusRequest>,
    ) -> Result<Response<StatusResponse>, Status> {
        self.gate.admit(request.metadata(), Learner::Serves)?;
        Ok(Response::new(self.gate.node().status()))
    }

    async fn defragment(
        &self,
        request: Request<DefragmentRequest>,
    ) -> Result<Response<DefragmentResponse>, Status> {
        self.gate.admit(request.metadata(), Learner::Refuses)?;
        Ok(Response::new(self.gate.node().defragment()))
    }

    async fn hash(&self, request: Request<HashRequest>) -> Result<Response<HashResponse>, Status> {
        self.gate.admit(request.metadata(), Learner::Refuses)?;
        let answer = self.gate.node().hash();
        answer.map(Response::new).map_err(status_of)
    }

    async fn hash_kv(
        &self,
        request: Request<HashKvRequest>,
    ) -> Result<Response<HashKvResponse>, Status> {
        self.gate.admit(request.metadata(), Learner::Refuses)?;
        let answer = self.gate.node().hash_kv(request.get_ref());
        answer.map(Response::new).map_err(status_of)
    }

    type SnapshotStream = Pin<Box<dyn Stream<Item = Result<SnapshotResponse, Status>> + Send>>;

    /// etcd sends its database file, which no other store could read.
    async fn snapshot(
        &self,
        _request: Request<SnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        Err(Status::unimplemented(
            "veridical: snapshots are not served to clients; copy the data folder of a stopped member",
        ))
    }

    async fn move_leader(
        &self,
        request: Request<MoveLeaderRequest>,
    ) -> Result<Response<MoveLeaderResponse>, Status> {
        self.gate.admit(request.metadata(), Learner::Refuses)?;
        let answer = self
            .gate
            .node()
            .move_leader(request.get_ref().target_id)
            .await;
        answer.map(Response::new).map_err(status_of)
    }
}
