//! How fast the world is: three processes that talk all the time.
//!
//! Each sends a heartbeat to both others ten times a second and gets an answer, and
//! serves fifty requests a second, each of which it passes to both others, writes to its
//! disk with a synchronisation, and answers. Run it in the simulated world, optimised;
//! it takes the number of seeds and of simulated seconds: `chatter 5 60`.

#[cfg(not(madsim))]
fn main() {
    eprintln!("this example runs in the simulated world only: build it with --cfg madsim");
}

#[cfg(madsim)]
fn main() {
    simulated::main();
}

#[cfg(madsim)]
mod simulated {
    use bytes::{Buf, BufMut, Bytes, BytesMut};
    use std::path::Path;
    use std::sync::Arc;
    use std::time::{Duration, Instant};
    use tokio::sync::{Mutex, mpsc};
    use veridical_env::{
        Clock, Disk, DiskFile, Environment, Listener, Network, OpenMode, StreamReader, StreamWriter,
    };
    use veridical_world::{SimEnvironment, SimFile, SimWriter, World, WorldConfig};

    const MEMBERS: [&str; 3] = ["a", "b", "c"];
    const PAYLOAD_BYTES: usize = 100;
    /// How many frames may wait to be sent to one peer.
    const OUTBOX_FRAMES: usize = 1024;

    fn frame(kind: u8, number: u64) -> Bytes {
        let mut frame = BytesMut::with_capacity(PAYLOAD_BYTES);
        frame.put_u8(kind);
        frame.put_u64(number);
        frame.resize(PAYLOAD_BYTES, 7);
        frame.freeze()
    }

    const HEARTBEAT: u8 = 0;
    const APPEND: u8 = 1;
    const ACK: u8 = 2;

    async fn answer(environment: SimEnvironment) {
        let mut listener = environment
            .network()
            .listen("0.0.0.0:1")
            .await
            .expect("the port is free");
        while let Ok((mut reader, mut writer, _)) = listener.accept().await {
            veridical_env::task::spawn(async move {
                let mut buffer = BytesMut::new();
                while reader
                    .read(&mut buffer)
                    .await
                    .is_ok_and(|length| length > 0)
                {
                    while buffer.len() >= PAYLOAD_BYTES {
                        let mut bytes = buffer.split_to(PAYLOAD_BYTES);
                        bytes.advance(1);
                        if writer.write(frame(ACK, bytes.get_u64())).await.is_err() {
                            return;
                        }
                    }
                }
            });
        }
    }

    async fn send(environment: SimEnvironment, peer: String, mut outbox: mpsc::Receiver<Bytes>) {
        let (mut reader, mut writer) = environment
            .network()
            .connect(&format!("{peer}:1"))
            .await
            .expect("it listens");
        veridical_env::task::spawn(async move {
            let mut buffer = BytesMut::new();
            while reader
                .read(&mut buffer)
                .await
                .is_ok_and(|length| length > 0)
            {
                buffer.clear();
            }
        });
        while let Some(frame) = outbox.recv().await {
            writer.write(frame).await.expect("nothing is at fault");
        }
    }

    async fn member(environment: SimEnvironment) {
        let own = environment.name();
        veridical_env::task::spawn(answer(environment.clone()));
        environment.clock().sleep(Duration::from_millis(5)).await;
        let mut outboxes = Vec::new();
        for peer in MEMBERS.iter().filter(|peer| **peer != own) {
            let (outbox, frames) = mpsc::channel(OUTBOX_FRAMES);
            veridical_env::task::spawn(send(environment.clone(), (*peer).to_owned(), frames));
            outboxes.push(outbox);
        }
        let outboxes = Arc::new(outboxes);
        let (clock, beats) = (environment.clock().clone(), outboxes.clone());
        veridical_env::task::spawn(async move {
            for number in 0.. {
                clock.sleep(Duration::from_millis(100)).await;
                for outbox in beats.iter() {
                    outbox
                        .send(frame(HEARTBEAT, number))
                        .await
                        .expect("its peer listens");
                }
            }
        });
        let file = environment
            .disk()
            .open(Path::new("log"), OpenMode::CreateNew)
            .await
            .expect("a new disk");
        let log = Arc::new((file, Mutex::new(0)));
        let mut listener = environment
            .network()
            .listen("0.0.0.0:2")
            .await
            .expect("the port is free");
        while let Ok((mut reader, writer, _)) = listener.accept().await {
            let (log, outboxes) = (log.clone(), outboxes.clone());
            veridical_env::task::spawn(async move {
                let mut writer = writer;
                let mut buffer = BytesMut::new();
                while reader
                    .read(&mut buffer)
                    .await
                    .is_ok_and(|length| length > 0)
                {
                    let request = buffer.split().freeze();
                    for outbox in outboxes.iter() {
                        outbox
                            .send(frame(APPEND, 0))
                            .await
                            .expect("its peer listens");
                    }
                    if !serve(&log, request, &mut writer).await {
                        return;
                    }
                }
            });
        }
    }

    async fn serve(log: &(SimFile, Mutex<u64>), request: Bytes, writer: &mut SimWriter) -> bool {
        let mut end = log.1.lock().await;
        log.0
            .write_all_at(*end, &request)
            .await
            .expect("nothing is at fault");
        *end += request.len() as u64;
        log.0.sync().await.expect("nothing is at fault");
        drop(end);
        writer.write(request).await.is_ok()
    }

    async fn client(environment: SimEnvironment, server: String) {
        environment.clock().sleep(Duration::from_millis(20)).await;
        let (mut reader, mut writer) = environment
            .network()
            .connect(&format!("{server}:2"))
            .await
            .expect("it listens");
        let mut buffer = BytesMut::new();
        for number in 0.. {
            environment.clock().sleep(Duration::from_millis(20)).await;
            writer
                .write(frame(APPEND, number))
                .await
                .expect("nothing is at fault");
            while buffer.len() < PAYLOAD_BYTES {
                reader.read(&mut buffer).await.expect("nothing is at fault");
            }
            buffer.clear();
        }
    }

    fn argument(position: usize, default: u64) -> u64 {
        std::env::args()
            .nth(position)
            .map_or(default, |text| text.parse().expect("a number"))
    }

    pub(super) fn main() {
        let simulated = Duration::from_secs(argument(2, 60));
        for seed in 1..=argument(1, 5) {
            #[allow(
                clippy::disallowed_methods,
                reason = "it measures the world from outside"
            )]
            let begun = Instant::now();
            let outcome = World::run(seed, WorldConfig::default(), |world| async move {
                for name in MEMBERS {
                    world.add_process(name, member);
                }
                for server in MEMBERS {
                    world.add_process(&format!("client-{server}"), move |environment| {
                        client(environment, server.to_owned())
                    });
                }
                world.sleep(simulated).await;
            });
            let wall = begun.elapsed();
            let delivered = outcome.counters["net.deliver"];
            println!(
                "seed {seed}: {:.1} ms of wall time for {:.0} s, {:.0} to 1; {} events, {delivered} units \
                 delivered, {} synchronisations, {:.2} µs for each event; digest {:032x}",
                wall.as_secs_f64() * 1e3,
                outcome.simulated.as_secs_f64(),
                outcome.simulated.as_secs_f64() / wall.as_secs_f64(),
                outcome.events,
                outcome.counters["disk.fsync"],
                wall.as_secs_f64() * 1e6 / outcome.events as f64,
                outcome.digest,
            );
        }
    }
}
