//! Programs on the models: the world, its processes, and the environment they see.

mod deferred;
mod driver;
mod effect;
mod environment;
mod event_queue;
mod gate;
mod gatekeeping;
mod inject;
mod kernel;
mod layered;
mod lifecycle;
mod links;
mod panic_text;
mod process;
mod reaper;
mod run;
mod sim_clock;
mod sim_disk;
mod sim_network;
mod timer;

pub use driver::World;
pub use environment::SimEnvironment;
pub use process::{ProcessExit, ProcessOutput};
pub use run::{RunOutcome, WorldConfig};
pub use sim_clock::SimClock;
pub use sim_disk::{SimDisk, SimFile};
pub use sim_network::{SimListener, SimNetwork, SimReader, SimWriter};
