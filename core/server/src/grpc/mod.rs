//! etcd's v3 API over gRPC: each service is a thin layer from messages to calls on the
//! node and from its errors to gRPC statuses.

mod auth;
mod cluster;
mod conventions;
mod gate;
mod kv;
mod lease;
mod maintenance;
mod watch;

use std::convert::Infallible;

use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service as _};
use veridical_env::RealEnvironment;
use veridical_node::Node;
use veridical_store::ApiError;

use gate::Gate;

/// The generated service traits and client stubs of package `etcdserverpb`.
#[allow(missing_docs, clippy::all, reason = "this code is generated")]
pub(crate) mod api {
    tonic::include_proto!("etcdserverpb");
}

/// The member that the services speak for.
pub(crate) type ServedNode = Node<RealEnvironment>;

/// What a message may be larger than the largest request that the API takes, so that a
/// request above the limit is refused with etcd's own error and not by the transport
/// (etcd: `grpcOverheadBytes`).
const GRPC_OVERHEAD_BYTES: usize = 512 * 1024;

/// What a member tells of itself.
#[derive(Clone, Debug)]
pub(crate) struct Advertised {
    /// See `--name`.
    pub(crate) name: String,
    /// See `--advertise-client-urls`.
    pub(crate) client_urls: Vec<String>,
}

/// All services of one member.
pub(crate) struct Services {
    kv: api::kv_server::KvServer<kv::KvService>,
    watch: api::watch_server::WatchServer<watch::WatchService>,
    lease: api::lease_server::LeaseServer<lease::LeaseService>,
    cluster: api::cluster_server::ClusterServer<cluster::ClusterService>,
    auth: api::auth_server::AuthServer<auth::AuthService>,
    maintenance: api::maintenance_server::MaintenanceServer<maintenance::MaintenanceService>,
}

impl Services {
    /// Streams end when `closing` says so.
    pub(crate) fn new(
        node: &ServedNode,
        advertised: Advertised,
        closing: &CancellationToken,
    ) -> Self {
        let gate = Gate::new(node.clone(), closing.clone());
        let max_bytes = node.config().limits.max_request_bytes + GRPC_OVERHEAD_BYTES;
        let kv = kv::KvService::new(gate.clone());
        let watch = watch::WatchService::new(gate.clone());
        let lease = lease::LeaseService::new(gate.clone());
        let cluster = cluster::ClusterService::new(gate.clone(), advertised);
        let auth = auth::AuthService::new(gate.clone());
        let maintenance = maintenance::MaintenanceService::new(gate);
        Self {
            kv: api::kv_server::KvServer::new(kv).max_decoding_message_size(max_bytes),
            watch: api::watch_server::WatchServer::new(watch).max_decoding_message_size(max_bytes),
            lease: api::lease_server::LeaseServer::new(lease).max_decoding_message_size(max_bytes),
            cluster: api::cluster_server::ClusterServer::new(cluster)
                .max_decoding_message_size(max_bytes),
            auth: api::auth_server::AuthServer::new(auth).max_decoding_message_size(max_bytes),
            maintenance: api::maintenance_server::MaintenanceServer::new(maintenance)
                .max_decoding_message_size(max_bytes),
        }
    }

    /// Answers a request, also one that no service knows.
    pub(crate) async fn serve(
        &self,
        request: http::Request<hyper::body::Incoming>,
    ) -> http::Response<Body> {
        let timeout = conventions::timeout_of(request.headers());
        conventions::answer(timeout, self.dispatch(request)).await
    }

    fn dispatch(
        &self,
        request: http::Request<hyper::body::Incoming>,
    ) -> BoxFuture<http::Response<Body>, Infallible> {
        let path = request.uri().path().strip_prefix('/');
        let service = path.and_then(|path| path.split_once('/'));
        // The clones share the services behind them.
        match service.map(|(service, _)| service) {
            Some(api::kv_server::SERVICE_NAME) => self.kv.clone().call(request),
            Some(api::watch_server::SERVICE_NAME) => self.watch.clone().call(request),
            Some(api::lease_server::SERVICE_NAME) => self.lease.clone().call(request),
            Some(api::cluster_server::SERVICE_NAME) => self.cluster.clone().call(request),
            Some(api::auth_server::SERVICE_NAME) => self.auth.clone().call(request),
            Some(api::maintenance_server::SERVICE_NAME) => self.maintenance.clone().call(request),
            Some(unknown) => {
                let status = Status::unimplemented(format!("unknown service {unknown}"));
                Box::pin(std::future::ready(Ok(status.into_http())))
            }
            None => {
                let path = request.uri().path();
                let status = Status::unimplemented(format!("malformed method name: {path:?}"));
                Box::pin(std::future::ready(Ok(status.into_http())))
            }
        }
    }
}

/// An error of the API as a gRPC status: etcd's code and etcd's message.
pub(crate) fn status_of(error: ApiError) -> Status {
    let code = tonic::Code::from_i32(i32::from(error.code.number()));
    Status::new(code, error.message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_carries_the_code_and_the_message_of_etcd() {
        let status = status_of(ApiError::compacted());
        assert_eq!(status.code(), tonic::Code::OutOfRange);
        assert_eq!(
            status.message(),
            "etcdserver: mvcc: required revision has been compacted"
        );
        let status = status_of(ApiError::no_leader());
        assert_eq!(status.code(), tonic::Code::Unavailable);
        assert_eq!(status.message(), "etcdserver: no leader");
    }
}
