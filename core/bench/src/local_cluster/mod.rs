//! Members that the benchmark starts itself, on the loopback interface and in a temporary
//! folder, and that are gone when it has ended.
//!
//! Inputs: how many, and of which program; what the system tells of their processes.
//! Outputs: their addresses; what they used and what befell them ([`LocalClusterReport`]);
//! an error that names the member that ended by itself or does not serve.

mod clocks;
mod disks;
mod error;
mod flags;
mod isolation;
mod means;
mod member;
mod network;
mod ports;
mod program;
mod report;
mod supervisor;
mod tool;
mod traffic;
mod usage;

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::task::JoinSet;

use disks::Disks;
pub use error::LocalClusterError;
pub(crate) use flags::LocalClusterFlags;
use means::Means;
pub(crate) use means::Skipped;
use member::{Member, Place, wait_until_caught_up};
use network::{CLIENT_PORT, Network, PEER_PORT};
use ports::Ports;
pub(crate) use program::{Program, ProgramKind, has_ended_as_told};
pub(crate) use report::{LocalClusterReport, Observed};
pub(crate) use supervisor::{MeasuredTime, Supervisor};
pub use tool::ToolError;

/// How long the members may take to serve for the first time.
const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the members may take to end before they are killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Between two looks at the processes.
const TICK: Duration = Duration::from_millis(10);

/// `f_type` of a file system in memory (statfs(2)), as a number that every system's form of it
/// fits into.
const TMPFS_MAGIC: i128 = 0x0102_1994;

/// Members that know each other.
pub(crate) struct LocalCluster {
    program: Program,
    initial_cluster: String,
    /// They come before the folder: it is removed when no process writes to it any more.
    pub(crate) members: Vec<Member>,
    /// What faults need. It has files in the folder.
    means: Means,
    folder: TempDir,
}

impl LocalCluster {
    /// Starts that many members and waits until all of them serve.
    ///
    /// # Errors
    /// They cannot be started, one ends by itself, or one does not serve in time.
    async fn start(
        program: Program,
        size: usize,
        folder: TempDir,
        means: Means,
    ) -> Result<Self, LocalClusterError> {
        let places = places(size, folder.path(), &means)?;
        let members: Vec<Member> = places
            .into_iter()
            .enumerate()
            .map(|(number, place)| Member::new(name(number), place))
            .collect();
        let initial: Vec<String> = members
            .iter()
            .map(|member| format!("{}={}", member.name(), member.peer_url()))
            .collect();
        let mut cluster = Self {
            program,
            initial_cluster: initial.join(","),
            members,
            means,
            folder,
        };
        for member in 0..size {
            cluster.start_member(member)?;
        }
        cluster.wait_until_ready().await?;
        Ok(cluster)
    }

    async fn wait_until_ready(&mut self) -> Result<(), LocalClusterError> {
        let deadline = Instant::now() + READY_TIMEOUT;
        let mut probes: Vec<_> = (0..self.members.len())
            .map(|member| (member, self.probe(member)))
            .collect();
        while let Some((member, probe)) = probes.last_mut() {
            if probe.try_join_next().is_some() {
                probes.pop();
                continue;
            }
            if Instant::now() > deadline {
                return Err(self.does_not_serve(*member, READY_TIMEOUT));
            }
            self.check_running(|_| true)?;
            tokio::time::sleep(TICK).await;
        }
        Ok(())
    }

    /// Starts a member that does not run.
    ///
    /// # Errors
    /// The system refuses it.
    pub(crate) fn start_member(&mut self, member: usize) -> Result<(), LocalClusterError> {
        self.members[member].start(&self.program, &self.initial_cluster)
    }

    /// The network of the members.
    ///
    /// # Panics
    /// If there is none but the loopback interface: then there are no faults of networks.
    pub(crate) fn network(&self) -> &Network {
        let network = self.means.network.as_ref();
        network.expect("it was made for the faults that need it")
    }

    /// The disks of the members.
    fn disks(&self) -> &Disks {
        let disks = self.means.disks.as_ref();
        disks.expect("they were made for the faults that need them")
    }

    /// Takes the power from the disks of these members, which have been killed.
    ///
    /// # Errors
    /// The system refuses it.
    pub(crate) fn cut_power(&self, members: &[usize]) -> Result<(), LocalClusterError> {
        let cut = self.disks().cut_power(members);
        cut.map_err(self.members[members[0]].failed("take the power from its disk"))
    }

    /// Gives the disk of a member that has ended its power back.
    ///
    /// # Errors
    /// The system refuses it.
    pub(crate) fn restore_power(&self, member: usize) -> Result<(), LocalClusterError> {
        Ok(self.disks().restore_power(member)?)
    }

    /// Leaves a member's disk no room.
    ///
    /// # Errors
    /// The system refuses it.
    pub(crate) fn fill_disk(&self, member: usize) -> Result<(), LocalClusterError> {
        let filled = self.disks().fill(member);
        filled.map_err(self.members[member].failed("fill its disk"))
    }

    /// Gives a member's disk its room back.
    ///
    /// # Errors
    /// The system refuses it.
    pub(crate) fn free_disk(&self, member: usize) -> Result<(), LocalClusterError> {
        let freed = self.disks().free(member);
        freed.map_err(self.members[member].failed("free its disk"))
    }

    /// Puts a member's monotonic clocks ahead of the machine's from its next start on.
    ///
    /// # Panics
    /// If clocks were not asked for.
    pub(crate) fn set_clock(&mut self, member: usize, ahead_seconds: u64) {
        let clocks = self.means.clocks.as_ref();
        let clocks = clocks.expect("they were found for the faults that need them");
        self.members[member].run_within(clocks.within(ahead_seconds));
    }

    /// A task that ends when the member serves.
    pub(crate) fn probe(&self, member: usize) -> JoinSet<()> {
        let mut probe = JoinSet::new();
        probe.spawn(wait_until_caught_up(self.members[member].client_address()));
        probe
    }

    /// Looks at the members that ought to run.
    ///
    /// # Errors
    /// One of them has ended by itself.
    fn check_running(
        &mut self,
        ought_to_run: impl Fn(usize) -> bool,
    ) -> Result<(), LocalClusterError> {
        for member in (0..self.members.len()).filter(|member| ought_to_run(*member)) {
            if let Some(status) = self.members[member].take_exit()? {
                return Err(self.ended_by_itself(member, status));
            }
        }
        Ok(())
    }

    /// The error of a member that ended and was not told to.
    pub(crate) fn ended_by_itself(&self, member: usize, status: ExitStatus) -> LocalClusterError {
        LocalClusterError::Ended {
            member: self.members[member].name().to_owned(),
            status,
            log: self.members[member].log_tail(),
        }
    }

    /// The error of a member that runs and does not serve.
    pub(crate) fn does_not_serve(&self, member: usize, within: Duration) -> LocalClusterError {
        LocalClusterError::DoesNotServe {
            member: self.members[member].name().to_owned(),
            seconds: within.as_secs(),
            log: self.members[member].log_tail(),
        }
    }

    /// The error of a member that was told to end and runs.
    pub(crate) fn does_not_end(&self, member: usize, within: Duration) -> LocalClusterError {
        LocalClusterError::DoesNotEnd {
            member: self.members[member].name().to_owned(),
            seconds: within.as_secs(),
            log: self.members[member].log_tail(),
        }
    }

    /// Tells all members to end and waits for them; what does not end in time is killed. Then
    /// the folder is removed.
    ///
    /// # Errors
    /// The folder cannot be removed, or the system refuses a signal.
    async fn stop(mut self) -> Result<(), LocalClusterError> {
        for member in &mut self.members {
            // A member that is paused takes the signal in when it goes on.
            member.signal(Signal::TERM)?;
            member.signal(Signal::CONT)?;
        }
        let deadline = Instant::now() + STOP_TIMEOUT;
        while self.members.iter().any(Member::has_process) && Instant::now() < deadline {
            for member in &mut self.members {
                member.take_exit()?;
            }
            tokio::time::sleep(TICK).await;
        }
        for member in self.members.iter().filter(|member| member.has_process()) {
            let seconds = STOP_TIMEOUT.as_secs();
            eprintln!(
                "{} has not ended {seconds} s after SIGTERM and is killed",
                member.name()
            );
        }
        drop(self.members);
        drop(self.means);
        self.folder.close().map_err(LocalClusterError::Folder)
    }
}

/// A folder for the members, with a name that says whose it is.
fn temporary_folder() -> Result<TempDir, LocalClusterError> {
    let mut builder = tempfile::Builder::new();
    let folder = builder.prefix("veridical-bench-").tempdir();
    folder.map_err(LocalClusterError::Folder)
}

fn name(member: usize) -> String {
    format!("m{member}")
}

/// Where the members are: in networks and on disks of their own, if there are any, else on free
/// ports of the loopback interface and in that folder.
fn places(size: usize, folder: &Path, means: &Means) -> Result<Vec<Place>, LocalClusterError> {
    let ports = match means.network {
        Some(_) => [CLIENT_PORT, PEER_PORT].repeat(size),
        None => Ports::take(size * 2)?.release(),
    };
    let place = |(member, ports): (usize, &[u16])| {
        let folder = folder.join(name(member));
        let data_parent = means.disks.as_ref().map(|disks| disks.folder(member));
        let network = means.network.as_ref();
        Place {
            data_dir: data_parent.unwrap_or(&folder).join("data"),
            folder,
            host: network.map_or(Ipv4Addr::LOCALHOST, |_| Network::address_of(member)),
            client_port: ports[0],
            peer_port: ports[1],
            within: network.map_or(Vec::new(), |network| network.within(member)),
        }
    };
    Ok(ports.chunks_exact(2).enumerate().map(place).collect())
}

/// Whether files of that folder are kept in memory.
fn is_in_memory(folder: &Path) -> bool {
    rustix::fs::statfs(folder).is_ok_and(|statfs| i128::from(statfs.f_type) == TMPFS_MAGIC)
}
