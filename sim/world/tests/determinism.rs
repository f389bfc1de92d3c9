//! One seed, one run: in this process and in another.
#![cfg(madsim)]

use bytes::{Bytes, BytesMut};
use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use veridical_env::{
    Clock, Disk, DiskFile, Environment, Listener, Network, OpenMode, StreamReader, StreamWriter,
};
use veridical_world::{
    CrashKind, CrashRules, DiskFaults, Fault, Latency, NetworkFaults, ProcessId, Rng, RunOutcome,
    SimEnvironment, Stream, TraceMode, World, WorldConfig, first_difference,
};

const MEMBERS: usize = 3;
const MS: Duration = Duration::from_millis(1);

/// A member that writes, talks and forgets, and minds no failure.
async fn member(environment: SimEnvironment) -> std::io::Result<()> {
    let mut rng = Rng::from_seed(environment.random_seed());
    let mut listener = environment.network().listen("0.0.0.0:1").await?;
    tokio::spawn(async move {
        while let Ok((mut reader, mut writer, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = BytesMut::new();
                while reader
                    .read(&mut buffer)
                    .await
                    .is_ok_and(|length| length > 0)
                {
                    if writer.write(buffer.split().freeze()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    let disk = environment.disk();
    let file = match disk.open(Path::new("log"), OpenMode::ReadWrite).await {
        Ok(file) => file,
        Err(_) => disk.open(Path::new("log"), OpenMode::CreateNew).await?,
    };
    loop {
        environment
            .clock()
            .sleep(Duration::from_micros(rng.between(500, 20_000)))
            .await;
        let peer = format!("m{}:1", rng.index(MEMBERS));
        let connection = tokio::select! {
            biased;
            connection = environment.network().connect(&peer) => connection,
            () = environment.clock().sleep(50 * MS) => continue,
        };
        let Ok((mut reader, mut writer)) = connection else {
            continue;
        };
        // The standard library's map: its order must not depend on the process.
        let words: HashMap<u64, u64> = (0..8).map(|key| (key, rng.next_u64())).collect();
        let payload: Vec<u8> = words.values().flat_map(|word| word.to_le_bytes()).collect();
        if writer.write(Bytes::from(payload.clone())).await.is_err() {
            continue;
        }
        let mut buffer = BytesMut::new();
        tokio::select! {
            biased;
            read = reader.read(&mut buffer) => if read.is_err() { continue },
            () = environment.clock().sleep(30 * MS) => {}
        }
        let end = file.len().await?;
        // Errors of the disk are part of the run.
        let _ = file.write_all_at(end, &payload).await;
        let _ = file.sync().await;
        let _ = disk.sync_dir(Path::new("/")).await;
    }
}

/// Two seconds of three members under every kind of fault.
fn busy_run(seed: u64, extra_draw: bool) -> RunOutcome<()> {
    let network = NetworkFaults {
        delay: Latency::new(100, 500).with_tail(0.02, 20_000),
        pair_offset_max_us: 500,
        drop_probability: 0.02,
        duplicate_probability: 0.02,
        reorder_probability: 0.05,
        reorder_window_us: 3_000,
        corrupt_probability: 0.01,
        reset_probability: 0.005,
        fragment_probability: 0.1,
        ..NetworkFaults::none()
    };
    let disk = DiskFaults {
        short_write_probability: 0.05,
        interrupt_probability: 0.05,
        sync_error_probability: 0.01,
        crash: CrashRules::harsh(),
        ..DiskFaults::none()
    };
    let config = WorldConfig {
        network,
        disk,
        trace: TraceMode::Full,
        ..WorldConfig::default()
    };
    World::run(seed, config, |world| async move {
        for index in 0..MEMBERS {
            world.add_process(&format!("m{index}"), member);
        }
        let mut rng = world.rng(Stream::Nemesis);
        if extra_draw {
            world.rng(Stream::Workload);
        }
        for _ in 0..20 {
            world.sleep(100 * MS).await;
            let process = ProcessId(rng.index(MEMBERS) as u32);
            let fault = match rng.index(6) {
                0 => Fault::Isolate {
                    process,
                    duration_ms: Some(150),
                },
                1 => Fault::Crash {
                    process,
                    kind: CrashKind::PowerLoss,
                    restart_after_ms: Some(80),
                },
                2 => Fault::Pause {
                    process,
                    duration_ms: Some(120),
                },
                3 => Fault::ClockDrift {
                    process,
                    drift_ppm: 500,
                    duration_ms: Some(300),
                },
                4 => Fault::DiskStall {
                    process,
                    duration_ms: 50,
                },
                _ => Fault::Swizzle {
                    processes: world.processes(),
                    interval_ms: 15,
                },
            };
            world.inject(&fault);
        }
    })
}

fn assert_same(left: &RunOutcome<()>, right: &RunOutcome<()>) {
    assert_eq!(first_difference(&left.trace, &right.trace), None);
    assert_eq!(left.digest, right.digest);
    assert_eq!(left.counters, right.counters);
    assert_eq!(left.simulated, right.simulated);
}

#[test]
fn the_same_seed_gives_the_same_run_twice_in_one_process() {
    for seed in 0..5 {
        let (first, second) = (busy_run(seed, false), busy_run(seed, false));
        assert!(first.events > 1_000, "{}", first.events);
        assert_same(&first, &second);
    }
}

#[test]
fn different_seeds_give_different_runs() {
    let digests: std::collections::BTreeSet<_> =
        (0..10).map(|seed| busy_run(seed, false).digest).collect();
    assert_eq!(digests.len(), 10);
}

#[test]
fn a_draw_from_a_stream_that_is_not_used_changes_nothing() {
    assert_same(&busy_run(3, false), &busy_run(3, true));
}

#[test]
fn one_more_event_changes_the_digest_and_the_difference_is_found() {
    let run = |odd: u64| {
        let config = WorldConfig {
            trace: TraceMode::Full,
            ..WorldConfig::default()
        };
        World::run(1, config, |world| async move {
            for value in 0..10 {
                world.record("step", if value == 7 { odd } else { value });
                world.sleep(MS).await;
            }
        })
    };
    let (even, odd) = (run(7), run(8));
    assert_ne!(even.digest, odd.digest);
    let difference = first_difference(&even.trace, &odd.trace).expect("they differ");
    assert_eq!(difference.index, 7);
}

/// The variable that makes this test program print a digest when it runs itself.
const CHILD_SEED: &str = "VERIDICAL_SIM_CHILD_SEED";

#[test]
fn the_same_seed_gives_the_same_digest_in_two_processes() {
    if let Ok(seed) = std::env::var(CHILD_SEED) {
        let seed = seed.parse().expect("a number");
        // Runs before it must not matter either.
        busy_run(seed + 1, false);
        println!("digest={:032x}", busy_run(seed, false).digest);
        return;
    }
    let in_child = || {
        let output = Command::new(std::env::current_exe().expect("a program"))
            .args([
                "--exact",
                "the_same_seed_gives_the_same_digest_in_two_processes",
                "--nocapture",
            ])
            .env(CHILD_SEED, "42")
            .output()
            .expect("this program runs");
        let text = String::from_utf8(output.stdout).expect("it prints text");
        let digest = text
            .split("digest=")
            .nth(1)
            .map(|rest| rest[..32].to_owned());
        digest.unwrap_or_else(|| panic!("no digest in {text:?}"))
    };
    let here = format!("{:032x}", busy_run(42, false).digest);
    assert_eq!(in_child(), here);
    assert_eq!(in_child(), here);
}
