//! What the messages of a system mean, as the recorder asks for it.

use super::model::NUMBERS_MAX;

/// A sort of frame.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// Its name: that of the protocol.
    pub name: &'static str,
    /// What it is for: kinds of a group have one colour.
    pub group: &'static str,
    /// The names of its numbers, [`NUMBERS_MAX`] at most.
    pub fields: &'static [&'static str],
}

/// A frame of a message that was understood.
#[derive(Debug, PartialEq, Eq)]
pub struct Decoded {
    /// What it is.
    pub kind: Kind,
    /// Its numbers, as many as its kind has fields.
    pub numbers: [u64; NUMBERS_MAX],
    /// The keys that it is about.
    pub keys: Vec<String>,
}

/// What a unit of the network means, frame by frame: from the names of the sending and the
/// receiving process and the unit's bytes. What is not understood is left out.
pub type DecodeUnit = fn(from: &str, to: &str, unit: &[u8]) -> Vec<Decoded>;

/// A [`DecodeUnit`] that understands nothing: messages are shown by their length.
pub fn no_frames(_: &str, _: &str, _: &[u8]) -> Vec<Decoded> {
    Vec::new()
}
