//! The production program `veridical`: a member of a cluster that any etcd v3 client can
//! talk to, a benchmark for it and for etcd, and the checker of recorded histories.
//!
//! Comes in: a command line, environment variables, signals; connections of clients,
//! which speak gRPC or the pipelined protocol on one port.
//! Goes out: answers, logs on standard error, an exit status ([`ExitStatus`]).
//! May depend on: node, client, store (for its errors), proto, env, histories, checkers.
//!
//! A request's way: `serve` accepts a connection and looks at its first bytes →
//! `grpc` (one file per service of etcd) or `veridical_node::sessions` → the node.
//! `bench` is the other side: a client of any etcd-compatible store. `check` and `history`
//! need no store: files in, verdicts or files out.
//!
//! Production only: it is no part of the simulated world, which calls the node itself.

mod bench;
mod check;
mod closing;
mod command_line;
mod exit;
mod grpc;
mod history;
mod input;
mod interrupt;
mod serve;
mod url;

pub use exit::ExitStatus;

/// Reads the command line of this process and does what it says.
pub fn run() -> ExitStatus {
    command_line::run()
}
