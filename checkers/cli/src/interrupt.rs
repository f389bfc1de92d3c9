//! SIGINT for work that goes on in threads: the first one asks for an end, the second one
//! ends the process. SIGPIPE for output that nobody reads any more.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGINT, SIGPIPE};
use signal_hook::flag;

/// The status of a process that a second SIGINT ends at once, as shells have it.
const KILLED_BY_INTERRUPT: i32 = 130;

/// Lets the process end quietly once nobody reads its output, as `… | head` expects. For work
/// that writes to no other pipe and to no socket.
///
/// # Errors
/// The system refuses to hand signals over.
pub(crate) fn end_with_the_reader() -> io::Result<()> {
    let always = Arc::new(AtomicBool::new(true));
    flag::register_conditional_default(SIGPIPE, always).map(drop)
}

/// A flag that SIGINT sets; a second one ends the process.
///
/// # Errors
/// The system refuses to hand signals over.
pub(crate) fn stop_flag() -> io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    // The order matters: the first SIGINT finds the flag unset here, and sets it below.
    flag::register_conditional_shutdown(SIGINT, KILLED_BY_INTERRUPT, stop.clone())?;
    flag::register(SIGINT, stop.clone())?;
    Ok(stop)
}
