//! The figures of the checkers, as one table.
//!
//! `cargo bench -p veridical-checkers --bench figures` runs all of them small;
//! `-- --full` in their full size, `-- ROW…` only those whose name contains a word. Each
//! row runs in a process of its own, so that its peak memory is its own. Seconds are those
//! that the checking thread spent on a core (where the system tells), so that a busy
//! machine does not change the figures.

use std::fs::File;
use std::io::BufWriter;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use veridical_checkers::check::{CheckOptions, check_stream, peak_memory_bytes};
use veridical_checkers::etcd::{EtcdChecker, EtcdOptions};
use veridical_checkers::{
    CheckerOptions, ListChecker, ObjectChecker, ObjectKind, ObjectModel, Verdict,
};
use veridical_histories::etcd::EtcdEvent;
use veridical_histories::formats::{self, History};
use veridical_histories::generate::Distribution;
use veridical_histories::generate::etcd::{EtcdHistory, EtcdWorkload};
use veridical_histories::generate::object::{ObjectHistory, ObjectWorkload};
use veridical_histories::native::{Compression, NativeWriter};
use veridical_histories::object::{Action, Answer, ObjectEvent, Request, Value};
use veridical_histories::{EventKind, OperationId};

/// A stopwatch of the time this thread spends on a core.
#[derive(Clone, Copy)]
struct Instant(Duration, std::time::Instant);

impl Instant {
    fn now() -> Self {
        Self(on_core().unwrap_or_default(), std::time::Instant::now())
    }

    fn elapsed(&self) -> Duration {
        on_core().map_or_else(|| self.1.elapsed(), |now| now.saturating_sub(self.0))
    }
}

fn on_core() -> Option<Duration> {
    let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(Duration::from_nanos(
        schedstat.split(' ').next()?.parse().ok()?,
    ))
}

/// One row of the table.
struct Row {
    name: &'static str,
    goal: &'static str,
    /// Runs it; the argument says whether in full size. Operations and seconds.
    run: fn(bool) -> (u64, f64, Verdict),
}

const ROWS: &[Row] = &[
    Row {
        name: "kv-file",
        goal: "≥ 5 M op/s, < 64 MiB",
        run: kv_file,
    },
    Row {
        name: "kv-on-the-fly",
        goal: "memory does not grow",
        run: kv_on_the_fly,
    },
    Row {
        name: "hot-key",
        goal: "≥ 2 M op/s",
        run: hot_key,
    },
    Row {
        name: "distinct-keys",
        goal: "< 256 MiB",
        run: distinct_keys,
    },
    Row {
        name: "overlapping-16",
        goal: "< 10 ms",
        run: overlapping,
    },
    Row {
        name: "four-clients",
        goal: "< 1 s",
        run: four_clients,
    },
    Row {
        name: "corpus",
        goal: "cas < 10 ms, kv < 100 ms each",
        run: corpus,
    },
    Row {
        name: "etcd",
        goal: "≥ 1 M op/s",
        run: etcd,
    },
    Row {
        name: "cas-unknown",
        goal: "finishes",
        run: cas_unknown,
    },
    Row {
        name: "cas-unknown-a",
        goal: "the same, values repeat: engine A",
        run: cas_unknown_repeated,
    },
    Row {
        name: "cas-hot-10",
        goal: "one key, five values, 10 clients",
        run: cas_hot_10,
    },
    Row {
        name: "cas-hot-64",
        goal: "the same, 64 clients",
        run: cas_hot_64,
    },
    Row {
        name: "cas-hot-256",
        goal: "the same, 256 clients",
        run: cas_hot_256,
    },
    Row {
        name: "cas-hot-unknown",
        goal: "the same, 5 % unknown outcomes",
        run: cas_hot_unknown,
    },
    Row {
        name: "queue",
        goal: "log-linear: one queue, 64 clients",
        run: queue,
    },
    Row {
        name: "queue-unknown",
        goal: "the same, 1 % unknown outcomes",
        run: queue_unknown,
    },
    Row {
        name: "stack",
        goal: "log-linear: one stack, 64 clients",
        run: stack,
    },
    Row {
        name: "set",
        goal: "linear: one set, 64 clients, element by element",
        run: set,
    },
    Row {
        name: "list-append",
        goal: "transactions of up to 3 steps, 16 clients",
        run: list_append,
    },
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let is_full = arguments.iter().any(|argument| argument == "--full");
    if let Some(at) = arguments.iter().position(|argument| argument == "--row") {
        return run_row(&arguments[at + 1], is_full);
    }
    let words: Vec<&String> = arguments
        .iter()
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    println!(
        "{:<16} {:>13} {:>9} {:>14} {:>11}  {:<9} goal",
        "row", "operations", "seconds", "operations/s", "peak MiB", "verdict"
    );
    let program = std::env::current_exe().expect("this program has a path");
    for row in ROWS {
        if !words.is_empty() && !words.iter().any(|word| row.name.contains(word.as_str())) {
            continue;
        }
        let mut command = Command::new(&program);
        command.args(["--row", row.name]);
        if is_full {
            command.arg("--full");
        }
        let status = command.status().expect("this program can run itself");
        assert!(status.success(), "{} failed: {status}", row.name);
    }
}

fn run_row(name: &str, is_full: bool) {
    let row = ROWS
        .iter()
        .find(|row| row.name == name)
        .expect("a row of this name");
    let (operations, seconds, verdict) = (row.run)(is_full);
    println!(
        "{:<16} {:>13} {:>9.3} {:>14.0} {:>11.1}  {:<9} {}",
        row.name,
        operations,
        seconds,
        operations as f64 / seconds,
        peak_memory_bytes() as f64 / f64::from(1 << 20),
        verdict.word(),
        row.goal
    );
}

fn size(is_full: bool, small: u64, full: u64) -> u64 {
    if is_full { full } else { small }
}

/// Writes the history to a file in a process of its own, then checks the file.
fn written(name: &str, workload: &ObjectWorkload) -> PathBuf {
    let folder = std::env::temp_dir().join("veridical-figures");
    std::fs::create_dir_all(&folder).expect("a folder for the file");
    let path = folder.join(format!("{name}-{}.vh", workload.operations));
    if !path.exists() {
        let part = path.with_extension("part");
        let sink = BufWriter::new(File::create(&part).expect("the file can be written"));
        let mut writer = NativeWriter::new(sink, Compression::None).expect("it can be written");
        for event in ObjectHistory::new(workload.clone()) {
            writer.write(&event).expect("it can be written");
        }
        writer.finish().expect("it can be written");
        std::fs::rename(part, &path).expect("it can be renamed");
    }
    path
}

fn check_file(path: &PathBuf, memory_limit_bytes: Option<u64>) -> (u64, f64, Verdict) {
    let begin = Instant::now();
    let options = CheckOptions {
        memory_limit_bytes,
        ..CheckOptions::default()
    };
    let file = File::open(path).expect("the file was written");
    let report = check_stream(file, options).expect("the file can be read");
    (
        report.operations,
        begin.elapsed().as_secs_f64(),
        report.verdict,
    )
}

fn big(operations: u64) -> ObjectWorkload {
    ObjectWorkload {
        kind: ObjectKind::Register,
        operations,
        clients: 256,
        keys: 1_000,
        distribution: Distribution::Zipf,
        reads: 0.95,
        ..ObjectWorkload::default()
    }
}

fn kv_file(is_full: bool) -> (u64, f64, Verdict) {
    let path = written("kv", &big(size(is_full, 3_000_000, 100_000_000)));
    check_file(&path, None)
}

/// What the generator itself takes is measured first and taken off the time.
fn on_the_fly(kind: ObjectKind, workload: ObjectWorkload) -> (u64, f64, Verdict) {
    let begin = Instant::now();
    let events = ObjectHistory::new(workload.clone())
        .map(std::hint::black_box)
        .count();
    let generating = begin.elapsed().as_secs_f64();
    let begin = Instant::now();
    let mut checker = ObjectChecker::new(ObjectModel::new(kind), CheckerOptions::default());
    for event in ObjectHistory::new(workload) {
        checker
            .observe(&event)
            .expect("generated histories are correct");
    }
    let verdict = checker.finish();
    let seconds = begin.elapsed().as_secs_f64() - generating;
    (events as u64 / 2, seconds.max(1e-3), verdict)
}

fn kv_on_the_fly(is_full: bool) -> (u64, f64, Verdict) {
    on_the_fly(
        ObjectKind::Register,
        big(size(is_full, 3_000_000, 1_000_000_000)),
    )
}

fn hot_key(is_full: bool) -> (u64, f64, Verdict) {
    let operations = size(is_full, 2_000_000, 20_000_000);
    on_the_fly(
        ObjectKind::Register,
        ObjectWorkload {
            keys: 1,
            ..big(operations)
        },
    )
}

fn distinct_keys(is_full: bool) -> (u64, f64, Verdict) {
    let keys = size(is_full, 1_000_000, 10_000_000);
    let workload = ObjectWorkload {
        keys,
        operations: 2 * keys,
        reads: 0.0,
        distribution: Distribution::Uniform,
        ..big(0)
    };
    let path = std::thread::spawn(move || {
        let folder = std::env::temp_dir().join("veridical-figures");
        std::fs::create_dir_all(&folder).expect("a folder for the file");
        let path = folder.join(format!("distinct-{keys}.vh"));
        if !path.exists() {
            // Every key once, so that no generator state is needed.
            let part = path.with_extension("part");
            let sink = BufWriter::new(File::create(&part).expect("the file can be written"));
            let mut writer = NativeWriter::new(sink, Compression::None).expect("it can be written");
            for key in 0..workload.keys {
                let at = 100 * key;
                let op = OperationId(key);
                let action = Action::Write(Value::Int(key as i64));
                let request = Request {
                    key: Value::Int(key as i64),
                    action,
                };
                let client = key % 256;
                let call = ObjectEvent::call(at, client, op, request);
                writer.write(&call).expect("it can be written");
                let end = ObjectEvent::returned(at + 50, client, op, Answer::Done);
                writer.write(&end).expect("it can be written");
            }
            writer.finish().expect("it can be written");
            std::fs::rename(part, &path).expect("it can be renamed");
        }
        path
    });
    let path = path.join().expect("the file is written");
    check_file(&path, Some(256 << 20))
}

/// One key, clients that all overlap, half writes.
fn overlapping(_: bool) -> (u64, f64, Verdict) {
    let workload = ObjectWorkload {
        kind: ObjectKind::Register,
        operations: 1_000,
        clients: 16,
        keys: 1,
        reads: 0.5,
        ..ObjectWorkload::default()
    };
    timed(ObjectKind::Register, ObjectHistory::new(workload).collect())
}

fn four_clients(_: bool) -> (u64, f64, Verdict) {
    let workload = ObjectWorkload {
        kind: ObjectKind::Register,
        operations: 100_000,
        clients: 4,
        keys: 1,
        reads: 0.5,
        ..ObjectWorkload::default()
    };
    timed(ObjectKind::Register, ObjectHistory::new(workload).collect())
}

fn timed(kind: ObjectKind, events: Vec<ObjectEvent>) -> (u64, f64, Verdict) {
    let begin = Instant::now();
    let mut checker = ObjectChecker::new(ObjectModel::new(kind), CheckerOptions::default());
    for event in &events {
        checker
            .observe(event)
            .expect("generated histories are correct");
    }
    let verdict = checker.finish();
    (
        events.len() as u64 / 2,
        begin.elapsed().as_secs_f64(),
        verdict,
    )
}

/// The slowest file of the corpus; skipped where there is none.
fn corpus(_: bool) -> (u64, f64, Verdict) {
    let Some(folder) = std::env::var_os("VERIDICAL_CORPUS").map(PathBuf::from) else {
        println!("corpus: skipped, VERIDICAL_CORPUS is not set");
        return (0, 1.0, Verdict::Ok);
    };
    let verdicts = std::fs::read_to_string(folder.join("verdicts.tsv")).expect("its list");
    let (mut operations, mut slowest) = (0, [0.0f64; 2]);
    for line in verdicts.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<&str> = line.split('\t').collect();
        let kind = ObjectKind::from_name(fields[1]).expect("a known model");
        let begin = Instant::now();
        let file = File::open(folder.join(fields[0])).expect("a listed file");
        let History::Object(events) = formats::open(file, &formats::OpenOptions::default())
            .expect("a history")
            .history
        else {
            panic!("{} is not of objects", fields[0]);
        };
        let mut checker = ObjectChecker::new(ObjectModel::new(kind), CheckerOptions::default());
        for event in events {
            operations += 1;
            if checker.observe(&event.expect("an event")).is_err() {
                break;
            }
        }
        let verdict = checker.finish();
        assert_eq!(verdict.word(), fields[2], "{}", fields[0]);
        let slot = usize::from(kind == ObjectKind::KvAppend);
        slowest[slot] = slowest[slot].max(begin.elapsed().as_secs_f64());
    }
    println!(
        "corpus: slowest cas-register {:.1} ms, slowest kv-append {:.1} ms",
        slowest[0] * 1e3,
        slowest[1] * 1e3
    );
    (operations / 2, slowest[0].max(slowest[1]), Verdict::Ok)
}

fn etcd(is_full: bool) -> (u64, f64, Verdict) {
    let operations = size(is_full, 300_000, 1_000_000);
    let workload = EtcdWorkload {
        operations,
        clients: 16,
        keys: 100,
        gets: 60.0,
        ranges: 2.0,
        puts: 25.0,
        deletes: 3.0,
        txns: 10.0,
        ..EtcdWorkload::default()
    };
    // A range has fifty pairs on average, so one pair in a range comes to each operation.
    let events: Vec<EtcdEvent> = EtcdHistory::new(workload).collect();
    let begin = Instant::now();
    let mut checker = EtcdChecker::new(EtcdOptions::default());
    for event in &events {
        checker
            .observe(event)
            .expect("generated histories are correct");
    }
    let verdict = checker.finish();
    (operations, begin.elapsed().as_secs_f64(), verdict)
}

fn cas_unknown(is_full: bool) -> (u64, f64, Verdict) {
    let operations = size(is_full, 100_000, 1_000_000);
    on_the_fly(ObjectKind::CasRegister, cas_with_unknown(operations))
}

fn cas_with_unknown(operations: u64) -> ObjectWorkload {
    ObjectWorkload {
        kind: ObjectKind::CasRegister,
        operations,
        clients: 10,
        keys: 100,
        unknown: 0.05,
        reads: 0.3,
        ..ObjectWorkload::default()
    }
}

/// The same of five values, so that nothing tells who wrote one.
fn cas_unknown_repeated(is_full: bool) -> (u64, f64, Verdict) {
    let operations = size(is_full, 100_000, 1_000_000);
    let workload = ObjectWorkload {
        values: Some(5),
        ..cas_with_unknown(operations)
    };
    on_the_fly(ObjectKind::CasRegister, workload)
}

/// One key, and five values.
fn cas_hot(clients: usize, is_full: bool, unknown: f64) -> (u64, f64, Verdict) {
    let workload = ObjectWorkload {
        operations: size(is_full, 100_000, 1_000_000),
        clients,
        keys: 1,
        unknown,
        values: Some(5),
        ..cas_with_unknown(0)
    };
    on_the_fly(ObjectKind::CasRegister, workload)
}

fn cas_hot_10(is_full: bool) -> (u64, f64, Verdict) {
    cas_hot(10, is_full, 0.0)
}

fn cas_hot_64(is_full: bool) -> (u64, f64, Verdict) {
    cas_hot(64, is_full, 0.0)
}

fn cas_hot_256(is_full: bool) -> (u64, f64, Verdict) {
    cas_hot(256, is_full, 0.0)
}

fn cas_hot_unknown(is_full: bool) -> (u64, f64, Verdict) {
    cas_hot(256, is_full, 0.05)
}

/// One object with unique values. The generator's own object is among what is measured of
/// the memory.
fn collection(kind: ObjectKind, is_full: bool, unknown: f64) -> ObjectWorkload {
    ObjectWorkload {
        kind,
        operations: size(is_full, 1_000_000, 10_000_000),
        clients: 64,
        keys: 1,
        // More is taken than put in, so that it stays short.
        reads: 0.51,
        unknown,
        ..ObjectWorkload::default()
    }
}

fn queue(is_full: bool) -> (u64, f64, Verdict) {
    let workload = collection(ObjectKind::Queue, is_full, 0.0);
    on_the_fly(ObjectKind::Queue, workload)
}

fn queue_unknown(is_full: bool) -> (u64, f64, Verdict) {
    let workload = collection(ObjectKind::Queue, is_full, 0.01);
    on_the_fly(ObjectKind::Queue, workload)
}

fn stack(is_full: bool) -> (u64, f64, Verdict) {
    let workload = collection(ObjectKind::Stack, is_full, 0.0);
    on_the_fly(ObjectKind::Stack, workload)
}

fn set(is_full: bool) -> (u64, f64, Verdict) {
    let workload = collection(ObjectKind::Set, is_full, 0.0);
    on_the_fly(ObjectKind::Set, workload)
}

/// Transactions on lists that grow, of which each read returns the whole; so keys are used
/// for a thousand transactions and then left, as Jepsen does it.
fn list_append(is_full: bool) -> (u64, f64, Verdict) {
    let operations = size(is_full, 100_000, 1_000_000);
    let keys = 10;
    let part = |number: u64| ObjectWorkload {
        seed: number,
        kind: ObjectKind::ListAppend,
        operations: 1_000,
        clients: 16,
        keys,
        reads: 0.5,
        ..ObjectWorkload::default()
    };
    let mut checker = ListChecker::new(
        ObjectModel::new(ObjectKind::ListAppend),
        CheckerOptions::default(),
    );
    let mut seconds = 0.0;
    let mut transactions = 0;
    for number in 0..operations / 1_000 {
        let events = ObjectHistory::new(part(number));
        let events: Vec<ObjectEvent> = events.map(|event| renamed(event, number)).collect();
        let begin = Instant::now();
        for event in &events {
            checker
                .observe(event)
                .expect("generated histories are correct");
        }
        seconds += begin.elapsed().as_secs_f64();
        transactions += events.len() as u64 / 2;
    }
    (transactions, seconds, checker.finish())
}

/// The same with operations and keys that no other part has.
fn renamed(mut event: ObjectEvent, part: u64) -> ObjectEvent {
    match &mut event.kind {
        EventKind::Call { op, input } => {
            op.0 += part << 20;
            if let Action::Txn(steps) = &mut input.action {
                for step in steps {
                    if let Value::Int(key) = &mut step.key {
                        *key += (part << 10) as i64;
                    }
                }
            }
        }
        EventKind::Return { op, .. } | EventKind::Unknown { op } | EventKind::Failed { op } => {
            op.0 += part << 20;
        }
        EventKind::Note { .. } => {}
    }
    event
}
