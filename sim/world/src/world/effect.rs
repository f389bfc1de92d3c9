//! What each fault does to the state of the world, and what undoes it.

use super::deferred::{DeferredAction, NS_PER_MS, StarveStep, Undo};
use super::kernel::{ScheduledEvent, State};
use super::links::{
    Link, around_bridge, between_groups, both_ways, distinct, one_way, outside_majorities,
};
use super::process::CrashAt;
use crate::counter::Counter;
use crate::disk::{Damage, DiskFaults};
use crate::fault::{CrashKind, CrashPoint, Fault, FaultId, ProcessId};
use crate::network::NetworkFaults;
use crate::schedule::TaskId;
use crate::trace::{EventKind, Site};
use std::io;
use std::sync::atomic::Ordering;

/// The number on Linux of the error that too many files are open.
const EMFILE: i32 = 24;

/// What concerns the tasks of a process. It is done without the lock of the state, because
/// madsim wakes and drops tasks while it does it.
#[derive(Clone, Copy, Debug)]
pub(super) enum TaskEffect {
    Crash(ProcessId, CrashKind),
    CrashAndRestart(ProcessId, CrashKind, u64),
    RestartIfStopped(ProcessId),
    WipeDisk(ProcessId),
    RestoreDisk(ProcessId, Option<u64>),
    Pause(ProcessId),
    Starve(StarveStep),
    /// Hold the task with this number until the fault ends.
    HoldTask(FaultId, ProcessId, u32),
}

/// What is left to be done to tasks once something was undone.
pub(super) enum TaskUndo {
    Resume(ProcessId),
    Release(TaskId),
}

/// A fault that has begun.
pub(super) struct Begun {
    /// What undoes it; none if it is over at once, or if its later steps end it.
    pub(super) lasting: Option<Vec<Undo>>,
    /// What is left to be done to tasks.
    pub(super) tasks: Option<TaskEffect>,
}

impl Begun {
    /// The fault is over at once.
    const OVER: Self = Self {
        lasting: None,
        tasks: None,
    };

    /// The fault lasts until all of `undo` is done. One that did nothing is over.
    fn until(undo: Vec<Undo>) -> Self {
        Self {
            lasting: (!undo.is_empty()).then_some(undo),
            tasks: None,
        }
    }

    /// The fault goes on in steps, which know themselves what undoes them.
    const fn in_steps(tasks: Option<TaskEffect>) -> Self {
        Self {
            lasting: Some(Vec::new()),
            tasks,
        }
    }

    /// The fault does this to tasks and is over.
    const fn to_tasks(tasks: TaskEffect) -> Self {
        Self {
            lasting: None,
            tasks: Some(tasks),
        }
    }
}

/// A crash, with a restart after so many ms if there is to be one.
fn crash(process: ProcessId, kind: CrashKind, restart_after_ms: Option<u64>) -> Begun {
    Begun::to_tasks(match restart_after_ms {
        None => TaskEffect::Crash(process, kind),
        Some(ms) => TaskEffect::CrashAndRestart(process, kind, ms * NS_PER_MS),
    })
}

impl State {
    /// Puts a fault into effect as far as it lies in the state alone. Every kind of fault has
    /// its line here: what is not listed does not compile.
    #[rustfmt::skip] // This is a table, one line for each kind of fault.
    pub(super) fn begin(&mut self, now_ns: u64, id: FaultId, fault: &Fault) -> Begun {
        match fault {
            Fault::Partition { groups, .. } => self.cut(between_groups(groups)),
            Fault::Isolate { process, .. } => self.cut(both_ways(&[*process], &self.everybody())),
            Fault::OneWay { from, to, .. } => self.cut(one_way(from, to)),
            Fault::Bridge { left, bridge, right, .. } => self.cut(around_bridge(left, *bridge, right)),
            Fault::MajorityRing { ring, .. } => self.cut(outside_majorities(ring)),
            Fault::Clog { from, to, .. } => self.clog(one_way(from, to)),
            Fault::Swizzle { processes, interval_ms } => self.swizzle(now_ns, id, processes, *interval_ms),
            Fault::ResetConnections { a, b } => self.reset_connections(now_ns, *a, *b),
            Fault::Network { faults, .. } => self.replace_network(id, *faults),
            Fault::Link { from, to, faults, .. } => self.replace_links(id, one_way(from, to), *faults),
            Fault::Crash { process, kind, restart_after_ms } => crash(*process, *kind, *restart_after_ms),
            Fault::CrashAt { process, point, skip, kind, restart_after_ms } =>
                self.crash_at(*process, CrashAt::new(*point, *skip, *kind, *restart_after_ms)),
            Fault::CrashAtFailpoint { process, name, skip, kind, restart_after_ms } =>
                self.crash_at_failpoint(*process, CrashAt::new(name.clone(), *skip, *kind, *restart_after_ms)),
            Fault::Restart { process } => Begun::to_tasks(TaskEffect::RestartIfStopped(*process)),
            Fault::WipeDisk { process } => Begun::to_tasks(TaskEffect::WipeDisk(*process)),
            Fault::KeepDisk { process } => self.keep_disk(*process),
            Fault::RestoreDisk { process, restart_after_ms } =>
                Begun::to_tasks(TaskEffect::RestoreDisk(*process, restart_after_ms.map(|ms| ms * NS_PER_MS))),
            Fault::Pause { process, .. } => pause(*process),
            Fault::Suspend { process, .. } => self.suspend(now_ns, *process),
            Fault::Starve { process, run_ms, stop_ms, .. } =>
                Begun::in_steps(Some(TaskEffect::Starve(StarveStep::first(id, *process, *run_ms, *stop_ms)))),
            Fault::HoldTask { process, task, .. } =>
                Begun::in_steps(Some(TaskEffect::HoldTask(id, *process, *task))),
            Fault::ClockDrift { process, drift_ppm, .. } => self.drift(now_ns, id, *process, *drift_ppm),
            Fault::ClockJump { process, jump_ms } => self.jump(now_ns, *process, *jump_ms),
            Fault::ClockStrobe { process, amplitude_ms, period_ms, .. } =>
                self.strobe(now_ns, *process, *amplitude_ms, *period_ms),
            Fault::Disk { process, faults, .. } => self.replace_disk(now_ns, id, *process, *faults),
            Fault::DiskStall { process, duration_ms } => self.stall(now_ns, *process, *duration_ms),
            Fault::DiskFull { process, free_bytes, .. } => self.fill_disk(id, *process, *free_bytes),
            Fault::TooManyOpenFiles { process, spare, .. } => self.limit_open_files(id, *process, *spare),
            Fault::BitRot { process, bits, file_suffix } => self.rot(now_ns, *process, *bits, file_suffix),
            Fault::Decay { process, damage, file_suffix } => self.decay(now_ns, *process, *damage, file_suffix),
        }
    }

    fn everybody(&self) -> Vec<ProcessId> {
        self.processes.ids().collect()
    }

    fn cut(&mut self, links: Vec<Link>) -> Begun {
        let links = distinct(links);
        for (from, to) in &links {
            self.network.cut(*from, *to);
        }
        Begun::until(links.into_iter().map(Undo::Heal).collect())
    }

    fn clog(&mut self, links: Vec<Link>) -> Begun {
        for (from, to) in &links {
            self.network.clog(*from, *to);
        }
        Begun::until(links.into_iter().map(Undo::Unclog).collect())
    }

    fn swizzle(
        &mut self,
        now_ns: u64,
        id: FaultId,
        processes: &[ProcessId],
        interval_ms: u64,
    ) -> Begun {
        let mut step = 0;
        for clog in [true, false] {
            let mut order = processes.to_vec();
            self.decisions
                .draw(Site::Swizzle, now_ns, 0)
                .shuffle(&mut order);
            for process in order {
                step += 1;
                let at_ns = now_ns + step * interval_ms * NS_PER_MS;
                let swizzle = DeferredAction::Swizzle {
                    fault: id,
                    process,
                    clog,
                };
                self.schedule(at_ns, ScheduledEvent::Action(swizzle));
            }
        }
        let end_ns = now_ns + (step + 1) * interval_ms * NS_PER_MS;
        self.schedule(end_ns, ScheduledEvent::Action(DeferredAction::Heal(id)));
        Begun::in_steps(None)
    }

    fn reset_connections(&mut self, now_ns: u64, a: ProcessId, b: ProcessId) -> Begun {
        self.on_network(now_ns, |network, context| {
            network.reset_between(context, a, b);
        });
        Begun::OVER
    }

    fn replace_network(&mut self, id: FaultId, faults: NetworkFaults) -> Begun {
        self.network_faults.push(id.0, faults);
        self.network.faults = self.network_faults.get();
        Begun::until(vec![Undo::NetworkFaults])
    }

    fn replace_links(&mut self, id: FaultId, links: Vec<Link>, faults: NetworkFaults) -> Begun {
        for (from, to) in &links {
            self.network.add_override(*from, *to, id.0, faults);
        }
        Begun::until(links.into_iter().map(Undo::LinkFaults).collect())
    }

    fn crash_at(&mut self, id: ProcessId, crash_at: CrashAt<CrashPoint>) -> Begun {
        self.processes[id].crash_at = Some(crash_at);
        Begun::OVER
    }

    fn crash_at_failpoint(&mut self, id: ProcessId, crash_at: CrashAt<String>) -> Begun {
        self.processes[id].failpoint = Some(crash_at);
        self.failpoints_armed.store(true, Ordering::Relaxed);
        Begun::OVER
    }

    fn keep_disk(&mut self, id: ProcessId) -> Begun {
        let process = &mut self.processes[id];
        process.kept_disk = Some(process.disk.snapshot());
        Begun::OVER
    }

    fn suspend(&mut self, now_ns: u64, id: ProcessId) -> Begun {
        self.processes[id].suspensions += 1;
        self.set_clock(now_ns, id);
        Begun {
            lasting: Some(vec![Undo::Unsuspend(id), Undo::Resume(id)]),
            ..pause(id)
        }
    }

    fn drift(&mut self, now_ns: u64, id: FaultId, process: ProcessId, drift_ppm: i64) -> Begun {
        self.processes[process].drift.push(id.0, drift_ppm);
        self.set_clock(now_ns, process);
        Begun::until(vec![Undo::Drift(process)])
    }

    fn jump(&mut self, now_ns: u64, id: ProcessId, jump_ms: i64) -> Begun {
        let jump_ns = jump_ms.saturating_mul(NS_PER_MS as i64);
        self.processes[id].clock.jump_wall(jump_ns);
        self.record_clock(now_ns, id, jump_ns);
        Begun::OVER
    }

    fn strobe(&mut self, now_ns: u64, id: ProcessId, amplitude_ms: u64, period_ms: u64) -> Begun {
        let strobe = (amplitude_ms * NS_PER_MS, (period_ms * NS_PER_MS).max(1));
        self.processes[id].clock.set_strobe(Some(strobe));
        self.record_clock(now_ns, id, 0);
        Begun::until(vec![Undo::Strobe(id)])
    }

    fn replace_disk(
        &mut self,
        now_ns: u64,
        id: FaultId,
        process: ProcessId,
        faults: DiskFaults,
    ) -> Begun {
        let state = &mut self.processes[process];
        state.disk_faults.push(id.0, faults);
        state.disk.set_faults(state.disk_faults.get(), now_ns);
        Begun::until(vec![Undo::DiskFaults(process)])
    }

    fn stall(&mut self, now_ns: u64, id: ProcessId, duration_ms: u64) -> Begun {
        let disk = &mut self.processes[id].disk;
        disk.stalled_until_ns = disk.stalled_until_ns.max(now_ns + duration_ms * NS_PER_MS);
        Begun::until(vec![Undo::Stall(id)])
    }

    fn fill_disk(&mut self, id: FaultId, process: ProcessId, free_bytes: u64) -> Begun {
        let state = &mut self.processes[process];
        let capacity_bytes = state.disk.used_bytes() + free_bytes;
        state.capacity.push(id.0, Some(capacity_bytes));
        state.disk.capacity_bytes = state.capacity.get();
        Begun::until(vec![Undo::Capacity(process)])
    }

    fn limit_open_files(&mut self, id: FaultId, process: ProcessId, spare: u32) -> Begun {
        let max = self.open_files(process) + spare as usize;
        self.processes[process].open_files_max.push(id.0, Some(max));
        Begun::until(vec![Undo::OpenFiles(process)])
    }

    /// How many files, connections and listeners a process has open.
    fn open_files(&self, id: ProcessId) -> usize {
        self.processes[id].disk.open_files() + self.network.sockets_of(id)
    }

    /// Whether a process may open one more file or connection.
    ///
    /// # Errors
    /// EMFILE: it has too many already.
    pub(super) fn may_open(&mut self, id: ProcessId) -> io::Result<()> {
        match self.processes[id].open_files_max.get() {
            Some(max) if self.open_files(id) >= max => {
                self.journal.counters.add(Counter::TooManyOpenFiles);
                Err(io::Error::from_raw_os_error(EMFILE))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn rot(&mut self, now_ns: u64, id: ProcessId, bits: u32, file_suffix: &str) -> Begun {
        let site = Site::BitRot { process: id };
        self.on_disk(now_ns, id, site, |disk, context| {
            disk.rot(context, bits, file_suffix);
        });
        Begun::OVER
    }

    fn decay(&mut self, now_ns: u64, id: ProcessId, damage: Damage, file_suffix: &str) -> Begun {
        let site = Site::BitRot { process: id };
        let kept = self.processes[id].kept_disk.clone();
        self.on_disk(now_ns, id, site, |disk, context| {
            disk.decay(context, damage, file_suffix, kept.as_ref());
        });
        Begun::OVER
    }

    /// Sets the clock of a process, and its timers, by what faults say of it now.
    fn set_clock(&mut self, now_ns: u64, id: ProcessId) {
        let process = &mut self.processes[id];
        process.clock.set_drift(now_ns, process.drift.get());
        process.clock.set_suspended(now_ns, process.suspensions > 0);
        self.reset_timers(id);
        self.record_clock(now_ns, id, 0);
    }

    fn record_clock(&mut self, now_ns: u64, id: ProcessId, jump_ns: i64) {
        let drift_ppm = self.processes[id].clock.drift_ppm();
        self.record(now_ns, id, EventKind::Clock { drift_ppm, jump_ns });
        self.journal.counters.add(Counter::ClockChange);
    }

    /// All links from and to a process.
    pub(super) fn links_of(&self, process: ProcessId) -> Vec<Link> {
        both_ways(&[process], &self.everybody())
    }

    /// Undoes one thing that a fault did. Returns what is left to be done to tasks.
    pub(super) fn undo(&mut self, now_ns: u64, id: FaultId, undo: Undo) -> Option<TaskUndo> {
        match undo {
            Undo::Heal((from, to)) => {
                self.on_network(now_ns, |network, context| network.heal(context, from, to));
            }
            Undo::Unclog((from, to)) => {
                self.on_network(now_ns, |network, context| network.unclog(context, from, to));
            }
            Undo::NetworkFaults => {
                self.network_faults.remove(id.0);
                self.network.faults = self.network_faults.get();
            }
            Undo::LinkFaults((from, to)) => self.network.remove_override(from, to, id.0),
            Undo::Resume(process) => return Some(TaskUndo::Resume(process)),
            Undo::Release(task) => return Some(TaskUndo::Release(task)),
            Undo::Unsuspend(process) => {
                let suspensions = &mut self.processes[process].suspensions;
                *suspensions = suspensions.saturating_sub(1);
                self.set_clock(now_ns, process);
            }
            Undo::Drift(process) => {
                self.processes[process].drift.remove(id.0);
                self.set_clock(now_ns, process);
            }
            Undo::Strobe(process) => {
                self.processes[process].clock.set_strobe(None);
                self.record_clock(now_ns, process, 0);
            }
            Undo::DiskFaults(process) => {
                let state = &mut self.processes[process];
                state.disk_faults.remove(id.0);
                state.disk.set_faults(state.disk_faults.get(), now_ns);
            }
            Undo::Capacity(process) => {
                let state = &mut self.processes[process];
                state.capacity.remove(id.0);
                state.disk.capacity_bytes = state.capacity.get();
            }
            Undo::OpenFiles(process) => self.processes[process].open_files_max.remove(id.0),
            Undo::Stall(process) => self.processes[process].disk.stalled_until_ns = now_ns,
        }
        None
    }
}

/// A pause until the fault ends.
fn pause(process: ProcessId) -> Begun {
    Begun {
        lasting: Some(vec![Undo::Resume(process)]),
        tasks: Some(TaskEffect::Pause(process)),
    }
}
