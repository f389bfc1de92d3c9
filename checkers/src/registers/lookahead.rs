//! What was called and is not yet judged: what can be written soon.

use std::collections::{BTreeMap, VecDeque};

use rustc_hash::FxHashMap;
use veridical_histories::object::Value;

/// Calls of writes by the value they write, by position.
#[derive(Debug, Default)]
pub(super) struct Coming {
    by_value: FxHashMap<Value, VecDeque<u64>>,
    in_order: VecDeque<(u64, Value)>,
    /// What is called at a position and ends at another, and has to find a value.
    wanted: BTreeMap<u64, (u64, Value)>,
    /// The latest of these calls, by value.
    wanted_last: FxHashMap<Value, u64>,
}

impl Coming {
    /// Something that may write `value` was called at `position`, after all others.
    pub fn announce(&mut self, value: Value, position: u64) {
        let calls = self.by_value.entry(value.clone()).or_default();
        calls.push_back(position);
        self.in_order.push_back((position, value));
    }

    /// What was called at `position` has to find `value`, by `ends_at`.
    pub fn want(&mut self, value: Value, position: u64, ends_at: u64) {
        let last = self.wanted_last.entry(value.clone()).or_default();
        *last = position.max(*last);
        self.wanted.insert(position, (ends_at, value));
    }

    /// When the last operation is called that has to find `value`, as far as that is known.
    pub fn last_wanted(&self, value: &Value) -> Option<u64> {
        self.wanted_last.get(value).copied()
    }

    /// What has to be found by operations that are called after `now`, as far as that is
    /// known, and nothing that writes it is called by then.
    pub fn scarce(&self, now: u64) -> impl Iterator<Item = &Value> {
        let wanted = self.wanted.range(now..);
        wanted
            .filter(move |(_, (ends_at, value))| !self.is_written(value, now, *ends_at))
            .map(|(_, (_, value))| value)
    }

    /// What was called before `position` is of no interest any more.
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

    /// Whether something that may write `value` is called from `from` on, and before `to`.
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
        let mut coming = Coming::default();
        let [a, b] = [1, 2].map(Value::Int);
        for (at, value) in [(3, &a), (5, &b), (9, &a)] {
            coming.announce(value.clone(), at);
        }
        assert!(coming.is_written(&a, 3, 4) && !coming.is_written(&a, 4, 9));
        assert!(coming.is_written(&a, 4, 10) && !coming.is_written(&b, 6, 100));
        coming.forget_before(6);
        assert!(!coming.is_written(&a, 0, 9) && coming.is_written(&a, 0, 10));
        assert!(!coming.is_written(&b, 0, 100));
        assert_eq!(coming.by_value.len(), 1);
        coming.want(Value::Int(3), 10, 20);
        coming.want(a.clone(), 10, 20);
        assert!(coming.scarce(11).next().is_none());
        coming.want(Value::Int(3), 10, 20);
        assert!(coming.scarce(10).eq([&Value::Int(3)]));
        assert_eq!(coming.last_wanted(&Value::Int(3)), Some(10));
        coming.forget_before(11);
        assert_eq!(coming.last_wanted(&Value::Int(3)), None);
    }
}
