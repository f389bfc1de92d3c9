//! The outside world of one simulated process.

use super::kernel::ProcessHandle;
use super::sim_clock::SimClock;
use super::sim_disk::SimDisk;
use super::sim_network::SimNetwork;
use crate::fault::ProcessId;
use crate::trace::Site;
use std::future::Future;
use veridical_env::Environment;

/// All that a simulated process sees of the world. Cheap to clone.
#[derive(Clone)]
pub struct SimEnvironment {
    disk: SimDisk,
    network: SimNetwork,
    clock: SimClock,
}

impl SimEnvironment {
    /// The environment of one start of a process.
    pub(super) fn new(handle: ProcessHandle) -> Self {
        Self {
            disk: SimDisk::new(handle.clone()),
            network: SimNetwork::new(handle.clone()),
            clock: SimClock::new(handle),
        }
    }

    /// Which process this is.
    pub fn process(&self) -> ProcessId {
        self.clock.handle().id
    }

    /// How often the process had been started before this start.
    pub fn incarnation(&self) -> u32 {
        self.clock.handle().incarnation
    }

    /// The name that the process was added under; other processes connect to `name:port`.
    pub fn name(&self) -> String {
        let handle = self.clock.handle();
        handle
            .kernel
            .with(|state, _| state.name(handle.id).to_owned())
    }
}

impl Environment for SimEnvironment {
    type Disk = SimDisk;
    type Network = SimNetwork;
    type Clock = SimClock;

    fn disk(&self) -> &SimDisk {
        &self.disk
    }

    fn network(&self) -> &SimNetwork {
        &self.network
    }

    fn clock(&self) -> &SimClock {
        &self.clock
    }

    fn random_seed(&self) -> u64 {
        let handle = self.clock.handle();
        let site = Site::Seed {
            process: handle.id,
            incarnation: handle.incarnation,
        };
        handle
            .kernel
            .with(|state, now_ns| state.decisions.draw(site, now_ns, 0).next_u64())
    }

    fn spawn_disk_work(&self, _name: &str, work: impl Future<Output = ()> + Send + 'static) {
        veridical_env::task::spawn(work);
    }
}
