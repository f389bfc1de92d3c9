//! Who watches over the members while the clients work.

use std::path::Path;
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::traffic::{NetworkBytes, Traffic};
use super::{
    LocalCluster, LocalClusterError, LocalClusterFlags, Means, Member, Observed, Program,
    ProgramKind, Skipped, TICK, is_in_memory, temporary_folder,
};
use crate::flags::BenchFlags;
use crate::nemesis::{Nemesis, afflicted_max};

/// When it is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MeasuredTime {
    pub(crate) from: Instant,
    /// No request begins later.
    pub(crate) until: Instant,
}

/// Watches over the members: reads what they use, lets faults befall them, and sees whether
/// one ends by itself.
pub(crate) struct Supervisor {
    cluster: LocalCluster,
    nemesis: Option<Nemesis>,
    /// What was asked of the nemesis in vain.
    skipped: Vec<Skipped>,
    /// What had gone over the network when measuring began, where the system tells.
    traffic_before: Option<Traffic>,
    /// What was seen until the clients had ended.
    observed: Option<Observed>,
}

impl Supervisor {
    /// Starts the members that the flags describe, of that program.
    ///
    /// # Errors
    /// See [`LocalClusterError`].
    pub(crate) async fn start(
        flags: &BenchFlags,
        program: ProgramKind,
        size: usize,
    ) -> Result<Self, LocalClusterError> {
        let program = Program::find(program)?;
        let folder = temporary_folder()?;
        let mut means = prepare(&flags.local, size, folder.path())?;
        let nemesis = match means.kinds.is_empty() {
            true => None,
            false => Some(Nemesis::new(&means.kinds, size, flags.seed)?),
        };
        let skipped = std::mem::take(&mut means.skipped);
        Ok(Self {
            cluster: LocalCluster::start(program, size, folder, means).await?,
            nemesis,
            skipped,
            traffic_before: None,
            observed: None,
        })
    }

    /// `host:port` of all members for clients.
    pub(crate) fn addresses(&self) -> Vec<String> {
        let members = self.cluster.members.iter();
        members.map(|member| member.client_address()).collect()
    }

    /// Watches over the members until the clients have ended and all members are well. What
    /// goes wrong stops the clients.
    ///
    /// # Errors
    /// A member ended by itself, or did not get well again.
    pub(crate) async fn watch(
        &mut self,
        time: MeasuredTime,
        stop: &CancellationToken,
        clients_ended: &CancellationToken,
    ) -> Result<(), LocalClusterError> {
        let watched = self.watch_on(time, stop, clients_ended).await;
        if watched.is_err() {
            stop.cancel();
        }
        watched
    }

    async fn watch_on(
        &mut self,
        time: MeasuredTime,
        stop: &CancellationToken,
        clients_ended: &CancellationToken,
    ) -> Result<(), LocalClusterError> {
        let mut is_measuring = false;
        loop {
            let now = Instant::now();
            if !is_measuring && now >= time.from {
                self.begin_measuring(now)?;
                is_measuring = true;
            }
            self.check_running()?;
            // Clients wait for requests in flight: they are not to wait for a member that is
            // down for longer than the measured time.
            let heals = now >= time.until || stop.is_cancelled() || clients_ended.is_cancelled();
            if let Some(nemesis) = self.nemesis.as_mut().filter(|_| is_measuring) {
                nemesis.act(&mut self.cluster, now, heals)?;
            }
            if clients_ended.is_cancelled() {
                if self.observed.is_none() {
                    self.observe()?;
                }
                if self.nemesis.as_ref().is_none_or(Nemesis::is_idle) {
                    return Ok(());
                }
            }
            tokio::time::sleep(TICK).await;
        }
    }

    fn begin_measuring(&mut self, now: Instant) -> Result<(), LocalClusterError> {
        for member in &mut self.cluster.members {
            member.begin_measuring()?;
        }
        // What is counted is counted where a connection is accepted, and each namespace tells of
        // its own connections only.
        if self.cluster.means.network.is_none() {
            self.traffic_before = Traffic::read().ok();
        }
        if let Some(nemesis) = &mut self.nemesis {
            nemesis.begin(now);
        }
        Ok(())
    }

    /// Keeps what the members have used, before they stop.
    fn observe(&mut self) -> Result<(), LocalClusterError> {
        let mut usages = Vec::new();
        for member in &self.cluster.members {
            usages.push((member.name().to_owned(), member.measured_usage()?));
        }
        self.observed = Some(Observed {
            program: self.cluster.program.name(),
            version: self.cluster.program.version.clone(),
            data_in_memory: is_in_memory(self.cluster.folder.path()),
            usages,
            network: self.network(),
            faults: None,
            skipped: self.skipped.clone(),
        });
        Ok(())
    }

    /// What went over the network since measuring began. `None` where the system does not
    /// tell, as in some containers.
    fn network(&self) -> Option<NetworkBytes> {
        let before = self.traffic_before.as_ref()?;
        let ports = |port: fn(&Member) -> u16| -> Vec<u16> {
            self.cluster.members.iter().map(port).collect()
        };
        let now = Traffic::read().ok()?;
        let (client_ports, peer_ports) = (ports(Member::client_port), ports(Member::peer_port));
        Some(now.since(before, &client_ports, &peer_ports))
    }

    /// What was seen in the last run, without faults. Afterwards another run can begin.
    pub(crate) fn take_observed(&mut self) -> Option<Observed> {
        self.observed.take()
    }

    /// Looks at the members that nothing has befallen.
    ///
    /// # Errors
    /// One of them has ended by itself.
    pub(crate) fn check_running(&mut self) -> Result<(), LocalClusterError> {
        let nemesis = self.nemesis.as_ref();
        self.cluster
            .check_running(|member| nemesis.is_none_or(|nemesis| nemesis.is_due_to_run(member)))
    }

    /// Stops the members and removes their folder. What was seen is `None` if the clients have
    /// not got as far as to end.
    ///
    /// # Errors
    /// See [`LocalClusterError`].
    pub(crate) async fn stop(self) -> Result<Option<Observed>, LocalClusterError> {
        self.cluster.stop().await?;
        let faults = self.nemesis.map(Nemesis::into_outcome);
        Ok(self
            .observed
            .map(|observed| Observed { faults, ..observed }))
    }
}

/// Makes ready what the faults need that are asked for, and says what is skipped.
fn prepare(
    flags: &LocalClusterFlags,
    size: usize,
    folder: &Path,
) -> Result<Means, LocalClusterError> {
    let faults = flags.faults();
    if !faults.is_empty() {
        afflicted_max(size)?;
    }
    let means = Means::prepare(&faults, &flags.isolation, size, folder);
    let skipped: Vec<String> = means.skipped.iter().map(Skipped::to_string).collect();
    if means.kinds.is_empty() && !skipped.is_empty() {
        return Err(LocalClusterError::NothingAllowed(skipped.join("; ")));
    }
    for skipped in skipped {
        eprintln!("nemesis: {skipped}");
    }
    Ok(means)
}
