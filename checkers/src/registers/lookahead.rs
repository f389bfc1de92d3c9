//! Lookahead: operations that were called and that the frontier has not taken in yet.

use std::collections::{BTreeMap, VecDeque};

use rustc_hash::FxHashMap;
use veridical_histories::object::Value;

/// What is known of calls that are still to come, by position.
#[derive(Debug, Default)]
pub(super) struct Lookahead {
    by_value: FxHashMap<Value, VecDeque<u64>>,
    in_order: VecDeque<(u64, Value)>,
    /// By position of the call: the position of the return, and the value that has to be there.
    wanted: BTreeMap<u64, (u64, Value)>,
    /// The position of the latest of these calls, by value.
    wanted_last: FxHashMap<Value, u64>,
}

impl Lookahead {
    /// An operation that may write `value` was called at `position`, after all others.
    pub fn announce(&mut self, value: Value, position: u64) {
        let calls = self.by_value.entry(value.clone()).or_default();
        calls.push_back(position);
        self.in_order.push_back((position, value));
    }

    /// The operation that was called at `position` has to find `value` before `ends_at`.
    pub fn want(&mut self, value: Value, position: u64, ends_at: u64) {
        let last = self.wanted_last.entry(value.clone()).or_default();
        *last = position.max(*last);
        self.wanted.insert(position, (ends_at, value));
    }

    /// The position of the last call that has to find `value`, as far as it is known.
    pub fn last_wanted(&self, value: &Value) -> Option<u64> {
        self.wanted_last.get(value).copied()
    }

    /// Values that operations called after `now` have to find, and that nothing called in time
    /// writes.
    pub fn scarce(&self, now: u64) -> impl Iterator<Item = &Value> {
        let wanted = self.wanted.range(now..);
        wanted
            .filter(move |(_, (ends_at, value))| !self.is_written(value, now, *ends_at))
            .map(|(_, (_, value))| value)
    }

    /// Forgets what was called before `position`.
    pub fn forget_before(&mut self, position: u64) {
        while let Some(first) = self.wanted.first_entry()
            && *first.key() < position
        {
            let (called, (_, value)) = first.remove_entry();
            if self.wanted_last.get(&value) == Some(&called) {
                self.wanted_last.remove(&value);
            }
        }
        while let Some((called, value)) = self.in_order.front()
            && *called < position
        {
            if let Some(calls) = self.by_value.get_mut(value) {
                calls.pop_front();
                if calls.is_empty() {
                    self.by_value.remove(value);
                }
            }
            self.in_order.pop_front();
        }
    }

    /// Whether an operation that may write `value` is called from `from` on and before `to`.
    pub fn is_written(&self, value: &Value, from: u64, to: u64) -> bool {
        self.by_value.get(value).is_some_and(|calls| {
            let at = calls.partition_point(|position| *position < from);
            calls.get(at).is_some_and(|position| *position < to)
        })
    }

    /// Bytes held, estimated.
    pub fn bytes(&self) -> usize {
        self.in_order.capacity() * size_of::<(u64, Value)>()
            + self.wanted.len() * (4 * size_of::<(u64, u64, Value)>())
            + self.in_order.len() * (size_of::<u64>() + 16)
            + self.by_value.capacity() * size_of::<(Value, VecDeque<u64>)>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_called_in_between_counts() {
        let mut lookahead = Lookahead::default();
        let [a, b] = [1, 2].map(Value::Int);
        for (at, value) in [(3, &a), (5, &b), (9, &a)] {
            lookahead.announce(value.clone(), at);
        }
        assert!(lookahead.is_written(&a, 3, 4) && !lookahead.is_written(&a, 4, 9));
        assert!(lookahead.is_written(&a, 4, 10) && !lookahead.is_written(&b, 6, 100));
        lookahead.forget_before(6);
        assert!(!lookahead.is_written(&a, 0, 9) && lookahead.is_written(&a, 0, 10));
        assert!(!lookahead.is_written(&b, 0, 100));
        assert_eq!(lookahead.by_value.len(), 1);
        lookahead.want(Value::Int(3), 10, 20);
        lookahead.want(a.clone(), 10, 20);
        assert!(lookahead.scarce(11).next().is_none());
        lookahead.want(Value::Int(3), 10, 20);
        assert!(lookahead.scarce(10).eq([&Value::Int(3)]));
        assert_eq!(lookahead.last_wanted(&Value::Int(3)), Some(10));
        lookahead.forget_before(11);
        assert_eq!(lookahead.last_wanted(&Value::Int(3)), None);
    }
}
