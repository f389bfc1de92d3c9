//! Engine B: one register or map entry whose written values are unambiguous.
//!
//! Inputs: calls and returns of reads, writes, deletions and compare-and-swaps on one key,
//! numbered by event. Outputs: a [`Conflict`] at the first event that makes the history wrong.
//!
//! The operations of a value v (its write and the reads that saw it) form a cluster with two
//! numbers: f(v), its earliest return, and s(v), its latest call. With unique values the
//! history is linearizable iff every value read has a write that was called before the read
//! returned, and no two clusters have f(v) < s(u) and f(u) < s(v) (Gibbons and Korach 1997;
//! `docs/algorithms/zones.md`). Both are checked as operations return, and a cluster is
//! forgotten once any further read of it would be wrong by itself, so at most as many are kept
//! as operations overlap.
//!
//! A compare-and-swap that succeeded reads one value and writes the next with nothing in
//! between, so the clusters of both stand together: see `chain`.
//!
//! Two clusters of the same value at once are beyond this engine: see [`Zones::is_ambiguous`]
//! and [`Zones::hand_over`].

mod chain;
mod cluster;
mod handover;
#[cfg(test)]
mod tests;

use rustc_hash::FxHashMap;
use veridical_histories::object::Value;

pub(crate) use chain::Refused;
use cluster::{Cluster, Origin, Unseen};
pub(crate) use cluster::{ClusterTrace, Conflict, PendingWrite, Trace};
pub(crate) use handover::OpenOperation;

/// Clusters above which eviction is tried again even if the last try kept as many.
const EVICTION_SLACK: usize = 8;
/// The rank of a cluster at the beginning of a chain that is about to be forgotten.
const FORGOTTEN: u64 = u64::MAX;

/// The clusters of one key.
#[derive(Debug)]
pub(crate) struct Zones {
    clusters: Vec<Cluster>,
    /// The origin of each cluster, parallel to `clusters`.
    origins: Vec<Origin>,
    /// Calls of open operations, ascending.
    open_calls: Vec<u64>,
    /// Writes of unknown outcome that nobody has read.
    unseen: FxHashMap<Value, Unseen>,
    /// The forgotten cluster with the latest call.
    evicted: Option<Box<(Cluster, Origin)>>,
    /// Clusters above which eviction is tried.
    eviction_at: usize,
    /// The number of the last chain.
    chains: u64,
}

/// When an operation was called and when it returned, as event numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub call: u64,
    pub returned: u64,
}

impl Zones {
    /// A key that holds `value`, with nothing open.
    pub fn new(value: Value) -> Self {
        let mut zones = Self {
            clusters: Vec::new(),
            origins: Vec::new(),
            open_calls: Vec::new(),
            unseen: FxHashMap::default(),
            evicted: None,
            eviction_at: EVICTION_SLACK,
            chains: 0,
        };
        zones.reset(value);
        zones
    }

    /// Begins again with `value`; keeps what is allocated.
    pub fn reset(&mut self, value: Value) {
        self.clusters.clear();
        self.origins.clear();
        self.open_calls.clear();
        self.unseen.clear();
        self.evicted = None;
        self.eviction_at = EVICTION_SLACK;
        self.chains = 0;
        self.clusters.push(Cluster::new(value, 0, 0));
        self.origins.push(Origin {
            written_call: 0,
            s: 0,
            from: None,
            trace: ClusterTrace::default(),
        });
    }

    /// Begins again with `value` and what may still take effect after `now`. `None` where
    /// two operations write the same value.
    pub fn resume(value: Value, pending: Vec<PendingWrite>, now: u64) -> Option<Self> {
        let mut zones = Self::new(value);
        for PendingWrite { value, from, trace } in pending {
            if zones.knows(&value) {
                return None;
            }
            let call = now;
            zones.unseen.insert(value, Unseen { call, from, trace });
        }
        Some(zones)
    }

    /// Whether a write of `value` now would make two clusters of it.
    pub fn is_ambiguous(&mut self, value: &Value, now: u64) -> bool {
        if !self.knows(value) {
            return false;
        }
        self.evict(now);
        self.knows(value)
    }

    fn knows(&self, value: &Value) -> bool {
        self.clusters.iter().any(|cluster| cluster.value == *value)
            || (!self.unseen.is_empty() && self.unseen.contains_key(value))
    }

    /// A read is called at `call`.
    #[inline]
    pub fn read_called(&mut self, call: u64) {
        self.open_calls.push(call);
    }

    /// A write of `value` is called at `call`; [`Zones::is_ambiguous`] was asked.
    pub fn write_called(&mut self, value: Value, call: u64, trace: Trace) {
        self.open_calls.push(call);
        self.clusters.push(Cluster::new(value, u64::MAX, call));
        self.origins.push(Origin::written(call, None, trace));
    }

    /// A compare-and-swap is called at `call`, of `from` by another value, `to`, of which
    /// [`Zones::is_ambiguous`] was asked.
    pub fn cas_called(&mut self, from: Value, to: Value, call: u64, trace: Trace) {
        self.open_calls.push(call);
        self.clusters.push(Cluster::new(to, u64::MAX, call));
        self.origins.push(Origin::written(call, Some(from), trace));
    }

    fn close(&mut self, call: u64) {
        if let Ok(at) = self.open_calls.binary_search(&call) {
            self.open_calls.remove(at);
        }
    }

    /// An operation on `value` returned: the write of it, or a read that saw it.
    ///
    /// # Errors
    /// The contradiction it leads to.
    pub fn returned(
        &mut self,
        value: &Value,
        span: Span,
        trace: Trace,
    ) -> Result<(), Box<Conflict>> {
        self.close(span.call);
        let found = self
            .clusters
            .iter()
            .position(|cluster| cluster.value == *value);
        let Some(at) = found.or_else(|| self.reveal(value)) else {
            return Err(Box::new(Conflict::Unwritten {
                value: value.clone(),
                reader: trace,
                overwritten_by: self.overwriter_of(value, span.call),
            }));
        };
        if trace.is_write
            && let Some(write) = &mut self.origins[at].trace.write
        {
            write.return_ns = trace.return_ns;
        }
        self.seen(at, span, trace)?;
        if self.clusters.len() > self.eviction_at {
            self.evict(span.returned);
            self.eviction_at = 2 * self.clusters.len() + EVICTION_SLACK;
        }
        Ok(())
    }

    /// An operation that lies in `span` was at the value of the cluster `at`.
    #[inline]
    fn seen(&mut self, at: usize, span: Span, trace: Trace) -> Result<(), Box<Conflict>> {
        let cluster = &mut self.clusters[at];
        if cluster.f == u64::MAX {
            cluster.f = span.returned;
            self.origins[at].trace.earliest_return = Some(trace);
        }
        if span.call >= self.origins[at].s {
            self.origins[at].s = span.call;
            self.origins[at].trace.latest_call = Some(trace);
        }
        if cluster.chain != 0 || self.origins[at].from.is_some() {
            return self.seen_in_chain(at, span);
        }
        if cluster.chain_f == u64::MAX {
            // Nothing was called after this return yet, so nothing can contradict it.
            cluster.chain_f = span.returned;
            cluster.chain_s = cluster.chain_s.max(span.call);
        } else if span.call > cluster.chain_s {
            cluster.chain_s = span.call;
            self.check(at)?;
        }
        Ok(())
    }

    /// What was certainly there before `call`, and so replaced `value` if that was there
    /// at all.
    fn overwriter_of(&self, value: &Value, call: u64) -> Option<(Value, ClusterTrace)> {
        let live = self.clusters.iter().zip(&self.origins);
        let forgotten = self.evicted.iter().map(|evicted| (&evicted.0, &evicted.1));
        live.chain(forgotten)
            .filter(|(cluster, _)| cluster.chain_f < call && cluster.value != *value)
            .max_by_key(|(cluster, _)| cluster.chain_s)
            .map(|(cluster, origin)| (cluster.value.clone(), origin.trace))
    }

    /// A write of unknown outcome turns out to have taken effect.
    fn reveal(&mut self, value: &Value) -> Option<usize> {
        if self.unseen.is_empty() {
            return None;
        }
        let Unseen { call, from, trace } = self.unseen.remove(value)?;
        self.clusters
            .push(Cluster::new(value.clone(), u64::MAX, call));
        self.origins.push(Origin::written(call, from, trace));
        Some(self.clusters.len() - 1)
    }

    fn check(&self, at: usize) -> Result<(), Box<Conflict>> {
        let Cluster {
            chain_f: f,
            chain_s: s,
            chain,
            ..
        } = self.clusters[at];
        let this = || self.described(at);
        // Every forgotten cluster had returned before this operation was called.
        if let Some((cluster, origin)) = self.evicted.as_deref()
            && cluster.chain_s > f
        {
            return Err(Box::new(Conflict::Interleaved {
                first: (cluster.value.clone(), origin.trace),
                second: this(),
            }));
        }
        let other = self
            .clusters
            .iter()
            .enumerate()
            .position(|(other, cluster)| {
                cluster.chain_f < s
                    && cluster.chain_s > f
                    && other != at
                    && (chain == 0 || cluster.chain != chain)
            });
        match other {
            None => Ok(()),
            Some(other) => Err(Box::new(Conflict::Interleaved {
                first: self.described(other),
                second: this(),
            })),
        }
    }

    fn described(&self, at: usize) -> (Value, ClusterTrace) {
        (self.clusters[at].value.clone(), self.origins[at].trace)
    }

    /// Forgets every cluster of which a further read would be wrong by itself: it was
    /// read or written, and something else after it, before the oldest open call.
    fn evict(&mut self, now: u64) {
        let oldest = self.open_calls.first().copied().unwrap_or(now + 1);
        // The latest call among what has returned before `oldest`, and that of the others
        // outside its chain.
        let (mut latest, mut latest_at, mut second) = (0, usize::MAX, 0);
        for (at, cluster) in self.clusters.iter().enumerate() {
            if cluster.chain_f < oldest {
                if latest_at == usize::MAX || cluster.chain_s > latest {
                    if latest_at != usize::MAX && !self.is_one_chain(at, latest_at) {
                        second = latest;
                    }
                    (latest, latest_at) = (cluster.chain_s, at);
                } else if !self.is_one_chain(at, latest_at) {
                    second = second.max(cluster.chain_s);
                }
            }
        }
        let latest_chain = self
            .clusters
            .get(latest_at)
            .map_or(0, |latest| latest.chain);
        let forgotten = self.evicted.as_ref().map_or(0, |evicted| evicted.0.chain_s);
        if self.chains > 0 {
            self.forget_beginnings(oldest);
        }
        let mut kept = 0;
        for at in 0..self.clusters.len() {
            let cluster = &self.clusters[at];
            let is_latest = at == latest_at || (latest_chain != 0 && cluster.chain == latest_chain);
            let others = if is_latest { second } else { latest }.max(forgotten);
            let is_begun = cluster.rank == FORGOTTEN;
            if is_begun || (cluster.chain_f < oldest && others > cluster.chain_f) {
                let is_later = self
                    .evicted
                    .as_ref()
                    .is_none_or(|evicted| cluster.chain_s > evicted.0.chain_s);
                if is_later && !is_begun {
                    self.evicted = Some(Box::new((cluster.clone(), self.origins[at].clone())));
                }
            } else {
                self.clusters.swap(kept, at);
                self.origins.swap(kept, at);
                kept += 1;
            }
        }
        self.clusters.truncate(kept);
        self.origins.truncate(kept);
    }

    /// The outcome of the write of `value`, called at `call`, is unknown.
    pub fn write_unknown(&mut self, value: &Value, call: u64) {
        self.close(call);
        let at = self
            .clusters
            .iter()
            .position(|cluster| cluster.value == *value);
        if let Some(at) = at
            && !self.clusters[at].is_settled()
        {
            let cluster = self.clusters.swap_remove(at);
            let Origin { from, trace, .. } = self.origins.swap_remove(at);
            let trace = trace.write.expect("a write that was called has a trace");
            self.unseen
                .insert(cluster.value, Unseen { call, from, trace });
        }
    }

    /// The write of `value`, called at `call`, had no effect.
    ///
    /// # Errors
    /// Where somebody has read it.
    pub fn write_failed(&mut self, value: &Value, call: u64) -> Result<(), Box<Conflict>> {
        self.close(call);
        self.write_refused(value)
    }

    fn write_refused(&mut self, value: &Value) -> Result<(), Box<Conflict>> {
        let at = self
            .clusters
            .iter()
            .position(|cluster| cluster.value == *value);
        match at {
            Some(at) if !self.clusters[at].is_settled() => {
                self.clusters.swap_remove(at);
                self.origins.swap_remove(at);
                Ok(())
            }
            // It was read, and may be forgotten since.
            found => Err(Box::new(Conflict::ReadOfFailed {
                value: value.clone(),
                trace: found.map_or_else(ClusterTrace::default, |at| self.origins[at].trace),
            })),
        }
    }

    /// A read ended that tells nothing.
    pub fn read_dropped(&mut self, call: u64) {
        self.close(call);
    }

    /// Whether nothing is open and the key certainly holds one value.
    #[inline]
    pub fn is_idle(&mut self, now: u64) -> bool {
        if !self.open_calls.is_empty() {
            return false;
        }
        if self.clusters.len() > 1 {
            self.evict(now);
        }
        self.clusters.len() == 1
    }

    /// The one value of an idle key, and what may still change it.
    pub fn take(&mut self) -> (Value, Vec<PendingWrite>) {
        let unseen = self.unseen.drain();
        let mut pending: Vec<PendingWrite> = unseen
            .map(|(value, Unseen { from, trace, .. })| PendingWrite { value, from, trace })
            .collect();
        pending.sort_unstable_by(|a, b| (a.trace.op, &a.value).cmp(&(b.trace.op, &b.value)));
        (std::mem::take(&mut self.clusters[0].value), pending)
    }

    /// Bytes held, estimated.
    pub fn bytes(&self) -> usize {
        self.clusters.capacity() * size_of::<Cluster>()
            + self.origins.capacity() * size_of::<Origin>()
            + self.open_calls.capacity() * 8
            + self.unseen.capacity() * (size_of::<(Value, Unseen)>() + 1)
    }

    /// Clusters and unseen writes kept.
    pub fn len(&self) -> usize {
        self.clusters.len() + self.unseen.len()
    }
}
