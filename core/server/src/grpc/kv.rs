//! `etcdserverpb.KV`.

use tonic::{Request, Response, Status};
use veridical_proto::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, PutRequest,
    PutResponse, RangeRequest, RangeResponse, TxnRequest, TxnResponse,
};

use super::api::kv_server::Kv;
use super::gate::{Gate, Learner};
use super::status_of;

/// Reads and writes of keys.
pub(crate) struct KvService {
    gate: Gate,
}

impl KvService {
    pub(crate) fn new(gate: Gate) -> Self {
        Self { gate }
    }
}

#[tonic::async_trait]
impl Kv for KvService {
    async fn range(
        &self,
        request: Request<RangeRequest>,
    ) -> Result<Response<RangeResponse>, Status> {
        let learner = match request.get_ref().serializable {
            true => Learner::Serves,
            false => Learner::Refuses,
        };
        self.gate.admit(request.metadata(), learner)?;
        let answer = self.gate.node().range(request.get_ref()).await;
        answer.map(Response::new).map_err(status_of)
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        self.gate.admit(request.metadata(), Learner::Refuses)?;
        let answer = self.gate.node().put(request.into_inner()).await;
        answer.map(Response::new).map_err(status_of)
    }

    async fn delete_range(
        &self,
        request: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        self.gate.admit(request.metadata(), Learner::Refuses)?;
        let answer = self.gate.node().delete_range(request.into_inner()).await;
        answer.map(Response::new).map_err(status_of)
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        self.gate.admit(request.metadata(), Learner::Refuses)?;
        let answer = self.gate.node().txn(request.into_inner()).await;
        answer.map(Response::new).map_err(status_of)
    }

    async fn compact(
        &self,
        request: Request<CompactionRequest>,
    ) -> Result<Response<CompactionResponse>, Status> {
        self.gate.admit(request.metadata(), Learner::Refuses)?;
        let answer = self.gate.node().compact(request.into_inner()).await;
        answer.map(Response::new).map_err(status_of)
    }
}
