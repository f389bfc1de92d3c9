//! Instrumentation that product code carries and that costs nothing in production.
//!
//! Comes in: a name of a planted bug, chosen by a simulation run or a test; visits to
//! the places that the code declares with [`reachable!`], [`sometimes!`] and [`always!`];
//! the lengths of queues and their bounds, with [`queue!`]; the places at which a crash would
//! hurt, with [`failpoint!`].
//! Goes out: [`Planted`], a set that the core crates ask at the very line where the
//! bug would sit; with the feature `coverage`, how often each place was reached
//! and how full each queue has been.
//! May depend on: nothing; with `coverage` or `failpoints` on linkme, which gathers the places.
//!
//! Without the cargo feature `planted-bugs` the set is always empty and
//! [`Planted::has`] is a constant, so the compiler removes every planted branch from
//! the production binary. Without `coverage` nothing is counted; [`always!`] is an
//! assertion in every build. Without `failpoints` nothing crashes anywhere.

mod failpoint;
mod place;
mod planted;
mod queue;

#[cfg(feature = "failpoints")]
pub use failpoint::{FAILPOINTS, Failpoint, FailpointHook, failpoints, install_failpoint_hook};
#[cfg(any(feature = "coverage", feature = "failpoints"))]
#[doc(hidden)]
pub use linkme;
pub use place::{Claim, Place};
#[cfg(feature = "coverage")]
pub use place::{PLACES, coverage};
pub use planted::{Planted, PlantedBug};
#[cfg(feature = "coverage")]
pub use queue::{Filling, QUEUES, Queue, queues};
