//! Signals that end a benchmark early.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// SIGINT and SIGTERM, while this lives. Both end the benchmark in good order, so that what
/// was measured is printed, and members that it started do not outlive it.
pub(crate) struct StopSignals {
    token: CancellationToken,
    /// Ends with this value.
    _listener: JoinSet<()>,
}

impl StopSignals {
    /// Begins to listen.
    ///
    /// # Errors
    /// The system refuses it.
    pub(crate) fn listen() -> io::Result<Self> {
        let token = CancellationToken::new();
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut listener = JoinSet::new();
        listener.spawn({
            let token = token.clone();
            async move {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                token.cancel();
            }
        });
        Ok(Self {
            token,
            _listener: listener,
        })
    }

    /// It is cancelled by the first signal.
    pub(crate) fn token(&self) -> &CancellationToken {
        &self.token
    }
}
