//! Injecting faults and ending them.

use super::kernel::{Kernel, ScheduledEvent, State};
use super::process::{CrashAt, RESTART_NS};
use super::reaper::{DeferredAction, StarveStep};
use crate::counter::Counter;
use crate::digest::fingerprint;
use crate::fault::{CrashKind, Fault, FaultId, ProcessId};
use crate::trace::{EventKind, Site};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What has to be undone when a fault ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Undo {
    Heal(ProcessId, ProcessId),
    Unclog(ProcessId, ProcessId),
    NetworkFaults,
    LinkFaults(ProcessId, ProcessId),
    Resume(ProcessId),
    Unsuspend(ProcessId),
    Drift(ProcessId),
    Strobe(ProcessId),
    DiskFaults(ProcessId),
    Capacity(ProcessId),
    Stall(ProcessId),
}

/// A fault that has not ended.
#[derive(Debug, Default)]
pub(super) struct ActiveFault {
    undo: Vec<Undo>,
}

const NS_PER_MS: u64 = 1_000_000;

/// Every ordered pair of two different processes, one from each side.
fn pairs<'a>(
    from: &'a [ProcessId],
    to: &'a [ProcessId],
) -> impl Iterator<Item = (ProcessId, ProcessId)> + 'a {
    from.iter()
        .flat_map(move |a| to.iter().map(move |b| (*a, *b)))
        .filter(|(a, b)| a != b)
}

impl State {
    fn everybody(&self) -> Vec<ProcessId> {
        (0..self.processes.len() as u32).map(ProcessId).collect()
    }

    /// The links that a fault cuts.
    fn cuts_of(&self, fault: &Fault) -> BTreeSet<(ProcessId, ProcessId)> {
        let mut cuts = BTreeSet::new();
        let mut both = |a: &[ProcessId], b: &[ProcessId]| {
            cuts.extend(pairs(a, b));
            cuts.extend(pairs(b, a));
        };
        match fault {
            Fault::Partition { groups, .. } => {
                for (index, group) in groups.iter().enumerate() {
                    groups[index + 1..]
                        .iter()
                        .for_each(|other| both(group, other));
                }
            }
            Fault::Isolate { process, .. } => both(&[*process], &self.everybody()),
            Fault::OneWay { from, to, .. } => cuts.extend(pairs(from, to)),
            Fault::Bridge {
                left,
                bridge,
                right,
                ..
            } => {
                let apart = |side: &[ProcessId]| -> Vec<ProcessId> {
                    side.iter()
                        .copied()
                        .filter(|process| process != bridge)
                        .collect()
                };
                both(&apart(left), &apart(right));
            }
            Fault::MajorityRing { ring, .. } => {
                let count = ring.len();
                // A majority is the process itself and `reach` others, as evenly as can
                // be on both sides.
                let reach = count / 2;
                let (after, before) = (reach.div_ceil(2), reach / 2);
                for (index, process) in ring.iter().enumerate() {
                    for (other_index, other) in ring.iter().enumerate() {
                        let ahead = (other_index + count - index) % count;
                        let seen = ahead <= after || count - ahead <= before;
                        if process != other && !seen {
                            both(&[*process], &[*other]);
                        }
                    }
                }
            }
            _ => {}
        }
        cuts
    }

    /// Puts into effect what lies in the state alone, and returns what undoes it.
    fn apply(&mut self, now_ns: u64, id: FaultId, fault: &Fault) -> Vec<Undo> {
        let mut undo = Vec::new();
        for (from, to) in self.cuts_of(fault) {
            self.network.cut(from, to);
            undo.push(Undo::Heal(from, to));
        }
        match fault {
            Fault::Clog { from, to, .. } => {
                for (from, to) in pairs(from, to) {
                    self.network.clog(from, to);
                    undo.push(Undo::Unclog(from, to));
                }
            }
            Fault::Swizzle {
                processes,
                interval_ms,
            } => self.plan_swizzle(now_ns, id, processes, *interval_ms),
            Fault::ResetConnections { a, b } => {
                self.on_network(now_ns, |network, context| {
                    network.reset_between(context, *a, *b)
                });
            }
            Fault::Network { faults, .. } => {
                self.network_faults.push(id.0, *faults);
                self.network.faults = self.network_faults.get();
                undo.push(Undo::NetworkFaults);
            }
            Fault::Link {
                from, to, faults, ..
            } => {
                for (from, to) in pairs(from, to) {
                    self.network.add_override(from, to, id.0, *faults);
                    undo.push(Undo::LinkFaults(from, to));
                }
            }
            Fault::CrashAt {
                process,
                point,
                skip,
                kind,
                restart_after_ms,
            } => {
                let crash_at = CrashAt {
                    point: *point,
                    skip: *skip,
                    kind: *kind,
                    restart_after_ms: *restart_after_ms,
                };
                self.processes[process.index()].crash_at = Some(crash_at);
            }
            Fault::CrashAtFailpoint {
                process,
                name,
                skip,
                kind,
                restart_after_ms,
            } => {
                let crash_at = CrashAt {
                    point: name.clone(),
                    skip: *skip,
                    kind: *kind,
                    restart_after_ms: *restart_after_ms,
                };
                self.processes[process.index()].failpoint = Some(crash_at);
                self.failpoints_armed.store(true, Ordering::Relaxed);
            }
            Fault::Suspend { process, .. } => {
                self.processes[process.index()].suspensions += 1;
                self.set_clock(now_ns, *process);
                undo.push(Undo::Unsuspend(*process));
            }
            Fault::ClockDrift {
                process, drift_ppm, ..
            } => {
                self.processes[process.index()].drift.push(id.0, *drift_ppm);
                self.set_clock(now_ns, *process);
                undo.push(Undo::Drift(*process));
            }
            Fault::ClockJump { process, jump_ms } => {
                let jump_ns = jump_ms.saturating_mul(NS_PER_MS as i64);
                self.processes[process.index()].clock.jump_wall(jump_ns);
                self.record_clock(now_ns, *process, jump_ns);
            }
            Fault::ClockStrobe {
                process,
                amplitude_ms,
                period_ms,
                ..
            } => {
                let strobe = (amplitude_ms * NS_PER_MS, (period_ms * NS_PER_MS).max(1));
                self.processes[process.index()]
                    .clock
                    .set_strobe(Some(strobe));
                self.record_clock(now_ns, *process, 0);
                undo.push(Undo::Strobe(*process));
            }
            Fault::Disk {
                process, faults, ..
            } => {
                let process_state = &mut self.processes[process.index()];
                process_state.disk_faults.push(id.0, *faults);
                process_state.disk.faults = process_state.disk_faults.get();
                undo.push(Undo::DiskFaults(*process));
            }
            Fault::DiskStall {
                process,
                duration_ms,
            } => {
                let disk = &mut self.processes[process.index()].disk;
                disk.stalled_until_ns = disk.stalled_until_ns.max(now_ns + duration_ms * NS_PER_MS);
                undo.push(Undo::Stall(*process));
            }
            Fault::DiskFull {
                process,
                free_bytes,
                ..
            } => {
                let process_state = &mut self.processes[process.index()];
                let capacity_bytes = process_state.disk.used_bytes() + free_bytes;
                process_state.capacity.push(id.0, Some(capacity_bytes));
                process_state.disk.capacity_bytes = process_state.capacity.get();
                undo.push(Undo::Capacity(*process));
            }
            Fault::BitRot {
                process,
                bits,
                file_suffix,
            } => {
                let site = Site::BitRot { process: *process };
                self.on_disk(now_ns, *process, site, |disk, context| {
                    disk.rot(context, *bits, file_suffix)
                });
            }
            _ => {}
        }
        undo
    }

    /// Sets the clock of a process, and its timers, by what faults say of it now.
    fn set_clock(&mut self, now_ns: u64, id: ProcessId) {
        let process = &mut self.processes[id.index()];
        process.clock.set_drift(now_ns, process.drift.get());
        process.clock.set_suspended(now_ns, process.suspensions > 0);
        self.reset_timers(id);
        self.record_clock(now_ns, id, 0);
    }

    fn record_clock(&mut self, now_ns: u64, id: ProcessId, jump_ns: i64) {
        let drift_ppm = self.processes[id.index()].clock.drift_ppm();
        self.record(now_ns, id, EventKind::Clock { drift_ppm, jump_ns });
        self.journal.counters.add(Counter::ClockChange);
    }

    fn plan_swizzle(
        &mut self,
        now_ns: u64,
        id: FaultId,
        processes: &[ProcessId],
        interval_ms: u64,
    ) {
        let mut step = 0;
        for clog in [true, false] {
            let mut order = processes.to_vec();
            self.decisions
                .draw(Site::Swizzle, now_ns, 0)
                .shuffle(&mut order);
            for process in order {
                step += 1;
                let at_ns = now_ns + step * interval_ms * NS_PER_MS;
                self.schedule(
                    at_ns,
                    ScheduledEvent::Action(DeferredAction::Swizzle {
                        fault: id,
                        process,
                        clog,
                    }),
                );
            }
        }
        self.schedule(
            now_ns + (step + 1) * interval_ms * NS_PER_MS,
            ScheduledEvent::Action(DeferredAction::Heal(id)),
        );
    }

    /// All links from and to a process.
    fn links_of(&self, process: ProcessId) -> Vec<(ProcessId, ProcessId)> {
        let everybody = self.everybody();
        pairs(&[process], &everybody)
            .chain(pairs(&everybody, &[process]))
            .collect()
    }

    /// Undoes one thing that a fault did. Returns a process whose tasks have to be
    /// resumed, if there is one.
    fn undo(&mut self, now_ns: u64, id: FaultId, undo: Undo) -> Option<ProcessId> {
        match undo {
            Undo::Heal(from, to) => {
                self.on_network(now_ns, |network, context| network.heal(context, from, to))
            }
            Undo::Unclog(from, to) => {
                self.on_network(now_ns, |network, context| network.unclog(context, from, to));
            }
            Undo::NetworkFaults => {
                self.network_faults.remove(id.0);
                self.network.faults = self.network_faults.get();
            }
            Undo::LinkFaults(from, to) => self.network.remove_override(from, to, id.0),
            Undo::Resume(process) => return Some(process),
            Undo::Unsuspend(process) => {
                let process_state = &mut self.processes[process.index()];
                process_state.suspensions = process_state.suspensions.saturating_sub(1);
                self.set_clock(now_ns, process);
            }
            Undo::Drift(process) => {
                self.processes[process.index()].drift.remove(id.0);
                self.set_clock(now_ns, process);
            }
            Undo::Strobe(process) => {
                self.processes[process.index()].clock.set_strobe(None);
                self.record_clock(now_ns, process, 0);
            }
            Undo::DiskFaults(process) => {
                let process = &mut self.processes[process.index()];
                process.disk_faults.remove(id.0);
                process.disk.faults = process.disk_faults.get();
            }
            Undo::Capacity(process) => {
                let process = &mut self.processes[process.index()];
                process.capacity.remove(id.0);
                process.disk.capacity_bytes = process.capacity.get();
            }
            Undo::Stall(process) => self.processes[process.index()].disk.stalled_until_ns = now_ns,
        }
        None
    }
}

impl Kernel {
    /// Injects a fault.
    pub(super) fn inject(self: &Arc<Self>, fault: &Fault) -> FaultId {
        let id = self.with(|state, now_ns| {
            state.fault_count += 1;
            let id = FaultId(state.fault_count);
            state.journal.counters.add_fault(fault.name());
            let text = serde_json::to_string(fault).expect("a fault has a written form");
            let kind = EventKind::Fault {
                id: id.0,
                hash: fingerprint(text.as_bytes()),
            };
            state.journal.record(now_ns, None, kind);
            state.journal.tell_fault(now_ns, id, fault);
            let undo = state.apply(now_ns, id, fault);
            state.active_faults.insert(id, ActiveFault { undo });
            if let Some(duration_ms) = fault.duration_ms() {
                state.schedule(
                    now_ns + duration_ms * NS_PER_MS,
                    ScheduledEvent::Action(DeferredAction::Heal(id)),
                );
            }
            id
        });
        self.apply_to_tasks(id, fault);
        self.with(|state, _| {
            let momentary = state
                .active_faults
                .get(&id)
                .is_some_and(|active| active.undo.is_empty())
                && !matches!(fault, Fault::Swizzle { .. } | Fault::Starve { .. });
            if momentary {
                state.active_faults.remove(&id);
            }
        });
        id
    }

    /// Puts into effect what concerns the tasks of processes.
    fn apply_to_tasks(self: &Arc<Self>, id: FaultId, fault: &Fault) {
        match *fault {
            Fault::Crash {
                process,
                kind,
                restart_after_ms,
            } => {
                self.crash(process, kind);
                if let Some(after_ms) = restart_after_ms {
                    self.restart(process, after_ms * NS_PER_MS);
                }
            }
            Fault::Restart { process } => {
                let runs = self.with(|state, _| state.processes[process.index()].running);
                if !runs {
                    self.restart(process, RESTART_NS);
                }
            }
            Fault::WipeDisk { process } => {
                self.crash(process, CrashKind::PowerLoss);
                self.with(|state, _| state.processes[process.index()].disk.wipe());
            }
            Fault::KeepDisk { process } => self.with(|state, _| {
                let process = &mut state.processes[process.index()];
                process.kept_disk = Some(process.disk.snapshot());
            }),
            Fault::RestoreDisk {
                process,
                restart_after_ms,
            } => {
                self.crash(process, CrashKind::PowerLoss);
                self.with(|state, _| {
                    let process = &mut state.processes[process.index()];
                    match &process.kept_disk {
                        Some(kept) => process.disk.restore(kept),
                        None => process.disk.wipe(),
                    }
                });
                if let Some(after_ms) = restart_after_ms {
                    self.restart(process, after_ms * NS_PER_MS);
                }
            }
            Fault::Pause { process, .. } | Fault::Suspend { process, .. } => {
                self.pause(process);
                self.with(|state, _| {
                    if let Some(active) = state.active_faults.get_mut(&id) {
                        active.undo.push(Undo::Resume(process));
                    }
                });
            }
            Fault::Starve {
                process,
                run_ms,
                stop_ms,
                ..
            } => self.starve_step(StarveStep {
                fault: id,
                process,
                run_ns: (run_ms * NS_PER_MS).max(RESTART_NS),
                stop_ns: (stop_ms * NS_PER_MS).max(RESTART_NS),
                stops: true,
            }),
            _ => {}
        }
    }

    /// Stops a starved process, or lets it run, and plans the next step.
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
        let resumed = self.with(|state, now_ns| {
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
        for process in resumed {
            self.resume(process);
        }
    }

    /// Ends all faults, and what the schedule does to the order of messages.
    pub(super) fn heal_all(&self) {
        let active: Vec<FaultId> = self.with(|state, _| {
            state.network.let_pass();
            for process in &mut state.processes {
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
            let Some(active) = state.active_faults.get_mut(&id) else {
                return;
            };
            if clog {
                active
                    .undo
                    .extend(links.iter().map(|(from, to)| Undo::Unclog(*from, *to)));
                for (from, to) in links {
                    state.network.clog(from, to);
                }
            } else {
                for (from, to) in links {
                    let undo = Undo::Unclog(from, to);
                    let Some(active) = state.active_faults.get_mut(&id) else {
                        return;
                    };
                    if let Some(at) = active.undo.iter().position(|known| *known == undo) {
                        active.undo.remove(at);
                        state.undo(now_ns, id, undo);
                    }
                }
            }
        });
    }
}
