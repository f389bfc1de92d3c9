//! What the network does to the units that are sent over it.

use super::flow::STREAM_WINDOW_BYTES;
use crate::latency::Latency;
use serde::{Deserialize, Serialize};

/// What a loss means to a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossMode {
    /// The unit is gone, the next one may arrive: the hardest case, as on a network of
    /// datagrams. A partition loses what is sent across it.
    #[default]
    Datagram,
    /// As TCP: a lost unit is sent again after [`RETRANSMISSION_TIMEOUT_MS`], and all
    /// behind it wait. A partition holds what is sent across it. Nothing is reordered
    /// or duplicated.
    Stream,
}

/// After how long a lost unit, or what waited at a partition, is sent again in
/// [`LossMode::Stream`]: the least timeout of Linux, in ms.
pub const RETRANSMISSION_TIMEOUT_MS: u64 = 200;

/// How a link, or the whole network, behaves. Decided for each unit (one call of
/// `StreamWriter::write`) when it is sent. Probabilities are per unit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NetworkFaults {
    /// How long a unit travels.
    pub delay: Latency,
    /// Each directed pair of hosts gets a further delay, fixed for the run, drawn
    /// uniformly from 0 to this many µs: some hosts are further apart than others.
    pub pair_offset_max_us: u64,
    /// What a loss means.
    pub loss: LossMode,
    /// A unit is lost.
    pub drop_probability: f64,
    /// A unit arrives twice.
    pub duplicate_probability: f64,
    /// A unit may be overtaken by the ones behind it.
    pub reorder_probability: f64,
    /// By how much a reordered unit is late: uniform from 0 to this many µs.
    pub reorder_window_us: u64,
    /// One to three bytes of a unit are flipped.
    pub corrupt_probability: f64,
    /// The connection is reset instead.
    pub reset_probability: f64,
    /// Per read: the reader gets a random part of what is there, so that the ends of
    /// frames and of reads do not coincide.
    pub fragment_probability: f64,
    /// How many bytes of one stream may be under way or unread; a writer beyond that waits, as
    /// on TCP, whose windows are small when memory is short. One unit of any size passes when
    /// nothing else is under way.
    #[serde(skip_serializing_if = "is_usual_window")]
    pub window_bytes: usize,
}

const fn is_usual_window(bytes: &usize) -> bool {
    *bytes == STREAM_WINDOW_BYTES
}

impl NetworkFaults {
    /// A quiet network within one building: nothing goes wrong, a unit takes about
    /// 300 µs.
    pub const fn none() -> Self {
        Self {
            delay: Latency::new(100, 200),
            pair_offset_max_us: 0,
            loss: LossMode::Datagram,
            drop_probability: 0.0,
            duplicate_probability: 0.0,
            reorder_probability: 0.0,
            reorder_window_us: 0,
            corrupt_probability: 0.0,
            reset_probability: 0.0,
            fragment_probability: 0.0,
            window_bytes: STREAM_WINDOW_BYTES,
        }
    }
}

impl NetworkFaults {
    /// The same network with nothing wrong: distances, delays, ends of reads and windows stay,
    /// and nothing is lost, repeated, overtaken, corrupted or reset.
    #[must_use]
    pub const fn healed(&self) -> Self {
        Self {
            delay: self.delay,
            pair_offset_max_us: self.pair_offset_max_us,
            loss: self.loss,
            fragment_probability: self.fragment_probability,
            window_bytes: self.window_bytes,
            ..Self::none()
        }
    }
}

impl Default for NetworkFaults {
    fn default() -> Self {
        Self::none()
    }
}
