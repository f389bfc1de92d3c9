//! Transactions.

use bytes::Bytes;
use veridical_proto::etcdserverpb as api;
use veridical_proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use veridical_proto::etcdserverpb::request_op::Request;
use veridical_proto::native::batch_operation::Operation;

use crate::into_bytes::IntoBytes;
use crate::options::{DeleteOptions, GetOptions, PutOptions};
use crate::span::Span;

/// Comparisons, what is done if all of them hold, and what is done otherwise; at one revision.
///
/// ```no_run
/// # async fn example(client: veridical_client::PipelinedClient)
/// # -> Result<(), veridical_client::CallError> {
/// use veridical_client::{Compare, Txn, TxnOp};
///
/// let txn = Txn::new()
///     .when([Compare::value("owner").equal("nobody")])
///     .and_then([TxnOp::put("owner", "me", None)])
///     .or_else([TxnOp::get("owner", None)]);
/// let answer = client.txn(txn).await?;
/// if !answer.succeeded {
///     let owner = answer.responses[0].as_get();
///     println!("it belongs to {owner:?}");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Txn {
    request: api::TxnRequest,
}

impl Txn {
    /// Without comparisons: what it does is done.
    pub fn new() -> Self {
        Self::default()
    }

    /// With these comparisons; those of several calls have to hold together.
    #[must_use]
    pub fn when(mut self, compares: impl IntoIterator<Item = Compare>) -> Self {
        let compares = compares.into_iter().map(|compare| compare.0);
        self.request.compare.extend(compares);
        self
    }

    /// What is done if they hold.
    #[must_use]
    pub fn and_then(mut self, ops: impl IntoIterator<Item = TxnOp>) -> Self {
        self.request.success.extend(ops.into_iter().map(|op| op.0));
        self
    }

    /// What is done if not.
    #[must_use]
    pub fn or_else(mut self, ops: impl IntoIterator<Item = TxnOp>) -> Self {
        self.request.failure.extend(ops.into_iter().map(|op| op.0));
        self
    }

    pub(crate) fn into_request(self) -> api::TxnRequest {
        self.request
    }
}

/// Of a request that was made elsewhere.
impl From<api::TxnRequest> for Txn {
    fn from(request: api::TxnRequest) -> Self {
        Self { request }
    }
}

impl From<TxnOp> for Operation {
    fn from(op: TxnOp) -> Self {
        match op.0.request {
            Some(Request::RequestRange(range)) => Self::Range(range),
            Some(Request::RequestPut(put)) => Self::Put(put),
            Some(Request::RequestDeleteRange(delete)) => Self::DeleteRange(delete),
            Some(Request::RequestTxn(txn)) => Self::Txn(txn),
            None => unreachable!("no operation is made without a request"),
        }
    }
}

/// A comparison. It is begun with what is compared, and ended with how:
/// `Compare::version("key").greater(3)`.
#[derive(Clone, Debug)]
pub struct Compare(api::Compare);

impl Compare {
    /// The value of a key. While there is no such key nothing holds, not even `not_equal`.
    pub fn value(key: impl IntoBytes) -> CompareValue {
        CompareValue(Subject::new(key, CompareTarget::Value))
    }

    /// How often a key was written since it was created; 0 while there is none.
    pub fn version(key: impl IntoBytes) -> CompareNumber {
        CompareNumber(Subject::new(key, CompareTarget::Version))
    }

    /// The revision at which a key was created; 0 while there is none.
    pub fn create_revision(key: impl IntoBytes) -> CompareNumber {
        CompareNumber(Subject::new(key, CompareTarget::Create))
    }

    /// The revision of the last write of a key; 0 while there is none.
    pub fn mod_revision(key: impl IntoBytes) -> CompareNumber {
        CompareNumber(Subject::new(key, CompareTarget::Mod))
    }

    /// The lease of a key; 0 for none.
    pub fn lease(key: impl IntoBytes) -> CompareNumber {
        CompareNumber(Subject::new(key, CompareTarget::Lease))
    }

    /// The key exists.
    pub fn exists(key: impl IntoBytes) -> Self {
        Self::create_revision(key).greater(0)
    }

    /// The key does not exist.
    pub fn missing(key: impl IntoBytes) -> Self {
        Self::create_revision(key).equal(0)
    }
}

/// What is compared.
#[derive(Clone, Debug)]
struct Subject {
    key: Bytes,
    span: Span,
    target: CompareTarget,
}

impl Subject {
    fn new(key: impl IntoBytes, target: CompareTarget) -> Self {
        Self {
            key: key.into_bytes(),
            span: Span::Key,
            target,
        }
    }

    fn compared(self, result: CompareResult, operand: TargetUnion) -> Compare {
        let (key, range_end) = self.span.bounds(self.key);
        Compare(api::Compare {
            result: result.into(),
            target: self.target.into(),
            key,
            target_union: Some(operand),
            range_end,
        })
    }
}

/// Ways to name several keys, and the four relations.
macro_rules! comparisons {
    ($name:ident, $($operand:tt)+) => {
        impl $name {
            /// For all keys that begin with the given one; without any as for one key that
            /// there is not.
            #[must_use]
            pub fn with_prefix(mut self) -> Self {
                self.0.span = Span::Prefix;
                self
            }

            /// For all keys up to `end`, which does not belong to them; without any as for one
            /// key that there is not.
            #[must_use]
            pub fn with_range(mut self, end: impl IntoBytes) -> Self {
                self.0.span = Span::Until(end.into_bytes());
                self
            }

            /// Is equal.
            pub fn equal(self, operand: $($operand)+) -> Compare {
                let operand = self.operand(operand);
                self.0.compared(CompareResult::Equal, operand)
            }

            /// Is not equal.
            pub fn not_equal(self, operand: $($operand)+) -> Compare {
                let operand = self.operand(operand);
                self.0.compared(CompareResult::NotEqual, operand)
            }

            /// Is greater.
            pub fn greater(self, operand: $($operand)+) -> Compare {
                let operand = self.operand(operand);
                self.0.compared(CompareResult::Greater, operand)
            }

            /// Is less.
            pub fn less(self, operand: $($operand)+) -> Compare {
                let operand = self.operand(operand);
                self.0.compared(CompareResult::Less, operand)
            }
        }
    };
}

/// A value that is about to be compared.
#[derive(Clone, Debug)]
pub struct CompareValue(Subject);

impl CompareValue {
    #[allow(clippy::unused_self, reason = "a number needs to know what it is of")]
    fn operand(&self, operand: impl IntoBytes) -> TargetUnion {
        TargetUnion::Value(operand.into_bytes())
    }
}

comparisons!(CompareValue, impl IntoBytes);

/// A number that is about to be compared.
#[derive(Clone, Debug)]
pub struct CompareNumber(Subject);

impl CompareNumber {
    fn operand(&self, operand: i64) -> TargetUnion {
        match self.0.target {
            CompareTarget::Version => TargetUnion::Version(operand),
            CompareTarget::Create => TargetUnion::CreateRevision(operand),
            CompareTarget::Mod => TargetUnion::ModRevision(operand),
            CompareTarget::Lease => TargetUnion::Lease(operand),
            CompareTarget::Value => unreachable!("a value is no number"),
        }
    }
}

comparisons!(CompareNumber, i64);

/// One operation of a transaction, or of a [batch](crate::Client::batch).
#[derive(Clone, Debug)]
pub struct TxnOp(api::RequestOp);

impl TxnOp {
    /// Reads; see [`Client::get`](crate::Client::get).
    pub fn get(key: impl IntoBytes, options: impl Into<Option<GetOptions>>) -> Self {
        let request = options.into().unwrap_or_default().request(key);
        Self::of(Request::RequestRange(request))
    }

    /// Writes; see [`Client::put`](crate::Client::put).
    pub fn put(
        key: impl IntoBytes,
        value: impl IntoBytes,
        options: impl Into<Option<PutOptions>>,
    ) -> Self {
        let request = options.into().unwrap_or_default().request(key, value);
        Self::of(Request::RequestPut(request))
    }

    /// Deletes; see [`Client::delete`](crate::Client::delete).
    pub fn delete(key: impl IntoBytes, options: impl Into<Option<DeleteOptions>>) -> Self {
        let request = options.into().unwrap_or_default().request(key);
        Self::of(Request::RequestDeleteRange(request))
    }

    /// A transaction in the transaction.
    pub fn txn(txn: Txn) -> Self {
        Self::of(Request::RequestTxn(txn.into_request()))
    }

    fn of(request: Request) -> Self {
        Self(api::RequestOp {
            request: Some(request),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Builders say what the messages say that one would write by hand.
    #[test]
    fn what_is_built_is_what_the_api_means() {
        let inner = Txn::new().and_then([TxnOp::delete("c", DeleteOptions::new().with_prefix())]);
        let built = Txn::new()
            .when([
                Compare::value("a").not_equal("x"),
                Compare::lease("b").less(7),
                Compare::version("d/").with_prefix().greater(2),
                Compare::missing("e"),
            ])
            .and_then([TxnOp::put("a", "y", PutOptions::new().with_lease(9))])
            .or_else([TxnOp::get("a", None), TxnOp::txn(inner)])
            .into_request();

        let compare =
            |result: CompareResult, target: CompareTarget, key, operand, end| api::Compare {
                result: result.into(),
                target: target.into(),
                key: Bytes::from_static(key),
                target_union: Some(operand),
                range_end: Bytes::from_static(end),
            };
        let op = |request| api::RequestOp {
            request: Some(request),
        };
        let by_hand = api::TxnRequest {
            compare: vec![
                compare(
                    CompareResult::NotEqual,
                    CompareTarget::Value,
                    b"a",
                    TargetUnion::Value("x".into()),
                    b"",
                ),
                compare(
                    CompareResult::Less,
                    CompareTarget::Lease,
                    b"b",
                    TargetUnion::Lease(7),
                    b"",
                ),
                compare(
                    CompareResult::Greater,
                    CompareTarget::Version,
                    b"d/",
                    TargetUnion::Version(2),
                    b"d0",
                ),
                compare(
                    CompareResult::Equal,
                    CompareTarget::Create,
                    b"e",
                    TargetUnion::CreateRevision(0),
                    b"",
                ),
            ],
            success: vec![op(Request::RequestPut(api::PutRequest {
                key: "a".into(),
                value: "y".into(),
                lease: 9,
                ..Default::default()
            }))],
            failure: vec![
                op(Request::RequestRange(api::RangeRequest {
                    key: "a".into(),
                    ..Default::default()
                })),
                op(Request::RequestTxn(api::TxnRequest {
                    compare: vec![],
                    success: vec![op(Request::RequestDeleteRange(api::DeleteRangeRequest {
                        key: "c".into(),
                        range_end: "d".into(),
                        prev_kv: false,
                    }))],
                    failure: vec![],
                })),
            ],
        };
        assert_eq!(built, by_hand);
    }
}
