//! Instrumentation that product code carries and that costs nothing in production.
//!
//! Inputs: the planted bugs of a system, declared with [`planted_bugs!`] and chosen by a
//! simulation run or a test; visits to the coverage points that the code declares with
//! [`reachable!`], [`sometimes!`] and [`always!`]; the lengths of queues and their bounds, with
//! [`queue!`]; the points at which a crash would hurt, with [`failpoint!`].
//! Outputs: [`Planted`], a set that the code asks at the very line where the bug would sit;
//! with the feature `coverage`, how often each coverage point was reached and how full each
//! queue has been.
//! Dependencies: none; with `coverage` or `failpoints` linkme, which gathers the declarations.
//!
//! Without the cargo feature `planted-bugs` the set is always empty and [`Planted::has`] is the
//! constant `false`, so the compiler removes every planted branch from the production binary.
//! Without `coverage` nothing is counted; [`always!`] is an assertion in every build. Without
//! `failpoints` nothing crashes anywhere.

mod coverage;
mod failpoint;
mod planted;
mod queue;

#[cfg(feature = "coverage")]
pub use coverage::{COVERAGE_POINTS, coverage};
pub use coverage::{Claim, CoveragePoint};
#[cfg(feature = "failpoints")]
pub use failpoint::{FAILPOINTS, Failpoint, FailpointHook, failpoints, install_failpoint_hook};
#[cfg(any(feature = "coverage", feature = "failpoints"))]
#[doc(hidden)]
pub use linkme;
#[doc(hidden)]
pub use planted::assert_bug_names;
pub use planted::{Bug, Planted};
#[cfg(feature = "coverage")]
pub use queue::{QUEUES, Queue, QueueUsage, queues};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
