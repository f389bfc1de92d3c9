//! Instrumentation that product code carries and that costs nothing in production.
//!
//! Comes in: a name of a planted bug, chosen by a simulation run or a test.
//! Goes out: [`Planted`], a set that the core crates ask at the very line where the
//! bug would sit.
//! May depend on: nothing.
//!
//! Without the cargo feature `planted-bugs` the set is always empty and
//! [`Planted::has`] is a constant, so the compiler removes every planted branch from
//! the production binary.

mod planted;

pub use planted::{Planted, PlantedBug};
