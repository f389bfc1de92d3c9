//! Requests and answers as one line of text, for witnesses and pictures.

use std::fmt;

use super::request::{
    Compare, CompareResult, CompareTarget, DeleteRangeRequest, KeyRange, PutRequest, RangeRequest,
    Request, TxnOp, TxnRequest,
};
use super::response::{
    DeleteRangeResult, KeyValue, Outcome, PutResult, RangeResult, Response, TxnOpResult, TxnResult,
};
use crate::text_bytes::display;

/// Pairs shown of a long answer before the rest is counted only.
const SHOWN_PAIRS_MAX: usize = 8;

impl fmt::Display for KeyRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_single() {
            f.write_str(&display(&self.key))
        } else if self.is_unbounded() {
            write!(f, "[{}, ∞)", display(&self.key))
        } else {
            write!(f, "[{}, {})", display(&self.key), display(&self.range_end))
        }
    }
}

impl fmt::Display for RangeRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "range {}", self.range)?;
        let bounds = [
            ("limit", self.limit),
            ("revision", self.revision),
            ("min_mod_revision", self.min_mod_revision),
            ("max_mod_revision", self.max_mod_revision),
            ("min_create_revision", self.min_create_revision),
            ("max_create_revision", self.max_create_revision),
        ];
        for (name, bound) in bounds.iter().filter(|(_, bound)| *bound != 0) {
            write!(f, " {name}={bound}")?;
        }
        let flags = [
            ("serializable", self.serializable),
            ("keys_only", self.keys_only),
            ("count_only", self.count_only),
        ];
        for (name, _) in flags.iter().filter(|(_, set)| *set) {
            write!(f, " {name}")?;
        }
        if self.sort_order != super::SortOrder::None || self.sort_target != super::SortTarget::Key {
            write!(f, " sort={:?}/{:?}", self.sort_target, self.sort_order)?;
        }
        Ok(())
    }
}

impl fmt::Display for PutRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "put {}", display(&self.key))?;
        if self.ignore_value {
            f.write_str(" ignore_value")?;
        } else {
            write!(f, " = {}", display(&self.value))?;
        }
        if self.ignore_lease {
            f.write_str(" ignore_lease")?;
        } else if self.lease != 0 {
            write!(f, " lease={}", self.lease)?;
        }
        Ok(())
    }
}

impl fmt::Display for DeleteRangeRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "delete {}", self.range)
    }
}

impl fmt::Display for Compare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let relation = match self.result {
            CompareResult::Equal => "=",
            CompareResult::Greater => ">",
            CompareResult::Less => "<",
            CompareResult::NotEqual => "≠",
        };
        match &self.target {
            CompareTarget::Version(v) => write!(f, "version({}) {relation} {v}", self.range),
            CompareTarget::CreateRevision(v) => write!(f, "create({}) {relation} {v}", self.range),
            CompareTarget::ModRevision(v) => write!(f, "mod({}) {relation} {v}", self.range),
            CompareTarget::Lease(v) => write!(f, "lease({}) {relation} {v}", self.range),
            CompareTarget::Value(v) => {
                write!(f, "value({}) {relation} {}", self.range, display(v))
            }
        }
    }
}

struct List<'a, T>(&'a [T], &'static str);

impl<T: fmt::Display> fmt::Display for List<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, item) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(self.1)?;
            }
            if i == SHOWN_PAIRS_MAX {
                return write!(f, "… {} more", self.0.len() - i);
            }
            item.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for TxnOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range(op) => op.fmt(f),
            Self::Put(op) => op.fmt(f),
            Self::DeleteRange(op) => op.fmt(f),
            Self::Txn(op) => op.fmt(f),
        }
    }
}

impl fmt::Display for TxnRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "txn if ({}) then ({}) else ({})",
            List(&self.compares, " and "),
            List(&self.success, "; "),
            List(&self.failure, "; ")
        )
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range(op) => op.fmt(f),
            Self::Put(op) => op.fmt(f),
            Self::DeleteRange(op) => op.fmt(f),
            Self::Txn(op) => op.fmt(f),
            Self::Compact { revision } => write!(f, "compact {revision}"),
            Self::LeaseGrant { id, ttl_s } => write!(f, "grant lease {id} for {ttl_s} s"),
            Self::LeaseRevoke { id } => write!(f, "revoke lease {id}"),
            Self::LeaseKeepAlive { id } => write!(f, "keep lease {id} alive"),
            Self::LeaseTimeToLive { id, keys: false } => write!(f, "how long lasts lease {id}"),
            Self::LeaseTimeToLive { id, keys: true } => {
                write!(f, "how long lasts lease {id}, with its keys")
            }
            Self::LeaseLeases => f.write_str("list leases"),
        }
    }
}

impl fmt::Display for KeyValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} = {} (mod {}, create {}, version {}",
            display(&self.key),
            display(&self.value),
            self.mod_revision,
            self.create_revision,
            self.version
        )?;
        if self.lease != 0 {
            write!(f, ", lease {}", self.lease)?;
        }
        f.write_str(")")
    }
}

impl fmt::Display for RangeResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] count={}", List(&self.kvs, ", "), self.count)?;
        if self.more {
            f.write_str(" more")
        } else {
            Ok(())
        }
    }
}

impl fmt::Display for PutResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.prev_kv {
            Some(kv) => write!(f, "put, before: {kv}"),
            None => f.write_str("put"),
        }
    }
}

impl fmt::Display for DeleteRangeResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "deleted {}", self.deleted)?;
        if self.prev_kvs.is_empty() {
            Ok(())
        } else {
            write!(f, ", before: [{}]", List(&self.prev_kvs, ", "))
        }
    }
}

impl fmt::Display for TxnOpResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range(result) => result.fmt(f),
            Self::Put(result) => result.fmt(f),
            Self::DeleteRange(result) => result.fmt(f),
            Self::Txn(result) => result.fmt(f),
        }
    }
}

impl fmt::Display for TxnResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let branch = if self.succeeded { "then" } else { "else" };
        write!(f, "{branch} ({})", List(&self.results, "; "))
    }
}

impl fmt::Display for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range(result) => result.fmt(f),
            Self::Put(result) => result.fmt(f),
            Self::DeleteRange(result) => result.fmt(f),
            Self::Txn(result) => result.fmt(f),
            Self::Compact => f.write_str("compacted"),
            Self::LeaseGrant { id, ttl_s } => write!(f, "lease {id} for {ttl_s} s"),
            Self::LeaseRevoke => f.write_str("revoked"),
            Self::LeaseKeepAlive { ttl_s } => write!(f, "{ttl_s} s to live"),
            Self::LeaseTimeToLive {
                ttl_s,
                granted_ttl_s,
                keys,
            } => {
                write!(f, "{ttl_s} of {granted_ttl_s} s to live")?;
                for key in keys {
                    write!(f, ", {}", display(key))?;
                }
                Ok(())
            }
            Self::LeaseLeases { ids } => write!(f, "leases {ids:?}"),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done { header, response } => write!(f, "{response} @{}", header.revision),
            Self::Refused { error } => write!(f, "refused: {error:?}"),
        }
    }
}
