//! A member of a cluster as a process: any etcd v3 client can talk to it.
//!
//! Inputs: flags and environment variables ([`ServeArguments`]), signals; connections of clients,
//! which speak gRPC or the pipelined protocol on one port.
//! Outputs: answers, logs on standard error, and why it could not serve ([`ServeFailure`]).
//! Dependencies: node, store (for its errors), storage (for its engines), proto, env.
//!
//! A request's way: `serve` accepts a connection and looks at its first bytes →
//! `grpc` (one file per service of etcd) or `veridical_node::sessions` → the node.
//!
//! Production only: it is no part of the simulated world, which calls the node itself. The
//! program around it is `veridical` (`core/cli`).

mod causes;
mod grpc;
mod serve;
mod url;

pub use serve::{ServeArguments, ServeFailure};

/// Runs a member of a cluster until the process is told to end.
///
/// # Errors
/// See [`ServeFailure`].
pub fn serve(arguments: ServeArguments) -> Result<(), ServeFailure> {
    serve::run(arguments)
}
