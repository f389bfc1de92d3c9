//! Measures Veridical and etcd side by side: the same client program, the same disk,
//! runs of one interleaved with runs of the other, fsync on for both.
//!
//! ```text
//! cargo bench -p veridical-cli --bench against_etcd -- [--duration 5s] [--rounds 2]
//!     [--members 1,3] [--clients 1,64,256] [--workloads put,get] [--folder DIR]
//! ```
//!
//! It needs `etcd` in the PATH (Debian: package etcd-server) and prints one table. The
//! spread between rounds says how far the figures can be trusted.

use std::fs::File;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use clap::Parser;
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_veridical");

/// How long a cluster may take to serve its first request.
const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// What is appended and synchronised to measure the disk, and how often.
const SYNC_BYTES: usize = 4096;
const SYNC_ROUNDS: u32 = 100;

#[derive(Parser)]
struct Flags {
    /// Of one run
    #[arg(long, default_value = "5s")]
    duration: String,
    /// Runs of each store for each line of the table
    #[arg(long, default_value_t = 2)]
    rounds: usize,
    /// Sizes of the clusters
    #[arg(long, default_value = "1,3", value_delimiter = ',')]
    members: Vec<usize>,
    /// Numbers of clients
    #[arg(long, default_value = "1,64,256", value_delimiter = ',')]
    clients: Vec<usize>,
    /// See `veridical bench --help`
    #[arg(long, default_value = "put,get", value_delimiter = ',')]
    workloads: Vec<String>,
    /// Where the data folders of both stores are made [default: the folder for temporary
    /// files]
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Passed by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

/// A store to be measured, and how it is spoken to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Subject {
    Etcd,
    Grpc,
    Native,
}

impl Subject {
    const ALL: [Self; 3] = [Self::Etcd, Self::Grpc, Self::Native];

    fn protocol(self) -> &'static str {
        match self {
            Self::Etcd | Self::Grpc => "grpc",
            Self::Native => "native",
        }
    }
}

/// The processes of one cluster; they end with it.
struct Cluster {
    processes: Vec<Child>,
    client_ports: Vec<u16>,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for process in &mut self.processes {
            // It may have ended by itself.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").port()
}

impl Cluster {
    /// Starts a cluster of the program; both programs have the same flags.
    fn start(program: &str, first: &[&str], folder: &Path, size: usize) -> Self {
        let ports: Vec<(u16, u16)> = (0..size).map(|_| (free_port(), free_port())).collect();
        let bootstrap_members: Vec<String> = ports
            .iter()
            .enumerate()
            .map(|(number, (_, peer))| format!("m{number}=http://127.0.0.1:{peer}"))
            .collect();
        let processes = ports
            .iter()
            .enumerate()
            .map(|(number, (client, peer))| {
                let log = File::create(folder.join(format!("m{number}.log"))).expect("a log");
                Command::new(program)
                    .args(first)
                    .arg(format!("--name=m{number}"))
                    .arg(format!(
                        "--data-dir={}",
                        folder.join(format!("m{number}")).display()
                    ))
                    .arg(format!("--listen-client-urls=http://127.0.0.1:{client}"))
                    .arg(format!("--advertise-client-urls=http://127.0.0.1:{client}"))
                    .arg(format!("--listen-peer-urls=http://127.0.0.1:{peer}"))
                    .arg(format!(
                        "--initial-advertise-peer-urls=http://127.0.0.1:{peer}"
                    ))
                    .arg(format!("--initial-cluster={}", bootstrap_members.join(",")))
                    .arg("--log-level=error")
                    .stdout(Stdio::null())
                    .stderr(log)
                    .spawn()
                    .expect("the program starts")
            })
            .collect();
        let cluster = Self {
            processes,
            client_ports: ports.iter().map(|ports| ports.0).collect(),
        };
        cluster.wait_until_ready();
        cluster
    }

    fn endpoints(&self) -> String {
        let endpoints: Vec<String> = self
            .client_ports
            .iter()
            .map(|port| format!("127.0.0.1:{port}"))
            .collect();
        endpoints.join(",")
    }

    fn wait_until_ready(&self) {
        let deadline = Instant::now() + READY_TIMEOUT;
        while measure(self, "grpc", "put", 1, "50ms")
            .is_none_or(|figures| figures.errors > 0 || figures.operations_per_second == 0.0)
        {
            assert!(Instant::now() < deadline, "the cluster does not serve");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// What one run measured.
#[derive(Clone, Copy)]
struct Figures {
    operations_per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    errors: u64,
}

/// Runs the client program once; `None` if it could not connect.
fn measure(
    cluster: &Cluster,
    protocol: &str,
    workload: &str,
    clients: usize,
    duration: &str,
) -> Option<Figures> {
    let output = Command::new(PROGRAM)
        .arg("bench")
        .arg(format!("--endpoints={}", cluster.endpoints()))
        .arg(format!("--workload={workload}"))
        .arg(format!("--clients={clients}"))
        .arg(format!("--protocol={protocol}"))
        .arg(format!("--duration={duration}"))
        .args(["--warmup=500ms", "--json"])
        .output()
        .expect("the client program starts");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
    let ms = |name: &str| report[name].as_f64().unwrap_or(f64::NAN) / 1_000.0;
    Some(Figures {
        operations_per_second: report["operations_per_second"].as_f64()?,
        p50_ms: ms("p50_us"),
        p99_ms: ms("p99_us"),
        errors: report["errors"].as_u64()?,
    })
}

/// The rounds of one subject on one line.
#[derive(Default)]
struct Rounds(Vec<Figures>);

impl Rounds {
    fn mean(&self, of: fn(&Figures) -> f64) -> f64 {
        self.0.iter().map(of).sum::<f64>() / self.0.len() as f64
    }

    fn operations_per_second(&self) -> f64 {
        self.mean(|figures| figures.operations_per_second)
    }

    fn latencies(&self) -> String {
        format!(
            "{:.1}/{:.1}",
            self.mean(|f| f.p50_ms),
            self.mean(|f| f.p99_ms)
        )
    }

    /// The range of the rounds, in percent of their mean.
    fn spread_percent(&self) -> f64 {
        let all = || self.0.iter().map(|figures| figures.operations_per_second);
        let range = all().fold(f64::MIN, f64::max) - all().fold(f64::MAX, f64::min);
        100.0 * range / self.operations_per_second()
    }

    fn errors(&self) -> u64 {
        self.0.iter().map(|figures| figures.errors).sum()
    }
}

/// Milliseconds that the disk takes to make a small write durable.
fn sync_ms(folder: &Path) -> f64 {
    let mut file = File::create(folder.join("sync")).expect("a file");
    let begun = Instant::now();
    for _ in 0..SYNC_ROUNDS {
        file.write_all(&[7; SYNC_BYTES]).expect("it can be written");
        file.sync_data().expect("it can be synchronised");
    }
    begun.elapsed().as_secs_f64() * 1_000.0 / f64::from(SYNC_ROUNDS)
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    let is_there = Command::new("etcd").arg("--version").output();
    let Ok(version) = is_there else {
        eprintln!("etcd is not in the PATH (Debian: apt-get install etcd-server)");
        return ExitCode::from(2);
    };
    let version = String::from_utf8_lossy(&version.stdout);
    let folder = match &flags.folder {
        Some(folder) => TempDir::new_in(folder),
        None => tempfile::tempdir(),
    };
    let folder = folder.expect("a folder for the data");
    println!(
        "{}, {} CPUs, {:.2} ms for a durable write of {SYNC_BYTES} bytes, {} rounds of {}",
        version.lines().next().unwrap_or("etcd"),
        std::thread::available_parallelism().map_or(0, usize::from),
        sync_ms(folder.path()),
        flags.rounds,
        flags.duration,
    );
    println!(
        "members workload clients |    etcd  p50/p99 ms | veridical p50/p99 ms  ratio |   native p50/p99 ms  ratio | spread %  errors"
    );
    for size in &flags.members {
        let start = |program, first: &[&str], name: &str| {
            let folder = folder.path().join(format!("{name}{size}"));
            std::fs::create_dir(&folder).expect("a folder");
            Cluster::start(program, first, &folder, *size)
        };
        let etcd = start("etcd", &["--logger=zap"], "etcd");
        let own = start(PROGRAM, &["serve"], "veridical");
        for workload in &flags.workloads {
            for clients in &flags.clients {
                let mut rounds = Subject::ALL.map(|_| Rounds::default());
                for _ in 0..flags.rounds {
                    for (subject, rounds) in Subject::ALL.into_iter().zip(&mut rounds) {
                        let cluster = if subject == Subject::Etcd {
                            &etcd
                        } else {
                            &own
                        };
                        let protocol = subject.protocol();
                        let figures =
                            measure(cluster, protocol, workload, *clients, &flags.duration);
                        rounds.0.push(figures.expect("the cluster serves"));
                    }
                }
                print_line(*size, workload, *clients, &rounds);
            }
        }
    }
    ExitCode::SUCCESS
}

fn print_line(size: usize, workload: &str, clients: usize, rounds: &[Rounds; 3]) {
    let [etcd, grpc, native] = rounds;
    let ratio = |rounds: &Rounds| rounds.operations_per_second() / etcd.operations_per_second();
    let spreads: Vec<String> = rounds
        .iter()
        .map(|rounds| format!("{:.0}", rounds.spread_percent()))
        .collect();
    println!(
        "{size:>7} {workload:<8} {clients:>7} | {:>7.0} {:>11} | {:>9.0} {:>10} {:>6.2} | {:>8.0} {:>10} {:>6.2} | {:>8} {:>7}",
        etcd.operations_per_second(),
        etcd.latencies(),
        grpc.operations_per_second(),
        grpc.latencies(),
        ratio(grpc),
        native.operations_per_second(),
        native.latencies(),
        ratio(native),
        spreads.join("/"),
        rounds.iter().map(Rounds::errors).sum::<u64>(),
    );
}
