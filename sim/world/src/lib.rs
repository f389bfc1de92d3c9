//! The simulated world: network, disks, clocks and processes that do what real ones do
//! at their worst, and the same again for the same seed.
//!
//! Inputs: a seed, programs written against the traits of `veridical-env`, and faults
//! ([`Fault`]) to inject while they run.
//! Outputs: whatever the driver of the run returns, with a digest over every event, the
//! counts of what really happened, and on demand the events themselves.
//! Dependencies: `veridical-env`, `veridical-probe` (failpoints), madsim (the executor and its
//! timers only; its own network and file system are not used), `rand_xoshiro`. It knows
//! nothing of Raft or etcd and serves any system written against the traits.
//!
//! The models (network, disk, clock, trace) are plain state machines and compile
//! everywhere. `World`, which runs programs on them, exists only under `--cfg madsim`.

mod clock;
mod counter;
mod digest;
pub mod disk;
mod fault;
mod latency;
pub mod network;
mod rng;
pub mod schedule;
pub mod shrink;
pub mod trace;

#[cfg(madsim)]
mod world;

/// Names a failpoint, at which a process of the system under test can be made to crash
/// ([`Fault::CrashAtFailpoint`]).
pub use veridical_probe::failpoint;

pub use clock::ClockModel;
pub use counter::{Counter, Counters};
pub use digest::{Digest, fingerprint};
pub use disk::{CrashRules, Damage, DamagedByte, DiskFaults, DiskSnapshot};
pub use fault::{CrashKind, CrashPoint, Fault, FaultId, ProcessId, UnknownProcess};
pub use latency::Latency;
pub use network::{
    LISTEN_BACKLOG, LossMode, NetworkFaults, RETRANSMISSION_TIMEOUT_MS, STREAM_WINDOW_BYTES,
};
pub use rng::{Rng, Stream, stream_seed};
pub use schedule::{DelayBounded, MessageDelay, Pct, Schedule};
pub use trace::{
    Decision, DecisionMode, Difference, DiskOperation, DropCause, Event, EventKind, ReplayCounts,
    SentUnit, Site, TraceListener, TraceMode, first_difference, first_difference_of_streams,
};

#[cfg(madsim)]
pub use world::{
    ProcessExit, ProcessOutput, RunOutcome, SimClock, SimDisk, SimEnvironment, SimFile,
    SimListener, SimNetwork, SimReader, SimWriter, World, WorldConfig,
};

#[cfg(all(doctest, madsim))]
#[doc = include_str!("../README.md")]
mod readme {}
