//! The system: a register on two machines. It knows nothing of the simulator.
//!
//! The primary answers all requests. It copies each write to the backup before it
//! acknowledges it, and its present value ten times a second.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use veridical_env::{Clock, Environment, Listener, Network, StreamReader, StreamWriter};

const READ: u8 = 0;
const WRITE: u8 = 1;
const COPY: u8 = 2;
const FRAME_BYTES: usize = 9;

const COPY_PERIOD: Duration = Duration::from_millis(100);
const COPY_TIMEOUT: Duration = Duration::from_millis(100);
const FAILOVER_AFTER: Duration = Duration::from_millis(400);

/// What the two machines do when they lose each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failover {
    /// The primary goes on alone, and the backup takes over: each believes that the
    /// other one has died. This is the bug.
    Eager,
    /// Nobody takes over, and the primary acknowledges no write without its copy.
    Never,
}

struct Machine {
    value: i64,
    serves: bool,
    heard_at: Duration,
}

fn frame(kind: u8, value: i64) -> Bytes {
    let mut frame = BytesMut::with_capacity(FRAME_BYTES);
    frame.put_u8(kind);
    frame.put_i64(value);
    frame.freeze()
}

/// One request on a connection of its own; `None` if there was no answer in time.
async fn ask<E: Environment>(
    environment: &E,
    to: &str,
    request: Bytes,
    timeout: Duration,
) -> Option<i64> {
    let asking = async {
        let (mut reader, mut writer) = environment.network().connect(to).await.ok()?;
        writer.write(request).await.ok()?;
        let mut answer = BytesMut::new();
        while answer.len() < FRAME_BYTES {
            if reader.read(&mut answer).await.ok()? == 0 {
                return None;
            }
        }
        answer.advance(1);
        Some(answer.get_i64())
    };
    tokio::select! {
        biased;
        answer = asking => answer,
        () = environment.clock().sleep(timeout) => None,
    }
}

/// Reads the register: `None` if it is not known what it holds.
pub async fn read<E: Environment>(environment: &E, from: &str, timeout: Duration) -> Option<i64> {
    ask(environment, from, frame(READ, 0), timeout).await
}

/// Writes the register; `false` if it is not known whether that was done.
pub async fn write<E: Environment>(
    environment: &E,
    to: &str,
    value: i64,
    timeout: Duration,
) -> bool {
    let answer = ask(environment, to, frame(WRITE, value), timeout).await;
    answer.is_some()
}

/// One of the machines. `backup` is the address of the other one; the backup has none.
pub async fn serve<E: Environment>(
    environment: E,
    address: &'static str,
    backup: Option<&'static str>,
    failover: Failover,
) -> std::io::Result<()> {
    let clock = environment.clock().clone();
    let machine = Arc::new(Mutex::new(Machine {
        value: 0,
        serves: backup.is_some(),
        heard_at: clock.monotonic(),
    }));
    veridical_env::task::spawn(keep_in_touch(
        environment.clone(),
        machine.clone(),
        backup,
        failover,
    ));
    let mut listener = environment.network().listen(address).await?;
    loop {
        let (mut reader, mut writer, _) = listener.accept().await?;
        let (environment, machine) = (environment.clone(), machine.clone());
        veridical_env::task::spawn(async move {
            let mut request = BytesMut::new();
            while request.len() < FRAME_BYTES {
                if !matches!(reader.read(&mut request).await, Ok(1..)) {
                    return;
                }
            }
            let (kind, value) = (request.get_u8(), request.get_i64());
            if let Some(answer) =
                handle(&environment, &machine, backup, failover, kind, value).await
            {
                // Whoever asked may be gone.
                let _ = writer.write(frame(kind, answer)).await;
            }
        });
    }
}

async fn handle<E: Environment>(
    environment: &E,
    machine: &Mutex<Machine>,
    backup: Option<&str>,
    failover: Failover,
    kind: u8,
    value: i64,
) -> Option<i64> {
    {
        let mut machine = machine.lock().expect("nobody panics with it");
        if (kind == COPY) == machine.serves {
            return None;
        }
        if kind == READ {
            return Some(machine.value);
        }
        machine.value = value;
        machine.heard_at = environment.clock().monotonic();
    }
    let Some(backup) = backup.filter(|_| kind == WRITE) else {
        return Some(value);
    };
    let copied = ask(environment, backup, frame(COPY, value), COPY_TIMEOUT).await;
    (copied.is_some() || failover == Failover::Eager).then_some(value)
}

/// The primary sends its value from time to time; the backup takes over if it does not.
async fn keep_in_touch<E: Environment>(
    environment: E,
    machine: Arc<Mutex<Machine>>,
    backup: Option<&str>,
    failover: Failover,
) {
    let clock = environment.clock();
    loop {
        clock.sleep(COPY_PERIOD).await;
        if let Some(backup) = backup {
            let value = machine.lock().expect("nobody panics with it").value;
            ask(&environment, backup, frame(COPY, value), COPY_TIMEOUT).await;
        } else if failover == Failover::Eager {
            let mut machine = machine.lock().expect("nobody panics with it");
            machine.serves |= clock.monotonic() - machine.heard_at > FAILOVER_AFTER;
        }
    }
}
