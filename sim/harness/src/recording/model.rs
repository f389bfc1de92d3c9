//! What is recorded of a run for whoever looks at it later: who said what to whom, who
//! lived, what was done to them, and what they said of themselves.
//!
//! Every list has a bound; what is beyond it is counted. Of messages and states the last
//! ones are kept, since a failure is at the end.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use veridical_world::Fault;

pub use veridical_timeline::Fate;

/// Messages that are kept at most: the last ones. A run of the default scenario has about
/// 10,000.
pub const MESSAGES_MAX: usize = 200_000;

/// Changes of a process's state that are kept at most, over all of them: the last ones.
pub const STATES_MAX: usize = 200_000;

/// Starts, ends and pauses of processes that are kept at most: the first ones.
pub const LIVES_MAX: usize = 20_000;

/// Injected faults that are kept at most: the first ones.
pub const FAULTS_MAX: usize = 20_000;

/// Further incidents (errors of a disk, resets, changes of a clock) that are kept at
/// most: the last ones.
pub const INCIDENTS_MAX: usize = 50_000;

/// Frames of one message that are kept at most: its first ones.
pub const FRAMES_PER_MESSAGE_MAX: usize = 8;

/// Numbers that go with a frame, at most.
pub const NUMBERS_MAX: usize = 4;

/// A sort of frame, and what the numbers of such a frame mean.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FrameKind {
    /// Its name: that of the protocol.
    pub name: String,
    /// What it is for: kinds of a group have one colour.
    pub group: String,
    /// The names of its numbers.
    pub fields: Vec<String>,
}

/// One frame of a message, as far as it was understood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// Its kind, as an index into [`Recording::kinds`].
    #[serde(rename = "k")]
    pub kind: u16,
    /// Its numbers, by [`FrameKind::fields`].
    #[serde(rename = "n", default, skip_serializing_if = "Vec::is_empty")]
    pub numbers: Vec<u64>,
    /// The keys that it is about, as indexes into [`Recording::keys`].
    #[serde(rename = "y", default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<u32>,
}

/// A message: one unit of the network, which may carry several frames.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// When it was sent, in ns.
    #[serde(rename = "t")]
    pub sent_ns: u64,
    /// When its fate was sealed, in ns; none if it never was.
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    pub ended_ns: Option<u64>,
    /// The sender.
    pub from: u32,
    /// The receiver.
    pub to: u32,
    /// Its number on the link from one to the other.
    #[serde(rename = "o")]
    pub ordinal: u64,
    /// What became of it.
    pub fate: Fate,
    /// It is the second copy of a message that the network duplicated.
    #[serde(default, skip_serializing_if = "is_false")]
    pub copy: bool,
    /// Bytes of it were flipped.
    #[serde(default, skip_serializing_if = "is_false")]
    pub corrupt: bool,
    /// Its length in bytes.
    #[serde(rename = "b")]
    pub bytes: u64,
    /// Its first frames.
    #[serde(rename = "f", default, skip_serializing_if = "Vec::is_empty")]
    pub frames: Vec<Frame>,
    /// Further frames.
    #[serde(rename = "m", default, skip_serializing_if = "is_zero")]
    pub more_frames: u32,
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands a reference over"
)]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands a reference over"
)]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// A turn in the life of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Turn {
    /// It started.
    Started,
    /// It ended by itself.
    Exited,
    /// It panicked.
    Panicked,
    /// Its machine lost power.
    PowerLost,
    /// It was killed.
    Killed,
    /// It was paused.
    Paused,
    /// It goes on.
    Resumed,
}

/// When a process's life took a turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    /// When it did, in ns.
    #[serde(rename = "t")]
    pub at_ns: u64,
    /// The process, by its number.
    #[serde(rename = "p")]
    pub process: u32,
    /// What happened to it.
    pub turn: Turn,
}

/// A fault that was injected.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InjectedFault {
    /// Its number in the run.
    pub id: u64,
    /// When it was injected, in ns.
    #[serde(rename = "t")]
    pub at_ns: u64,
    /// When it ended, in ns; none for one of a moment, or one that lasted to the end.
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    pub ended_ns: Option<u64>,
    /// What was done.
    pub fault: Fault,
}

impl InjectedFault {
    /// When it ended, in ns, in a run that ended at `run_end_ns`; none for a fault of a
    /// moment.
    pub fn end_ns(&self, run_end_ns: u64) -> Option<u64> {
        match self.fault {
            Fault::Crash { .. }
            | Fault::CrashAt { .. }
            | Fault::Restart { .. }
            | Fault::WipeDisk { .. }
            | Fault::ResetConnections { .. }
            | Fault::ClockJump { .. }
            | Fault::BitRot { .. }
            | Fault::Decay { .. } => None,
            Fault::Partition { .. }
            | Fault::Isolate { .. }
            | Fault::OneWay { .. }
            | Fault::Bridge { .. }
            | Fault::MajorityRing { .. }
            | Fault::Clog { .. }
            | Fault::Swizzle { .. }
            | Fault::Network { .. }
            | Fault::Link { .. }
            | Fault::CrashAtFailpoint { .. }
            | Fault::KeepDisk { .. }
            | Fault::RestoreDisk { .. }
            | Fault::Pause { .. }
            | Fault::Suspend { .. }
            | Fault::Starve { .. }
            | Fault::HoldTask { .. }
            | Fault::ClockDrift { .. }
            | Fault::ClockStrobe { .. }
            | Fault::Disk { .. }
            | Fault::DiskStall { .. }
            | Fault::DiskFull { .. }
            | Fault::TooManyOpenFiles { .. } => Some(self.ended_ns.unwrap_or(run_end_ns)),
        }
    }
}

/// A change of what a process says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateChange<S> {
    /// When it changed, in ns.
    #[serde(rename = "t")]
    pub at_ns: u64,
    /// The process, by its number.
    #[serde(rename = "p")]
    pub process: u32,
    /// What it is from then on.
    #[serde(flatten)]
    pub state: S,
}

/// Something else that befell a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// When it happened, in ns.
    #[serde(rename = "t")]
    pub at_ns: u64,
    /// The process that it happened to, by its number.
    #[serde(rename = "p")]
    pub process: u32,
    /// What happened, in words.
    pub text: String,
}

/// How much is not in a recording.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Messages before the first one.
    pub messages: u64,
    /// Changes of state before the first one.
    pub states: u64,
    /// Turns of lives after the last one.
    pub lives: u64,
    /// Faults after the last one.
    pub faults: u64,
    /// Incidents before the first one.
    pub incidents: u64,
}

/// What a process can say of itself to a recorder.
pub trait RecordedState:
    Clone + Default + PartialEq + Serialize + DeserializeOwned + Send + 'static
{
}

impl<T> RecordedState for T where
    T: Clone + Default + PartialEq + Serialize + DeserializeOwned + Send + 'static
{
}

/// What was recorded of a run. `S` is what a process says of itself; it is written flat, so it
/// is a struct with names, or `()`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recording<S> {
    /// The names of all processes by number.
    pub processes: Vec<String>,
    /// The kinds of frames that occur.
    pub kinds: Vec<FrameKind>,
    /// The keys that frames are about.
    pub keys: Vec<String>,
    /// Messages in the order of their sending.
    pub messages: VecDeque<Message>,
    /// Turns of processes' lives.
    pub lives: Vec<Life>,
    /// Faults in the order of their injection.
    pub faults: Vec<InjectedFault>,
    /// What processes said of themselves, by time.
    pub states: VecDeque<StateChange<S>>,
    /// What else happened.
    pub incidents: VecDeque<Incident>,
    /// When it ended, in ns.
    pub end_ns: u64,
    /// How much is missing.
    pub left_out: LeftOut,
}

impl<S> Default for Recording<S> {
    fn default() -> Self {
        Self {
            processes: Vec::new(),
            kinds: Vec::new(),
            keys: Vec::new(),
            messages: VecDeque::new(),
            lives: Vec::new(),
            faults: Vec::new(),
            states: VecDeque::new(),
            incidents: VecDeque::new(),
            end_ns: 0,
            left_out: LeftOut::default(),
        }
    }
}

impl<S> Recording<S> {
    /// The number of a process by its name.
    pub fn process(&self, name: &str) -> Option<u32> {
        let place = self.processes.iter().position(|known| known == name)?;
        Some(place as u32)
    }
}
