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

use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use veridical_env::RealEnvironment;
use veridical_node::Node;
use veridical_store::ApiError;

use conventions::with_conventional_codes;
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

/// All services of one member, ready to be served.
pub(crate) fn services(
    node: &ServedNode,
    advertised: Advertised,
    closing: &CancellationToken,
) -> Routes {
    let gate = Gate::new(node.clone(), closing.clone());
    let max_bytes = node.config().limits.max_request_bytes + GRPC_OVERHEAD_BYTES;
    let kv = api::kv_server::KvServer::new(kv::KvService::new(gate.clone()));
    let watch = api::watch_server::WatchServer::new(watch::WatchService::new(gate.clone()));
    let lease = api::lease_server::LeaseServer::new(lease::LeaseService::new(gate.clone()));
    let cluster = api::cluster_server::ClusterServer::new(cluster::ClusterService::new(
        gate.clone(),
        advertised,
    ));
    let auth = api::auth_server::AuthServer::new(auth::AuthService::new(gate.clone()));
    let maintenance =
        api::maintenance_server::MaintenanceServer::new(maintenance::MaintenanceService::new(gate));
    let services = Routes::new(kv.max_decoding_message_size(max_bytes))
        .add_service(watch.max_decoding_message_size(max_bytes))
        .add_service(lease.max_decoding_message_size(max_bytes))
        .add_service(cluster.max_decoding_message_size(max_bytes))
        .add_service(auth.max_decoding_message_size(max_bytes))
        .add_service(maintenance.max_decoding_message_size(max_bytes));
    with_conventional_codes(services)
}

/// An error of the API as a gRPC status: etcd's code and etcd's message.
pub(crate) fn status_of(error: ApiError) -> tonic::Status {
    let code = tonic::Code::from_i32(i32::from(error.code.number()));
    tonic::Status::new(code, error.message)
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
