//! The outside world of one process, as traits: [`Disk`], [`Network`], [`Clock`],
//! bundled as [`Environment`].
//!
//! Inputs: file names and bytes, addresses and frames, durations.
//! Outputs: the results of the machine: this crate's real forms (files of the operating
//! system, TCP, the system's clocks) or the simulator's.
//! Dependencies: tokio, bytes and socket2; it knows nothing of the simulator or of any system.
//!
//! A program that is generic over [`Environment`] is one program, simulated and in production.
//! With the feature `conformance`, `conformance` holds the suites which the real and
//! the simulated forms both pass.

mod clock;
mod disk;
#[cfg(not(madsim))]
mod joined_writes;
mod network;
#[cfg(not(madsim))]
#[allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the real world is what this module is made of"
)]
mod real;
pub mod task;

#[cfg(feature = "conformance")]
pub mod conformance;

pub use clock::Clock;
pub use disk::{Disk, DiskFile, OpenMode};
#[cfg(not(madsim))]
pub use joined_writes::JoinedWrites;
pub use network::{Listener, Network, StreamReader, StreamWriter};
#[cfg(not(madsim))]
pub use real::{
    RealClock, RealDisk, RealEnvironment, RealFile, TcpListening, TcpNetwork, TcpReader, TcpWriter,
    set_up_connection,
};

use std::future::Future;

/// All that a member needs from outside. Cheap to clone.
pub trait Environment: Clone + Send + Sync + 'static {
    /// Its files.
    type Disk: Disk;
    /// Its sockets.
    type Network: Network;
    /// Its time.
    type Clock: Clock;

    /// The disk of this process.
    fn disk(&self) -> &Self::Disk;
    /// The network as this process sees it.
    fn network(&self) -> &Self::Network;
    /// The clocks of this process.
    fn clock(&self) -> &Self::Clock;

    /// A seed for a generator of random numbers. Never the same twice in one process;
    /// in the simulator a function of the run's seed.
    fn random_seed(&self) -> u64;

    /// Runs `work`, whose disk calls may block, where it disturbs nobody: a thread of
    /// its own named `name` in production, a task in the simulator.
    fn spawn_disk_work(&self, name: &str, work: impl Future<Output = ()> + Send + 'static);
}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
