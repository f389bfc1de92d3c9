//! What every engine must do, also through crashes.

use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use veridical_storage::engine::{Engine, WriteBatch};

/// Where an engine lives.
pub trait World {
    type Engine: Engine;

    /// A new world with an empty engine.
    fn new() -> (Self, Self::Engine)
    where
        Self: Sized;

    /// The machine stops and starts again.
    fn crash(&self, engine: Self::Engine) -> Self::Engine;
}

/// Runs every property. `cases` is for the random one.
pub fn conformance<W: World>(cases: u32) {
    a_batch_is_applied_in_order_with_its_index::<W>();
    a_crash_goes_back_to_the_last_flush::<W>();
    a_replacement_is_not_seen_before_it_is_finished::<W>();
    a_crash_during_a_replacement_keeps_the_old_content::<W>();
    a_crash_during_the_first_replacement_leaves_nothing::<W>();
    a_finished_replacement_is_durable::<W>();
    any_use_agrees_with_a_map::<W>(cases);
}

fn batch(puts: &[(&str, &str)]) -> WriteBatch {
    let mut batch = WriteBatch::new();
    for (key, value) in puts {
        batch.put(key.as_bytes().to_vec(), value.as_bytes().to_vec());
    }
    batch
}

fn content(engine: &impl Engine) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    let mut visit = |key: &[u8], value: &[u8]| {
        found.push((text(key), text(value)));
        ControlFlow::Continue(())
    };
    engine
        .scan(Bound::Unbounded, Bound::Unbounded, &mut visit)
        .expect("the engine works");
    found
}

#[track_caller]
fn assert_content(engine: &impl Engine, expected: &[(&str, &str)], applied_index: u64) {
    let expected: Vec<(String, String)> = expected
        .iter()
        .map(|(key, value)| (key.to_string(), value.to_string()))
        .collect();
    assert_eq!(
        (content(engine), engine.applied_index()),
        (expected, applied_index)
    );
}

fn a_batch_is_applied_in_order_with_its_index<W: World>() {
    let (_world, mut engine) = W::new();
    assert_content(&engine, &[], 0);
    let mut changes = batch(&[("b", "1"), ("a", "2"), ("b", "3"), ("c", "4")]);
    changes.delete("c");
    changes.delete("missing");
    assert_eq!(changes.len(), 6);
    engine.write(changes, 7).expect("the engine works");
    assert_content(&engine, &[("a", "2"), ("b", "3")], 7);
    assert_eq!(
        engine.get(b"b").expect("the engine works"),
        Some(Bytes::from_static(b"3"))
    );
    assert_eq!(engine.get(b"c").expect("the engine works"), None);
    engine
        .write(WriteBatch::new(), 9)
        .expect("an index without changes");
    assert_content(&engine, &[("a", "2"), ("b", "3")], 9);
}

fn a_crash_goes_back_to_the_last_flush<W: World>() {
    let (world, mut engine) = W::new();
    engine
        .write(batch(&[("kept", "1"), ("changed", "1")]), 3)
        .expect("the engine works");
    assert_eq!(engine.flush().expect("the engine works"), 3);
    let mut changes = batch(&[("changed", "2"), ("lost", "2")]);
    changes.delete("kept");
    engine.write(changes, 5).expect("the engine works");
    assert_eq!((engine.applied_index(), engine.durable_index()), (5, 3));
    let engine = world.crash(engine);
    assert_content(&engine, &[("changed", "1"), ("kept", "1")], 3);
    assert_eq!(engine.durable_index(), 3);
}

fn a_replacement_is_not_seen_before_it_is_finished<W: World>() {
    let (_world, mut engine) = W::new();
    engine
        .write(batch(&[("old", "1")]), 3)
        .expect("the engine works");
    engine.begin_replace().expect("the engine works");
    engine
        .stage(batch(&[("abandoned", "1")]))
        .expect("the engine works");
    engine.begin_replace().expect("the engine works");
    engine
        .stage(batch(&[("new", "1"), ("other", "1")]))
        .expect("the engine works");
    let mut more = batch(&[("new", "2")]);
    more.delete("other");
    engine.stage(more).expect("the engine works");
    engine
        .write(batch(&[("meanwhile", "1")]), 4)
        .expect("the engine works");
    assert_content(&engine, &[("meanwhile", "1"), ("old", "1")], 4);
    engine.finish_replace(90).expect("the engine works");
    assert_content(&engine, &[("new", "2")], 90);
    assert_eq!(engine.durable_index(), 90);
    engine
        .write(batch(&[("after", "1")]), 91)
        .expect("the engine works");
    assert_content(&engine, &[("after", "1"), ("new", "2")], 91);
}

fn a_crash_during_a_replacement_keeps_the_old_content<W: World>() {
    let (world, mut engine) = W::new();
    engine
        .write(batch(&[("old", "1")]), 3)
        .expect("the engine works");
    engine.begin_replace().expect("the engine works");
    engine
        .stage(batch(&[("new", "1")]))
        .expect("the engine works");
    // Also what was staged may be durable by now; it must not show all the same.
    engine.flush().expect("the engine works");
    let mut engine = world.crash(engine);
    assert_content(&engine, &[("old", "1")], 3);
    engine.begin_replace().expect("the engine works");
    engine.finish_replace(8).expect("the engine works");
    assert_content(&engine, &[], 8);
}

/// Found by the steps below: what was staged was there, and nothing that said of what.
fn a_crash_during_the_first_replacement_leaves_nothing<W: World>() {
    let (world, mut engine) = W::new();
    engine.begin_replace().expect("the engine works");
    engine
        .stage(batch(&[("new", "1")]))
        .expect("the engine works");
    engine.flush().expect("the engine works");
    let mut engine = world.crash(engine);
    assert_content(&engine, &[], 0);
    engine
        .write(batch(&[("next", "1")]), 1)
        .expect("the engine works");
    assert_content(&engine, &[("next", "1")], 1);
}

fn a_finished_replacement_is_durable<W: World>() {
    let (world, mut engine) = W::new();
    for (round, index) in [(1, 10), (2, 20), (3, 30)] {
        engine
            .write(batch(&[("old", "1")]), index)
            .expect("the engine works");
        engine.begin_replace().expect("the engine works");
        engine
            .stage(batch(&[(&format!("new{round}"), "1")]))
            .expect("the engine works");
        engine.finish_replace(index + 5).expect("the engine works");
        engine = world.crash(engine);
        assert_content(&engine, &[(&format!("new{round}"), "1")], index + 5);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Write(Vec<(u8, Option<u8>)>),
    Flush,
    Crash,
    Begin,
    Stage(Vec<(u8, Option<u8>)>),
    Finish,
    Scan(Bound<u8>, Bound<u8>, usize),
}

fn step_strategy() -> impl Strategy<Value = Step> {
    let changes = || proptest::collection::vec((0..40u8, proptest::option::of(any::<u8>())), 0..8);
    let bound = || {
        prop_oneof![
            Just(Bound::Unbounded),
            (0..40u8).prop_map(Bound::Included),
            (0..40u8).prop_map(Bound::Excluded),
        ]
    };
    prop_oneof![
        6 => changes().prop_map(Step::Write),
        2 => Just(Step::Flush),
        2 => Just(Step::Crash),
        1 => Just(Step::Begin),
        3 => changes().prop_map(Step::Stage),
        1 => Just(Step::Finish),
        6 => (bound(), bound(), 0..50usize).prop_map(|(start, end, limit)| Step::Scan(start, end, limit)),
    ]
}

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// Keys of several lengths, one a prefix of the next, with the least and greatest bytes.
fn key(number: u8) -> Vec<u8> {
    let byte = [0, 1, 2, 0x7f, 0xff][usize::from(number % 5)];
    vec![byte; usize::from(number / 5)]
}

fn change(map: &mut Map, batch: &mut WriteBatch, changes: &[(u8, Option<u8>)]) {
    for (number, value) in changes {
        match value {
            Some(value) => {
                map.insert(key(*number), vec![*value; 3]);
                batch.put(key(*number), vec![*value; 3]);
            }
            None => {
                map.remove(&key(*number));
                batch.delete(key(*number));
            }
        }
    }
}

fn any_use_agrees_with_a_map<W: World>(cases: u32) {
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let steps = proptest::collection::vec(step_strategy(), 1..40);
    let result = TestRunner::new(config).run(&steps, |steps| {
        let (world, mut engine) = W::new();
        let mut live = (Map::new(), 0);
        let mut durable = live.clone();
        let mut staged: Option<Map> = None;
        for step in steps {
            match step {
                Step::Write(changes) => {
                    let mut batch = WriteBatch::new();
                    change(&mut live.0, &mut batch, &changes);
                    live.1 += 1;
                    engine.write(batch, live.1).expect("the engine works");
                }
                Step::Flush => {
                    prop_assert_eq!(engine.flush().expect("the engine works"), live.1);
                    durable = live.clone();
                }
                Step::Crash => {
                    engine = world.crash(engine);
                    live = durable.clone();
                    staged = None;
                }
                Step::Begin => {
                    engine.begin_replace().expect("the engine works");
                    staged = Some(Map::new());
                }
                Step::Stage(changes) => {
                    if let Some(staged) = &mut staged {
                        let mut batch = WriteBatch::new();
                        change(staged, &mut batch, &changes);
                        engine.stage(batch).expect("the engine works");
                    }
                }
                Step::Finish => {
                    if let Some(content) = staged.take() {
                        live = (content, live.1 + 1);
                        engine.finish_replace(live.1).expect("the engine works");
                        durable = live.clone();
                    }
                }
                Step::Scan(start, end, limit) => {
                    check_scan(&engine, &live.0, start.map(key), end.map(key), limit)?
                }
            }
            prop_assert_eq!(engine.applied_index(), live.1);
            prop_assert_eq!(engine.durable_index(), durable.1);
            check_scan(
                &engine,
                &live.0,
                Bound::Unbounded,
                Bound::Unbounded,
                usize::MAX,
            )?;
        }
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

fn check_scan(
    engine: &impl Engine,
    map: &Map,
    start: Bound<Vec<u8>>,
    end: Bound<Vec<u8>>,
    limit: usize,
) -> Result<(), TestCaseError> {
    let within = |key: &Vec<u8>| {
        (match &start {
            Bound::Unbounded => true,
            Bound::Included(start) => key >= start,
            Bound::Excluded(start) => key > start,
        }) && (match &end {
            Bound::Unbounded => true,
            Bound::Included(end) => key <= end,
            Bound::Excluded(end) => key < end,
        })
    };
    // The visitor sees the key that makes it break.
    let expected: Vec<_> = map
        .iter()
        .filter(|(key, _)| within(key))
        .take(limit.max(1))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    let mut found = Vec::new();
    let mut visit = |key: &[u8], value: &[u8]| {
        found.push((key.to_vec(), value.to_vec()));
        if found.len() >= limit {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    let (start, end) = (
        start.as_ref().map(|key| &key[..]),
        end.as_ref().map(|key| &key[..]),
    );
    engine
        .scan(start, end, &mut visit)
        .expect("the engine works");
    prop_assert_eq!(&found, &expected);
    for (key, value) in &expected {
        let got = engine.get(key).expect("the engine works");
        prop_assert_eq!(got.as_deref(), Some(&value[..]));
    }
    Ok(())
}
