//! The law of service: while a majority is connected and powered, writes are acknowledged
//! again and again, with no gap that is longer than the plan allows.
//!
//! One client writes all the time, each write by itself, to whatever member takes it.

use std::sync::Arc;
use std::time::Duration;
use veridical_client::record;
use veridical_client::{Client, ClientConfig, Pipelined};
use veridical_env::Environment;
use veridical_harness::report::{Class, Finding};
use veridical_proto::etcdserverpb as api;
use veridical_proto::native::request::Body as Ask;
use veridical_world::World;

use crate::cluster::{Cluster, client_address};
use crate::keyspace::key;
use crate::observer::Observer;
use crate::plan::{Plan, ServicePlan};
use crate::sessions::{STEADY_CLIENT, STEADY_NAME};

/// How often the time since the last acknowledgement is looked at.
const LOOK_PERIOD: Duration = Duration::from_millis(10);

/// One write with its retries is given up after this, and the next one begins.
const WRITE_TIMEOUT: Duration = Duration::from_secs(1);

/// How soon another member is tried.
const RETRY_DELAY: Duration = Duration::from_millis(10);

/// How often the cluster is asked for its members.
const DISCOVERY_INTERVAL: Duration = Duration::from_millis(300);

/// Writes until the faults of the plan end, and reports a gap that is too long.
pub async fn watch_service(
    world: World,
    cluster: Cluster,
    observer: Observer,
    plan: Arc<Plan>,
    law: ServicePlan,
) {
    let environment = world.add_host(STEADY_NAME);
    let (told_of, discovery_interval) = match law.discovers {
        true => (1, Some(DISCOVERY_INTERVAL)),
        false => (plan.sites(), None),
    };
    let config = ClientConfig {
        request_timeout: WRITE_TIMEOUT,
        connect_timeout: WRITE_TIMEOUT,
        retry_delay: RETRY_DELAY,
        discovery_interval,
        planted: plan.planted(),
        ..ClientConfig::new((0..told_of).map(client_address).collect())
    };
    let client = Client::new(
        Pipelined::new(environment.network().clone()),
        environment.clock().clone(),
        config,
    );
    let (acknowledged, mut last) = tokio::sync::watch::channel(None);
    let writing = async {
        for number in 0_u64.. {
            let put = Ask::Put(api::PutRequest {
                key: key(0),
                value: format!("steady.{number}").into(),
                ..Default::default()
            });
            let input = record::request(&put).expect("a write is an operation");
            let op = observer.called(STEADY_CLIENT, input);
            let asked = observer.judge().asks(None);
            let result = client.call(put.clone()).await;
            let result = observer.judged(&asked, &put, result);
            observer.ended(STEADY_CLIENT, op, record::ending(&result));
            if result.is_ok() {
                acknowledged.send_replace(Some(world.now()));
            }
            world.sleep(Duration::from_millis(law.write_every_ms)).await;
        }
    };
    let looking = async {
        let gap_max_ms = plan.knobs.election_timeout_ms * law.gap_max_percent / 100;
        let gap_max = Duration::from_millis(gap_max_ms);
        while world.now() < plan.heal_at() {
            world.sleep(LOOK_PERIOD).await;
            // The first election is not over before the first write is.
            let Some(at) = *last.borrow_and_update() else {
                continue;
            };
            let gap = world.now().saturating_sub(at);
            if gap > gap_max {
                let text = format!(
                    "no write was acknowledged for {} ms, up to {} ms; {} ms are allowed{}",
                    gap.as_millis(),
                    world.now().as_millis(),
                    gap_max_ms,
                    cluster.describe(),
                );
                observer.report(Finding::new(Class::Liveness, "service-interrupted", text));
                return;
            }
        }
    };
    tokio::select! {
        biased;
        () = looking => {}
        () = writing => {}
    }
}
