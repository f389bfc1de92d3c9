//! Programs on the models: the world, its processes, and the environment they see.

mod driver;
mod environment;
mod event_queue;
mod gate;
mod inject;
mod kernel;
mod layered;
mod panic_text;
mod process;
mod reaper;
mod sim_clock;
mod sim_disk;
mod sim_network;
mod timer;

pub use driver::{RunOutcome, World, WorldConfig};
pub use environment::SimEnvironment;
pub use process::{ProcessExit, ProcessOutput};
pub use sim_clock::SimClock;
pub use sim_disk::{SimDisk, SimFile};
pub use sim_network::{SimListener, SimNetwork, SimReader, SimWriter};
