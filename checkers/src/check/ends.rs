//! Which operations are open, and which have lost their ends: those whose clients went on.

use rustc_hash::FxHashMap;
use veridical_histories::OperationId;

/// Clients and open operations that are watched for ends that are missing.
const WATCHED_MAX: usize = 1 << 20;

/// An operation that was called and has not ended.
#[derive(Debug)]
struct Open<K> {
    /// What it is about.
    subject: K,
    client: u64,
    /// How many calls came before its own.
    call: u64,
    line: u64,
}

/// The operations of a history that are open, each with what it is about.
#[derive(Debug)]
pub(super) struct Ends<K> {
    open: FxHashMap<OperationId, Open<K>>,
    /// The last call of each client that ended.
    ended: FxHashMap<u64, u64>,
    calls: u64,
}

impl<K> Default for Ends<K> {
    fn default() -> Self {
        Self {
            open: FxHashMap::default(),
            ended: FxHashMap::default(),
            calls: 0,
        }
    }
}

impl<K> Ends<K> {
    /// How many operations are open and watched.
    pub fn open_count(&self) -> usize {
        self.open.len()
    }

    /// Whether every open operation is watched, so that an end without a call is one that lost it.
    pub fn are_all_watched(&self) -> bool {
        self.open.len() < WATCHED_MAX
    }

    /// Takes in a call.
    pub fn called(&mut self, op: OperationId, client: u64, line: Option<u64>, subject: K) {
        self.calls += 1;
        if self.are_all_watched() {
            let open = Open {
                subject,
                client,
                call: self.calls,
                line: line.unwrap_or(0),
            };
            self.open.insert(op, open);
        }
    }

    /// Takes in an end; what the operation is about, if its call was seen. That its client went on
    /// counts where clients wait for one end before they call again.
    pub fn ended(&mut self, op: OperationId, clients_wait: bool) -> Option<K> {
        let open = self.open.remove(&op)?;
        let has_room = self.ended.len() < WATCHED_MAX || self.ended.contains_key(&open.client);
        if clients_wait && has_room {
            let last = self.ended.entry(open.client).or_default();
            *last = open.call.max(*last);
        }
        Some(open.subject)
    }

    /// Forgets an operation that is not judged; what it is about, if its call was seen.
    pub fn forget(&mut self, op: OperationId) -> Option<K> {
        self.open.remove(&op).map(|open| open.subject)
    }

    /// The operations whose ends are missing although their clients went on, each with a sentence
    /// that says so. To be asked at the end of the history.
    pub fn missing(&self) -> Vec<(OperationId, String)> {
        let is_missing = |open: &Open<K>| self.ended.get(&open.client) > Some(&open.call);
        let mut missing: Vec<(u64, OperationId, u64)> = self
            .open
            .iter()
            .filter(|(_, open)| is_missing(open))
            .map(|(op, open)| (open.line, *op, open.client))
            .collect();
        missing.sort_unstable();
        let told = missing.into_iter().map(|(line, op, client)| {
            let what =
                format!("line {line}: operation {op} has no end, but its client {client} went on");
            (op, what)
        });
        told.collect()
    }
}
