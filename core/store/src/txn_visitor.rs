//! A walk over a transaction and all that is nested in it, in the order of the request.

use std::ops::ControlFlow;

use veridical_proto::etcdserverpb::{TxnRequest, request_op};

/// What is done at each place of a transaction. Whatever it breaks with ends the walk.
pub(crate) trait TxnVisitor {
    /// What ends the walk early.
    type Break;

    /// A transaction begins, the outermost one or a nested one.
    fn enter(&mut self, _txn: &TxnRequest) -> ControlFlow<Self::Break> {
        ControlFlow::Continue(())
    }

    /// An operation of either branch that is no transaction; `None` if it says nothing.
    fn operation(&mut self, operation: Option<&request_op::Request>) -> ControlFlow<Self::Break>;

    /// A transaction ends.
    fn leave(&mut self, _txn: &TxnRequest) {}
}

/// Walks over `txn`.
pub(crate) fn visit<V: TxnVisitor>(txn: &TxnRequest, visitor: &mut V) -> ControlFlow<V::Break> {
    visitor.enter(txn)?;
    for operation in txn.success.iter().chain(&txn.failure) {
        match &operation.request {
            Some(request_op::Request::RequestTxn(nested)) => visit(nested, visitor)?,
            operation => visitor.operation(operation.as_ref())?,
        }
    }
    visitor.leave(txn);
    ControlFlow::Continue(())
}
