//! The announcement that this process is about to end, for tasks that would go on.

use tokio::sync::watch;

/// Tells when it is time to end. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Closing {
    announced: watch::Receiver<bool>,
}

/// Makes the announcement. Dropping it makes it, too.
#[derive(Debug)]
pub(crate) struct Closer {
    announce: watch::Sender<bool>,
}

/// An announcement that has not been made, and who may make it.
pub(crate) fn closing() -> (Closer, Closing) {
    let (announce, announced) = watch::channel(false);
    (Closer { announce }, Closing { announced })
}

impl Closer {
    /// Makes the announcement.
    pub(crate) fn close(&self) {
        self.announce.send_replace(true);
    }
}

impl Closing {
    /// Waits for the announcement.
    pub(crate) async fn announced(&mut self) {
        // An error: nobody is left who could make it.
        let _ = self.announced.wait_for(|announced| *announced).await;
    }
}
