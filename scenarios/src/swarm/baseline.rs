//! How network and disks are when nothing special happens.

use veridical_world::{CrashRules, DiskFaults, Latency, LossMode, NetworkFaults, Rng, Stream};

use crate::swarm::draw::{Family, pick};
use crate::swarm::faults::Nemesis;

/// Seeds whose streams have small windows, so that writers wait.
const SMALL_WINDOWS_SHARE: f64 = 0.1;

/// How many bytes of one stream may be under way or unread in a seed. It is drawn from a stream of
/// its own.
pub(super) fn window_bytes(seed: u64) -> usize {
    let mut rng = Rng::for_part(seed, Stream::Nemesis, "windows");
    match rng.chance(SMALL_WINDOWS_SHARE) {
        true => pick(&mut rng, &[256, 2_048, 16_384]),
        false => NetworkFaults::none().window_bytes,
    }
}

impl Nemesis {
    /// How the network is when nothing special happens.
    pub(super) fn network(&mut self, chosen: &[Family]) -> NetworkFaults {
        let rng = &mut self.rng;
        let mut network = NetworkFaults {
            delay: Latency::new(rng.between(100, 2_000), rng.between(100, 3_000)),
            pair_offset_max_us: rng.below(5_000),
            fragment_probability: if rng.chance(0.3) { 0.1 } else { 0.0 },
            ..NetworkFaults::none()
        };
        if chosen.contains(&Family::SlowNetwork) {
            network.delay = network.delay.with_tail(0.02, rng.between(20_000, 400_000));
        }
        if chosen.contains(&Family::LossyNetwork) {
            network.loss = pick(rng, &[LossMode::Datagram, LossMode::Stream]);
            network.drop_probability = rng.unit() * 0.02;
            network.duplicate_probability = rng.unit() * 0.02;
            network.reorder_probability = rng.unit() * 0.03;
            network.reorder_window_us = rng.between(1_000, 200_000);
        }
        if chosen.contains(&Family::Corruption) {
            network.corrupt_probability = rng.unit() * 0.002;
            network.reset_probability = rng.unit() * 0.002;
        }
        network
    }

    /// How the disks are when nothing special happens.
    pub(super) fn disk(&mut self, chosen: &[Family]) -> DiskFaults {
        let rng = &mut self.rng;
        let mut disk = DiskFaults {
            sync_latency: Latency::new(rng.between(100, 4_000), rng.between(100, 6_000)),
            short_read_probability: 0.01,
            short_write_probability: 0.01,
            interrupt_probability: 0.005,
            crash: CrashRules {
                lost_write_probability: pick(rng, &[0.1, 0.5, 1.0]),
                reorder: rng.chance(0.7),
                torn_write_probability: pick(rng, &[0.0, 0.3, 0.7]),
                torn_sector_probability: pick(rng, &[0.0, 0.2, 0.5]),
                torn_sector_whole: rng.chance(0.5),
                sector_bytes: pick(rng, &[512, 4_096]),
                size_without_data_probability: pick(rng, &[0.0, 0.3]),
                lost_name_probability: pick(rng, &[0.2, 0.6, 1.0]),
            },
            ..DiskFaults::none()
        };
        if chosen.contains(&Family::SlowDisk) {
            disk.sync_latency = disk
                .sync_latency
                .with_tail(0.03, rng.between(20_000, 500_000));
            // The page cache is full now and then, and writes wait for the medium; so a
            // snapshot is written while the store goes on.
            disk.write_latency = disk
                .write_latency
                .with_tail(0.15, rng.between(1_000, 20_000));
        }
        disk
    }
}
