//! What the store does, against a naive model of it, and what it keeps under threads,
//! snapshots, compaction and slow watchers.

#![allow(
    clippy::disallowed_methods,
    reason = "real threads race here, which no simulation has"
)]

mod agreement;
mod concurrent_cut;
mod concurrent_watch;
mod differences;
mod errors;
mod feeds;
mod generate;
mod model;
mod model_equality;
mod snapshots;
mod watch_log;
mod watch_protocol;

use veridical_proto::command::{Command, command};
use veridical_store::{Applied, CommandResponse, Store};

/// A request under a name of its own, for the next entry of the log.
fn command(store: &Store, request: command::Request) -> Command {
    let sequence = store.applied_index() + 1;
    Command {
        member_id: 1,
        incarnation: 1,
        sequence,
        settled_below: sequence.saturating_sub(10),
        request: Some(request),
    }
}

/// Applies a command as the next entry of the log.
fn apply_command(store: &mut Store, command: &Command) -> Applied {
    let index = store.applied_index() + 1;
    store.apply(index, command)
}

/// Applies a request that was not applied before.
fn apply(store: &mut Store, request: command::Request) -> Applied {
    let command = command(store, request);
    apply_command(store, &command)
}

/// Like [`apply`], of a request that must succeed.
fn apply_ok(store: &mut Store, request: command::Request) -> CommandResponse {
    match apply(store, request) {
        Applied::Response(response) => response,
        other => panic!("expected a response, got {other:?}"),
    }
}

/// A put without options.
fn put(key: &str, value: &str) -> command::Request {
    command::Request::Put(veridical_proto::etcdserverpb::PutRequest {
        key: key.as_bytes().to_vec().into(),
        value: value.as_bytes().to_vec().into(),
        ..Default::default()
    })
}

/// A deletion of one key.
fn delete(key: &str) -> command::Request {
    command::Request::DeleteRange(veridical_proto::etcdserverpb::DeleteRangeRequest {
        key: key.as_bytes().to_vec().into(),
        ..Default::default()
    })
}

/// A compaction.
fn compact(revision: i64) -> command::Request {
    command::Request::Compaction(veridical_proto::etcdserverpb::CompactionRequest {
        revision,
        physical: false,
    })
}
