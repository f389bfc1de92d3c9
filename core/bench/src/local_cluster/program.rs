//! The programs that a local cluster can be made of.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use clap::ValueEnum;
use rustix::process::Signal;

use super::LocalClusterError;
use super::isolation::Isolation;

/// Which program the members run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum ProgramKind {
    /// This program
    Veridical,
    /// The `etcd` in the PATH
    Etcd,
}

impl ProgramKind {
    /// The name in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Veridical => "veridical",
            Self::Etcd => "etcd",
        }
    }
}

/// A program, where it is and which version it has.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    kind: ProgramKind,
    path: PathBuf,
    pub(crate) version: String,
}

/// What a member is told at its start.
pub(crate) struct MemberPlan<'a> {
    /// A command that runs another one, with its arguments; or nothing.
    pub(crate) within: &'a [OsString],
    pub(crate) name: &'a str,
    pub(crate) data_dir: &'a Path,
    pub(crate) client_url: &'a str,
    pub(crate) peer_url: &'a str,
    /// All members, as `name=URL` with commas.
    pub(crate) initial_cluster: &'a str,
}

impl Program {
    /// Finds the program and asks it for its version.
    ///
    /// # Errors
    /// It is not there, or it does not run.
    pub(crate) fn find(kind: ProgramKind) -> Result<Self, LocalClusterError> {
        let path = match kind {
            ProgramKind::Veridical => std::env::current_exe().map_err(LocalClusterError::Itself)?,
            ProgramKind::Etcd => PathBuf::from("etcd"),
        };
        let asked = Command::new(&path).arg("--version").output();
        let output = asked.map_err(|source| match (kind, source.kind()) {
            (ProgramKind::Etcd, io::ErrorKind::NotFound) => LocalClusterError::NoEtcd,
            _ => LocalClusterError::Program {
                path: path.clone(),
                source,
            },
        })?;
        Ok(Self {
            kind,
            version: version(&String::from_utf8_lossy(&output.stdout)),
            path,
        })
    }

    /// The name in reports.
    pub(crate) fn name(&self) -> &'static str {
        self.kind.name()
    }

    /// The command that starts a member. Both programs have the same flags for what a
    /// bootstrap member has to be told; all others are left to their defaults and to the
    /// environment.
    pub(crate) fn command(&self, member: &MemberPlan<'_>) -> Command {
        let mut words = member.within.iter().map(OsString::as_os_str);
        let mut command = match words.next() {
            Some(first) => {
                let mut command = Command::new(first);
                command.args(words).arg(&self.path);
                command
            }
            None => Command::new(&self.path),
        };
        Isolation::forget_in(&mut command);
        if self.kind == ProgramKind::Veridical {
            command.arg("serve");
        }
        command
            .arg(format!("--name={}", member.name))
            .arg(format!("--data-dir={}", member.data_dir.display()))
            .arg(format!("--listen-client-urls={}", member.client_url))
            .arg(format!("--advertise-client-urls={}", member.client_url))
            .arg(format!("--listen-peer-urls={}", member.peer_url))
            .arg(format!("--initial-advertise-peer-urls={}", member.peer_url))
            .arg(format!("--initial-cluster={}", member.initial_cluster))
            .arg("--initial-cluster-state=new");
        // A terminal sends Ctrl-C to the whole group of the program in front of it: members
        // have a group of their own, so that the benchmark decides when they end.
        command.process_group(0);
        command
    }
}

/// Whether a process that was told to end with SIGTERM has done that and nothing else. etcd
/// raises the signal once more when it is done.
pub(crate) fn has_ended_as_told(status: ExitStatus) -> bool {
    status.success() || status.signal() == Some(Signal::TERM.as_raw())
}

/// The last word of the first line: `etcd Version: 3.4.23`, `veridical 0.1.0`.
fn version(printed: &str) -> String {
    printed
        .lines()
        .next()
        .and_then(|line| line.split_whitespace().next_back())
        .unwrap_or("unknown")
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_what_either_program_prints() {
        assert_eq!(version("etcd Version: 3.4.23\nGit SHA: x\n"), "3.4.23");
        assert_eq!(version("veridical 0.1.0\n"), "0.1.0");
        assert_eq!(version(""), "unknown");
    }

    #[test]
    fn a_process_that_ends_with_an_error_has_not_ended_as_told() {
        assert!(has_ended_as_told(ExitStatus::from_raw(0)));
        assert!(has_ended_as_told(ExitStatus::from_raw(15)));
        assert!(!has_ended_as_told(ExitStatus::from_raw(9)));
        assert!(!has_ended_as_told(ExitStatus::from_raw(5 << 8)));
    }
}
