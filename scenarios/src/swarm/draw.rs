//! What all parts of a plan of the swarm are drawn from.

use veridical_world::Rng;

/// The scenario's name.
pub const NAME: &str = "swarm";

/// Families of faults that a seed can switch on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Partition,
    Clog,
    LossyNetwork,
    Corruption,
    SlowNetwork,
    Crash,
    CrashAtPoint,
    PowerFailure,
    Pause,
    Clock,
    DiskErrors,
    SlowDisk,
    LeaderNemesis,
    Membership,
    Upgrade,
    HandOver,
}

/// All of them, in the order in which seeds draw them.
pub(super) const FAMILIES: [Family; 16] = [
    Family::Partition,
    Family::Clog,
    Family::LossyNetwork,
    Family::Corruption,
    Family::SlowNetwork,
    Family::Crash,
    Family::CrashAtPoint,
    Family::PowerFailure,
    Family::Pause,
    Family::Clock,
    Family::DiskErrors,
    Family::SlowDisk,
    Family::LeaderNemesis,
    Family::Membership,
    Family::Upgrade,
    Family::HandOver,
];

/// Clocks may run this much wrong before leases are not promised any more.
pub(super) const CLAIMED_DRIFT_PPM: u64 = 10_000;

/// One of several.
pub(super) fn pick<T: Copy>(rng: &mut Rng, from: &[T]) -> T {
    from[rng.index(from.len())]
}
