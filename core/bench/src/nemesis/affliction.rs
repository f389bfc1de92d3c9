//! One fault that has befallen one member, from its beginning until the member serves again.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::task::JoinSet;

use super::kind::Fault;
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
    /// Packets are lost.
    CutOff,
    /// Its disk is full; it may have ended because of that.
    Full,
    /// It runs; the task ends when it serves.
    CatchingUp(JoinSet<()>),
}

/// What a program that cannot write is told, and says before it ends.
const NO_ROOM: &str = "no space left on device";

/// What has befallen a member.
pub(super) struct Affliction {
    fault: Fault,
    stage: Stage,
    began: Instant,
    lasts: Duration,
    /// When the member was started or resumed, or could reach the others or write again.
    over: Option<Instant>,
    /// Whether it ended because its disk was full.
    has_given_up: bool,
    /// Its place in the records.
    pub(super) record: usize,
}

/// Lets a fault befall members.
///
/// # Errors
/// The system refuses it.
pub(super) fn strike(
    cluster: &mut LocalCluster,
    fault: Fault,
    victims: &[usize],
) -> Result<(), LocalClusterError> {
    let members = cluster.members.len();
    for &member in victims {
        match fault {
            Fault::Kill | Fault::PowerLoss(_) => cluster.members[member].signal(Signal::KILL)?,
            Fault::Pause => cluster.members[member].signal(Signal::STOP)?,
            Fault::Restart | Fault::Clock { .. } => cluster.members[member].signal(Signal::TERM)?,
            Fault::Partition(cut) => cluster
                .network()
                .cut(member, &cut.losses(member, members))?,
            Fault::DiskFull => cluster.fill_disk(member)?,
        }
    }
    match fault {
        Fault::PowerLoss(_) => cluster.cut_power(victims),
        Fault::Kill
        | Fault::Pause
        | Fault::Restart
        | Fault::Partition(_)
        | Fault::DiskFull
        | Fault::Clock { .. } => Ok(()),
    }
}

impl Affliction {
    /// What has befallen a member by [`strike`].
    pub(super) fn new(fault: Fault, lasts: Duration, now: Instant, record: usize) -> Self {
        Self {
            fault,
            stage: match fault {
                Fault::Kill | Fault::Restart | Fault::PowerLoss(_) | Fault::Clock { .. } => {
                    Stage::Ending
                }
                Fault::Pause => Stage::Paused,
                Fault::Partition(_) => Stage::CutOff,
                Fault::DiskFull => Stage::Full,
            },
            began: now,
            lasts,
            over: None,
            has_given_up: false,
            record,
        }
    }

    /// Whether there ought to be a process: it was not sent a signal to end, or was started
    /// again since; and none of its own is to be expected to end.
    pub(super) fn is_due_to_run(&self) -> bool {
        match &self.stage {
            Stage::Paused | Stage::CutOff => true,
            Stage::CatchingUp(_) => !matches!(self.fault, Fault::DiskFull),
            Stage::Ending | Stage::Down | Stage::Full => false,
        }
    }

    /// What came of the fault beyond what was done.
    pub(super) fn consequence(&self) -> Option<&'static str> {
        self.has_given_up.then_some("ended by itself")
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
        match &self.stage {
            Stage::Ending => self.take_exit(cluster, member, now)?,
            Stage::Full => self.take_surrender(cluster, member)?,
            Stage::CatchingUp(_) if matches!(self.fault, Fault::DiskFull) => {
                self.take_surrender(cluster, member)?;
                if !cluster.members[member].has_process() {
                    // It had been refused when there was room again.
                    cluster.start_member(member)?;
                }
            }
            Stage::Down | Stage::Paused | Stage::CutOff | Stage::CatchingUp(_) => {}
        }
        let is_time = heals || now >= self.began + self.lasts;
        match &self.stage {
            Stage::Down | Stage::Paused | Stage::CutOff | Stage::Full if is_time => {
                self.end(cluster, member)?;
            }
            Stage::CatchingUp(_) => {
                let is_late = self.over.is_some_and(|over| now > over + RECOVERY_TIMEOUT);
                return match is_late && !self.has_caught_up() {
                    true => Err(cluster.does_not_serve(member, RECOVERY_TIMEOUT)),
                    false => Ok(()),
                };
            }
            Stage::Ending | Stage::Down | Stage::Paused | Stage::CutOff | Stage::Full => {
                return Ok(());
            }
        }
        self.over = Some(now);
        self.stage = Stage::CatchingUp(cluster.probe(member));
        Ok(())
    }

    /// Undoes what was done.
    fn end(&self, cluster: &mut LocalCluster, member: usize) -> Result<(), LocalClusterError> {
        match self.fault {
            Fault::Kill | Fault::Restart => cluster.start_member(member),
            Fault::Pause => cluster.members[member].signal(Signal::CONT),
            Fault::Partition(cut) => {
                let losses = cut.losses(member, cluster.members.len());
                Ok(cluster.network().heal(member, &losses)?)
            }
            Fault::PowerLoss(_) => {
                cluster.restore_power(member)?;
                cluster.start_member(member)
            }
            Fault::DiskFull => {
                cluster.free_disk(member)?;
                match cluster.members[member].has_process() {
                    true => Ok(()),
                    false => cluster.start_member(member),
                }
            }
            Fault::Clock { ahead_seconds } => {
                cluster.set_clock(member, ahead_seconds);
                cluster.start_member(member)
            }
        }
    }

    /// Sees whether a member has ended because its disk is full.
    fn take_surrender(
        &mut self,
        cluster: &mut LocalCluster,
        member: usize,
    ) -> Result<(), LocalClusterError> {
        match cluster.members[member].take_exit()? {
            Some(_) if cluster.members[member].log_says(NO_ROOM) && !self.has_given_up => {
                self.has_given_up = true;
                Ok(())
            }
            Some(status) => Err(cluster.ended_by_itself(member, status)),
            None => Ok(()),
        }
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
            Fault::Restart | Fault::Clock { .. } => true,
            Fault::Kill
            | Fault::Pause
            | Fault::Partition(_)
            | Fault::PowerLoss(_)
            | Fault::DiskFull => false,
        }
    }

    fn has_caught_up(&mut self) -> bool {
        match &mut self.stage {
            Stage::CatchingUp(probe) => probe.try_join_next().is_some() || probe.is_empty(),
            Stage::Ending | Stage::Down | Stage::Paused | Stage::CutOff | Stage::Full => false,
        }
    }
}
