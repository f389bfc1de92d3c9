//! Whose turn it is among the runnable tasks.
//!
//! The executor offers turns at random; the gate in front of each task asks here whether
//! it may take the one it was offered. What is asked for is kept: as long as some task is
//! runnable, the one whose turn it is has been woken.

use super::Schedule;
use crate::fault::ProcessId;
use std::collections::BTreeSet;
use std::task::Waker;

/// A task that was passed over this often goes first: tasks that wake each other for ever
/// must not keep the others from their turn.
const PASSED_OVER_MAX: u32 = 1_000;

/// Names a gated task: a place, and the how manieth task it is that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TaskId {
    place: u32,
    tenant: u32,
}

/// The tasks by place; a place is given to another task when one is gone.
#[derive(Debug, Default)]
struct Tasks {
    places: Vec<(u32, Option<Task>)>,
    free: Vec<u32>,
}

impl Tasks {
    fn insert(&mut self, task: Task) -> TaskId {
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push((0, None));
            u32::try_from(self.places.len() - 1).expect("fewer tasks than 2^32 at a time")
        });
        let (tenant, held) = &mut self.places[place as usize];
        *held = Some(task);
        TaskId {
            place,
            tenant: *tenant,
        }
    }

    fn remove(&mut self, id: TaskId) -> Option<Task> {
        let (tenant, held) = self.places.get_mut(id.place as usize)?;
        if *tenant != id.tenant {
            return None;
        }
        let task = held.take()?;
        *tenant += 1;
        self.free.push(id.place);
        Some(task)
    }

    fn get(&self, id: TaskId) -> Option<&Task> {
        let (tenant, task) = self.places.get(id.place as usize)?;
        task.as_ref().filter(|_| *tenant == id.tenant)
    }

    fn get_mut(&mut self, id: TaskId) -> Option<&mut Task> {
        let (tenant, task) = self.places.get_mut(id.place as usize)?;
        task.as_mut().filter(|_| *tenant == id.tenant)
    }
}

#[derive(Debug)]
struct Task {
    process: ProcessId,
    /// The higher, the sooner.
    priority: i64,
    /// What wakes it in the executor; none until it was offered its first turn, which it
    /// is in any case.
    waker: Option<Waker>,
    is_runnable: bool,
}

/// A task that wants to run.
#[derive(Clone, Copy, Debug)]
struct Runnable {
    id: TaskId,
    /// That of the task.
    process: ProcessId,
    /// That of the task.
    priority: i64,
    /// The order in which they became so, or were put off.
    since: u64,
    /// It was woken during its own turn: it gives way to the others once.
    yields: bool,
    passed_over: u32,
}

/// What is decided at a choice.
#[derive(Debug)]
enum Rule {
    Priorities { changes: BTreeSet<u64> },
    FirstCome { delays: BTreeSet<u64> },
}

/// How often something was decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TurnCounts {
    /// Choices between several runnable tasks.
    pub(crate) choices: u64,
    /// Tasks that were put last, or off.
    pub(crate) changes: u64,
}

/// All gated tasks, and whose turn it is.
#[derive(Debug)]
pub(crate) struct Turns {
    rule: Rule,
    tasks: Tasks,
    runnable: Vec<Runnable>,
    paused: BTreeSet<ProcessId>,
    /// Whose turn it is, while nothing has changed since that was decided.
    chosen: Option<TaskId>,
    running: Option<TaskId>,
    next_since: u64,
    /// The lowest priority that was given so far.
    lowest: i64,
    counts: TurnCounts,
}

impl Turns {
    /// Turns by this schedule; none if it needs no gates.
    pub(crate) fn by(schedule: &Schedule) -> Option<Self> {
        let rule = match schedule {
            Schedule::Uniform => return None,
            Schedule::Pct(pct) => Rule::Priorities {
                changes: pct.task_changes.iter().copied().collect(),
            },
            Schedule::DelayBounded(delays) => Rule::FirstCome {
                delays: delays.task_delays.iter().copied().collect(),
            },
        };
        Some(Self {
            rule,
            tasks: Tasks::default(),
            runnable: Vec::new(),
            paused: BTreeSet::new(),
            chosen: None,
            running: None,
            next_since: 0,
            lowest: 0,
            counts: TurnCounts::default(),
        })
    }

    /// A new task, which is runnable. Its priority is above 0.
    pub(crate) fn add(&mut self, process: ProcessId, priority: u32) -> TaskId {
        let task = Task {
            process,
            priority: i64::from(priority) + 1,
            waker: None,
            is_runnable: false,
        };
        let id = self.tasks.insert(task);
        self.make_runnable(id);
        id
    }

    /// The process of the task that runs now, if one does.
    pub(crate) fn process_here(&self) -> Option<ProcessId> {
        Some(self.tasks.get(self.running?)?.process)
    }

    fn make_runnable(&mut self, id: TaskId) {
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

    /// A task is offered a turn by the executor, which `waker` wakes it in. Whether it may
    /// take it; if not, what is to be woken instead.
    pub(crate) fn offer(&mut self, id: TaskId, waker: &Waker) -> Result<(), Option<Waker>> {
        if let Some(task) = self.tasks.get_mut(id) {
            match &mut task.waker {
                Some(known) if known.will_wake(waker) => {}
                slot => *slot = Some(waker.clone()),
            }
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

    /// The turn of the task that ran is over: what is to be woken next.
    pub(crate) fn end_turn(&mut self) -> Option<Waker> {
        self.running = None;
        self.next_waker()
    }

    /// A task is gone: what is to be woken next.
    pub(crate) fn remove(&mut self, id: TaskId) -> Option<Waker> {
        self.tasks.remove(id);
        self.runnable.retain(|other| other.id != id);
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

    /// How often something was decided.
    pub(crate) const fn counts(&self) -> TurnCounts {
        self.counts
    }

    /// Forgets all tasks; what they hold is handed over, to be dropped outside of any lock.
    pub(crate) fn dismantle(&mut self) -> impl Sized + use<> {
        self.runnable.clear();
        self.chosen = None;
        std::mem::take(&mut self.tasks)
    }

    fn next_waker(&mut self) -> Option<Waker> {
        let next = self.choose()?;
        self.tasks.get(next)?.waker.clone()
    }

    /// Whose turn it is.
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

    /// The runnable task that goes first, by its place, and among how many.
    fn first(&self) -> Option<(usize, usize)> {
        let Self {
            rule,
            runnable,
            paused,
            ..
        } = self;
        let mut eligible = 0;
        let mut best: Option<(usize, (bool, bool, i64, u64))> = None;
        for (place, candidate) in runnable.iter().enumerate() {
            if paused.contains(&candidate.process) {
                continue;
            }
            eligible += 1;
            let urgency = match rule {
                Rule::Priorities { .. } => -candidate.priority,
                Rule::FirstCome { .. } => 0,
            };
            let key = (
                candidate.passed_over < PASSED_OVER_MAX,
                candidate.yields,
                urgency,
                candidate.since,
            );
            if best.is_none_or(|(_, known)| key < known) {
                best = Some((place, key));
            }
        }
        best.map(|(place, _)| (place, eligible))
    }

    /// Puts the task at this place last if the schedule says so for this choice.
    fn put_back(&mut self, number: u64, place: usize) -> bool {
        match &self.rule {
            Rule::Priorities { changes } if changes.contains(&number) => {
                self.lowest -= 1;
                let candidate = &mut self.runnable[place];
                candidate.priority = self.lowest;
                if let Some(task) = self.tasks.get_mut(candidate.id) {
                    task.priority = self.lowest;
                }
                true
            }
            Rule::FirstCome { delays } if delays.contains(&number) => {
                self.runnable[place].since = self.next_since;
                self.next_since += 1;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::{DelayBounded, Pct};

    const A: ProcessId = ProcessId(0);
    const B: ProcessId = ProcessId(1);

    fn by_priorities(task_changes: Vec<u64>) -> Turns {
        let pct = Pct {
            task_changes,
            ..Pct::default()
        };
        Turns::by(&Schedule::Pct(pct)).expect("it needs gates")
    }

    fn first_come(task_delays: Vec<u64>) -> Turns {
        let delays = DelayBounded {
            task_delays,
            ..DelayBounded::default()
        };
        Turns::by(&Schedule::DelayBounded(delays)).expect("it needs gates")
    }

    /// Offers turns to all tasks until nobody takes one, each task running once for each
    /// time it was woken; the order in which they ran.
    fn run(turns: &mut Turns, tasks: &[TaskId]) -> Vec<TaskId> {
        let mut ran = Vec::new();
        while let Some(id) = tasks
            .iter()
            .find(|id| turns.offer(**id, Waker::noop()).is_ok())
        {
            ran.push(*id);
            turns.end_turn();
        }
        ran
    }

    #[test]
    fn a_uniform_schedule_needs_no_gates() {
        assert!(Turns::by(&Schedule::Uniform).is_none());
    }

    #[test]
    fn the_highest_priority_goes_first() {
        let mut turns = by_priorities(Vec::new());
        let tasks = [turns.add(A, 1), turns.add(A, 3), turns.add(B, 2)];
        assert_eq!(run(&mut turns, &tasks), [tasks[1], tasks[2], tasks[0]]);
        turns.wake(tasks[0]);
        turns.wake(tasks[2]);
        assert_eq!(run(&mut turns, &tasks), [tasks[2], tasks[0]]);
    }

    #[test]
    fn a_change_puts_the_task_last_for_good() {
        let mut turns = by_priorities(vec![0]);
        let tasks = [turns.add(A, 1), turns.add(A, 3), turns.add(B, 2)];
        assert_eq!(run(&mut turns, &tasks), [tasks[2], tasks[0], tasks[1]]);
        for id in tasks {
            turns.wake(id);
        }
        assert_eq!(run(&mut turns, &tasks), [tasks[2], tasks[0], tasks[1]]);
        assert_eq!(turns.counts().changes, 1);
    }

    #[test]
    fn who_comes_first_is_served_first_but_for_who_is_put_off() {
        let mut turns = first_come(Vec::new());
        let tasks = [turns.add(A, 1), turns.add(A, 3), turns.add(B, 2)];
        assert_eq!(run(&mut turns, &tasks), tasks);
        let mut turns = first_come(vec![1]);
        let tasks = [turns.add(A, 1), turns.add(A, 3), turns.add(B, 2)];
        assert_eq!(run(&mut turns, &tasks), [tasks[0], tasks[2], tasks[1]]);
    }

    #[test]
    fn a_task_that_yields_gives_way_once() {
        let mut turns = by_priorities(Vec::new());
        let (low, high) = (turns.add(A, 1), turns.add(A, 2));
        assert!(turns.offer(high, Waker::noop()).is_ok());
        turns.wake(high);
        turns.end_turn();
        assert!(turns.offer(high, Waker::noop()).is_err());
        assert!(turns.offer(low, Waker::noop()).is_ok());
        turns.end_turn();
        assert!(turns.offer(high, Waker::noop()).is_ok());
    }

    #[test]
    fn tasks_that_wake_each_other_for_ever_do_not_starve_the_others() {
        let mut turns = by_priorities(Vec::new());
        let low = turns.add(A, 1);
        let loud = [turns.add(A, 2), turns.add(A, 3)];
        let mut rounds = 0;
        while turns.offer(low, Waker::noop()).is_err() {
            rounds += 1;
            assert!(rounds < 10 * PASSED_OVER_MAX, "it never gets a turn");
            for (id, other) in [(loud[0], loud[1]), (loud[1], loud[0])] {
                if turns.offer(id, Waker::noop()).is_ok() {
                    turns.wake(other);
                    turns.end_turn();
                }
            }
        }
        assert!(rounds > 100);
    }

    #[test]
    fn tasks_of_a_paused_process_hold_nobody_up() {
        let mut turns = by_priorities(Vec::new());
        let tasks = [turns.add(A, 1), turns.add(B, 2)];
        turns.pause(B, true);
        assert_eq!(run(&mut turns, &tasks), [tasks[0]]);
        turns.pause(B, false);
        assert_eq!(run(&mut turns, &tasks), [tasks[1]]);
    }

    #[test]
    fn the_process_of_the_task_that_runs_is_known_and_nothing_is_left_at_the_end() {
        let mut turns = by_priorities(Vec::new());
        let task = turns.add(B, 1);
        assert_eq!(turns.process_here(), None);
        assert!(turns.offer(task, Waker::noop()).is_ok());
        assert_eq!(turns.process_here(), Some(B));
        drop(turns.dismantle());
        assert_eq!(turns.process_here(), None);
        assert!(turns.offer(task, Waker::noop()).is_err());
    }

    #[test]
    fn a_task_that_is_gone_holds_nobody_up() {
        let mut turns = by_priorities(Vec::new());
        let tasks = [turns.add(A, 1), turns.add(B, 2)];
        turns.remove(tasks[1]);
        assert_eq!(run(&mut turns, &tasks), [tasks[0]]);
    }
}
