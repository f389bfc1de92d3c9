//! A small part of a wrong history that is wrong by itself: the witness of engine D.

use std::collections::{BTreeMap, BTreeSet};

use veridical_histories::OperationId;
use veridical_histories::object::{Answer, Value};

use super::{Asked, Collection, Moment, NEVER, Retained, Span, moments};
use crate::models::ObjectKind;

/// How many histories may be judged in search of a small one.
const CHECKS_MAX: usize = 2_000;

/// Whether these operations alone are wrong.
fn is_wrong(kind: ObjectKind, operations: &[Retained]) -> bool {
    let Some(mut collection) = Collection::resume(kind, &[], NEVER) else {
        return false;
    };
    let mut calls: BTreeMap<u64, u64> = BTreeMap::new();
    for (at, (index, moment)) in moments(operations).into_iter().enumerate() {
        let operation = &operations[index];
        let Some(asked) = Asked::of(kind, &operation.action) else {
            return false;
        };
        // Events are numbered anew, because some operations stand for instants between events.
        let now = at as u64 + 1;
        let call = *calls.entry(operation.span.op.0).or_insert(now);
        let span = Span::called(operation.span.op, 0, call, 0);
        let result = match (moment, &asked, &operation.answer) {
            (Moment::Call, ..) => match collection.called(span, &asked) {
                Ok(()) => Ok(()),
                Err(_) => return false,
            },
            (Moment::End, Asked::Insert(value), _) => {
                collection.inserted(span.ended(now, 0), value);
                Ok(())
            }
            (Moment::End, Asked::Take, Some(Answer::Value(value))) => {
                collection.took(span.ended(now, 0), value)
            }
            (Moment::End, Asked::Take, _) => collection.took(span.ended(now, 0), &Value::Nil),
        };
        if result.is_err() {
            return true;
        }
    }
    collection.settle().is_err()
}

/// The operations as they were known by the event `last`.
fn prefix(operations: &[Retained], last: u64) -> Vec<Retained> {
    let called = operations.iter().filter(|it| it.span.call <= last);
    let known = called.filter(|it| it.answer.is_some() || it.span.end > last);
    let known = known.cloned().map(|mut operation| {
        if operation.span.end > last {
            operation.answer = None;
        }
        operation
    });
    known.collect()
}

/// The value that an operation is about. All operations of one value stay together, for
/// whoever leaves out a whole value never makes a correct history wrong.
fn value_of(operation: &Retained, kind: ObjectKind) -> Option<Value> {
    match (Asked::of(kind, &operation.action)?, &operation.answer) {
        (Asked::Insert(value), _) => Some(value.clone()),
        (Asked::Take, Some(Answer::Value(value))) if !value.is_nil() => Some(value.clone()),
        (Asked::Take, _) => None,
    }
}

/// The operations without which `suspects`, which are wrong by the event `last`, would not
/// be, and the first event by which they are wrong, looked for from `since` on: from there
/// no operation is missing. `None` where they are not wrong by themselves.
pub(crate) fn minimize(
    kind: ObjectKind,
    suspects: &[Retained],
    since: u64,
    last: u64,
) -> Option<(Vec<Retained>, u64)> {
    let mut seen = BTreeSet::new();
    let mut all: Vec<Retained> = suspects.to_vec();
    all.retain(|operation| seen.insert(operation.span.op));
    all.sort_by_key(|operation| (operation.span.call, operation.span.op));
    let mut all = prefix(&all, last);
    if !is_wrong(kind, &all) {
        return None;
    }
    let mut ends: Vec<u64> = all.iter().map(|operation| operation.span.end).collect();
    ends.retain(|end| (since..last).contains(end));
    ends.sort_unstable();
    let shortest = ends.partition_point(|end| !is_wrong(kind, &prefix(&all, *end)));
    let first = ends.get(shortest).copied().unwrap_or(last);
    all = prefix(&all, first);
    // Operations that may have taken anything stay.
    let is_pending = |it: &Retained| it.answer.is_none() && value_of(it, kind).is_none();
    let (pending, known): (Vec<Retained>, Vec<Retained>) = all.into_iter().partition(is_pending);
    let mut groups: BTreeMap<(Option<Value>, Option<OperationId>), Vec<Retained>> = BTreeMap::new();
    for operation in known {
        let value = value_of(&operation, kind);
        let op = value.is_none().then_some(operation.span.op);
        groups.entry((value, op)).or_default().push(operation);
    }
    let mut groups: Vec<Vec<Retained>> = groups.into_values().collect();
    groups.sort_by_key(|group| group[0].span.call);
    let mut checks = 0;
    let mut chunk = groups.len().div_ceil(2);
    while chunk > 0 && checks < CHECKS_MAX {
        let mut at = 0;
        let mut has_shrunk = false;
        while at < groups.len() && checks < CHECKS_MAX {
            let end = (at + chunk).min(groups.len());
            let fewer = [&groups[..at], &groups[end..]].concat();
            checks += 1;
            if is_wrong(kind, &[fewer.concat(), pending.clone()].concat()) {
                groups = fewer;
                has_shrunk = true;
            } else {
                at = end;
            }
        }
        let is_done = chunk == 1 && !has_shrunk;
        chunk = match (chunk, is_done) {
            (_, true) => 0,
            (1, _) => 1,
            _ => chunk / 2,
        };
    }
    let mut left = groups.concat();
    // A take of unknown outcome matters if a second one like it would explain the history.
    let matters = |it: &&Retained| {
        let mut again = (*it).clone();
        again.span.op = OperationId(again.span.op.0 ^ u64::MAX);
        let mut more = [left.clone(), pending.clone()].concat();
        more.push(again);
        !is_wrong(kind, &more)
    };
    let pending: Vec<Retained> = match pending.len() * (left.len() + pending.len()) {
        0..200_000 => pending.iter().filter(matters).cloned().collect(),
        _ => pending,
    };
    left.extend(pending);
    left.sort_by_key(|operation| (operation.span.call, operation.span.op));
    Some((left, first))
}
