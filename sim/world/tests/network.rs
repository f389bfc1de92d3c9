//! What each fault of the network does, one property each.
#![cfg(madsim)]

use bytes::{Bytes, BytesMut};
use std::future::Future;
use std::io;
use std::time::Duration;
use veridical_env::{Clock, Environment, Listener, Network, StreamReader, StreamWriter};
use veridical_world::{
    CrashKind, Fault, Latency, LossMode, NetworkFaults, ProcessId, RunOutcome, STREAM_WINDOW_BYTES,
    SimEnvironment, SimReader, SimWriter, World, WorldConfig,
};

const A: ProcessId = ProcessId(0);
const B: ProcessId = ProcessId(1);
const MS: Duration = Duration::from_millis(1);

/// Two hosts with a connection between them. Boxed for the stories, since an async block
/// takes a box as a whole but of a struct only the fields that it names, and the sockets
/// that it does not name would be closed.
struct Pair {
    world: World,
    a: SimEnvironment,
    a_reader: SimReader,
    a_writer: SimWriter,
    b: SimEnvironment,
    b_reader: SimReader,
    b_writer: SimWriter,
}

async fn connect(
    a: &SimEnvironment,
    b: &SimEnvironment,
) -> (SimReader, SimWriter, SimReader, SimWriter) {
    let mut listener = b
        .network()
        .listen("0.0.0.0:0")
        .await
        .expect("a port is free");
    let (a_reader, a_writer) = a
        .network()
        .connect(&listener.local_address())
        .await
        .expect("it listens");
    let (b_reader, b_writer, _) = listener.accept().await.expect("somebody connected");
    (a_reader, a_writer, b_reader, b_writer)
}

fn run_with<F, Fut, T>(faults: NetworkFaults, story: F) -> RunOutcome<T>
where
    F: FnOnce(Box<Pair>) -> Fut + Send,
    Fut: Future<Output = T>,
    T: Send,
{
    World::run(1, WorldConfig::default(), |world| async move {
        let (a, b) = (world.add_host("a"), world.add_host("b"));
        let (a_reader, a_writer, b_reader, b_writer) = connect(&a, &b).await;
        world.set_network_faults(faults);
        story(Box::new(Pair {
            world,
            a,
            a_reader,
            a_writer,
            b,
            b_reader,
            b_writer,
        }))
        .await
    })
}

fn run<F, Fut, T>(story: F) -> T
where
    F: FnOnce(Box<Pair>) -> Fut + Send,
    Fut: Future<Output = T>,
    T: Send,
{
    run_with(NetworkFaults::none(), story).output
}

/// What can be read within 50 ms.
async fn read_for_a_while(
    environment: &SimEnvironment,
    reader: &mut SimReader,
) -> io::Result<Vec<u8>> {
    let mut buffer = BytesMut::new();
    let mut patience = Box::pin(environment.clock().sleep(50 * MS));
    loop {
        tokio::select! {
            biased;
            read = reader.read(&mut buffer) => if read? == 0 { break },
            () = &mut patience => break,
        }
    }
    Ok(buffer.to_vec())
}

/// Whether a read ends within 50 ms, and how.
async fn read_ends(
    environment: &SimEnvironment,
    reader: &mut SimReader,
) -> Option<io::Result<usize>> {
    let mut buffer = BytesMut::new();
    tokio::select! {
        biased;
        read = reader.read(&mut buffer) => Some(read),
        () = environment.clock().sleep(50 * MS) => None,
    }
}

async fn write_numbers(writer: &mut SimWriter, numbers: std::ops::Range<u8>) {
    for number in numbers {
        writer
            .write(Bytes::from(vec![number]))
            .await
            .expect("the connection is there");
    }
}

fn numbers(range: std::ops::Range<u8>) -> Vec<u8> {
    range.collect()
}

#[test]
fn a_healthy_stream_delivers_everything_in_order_after_a_delay() {
    run(|mut pair| async move {
        pair.world.set_network_faults(NetworkFaults {
            delay: Latency::new(3_000, 2_000).with_tail(0.1, 10_000),
            ..NetworkFaults::none()
        });
        let begun = pair.world.now();
        write_numbers(&mut pair.a_writer, 0..200).await;
        assert_eq!(pair.world.now(), begun, "writing takes no time");
        let mut buffer = BytesMut::new();
        pair.b_reader
            .read(&mut buffer)
            .await
            .expect("something arrives");
        assert!(pair.world.now() - begun >= 3 * MS);
        while buffer.len() < 200 {
            pair.b_reader.read(&mut buffer).await.expect("all arrives");
        }
        assert_eq!(buffer.to_vec(), numbers(0..200));
    });
}

#[test]
fn a_partition_loses_what_is_sent_and_what_is_under_way() {
    run(|mut pair| async move {
        write_numbers(&mut pair.a_writer, 0..1).await;
        let partition = pair.world.inject(&Fault::Partition {
            groups: vec![vec![A], vec![B]],
            duration_ms: None,
        });
        write_numbers(&mut pair.a_writer, 1..2).await;
        write_numbers(&mut pair.b_writer, 1..2).await;
        assert!(
            read_for_a_while(&pair.b, &mut pair.b_reader)
                .await
                .expect("nothing")
                .is_empty()
        );
        pair.world.heal(partition);
        write_numbers(&mut pair.a_writer, 2..3).await;
        assert_eq!(
            read_for_a_while(&pair.b, &mut pair.b_reader)
                .await
                .expect("the last"),
            [2]
        );
        assert!(
            read_for_a_while(&pair.a, &mut pair.a_reader)
                .await
                .expect("nothing")
                .is_empty()
        );
        assert_eq!(pair.world.counters()["net.drop_partition"], 3);
    });
}

#[test]
fn a_one_way_partition_leaves_the_way_back_open() {
    run(|mut pair| async move {
        pair.world.inject(&Fault::OneWay {
            from: vec![A],
            to: vec![B],
            duration_ms: Some(10),
        });
        write_numbers(&mut pair.a_writer, 0..1).await;
        write_numbers(&mut pair.b_writer, 0..1).await;
        assert!(
            read_for_a_while(&pair.b, &mut pair.b_reader)
                .await
                .expect("nothing")
                .is_empty()
        );
        assert_eq!(
            read_for_a_while(&pair.a, &mut pair.a_reader)
                .await
                .expect("it is open"),
            [0]
        );
        write_numbers(&mut pair.a_writer, 1..2).await;
        let after = read_for_a_while(&pair.b, &mut pair.b_reader)
            .await
            .expect("it ended by itself");
        assert_eq!(after, [1]);
    });
}

/// Which of five hosts reaches which under a fault, and that the end of the fault heals all.
fn reach(fault: Fault) -> [[bool; 5]; 5] {
    World::run(1, WorldConfig::default(), |world| async move {
        for name in ["a", "b", "c", "d", "e"] {
            world.add_host(name);
        }
        let matrix = |world: &World| {
            std::array::from_fn(|from| {
                std::array::from_fn(|to| {
                    !world.is_cut(ProcessId(from as u32), ProcessId(to as u32))
                })
            })
        };
        // Two faults on top of each other: the links stay cut until both have ended.
        let (first, second) = (world.inject(&fault), world.inject(&fault));
        let cut = matrix(&world);
        world.heal(first);
        assert_eq!(matrix(&world), cut);
        world.heal(second);
        assert_eq!(matrix(&world), [[true; 5]; 5]);
        world.inject(&fault);
        world.heal_all();
        assert_eq!(matrix(&world), [[true; 5]; 5]);
        cut
    })
    .output
}

fn ids(numbers: impl IntoIterator<Item = u32>) -> Vec<ProcessId> {
    numbers.into_iter().map(ProcessId).collect()
}

#[test]
fn partitions_of_every_shape_cut_what_they_say() {
    let (y, n) = (true, false);
    let isolated = reach(Fault::Isolate {
        process: ProcessId(1),
        duration_ms: None,
    });
    assert_eq!(
        isolated,
        [
            [y, n, y, y, y],
            [n, y, n, n, n],
            [y, n, y, y, y],
            [y, n, y, y, y],
            [y, n, y, y, y]
        ]
    );
    let groups = vec![ids([0, 1]), ids([2, 3])];
    let parted = reach(Fault::Partition {
        groups,
        duration_ms: None,
    });
    assert_eq!(
        parted,
        [
            [y, y, n, n, y],
            [y, y, n, n, y],
            [n, n, y, y, y],
            [n, n, y, y, y],
            [y; 5]
        ]
    );
    let bridged = reach(Fault::Bridge {
        left: ids([0, 1]),
        bridge: ProcessId(2),
        right: ids([3, 4]),
        duration_ms: None,
    });
    assert_eq!(
        bridged,
        [
            [y, y, y, n, n],
            [y, y, y, n, n],
            [y; 5],
            [n, n, y, y, y],
            [n, n, y, y, y]
        ]
    );
}

#[test]
fn in_a_majority_ring_each_reaches_a_majority_and_no_two_the_same_one() {
    let ring = reach(Fault::MajorityRing {
        ring: ids(0..5),
        duration_ms: None,
    });
    for (index, row) in ring.iter().enumerate() {
        assert_eq!(
            row.iter().filter(|reached| **reached).count(),
            3,
            "{ring:?}"
        );
        assert!(
            ring.iter().skip(index + 1).all(|other| other != row),
            "{ring:?}"
        );
        assert!(
            (0..5).all(|other| ring[other][index] == row[other]),
            "{ring:?}"
        );
    }
}

#[test]
fn a_clog_holds_everything_and_lets_it_go_in_order() {
    run(|mut pair| async move {
        write_numbers(&mut pair.a_writer, 0..3).await;
        let clog = pair.world.inject(&Fault::Clog {
            from: vec![A],
            to: vec![B],
            duration_ms: None,
        });
        write_numbers(&mut pair.a_writer, 3..6).await;
        assert!(
            read_for_a_while(&pair.b, &mut pair.b_reader)
                .await
                .expect("nothing")
                .is_empty()
        );
        pair.world.heal(clog);
        write_numbers(&mut pair.a_writer, 6..9).await;
        let all = read_for_a_while(&pair.b, &mut pair.b_reader)
            .await
            .expect("a burst");
        assert_eq!(all, numbers(0..9));
    });
}

#[test]
fn a_swizzle_clogs_and_unclogs_all_and_loses_nothing() {
    let outcome = run_with(NetworkFaults::none(), |mut pair| async move {
        pair.world.inject(&Fault::Swizzle {
            processes: vec![A, B],
            interval_ms: 20,
        });
        for number in 0..100 {
            write_numbers(&mut pair.a_writer, number..number + 1).await;
            pair.world.sleep(MS).await;
        }
        pair.world.sleep(10 * MS).await;
        let all = read_for_a_while(&pair.b, &mut pair.b_reader)
            .await
            .expect("all of it");
        assert_eq!(all, numbers(0..100));
    });
    assert!(outcome.counters["net.hold"] > 20, "{:?}", outcome.counters);
}

#[test]
fn connecting_across_a_partition_hangs_and_succeeds_after_it() {
    run(|pair| async move {
        let mut listener = pair
            .b
            .network()
            .listen("b:9")
            .await
            .expect("the port is free");
        for fault in [
            Fault::Partition {
                groups: vec![vec![A], vec![B]],
                duration_ms: Some(10_000),
            },
            Fault::OneWay {
                from: vec![B],
                to: vec![A],
                duration_ms: Some(10_000),
            },
            Fault::Clog {
                from: vec![A],
                to: vec![B],
                duration_ms: Some(10_000),
            },
            Fault::Clog {
                from: vec![B],
                to: vec![A],
                duration_ms: Some(10_000),
            },
        ] {
            pair.world.inject(&fault);
            let begun = pair.world.now();
            let connected = tokio::spawn({
                let a = pair.a.clone();
                async move { a.network().connect("b:9").await.map(drop) }
            });
            connected
                .await
                .expect("the task ends")
                .expect("the fault ends");
            let took = pair.world.now() - begun;
            assert!(
                took >= Duration::from_secs(10) && took < Duration::from_secs(30),
                "{fault:?} {took:?}"
            );
            listener.accept().await.expect("it is connected");
            pair.world.sleep(Duration::from_secs(1)).await;
        }
    });
}

#[test]
fn giving_up_a_connection_attempt_resets_what_the_listener_accepted() {
    run(|pair| async move {
        let mut listener = pair
            .b
            .network()
            .listen("b:9")
            .await
            .expect("the port is free");
        pair.world.inject(&Fault::Clog {
            from: vec![B],
            to: vec![A],
            duration_ms: Some(100),
        });
        tokio::select! {
            biased;
            _ = pair.a.network().connect("b:9") => panic!("the answer is held"),
            () = pair.a.clock().sleep(20 * MS) => {}
        }
        let (mut reader, _writer, peer) = listener.accept().await.expect("the request got through");
        assert!(peer.starts_with("10.0.0.1:"), "{peer}");
        pair.world.sleep(100 * MS).await;
        let read = read_ends(&pair.b, &mut reader).await.expect("it is over");
        assert_eq!(
            read.expect_err("nobody is there").kind(),
            io::ErrorKind::ConnectionReset
        );
    });
}

#[test]
fn nobody_listening_refuses_and_a_host_that_is_down_says_nothing() {
    run(|pair| async move {
        let refused = pair
            .a
            .network()
            .connect("b:1")
            .await
            .map(drop)
            .expect_err("nobody listens");
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        pair.world.crash(B);
        tokio::select! {
            biased;
            _ = pair.a.network().connect("b:1") => panic!("nobody is there to refuse"),
            () = pair.a.clock().sleep(Duration::from_secs(100)) => {}
        }
    });
}

#[test]
fn units_are_dropped_duplicated_and_corrupted_as_often_as_told() {
    for (faults, counter) in [
        (
            NetworkFaults {
                drop_probability: 0.3,
                ..NetworkFaults::none()
            },
            "net.drop",
        ),
        (
            NetworkFaults {
                duplicate_probability: 0.3,
                ..NetworkFaults::none()
            },
            "net.duplicate",
        ),
        (
            NetworkFaults {
                corrupt_probability: 0.3,
                ..NetworkFaults::none()
            },
            "net.corrupt",
        ),
    ] {
        let outcome = run_with(faults, |mut pair| async move {
            write_numbers(&mut pair.a_writer, 0..200).await;
            read_for_a_while(&pair.b, &mut pair.b_reader)
                .await
                .expect("most of it")
        });
        let count = outcome.counters[counter] as usize;
        assert!((40..80).contains(&count), "{counter} {count}");
        let (read, intact) = (outcome.output, numbers(0..200));
        match counter {
            "net.drop" => {
                assert_eq!(read.len(), 200 - count);
                assert!(read.is_sorted(), "what is left keeps its order");
            }
            "net.duplicate" => {
                let mut sorted = read.clone();
                sorted.sort_unstable();
                assert_eq!(sorted.len(), 200 + count);
                sorted.dedup();
                assert_eq!(sorted, intact);
            }
            _ => {
                assert_eq!(read.len(), 200);
                assert_eq!(
                    read.iter().zip(&intact).filter(|(a, b)| a != b).count(),
                    count
                );
            }
        }
    }
}

#[test]
fn reordered_units_are_overtaken_and_none_is_lost() {
    let faults = NetworkFaults {
        reorder_probability: 0.2,
        reorder_window_us: 5_000,
        ..NetworkFaults::none()
    };
    let outcome = run_with(faults, |mut pair| async move {
        for number in 0..200 {
            write_numbers(&mut pair.a_writer, number..number + 1).await;
            pair.world.sleep(MS).await;
        }
        read_for_a_while(&pair.b, &mut pair.b_reader)
            .await
            .expect("all of it")
    });
    let mut read = outcome.output;
    assert!(!read.is_sorted());
    read.sort_unstable();
    assert_eq!(read, numbers(0..200));
}

#[test]
fn a_reader_may_get_any_part_of_what_is_there() {
    let faults = NetworkFaults {
        fragment_probability: 0.9,
        ..NetworkFaults::none()
    };
    let outcome = run_with(faults, |mut pair| async move {
        let sent: Vec<u8> = (0..10_000u32).map(|number| number as u8).collect();
        pair.a_writer
            .write(Bytes::from(sent.clone()))
            .await
            .expect("it is there");
        let read = read_for_a_while(&pair.b, &mut pair.b_reader)
            .await
            .expect("all of it");
        assert_eq!(read, sent);
    });
    assert!(outcome.counters["net.fragment"] >= 1);
}

#[test]
fn a_link_can_behave_unlike_the_rest_of_the_network() {
    run(|mut pair| async move {
        let faults = NetworkFaults {
            drop_probability: 1.0,
            ..NetworkFaults::none()
        };
        pair.world.inject(&Fault::Link {
            from: vec![A],
            to: vec![B],
            faults,
            duration_ms: Some(20),
        });
        write_numbers(&mut pair.a_writer, 0..1).await;
        write_numbers(&mut pair.b_writer, 0..1).await;
        assert_eq!(
            read_for_a_while(&pair.a, &mut pair.a_reader)
                .await
                .expect("the way back"),
            [0]
        );
        write_numbers(&mut pair.a_writer, 1..2).await;
        assert_eq!(
            read_for_a_while(&pair.b, &mut pair.b_reader)
                .await
                .expect("after it"),
            [1]
        );
    });
}

#[test]
fn a_reliable_stream_is_late_but_loses_nothing() {
    let faults = NetworkFaults {
        loss: LossMode::Stream,
        drop_probability: 0.2,
        ..NetworkFaults::none()
    };
    let outcome = run_with(faults, |mut pair| async move {
        write_numbers(&mut pair.a_writer, 0..50).await;
        pair.world.inject(&Fault::Partition {
            groups: vec![vec![A], vec![B]],
            duration_ms: Some(5_000),
        });
        write_numbers(&mut pair.a_writer, 50..100).await;
        pair.world.sleep(Duration::from_secs(60)).await;
        read_for_a_while(&pair.b, &mut pair.b_reader)
            .await
            .expect("all of it")
    });
    assert_eq!(outcome.output, numbers(0..100));
    assert!(outcome.counters["net.retransmit"] > 5);
    assert!(!outcome.counters.contains_key("net.drop"));
}

#[test]
fn a_reset_is_seen_by_both_ends() {
    run(|mut pair| async move {
        write_numbers(&mut pair.a_writer, 0..1).await;
        pair.world.inject(&Fault::ResetConnections { a: A, b: B });
        for (environment, reader) in [(&pair.a, &mut pair.a_reader), (&pair.b, &mut pair.b_reader)]
        {
            let read = read_ends(environment, reader).await.expect("it is over");
            assert_eq!(
                read.expect_err("reset").kind(),
                io::ErrorKind::ConnectionReset
            );
        }
        for writer in [&mut pair.a_writer, &mut pair.b_writer] {
            let written = writer
                .write(Bytes::from_static(b"x"))
                .await
                .expect_err("it is over");
            assert_eq!(written.kind(), io::ErrorKind::ConnectionReset);
        }
    });
    let faults = NetworkFaults {
        reset_probability: 1.0,
        ..NetworkFaults::none()
    };
    run_with(faults, |mut pair| async move {
        write_numbers(&mut pair.a_writer, 0..1).await;
        let read = read_ends(&pair.b, &mut pair.b_reader)
            .await
            .expect("it is over");
        assert_eq!(
            read.expect_err("reset").kind(),
            io::ErrorKind::ConnectionReset
        );
    });
}

#[test]
fn a_peer_that_loses_power_leaves_a_half_open_connection_until_it_is_back() {
    run(|mut pair| async move {
        pair.world.crash(B);
        write_numbers(&mut pair.a_writer, 0..10).await;
        assert!(
            read_ends(&pair.a, &mut pair.a_reader).await.is_none(),
            "silence"
        );
        pair.a_writer
            .write(Bytes::from(vec![0; STREAM_WINDOW_BYTES - 10]))
            .await
            .expect("the window");
        tokio::select! {
            biased;
            _ = pair.a_writer.write(Bytes::from_static(b"x")) => panic!("nobody takes it"),
            () = pair.a.clock().sleep(Duration::from_secs(100)) => {}
        }
        pair.world.restart(B);
        assert!(
            read_ends(&pair.a, &mut pair.a_reader).await.is_none(),
            "the new host knows nothing"
        );
    });
    run(|mut pair| async move {
        pair.world.crash(B);
        pair.world.restart(B);
        pair.world.sleep(10 * MS).await;
        write_numbers(&mut pair.a_writer, 0..1).await;
        let read = read_ends(&pair.a, &mut pair.a_reader)
            .await
            .expect("the new host refuses");
        assert_eq!(
            read.expect_err("reset").kind(),
            io::ErrorKind::ConnectionReset
        );
    });
}

#[test]
fn a_crash_can_tell_the_peers_and_a_kill_always_does() {
    run(|mut pair| async move {
        let kind = CrashKind::PowerLossWithReset;
        pair.world.inject(&Fault::Crash {
            process: B,
            kind,
            restart_after_ms: None,
        });
        let read = read_ends(&pair.a, &mut pair.a_reader)
            .await
            .expect("it is told");
        assert_eq!(
            read.expect_err("reset").kind(),
            io::ErrorKind::ConnectionReset
        );
    });
    run(|mut pair| async move {
        write_numbers(&mut pair.b_writer, 0..3).await;
        pair.world.kill(B);
        let read = read_for_a_while(&pair.a, &mut pair.a_reader)
            .await
            .expect("an orderly end");
        assert_eq!(read, numbers(0..3));
        assert_eq!(
            read_ends(&pair.a, &mut pair.a_reader)
                .await
                .expect("the end")
                .expect("no error"),
            0
        );
    });
}

#[test]
fn what_destructors_of_a_crashed_process_do_reaches_nobody() {
    World::run(1, WorldConfig::default(), |world| async move {
        let server = world.add_process("server", |environment| async move {
            let mut listener = environment.network().listen("0.0.0.0:7").await?;
            let connection = listener.accept().await?;
            std::future::pending::<()>().await;
            drop(connection);
            Ok::<(), io::Error>(())
        });
        let client = world.add_host("client");
        let (mut reader, _writer) = client
            .network()
            .connect("server:7")
            .await
            .expect("it listens");
        world.sleep(10 * MS).await;
        world.crash(server);
        // madsim drops the server's tasks, and with them its sockets, in this time.
        assert!(read_ends(&client, &mut reader).await.is_none());
    });
}

#[test]
fn dropping_the_writer_ends_the_stream_after_what_was_sent() {
    run(|mut pair| async move {
        write_numbers(&mut pair.a_writer, 0..5).await;
        drop(pair.a_writer);
        pair.world.sleep(20 * MS).await;
        assert_eq!(
            read_for_a_while(&pair.b, &mut pair.b_reader)
                .await
                .expect("all"),
            numbers(0..5)
        );
        assert_eq!(
            read_ends(&pair.b, &mut pair.b_reader)
                .await
                .expect("the end")
                .expect("no error"),
            0
        );
        write_numbers(&mut pair.b_writer, 5..6).await;
        let back = read_for_a_while(&pair.a, &mut pair.a_reader)
            .await
            .expect("the way back is open");
        assert_eq!(back, [5]);
    });
}

#[test]
fn dropping_a_reader_with_unread_bytes_resets_a_writer_that_waits() {
    run(|mut pair| async move {
        pair.a_writer
            .write(Bytes::from(vec![0; STREAM_WINDOW_BYTES]))
            .await
            .expect("the window");
        pair.world.sleep(10 * MS).await;
        drop(pair.b_reader);
        let written = pair
            .a_writer
            .write(Bytes::from_static(b"x"))
            .await
            .expect_err("nobody reads");
        assert_eq!(written.kind(), io::ErrorKind::ConnectionReset);
    });
}

#[test]
fn closing_a_listener_frees_its_port_and_resets_who_waits() {
    run(|pair| async move {
        let listener = pair
            .b
            .network()
            .listen("b:9")
            .await
            .expect("the port is free");
        let again = pair
            .b
            .network()
            .listen("b:9")
            .await
            .map(drop)
            .expect_err("it is taken");
        assert_eq!(again.kind(), io::ErrorKind::AddrInUse);
        let (mut reader, _writer) = pair.a.network().connect("b:9").await.expect("it listens");
        drop(listener);
        let read = read_ends(&pair.a, &mut reader).await.expect("it is over");
        assert_eq!(
            read.expect_err("never accepted").kind(),
            io::ErrorKind::ConnectionReset
        );
        pair.b
            .network()
            .listen("b:9")
            .await
            .expect("the port is free again");
    });
}

#[test]
fn a_process_reaches_itself_whatever_the_network_does() {
    let faults = NetworkFaults {
        drop_probability: 1.0,
        ..NetworkFaults::none()
    };
    run_with(faults, |pair| async move {
        pair.world.inject(&Fault::Isolate {
            process: A,
            duration_ms: None,
        });
        let (_, mut writer, mut reader, _) = connect(&pair.a, &pair.a).await;
        write_numbers(&mut writer, 0..3).await;
        assert_eq!(
            read_for_a_while(&pair.a, &mut reader).await.expect("all"),
            numbers(0..3)
        );
    });
}

#[test]
fn the_whole_network_can_behave_otherwise_for_a_while() {
    run(|mut pair| async move {
        let faults = NetworkFaults {
            drop_probability: 1.0,
            ..NetworkFaults::none()
        };
        pair.world.inject(&Fault::Network {
            faults,
            duration_ms: Some(20),
        });
        write_numbers(&mut pair.a_writer, 0..1).await;
        write_numbers(&mut pair.b_writer, 0..1).await;
        pair.world.sleep(30 * MS).await;
        write_numbers(&mut pair.a_writer, 1..2).await;
        write_numbers(&mut pair.b_writer, 1..2).await;
        let at_b = read_for_a_while(&pair.b, &mut pair.b_reader).await;
        assert_eq!(at_b.expect("after it"), [1]);
        let at_a = read_for_a_while(&pair.a, &mut pair.a_reader).await;
        assert_eq!(at_a.expect("after it"), [1]);
    });
}
