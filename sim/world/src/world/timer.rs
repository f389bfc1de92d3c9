//! Waiting for a time.

use std::task::Waker;

/// Names a timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TimerId {
    index: u32,
    generation: u32,
}

/// A deadline that somebody waits for.
#[derive(Debug)]
pub(super) struct Timer {
    generation: u32,
    /// The process by whose monotonic clock it goes, with its deadline on that clock in
    /// ns; none if it goes by true time.
    pub(super) local: Option<(usize, u64)>,
    /// When, in true ns, it is due as things stand; none while that clock stands still,
    /// or the timer is not in use.
    pub(super) due_ns: Option<u64>,
    fired: bool,
    waker: Option<Waker>,
}

/// All timers.
#[derive(Debug, Default)]
pub(super) struct Timers {
    timers: Vec<Timer>,
    free: Vec<u32>,
}

impl Timers {
    /// A new timer.
    pub(super) fn add(
        &mut self,
        local: Option<(usize, u64)>,
        due_ns: Option<u64>,
        waker: Waker,
    ) -> TimerId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.timers.push(Timer {
                generation: 0,
                local: None,
                due_ns: None,
                fired: false,
                waker: None,
            });
            u32::try_from(self.timers.len() - 1).expect("fewer timers than 2^32")
        });
        let timer = &mut self.timers[index as usize];
        timer.local = local;
        timer.due_ns = due_ns;
        timer.fired = false;
        timer.waker = Some(waker);
        TimerId {
            index,
            generation: timer.generation,
        }
    }

    /// Gives a timer back.
    pub(super) fn remove(&mut self, id: TimerId) {
        // When the world is dismantled, timers go before those who wait for them.
        let Some(timer) = self.timers.get_mut(id.index as usize) else {
            return;
        };
        if timer.generation == id.generation {
            timer.generation = timer.generation.wrapping_add(1);
            timer.due_ns = None;
            timer.local = None;
            timer.waker = None;
            self.free.push(id.index);
        }
    }

    /// Whether the timer has fired; if not, `waker` is woken when it does.
    pub(super) fn poll(&mut self, id: TimerId, waker: &Waker) -> bool {
        let timer = &mut self.timers[id.index as usize];
        if timer.generation != id.generation || timer.fired {
            return true;
        }
        match &mut timer.waker {
            Some(known) if known.will_wake(waker) => {}
            slot => *slot = Some(waker.clone()),
        }
        false
    }

    /// The time `at_ns` has come for a timer. Does nothing if it was given back, or is
    /// due at another time by now.
    pub(super) fn fire(&mut self, id: TimerId, at_ns: u64) {
        let timer = &mut self.timers[id.index as usize];
        if timer.generation == id.generation && timer.due_ns == Some(at_ns) {
            timer.fired = true;
            timer.due_ns = None;
            if let Some(waker) = timer.waker.take() {
                waker.wake();
            }
        }
    }

    /// All timers that go by the clock of the process with this number and have not
    /// fired, so that they can be set anew.
    pub(super) fn of_process(
        &mut self,
        process: usize,
    ) -> impl Iterator<Item = (TimerId, u64, &mut Timer)> {
        self.timers
            .iter_mut()
            .enumerate()
            .filter_map(move |(index, timer)| match timer.local {
                Some((known, deadline_ns)) if known == process && !timer.fired => {
                    let id = TimerId {
                        index: index as u32,
                        generation: timer.generation,
                    };
                    Some((id, deadline_ns, timer))
                }
                _ => None,
            })
    }
}
