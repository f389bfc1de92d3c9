//! Checking a program while it runs: a map behind a lock is fed event by event, first
//! as it should be, then with a cache that is not invalidated.
//!
//! `cargo run -p veridical-checkers --example online`

use std::collections::BTreeMap;

use veridical_checkers::{CheckerOptions, ObjectChecker, ObjectKind, ObjectModel, Rejection};
use veridical_histories::OperationId;
use veridical_histories::object::{Action, Answer, ObjectEvent, Request, Value};

/// A store, and the checker that watches it.
struct Watched {
    checker: ObjectChecker,
    map: BTreeMap<i64, i64>,
    /// Answers given before, never thrown away: the bug.
    cache: Option<BTreeMap<i64, Value>>,
    clock: u64,
}

impl Watched {
    fn new(has_bug: bool) -> Self {
        let model = ObjectModel::new(ObjectKind::Kv);
        Self {
            checker: ObjectChecker::new(model, CheckerOptions::default()),
            map: BTreeMap::new(),
            cache: has_bug.then(BTreeMap::new),
            clock: 0,
        }
    }

    fn run(&mut self, key: i64, action: Action) -> Result<(), Rejection> {
        self.clock += 2;
        let op = OperationId(self.clock);
        let request = Request {
            key: key.into(),
            action: action.clone(),
        };
        self.checker
            .observe(&ObjectEvent::call(self.clock, 0, op, request))?;
        let answer = if let Action::Write(Value::Int(value)) = action {
            self.map.insert(key, value);
            Answer::Done
        } else {
            let held = self
                .map
                .get(&key)
                .map_or(Value::Nil, |value| Value::Int(*value));
            let cached = match &mut self.cache {
                Some(cache) => cache.entry(key).or_insert(held).clone(),
                None => held,
            };
            Answer::Value(cached)
        };
        self.checker
            .observe(&ObjectEvent::returned(self.clock + 1, 0, op, answer))
    }
}

fn main() {
    for has_bug in [false, true] {
        let mut watched = Watched::new(has_bug);
        let result = (1..=1_000).try_for_each(|step| {
            watched.run(step % 7, Action::Write(step.into()))?;
            watched.run(step % 5, Action::Read)
        });
        match result {
            Ok(()) => println!("without the bug: {}", watched.checker.finish()),
            Err(rejection) => println!("with the bug: {rejection}"),
        }
    }
}
