//! Engine B: one register or map entry whose written values are unambiguous.
//!
//! The operations of a value v (its write and the reads that saw it) form a cluster with
//! two numbers: f(v), its earliest return, and s(v), its latest call. With unique values
//! the history is linearizable iff every value read has a write that was called before
//! the read returned, and no two clusters have f(v) < s(u) and f(u) < s(v) (Gibbons and
//! Korach 1997; `checking.md`, section 3). Both are checked as operations return, and a
//! cluster is forgotten once any further read of it would be wrong by itself, so at most
//! as many are kept as operations overlap.
//!
//! Two clusters of the same value at once are beyond this engine: see
//! [`Zones::is_ambiguous`] and [`Zones::to_lane`].

mod handover;
#[cfg(test)]
mod tests;

use rustc_hash::FxHashMap;
use veridical_histories::OperationId;
use veridical_histories::object::Value;

pub(crate) use handover::OpenOperation;

/// Clusters above which eviction is tried again even if the last try kept as many.
const EVICTION_SLACK: usize = 8;

/// An operation, as far as a witness shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trace {
    pub op: OperationId,
    pub client: u64,
    pub call_ns: u64,
    /// `None` while it has not returned.
    pub return_ns: Option<u64>,
    pub is_write: bool,
}

/// The operations that a cluster's numbers come from.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ClusterTrace {
    pub write: Option<Trace>,
    pub earliest_return: Option<Trace>,
    pub latest_call: Option<Trace>,
}

/// What the search over clusters looks at.
#[derive(Clone, Debug)]
struct Cluster {
    value: Value,
    /// Earliest return; `u64::MAX` while nothing has returned.
    f: u64,
    /// Latest call.
    s: u64,
}

/// What else is known of a cluster.
#[derive(Clone, Copy, Debug)]
struct Origin {
    /// The call of its write.
    written_call: u64,
    trace: ClusterTrace,
}

/// Why the clusters contradict each other.
#[derive(Clone, Debug)]
pub(crate) enum Conflict {
    /// A value was read that nobody can have written, or that was overwritten for good
    /// before the read began.
    Unwritten {
        value: Value,
        reader: Trace,
        overwritten_by: Option<(Value, ClusterTrace)>,
    },
    /// Each of the two values has to come before the other.
    Interleaved {
        first: (Value, ClusterTrace),
        second: (Value, ClusterTrace),
    },
    /// The write of a value that was read failed.
    ReadOfFailed { value: Value, trace: ClusterTrace },
}

/// The clusters of one key.
#[derive(Debug)]
pub(crate) struct Zones {
    clusters: Vec<Cluster>,
    /// Parallel to `clusters`.
    origins: Vec<Origin>,
    /// Calls of open operations, ascending.
    open_calls: Vec<u64>,
    /// Writes of unknown outcome that nobody has read, with their calls.
    unseen: FxHashMap<Value, (u64, Trace)>,
    /// The forgotten cluster with the latest call.
    evicted: Option<Box<(Cluster, Origin)>>,
    /// Clusters above which eviction is tried.
    eviction_at: usize,
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
        self.clusters.push(Cluster { value, f: 0, s: 0 });
        self.origins.push(Origin {
            written_call: 0,
            trace: ClusterTrace::default(),
        });
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
        self.clusters.push(Cluster {
            value,
            f: u64::MAX,
            s: call,
        });
        self.origins.push(Origin {
            written_call: call,
            trace: ClusterTrace {
                write: Some(trace),
                ..ClusterTrace::default()
            },
        });
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
        let cluster = &mut self.clusters[at];
        if trace.is_write
            && let Some(write) = &mut self.origins[at].trace.write
        {
            write.return_ns = trace.return_ns;
        }
        if cluster.f == u64::MAX {
            // Nothing was called after this return yet, so nothing can contradict it.
            cluster.f = span.returned;
            self.origins[at].trace.earliest_return = Some(trace);
            if span.call >= cluster.s {
                cluster.s = span.call;
                self.origins[at].trace.latest_call = Some(trace);
            }
        } else if span.call > cluster.s {
            cluster.s = span.call;
            self.origins[at].trace.latest_call = Some(trace);
            self.check(at)?;
        }
        if self.clusters.len() > self.eviction_at {
            self.evict(span.returned);
            self.eviction_at = 2 * self.clusters.len() + EVICTION_SLACK;
        }
        Ok(())
    }

    /// What was certainly there before `call`, and so replaced `value` if that was there
    /// at all.
    fn overwriter_of(&self, value: &Value, call: u64) -> Option<(Value, ClusterTrace)> {
        let live = self.clusters.iter().zip(&self.origins);
        let forgotten = self.evicted.iter().map(|evicted| (&evicted.0, &evicted.1));
        live.chain(forgotten)
            .filter(|(cluster, _)| cluster.f < call && cluster.value != *value)
            .max_by_key(|(cluster, _)| cluster.s)
            .map(|(cluster, origin)| (cluster.value.clone(), origin.trace))
    }

    /// A write of unknown outcome turns out to have taken effect.
    fn reveal(&mut self, value: &Value) -> Option<usize> {
        if self.unseen.is_empty() {
            return None;
        }
        let (call, trace) = self.unseen.remove(value)?;
        self.clusters.push(Cluster {
            value: value.clone(),
            f: u64::MAX,
            s: call,
        });
        self.origins.push(Origin {
            written_call: call,
            trace: ClusterTrace {
                write: Some(trace),
                ..ClusterTrace::default()
            },
        });
        Some(self.clusters.len() - 1)
    }

    fn check(&self, at: usize) -> Result<(), Box<Conflict>> {
        let Cluster { f, s, .. } = self.clusters[at];
        let described = |cluster: &Cluster, origin: &Origin| (cluster.value.clone(), origin.trace);
        let this = || described(&self.clusters[at], &self.origins[at]);
        // Every forgotten cluster had returned before this operation was called.
        if let Some((cluster, origin)) = self.evicted.as_deref()
            && cluster.s > f
        {
            return Err(Box::new(Conflict::Interleaved {
                first: described(cluster, origin),
                second: this(),
            }));
        }
        let other = self
            .clusters
            .iter()
            .enumerate()
            .find(|(other, cluster)| cluster.f < s && cluster.s > f && *other != at);
        match other {
            None => Ok(()),
            Some((other, cluster)) => Err(Box::new(Conflict::Interleaved {
                first: described(cluster, &self.origins[other]),
                second: this(),
            })),
        }
    }

    /// Forgets every cluster of which a further read would be wrong by itself: it was
    /// read or written, and something else after it, before the oldest open call.
    fn evict(&mut self, now: u64) {
        let oldest = self.open_calls.first().copied().unwrap_or(now + 1);
        // The two latest calls among what has returned before `oldest`.
        let (mut latest, mut latest_at, mut second) = (0, usize::MAX, 0);
        for (at, cluster) in self.clusters.iter().enumerate() {
            if cluster.f < oldest {
                if cluster.s > latest || latest_at == usize::MAX {
                    second = latest;
                    (latest, latest_at) = (cluster.s, at);
                } else {
                    second = second.max(cluster.s);
                }
            }
        }
        let forgotten = self.evicted.as_ref().map_or(0, |evicted| evicted.0.s);
        let mut kept = 0;
        for at in 0..self.clusters.len() {
            let others = if at == latest_at { second } else { latest }.max(forgotten);
            let cluster = &self.clusters[at];
            if cluster.f < oldest && others > cluster.f {
                if self
                    .evicted
                    .as_ref()
                    .is_none_or(|evicted| cluster.s > evicted.0.s)
                {
                    self.evicted = Some(Box::new((cluster.clone(), self.origins[at])));
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
            && self.clusters[at].f == u64::MAX
        {
            let cluster = self.clusters.swap_remove(at);
            let origin = self.origins.swap_remove(at);
            let trace = origin
                .trace
                .write
                .expect("a write that was called has a trace");
            self.unseen.insert(cluster.value, (call, trace));
        }
    }

    /// The write of `value`, called at `call`, had no effect.
    ///
    /// # Errors
    /// Where somebody has read it.
    pub fn write_failed(&mut self, value: &Value, call: u64) -> Result<(), Box<Conflict>> {
        self.close(call);
        let at = self
            .clusters
            .iter()
            .position(|cluster| cluster.value == *value);
        match at {
            Some(at) if self.clusters[at].f == u64::MAX => {
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

    /// A read that tells nothing ended.
    pub fn read_dropped(&mut self, call: u64) {
        self.close(call);
    }

    /// Whether the key certainly holds one value, and nothing else is to be remembered.
    #[inline]
    pub fn is_idle(&mut self, now: u64) -> bool {
        if !self.open_calls.is_empty() || !self.unseen.is_empty() {
            return false;
        }
        if self.clusters.len() > 1 {
            self.evict(now);
        }
        self.clusters.len() == 1
    }

    /// The one value of an idle key.
    pub fn take_value(&mut self) -> Value {
        std::mem::take(&mut self.clusters[0].value)
    }

    /// Clusters and unseen writes kept.
    pub fn len(&self) -> usize {
        self.clusters.len() + self.unseen.len()
    }
}
