//! Few files that may be open, and many connections.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::member::{Member, client, runtime, wait_until_ready};

/// Files that the process may have open.
const OPEN_FILES_MAX: u32 = 128;

/// More than that.
const IDLE_CONNECTIONS: usize = 200;

fn puts_work(member: &Member, count: usize) {
    runtime().block_on(async {
        for number in 0..count {
            let client = client(vec![member.client_address()]);
            let put = client.put(format!("k{number}"), [b'v'; 1_000], None);
            put.await.expect("the put is acknowledged");
        }
    });
}

fn connect(member: &Member) -> TcpStream {
    TcpStream::connect(member.client_address()).expect("it listens")
}

/// Whether the other side has closed the connection within that time.
fn is_closed_within(mut stream: &TcpStream, patience: Duration) -> bool {
    let wait = patience.max(Duration::from_millis(1));
    stream.set_read_timeout(Some(wait)).expect("a time");
    match stream.read(&mut [0; 64]) {
        Ok(0) => true,
        Ok(_) => false,
        Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    }
}

#[test]
fn idle_connections_beyond_the_limit_of_open_files_keep_no_client_out_and_end_nothing() {
    // Snapshots and segments are written meanwhile: the member needs files of its own.
    let mut member = Member::new("m0")
        .with_flags(&["--snapshot-count=20"])
        .with_open_files_max(OPEN_FILES_MAX);
    member.start();
    wait_until_ready(&member);
    let idle: Vec<TcpStream> = (0..IDLE_CONNECTIONS).map(|_| connect(&member)).collect();
    puts_work(&member, 100);
    let closed = idle
        .iter()
        .filter(|stream| is_closed_within(stream, Duration::ZERO));
    let open = IDLE_CONNECTIONS - closed.count();
    assert!(open <= 64, "{open} are open");
    let warnings = member
        .log()
        .matches("as many connections as they may have")
        .count();
    // One in ten seconds, however busy the machine is.
    assert!((1..=6).contains(&warnings), "{}", member.log());
    drop(idle);
    puts_work(&member, 10);
    assert_eq!(member.end("TERM").code(), Some(0));
}

#[test]
fn connections_that_do_not_say_what_they_speak_are_closed_in_time() {
    let mut member = Member::new("m0").with_flags(&["--handshake-timeout=500"]);
    member.start();
    wait_until_ready(&member);
    let begun = Instant::now();
    let silent: Vec<TcpStream> = ["", "VRDCL", "PRI * HTT"]
        .iter()
        .map(|begin| {
            let mut stream = connect(&member);
            stream.write_all(begin.as_bytes()).expect("it is open");
            stream
        })
        .collect();
    assert!(!is_closed_within(&silent[0], Duration::from_millis(100)));
    for stream in &silent {
        assert!(is_closed_within(stream, Duration::from_secs(10)));
    }
    assert!(begun.elapsed() >= Duration::from_millis(500));
    puts_work(&member, 1);
}

#[test]
fn strangers_on_the_peer_port_are_warned_of_once_in_a_while() {
    let mut member = Member::new("m0");
    member.start();
    wait_until_ready(&member);
    for _ in 0..100 {
        let address = format!("127.0.0.1:{}", member.peer_port);
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.write_all(&[0xff; 64]).expect("it is open");
        assert!(is_closed_within(&stream, Duration::from_secs(10)));
    }
    let log = member.log();
    let warnings = log.matches("refused a peer's connection").count();
    // One in ten seconds, however busy the machine is.
    assert!((1..=6).contains(&warnings), "{log}");
    puts_work(&member, 1);
}

#[test]
fn the_soft_limit_of_open_files_is_raised_to_the_hard_one() {
    let mut member = Member::new("m0").with_soft_open_files_max(OPEN_FILES_MAX);
    member.start();
    wait_until_ready(&member);
    let limits = member.limits();
    let open_files = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .expect("the system tells it");
    let words: Vec<&str> = open_files.split_whitespace().collect();
    assert_eq!(words[3], words[4], "{open_files}");
    assert_ne!(words[3], OPEN_FILES_MAX.to_string());
}
