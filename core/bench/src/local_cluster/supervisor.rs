//! Who watches over the members while the clients work.

use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::{LocalCluster, LocalClusterError, Observed, ProgramKind, TICK, is_in_memory};
use crate::flags::{BenchFlags, WireProtocol};
use crate::nemesis::Nemesis;

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
    /// What was seen until the clients had ended.
    observed: Option<Observed>,
}

impl Supervisor {
    /// Starts the members that the flags describe.
    ///
    /// # Errors
    /// See [`LocalClusterError`].
    pub(crate) async fn start(flags: &BenchFlags, size: usize) -> Result<Self, LocalClusterError> {
        let local = &flags.local;
        if local.program == ProgramKind::Etcd && flags.protocol == WireProtocol::Native {
            return Err(LocalClusterError::Protocol);
        }
        let nemesis = Nemesis::new(&local.nemesis, size, flags.seed)?;
        Ok(Self {
            cluster: LocalCluster::start(local.program, size).await?,
            nemesis,
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
            faults: None,
        });
        Ok(())
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
