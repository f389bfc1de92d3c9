//! The outside world of one simulated process.

use super::kernel::{Kernel, State};
use super::sim_clock::SimClock;
use super::sim_disk::SimDisk;
use super::sim_network::SimNetwork;
use crate::fault::ProcessId;
use crate::trace::Site;
use std::future::Future;
use std::io;
use std::sync::Arc;
use veridical_env::Environment;

/// Who acts: a process, and which start of it.
#[derive(Clone)]
pub(super) struct ProcessHandle {
    /// The world.
    pub(super) kernel: Arc<Kernel>,
    /// The process.
    pub(super) id: ProcessId,
    /// Its start.
    pub(super) incarnation: u32,
}

impl ProcessHandle {
    /// Does something in the name of the process.
    ///
    /// # Errors
    /// If this start of the process is over. Its own tasks never see that, since they
    /// are not run any more.
    #[inline]
    pub(super) fn act<R>(&self, act: impl FnOnce(&mut State, u64) -> R) -> io::Result<R> {
        self.kernel.with(|state, now_ns| {
            if state
                .processes
                .get(self.id)
                .is_some_and(|process| process.is_live(self.incarnation))
            {
                Ok(act(state, now_ns))
            } else {
                Err(io::Error::new(
                    io::ErrorKind::NotConnected,
                    "this start of the process is over",
                ))
            }
        })
    }
}

/// All that a simulated process sees of the world. Cheap to clone.
#[derive(Clone)]
pub struct SimEnvironment {
    disk: SimDisk,
    network: SimNetwork,
    clock: SimClock,
}

impl SimEnvironment {
    /// The environment of one start of a process.
    pub(super) fn new(kernel: &Arc<Kernel>, id: ProcessId, incarnation: u32) -> Self {
        let handle = ProcessHandle {
            kernel: kernel.clone(),
            id,
            incarnation,
        };
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
