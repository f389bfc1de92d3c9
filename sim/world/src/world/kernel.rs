//! The heart of the world: all state behind one lock, and the pump that makes scheduled
//! events happen.
//!
//! Each scheduled event has exactly one timer in madsim. The timer's waker is the pump,
//! and waking the pump makes the *earliest* scheduled event happen, right there, without
//! a task: with as many timers as events, the k-th firing is the k-th event. Inside that
//! call madsim holds its timer lock, so new timers cannot be set; the times of events that
//! were scheduled there wait in `unarmed` until the reaper, or the next call into the world,
//! sets them.

use super::deferred::{ActionQueue, ActiveFault, DeferredAction};
use super::event_queue::EventQueue;
use super::gate::{Gate, Gates};
use super::layered::Layered;
use super::process::Processes;
use super::timer::{TimerId, Timers};
use crate::counter::{Counter, Counters};
use crate::disk::{DiskContext, DiskFaults, DiskModel};
use crate::fault::{FaultId, ProcessId};
use crate::network::{Delivery, NetworkContext, NetworkFaults, NetworkModel};
use crate::schedule::Schedule;
use crate::trace::{Decisions, EventKind, Journal, Recorder, Site};
use madsim::time::{Instant, Sleep, TimeHandle};
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

/// Something that is going to happen at a known time.
pub(super) enum ScheduledEvent {
    /// Something arrives over the network.
    Network(Delivery),
    /// A timer is due.
    Timer(TimerId),
    /// Something that the reaper has to do.
    Action(DeferredAction),
}

/// Everything there is in the world.
pub(super) struct State {
    event_queue: EventQueue<ScheduledEvent>,
    unarmed: Vec<u64>,
    scheduled: Vec<(u64, Delivery)>,
    sleep: Sleep,
    /// Digest, counters, events.
    pub(super) journal: Journal,
    /// Where random numbers come from.
    pub(super) decisions: Decisions,
    /// The network.
    pub(super) network: NetworkModel,
    /// How the network behaves, with what faults put on top.
    pub(super) network_faults: Layered<NetworkFaults>,
    /// How a new disk behaves and what it may hold at most.
    pub(super) default_disk: (DiskFaults, Option<u64>),
    /// All processes by number.
    pub(super) processes: Processes,
    /// Their names by number.
    pub(super) names: Vec<String>,
    /// Who waits for what time.
    pub(super) timers: Timers,
    /// Faults that have not ended.
    pub(super) active_faults: BTreeMap<FaultId, ActiveFault>,
    /// How many faults have been injected.
    pub(super) fault_count: u64,
    /// The actions that the reaper has to do.
    pub(super) reaper: ActionQueue,
    /// Whether a process was ever asked to crash at a failpoint.
    pub(super) failpoints_armed: Arc<AtomicBool>,
}

/// The world's state and its time.
pub(super) struct Kernel {
    state: Mutex<State>,
    time: TimeHandle,
    origin: Instant,
    pump: Waker,
    /// In front of the tasks of processes, if the schedule needs them.
    pub(super) gates: Arc<Gates>,
    /// The seed of the run.
    pub(super) seed: u64,
    /// Whether a panic in a process ends the run.
    pub(super) stop_on_panic: bool,
}

/// Who acts: a process, and which start of it.
#[derive(Clone)]
pub(super) struct ProcessHandle {
    /// The world.
    pub(super) kernel: Arc<Kernel>,
    /// The process.
    pub(super) id: ProcessId,
    /// Its start.
    pub(super) incarnation: u32,
}

impl ProcessHandle {
    /// Does something in the name of the process.
    ///
    /// # Errors
    /// If this start of the process is over. Its own tasks never see that, since they
    /// are not run any more.
    #[inline]
    pub(super) fn act<R>(&self, act: impl FnOnce(&mut State, u64) -> R) -> io::Result<R> {
        self.kernel.with(|state, now_ns| {
            if state
                .processes
                .get(self.id)
                .is_some_and(|process| process.is_live(self.incarnation))
            {
                Ok(act(state, now_ns))
            } else {
                Err(io::Error::new(
                    io::ErrorKind::NotConnected,
                    "this start of the process is over",
                ))
            }
        })
    }
}

/// The waker of all of the world's timers. Weak, or timers that never fire would keep
/// the world alive for ever.
struct Pump(Weak<Kernel>);

impl Wake for Pump {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Some(kernel) = self.0.upgrade() {
            kernel.happen();
        }
    }
}

impl Kernel {
    /// A world without processes. Has to be called inside the madsim runtime.
    pub(super) fn new(
        seed: u64,
        journal: Journal,
        decisions: Decisions,
        faults: NetworkFaults,
        schedule: &Schedule,
        stop_on_panic: bool,
    ) -> Arc<Self> {
        let time = TimeHandle::current();
        let origin = time.now_instant() - time.elapsed();
        Arc::new_cyclic(|weak: &Weak<Self>| {
            let state = State {
                event_queue: EventQueue::default(),
                unarmed: Vec::new(),
                scheduled: Vec::new(),
                sleep: time.sleep(Duration::ZERO),
                journal,
                decisions,
                network: NetworkModel::new(faults, schedule),
                network_faults: Layered::new(faults),
                default_disk: (DiskFaults::none(), None),
                processes: Processes::default(),
                names: Vec::new(),
                timers: Timers::default(),
                active_faults: BTreeMap::new(),
                fault_count: 0,
                reaper: ActionQueue::default(),
                failpoints_armed: Arc::default(),
            };
            Self {
                state: Mutex::new(state),
                origin,
                time,
                pump: Waker::from(Arc::new(Pump(weak.clone()))),
                gates: Gates::by(schedule),
                seed,
                stop_on_panic,
            }
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while the lock was held is on its way up already; what is dropped on
        // its way must not panic again.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The true time since the start of the run, in ns.
    #[inline]
    pub(super) fn now_ns(&self) -> u64 {
        let elapsed = self.time.elapsed();
        elapsed.as_secs() * 1_000_000_000 + u64::from(elapsed.subsec_nanos())
    }

    /// Does something with the state and the present time, and sets the timers of what
    /// was scheduled. Never call it from a waker.
    #[inline]
    pub(super) fn with<R>(&self, act: impl FnOnce(&mut State, u64) -> R) -> R {
        let mut state = self.lock();
        let now_ns = self.now_ns();
        let result = act(&mut state, now_ns);
        if !state.unarmed.is_empty() {
            self.arm(&mut state, now_ns);
        }
        result
    }

    fn arm(&self, state: &mut State, now_ns: u64) {
        while let Some(at_ns) = state.unarmed.pop() {
            // `Sleep` sets no timer for a time that has passed.
            let deadline = self.origin + Duration::from_nanos(at_ns.max(now_ns + 1));
            let mut sleep = Pin::new(&mut state.sleep);
            // Unlike `sleep_until`, `reset` knows no least duration.
            sleep.as_mut().reset(deadline);
            let set = sleep
                .poll(&mut Context::from_waker(&self.pump))
                .is_pending();
            assert!(set, "a deadline ahead is waited for");
        }
    }

    /// One of the world's timers has fired: the earliest scheduled event happens.
    fn happen(&self) {
        let mut state = self.lock();
        let state = &mut *state;
        let Some((at_ns, event)) = state.event_queue.pop() else {
            return;
        };
        match event {
            ScheduledEvent::Network(delivery) => {
                state.on_network(at_ns, |network, context| network.arrive(context, delivery));
            }
            ScheduledEvent::Timer(timer) => state.timers.fire(timer, at_ns),
            ScheduledEvent::Action(action) => state.reaper.add(action),
        }
        if !state.unarmed.is_empty() {
            state.reaper.wake();
        }
    }

    /// One start of a process, to act in its name.
    pub(super) fn handle(self: &Arc<Self>, id: ProcessId, incarnation: u32) -> ProcessHandle {
        ProcessHandle {
            kernel: Arc::clone(self),
            id,
            incarnation,
        }
    }

    /// A gate in front of a task of this process.
    pub(super) fn gated<F>(&self, process: ProcessId, task: F) -> Gate<F> {
        if self.gates.leave_order_to_chance() {
            return self.gates.gate(process, 0, task);
        }
        let priority = self.with(|state, now_ns| {
            let incarnation = state.processes[process].incarnation;
            let site = Site::TaskPriority {
                process,
                incarnation,
            };
            state.decisions.draw(site, now_ns, 0).next_u64() as u32
        });
        self.gates.gate(process, priority, task)
    }

    /// What happened how often so far.
    pub(super) fn counters(&self) -> Counters {
        let mut counters = self.with(|state, _| {
            let mut counters = state.journal.counters.clone();
            state.network.count(&mut counters);
            counters
        });
        if !self.gates.leave_order_to_chance() {
            let counts = self.gates.counts();
            counters.set(Counter::TaskChoice, counts.choices);
            counters.set(Counter::TaskChange, counts.changes);
        }
        counters
    }

    /// Forgets everything, so that programs and their captures can be dropped: they may
    /// hold the world themselves.
    pub(super) fn dismantle(&self) {
        let taken = {
            let mut state = self.lock();
            (
                std::mem::take(&mut state.event_queue),
                std::mem::take(&mut state.processes),
                std::mem::take(&mut state.network),
                std::mem::take(&mut state.timers),
            )
        };
        drop(taken);
        self.gates.dismantle();
    }
}

impl State {
    /// Schedules an event for `at_ns`.
    #[inline]
    pub(super) fn schedule(&mut self, at_ns: u64, event: ScheduledEvent) {
        self.event_queue.add(at_ns, event);
        self.unarmed.push(at_ns);
    }

    /// Does something with the network and schedules the deliveries that follow from it.
    #[inline]
    pub(super) fn on_network<R>(
        &mut self,
        now_ns: u64,
        act: impl FnOnce(&mut NetworkModel, &mut NetworkContext<'_>) -> R,
    ) -> R {
        let mut scheduled = std::mem::take(&mut self.scheduled);
        let result = act(
            &mut self.network,
            &mut NetworkContext {
                decisions: &mut self.decisions,
                recorder: Recorder {
                    now_ns,
                    journal: &mut self.journal,
                },
                scheduled: &mut scheduled,
            },
        );
        for (at_ns, delivery) in scheduled.drain(..) {
            self.schedule(at_ns, ScheduledEvent::Network(delivery));
        }
        self.scheduled = scheduled;
        result
    }

    /// Does something with the disk of a process; what it draws is decided at `site`.
    #[inline]
    pub(super) fn on_disk<R>(
        &mut self,
        now_ns: u64,
        process: ProcessId,
        site: Site,
        act: impl FnOnce(&mut DiskModel, &mut DiskContext<'_>) -> R,
    ) -> R {
        let mut context = DiskContext {
            process,
            rng: &mut self.decisions.draw(site, now_ns, 0),
            recorder: Recorder {
                now_ns,
                journal: &mut self.journal,
            },
        };
        act(&mut self.processes[process].disk, &mut context)
    }

    /// Sets a timer by the monotonic clock of a process.
    pub(super) fn add_local_timer(
        &mut self,
        process: ProcessId,
        deadline_ns: u64,
        waker: Waker,
    ) -> TimerId {
        let due_ns = self.processes[process].clock.true_time_of(deadline_ns);
        self.add_timer(Some((process.index(), deadline_ns)), due_ns, waker)
    }

    /// Sets a timer by true time.
    pub(super) fn add_true_timer(&mut self, due_ns: u64, waker: Waker) -> TimerId {
        self.add_timer(None, Some(due_ns), waker)
    }

    fn add_timer(
        &mut self,
        local: Option<(usize, u64)>,
        due_ns: Option<u64>,
        waker: Waker,
    ) -> TimerId {
        let id = self.timers.add(local, due_ns, waker);
        if let Some(due_ns) = due_ns {
            self.schedule(due_ns, ScheduledEvent::Timer(id));
        }
        id
    }

    /// The clock of a process has changed: its timers are set anew.
    pub(super) fn reset_timers(&mut self, process: ProcessId) {
        let clock = &self.processes[process].clock;
        let mut due = Vec::new();
        for (id, deadline_ns, timer) in self.timers.of_process(process.index()) {
            let due_ns = clock.true_time_of(deadline_ns);
            if timer.due_ns != due_ns {
                timer.due_ns = due_ns;
                due.extend(due_ns.map(|due_ns| (id, due_ns)));
            }
        }
        for (id, due_ns) in due {
            self.schedule(due_ns, ScheduledEvent::Timer(id));
        }
    }

    /// Records an event of a process.
    pub(super) fn record(&mut self, now_ns: u64, process: ProcessId, kind: EventKind) {
        self.journal.record(now_ns, Some(process), kind);
    }
}
