//! SIGINT for work that goes on in threads and not in tasks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The status of a process that a second SIGINT ends at once, as shells have it.
const KILLED_BY_INTERRUPT: i32 = 130;

/// A flag that SIGINT sets; a second one ends the process.
///
/// # Errors
/// The system refuses to hand signals over.
pub(crate) fn stop_flag() -> std::io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut interrupts = {
        // Registered here, so that no interrupt is missed once this function has returned.
        let _guard = runtime.enter();
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?
    };
    let flag = stop.clone();
    std::thread::Builder::new()
        .name("interrupts".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                while interrupts.recv().await.is_some() {
                    if flag.swap(true, Ordering::Relaxed) {
                        std::process::exit(KILLED_BY_INTERRUPT);
                    }
                }
            });
        })?;
    Ok(stop)
}
