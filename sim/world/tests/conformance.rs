//! The simulated disk and network keep the promises of the traits, as the real ones do.
#![cfg(madsim)]

use std::path::Path;
use veridical_env::Environment;
use veridical_env::conformance::{disk_conformance, network_conformance};
use veridical_world::{LossMode, NetworkFaults, World, WorldConfig};

#[test]
fn the_simulated_disk_conforms() {
    for seed in 0..20 {
        World::run(seed, WorldConfig::default(), |world| async move {
            let host = world.add_host("host");
            disk_conformance(host.disk(), Path::new("/data")).await;
        });
    }
}

#[test]
fn the_simulated_network_conforms() {
    for loss in [LossMode::Datagram, LossMode::Stream] {
        for seed in 0..20 {
            let network = NetworkFaults {
                loss,
                ..NetworkFaults::none()
            };
            let config = WorldConfig {
                network,
                ..WorldConfig::default()
            };
            World::run(seed, config, |world| async move {
                let (server, client) = (world.add_host("server"), world.add_host("client"));
                network_conformance(server.network(), client.network(), "0.0.0.0:0").await;
            });
        }
    }
}

#[test]
fn one_host_alone_conforms_too() {
    World::run(1, WorldConfig::default(), |world| async move {
        let host = world.add_host("host");
        network_conformance(host.network(), host.network(), "127.0.0.1:0").await;
    });
}
