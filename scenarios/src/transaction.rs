//! Requests of every shape that the API allows, as plans hold them: keys are numbers, and
//! what has to do with revisions is relative to what the client has seen.

use serde::{Deserialize, Serialize};

/// What a put leaves as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// The value (`ignore_value`).
    Value,
    /// The lease (`ignore_lease`).
    Lease,
    /// Value and lease.
    Both,
}

/// A part of a pair by which pairs are sorted, filtered or compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The key.
    Key,
    /// The version.
    Version,
    /// The revision of creation.
    Create,
    /// The revision of the last change.
    Mod,
    /// The value.
    Value,
    /// The lease.
    Lease,
}

/// A bound for revisions of pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevisionBound {
    /// Of their creation, instead of their last change.
    pub of_creation: bool,
    /// From above, instead of from below.
    pub is_max: bool,
    /// So many revisions before the newest that the client has seen.
    pub back: i64,
}

/// Reads a range, sorted or filtered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// The first key.
    pub from: u32,
    /// The first one that is not wanted.
    pub to: u32,
    /// At most so many; 0 for all.
    pub limit: i64,
    /// Sorted by this.
    pub sort_by: Part,
    /// From the greatest to the smallest.
    pub descending: bool,
    /// Only some of the pairs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound: Option<RevisionBound>,
    /// From the member's own state.
    pub serializable: bool,
}

/// How a comparison relates the two sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Relation {
    /// Equal.
    Equal,
    /// The key's side is greater.
    Greater,
    /// The key's side is less.
    Less,
    /// They differ.
    NotEqual,
}

/// One comparison of a transaction, with what the client saw last, or nearly that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedCompare {
    /// The key.
    pub key: u32,
    /// All keys from there on, up to but without this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<u32>,
    /// What is compared.
    pub part: Part,
    /// How the two are compared.
    pub relation: Relation,
    /// Added to what the client saw, where that is a number.
    pub offset: i64,
}

/// One operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum TxnStep {
    /// Write a key.
    Put {
        /// The key.
        key: u32,
        /// Ask for the pair before.
        prev_kv: bool,
        /// Attach it to the client's lease of that number, if it has one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lease: Option<u8>,
        /// What is kept of it as it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        keep: Option<Keep>,
    },
    /// Read a range.
    Range {
        /// The first key.
        from: u32,
        /// The first one that is not wanted.
        to: u32,
        /// At most so many; 0 for all.
        limit: i64,
        /// So many revisions before the newest that the client has seen; 0 for now.
        #[serde(default)]
        back: i64,
    },
    /// Delete a range.
    Delete {
        /// The first key.
        from: u32,
        /// The first one that stays.
        to: u32,
        /// Ask for the pairs before.
        prev_kv: bool,
    },
    /// A transaction in the transaction.
    Txn(PlannedTxn),
}

/// Compares, and then does one thing or another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedTxn {
    /// All have to hold for `success`.
    pub compares: Vec<PlannedCompare>,
    /// What is done then.
    pub success: Vec<TxnStep>,
    /// What is done otherwise.
    pub failure: Vec<TxnStep>,
}
