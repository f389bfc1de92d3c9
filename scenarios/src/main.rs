//! `veridical-sim`, run as `cargo sim`.

use std::process::ExitCode;
use veridical_scenarios::scenario::Store;

/// A run allocates some hundred thousand small things in a tenth of a second, in a process
/// of its own: with the system's allocator it takes 5 % longer.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    veridical_harness::main(&Store)
}
