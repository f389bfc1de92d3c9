//! One fault that has befallen one member, from its beginning until the member serves again.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::task::JoinSet;

use super::kind::Fault;
use super::partition::Loss;
use crate::local_cluster::{LocalCluster, LocalClusterError, has_ended_as_told};

/// How long a member may take to end, and how long to serve again.
const RECOVERY_TIMEOUT: Duration = Duration::from_secs(30);

/// How far a member has got with what befell it.
enum Stage {
    /// It was sent a signal to end and has not ended yet.
    Ending,
    /// There is no process of it.
    Down,
    Paused,
    /// These packets are lost.
    CutOff(Vec<Loss>),
    /// It runs; the task ends when it serves.
    CatchingUp(JoinSet<()>),
}

/// What has befallen a member.
pub(super) struct Affliction {
    fault: Fault,
    stage: Stage,
    began: Instant,
    lasts: Duration,
    /// When the member was started or resumed, or could reach the others again.
    over: Option<Instant>,
    /// Its place in the records.
    pub(super) record: usize,
}

impl Affliction {
    /// Lets a fault befall a member.
    ///
    /// # Errors
    /// The system refuses it.
    pub(super) fn begin(
        cluster: &mut LocalCluster,
        member: usize,
        fault: Fault,
        lasts: Duration,
        now: Instant,
        record: usize,
    ) -> Result<Self, LocalClusterError> {
        let stage = match fault {
            Fault::Kill => {
                cluster.members[member].signal(Signal::KILL)?;
                Stage::Ending
            }
            Fault::Pause => {
                cluster.members[member].signal(Signal::STOP)?;
                Stage::Paused
            }
            Fault::Restart => {
                cluster.members[member].signal(Signal::TERM)?;
                Stage::Ending
            }
            Fault::Partition(cut) => {
                let losses = cut.losses(member, cluster.members.len());
                cluster.network().cut(member, &losses)?;
                Stage::CutOff(losses)
            }
        };
        Ok(Self {
            fault,
            stage,
            began: now,
            lasts,
            over: None,
            record,
        })
    }

    /// Whether there ought to be a process: it was not sent a signal to end, or was started
    /// again since.
    pub(super) fn is_due_to_run(&self) -> bool {
        match &self.stage {
            Stage::Paused | Stage::CutOff(_) | Stage::CatchingUp(_) => true,
            Stage::Ending | Stage::Down => false,
        }
    }

    /// How long it has lasted, if it is over.
    pub(super) fn lasted(&self) -> Option<Duration> {
        Some(self.over?.duration_since(self.began))
    }

    /// How long after its end the member served again, if it does now.
    pub(super) fn caught_up_after(&mut self, now: Instant) -> Option<Duration> {
        let over = self.over?;
        self.has_caught_up().then(|| now.duration_since(over))
    }

    /// Takes the steps that are due. While `heals`, the fault ends at once.
    ///
    /// # Errors
    /// The member does not end when it is told to, ends in another way, or does not serve
    /// again.
    pub(super) fn advance(
        &mut self,
        cluster: &mut LocalCluster,
        member: usize,
        now: Instant,
        heals: bool,
    ) -> Result<(), LocalClusterError> {
        if matches!(self.stage, Stage::Ending) {
            self.take_exit(cluster, member, now)?;
        }
        let is_time = heals || now >= self.began + self.lasts;
        match &self.stage {
            Stage::Down if is_time => cluster.start_member(member)?,
            Stage::Paused if is_time => cluster.members[member].signal(Signal::CONT)?,
            Stage::CutOff(losses) if is_time => cluster.network().heal(member, losses)?,
            Stage::CatchingUp(_) => {
                let is_late = self.over.is_some_and(|over| now > over + RECOVERY_TIMEOUT);
                return match is_late && !self.has_caught_up() {
                    true => Err(cluster.does_not_serve(member, RECOVERY_TIMEOUT)),
                    false => Ok(()),
                };
            }
            Stage::Ending | Stage::Down | Stage::Paused | Stage::CutOff(_) => return Ok(()),
        }
        self.over = Some(now);
        self.stage = Stage::CatchingUp(cluster.probe(member));
        Ok(())
    }

    /// Sees whether a member has ended that was sent a signal to.
    fn take_exit(
        &mut self,
        cluster: &mut LocalCluster,
        member: usize,
        now: Instant,
    ) -> Result<(), LocalClusterError> {
        match cluster.members[member].take_exit()? {
            Some(status) if self.is_graceful() && !has_ended_as_told(status) => {
                Err(cluster.ended_by_itself(member, status))
            }
            Some(_) => {
                self.stage = Stage::Down;
                Ok(())
            }
            None if now > self.began + RECOVERY_TIMEOUT => {
                Err(cluster.does_not_end(member, RECOVERY_TIMEOUT))
            }
            None => Ok(()),
        }
    }

    /// Whether a member that ends was asked to.
    fn is_graceful(&self) -> bool {
        match self.fault {
            Fault::Restart => true,
            Fault::Kill | Fault::Pause | Fault::Partition(_) => false,
        }
    }

    fn has_caught_up(&mut self) -> bool {
        match &mut self.stage {
            Stage::CatchingUp(probe) => probe.try_join_next().is_some() || probe.is_empty(),
            Stage::Ending | Stage::Down | Stage::Paused | Stage::CutOff(_) => false,
        }
    }
}
