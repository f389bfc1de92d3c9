//! An idle key as one value, for tables and files: what it holds, and what may still
//! change it.
//!
//! A value that is no list stands for itself. A list of one is a value that is a list. A
//! longer list is a value and, for each operation of unknown outcome, the five fields of
//! it.

use std::sync::Arc;

use veridical_histories::OperationId;
use veridical_histories::object::Value;

use crate::zones::{PendingWrite, Trace};

/// Packs a key.
pub(super) fn pack(value: Value, pending: &[PendingWrite]) -> Value {
    if pending.is_empty() && !matches!(value, Value::List(_)) {
        return value;
    }
    let pending = pending.iter().map(|pending| {
        let PendingWrite { value, from, trace } = pending;
        Value::list([
            value.clone(),
            Value::list(from.clone()),
            Value::Int(trace.op.0 as i64),
            Value::Int(trace.client as i64),
            Value::Int(trace.call_ns as i64),
        ])
    });
    Value::list(std::iter::once(value).chain(pending))
}

/// Unpacks a key.
pub(super) fn unpack(packed: Value) -> (Value, Vec<PendingWrite>) {
    let Value::List(fields) = packed else {
        return (packed, Vec::new());
    };
    let [value, pending @ ..] = &fields[..] else {
        unreachable!("packed keys hold a value");
    };
    let pending = pending.iter().map(|pending| {
        let Value::List(fields) = pending else {
            unreachable!("packed operations are lists, not {pending}");
        };
        unpack_pending(fields)
    });
    (value.clone(), pending.collect())
}

fn unpack_pending(fields: &Arc<[Value]>) -> PendingWrite {
    let [
        value,
        Value::List(from),
        Value::Int(op),
        Value::Int(client),
        Value::Int(call_ns),
    ] = &fields[..]
    else {
        unreachable!("packed operations have five fields");
    };
    PendingWrite {
        value: value.clone(),
        from: from.first().cloned(),
        trace: Trace {
            op: OperationId(*op as u64),
            client: *client as u64,
            call_ns: *call_ns as u64,
            return_ns: None,
            is_write: true,
            is_refused: false,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_back_as_it_was() {
        let values = [
            Value::Nil,
            Value::Int(i64::MIN),
            Value::text("x"),
            Value::list([]),
            Value::list([Value::list([Value::Int(1)]), Value::Nil]),
        ];
        for value in &values {
            for from in [None, Some(value.clone())] {
                let pending = PendingWrite {
                    value: Value::list([value.clone()]),
                    from,
                    trace: Trace {
                        op: OperationId(u64::MAX),
                        client: 3,
                        call_ns: u64::MAX - 1,
                        return_ns: None,
                        is_write: true,
                        is_refused: false,
                    },
                };
                for pending in [
                    vec![],
                    vec![pending.clone()],
                    vec![pending.clone(), pending],
                ] {
                    let packed = pack(value.clone(), &pending);
                    assert_eq!(unpack(packed), (value.clone(), pending));
                }
            }
        }
    }
}
