//! The smallest whole story: two processes talk, one crashes and comes back to its disk.
#![cfg(madsim)]

use bytes::{Bytes, BytesMut};
use std::path::Path;
use std::time::Duration;
use veridical_env::{
    Clock, Disk, DiskFile, Environment, Listener, Network, OpenMode, StreamReader, StreamWriter,
};
use veridical_world::{SimEnvironment, TraceMode, World, WorldConfig};

/// Counts its starts in a file and sends the count to whoever connects.
async fn counter(environment: SimEnvironment) -> std::io::Result<()> {
    let disk = environment.disk();
    let path = Path::new("/data/count");
    disk.create_dir_all(Path::new("/data")).await?;
    let file = match disk.open(path, OpenMode::ReadWrite).await {
        Ok(file) => file,
        Err(_) => disk.open(path, OpenMode::CreateNew).await?,
    };
    let before = file.read_at(0, 1).await?.first().copied().unwrap_or(0);
    file.write_all_at(0, &[before + 1]).await?;
    file.sync().await?;
    disk.sync_dir(Path::new("/data")).await?;
    let mut listener = environment.network().listen("0.0.0.0:7").await?;
    loop {
        let (_reader, mut writer, _peer) = listener.accept().await?;
        writer.write(Bytes::from(vec![before + 1])).await?;
    }
}

async fn ask(environment: &SimEnvironment) -> u8 {
    let (mut reader, _writer) = environment
        .network()
        .connect("server:7")
        .await
        .expect("it listens");
    let mut buffer = BytesMut::new();
    reader.read(&mut buffer).await.expect("it answers");
    buffer[0]
}

fn story(seed: u64) -> (Vec<u8>, u128) {
    let config = WorldConfig {
        trace: TraceMode::Full,
        ..WorldConfig::default()
    };
    let outcome = World::run(seed, config, |world| async move {
        let server = world.add_process("server", counter);
        let client = world.add_host("client");
        world.sleep(Duration::from_millis(50)).await;
        let mut seen = vec![ask(&client).await];
        for _ in 0..2 {
            world.crash(server);
            assert!(!world.is_running(server));
            client.clock().sleep(Duration::from_millis(100)).await;
            world.restart(server);
            world.sleep(Duration::from_millis(50)).await;
            seen.push(ask(&client).await);
        }
        seen
    });
    assert_eq!(outcome.exits, []);
    assert_eq!(outcome.trace.len() as u64, outcome.events);
    (outcome.output, outcome.digest)
}

#[test]
fn a_process_that_crashes_finds_on_its_disk_what_it_synchronised() {
    assert_eq!(story(1).0, [1, 2, 3]);
}

#[test]
fn the_same_seed_gives_the_same_digest_and_another_one_another() {
    assert_eq!(story(1).1, story(1).1);
    assert_ne!(story(1).1, story(2).1);
}
