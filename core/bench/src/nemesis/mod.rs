//! What befalls the members of a local cluster while it is measured.
//!
//! The faults are those of `docs/faults.md` that a process of a real system can be made to
//! suffer from outside. Which one befalls whom, when and for how long is a function of the
//! seed. A fault waits while it would take the majority away; a member that is still catching
//! up with the others counts as one that is not there.

mod record;
mod schedule;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use rustix::process::Signal;
use tokio::task::JoinSet;

use crate::local_cluster::{LocalCluster, LocalClusterError, has_ended_as_told};
pub(crate) use record::FaultRecord;
use schedule::{PlannedFault, Schedule};

/// How long a member may take to end, and how long to serve again.
const RECOVERY_TIMEOUT: Duration = Duration::from_secs(30);

/// What may befall a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum FaultKind {
    /// SIGKILL, and a start after a while
    Kill,
    /// SIGSTOP, and SIGCONT after a while
    Pause,
    /// SIGTERM, and a start after a while
    Restart,
}

impl FaultKind {
    /// The name in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Pause => "pause",
            Self::Restart => "restart",
        }
    }

    fn signal(self) -> Signal {
        match self {
            Self::Kill => Signal::KILL,
            Self::Pause => Signal::STOP,
            Self::Restart => Signal::TERM,
        }
    }
}

/// How far a member has got with what befell it.
enum Stage {
    /// It was sent a signal to end and has not ended yet.
    Ending,
    /// There is no process of it.
    Down,
    Paused,
    /// It runs; the task ends when it serves.
    CatchingUp(JoinSet<()>),
}

/// What has befallen a member.
struct Affliction {
    kind: FaultKind,
    stage: Stage,
    began: Instant,
    lasts: Duration,
    /// When the member was started or resumed.
    over: Option<Instant>,
    /// Its place in the records.
    record: usize,
}

/// Injects faults and ends them.
pub(crate) struct Nemesis {
    kinds: Vec<FaultKind>,
    schedule: Schedule,
    next: PlannedFault,
    /// How many members may be afflicted at once.
    afflicted_max: usize,
    /// When measuring began.
    origin: Instant,
    /// When the next fault is due.
    due: Instant,
    /// By the numbers of members.
    afflicted: BTreeMap<usize, Affliction>,
    records: Vec<FaultRecord>,
}

impl Nemesis {
    /// A nemesis of that many members. `None` if there are no faults to inject.
    ///
    /// # Errors
    /// No member of so few may fail.
    pub(crate) fn new(
        kinds: &[FaultKind],
        members: usize,
        seed: u64,
    ) -> Result<Option<Self>, LocalClusterError> {
        let mut kinds = kinds.to_vec();
        kinds.sort_unstable();
        kinds.dedup();
        if kinds.is_empty() {
            return Ok(None);
        }
        let afflicted_max = (members - 1) / 2;
        if afflicted_max == 0 {
            return Err(LocalClusterError::NoMinority(members));
        }
        let mut schedule = Schedule::new(&kinds, members, seed);
        let next = schedule.next_fault();
        let now = Instant::now();
        Ok(Some(Self {
            kinds,
            schedule,
            next,
            afflicted_max,
            origin: now,
            due: now,
            afflicted: BTreeMap::new(),
            records: Vec::new(),
        }))
    }

    /// Counts time from now on.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.origin = now;
        self.due = now + self.next.gap;
    }

    /// Whether a member ought to run, if only to be paused: it was not sent a signal to end, or
    /// was started again since.
    pub(crate) fn is_due_to_run(&self, member: usize) -> bool {
        match self
            .afflicted
            .get(&member)
            .map(|afflicted| &afflicted.stage)
        {
            None | Some(Stage::Paused | Stage::CatchingUp(_)) => true,
            Some(Stage::Ending | Stage::Down) => false,
        }
    }

    /// Whether all members are well.
    pub(crate) fn is_idle(&self) -> bool {
        self.afflicted.is_empty()
    }

    /// The faults that were asked for, and those that were injected.
    pub(crate) fn into_outcome(self) -> (Vec<FaultKind>, Vec<FaultRecord>) {
        (self.kinds, self.records)
    }

    /// Does what is due: ends faults, and begins the next one. While `heals`, all faults end
    /// at once and none begins.
    ///
    /// # Errors
    /// A member does not end when it is told to, ends in another way, or does not serve again.
    pub(crate) fn act(
        &mut self,
        cluster: &mut LocalCluster,
        now: Instant,
        heals: bool,
    ) -> Result<(), LocalClusterError> {
        let mut well = Vec::new();
        for (member, affliction) in &mut self.afflicted {
            affliction.advance(cluster, *member, now, heals)?;
            let record = &mut self.records[affliction.record];
            record.lasted_ms = affliction
                .over
                .map(|over| millis(over.duration_since(affliction.began)));
            let Some(over) = affliction.over else {
                continue;
            };
            if affliction.has_caught_up() {
                record.caught_up_after_ms = Some(millis(now.duration_since(over)));
                well.push(*member);
            }
        }
        for member in well {
            self.afflicted.remove(&member);
        }
        if !heals && now >= self.due && self.afflicted.len() < self.afflicted_max {
            self.inject(cluster, now)?;
        }
        Ok(())
    }

    /// Injects the next fault.
    fn inject(
        &mut self,
        cluster: &mut LocalCluster,
        now: Instant,
    ) -> Result<(), LocalClusterError> {
        let fault = self.next;
        let members = cluster.members.len();
        // Another member takes the place of one that is not well.
        let victim = (0..members)
            .map(|step| (fault.member + step) % members)
            .find(|member| !self.afflicted.contains_key(member))
            .expect("only a minority is afflicted");
        cluster.members[victim].signal(fault.kind.signal())?;
        self.afflicted.insert(
            victim,
            Affliction {
                kind: fault.kind,
                stage: match fault.kind {
                    FaultKind::Kill | FaultKind::Restart => Stage::Ending,
                    FaultKind::Pause => Stage::Paused,
                },
                began: now,
                lasts: fault.lasts,
                over: None,
                record: self.records.len(),
            },
        );
        self.records.push(FaultRecord {
            at_ms: millis(now.duration_since(self.origin)),
            fault: fault.kind.name(),
            member: cluster.members[victim].name().to_owned(),
            lasted_ms: None,
            caught_up_after_ms: None,
        });
        self.next = self.schedule.next_fault();
        self.due = now + self.next.gap;
        Ok(())
    }
}

impl Affliction {
    /// Takes the steps that are due.
    fn advance(
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
            Stage::CatchingUp(_) => {
                let is_late = self.over.is_some_and(|over| now > over + RECOVERY_TIMEOUT);
                return match is_late && !self.has_caught_up() {
                    true => Err(cluster.does_not_serve(member, RECOVERY_TIMEOUT)),
                    false => Ok(()),
                };
            }
            Stage::Ending | Stage::Down | Stage::Paused => return Ok(()),
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
        let is_graceful = self.kind == FaultKind::Restart;
        match cluster.members[member].take_exit()? {
            Some(status) if is_graceful && !has_ended_as_told(status) => {
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

    fn has_caught_up(&mut self) -> bool {
        match &mut self.stage {
            Stage::CatchingUp(probe) => probe.try_join_next().is_some() || probe.is_empty(),
            Stage::Ending | Stage::Down | Stage::Paused => false,
        }
    }
}

fn millis(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_without_a_minority_has_no_nemesis() {
        for members in [1, 2] {
            let refused = Nemesis::new(&[FaultKind::Kill], members, 1);
            assert!(matches!(refused, Err(LocalClusterError::NoMinority(_))));
        }
        assert!(matches!(Nemesis::new(&[], 1, 1), Ok(None)));
    }

    #[test]
    fn never_more_than_a_minority_is_afflicted() {
        for (members, expected) in [(3, 1), (4, 1), (5, 2), (7, 3)] {
            let nemesis = Nemesis::new(&[FaultKind::Kill], members, 1)
                .unwrap()
                .unwrap();
            assert_eq!(nemesis.afflicted_max, expected);
        }
    }
}
