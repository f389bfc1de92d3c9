//! The real `etcdctl` of Debian's package etcd-client (version 3.4).

use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::packages;

/// How long a watch may take to bring what is expected.
const WATCH_TIMEOUT: Duration = Duration::from_secs(20);

/// What a call printed.
#[derive(Debug)]
pub struct Printed {
    pub success: bool,
    pub stdout: String,
    pub stderr: String,
}

/// `etcdctl` with some endpoints.
pub struct Etcdctl {
    program: PathBuf,
    endpoints: String,
}

impl Etcdctl {
    /// `None` where there is no etcdctl, after printing why. In CI that is a failure.
    pub fn new(endpoints: &[String]) -> Option<Self> {
        Some(Self {
            program: packages::program("etcdctl", "etcd-client")?,
            endpoints: endpoints.join(","),
        })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("ETCDCTL_") {
                command.env_remove(name);
            }
        }
        command
            .env("ETCDCTL_API", "3")
            .arg(format!("--endpoints={}", self.endpoints))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs a command with something on its standard input.
    pub fn run_with_input(&self, arguments: &[&str], input: &str) -> Printed {
        let mut child = self.command(arguments).spawn().expect("etcdctl runs");
        let mut stdin = child.stdin.take().expect("it is piped");
        // etcdctl may have ended without reading.
        let _ = std::io::Write::write_all(&mut stdin, input.as_bytes());
        drop(stdin);
        let output = child.wait_with_output().expect("etcdctl ends");
        Printed {
            success: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Runs a command that has to succeed; returns what it printed.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let printed = self.run_with_input(arguments, "");
        assert!(printed.success, "{arguments:?}: {printed:?}");
        printed.stdout
    }

    /// Runs a command that has to fail; returns the last line of its complaint, without
    /// the log lines of etcdctl's own.
    pub fn error(&self, arguments: &[&str]) -> String {
        let printed = self.run_with_input(arguments, "");
        assert!(!printed.success, "{arguments:?}: {printed:?}");
        let complaint = printed
            .stderr
            .lines()
            .find(|line| line.starts_with("Error: "));
        complaint
            .unwrap_or_else(|| panic!("{arguments:?}: {printed:?}"))
            .to_owned()
    }

    /// Runs a command and reads its answer as JSON.
    pub fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let text = self.ok(&[arguments, &["-w", "json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// The revision of the store.
    pub fn revision(&self) -> i64 {
        self.json(&["get", "no-such-key"])["header"]["revision"]
            .as_i64()
            .expect("a revision")
    }

    /// Runs a watch that ends by itself; returns its complaint.
    pub fn watch_error(&self, arguments: &[&str]) -> String {
        let printed = self.run_with_input(&[&["watch"], arguments].concat(), "");
        printed.stdout + &printed.stderr
    }

    /// With the first endpoint only.
    pub fn first_endpoint(&self) -> Self {
        let first = self.endpoints.split(',').next().unwrap_or_default();
        Self {
            program: self.program.clone(),
            endpoints: first.to_owned(),
        }
    }

    /// Starts a watch.
    pub fn watch(&self, arguments: &[&str]) -> RunningWatch {
        let mut child = self
            .command(&[&["watch"], arguments].concat())
            .stderr(Stdio::null())
            .spawn()
            .expect("etcdctl runs");
        let mut stdout = child.stdout.take().expect("it is piped");
        let (pieces, received) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4_096];
            while let Ok(length @ 1..) = stdout.read(&mut buffer) {
                if pieces
                    .send(String::from_utf8_lossy(&buffer[..length]).into_owned())
                    .is_err()
                {
                    return;
                }
            }
        });
        RunningWatch {
            child,
            received,
            text: String::new(),
        }
    }
}

/// A watch that runs until it is dropped.
pub struct RunningWatch {
    child: Child,
    received: std::sync::mpsc::Receiver<String>,
    text: String,
}

impl RunningWatch {
    /// What it has printed so far.
    pub fn printed(&mut self) -> String {
        self.text.extend(self.received.try_iter());
        self.text.clone()
    }

    /// Waits until it has printed exactly this, and nothing else so far.
    pub fn expect(&mut self, expected: &str) {
        let deadline = Instant::now() + WATCH_TIMEOUT;
        while self.text.len() < expected.len() {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.received.recv_timeout(left) {
                Ok(piece) => self.text.push_str(&piece),
                Err(RecvTimeoutError::Timeout) => {
                    panic!("the watch printed {:?} instead of {expected:?}", self.text)
                }
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("the watch ended after {:?}", self.text)
                }
            }
        }
        assert_eq!(self.text, expected);
    }
}

impl Drop for RunningWatch {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
