//! The way from many clients to the one thread that checks: what happens is handed over in
//! batches, since a thread that is woken for each event costs more than checking it does.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Events that wait to be taken; above it whoever has more waits, so that the memory of a run
/// is bounded however slow the other side is. As many again are in its hands. More than this
/// that are put in together wait until no others do.
const EVENTS_WAITING_MAX: usize = 8_192;

/// So many wake the other side, which otherwise comes by itself.
const EVENTS_WORTH_A_CALL: usize = EVENTS_WAITING_MAX / 2;

/// How often that is.
const COLLECTION_INTERVAL: Duration = Duration::from_millis(5);

/// Puts events in, in the order of their times. Cheap to clone.
pub(crate) struct EventSender<E> {
    shared: Arc<Shared<E>>,
}

impl<E> Clone for EventSender<E> {
    fn clone(&self) -> Self {
        let shared = Arc::clone(&self.shared);
        Self { shared }
    }
}

/// Takes them out.
pub(crate) struct EventReceiver<E> {
    shared: Arc<Shared<E>>,
}

struct Shared<E> {
    state: Mutex<State<E>>,
    has_room: Condvar,
    has_many: Condvar,
}

struct State<E> {
    origin: Instant,
    next_operation: u64,
    waiting: Vec<E>,
    /// Nothing more will come.
    is_closed: bool,
    /// Nobody takes anything any more.
    is_abandoned: bool,
}

/// The two ends of a new queue, whose times count from now.
pub(crate) fn event_queue<E>() -> (EventSender<E>, EventReceiver<E>) {
    let shared = Arc::new(Shared {
        state: Mutex::new(State {
            origin: Instant::now(),
            next_operation: 0,
            waiting: Vec::with_capacity(EVENTS_WAITING_MAX),
            is_closed: false,
            is_abandoned: false,
        }),
        has_room: Condvar::new(),
        has_many: Condvar::new(),
    });
    let receiver = EventReceiver {
        shared: Arc::clone(&shared),
    };
    (EventSender { shared }, receiver)
}

impl<E> Shared<E> {
    fn state(&self) -> MutexGuard<'_, State<E>> {
        self.state.lock().expect("no panic while it is locked")
    }
}

impl<E> EventSender<E> {
    /// Numbers operations one after the other and puts in that they begin, each as `event` of
    /// it, its number and the time in ns. Returns the number of the first.
    pub(crate) fn begin<T>(
        &self,
        operations: impl ExactSizeIterator<Item = T>,
        mut event: impl FnMut(T, u64, u64) -> E,
    ) -> u64 {
        let mut first = None;
        self.put(operations, |state, operation, time_ns| {
            state.next_operation += 1;
            first.get_or_insert(state.next_operation);
            event(operation, state.next_operation, time_ns)
        });
        first.expect("whoever begins does something")
    }

    /// Puts events in, each as `event` of what it tells and the time in ns.
    pub(crate) fn send<T>(
        &self,
        told: impl ExactSizeIterator<Item = T>,
        mut event: impl FnMut(T, u64) -> E,
    ) {
        self.put(told, |_, told, time_ns| event(told, time_ns));
    }

    /// Says that nothing more comes.
    pub(crate) fn close(&self) {
        self.shared.state().is_closed = true;
        self.shared.has_many.notify_one();
    }

    /// Waits for room, and with it every client waits: the other side needs none of them to go
    /// on.
    fn room(&self, coming: usize) -> MutexGuard<'_, State<E>> {
        let is_full = |state: &mut State<E>| {
            let waiting = state.waiting.len();
            waiting > 0 && waiting + coming > EVENTS_WAITING_MAX && !state.is_abandoned
        };
        self.shared
            .has_room
            .wait_while(self.shared.state(), is_full)
            .expect("no panic while it is locked")
    }

    /// The time is taken under the lock, once for what is put in together: the order of events
    /// is that of their times.
    fn put<T>(
        &self,
        told: impl ExactSizeIterator<Item = T>,
        mut event: impl FnMut(&mut State<E>, T, u64) -> E,
    ) {
        let coming = told.len();
        let mut state = self.room(coming);
        assert!(!state.is_closed, "nothing comes after the end");
        let time_ns = state.origin.elapsed().as_nanos() as u64;
        let before = state.waiting.len();
        for told in told {
            let event = event(&mut state, told, time_ns);
            if !state.is_abandoned {
                state.waiting.push(event);
            }
        }
        let count = state.waiting.len();
        assert!(
            count <= EVENTS_WAITING_MAX.max(coming),
            "whoever puts in has room"
        );
        drop(state);
        if before < EVENTS_WORTH_A_CALL && count >= EVENTS_WORTH_A_CALL {
            self.shared.has_many.notify_one();
        }
    }
}

impl<E> EventReceiver<E> {
    /// Exchanges `taken`, which is empty, for what waits. Returns `false` at the end.
    pub(crate) fn take(&self, taken: &mut Vec<E>) -> bool {
        assert!(taken.is_empty(), "what was taken has been dealt with");
        loop {
            let has_few = |state: &mut State<E>| {
                state.waiting.len() < EVENTS_WORTH_A_CALL && !state.is_closed
            };
            let (mut state, _) = self
                .shared
                .has_many
                .wait_timeout_while(self.shared.state(), COLLECTION_INTERVAL, has_few)
                .expect("no panic while it is locked");
            std::mem::swap(&mut state.waiting, taken);
            let has_senders = Arc::strong_count(&self.shared) > 1;
            let is_over = state.is_closed || !has_senders;
            drop(state);
            if !taken.is_empty() {
                self.shared.has_room.notify_all();
                return true;
            }
            if is_over {
                return false;
            }
        }
    }
}

impl<E> Drop for EventReceiver<E> {
    fn drop(&mut self) {
        // After a panic elsewhere a second one would hide the first.
        if let Ok(mut state) = self.shared.state.lock() {
            state.is_abandoned = true;
        }
        self.shared.has_room.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_events_arrive_in_the_order_of_their_times() {
        let (sender, receiver) = event_queue();
        let threads: Vec<_> = (0..4_u64)
            .map(|client| {
                let sender = sender.clone();
                std::thread::spawn(move || {
                    for step in 0..10_000_u64 {
                        let event = |step, _, time_ns| (time_ns, client, step);
                        sender.begin([step].into_iter(), event);
                    }
                })
            })
            .collect();
        let taking = std::thread::spawn(move || {
            let (mut all, mut taken) = (Vec::new(), Vec::new());
            while receiver.take(&mut taken) {
                assert!(taken.len() <= EVENTS_WAITING_MAX);
                all.append(&mut taken);
            }
            all
        });
        for thread in threads {
            thread.join().unwrap();
        }
        sender.close();
        let all = taking.join().unwrap();
        assert_eq!(all.len(), 40_000);
        assert!(all.is_sorted_by_key(|(time_ns, ..)| *time_ns));
        for client in 0..4 {
            let own = all.iter().filter(|(_, by, _)| *by == client);
            assert!(own.map(|(.., step)| *step).eq(0..10_000));
        }
    }

    #[test]
    fn operations_are_numbered_from_one() {
        let (sender, receiver) = event_queue();
        let begin = |count: usize| sender.begin(0..count, |_, number, _| number);
        assert_eq!([begin(1), begin(3), begin(1)], [1, 2, 5]);
        let mut taken = Vec::new();
        assert!(receiver.take(&mut taken));
        assert_eq!(taken, [1, 2, 3, 4, 5]);
    }

    #[test]
    fn nobody_waits_for_room_once_nobody_takes() {
        let (sender, receiver) = event_queue();
        drop(receiver);
        for _ in 0..=EVENTS_WAITING_MAX {
            sender.send(0..1_usize, |_, time_ns| time_ns);
        }
    }

    #[test]
    fn more_than_may_wait_goes_in_at_once_when_nothing_else_waits() {
        let (sender, receiver) = event_queue();
        sender.send(0..1_usize, |number, _| number);
        let many = 3 * EVENTS_WAITING_MAX;
        let sending = std::thread::spawn(move || sender.send(1..1 + many, |number, _| number));
        let (mut all, mut taken) = (Vec::new(), Vec::new());
        while receiver.take(&mut taken) {
            all.append(&mut taken);
        }
        sending.join().unwrap();
        assert!(all.into_iter().eq(0..=many));
    }
}
