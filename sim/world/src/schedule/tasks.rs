//! The task scheduler: which of the runnable tasks runs next, and which are held.
//!
//! The executor polls ready tasks at random; the gate in front of each task asks here whether
//! the task may run. Where the order is left to chance, it may unless it is held. Where it is
//! not, the chosen one has been woken as long as some task is runnable.

use super::Schedule;
use crate::fault::ProcessId;
use std::collections::BTreeSet;
use std::task::Waker;

/// A task that was passed over this often goes first: tasks that wake each other for ever
/// must not keep the others from running.
const PASSED_OVER_MAX: u32 = 1_000;

/// Names a gated task: its slot, and how many tasks have had this slot before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TaskId {
    slot: u32,
    generation: u32,
}

/// The tasks by slot; the slot of a task that is gone is given to another one.
#[derive(Debug, Default)]
struct TaskSlots {
    slots: Vec<(u32, Option<Task>)>,
    free: Vec<u32>,
}

impl TaskSlots {
    fn insert(&mut self, task: Task) -> TaskId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push((0, None));
            u32::try_from(self.slots.len() - 1).expect("fewer tasks than 2^32 at a time")
        });
        let (generation, held) = &mut self.slots[slot as usize];
        *held = Some(task);
        TaskId {
            slot,
            generation: *generation,
        }
    }

    fn remove(&mut self, id: TaskId) -> Option<Task> {
        let (generation, held) = self.slots.get_mut(id.slot as usize)?;
        if *generation != id.generation {
            return None;
        }
        let task = held.take()?;
        *generation += 1;
        self.free.push(id.slot);
        Some(task)
    }

    /// The tasks of a process, each with its number in the order in which tasks were made.
    fn of(&self, process: ProcessId) -> Vec<(u64, TaskId)> {
        let slots = (0..).zip(&self.slots);
        let own = slots.filter_map(|(slot, (generation, task))| {
            let task = task.as_ref().filter(|task| task.process == process)?;
            let generation = *generation;
            Some((task.number, TaskId { slot, generation }))
        });
        own.collect()
    }

    fn get(&self, id: TaskId) -> Option<&Task> {
        let (generation, task) = self.slots.get(id.slot as usize)?;
        task.as_ref().filter(|_| *generation == id.generation)
    }

    fn get_mut(&mut self, id: TaskId) -> Option<&mut Task> {
        let (generation, task) = self.slots.get_mut(id.slot as usize)?;
        task.as_mut().filter(|_| *generation == id.generation)
    }
}

#[derive(Debug)]
struct Task {
    process: ProcessId,
    /// Its number in the order in which tasks were made.
    number: u64,
    /// The higher, the sooner.
    priority: i64,
    /// What wakes it in the executor; none until the executor has polled it once, which it
    /// does in any case.
    waker: Option<Waker>,
    is_runnable: bool,
}

/// A task that wants to run.
#[derive(Clone, Copy, Debug)]
struct Runnable {
    id: TaskId,
    /// The process of the task.
    process: ProcessId,
    /// The priority of the task.
    priority: i64,
    /// Its number in the order in which tasks became runnable, or were put off.
    since: u64,
    /// It was woken while it ran: it gives way to the others once.
    yields: bool,
    passed_over: u32,
}

/// What is decided at a choice.
#[derive(Debug)]
enum Rule {
    /// Nothing: whichever task the executor polls runs. No task is ever listed as runnable.
    Chance,
    Priorities {
        changes: BTreeSet<u64>,
    },
    FirstCome {
        delays: BTreeSet<u64>,
    },
}

/// How often something was decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TaskCounts {
    /// Choices between several runnable tasks.
    pub(crate) choices: u64,
    /// TaskSlots that were put last, or off.
    pub(crate) changes: u64,
}

/// All gated tasks, and which of them runs next.
#[derive(Debug)]
pub(crate) struct TaskScheduler {
    rule: Rule,
    tasks: TaskSlots,
    runnable: Vec<Runnable>,
    paused: BTreeSet<ProcessId>,
    /// The tasks that get no time, once for each fault that holds them.
    held: Vec<TaskId>,
    /// The task that runs next, while nothing has changed since that was decided.
    chosen: Option<TaskId>,
    running: Option<TaskId>,
    next_since: u64,
    /// How many tasks there were so far.
    tasks_made: u64,
    /// The lowest priority that was given so far.
    lowest: i64,
    counts: TaskCounts,
}

impl TaskScheduler {
    /// The scheduler for this schedule.
    pub(crate) fn by(schedule: &Schedule) -> Self {
        let rule = match schedule {
            Schedule::Uniform => Rule::Chance,
            Schedule::Pct(pct) => Rule::Priorities {
                changes: pct.task_changes.iter().copied().collect(),
            },
            Schedule::DelayBounded(delays) => Rule::FirstCome {
                delays: delays.task_delays.iter().copied().collect(),
            },
        };
        Self {
            rule,
            tasks: TaskSlots::default(),
            runnable: Vec::new(),
            paused: BTreeSet::new(),
            held: Vec::new(),
            chosen: None,
            running: None,
            next_since: 0,
            tasks_made: 0,
            lowest: 0,
            counts: TaskCounts::default(),
        }
    }

    /// Whether the order of tasks is left to chance: tasks have no priorities then, and it
    /// need not be told that one is woken.
    pub(crate) const fn leaves_order_to_chance(&self) -> bool {
        matches!(self.rule, Rule::Chance)
    }

    /// A new task, which is runnable. Its priority is above 0.
    pub(crate) fn add(&mut self, process: ProcessId, priority: u32) -> TaskId {
        self.tasks_made += 1;
        let task = Task {
            process,
            number: self.tasks_made,
            priority: i64::from(priority) + 1,
            waker: None,
            is_runnable: false,
        };
        let id = self.tasks.insert(task);
        if !self.leaves_order_to_chance() {
            self.make_runnable(id);
        }
        id
    }

    /// The process of the task that runs now, if one does.
    pub(crate) fn process_here(&self) -> Option<ProcessId> {
        Some(self.tasks.get(self.running?)?.process)
    }

    fn make_runnable(&mut self, id: TaskId) {
        debug_assert!(
            !self.leaves_order_to_chance(),
            "nobody chooses from the list"
        );
        let Some(task) = self.tasks.get_mut(id) else {
            return;
        };
        if std::mem::replace(&mut task.is_runnable, true) {
            return;
        }
        let since = self.next_since;
        self.next_since += 1;
        self.chosen = None;
        self.runnable.push(Runnable {
            id,
            process: task.process,
            priority: task.priority,
            since,
            yields: self.running == Some(id),
            passed_over: 0,
        });
    }

    /// A task is woken: what to wake in the executor.
    pub(crate) fn wake(&mut self, id: TaskId) -> Option<Waker> {
        self.make_runnable(id);
        self.tasks.get(id)?.waker.clone()
    }

    /// A task is polled by the executor, where `waker` wakes it. It may run, or else the
    /// error is what has to be woken instead.
    pub(crate) fn offer(&mut self, id: TaskId, waker: &Waker) -> Result<(), Option<Waker>> {
        if self.leaves_order_to_chance() && !self.held.contains(&id) {
            self.running = Some(id);
            return Ok(());
        }
        if let Some(task) = self.tasks.get_mut(id) {
            match &mut task.waker {
                Some(known) if known.will_wake(waker) => {}
                slot => *slot = Some(waker.clone()),
            }
        }
        if self.leaves_order_to_chance() {
            if let Some(task) = self.tasks.get_mut(id) {
                task.is_runnable = true;
            }
            return Err(None);
        }
        if self.choose() != Some(id) {
            return Err(self.next_waker());
        }
        self.chosen = None;
        self.runnable.retain(|other| other.id != id);
        if let Some(task) = self.tasks.get_mut(id) {
            task.is_runnable = false;
        }
        self.running = Some(id);
        Ok(())
    }

    /// The task that ran is pending again: what is to be woken next.
    pub(crate) fn end_run(&mut self) -> Option<Waker> {
        self.running = None;
        self.next_waker()
    }

    /// A task is gone: what is to be woken next.
    pub(crate) fn remove(&mut self, id: TaskId) -> Option<Waker> {
        self.tasks.remove(id);
        self.runnable.retain(|other| other.id != id);
        self.held.retain(|other| *other != id);
        if self.running == Some(id) {
            self.running = None;
        }
        if self.chosen == Some(id) {
            self.chosen = None;
        }
        self.next_waker()
    }

    /// A process is paused, or goes on: what is to be woken next.
    pub(crate) fn pause(&mut self, process: ProcessId, paused: bool) -> Option<Waker> {
        if paused {
            self.paused.insert(process);
        } else {
            self.paused.remove(&process);
        }
        self.chosen = None;
        self.next_waker()
    }

    /// Holds a task of a process until it is released: the one with this number among those
    /// that there are now, in the order in which they were made, counted round. None if it has
    /// no task. Besides, what is to be woken next.
    pub(crate) fn hold(
        &mut self,
        process: ProcessId,
        number: u32,
    ) -> (Option<TaskId>, Option<Waker>) {
        let mut own = self.tasks.of(process);
        if own.is_empty() {
            return (None, None);
        }
        own.sort_unstable_by_key(|(number, _)| *number);
        let (_, id) = own[number as usize % own.len()];
        self.held.push(id);
        self.chosen = None;
        (Some(id), self.next_waker())
    }

    /// Takes one hold of a task back: what is to be woken next.
    pub(crate) fn release(&mut self, id: TaskId) -> Option<Waker> {
        let at = self.held.iter().position(|held| *held == id)?;
        self.held.swap_remove(at);
        if !self.leaves_order_to_chance() {
            self.chosen = None;
            return self.next_waker();
        }
        if self.held.contains(&id) {
            return None;
        }
        let task = self.tasks.get_mut(id)?;
        let was_polled = std::mem::replace(&mut task.is_runnable, false);
        task.waker.take().filter(|_| was_polled)
    }

    /// How often something was decided.
    pub(crate) const fn counts(&self) -> TaskCounts {
        self.counts
    }

    /// Forgets all tasks; what they hold is handed over, to be dropped outside of any lock.
    pub(crate) fn dismantle(&mut self) -> impl Sized + use<> {
        self.runnable.clear();
        self.held.clear();
        self.chosen = None;
        std::mem::take(&mut self.tasks)
    }

    fn next_waker(&mut self) -> Option<Waker> {
        let next = self.choose()?;
        self.tasks.get(next)?.waker.clone()
    }

    /// Chooses the task that runs next.
    fn choose(&mut self) -> Option<TaskId> {
        if self.chosen.is_some() {
            return self.chosen;
        }
        let (mut first, eligible) = self.first()?;
        if eligible > 1 {
            let number = self.counts.choices;
            self.counts.choices += 1;
            if self.put_back(number, first) {
                self.counts.changes += 1;
                first = self.first()?.0;
            }
            for other in &mut self.runnable {
                other.passed_over += 1;
            }
        }
        self.chosen = Some(self.runnable[first].id);
        self.chosen
    }

    /// The runnable task that goes first, by its index, and among how many.
    fn first(&self) -> Option<(usize, usize)> {
        let Self {
            rule,
            runnable,
            paused,
            held,
            ..
        } = self;
        let mut eligible = 0;
        let mut best: Option<(usize, (bool, bool, i64, u64))> = None;
        for (index, candidate) in runnable.iter().enumerate() {
            if paused.contains(&candidate.process) || held.contains(&candidate.id) {
                continue;
            }
            eligible += 1;
            let urgency = match rule {
                Rule::Priorities { .. } => -candidate.priority,
                Rule::FirstCome { .. } | Rule::Chance => 0,
            };
            let key = (
                candidate.passed_over < PASSED_OVER_MAX,
                candidate.yields,
                urgency,
                candidate.since,
            );
            if best.is_none_or(|(_, known)| key < known) {
                best = Some((index, key));
            }
        }
        best.map(|(index, _)| (index, eligible))
    }

    /// Puts the task with this index last if the schedule says so for this choice.
    fn put_back(&mut self, number: u64, index: usize) -> bool {
        let candidate = &mut self.runnable[index];
        match &self.rule {
            Rule::Priorities { changes } if changes.contains(&number) => {
                self.lowest -= 1;
                candidate.priority = self.lowest;
                if let Some(task) = self.tasks.get_mut(candidate.id) {
                    task.priority = self.lowest;
                }
                true
            }
            Rule::FirstCome { delays } if delays.contains(&number) => {
                candidate.since = self.next_since;
                self.next_since += 1;
                true
            }
            Rule::Chance | Rule::Priorities { .. } | Rule::FirstCome { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::{DelayBounded, Pct};

    const A: ProcessId = ProcessId(0);
    const B: ProcessId = ProcessId(1);

    fn by_priorities(task_changes: Vec<u64>) -> TaskScheduler {
        let pct = Pct {
            task_changes,
            ..Pct::default()
        };
        TaskScheduler::by(&Schedule::Pct(pct))
    }

    fn first_come(task_delays: Vec<u64>) -> TaskScheduler {
        let delays = DelayBounded {
            task_delays,
            ..DelayBounded::default()
        };
        TaskScheduler::by(&Schedule::DelayBounded(delays))
    }

    /// Polls all tasks until none may run, each task running once for each time it was woken;
    /// the order in which they ran.
    fn run(scheduler: &mut TaskScheduler, tasks: &[TaskId]) -> Vec<TaskId> {
        let mut ran = Vec::new();
        while let Some(id) = tasks
            .iter()
            .find(|id| scheduler.offer(**id, Waker::noop()).is_ok())
        {
            ran.push(*id);
            scheduler.end_run();
        }
        ran
    }

    #[test]
    fn where_chance_decides_every_task_runs_that_is_polled() {
        let mut scheduler = TaskScheduler::by(&Schedule::Uniform);
        let tasks = [scheduler.add(A, 1), scheduler.add(B, 2)];
        for id in [tasks[1], tasks[0], tasks[0]] {
            assert!(scheduler.offer(id, Waker::noop()).is_ok());
            assert!(scheduler.end_run().is_none());
        }
    }

    #[test]
    fn a_held_task_does_not_run_until_all_that_hold_it_have_released_it() {
        for schedule in [
            Schedule::Uniform,
            Schedule::Pct(Pct::default()),
            Schedule::DelayBounded(DelayBounded::default()),
        ] {
            let mut scheduler = TaskScheduler::by(&schedule);
            let tasks = [
                scheduler.add(A, 2),
                scheduler.add(B, 1),
                scheduler.add(A, 3),
            ];
            let offer = |scheduler: &mut TaskScheduler, id| {
                let may_run = scheduler.offer(id, Waker::noop()).is_ok();
                scheduler.end_run();
                may_run
            };
            assert_eq!(scheduler.hold(A, 3).0, Some(tasks[2]), "counted round");
            scheduler.hold(A, 1);
            assert!(!offer(&mut scheduler, tasks[2]), "{schedule}");
            assert!(offer(&mut scheduler, tasks[0]), "its other tasks go on");
            assert!(offer(&mut scheduler, tasks[1]), "and so do other processes");
            scheduler.release(tasks[2]);
            assert!(!offer(&mut scheduler, tasks[2]), "another one holds it");
            assert!(scheduler.release(tasks[2]).is_some(), "it is woken");
            assert!(offer(&mut scheduler, tasks[2]));
        }
    }

    #[test]
    fn a_held_task_that_was_not_polled_is_not_woken_when_it_is_released() {
        let mut scheduler = TaskScheduler::by(&Schedule::Uniform);
        let task = scheduler.add(A, 1);
        scheduler.hold(A, 0);
        assert!(scheduler.release(task).is_none());
        assert!(scheduler.offer(task, Waker::noop()).is_ok());
    }

    #[test]
    fn a_process_without_tasks_has_none_to_hold() {
        let mut scheduler = TaskScheduler::by(&Schedule::Uniform);
        let task = scheduler.add(A, 1);
        assert_eq!(scheduler.hold(B, 0).0, None);
        scheduler.remove(task);
        assert_eq!(scheduler.hold(A, 0).0, None);
    }

    #[test]
    fn the_highest_priority_goes_first() {
        let mut scheduler = by_priorities(Vec::new());
        let tasks = [
            scheduler.add(A, 1),
            scheduler.add(A, 3),
            scheduler.add(B, 2),
        ];
        assert_eq!(run(&mut scheduler, &tasks), [tasks[1], tasks[2], tasks[0]]);
        scheduler.wake(tasks[0]);
        scheduler.wake(tasks[2]);
        assert_eq!(run(&mut scheduler, &tasks), [tasks[2], tasks[0]]);
    }

    #[test]
    fn a_change_puts_the_task_last_for_good() {
        let mut scheduler = by_priorities(vec![0]);
        let tasks = [
            scheduler.add(A, 1),
            scheduler.add(A, 3),
            scheduler.add(B, 2),
        ];
        assert_eq!(run(&mut scheduler, &tasks), [tasks[2], tasks[0], tasks[1]]);
        for id in tasks {
            scheduler.wake(id);
        }
        assert_eq!(run(&mut scheduler, &tasks), [tasks[2], tasks[0], tasks[1]]);
        assert_eq!(scheduler.counts().changes, 1);
    }

    #[test]
    fn who_comes_first_is_served_first_but_for_who_is_put_off() {
        let mut scheduler = first_come(Vec::new());
        let tasks = [
            scheduler.add(A, 1),
            scheduler.add(A, 3),
            scheduler.add(B, 2),
        ];
        assert_eq!(run(&mut scheduler, &tasks), tasks);
        let mut scheduler = first_come(vec![1]);
        let tasks = [
            scheduler.add(A, 1),
            scheduler.add(A, 3),
            scheduler.add(B, 2),
        ];
        assert_eq!(run(&mut scheduler, &tasks), [tasks[0], tasks[2], tasks[1]]);
    }

    #[test]
    fn a_task_that_yields_gives_way_once() {
        let mut scheduler = by_priorities(Vec::new());
        let (low, high) = (scheduler.add(A, 1), scheduler.add(A, 2));
        assert!(scheduler.offer(high, Waker::noop()).is_ok());
        scheduler.wake(high);
        scheduler.end_run();
        assert!(scheduler.offer(high, Waker::noop()).is_err());
        assert!(scheduler.offer(low, Waker::noop()).is_ok());
        scheduler.end_run();
        assert!(scheduler.offer(high, Waker::noop()).is_ok());
    }

    #[test]
    fn tasks_that_wake_each_other_for_ever_do_not_starve_the_others() {
        let mut scheduler = by_priorities(Vec::new());
        let low = scheduler.add(A, 1);
        let loud = [scheduler.add(A, 2), scheduler.add(A, 3)];
        let mut rounds = 0;
        while scheduler.offer(low, Waker::noop()).is_err() {
            rounds += 1;
            assert!(rounds < 10 * PASSED_OVER_MAX, "it never runs");
            for (id, other) in [(loud[0], loud[1]), (loud[1], loud[0])] {
                if scheduler.offer(id, Waker::noop()).is_ok() {
                    scheduler.wake(other);
                    scheduler.end_run();
                }
            }
        }
        assert!(rounds > 100);
    }

    #[test]
    fn tasks_of_a_paused_process_hold_nobody_up() {
        let mut scheduler = by_priorities(Vec::new());
        let tasks = [scheduler.add(A, 1), scheduler.add(B, 2)];
        scheduler.pause(B, true);
        assert_eq!(run(&mut scheduler, &tasks), [tasks[0]]);
        scheduler.pause(B, false);
        assert_eq!(run(&mut scheduler, &tasks), [tasks[1]]);
    }

    #[test]
    fn the_process_of_the_task_that_runs_is_known_and_nothing_is_left_at_the_end() {
        let mut scheduler = by_priorities(Vec::new());
        let task = scheduler.add(B, 1);
        assert_eq!(scheduler.process_here(), None);
        assert!(scheduler.offer(task, Waker::noop()).is_ok());
        assert_eq!(scheduler.process_here(), Some(B));
        drop(scheduler.dismantle());
        assert_eq!(scheduler.process_here(), None);
        assert!(scheduler.offer(task, Waker::noop()).is_err());
    }

    #[test]
    fn a_task_that_is_gone_holds_nobody_up() {
        let mut scheduler = by_priorities(Vec::new());
        let tasks = [scheduler.add(A, 1), scheduler.add(B, 2)];
        scheduler.remove(tasks[1]);
        assert_eq!(run(&mut scheduler, &tasks), [tasks[0]]);
    }
}
