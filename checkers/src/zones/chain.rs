//! Compare-and-swap in engine B.
//!
//! A success from v to v′ stands between the last operation on v and the first on v′, so
//! the clusters of both form a chain, and each value has at most one successor. Chains
//! take the place of clusters in the theorem: f is the least, s the greatest of theirs.
//! Within a chain no operation on an earlier value may be called after one on a later
//! value returned. A replacement of unknown outcome counts once its new value is seen,
//! and then what it replaced counts too.
//!
//! A refusal says that v was not there at some point of an interval, which leaves open
//! what was. Mostly that needs no decision:
//!
//! - v was not certainly there when the call began: then something else was.
//! - A later value of v's own chain was certainly there by the return.
//! - Another chain that was certainly there by the return has to come after v's: it began
//!   to be there before the return, or else v's was over before the call.
//!
//! Otherwise something that need not come before v has to come between v and the return.
//! If only one thing can, it does; if nothing can, the refusal was wrong; if several can,
//! engine A has to try them.

use veridical_histories::object::Value;

use super::{Conflict, FORGOTTEN, Span, Trace, Zones};

/// What a refusal means.
#[derive(Debug)]
pub(crate) enum Refused {
    /// The refusal is explained and taken in.
    Explained,
    /// Several things explain it, and they exclude each other.
    Ambiguous,
}

/// What can have replaced a value.
enum Candidate {
    Cluster(usize),
    Unseen(Value),
}

impl Zones {
    pub(super) fn is_one_chain(&self, a: usize, b: usize) -> bool {
        a == b || {
            let (a, b) = (&self.clusters[a], &self.clusters[b]);
            a.chain != 0 && a.chain == b.chain
        }
    }

    /// Marks the clusters of which a further read would be wrong because a later one of
    /// their chain had returned before `oldest`, the oldest open call.
    pub(super) fn forget_beginnings(&mut self, oldest: u64) {
        for at in 0..self.clusters.len() {
            let Self { clusters, .. } = self;
            let (chain, rank) = (clusters[at].chain, clusters[at].rank);
            let is_over = chain != 0
                && rank != FORGOTTEN
                && clusters.iter().any(|later| {
                    later.chain == chain
                        && later.rank != FORGOTTEN
                        && later.rank > rank
                        && later.f < oldest
                });
            if is_over {
                clusters[at].rank = FORGOTTEN;
            }
        }
    }

    /// [`Zones::seen`] where the cluster `at` is or becomes part of a chain.
    pub(super) fn seen_in_chain(&mut self, at: usize, span: Span) -> Result<(), Box<Conflict>> {
        let Self { clusters, .. } = self;
        let (chain, rank) = (clusters[at].chain, clusters[at].rank);
        if chain != 0 {
            let later = clusters
                .iter()
                .position(|later| later.chain == chain && later.rank > rank && later.f < span.call);
            if let Some(later) = later {
                return Err(Box::new(Conflict::Chain {
                    first: self.described(at),
                    second: self.described(later),
                }));
            }
        }
        let (f, s) = (clusters[at].chain_f, clusters[at].chain_s);
        self.widen(at, f.min(span.returned), s.max(span.call));
        let has_grown = self.link(at)?;
        if has_grown || span.call > s {
            self.check(at)?;
        }
        Ok(())
    }

    /// Gives all clusters of a chain the same numbers.
    fn widen(&mut self, at: usize, f: u64, s: u64) {
        let chain = self.clusters[at].chain;
        if chain == 0 {
            let cluster = &mut self.clusters[at];
            (cluster.chain_f, cluster.chain_s) = (f, s);
            return;
        }
        for cluster in self.clusters.iter_mut().filter(|c| c.chain == chain) {
            (cluster.chain_f, cluster.chain_s) = (f, s);
        }
    }

    /// Puts a cluster that was certainly there behind the one it replaced, and so on back to one
    /// that was certainly there before; tells whether anything was linked.
    fn link(&mut self, at: usize) -> Result<bool, Box<Conflict>> {
        let mut after = at;
        let mut has_linked = false;
        while let Some(from) = self.origins[after].from.take() {
            let found = self.clusters.iter().position(|c| c.value == from);
            let Some(before) = found.or_else(|| self.reveal(&from)) else {
                let origin = &self.origins[after];
                let reader = origin.trace.write.expect("a replacement has a trace");
                return Err(Box::new(Conflict::Unwritten {
                    overwritten_by: self.overwriter_of(&from, origin.written_call),
                    value: from,
                    reader,
                }));
            };
            self.join(before, after)?;
            has_linked = true;
            after = before;
        }
        Ok(has_linked)
    }

    /// Makes the chain of `after` follow that of `before`.
    fn join(&mut self, before: usize, after: usize) -> Result<(), Box<Conflict>> {
        let chain = self.clusters[before].chain;
        let rank = self.clusters[before].rank;
        let successor = self
            .clusters
            .iter()
            .position(|other| chain != 0 && other.chain == chain && other.rank > rank);
        let is_cycle = self.is_one_chain(before, after);
        let (earlier, later) = (&self.clusters[before], &self.clusters[after]);
        if is_cycle || successor.is_some() || earlier.chain_s > later.chain_f {
            return Err(Box::new(Conflict::Chain {
                first: self.described(before),
                second: self.described(successor.unwrap_or(after)),
            }));
        }
        let f = earlier.chain_f.min(later.chain_f);
        let s = earlier.chain_s.max(later.chain_s);
        let joined = if chain == 0 {
            self.chains += 1;
            self.clusters[before].chain = self.chains;
            self.chains
        } else {
            chain
        };
        let moved = self.clusters[after].chain;
        for (at, cluster) in self.clusters.iter_mut().enumerate() {
            if at == after || (moved != 0 && cluster.chain == moved) {
                cluster.rank += rank + 1;
                cluster.chain = joined;
            }
        }
        self.widen(before, f, s);
        Ok(())
    }

    /// A replacement of `from` by `to` was refused: `from` was not there at some point
    /// of `span`. Where it is ambiguous nothing is changed.
    ///
    /// # Errors
    /// Where `from` was there all the time, or somebody has read `to`.
    pub fn refused(
        &mut self,
        from: &Value,
        to: &Value,
        span: Span,
        trace: Trace,
    ) -> Result<Refused, Box<Conflict>> {
        let written = self.clusters.iter().position(|c| c.value == *to);
        let was_there = self.clusters.iter().position(|c| c.value == *from);
        if let Some(at) = was_there
            && written.is_some_and(|written| !self.clusters[written].is_settled())
            && !self.was_certainly_left(at, span)
        {
            let candidates = self.candidates(at, to);
            match candidates.as_slice() {
                [] => {
                    return Err(Box::new(Conflict::Refused {
                        value: self.described(at),
                        refused: trace,
                    }));
                }
                [Candidate::Cluster(candidate)] if self.can_follow(*candidate, from) => {
                    self.seen(*candidate, span, trace)?;
                }
                [Candidate::Unseen(value)] if self.can_be_revealed(value, from) => {
                    let candidate = self.reveal(value).expect("it was among the unseen ones");
                    self.seen(candidate, span, trace)?;
                }
                _ => return Ok(Refused::Ambiguous),
            }
        }
        self.close(span.call);
        self.write_refused(to).map(|()| Refused::Explained)
    }

    /// Whether the value of cluster `at` was not there at some point of `span`, in
    /// whatever order the clusters were.
    fn was_certainly_left(&self, at: usize, span: Span) -> bool {
        let this = &self.clusters[at];
        if this.f >= span.call {
            return true;
        }
        let is_after = |other: usize| {
            let other_cluster = &self.clusters[other];
            if self.is_one_chain(at, other) {
                other_cluster.rank > this.rank
            } else {
                other_cluster.is_settled() && other_cluster.chain_s > this.chain_f
            }
        };
        let forgotten = self.evicted.as_ref();
        forgotten.is_some_and(|evicted| evicted.0.chain_s > this.chain_f)
            || (0..self.clusters.len()).any(|other| other != at && is_after(other))
    }

    /// What can have come between the cluster `at` and now, besides the write of `to`, and need
    /// not have.
    fn candidates(&self, at: usize, to: &Value) -> Vec<Candidate> {
        let this = &self.clusters[at];
        let clusters = self.clusters.iter().enumerate();
        let clusters = clusters.filter(|(other, cluster)| {
            !self.is_one_chain(at, *other)
                && cluster.value != *to
                // What has to come before it does not come after it.
                && cluster.chain_f >= this.chain_s
        });
        let clusters = clusters.map(|(other, _)| Candidate::Cluster(other));
        // Two candidates are too many already.
        let unseen = self.unseen.keys().take(2);
        clusters
            .chain(unseen.map(|value| Candidate::Unseen(value.clone())))
            .collect()
    }

    /// Whether a candidate can be taken as seen: it is one cluster, written whatever was
    /// there or as a replacement of `from`.
    fn can_follow(&self, candidate: usize, from: &Value) -> bool {
        let replaced = &self.origins[candidate].from;
        self.clusters[candidate].chain == 0 && replaced.as_ref().is_none_or(|it| it == from)
    }

    fn can_be_revealed(&self, value: &Value, from: &Value) -> bool {
        let replaced = self.unseen.get(value).and_then(|it| it.from.as_ref());
        replaced.is_none_or(|it| it == from)
    }
}
