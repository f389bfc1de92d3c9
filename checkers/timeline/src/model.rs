//! What is shown: a run, or a history. All times are in ns.

use std::io;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::names::Names;
use crate::{chrome, page};

macro_rules! id {
    ($(#[$documentation:meta])* $name:ident) => {
        $(#[$documentation])*
        ///
        /// Only the timeline that gave it out knows what it stands for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $name(pub(crate) u32);
    };
}

id! {
    /// A lane: see [`Timeline::node`] and [`Timeline::client_lane`].
    LaneId
}
id! {
    /// A track of operations in a lane: see [`Timeline::track`].
    TrackId
}
id! {
    /// A group of kinds of messages: see [`Timeline::group`].
    GroupId
}
id! {
    /// A kind of what messages carry: see [`Timeline::message_kind`].
    KindId
}
id! {
    /// A class of faults: see [`Timeline::fault_class`].
    FaultClassId
}
id! {
    /// A key: see [`Timeline::key`].
    KeyId
}

/// A row of the picture that stands for a process.
#[derive(Clone, Debug)]
pub(crate) struct Lane {
    pub(crate) name: String,
    /// It belongs to the system and is drawn with its states, not with operations.
    pub(crate) is_node: bool,
}

/// A row of operations within a lane.
#[derive(Clone, Debug)]
pub(crate) struct Track {
    pub(crate) lane: LaneId,
    pub(crate) label: String,
}

/// Kinds of messages that have one colour.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) is_quiet: bool,
}

/// A kind of what messages carry.
#[derive(Clone, Debug)]
pub(crate) struct Kind {
    pub(crate) name: String,
    pub(crate) group: GroupId,
    /// The names of its numbers.
    pub(crate) fields: Vec<String>,
}

/// What happened over time. See the [crate's documentation](crate) for an example.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    /// The title of the page, such as `seed 7: violation`.
    pub title: String,
    /// What stands above the picture, such as the command that reproduces the run. The title
    /// stands there if it is empty.
    pub heading: String,
    /// The verdict as one word: `ok`, `violation`, `unknown` and so on.
    pub verdict: String,
    /// What else is to be kept with the run: seed, digest and the like.
    pub about: Map<String, Value>,
    /// The time that the page calls 0.
    pub origin_ns: u64,
    /// When the run ended; the last time that occurs, if that is later.
    pub end_ns: u64,
    /// What was found to be wrong.
    pub finding: Option<Finding>,
    /// The operations of clients.
    pub operations: Vec<Operation>,
    /// The messages between lanes.
    pub messages: Vec<Message>,
    /// Starts, ends and pauses of processes, in the order in which they happened.
    pub lives: Vec<LifeEvent>,
    /// The faults that were injected.
    pub faults: Vec<Fault>,
    /// What the epoch of a [`State`] is called: term, view, ballot.
    pub epoch_name: String,
    /// What the values of a [`State`] are.
    pub state_fields: Vec<StateField>,
    /// Which of these fields is drawn as ticks whenever it rises, such as a commit index.
    pub progress_field: Option<usize>,
    /// What nodes were, by time.
    pub states: Vec<State>,
    /// What else happened.
    pub notes: Vec<Note>,
    /// What processes logged.
    pub logs: Vec<Log>,
    /// Whose log is shown at first.
    pub log_of: Option<LaneId>,
    /// What the timeline does not have, as sentences without a verb: `the first 10 messages`.
    pub left_out: Vec<String>,
    pub(crate) lanes: Vec<Lane>,
    pub(crate) tracks: Vec<Track>,
    pub(crate) groups: Vec<Group>,
    pub(crate) kinds: Vec<Kind>,
    pub(crate) fault_classes: Names,
    pub(crate) keys: Names,
}

fn push<T>(list: &mut Vec<T>, item: T) -> u32 {
    let number = u32::try_from(list.len()).expect("lists fit into memory");
    list.push(item);
    number
}

impl Timeline {
    /// A timeline on which nothing happens.
    pub fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            verdict: "not checked".to_owned(),
            epoch_name: "epoch".to_owned(),
            ..Self::default()
        }
    }

    /// Adds a lane for a process of the system: it is drawn with its states and its life.
    pub fn node(&mut self, name: &str) -> LaneId {
        self.lane(name, true)
    }

    /// Adds a lane for a process that clients run in: it is drawn with their operations.
    pub fn client_lane(&mut self, name: &str) -> LaneId {
        self.lane(name, false)
    }

    fn lane(&mut self, name: &str, is_node: bool) -> LaneId {
        let name = name.to_owned();
        LaneId(push(&mut self.lanes, Lane { name, is_node }))
    }

    /// Adds a row for operations to a lane. Operations that overlap take further rows by
    /// themselves.
    pub fn track(&mut self, lane: LaneId, label: &str) -> TrackId {
        let label = label.to_owned();
        TrackId(push(&mut self.tracks, Track { lane, label }))
    }

    /// Adds a group of kinds of messages, which has one colour. A message that carries parts
    /// of several groups has the colour of the one that was added first.
    pub fn group(&mut self, name: &str) -> GroupId {
        self.add_group(name, false)
    }

    /// Adds a group that is drawn in grey, such as heartbeats.
    pub fn quiet_group(&mut self, name: &str) -> GroupId {
        self.add_group(name, true)
    }

    fn add_group(&mut self, name: &str, is_quiet: bool) -> GroupId {
        let name = name.to_owned();
        GroupId(push(&mut self.groups, Group { name, is_quiet }))
    }

    /// Adds a kind of what messages carry. `fields` are the names of its numbers.
    pub fn message_kind(&mut self, name: &str, group: GroupId, fields: &[&str]) -> KindId {
        let kind = Kind {
            name: name.to_owned(),
            group,
            fields: fields.iter().map(|field| (*field).to_owned()).collect(),
        };
        KindId(push(&mut self.kinds, kind))
    }

    /// The class of faults of that name. Each class has a row, and a colour by the order in
    /// which they are asked for.
    pub fn fault_class(&mut self, name: &str) -> FaultClassId {
        FaultClassId(self.fault_classes.number(name))
    }

    /// The key of that name. The name `[a, b)` stands for all keys from a up to b, `[a, ∞)`
    /// for all from a on.
    pub fn key(&mut self, name: &str) -> KeyId {
        KeyId(self.keys.number(name))
    }

    /// Writes the page.
    ///
    /// # Errors
    /// What the sink reports.
    pub fn write_page(&self, sink: &mut impl io::Write) -> io::Result<()> {
        page::write(self, sink)
    }

    /// Writes the trace, as Chrome's trace event format has it (Google's "Trace Event
    /// Format", JSON object form), which Perfetto opens.
    ///
    /// # Errors
    /// What the sink reports.
    pub fn write_chrome_trace(&self, sink: &mut impl io::Write) -> io::Result<()> {
        chrome::write(self, sink)
    }

    /// The last time that occurs.
    pub(crate) fn last_ns(&self) -> u64 {
        let operations = self.operations.iter();
        let operations = operations.map(|op| op.end_ns.unwrap_or(op.call_ns));
        let messages = self.messages.iter();
        let messages = messages.map(|message| message.ended_ns.unwrap_or(message.sent_ns));
        let faults = self.faults.iter();
        let faults = faults.map(|fault| fault.end_ns.unwrap_or(fault.at_ns));
        let lives = self.lives.iter().map(|life| life.at_ns);
        let states = self.states.iter().map(|state| state.at_ns);
        let times = operations.chain(messages).chain(faults);
        let times = times.chain(lives).chain(states);
        times.fold(self.end_ns, u64::max)
    }
}

/// What was found to be wrong.
#[derive(Clone, Debug, Default)]
pub struct Finding {
    /// Its kind, in one word or two.
    pub name: String,
    /// What is wrong, where there is more to say than what was expected.
    pub text: String,
    /// The key that it is about.
    pub key: Option<String>,
    /// What a correct system would have answered.
    pub expected: Option<String>,
    /// What was answered instead.
    pub got: Option<String>,
    /// The operations that contradict each other.
    pub witness: Vec<Witness>,
}

/// An operation that is part of a finding. Those of the timeline that it stands for are
/// marked: by number, or by client and call where it has none.
#[derive(Clone, Debug, Default)]
pub struct Witness {
    /// Its number.
    pub op: Option<u64>,
    /// The client.
    pub client: u64,
    /// When it was called.
    pub call_ns: u64,
    /// When it ended.
    pub end_ns: Option<u64>,
    /// What was asked and answered.
    pub text: String,
}

impl Witness {
    /// An operation of the timeline.
    pub fn of(operation: &Operation) -> Self {
        Self {
            op: operation.op,
            client: operation.client,
            call_ns: operation.call_ns,
            end_ns: operation.end_ns,
            text: operation.text.clone(),
        }
    }
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It had not ended when the run did.
    Open,
    /// With an answer.
    Done,
    /// With a refusal.
    Refused,
    /// Nobody can tell.
    Unknown,
    /// Without effect.
    NoEffect,
}

/// An operation of a client.
#[derive(Clone, Debug)]
pub struct Operation {
    /// Where it is drawn.
    pub track: TrackId,
    /// Its number; none if it has none.
    pub op: Option<u64>,
    /// The number of the client.
    pub client: u64,
    /// When it was called.
    pub call_ns: u64,
    /// When it ended; none if it did not, or nobody knows when.
    pub end_ns: Option<u64>,
    /// How it ended.
    pub ending: Ending,
    /// Whether it only reads.
    pub is_read: bool,
    /// The keys that it is about.
    pub keys: Vec<KeyId>,
    /// What was asked and answered.
    pub text: String,
    /// When it can have taken effect, where that is known.
    pub point_ns: Option<u64>,
}

impl Operation {
    /// An operation that has not ended.
    pub fn new(track: TrackId, client: u64, call_ns: u64, text: impl Into<String>) -> Self {
        Self {
            track,
            op: None,
            client,
            call_ns,
            end_ns: None,
            ending: Ending::Open,
            is_read: false,
            keys: Vec::new(),
            text: text.into(),
            point_ns: None,
        }
    }

    /// Ends it.
    pub fn end(&mut self, end_ns: u64, ending: Ending) {
        self.end_ns = Some(end_ns);
        self.ending = ending;
    }
}

/// What became of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It was under way when the run ended, or went down with its connection.
    #[default]
    Open,
    /// It arrived.
    Delivered,
    /// The link lost it.
    Lost,
    /// The link was cut.
    Cut,
    /// The receiver was down, or knew no such connection any more.
    Unheard,
}

/// A message from one lane to another.
#[derive(Clone, Debug)]
pub struct Message {
    /// The sender.
    pub from: LaneId,
    /// The receiver.
    pub to: LaneId,
    /// When it was sent.
    pub sent_ns: u64,
    /// When its fate was sealed.
    pub ended_ns: Option<u64>,
    /// What became of it.
    pub fate: Fate,
    /// It is the second copy of a message that the network duplicated.
    pub is_copy: bool,
    /// Bytes of it were changed.
    pub is_corrupt: bool,
    /// Its length in bytes.
    pub bytes: u64,
    /// What it carries, as far as it is known.
    pub parts: Vec<Part>,
    /// How many further parts it carries.
    pub more_parts: u32,
}

impl Message {
    /// A message that is under way.
    pub fn new(from: LaneId, to: LaneId, sent_ns: u64) -> Self {
        Self {
            from,
            to,
            sent_ns,
            ended_ns: None,
            fate: Fate::Open,
            is_copy: false,
            is_corrupt: false,
            bytes: 0,
            parts: Vec::new(),
            more_parts: 0,
        }
    }

    /// Seals its fate.
    pub fn end(&mut self, ended_ns: u64, fate: Fate) {
        self.ended_ns = Some(ended_ns);
        self.fate = fate;
    }

    /// Adds what it carries: numbers by the fields of the kind, and the keys it is about.
    pub fn push(&mut self, kind: KindId, numbers: &[u64], keys: &[KeyId]) {
        self.parts.push(Part {
            kind,
            numbers: numbers.to_vec(),
            keys: keys.to_vec(),
        });
    }
}

/// A part of a message.
#[derive(Clone, Debug)]
pub struct Part {
    /// Its kind.
    pub kind: KindId,
    /// Its numbers, by the fields of its kind. What is missing counts as 0.
    pub numbers: Vec<u64>,
    /// The keys that it is about.
    pub keys: Vec<KeyId>,
}

/// A turn in the life of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It started.
    Started,
    /// It was paused.
    Paused,
    /// It goes on after a pause.
    Resumed,
    /// It ended, in these words: `killed`, `lost power`.
    Ended(String),
}

/// When the life of a process took a turn.
#[derive(Clone, Debug)]
pub struct LifeEvent {
    /// The lane of the process that it is about.
    pub lane: LaneId,
    /// When it happened, in nanoseconds.
    pub at_ns: u64,
    /// What became of the process.
    pub turn: Turn,
}

impl LifeEvent {
    /// A turn of a life.
    pub fn new(lane: LaneId, at_ns: u64, turn: Turn) -> Self {
        Self { lane, at_ns, turn }
    }
}

/// A fault that was injected.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Its number in the run.
    pub id: u64,
    /// What it was done to.
    pub class: FaultClassId,
    /// When it began.
    pub at_ns: u64,
    /// When it ended; none for a fault of a moment.
    pub end_ns: Option<u64>,
    /// What was done.
    pub text: String,
    /// Whom it concerns; nobody in particular if it is empty.
    pub lanes: Vec<LaneId>,
    /// Its parameters, for the trace.
    pub parameters: Value,
}

impl Fault {
    /// A fault of a moment.
    pub fn moment(
        class: FaultClassId,
        at_ns: u64,
        text: impl Into<String>,
        lanes: &[LaneId],
    ) -> Self {
        Self {
            id: 0,
            class,
            at_ns,
            end_ns: None,
            text: text.into(),
            lanes: lanes.to_vec(),
            parameters: Value::Null,
        }
    }
}

/// What a value of a [`State`] is.
#[derive(Clone, Debug)]
pub struct StateField {
    /// Its name.
    pub name: String,
    /// Whether it has a column in the table of nodes.
    pub is_in_table: bool,
    /// The counter of the trace that it is part of; none if it is in no counter.
    pub counter: Option<String>,
}

/// How much a state stands out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Emphasis {
    /// One of many: it follows.
    #[default]
    Low,
    /// It is about to change: it stands for election.
    Changing,
    /// It is the one that matters: it leads.
    High,
}

/// What a node is from a time on.
#[derive(Clone, Debug)]
pub struct State {
    /// The lane of the process that it is about.
    pub lane: LaneId,
    /// From when on it holds, in nanoseconds.
    pub at_ns: u64,
    /// What it is: `leader`.
    pub role: String,
    /// The term or view; states of one epoch have one hue.
    pub epoch: u64,
    /// How much it stands out.
    pub emphasis: Emphasis,
    /// What the table says behind the role: `of member 2`.
    pub detail: String,
    /// Its values, by [`Timeline::state_fields`]. What is missing counts as 0.
    pub values: Vec<i64>,
}

/// Something else that befell a process.
#[derive(Clone, Debug)]
pub struct Note {
    /// The lane of the process that it is about.
    pub lane: LaneId,
    /// When it happened, in nanoseconds.
    pub at_ns: u64,
    /// What is told.
    pub text: String,
}

impl Note {
    /// A note.
    pub fn new(lane: LaneId, at_ns: u64, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { lane, at_ns, text }
    }
}

/// What a process logged.
#[derive(Clone, Debug)]
pub struct Log {
    /// The lane of the process that wrote it.
    pub lane: LaneId,
    /// Lines before the first one that were not kept.
    pub left_out: u64,
    /// Its lines.
    pub lines: Vec<LogLine>,
}

/// A line of a log.
#[derive(Clone, Debug)]
pub struct LogLine {
    /// When it happened, in nanoseconds.
    pub at_ns: u64,
    /// What it says, beginning with the level.
    pub text: String,
}
