//! Clusters: what is known of a value, and how clusters contradict each other.

use veridical_histories::OperationId;
use veridical_histories::object::Value;

/// An operation, as far as a witness shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trace {
    pub op: OperationId,
    pub client: u64,
    pub call_ns: u64,
    /// `None` while it has not returned.
    pub return_ns: Option<u64>,
    pub is_write: bool,
    /// A compare-and-swap that was refused: it saw something else.
    pub is_refused: bool,
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
pub(super) struct Cluster {
    pub value: Value,
    /// The earliest return of an operation on this value; `u64::MAX` while there is none.
    pub f: u64,
    /// The earliest return on the whole chain; `u64::MAX` while its writes need not have
    /// happened.
    pub chain_f: u64,
    /// The latest call of an operation on the whole chain.
    pub chain_s: u64,
    /// The number of its chain; 0 where this is the only cluster of its chain.
    pub chain: u64,
    /// Its place in the chain. Those before the first that is kept are forgotten.
    pub rank: u64,
}

impl Cluster {
    pub fn new(value: Value, f: u64, s: u64) -> Self {
        Self {
            value,
            f,
            chain_f: f,
            chain_s: s,
            chain: 0,
            rank: 0,
        }
    }

    /// Whether it certainly was there at some time.
    pub fn is_settled(&self) -> bool {
        self.chain_f != u64::MAX
    }
}

/// What is known of a cluster beside its numbers.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    /// The call of its write.
    pub written_call: u64,
    /// The latest call of an operation on this value.
    pub s: u64,
    /// What a compare-and-swap that wrote it replaced, until the two are linked.
    pub from: Option<Value>,
    pub trace: ClusterTrace,
}

impl Origin {
    pub fn written(call: u64, from: Option<Value>, trace: Trace) -> Self {
        Self {
            written_call: call,
            s: call,
            from,
            trace: ClusterTrace {
                write: Some(trace),
                ..ClusterTrace::default()
            },
        }
    }
}

/// A write of unknown outcome that may still take effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PendingWrite {
    pub value: Value,
    /// What it replaces; `None` where it writes whatever was there.
    pub from: Option<Value>,
    pub trace: Trace,
}

/// A write or replacement of unknown outcome that nobody has seen.
#[derive(Clone, Debug)]
pub(super) struct Unseen {
    pub call: u64,
    pub from: Option<Value>,
    pub trace: Trace,
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
    /// The values of a chain of replacements are not in its order.
    Chain {
        first: (Value, ClusterTrace),
        second: (Value, ClusterTrace),
    },
    /// A replacement was refused although the value it replaces was there all the time.
    Refused {
        value: (Value, ClusterTrace),
        refused: Trace,
    },
}
