//! What a scenario says of how its runs are shown.

use veridical_timeline::{LaneId, State, StateField};

pub use veridical_timeline::Ending;

/// One operation, or one response of a watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownOperation {
    /// Its number; none for a response of a watch.
    pub op: Option<u64>,
    /// The session.
    pub session: u64,
    /// The name of the process that it belongs to.
    pub process: String,
    /// When it was called, in ns.
    pub call_ns: u64,
    /// When it ended, in ns.
    pub end_ns: Option<u64>,
    /// How it ended.
    pub ending: Ending,
    /// Whether it only reads.
    pub is_read: bool,
    /// The keys that it is about.
    pub keys: Vec<String>,
    /// What was asked and answered.
    pub text: String,
}

/// How runs of a scenario are shown; the default fits any system.
pub struct Style<S> {
    /// Whether the process of that name belongs to the system; the others are clients.
    pub is_node: fn(process: &str) -> bool,
    /// Groups of frames by how much they tell, in the order of their colours.
    pub groups: &'static [&'static str],
    /// Groups that are hidden at first.
    pub quiet_groups: &'static [&'static str],
    /// A kind of frame that is shown as another one if it carries nothing.
    pub empty_variant: Option<EmptyVariant>,
    /// The client that a session belongs to: it has a track of its own.
    pub client_of: fn(session: u64) -> u64,
    /// The name of a client's track in the lane of its process.
    pub track_label: fn(process: &str, client: u64) -> String,
    /// The process that answered the operation, if its text says so.
    pub answered_by: fn(operation: &ShownOperation) -> Option<String>,
    /// How states of processes are shown, if there are any.
    pub states: Option<States<S>>,
}

/// A kind of frame that is shown as another one if it carries nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmptyVariant {
    /// The kind.
    pub kind: &'static str,
    /// The number that says how much it carries.
    pub field: &'static str,
    /// What it is shown as if that is 0.
    pub name: &'static str,
}

/// How states of processes are shown.
pub struct States<S> {
    /// What an epoch is called (`term`).
    pub epoch_name: &'static str,
    /// The numbers of a state.
    pub fields: Vec<StateField>,
    /// The number that shows progress, as an index into `fields`.
    pub progress_field: Option<usize>,
    /// A state as it is shown, of that lane, from that time in ns on.
    pub state: fn(lane: LaneId, at_ns: u64, state: &S) -> State,
}

impl<S> Default for Style<S> {
    fn default() -> Self {
        Self {
            is_node: |process| !process.starts_with("client"),
            groups: &[],
            quiet_groups: &[],
            empty_variant: None,
            client_of: |session| session,
            track_label: |_, client| format!("client {client}"),
            answered_by: |_| None,
            states: None,
        }
    }
}
