//! A member tells the others its name and its client addresses, once it is one of them and
//! whenever they know something else (etcd: `EtcdServer.publish`).

use tokio::sync::watch;
use veridical_env::Clock;
use veridical_probe::reachable;
use veridical_proto::command::command::Request as CommandRequest;

use crate::config::{NodeConfig, ms};
use crate::membership::directory::{Directory, is_announced};
use crate::proposals::proposer::Proposer;
use veridical_storage::format::DataFormat;

/// Tells of this member as long as it runs. Earlier programs do not know the command, so it is
/// not sent where they may have to read the log.
pub(crate) async fn announce<C: Clock>(
    proposer: Proposer<C>,
    clock: C,
    config: &NodeConfig,
    mut members: watch::Receiver<Directory>,
) {
    let attributes = &config.attributes;
    if attributes.name.is_empty() || config.data_format == DataFormat::Previous {
        return;
    }
    loop {
        let is_due = |directory: &Directory| {
            directory
                .get(config.member_id)
                .is_some_and(|known| !is_announced(known, attributes))
        };
        if members.wait_for(is_due).await.is_err() {
            // The member stops.
            return;
        }
        let announcement = CommandRequest::Announcement(attributes.clone());
        if proposer.propose(announcement).await.is_err() {
            reachable!("node.announcement-tried-again");
            clock.sleep(ms(config.limits.retry_ms)).await;
        }
    }
}
