//! Whoever connects to the port of peers and is no peer: a prober of health, a scanner, a program
//! with the wrong address. It says nothing, or less than a greeting, and comes again when it is
//! sent away. Members must neither keep all of them nor miss each other because of them.

use bytes::{Bytes, BytesMut};
use std::sync::Arc;
use std::time::Duration;
use veridical_env::{Environment, Network, StreamReader, StreamWriter};
use veridical_world::{SimEnvironment, World};

use crate::cluster::peer_address;
use crate::observer::Observer;
use crate::plan::{Plan, Strangers};

/// Their machine.
const NAME: &str = "strangers";

/// After a connection has ended, or did not come about, until the next one.
const PAUSE: Duration = Duration::from_secs(1);

/// The beginning of a frame that never comes to its end: its length, and less than that.
const BEGUN_FRAME: &[u8] = &[0, 0, 0, 40, 1];

/// Lets the strangers of a plan come, each crowd at its time.
pub fn come(world: &World, observer: &Observer, plan: &Arc<Plan>) {
    let environment = world.add_host(NAME);
    for crowd in &plan.strangers {
        for number in 0..crowd.connections {
            let stranger = Stranger {
                world: world.clone(),
                observer: observer.clone(),
                environment: environment.clone(),
                crowd: *crowd,
                begins_a_frame: number % 2 == 1,
            };
            world.spawn(stranger.run());
        }
    }
}

struct Stranger {
    world: World,
    observer: Observer,
    environment: SimEnvironment,
    crowd: Strangers,
    begins_a_frame: bool,
}

impl Stranger {
    async fn run(self) {
        let from = Duration::from_millis(self.crowd.at_ms);
        self.observer.wait_until(from).await;
        let until = from + Duration::from_millis(self.crowd.for_ms);
        while self.world.now() < until {
            tokio::select! {
                biased;
                () = self.world.sleep(until.saturating_sub(self.world.now())) => return,
                () = self.stay() => {}
            }
            self.world.sleep(PAUSE).await;
        }
    }

    /// Connects, and stays until it is sent away.
    async fn stay(&self) {
        let network = self.environment.network();
        let Ok((mut reader, mut writer)) = network.connect(&peer_address(self.crowd.site)).await
        else {
            return;
        };
        if self.begins_a_frame && writer.write(Bytes::from_static(BEGUN_FRAME)).await.is_err() {
            return;
        }
        let mut told = BytesMut::new();
        // Nobody owes it an answer; it waits for the end.
        while reader.read(&mut told).await.is_ok_and(|read| read > 0) {}
        self.observer.count("strangers.sent_away");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rolling_restarts;
    use crate::run::run;
    use crate::swarm;
    use veridical_harness::report::Class;
    use veridical_harness::run::Settings;

    /// More at each port than a member lets in.
    const CONNECTIONS: u32 = 100;

    /// A plan in which members end and find each other again all the time, writes go on, and there
    /// are crowds at all ports of peers meanwhile.
    fn crowded() -> Plan {
        let mut plan = rolling_restarts::plan(swarm::drawn(1));
        let crowd = |site| Strangers {
            at_ms: 2_000,
            site,
            connections: CONNECTIONS,
            for_ms: plan.heal_at_ms - 2_000,
        };
        plan.strangers = (0..plan.members).map(crowd).collect();
        plan
    }

    #[test]
    fn members_find_each_other_among_many_silent_connections_and_writes_go_on() {
        let run = run(&crowded(), Settings::default());
        assert_eq!(run.report.verdict, Class::Ok, "{:?}", run.report.finding);
    }
}
