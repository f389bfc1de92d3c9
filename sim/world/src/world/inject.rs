//! Injecting faults and ending them.

use super::deferred::{ActiveFault, DeferredAction, NS_PER_MS, RESTART_NS, StarveStep, Undo};
use super::effect::{Begun, TaskEffect, TaskUndo};
use super::kernel::{Kernel, ScheduledEvent, State};
use crate::counter::Counter;
use crate::digest::fingerprint;
use crate::fault::{CrashKind, Fault, FaultId, ProcessId, UnknownProcess};
use crate::trace::EventKind;
use std::sync::Arc;

impl State {
    /// Records a fault and begins it; what is left to be done to tasks.
    fn inject(&mut self, now_ns: u64, fault: &Fault) -> (FaultId, Option<TaskEffect>) {
        self.fault_count += 1;
        let id = FaultId(self.fault_count);
        self.journal.counters.add_fault(fault.name());
        let text = serde_json::to_string(fault).expect("a fault has a written form");
        let kind = EventKind::Fault {
            id: id.0,
            hash: fingerprint(text.as_bytes()),
        };
        self.journal.record(now_ns, None, kind);
        self.journal.tell_fault(now_ns, id, fault);
        let Begun { lasting, tasks } = self.begin(now_ns, id, fault);
        if let Some(undo) = lasting {
            self.active_faults.insert(id, ActiveFault { undo });
        }
        if let Some(duration_ms) = fault.duration_ms() {
            let end_ns = now_ns + duration_ms * NS_PER_MS;
            self.schedule(end_ns, ScheduledEvent::Action(DeferredAction::Heal(id)));
        }
        (id, tasks)
    }
}

impl Kernel {
    /// Injects a fault.
    ///
    /// # Errors
    /// The fault names a process that is not there. Nothing has happened then.
    pub(super) fn inject(self: &Arc<Self>, fault: &Fault) -> Result<FaultId, UnknownProcess> {
        let (id, tasks) = self.with(|state, now_ns| {
            for process in fault.processes() {
                state.processes.check(process)?;
            }
            Ok(state.inject(now_ns, fault))
        })?;
        if let Some(tasks) = tasks {
            self.affect_tasks(tasks);
        }
        Ok(id)
    }

    /// Puts into effect what concerns the tasks of a process.
    fn affect_tasks(&self, effect: TaskEffect) {
        match effect {
            TaskEffect::Crash(process, kind) => self.crash(process, kind),
            TaskEffect::CrashAndRestart(process, kind, after_ns) => {
                self.crash(process, kind);
                self.restart(process, after_ns);
            }
            TaskEffect::RestartIfStopped(process) => {
                if !self.with(|state, _| state.processes[process].running) {
                    self.restart(process, RESTART_NS);
                }
            }
            TaskEffect::WipeDisk(process) => {
                self.crash(process, CrashKind::PowerLoss);
                self.with(|state, _| state.processes[process].disk.wipe());
            }
            TaskEffect::RestoreDisk(process, restart_after_ns) => {
                self.crash(process, CrashKind::PowerLoss);
                self.with(|state, _| state.processes[process].restore_kept_disk());
                if let Some(after_ns) = restart_after_ns {
                    self.restart(process, after_ns);
                }
            }
            TaskEffect::Pause(process) => self.pause(process),
            TaskEffect::Starve(step) => self.starve_step(step),
            TaskEffect::HoldTask(fault, process, number) => self.hold_task(fault, process, number),
        }
    }

    /// Holds a task of a process until the fault ends; a process that has none has none held.
    fn hold_task(&self, fault: FaultId, process: ProcessId, number: u32) {
        let Some(task) = self.gates.hold(process, number) else {
            return;
        };
        self.with(|state, _| {
            state.journal.counters.add(Counter::HeldTask);
            let active = state.active_faults.get_mut(&fault);
            let active = active.expect("the fault has just begun, and nobody else acts now");
            active.undo.push(Undo::Release(task));
        });
    }

    /// Stops a starved process, or lets it run, and schedules the next step.
    pub(super) fn starve_step(&self, step: StarveStep) {
        let lasts = self.with(|state, now_ns| {
            let Some(active) = state.active_faults.get_mut(&step.fault) else {
                return false;
            };
            // Whatever ends the fault has to resume the process, if it is stopped then.
            active.undo.clear();
            if step.stops {
                active.undo.push(Undo::Resume(step.process));
                state.journal.counters.add(Counter::Starve);
            }
            let after_ns = if step.stops {
                step.stop_ns
            } else {
                step.run_ns
            };
            let next = StarveStep {
                stops: !step.stops,
                ..step
            };
            state.schedule(
                now_ns + after_ns,
                ScheduledEvent::Action(DeferredAction::Starve(next)),
            );
            true
        });
        match (lasts, step.stops) {
            (false, _) => {}
            (true, true) => self.pause(step.process),
            (true, false) => self.resume(step.process),
        }
    }

    /// Ends a fault, unless it has ended.
    pub(super) fn heal(&self, id: FaultId) {
        let left = self.with(|state, now_ns| {
            let Some(active) = state.active_faults.remove(&id) else {
                return Vec::new();
            };
            state
                .journal
                .record(now_ns, None, EventKind::Heal { id: id.0 });
            active
                .undo
                .into_iter()
                .filter_map(|undo| state.undo(now_ns, id, undo))
                .collect()
        });
        for undo in left {
            match undo {
                TaskUndo::Resume(process) => self.resume(process),
                TaskUndo::Release(task) => self.gates.release(task),
            }
        }
    }

    /// Ends all faults, and what the schedule does to the order of messages.
    pub(super) fn heal_all(&self) {
        let active: Vec<FaultId> = self.with(|state, _| {
            state.network.let_pass();
            for process in state.processes.iter_mut() {
                process.crash_at = None;
                process.failpoint = None;
            }
            state.active_faults.keys().copied().collect()
        });
        for id in active {
            self.heal(id);
        }
    }

    /// The next step of a swizzle, unless it has ended.
    pub(super) fn swizzle_step(&self, id: FaultId, process: ProcessId, clog: bool) {
        self.with(|state, now_ns| {
            let links = state.links_of(process);
            for link @ (from, to) in links {
                let Some(active) = state.active_faults.get_mut(&id) else {
                    return;
                };
                let undo = Undo::Unclog(link);
                if clog {
                    active.undo.push(undo);
                    state.network.clog(from, to);
                } else if let Some(at) = active.undo.iter().position(|known| *known == undo) {
                    active.undo.remove(at);
                    state.undo(now_ns, id, undo);
                }
            }
        });
    }
}
