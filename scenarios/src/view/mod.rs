//! What is shown of a run of the store: what its messages mean, its clients' operations, and
//! what members say of themselves.

mod frames;
mod keys;
mod operations;

use serde::{Deserialize, Serialize};
use veridical_harness::style::{EmptyVariant, ShownOperation, States, Style};
use veridical_timeline::{Emphasis, LaneId, State, StateField};

pub use frames::decode;
pub use operations::operations;

use crate::sessions::client_of;
use frames::MEMBER_PREFIX;

/// Groups of frames by how much they tell; the quiet ones come after them.
const GROUPS: &[&str] = &[
    "election",
    "snapshot",
    "replication",
    "forward",
    "client",
    "watch",
    "read",
    "lease",
];
const QUIET_GROUPS: &[&str] = &["heartbeat", "connection"];

/// What a member was at a time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberState {
    /// Follower, candidate, leader: the role's name, in lower case.
    pub role: String,
    /// The term.
    pub term: u64,
    /// Who leads it, as far as the member knows.
    pub leader: Option<u64>,
    /// Known to be committed.
    pub commit: u64,
    /// Applied to the state machine.
    pub applied: u64,
    /// The last index of the log.
    pub last: u64,
    /// The store's revision.
    pub revision: i64,
}

/// How runs of the store are shown.
pub fn style() -> Style<MemberState> {
    let field = |name: &str, is_in_table, counter: Option<&str>| StateField {
        name: name.to_owned(),
        is_in_table,
        counter: counter.map(str::to_owned),
    };
    Style {
        is_node: |process| process.starts_with(MEMBER_PREFIX),
        groups: GROUPS,
        quiet_groups: QUIET_GROUPS,
        // It only asks, or tells of commits.
        empty_variant: Some(EmptyVariant {
            kind: "AppendEntries",
            field: "entries",
            name: "AppendEntries (empty)",
        }),
        client_of,
        track_label,
        answered_by,
        states: Some(States {
            epoch_name: "term",
            fields: vec![
                field("commit", true, Some("log")),
                field("applied", true, Some("log")),
                field("log", true, Some("log")),
                field("revision", false, None),
                field("uncommitted", false, Some("log queues")),
                field("unapplied", false, Some("log queues")),
            ],
            progress_field: Some(0),
            state,
        }),
    }
}

fn track_label(process: &str, client: u64) -> String {
    match process {
        "probe" => "writes".to_owned(),
        name if name.starts_with("watcher") => "watch".to_owned(),
        _ => format!("client {client}"),
    }
}

fn answered_by(operation: &ShownOperation) -> Option<String> {
    let (_, member) = operation.text.rsplit_once(" from member ")?;
    Some(format!("{MEMBER_PREFIX}{member}"))
}

fn state(lane: LaneId, at_ns: u64, state: &MemberState) -> State {
    let emphasis = match state.role.as_str() {
        "leader" => Emphasis::High,
        role if role.contains("candidate") => Emphasis::Changing,
        _ => Emphasis::Low,
    };
    let leader = state.leader.filter(|_| emphasis != Emphasis::High);
    let values = [
        state.commit as i64,
        state.applied as i64,
        state.last as i64,
        state.revision,
        state.last.saturating_sub(state.commit) as i64,
        state.commit.saturating_sub(state.applied) as i64,
    ];
    State {
        lane,
        at_ns,
        role: state.role.clone(),
        epoch: state.term,
        emphasis,
        detail: leader.map_or_else(String::new, |leader| format!("of {leader}")),
        values: values.to_vec(),
    }
}
