//! Per-client logs merged into one history, live.
//!
//! Each client's log is in order; between clients only times tell. What is certainly in
//! order is given out: everything up to the watermark, the earliest of what the clients
//! have told of last. A client that has nothing to say sends heartbeats; one that is dead
//! is taken out, and its open operation becomes unknown.
//!
//! Where the clients' clocks may be off by ε, every operation is widened by ε at both
//! ends: nothing correct is ever refused, and violations tighter than 2ε may be missed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use crate::{Event, EventKind, OperationId};

/// Events of one client that may wait for the others.
pub const WAITING_PER_CLIENT_MAX: usize = 1 << 20;

/// Why an event cannot be merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MergeError {
    /// The client's log goes back in time.
    #[error("client {client}: {time_ns} ns comes after {last_ns} ns")]
    BackInTime {
        /// The client whose log it is.
        client: u64,
        /// The event's time.
        time_ns: u64,
        /// The time of the client's last event.
        last_ns: u64,
    },
    /// The client is not known, or was taken out.
    #[error("client {client} is not part of the merge")]
    NotThere {
        /// The client that is meant.
        client: u64,
    },
    /// Another client lags so far behind that [`WAITING_PER_CLIENT_MAX`] events of this
    /// one wait.
    #[error("{WAITING_PER_CLIENT_MAX} events of client {client} wait for client {laggard}")]
    TooFarAhead {
        /// The client whose events wait.
        client: u64,
        /// The client that they wait for.
        laggard: u64,
    },
}

#[derive(Debug, Default)]
struct ClientLog {
    last_ns: u64,
    waiting: usize,
    open: VecDeque<OperationId>,
}

/// An event on its way: by time, calls first, then in order of arrival.
struct Waiting<I, O, N> {
    at: (u64, bool, u64),
    owner: u64,
    event: Event<I, O, N>,
}

impl<I, O, N> PartialEq for Waiting<I, O, N> {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}
impl<I, O, N> Eq for Waiting<I, O, N> {}
impl<I, O, N> PartialOrd for Waiting<I, O, N> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<I, O, N> Ord for Waiting<I, O, N> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}

/// Merges the logs of several clients.
pub struct Merge<I, O, N> {
    clients: BTreeMap<u64, ClientLog>,
    waiting: BinaryHeap<Reverse<Waiting<I, O, N>>>,
    arrived: u64,
    clock_error_ns: u64,
}

impl<I, O, N> std::fmt::Debug for Merge<I, O, N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Merge")
            .field("clients", &self.clients.len())
            .field("waiting", &self.waiting.len())
            .field("clock_error_ns", &self.clock_error_ns)
            .finish()
    }
}

impl<I, O, N> Merge<I, O, N> {
    /// A merge of the logs of `clients`, whose clocks differ from true time by at most
    /// `clock_error_ns`.
    pub fn new(clients: impl IntoIterator<Item = u64>, clock_error_ns: u64) -> Self {
        let mut merge = Self {
            clients: BTreeMap::new(),
            waiting: BinaryHeap::new(),
            arrived: 0,
            clock_error_ns,
        };
        clients
            .into_iter()
            .for_each(|client| merge.add_client(client, 0));
        merge
    }

    /// A client begins to log, at `time_ns` by its clock. What the others log from then
    /// on waits for it.
    pub fn add_client(&mut self, client: u64, time_ns: u64) {
        self.clients.entry(client).or_insert_with(|| ClientLog {
            last_ns: time_ns,
            ..ClientLog::default()
        });
    }

    /// A client has nothing to log up to `time_ns`.
    ///
    /// # Errors
    /// [`MergeError::BackInTime`], [`MergeError::NotThere`].
    pub fn heartbeat(&mut self, client: u64, time_ns: u64) -> Result<(), MergeError> {
        let log = self
            .clients
            .get_mut(&client)
            .ok_or(MergeError::NotThere { client })?;
        if time_ns < log.last_ns {
            return Err(MergeError::BackInTime {
                client,
                time_ns,
                last_ns: log.last_ns,
            });
        }
        log.last_ns = time_ns;
        Ok(())
    }

    /// A client logged an event.
    ///
    /// # Errors
    /// [`MergeError`]; the event is not taken then.
    pub fn push(&mut self, event: Event<I, O, N>) -> Result<(), MergeError> {
        let (client, time_ns) = (event.client, event.time_ns);
        if let Some(log) = self.clients.get(&client)
            && log.waiting >= WAITING_PER_CLIENT_MAX
        {
            let laggard = self.laggard().unwrap_or(client);
            return Err(MergeError::TooFarAhead { client, laggard });
        }
        self.heartbeat(client, time_ns)?;
        let log = self
            .clients
            .get_mut(&client)
            .expect("the heartbeat found it");
        match &event.kind {
            EventKind::Call { op, .. } => log.open.push_back(*op),
            EventKind::Return { op, .. } | EventKind::Unknown { op } | EventKind::Failed { op } => {
                log.open.retain(|open| open != op)
            }
            EventKind::Note { .. } => {}
        }
        log.waiting += 1;
        self.enqueue(client, event);
        Ok(())
    }

    fn enqueue(&mut self, owner: u64, mut event: Event<I, O, N>) {
        // The operation is widened: it was called earlier and ended later.
        event.time_ns = if event.is_call() {
            event.time_ns.saturating_sub(self.clock_error_ns)
        } else {
            event.time_ns.saturating_add(self.clock_error_ns)
        };
        let at = (event.time_ns, !event.is_call(), self.arrived);
        self.arrived += 1;
        self.waiting.push(Reverse(Waiting { at, owner, event }));
    }

    /// A client is dead: its open operations become unknown, and nobody waits for it.
    ///
    /// # Errors
    /// [`MergeError::NotThere`].
    pub fn remove_client(&mut self, client: u64) -> Result<(), MergeError> {
        let log = self
            .clients
            .remove(&client)
            .ok_or(MergeError::NotThere { client })?;
        for op in log.open {
            self.enqueue(client, Event::unknown(log.last_ns, client, op));
        }
        Ok(())
    }

    fn laggard(&self) -> Option<u64> {
        self.clients
            .iter()
            .min_by_key(|(_, log)| log.last_ns)
            .map(|(client, _)| *client)
    }

    /// The time up to which every client has told all: what is not later comes out.
    pub fn watermark_ns(&self) -> u64 {
        let last = self.clients.values().map(|log| log.last_ns).min();
        // A call that is still to come is widened to before its client's last word.
        last.map_or(u64::MAX, |last| last.saturating_sub(self.clock_error_ns))
    }

    /// Events that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The next event that is certainly the earliest.
    pub fn pop(&mut self) -> Option<Event<I, O, N>> {
        let watermark = self.watermark_ns();
        let Reverse(first) = self.waiting.peek()?;
        // At the watermark itself a call may still come, and calls go first.
        let is_certain = first.at.0 < watermark || (first.at.0 == watermark && !first.at.1);
        if !is_certain && watermark != u64::MAX {
            return None;
        }
        let Reverse(first) = self.waiting.pop()?;
        if let Some(log) = self.clients.get_mut(&first.owner) {
            log.waiting = log.waiting.saturating_sub(1);
        }
        Some(first.event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::object::{ObjectHistory, ObjectWorkload};
    use crate::object::ObjectEvent;
    use crate::random::Random;

    fn history() -> Vec<ObjectEvent> {
        ObjectHistory::new(ObjectWorkload {
            operations: 3_000,
            ..ObjectWorkload::default()
        })
        .collect()
    }

    #[test]
    fn logs_that_arrive_in_any_order_come_out_in_order_of_time() {
        let events = history();
        let mut random = Random::new(1);
        let mut logs: BTreeMap<u64, VecDeque<ObjectEvent>> = BTreeMap::new();
        for event in &events {
            logs.entry(event.client)
                .or_default()
                .push_back(event.clone());
        }
        let mut merge = Merge::new(logs.keys().copied(), 0);
        let mut merged = Vec::new();
        let mut waiting_max = 0;
        while !logs.is_empty() {
            let clients: Vec<u64> = logs.keys().copied().collect();
            let client = *random.pick(&clients);
            match logs.get_mut(&client).unwrap().pop_front() {
                Some(event) => merge.push(event).unwrap(),
                None => {
                    logs.remove(&client);
                    merge.remove_client(client).unwrap();
                }
            }
            waiting_max = waiting_max.max(merge.waiting());
            while let Some(event) = merge.pop() {
                merged.push(event);
            }
        }
        assert_eq!(merged, events);
        assert!(waiting_max < 2_000, "{waiting_max}");
    }

    #[test]
    fn a_silent_client_holds_the_others_up_until_its_heartbeat_or_its_death() {
        let call = |client, time_ns, op| {
            let request = crate::object::Request {
                key: 1.into(),
                action: crate::object::Action::Read,
            };
            ObjectEvent::call(time_ns, client, OperationId(op), request)
        };
        let mut merge = Merge::new([1, 2], 0);
        merge.push(call(1, 10, 1)).unwrap();
        assert_eq!(merge.pop(), None);
        merge.heartbeat(2, 20).unwrap();
        assert!(merge.pop().is_some());
        merge.push(call(2, 30, 2)).unwrap();
        assert_eq!(merge.pop(), None);
        merge.remove_client(1).unwrap();
        assert_eq!(
            merge.pop(),
            Some(ObjectEvent::unknown(10, 1, OperationId(1)))
        );
        assert!(merge.pop().is_some());
        assert_eq!(
            merge.push(call(2, 29, 3)),
            Err(MergeError::BackInTime {
                client: 2,
                time_ns: 29,
                last_ns: 30
            })
        );
        assert_eq!(
            merge.heartbeat(1, 99),
            Err(MergeError::NotThere { client: 1 })
        );
    }

    #[test]
    fn clock_error_widens_every_operation() {
        let mut merge = Merge::new([1], 5);
        let events: Vec<ObjectEvent> = history().into_iter().filter(|e| e.client == 1).collect();
        for event in events.iter().take(2) {
            merge.push(event.clone()).unwrap();
        }
        merge.remove_client(1).unwrap();
        assert_eq!(merge.pop().unwrap().time_ns, events[0].time_ns - 5);
        assert_eq!(merge.pop().unwrap().time_ns, events[1].time_ns + 5);
    }
}
