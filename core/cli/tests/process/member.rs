//! Members as processes.

use std::fs::File;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use veridical_client::{Client, ClientConfig, Pipelined, PipelinedClient};
use veridical_env::{RealClock, TcpNetwork};

/// How long a cluster may take to serve its first request.
pub const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a process may take to end.
const EXIT_TIMEOUT: Duration = Duration::from_secs(20);

/// The program under test.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_veridical"));
    // The environment of whoever runs the tests must not reach the program.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("VERIDICAL_") || text.starts_with("ETCD_") {
            command.env_remove(name);
        }
    }
    command.env_remove("RUST_LOG");
    command
}

/// Ports below those that the kernel gives to outgoing connections (from 32768 on, on Linux): a
/// member that was killed has to find its own port free when it starts again, however many
/// connections others have opened meanwhile.
const FIRST_PORT: u16 = 20_000;
const PORTS: u16 = 12_000;

/// A port of the loopback interface that nobody uses, and that no other test of this process
/// gets.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Programs that run at once begin at different places.
    let start = (std::process::id() % u32::from(PORTS)) as u16;
    for _ in 0..PORTS {
        let number = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(start);
        let port = FIRST_PORT + number % PORTS;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("all ports of the range are taken");
}

/// A member: a folder, two ports, and a process while it runs.
pub struct Member {
    pub name: String,
    pub client_port: u16,
    pub peer_port: u16,
    folder: TempDir,
    flags: Vec<String>,
    /// Flags and value of the shell's `ulimit`.
    ulimit: Option<String>,
    environment: Vec<(String, String)>,
    child: Option<Child>,
}

impl Member {
    /// A member that has not been started.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            client_port: free_port(),
            peer_port: free_port(),
            folder: tempfile::tempdir().expect("a folder"),
            flags: Vec::new(),
            ulimit: None,
            environment: Vec::new(),
            child: None,
        }
    }

    /// With more flags.
    pub fn with_flags(mut self, flags: &[&str]) -> Self {
        self.flags
            .extend(flags.iter().map(|flag| (*flag).to_owned()));
        self
    }

    /// The process may have so many files open.
    pub fn with_open_files_max(mut self, count: u32) -> Self {
        self.ulimit = Some(format!("-n {count}"));
        self
    }

    /// The process may have so many files open, and may raise that itself.
    pub fn with_soft_open_files_max(mut self, count: u32) -> Self {
        self.ulimit = Some(format!("-S -n {count}"));
        self
    }

    /// What the system says that the process may use.
    pub fn limits(&self) -> String {
        let child = self.child.as_ref().expect("it runs");
        std::fs::read_to_string(format!("/proc/{}/limits", child.id())).expect("it runs")
    }

    /// With environment variables.
    pub fn with_environment(mut self, variables: &[(&str, &str)]) -> Self {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        self.environment.extend(variables.iter().map(owned));
        self
    }

    /// `host:port` for clients.
    pub fn client_address(&self) -> String {
        format!("127.0.0.1:{}", self.client_port)
    }

    pub fn peer_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.peer_port)
    }

    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// Everything that it ever logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Starts the process.
    pub fn start(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path())
            .expect("a log");
        let child = self
            .command()
            .arg("serve")
            .arg(format!("--name={}", self.name))
            .arg(format!("--data-dir={}", self.data_dir().display()))
            .arg(format!(
                "--listen-client-urls=http://{}",
                self.client_address()
            ))
            .arg(format!("--listen-peer-urls={}", self.peer_url()))
            .args(&self.flags)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the program starts");
        self.child = Some(child);
    }

    fn command(&self) -> Command {
        let program = program();
        let Some(ulimit) = &self.ulimit else {
            return program;
        };
        let mut shell = Command::new("sh");
        shell
            .arg("-c")
            .arg(format!("ulimit {ulimit} && exec \"$0\" \"$@\""))
            .arg(program.get_program());
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        shell
    }

    /// As a power failure of the process: SIGKILL.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("it can be killed");
        child.wait().expect("it has ended");
    }

    /// Asks it to end with that signal, and waits.
    pub fn end(&mut self, signal: &str) -> ExitStatus {
        let child = self.child.as_ref().expect("it runs");
        let sent = Command::new("kill")
            .arg(format!("-{signal}"))
            .arg(child.id().to_string())
            .status()
            .expect("kill runs");
        assert!(sent.success());
        self.wait()
    }

    /// Waits until it has ended by itself.
    pub fn wait(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("it runs");
        let deadline = Instant::now() + EXIT_TIMEOUT;
        loop {
            if let Some(status) = child.try_wait().expect("it can be waited for") {
                return status;
            }
            if Instant::now() > deadline {
                self.child = Some(child);
                panic!("{} does not end:\n{}", self.name, self.log());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- log of {}:\n{}", self.name, self.log());
        }
    }
}

/// Members that know each other.
pub struct Cluster {
    pub members: Vec<Member>,
}

impl Cluster {
    /// Starts that many bootstrap members and waits until they serve.
    pub fn start(size: usize, flags: &[&str]) -> Self {
        let cluster = Self::start_without_waiting(size, flags);
        cluster.wait_until_ready();
        cluster
    }

    /// Starts that many bootstrap members.
    pub fn start_without_waiting(size: usize, flags: &[&str]) -> Self {
        let members: Vec<Member> = (0..size)
            .map(|number| Member::new(&format!("m{number}")))
            .collect();
        let bootstrap_members: Vec<String> = members
            .iter()
            .map(|member| format!("{}={}", member.name, member.peer_url()))
            .collect();
        let initial_cluster = format!("--initial-cluster={}", bootstrap_members.join(","));
        let mut members: Vec<Member> = members
            .into_iter()
            .map(|member| member.with_flags(&[&initial_cluster]).with_flags(flags))
            .collect();
        members.iter_mut().for_each(Member::start);
        Self { members }
    }

    /// `host:port` of all members for clients.
    pub fn addresses(&self) -> Vec<String> {
        self.members.iter().map(Member::client_address).collect()
    }

    /// Waits until every member answers a linearizable read.
    pub fn wait_until_ready(&self) {
        for member in &self.members {
            wait_until_ready(member);
        }
    }
}

/// A client of the pipelined protocol that begins with the first address.
pub fn client(addresses: Vec<String>) -> PipelinedClient {
    Client::new(
        Pipelined::new(TcpNetwork),
        RealClock::default(),
        ClientConfig::new(addresses),
    )
}

/// A runtime for clients.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}

/// Waits until a member answers a linearizable read.
pub fn wait_until_ready(member: &Member) {
    let deadline = Instant::now() + READY_TIMEOUT;
    runtime().block_on(async {
        let client = client(vec![member.client_address()]);
        loop {
            let Err(error) = client.get("ready", None).await else {
                return;
            };
            assert!(
                Instant::now() < deadline,
                "{} does not serve: {error}\n{}",
                member.name,
                member.log()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
}
