//! Namespaces of the benchmark's own, which networks and mounts for members are made in.
//!
//! The kernel removes whatever was made there with the last process inside: with the benchmark
//! itself, unless that was killed and its members go on.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use super::tool::Tool;
use crate::nemesis::FaultKind;

/// Tells the program inside in which namespaces it was outside. It compares them with its own,
/// so the variable alone makes nobody believe to be inside.
const OUTSIDE: &str = "VERIDICAL_BENCH_OUTSIDE";

/// Where the benchmark runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Isolation {
    /// Where it was started; no fault needs more.
    #[default]
    NotNeeded,
    /// In namespaces of its own.
    Inside,
    /// Where it was started, although a fault needs more, and why.
    Refused(String),
}

impl Isolation {
    /// Runs this program again in namespaces of its own, in the place of this process, if
    /// faults of these kinds need that. It comes back inside, or where nothing has changed.
    pub(crate) fn enter(kinds: &[FaultKind]) -> Self {
        let needs = Needs::of(kinds);
        if !needs.mounts {
            return Self::NotNeeded;
        }
        let here = match names(needs) {
            Ok(here) => here,
            Err(error) => return Self::Refused(format!("/proc/self/ns: {error}")),
        };
        if let Ok(outside) = std::env::var(OUTSIDE) {
            return match differ(&outside, &here) {
                true => Self::Inside,
                false => Self::Refused(format!("{OUTSIDE} is set outside")),
            };
        }
        Self::Refused(run_inside(needs, &here))
    }

    /// The command of a member without what only the benchmark is to know.
    pub(super) fn forget_in(command: &mut Command) {
        command.env_remove(OUTSIDE);
    }
}

/// Which namespaces the faults need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Needs {
    mounts: bool,
    network: bool,
}

impl Needs {
    fn of(kinds: &[FaultKind]) -> Self {
        Self {
            mounts: kinds.iter().any(|kind| kind.needs_isolation()),
            network: kinds.contains(&FaultKind::Partition),
        }
    }

    fn namespaces(self) -> &'static [&'static str] {
        match self.network {
            true => &["mnt", "net"],
            false => &["mnt"],
        }
    }

    /// What `unshare` is told, in the order in which it is tried: whoever is not root is it in
    /// a namespace of users.
    fn attempts(self) -> [Vec<&'static str>; 2] {
        let mut plain = vec!["--mount"];
        if self.network {
            plain.push("--net");
        }
        let mut mapped = vec!["--user", "--map-root-user"];
        mapped.extend(&plain);
        [plain, mapped]
    }
}

/// The names of the namespaces that this process is in.
fn names(needs: Needs) -> std::io::Result<String> {
    let mut names = Vec::new();
    for kind in needs.namespaces() {
        let name = std::fs::read_link(Path::new("/proc/self/ns").join(kind))?;
        names.push(name.to_string_lossy().into_owned());
    }
    Ok(names.join(" "))
}

/// Whether all namespaces are others.
fn differ(outside: &str, here: &str) -> bool {
    let outside: Vec<&str> = outside.split(' ').collect();
    here.split(' ').all(|name| !outside.contains(&name))
}

/// Replaces this process by one inside. Gives back why that is not possible.
fn run_inside(needs: Needs, here: &str) -> String {
    let unshare = match Tool::find("unshare", "util-linux") {
        Ok(unshare) => unshare,
        Err(error) => return error.to_string(),
    };
    let mut reasons = Vec::new();
    for attempt in needs.attempts() {
        // Of the last word on it, nobody would hear: it is tried with a program first that
        // does nothing.
        let nothing = [&attempt[..], &["--", "true"]].concat();
        match unshare.run(&nothing) {
            Ok(()) => {
                let itself = match std::env::current_exe() {
                    Ok(itself) => itself,
                    Err(error) => return format!("cannot find this program: {error}"),
                };
                let error = Command::new(unshare.path())
                    .args(attempt)
                    .arg("--")
                    .arg(itself)
                    .args(std::env::args_os().skip(1))
                    .env(OUTSIDE, here)
                    .exec();
                return format!("unshare: {error}");
            }
            Err(error) => reasons.push(error.to_string()),
        }
    }
    reasons.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_need_no_namespaces() {
        let kinds = [FaultKind::Kill, FaultKind::Pause, FaultKind::Restart];
        assert_eq!(Isolation::enter(&kinds), Isolation::NotNeeded);
    }

    #[test]
    fn nobody_is_inside_who_shares_a_namespace_with_the_outside() {
        assert!(differ("mnt:[1] net:[2]", "mnt:[3] net:[4]"));
        assert!(!differ("mnt:[1] net:[2]", "mnt:[3] net:[2]"));
        assert!(!differ("mnt:[1]", "mnt:[1]"));
        assert!(differ("", "mnt:[1]"));
    }

    #[test]
    fn a_network_is_made_only_for_partitions() {
        let needs = Needs::of(&[FaultKind::Kill, FaultKind::Partition]);
        assert_eq!(needs.attempts()[0], ["--mount", "--net"]);
        assert_eq!(
            needs.attempts()[1],
            ["--user", "--map-root-user", "--mount", "--net"]
        );
    }
}
