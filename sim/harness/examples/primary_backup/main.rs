//! Another system than ours in the harness: a register on a primary and a backup with a bug,
//! and the same command line as for our store. docs/your-own-system.md walks through it.
//!
//! ```text
//! cargo sim-example run --planted eager-failover    # some seeds of 100 show it
//! cargo sim-example shrink artefacts/register-1-eager-failover
//! ```

#[cfg(not(madsim))]
fn main() {
    eprintln!("this example runs in the simulated world only: build it with --cfg madsim");
}

#[cfg(madsim)]
mod scenario;
#[cfg(madsim)]
mod system;

#[cfg(madsim)]
fn main() -> std::process::ExitCode {
    veridical_harness::main(&scenario::Register)
}
