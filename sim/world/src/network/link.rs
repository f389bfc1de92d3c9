//! A directed link between two hosts.

use super::{Delivery, LossMode, NetworkFaults, RETRANSMISSION_TIMEOUT_MS};
use crate::rng::Rng;
use crate::schedule::Travel;

/// What a link does with one unit.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fate {
    /// How long it travels, in ns.
    pub(super) delay_ns: u64,
    /// It is lost.
    pub(super) lost: bool,
    /// It is sent again this often before it gets through.
    pub(super) retransmissions: u32,
    /// A second copy arrives so many ns later.
    pub(super) copy_after_ns: Option<u64>,
    /// Later units may overtake it.
    pub(super) reordered: bool,
    /// Bytes are to be flipped.
    pub(super) corrupted: bool,
    /// The connection is reset.
    pub(super) reset: bool,
    /// The delay came out of the tail.
    pub(super) slow: bool,
}

/// How often a reliable stream sends a unit again at most before it gets through.
const RETRANSMISSIONS_MAX: u32 = 6;

/// How long a unit to the same host takes, in ns.
const LOOPBACK_NS: u64 = 10_000;

/// The state of one direction between two hosts.
#[derive(Debug, Default)]
pub(super) struct Link {
    /// How many faults cut it now.
    pub(super) cuts: u32,
    /// How many faults clog it now.
    pub(super) clogs: u32,
    /// What waits for the end of a clog (or cut), with its number on the link.
    pub(super) held: Vec<(u64, Delivery)>,
    /// How much further apart than others the two hosts are, in ns.
    pub(super) offset_ns: u64,
    /// The number of the next unit.
    pub(super) next_ordinal: u64,
    /// How many units with data were sent on it.
    pub(super) units_sent: u64,
    /// Behaviour of this link alone, in the order in which it was set; the last holds.
    pub(super) overrides: Vec<(u64, NetworkFaults)>,
}

impl Link {
    /// The number of a new unit.
    pub(super) fn take_ordinal(&mut self) -> u64 {
        self.next_ordinal += 1;
        self.next_ordinal
    }

    /// The behaviour that holds, `general` being that of the whole network.
    pub(super) fn behaviour<'a>(&'a self, general: &'a NetworkFaults) -> &'a NetworkFaults {
        self.overrides.last().map_or(general, |(_, faults)| faults)
    }

    /// Whether something that gets here now has to wait rather than pass or be lost.
    pub(super) fn holds(&self, loss: LossMode) -> bool {
        self.clogs > 0 || (self.cuts > 0 && loss == LossMode::Stream)
    }

    /// Decides what happens to a unit, which travels for as long as the schedule says.
    pub(super) fn decide(
        &self,
        general: &NetworkFaults,
        rng: &mut Rng,
        loopback: bool,
        travel: Travel,
    ) -> Fate {
        if loopback {
            return Fate {
                delay_ns: LOOPBACK_NS,
                ..Fate::default()
            };
        }
        let faults = self.behaviour(general);
        let (drawn_ns, slow) = faults.delay.draw_ns(rng);
        let delay_ns = match travel {
            Travel::AsDrawn => drawn_ns,
            Travel::Usual { further_ns } if slow => drawn_ns + further_ns,
            Travel::Usual { further_ns } => faults.delay.usual_ns() + further_ns,
        };
        let mut fate = Fate {
            delay_ns: delay_ns + self.offset_ns,
            slow,
            ..Fate::default()
        };
        fate.reset = rng.chance(faults.reset_probability);
        fate.corrupted = rng.chance(faults.corrupt_probability);
        match faults.loss {
            LossMode::Datagram => {
                fate.lost = rng.chance(faults.drop_probability);
                if rng.chance(faults.duplicate_probability) {
                    fate.copy_after_ns = Some(faults.delay.draw_ns(rng).0);
                }
                if rng.chance(faults.reorder_probability) {
                    fate.reordered = true;
                    fate.delay_ns += rng.below(faults.reorder_window_us * 1_000 + 1);
                }
            }
            LossMode::Stream => {
                let mut wait_ns = RETRANSMISSION_TIMEOUT_MS * 1_000_000;
                while fate.retransmissions < RETRANSMISSIONS_MAX
                    && rng.chance(faults.drop_probability)
                {
                    fate.retransmissions += 1;
                    fate.delay_ns += wait_ns;
                    wait_ns *= 2;
                }
            }
        }
        fate
    }
}
