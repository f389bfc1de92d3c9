//! The program, run to its end.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// The program under test.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_veridical-check"));
    command.stdin(Stdio::null());
    command
}

/// What a run of the program ended with.
pub struct Ran {
    /// The exit status.
    pub status: i32,
    /// Standard output.
    pub said: String,
    /// Standard error.
    pub complained: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            status: output.status.code().expect("no signal ended it"),
            said: String::from_utf8_lossy(&output.stdout).into_owned(),
            complained: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Ran {
    /// Its standard output as JSON, one object a line.
    pub fn json(&self) -> Vec<serde_json::Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        self.said.lines().map(parse).collect()
    }

    /// The only object that it printed.
    pub fn object(&self) -> serde_json::Value {
        let mut all = self.json();
        assert_eq!(all.len(), 1, "{}\n{}", self.said, self.complained);
        all.remove(0)
    }
}

/// Runs the program with these arguments.
pub fn run<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Ran {
    let output = program().args(arguments).output().expect("it runs");
    output.into()
}

/// Runs the program and gives it `bytes` to read.
pub fn run_with_input<S: AsRef<OsStr>>(
    arguments: impl IntoIterator<Item = S>,
    bytes: Vec<u8>,
) -> Ran {
    let mut running = program()
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut stdin = running.stdin.take().expect("it was asked for");
    let writer = std::thread::spawn(move || {
        // An error: it has seen enough.
        let _ = std::io::Write::write_all(&mut stdin, &bytes);
    });
    let output = running.wait_with_output().expect("it ends");
    writer.join().expect("writing does not panic");
    output.into()
}

/// A folder of histories.
pub struct Folder(TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes bytes into a file.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).expect("it is written");
        path
    }

    /// Generates a history into a file.
    pub fn generate(&self, name: &str, flags: &[&str]) -> PathBuf {
        let path = self.path(name);
        let ran = run(["history", "gen", "-o"]
            .iter()
            .map(OsStr::new)
            .chain([path.as_os_str()])
            .chain(flags.iter().map(OsStr::new)));
        assert_eq!(ran.status, 0, "{flags:?}: {}", ran.complained);
        path
    }
}

/// `veridical-check check FILE --json` and some flags.
pub fn check(path: &Path, flags: &[&str]) -> Ran {
    run(["check", "--json"]
        .iter()
        .map(OsStr::new)
        .chain([path.as_os_str()])
        .chain(flags.iter().map(OsStr::new)))
}
