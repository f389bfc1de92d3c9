//! Starting, stopping and pausing processes.
//!
//! Each start of a process is a madsim node of its own, and has a number (incarnation)
//! that everything it opens carries. A crash raises the fence first: from that moment
//! nothing that the old incarnation does has any effect, whatever its destructors try
//! when madsim drops its tasks later.

use super::deferred::{DeferredAction, RESTART_NS};
use super::kernel::{Kernel, ProcessHandle, ScheduledEvent, State};
use super::panic_text;
use super::process::{Boot, BootFuture, Process, ProcessExit};
use crate::clock::ClockModel;
use crate::counter::Counter;
use crate::digest::fingerprint;
use crate::fault::{CrashKind, CrashPoint, ProcessId};
use crate::network::Departure;
use crate::trace::{EventKind, Site};
use madsim::runtime::Handle;
use madsim::task::NodeId;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Poll, Waker};
use veridical_probe::{FailpointHook, install_failpoint_hook};

/// Origins of clocks, in ns: up to a day for the monotonic one; the wall clock starts on
/// 2024-01-01 UTC, up to a second apart from the others.
const MONOTONIC_ORIGIN_MAX_NS: u64 = 86_400_000_000_000;
const WALL_ORIGIN_NS: u64 = 1_704_067_200_000_000_000;
const WALL_SPREAD_NS: u64 = 1_000_000_000;

impl State {
    /// Adds a process that does not run yet, with a disk as all get it at first.
    pub(super) fn add_process(&mut self, now_ns: u64, name: &str, boot: Boot) -> ProcessId {
        assert!(
            !self.names.iter().any(|known| known == name),
            "the process name {name:?} is taken"
        );
        let id = self.processes.next_id();
        let mut rng = self.decisions.draw(Site::Clock { process: id }, now_ns, 0);
        let monotonic_origin_ns = rng.below(MONOTONIC_ORIGIN_MAX_NS);
        let wall_origin_ns = WALL_ORIGIN_NS + rng.below(WALL_SPREAD_NS);
        let clock = ClockModel::new(monotonic_origin_ns, wall_origin_ns);
        let (faults, capacity_bytes) = self.default_disk;
        let process = Process::new(boot, faults, capacity_bytes, clock);
        let id = self.processes.add(process);
        self.names.push(name.to_owned());
        self.journal.tell_process(id, name);
        self.on_network(now_ns, |network, context| network.add_host(context));
        id
    }

    /// The name of a process.
    pub(super) fn name(&self, id: ProcessId) -> &str {
        self.processes
            .check(id)
            .unwrap_or_else(|unknown| panic!("{unknown}"));
        &self.names[id.index()]
    }

    /// The process is gone: raises the fence and settles what that means to its disk and
    /// its peers. Its tasks are stopped by [`Kernel::stop_tasks`].
    fn leave(&mut self, now_ns: u64, id: ProcessId, departure: Departure, power: bool) {
        let process = &mut self.processes[id];
        process.running = false;
        process.left_at_ns = now_ns;
        process.crash_at = None;
        self.on_network(now_ns, |network, context| {
            network.depart(context, id, departure)
        });
        let site = Site::PowerLoss { process: id };
        self.on_disk(now_ns, id, site, |disk, context| {
            if power {
                disk.lose_power(context)
            } else {
                disk.close_all()
            }
        });
    }

    /// Crashes a process that runs, except for its tasks.
    pub(super) fn crash(&mut self, now_ns: u64, id: ProcessId, kind: CrashKind) {
        let power = kind != CrashKind::Kill;
        self.record(now_ns, id, EventKind::Crash { power });
        self.journal
            .counters
            .add(if power { Counter::Crash } else { Counter::Kill });
        let departure = match kind {
            CrashKind::PowerLoss => Departure::Silent,
            CrashKind::PowerLossWithReset => Departure::Reset,
            CrashKind::Kill => Departure::Closed,
        };
        self.leave(now_ns, id, departure, power);
    }

    /// A process ended by itself.
    fn exit(&mut self, now_ns: u64, id: ProcessId, exit: ProcessExit) {
        let panicked = matches!(exit, ProcessExit::Panicked(_));
        let text = fingerprint(exit.to_string().as_bytes());
        self.record(now_ns, id, EventKind::Exit { panicked, text });
        self.journal.counters.add(if panicked {
            Counter::Panic
        } else {
            Counter::Exit
        });
        self.leave(now_ns, id, Departure::Closed, false);
        let process = &mut self.processes[id];
        process.exit = Some(exit);
        for waker in process.exit_wakers.drain(..) {
            waker.wake();
        }
    }

    /// How the process ended by itself, if it did and was not started again.
    pub(super) fn exit_of(&self, id: ProcessId) -> Option<ProcessExit> {
        self.processes[id].exit.clone()
    }

    /// The same, or `waker` is woken when it does.
    pub(super) fn poll_exit(&mut self, id: ProcessId, waker: &Waker) -> Poll<ProcessExit> {
        let process = &mut self.processes[id];
        match &process.exit {
            Some(exit) => Poll::Ready(exit.clone()),
            None => {
                process.exit_wakers.push(waker.clone());
                Poll::Pending
            }
        }
    }

    /// The process passes a point where it may have been asked to crash. If it was, it
    /// has crashed when this returns true, and the caller must never go on.
    #[inline]
    pub(super) fn passes(&mut self, now_ns: u64, id: ProcessId, point: CrashPoint) -> bool {
        match &mut self.processes[id].crash_at {
            Some(crash_at) if crash_at.point == point => {
                if crash_at.skip > 0 {
                    crash_at.skip -= 1;
                    return false;
                }
                let crash_at = *crash_at;
                self.journal.counters.add(Counter::CrashPoint);
                self.crash_from_inside(now_ns, id, crash_at.kind, crash_at.restart_after_ms);
                true
            }
            _ => false,
        }
    }

    /// The process whose tasks are those of `node` comes by a failpoint. If it was asked to
    /// crash there, it has when this returns true, and the caller must never go on.
    fn passes_failpoint(&mut self, now_ns: u64, node: NodeId, name: &str) -> bool {
        let Some(id) = self.processes.of_node(node) else {
            return false;
        };
        let Some(crash_at) = self.processes[id]
            .failpoint
            .as_mut()
            .filter(|crash_at| crash_at.point == name)
        else {
            return false;
        };
        if crash_at.skip > 0 {
            crash_at.skip -= 1;
            return false;
        }
        let (kind, restart_after_ms) = (crash_at.kind, crash_at.restart_after_ms);
        self.processes[id].failpoint = None;
        self.journal.counters.add(Counter::Failpoint);
        self.crash_from_inside(now_ns, id, kind, restart_after_ms);
        true
    }

    /// Crashes the process whose task is running.
    fn crash_from_inside(
        &mut self,
        now_ns: u64,
        id: ProcessId,
        kind: CrashKind,
        restart_after_ms: Option<u64>,
    ) {
        let node = self.processes[id].node;
        self.crash(now_ns, id, kind);
        if let Some(node) = node {
            self.reaper.add(DeferredAction::Stop(node));
        }
        if let Some(after_ms) = restart_after_ms {
            let at_ns = now_ns + (after_ms * 1_000_000).max(RESTART_NS);
            self.schedule(at_ns, ScheduledEvent::Action(DeferredAction::Start(id)));
        }
    }
}

impl Kernel {
    /// Lets processes of this world crash at failpoints, as long as the guard lives.
    pub(super) fn watch_failpoints(self: &Arc<Self>) -> FailpointHook {
        let kernel = Arc::downgrade(self);
        let armed = self.with(|state, _| Arc::clone(&state.failpoints_armed));
        install_failpoint_hook(move |name| {
            // Most runs have none, and code comes by often.
            armed.load(Ordering::Relaxed)
                && kernel.upgrade().is_some_and(|kernel| {
                    let node = madsim::plugin::node();
                    kernel.with(|state, now_ns| state.passes_failpoint(now_ns, node, name))
                })
        })
    }

    /// Starts a process, unless it runs.
    pub(super) fn start(self: &Arc<Self>, id: ProcessId) {
        let (boot, incarnation, name) = {
            let started = self.with(|state, now_ns| {
                let process = &mut state.processes[id];
                if process.running {
                    return None;
                }
                let ready_at_ns = process.left_at_ns + RESTART_NS;
                if process.started && now_ns < ready_at_ns {
                    // A restart that was scheduled earlier came right after a crash.
                    state.schedule(
                        ready_at_ns,
                        ScheduledEvent::Action(DeferredAction::Start(id)),
                    );
                    return None;
                }
                process.begin_start();
                let (boot, incarnation) = (process.boot.clone(), process.incarnation);
                state.network.arrive_host(id, incarnation);
                state.record(now_ns, id, EventKind::Start { incarnation });
                state.journal.counters.add(Counter::ProcessStart);
                Some((boot, incarnation, state.name(id).to_owned()))
            });
            let Some(started) = started else { return };
            started
        };
        let process = self.handle(id, incarnation);
        // madsim starts a node that panicked anew after some seconds and cannot be told
        // otherwise; that second start must do nothing.
        let begun = AtomicBool::new(false);
        let handle = Handle::current();
        let mut builder = handle.create_node().name(name).init(move || {
            let again = begun.swap(true, Ordering::Relaxed);
            let (process, boot) = (process.clone(), boot.clone());
            async move {
                if again {
                    return;
                }
                let kernel = process.kernel.clone();
                let main = Box::pin(kernel.run_program(process, &boot));
                kernel.gated(id, main).await;
            }
        });
        if !self.stop_on_panic {
            builder = builder.restart_on_panic();
        }
        let node = builder.build().id();
        let paused = self.with(|state, _| {
            let process = &mut state.processes[id];
            process.node = Some(node);
            process.pauses > 0
        });
        if paused {
            handle.pause(node);
        }
    }

    async fn run_program(&self, process: ProcessHandle, boot: &Boot) {
        let (id, incarnation) = (process.id, process.incarnation);
        let outcome = if self.stop_on_panic {
            Ok(boot(process).await)
        } else {
            caught(|| boot(process)).await
        };
        let exit = match outcome {
            Ok(returned) => ProcessExit::Returned(returned),
            Err(text) => ProcessExit::Panicked(text),
        };
        self.with(|state, now_ns| {
            if state.processes[id].is_live(incarnation) {
                state.exit(now_ns, id, exit);
            }
        });
        // When this returns, madsim stops the other tasks of the node.
    }

    /// A task of a node panicked and madsim has stopped the node.
    fn node_panicked(&self, node: NodeId) {
        self.with(|state, now_ns| {
            if let Some(id) = state.processes.of_node(node) {
                let text = panic_text::take_last(None);
                state.exit(now_ns, id, ProcessExit::Panicked(text));
            }
        });
    }

    /// Crashes a process. If it does not run but its machine does, a loss of power still
    /// costs the page cache.
    pub(super) fn crash(&self, id: ProcessId, kind: CrashKind) {
        let node = self.with(|state, now_ns| {
            let running = state.processes[id].running;
            if running || (kind != CrashKind::Kill && state.network.is_up(id)) {
                state.crash(now_ns, id, kind);
            }
            state.processes[id].node.filter(|_| running)
        });
        if let Some(node) = node {
            Self::stop_tasks(node);
        }
    }

    /// Lets madsim drop all tasks of a node.
    pub(super) fn stop_tasks(node: NodeId) {
        let handle = Handle::current();
        // Tasks that wait because of a pause would be dropped inside madsim's lock.
        handle.resume(node);
        handle.kill(node);
    }

    /// Crashes a process if it runs, and starts it again a little later.
    pub(super) fn restart(&self, id: ProcessId, after_ns: u64) {
        let running = self.with(|state, _| state.processes[id].running);
        if running {
            self.crash(id, CrashKind::PowerLoss);
        }
        self.with(|state, now_ns| {
            state.schedule(
                now_ns + after_ns.max(RESTART_NS),
                ScheduledEvent::Action(DeferredAction::Start(id)),
            );
        });
    }

    /// Pauses a process, once more if it is paused.
    pub(super) fn pause(&self, id: ProcessId) {
        self.gates.pause(id, true);
        let node = self.with(|state, now_ns| {
            let process = &mut state.processes[id];
            process.pauses += 1;
            let node = process
                .node
                .filter(|_| process.running && process.pauses == 1);
            if node.is_some() {
                state.record(now_ns, id, EventKind::Pause);
                state.journal.counters.add(Counter::Pause);
            }
            node
        });
        if let Some(node) = node {
            Handle::current().pause(node);
        }
    }

    /// Takes one pause back; the process goes on if it was the last.
    pub(super) fn resume(&self, id: ProcessId) {
        let node = self.with(|state, now_ns| {
            let process = &mut state.processes[id];
            if process.pauses == 0 {
                return None;
            }
            process.pauses -= 1;
            let node = process
                .node
                .filter(|_| process.running && process.pauses == 0);
            if node.is_some() {
                state.record(now_ns, id, EventKind::Resume);
            }
            node
        });
        if let Some(node) = node {
            Handle::current().resume(node);
        }
        let goes_on = self.with(|state, _| state.processes[id].pauses == 0);
        if goes_on {
            self.gates.pause(id, false);
        }
    }

    /// Stops all processes without any record, at the end of the run.
    pub(super) fn stop_all(&self) {
        let nodes: Vec<NodeId> = self.with(|state, _| {
            let stop = |process: &mut Process| {
                process.running = false;
                process.node.take()
            };
            state.processes.iter_mut().filter_map(stop).collect()
        });
        nodes.into_iter().for_each(Self::stop_tasks);
    }
}

/// Runs a future to its end, or to its panic.
async fn caught(begin: impl FnOnce() -> BootFuture) -> Result<Result<(), String>, String> {
    let panicked = |payload: Box<dyn std::any::Any + Send>| panic_text::take_last(Some(&*payload));
    let mut future = catch_unwind(AssertUnwindSafe(begin)).map_err(panicked)?;
    std::future::poll_fn(move |context| {
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context)));
        match polled {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(returned)) => Poll::Ready(Ok(returned)),
            Err(payload) => Poll::Ready(Err(panicked(payload))),
        }
    })
    .await
}

/// Hears from madsim that a node was stopped, which it does when a task panics.
#[derive(Default)]
pub(super) struct NodeWatch {
    kernel: OnceLock<Weak<Kernel>>,
}

impl NodeWatch {
    /// Tells it which world the nodes belong to.
    pub(super) fn attach(&self, kernel: &Arc<Kernel>) {
        assert!(
            self.kernel.set(Arc::downgrade(kernel)).is_ok(),
            "one world for each runtime"
        );
    }
}

impl madsim::plugin::Simulator for NodeWatch {
    fn new(_: &madsim::rand::GlobalRng, _: &madsim::time::TimeHandle, _: &madsim::Config) -> Self {
        Self::default()
    }

    fn reset_node(&self, id: NodeId) {
        if let Some(kernel) = self.kernel.get().and_then(Weak::upgrade) {
            kernel.node_panicked(id);
        }
    }
}
