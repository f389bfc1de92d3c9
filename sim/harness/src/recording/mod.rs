//! What is recorded of a run, and by whom: `recorder` watches the run from outside and makes
//! the [`Recording`], with what the system's `decode` says of its messages.

mod decode;
mod draft;
mod model;
mod recorder;

pub use decode::{DecodeUnit, Decoded, Kind, no_frames};
pub use model::{
    Fate, Frame, FrameKind, Incident, InjectedFault, LeftOut, Life, MESSAGES_MAX, Message,
    NUMBERS_MAX, RecordedState, Recording, StateChange, Turn,
};
pub use recorder::{Look, Recorder};
