//! A client that asks the cluster by itself where its members are.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::oneshot;
use veridical_env::Clock;
use veridical_planted::PlantedBug;
use veridical_probe::{reachable, sometimes};
use veridical_proto::etcdserverpb as api;
use veridical_proto::native::request::Body as RequestBody;
use veridical_proto::native::response::Body as ResponseBody;

use crate::cluster::{Member, addresses};
use crate::connector::Connector;
use crate::core::Core;

/// The task that asks; it ends when this is dropped.
pub(crate) struct Discovery {
    _lives: oneshot::Sender<()>,
}

impl Discovery {
    /// Starts to ask, at once and then every `interval`.
    pub(crate) fn start<T: Connector, C: Clock>(
        core: &Arc<Core<T, C>>,
        interval: Duration,
    ) -> Self {
        let (lives, ends) = oneshot::channel();
        let clock = core.clock.clone();
        let core = Arc::downgrade(core);
        veridical_env::task::spawn(async move {
            tokio::select! {
                biased;
                _ = ends => {}
                () = discover(core, clock, interval) => {}
            }
        });
        Self { _lives: lives }
    }
}

async fn discover<T: Connector, C: Clock>(core: Weak<Core<T, C>>, clock: C, interval: Duration) {
    let mut cluster_id = None;
    while let Some(core) = core.upgrade() {
        learn(&core, &mut cluster_id).await;
        let useless = Arc::clone(&core.none_is_of_use);
        drop(core);
        tokio::select! {
            biased;
            () = clock.sleep(interval) => {}
            () = useless.notified() => {
                reachable!("client.asked-for-members-when-none-was-of-use");
            }
        }
    }
}

/// Asks once. Whoever does not answer changes nothing.
async fn learn<T: Connector, C: Clock>(core: &Core<T, C>, cluster_id: &mut Option<u64>) {
    let ask = RequestBody::MemberList(api::MemberListRequest { linearizable: true });
    let Ok(ResponseBody::MemberList(answer)) = core.call(ask, core.config.request_timeout).await
    else {
        return;
    };
    let Some(header) = answer.header else {
        return;
    };
    if *cluster_id.get_or_insert(header.cluster_id) != header.cluster_id {
        core.leave_present().await;
        return;
    }
    let before = core.addresses().await;
    let learnt = addresses(&voters(answer.members));
    if core.config.planted.has(PlantedBug::LearntEndpointsIgnored) {
        return;
    }
    core.learn_addresses(learnt).await;
    let after = core.addresses().await;
    sometimes!(before != after, "client.other-members-were-learnt");
}

/// Those that clients are to ask: a learner refuses most requests, and whoever has no name has not
/// started yet.
fn voters(members: Vec<Member>) -> Vec<Member> {
    let asked = |member: &Member| !member.name.is_empty() && !member.is_learner;
    members.into_iter().filter(asked).collect()
}
