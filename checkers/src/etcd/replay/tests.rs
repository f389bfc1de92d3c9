//! Misuse of the room: each of these is a bug of the coordinator, and stops it.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use veridical_histories::OperationId;
use veridical_histories::etcd::{
    KeyRange, RangeRequest, RangeResult, Request, Response, WatchCreated,
};

use super::{Overlay, Replay, check_answer, check_delivery, check_keys_of_lease};
use crate::etcd::intake::{Delivery, Watch};
use crate::etcd::operation::{Done, Writer};
use crate::etcd::stored::{Change, Stored};

const WRITER: Writer = Writer::Operation(OperationId(1));

fn replay() -> Replay {
    Replay::new(1, 100, usize::MAX)
}

fn written(revision: i64, is_assumed: bool) -> Vec<Change> {
    let stored = Stored {
        value: "x".into(),
        create_revision: revision,
        mod_revision: revision,
        version: 1,
        lease: 0,
        is_assumed,
    };
    vec![("a".into(), Some(stored))]
}

fn read(revision: i64) -> Done {
    let request = Request::Range(RangeRequest::get("a"));
    let response = Response::Range(RangeResult::default());
    Done::example(1, revision, request, response)
}

#[test]
#[should_panic(expected = "so it changes a key")]
fn a_revision_without_changes_is_not_replayed() {
    replay().commit(Vec::new(), WRITER);
}

#[test]
#[should_panic(expected = "revision 2 changes a key")]
fn a_revision_without_changes_is_not_assumed() {
    replay().commit_to(&mut Overlay::default(), 2, Vec::new(), WRITER);
}

#[test]
#[should_panic(expected = "one after the other")]
fn two_revisions_are_not_certain_at_once() {
    let mut replay = replay();
    replay.commit(written(2, false), WRITER);
    replay.commit(written(3, false), WRITER);
}

#[test]
#[should_panic(expected = "the next revision is assumed")]
fn no_revision_is_assumed_ahead_of_the_replay() {
    replay().commit_to(&mut Overlay::default(), 3, written(3, false), WRITER);
}

#[test]
#[should_panic(expected = "leave no revision out")]
fn a_hypothesis_that_fell_behind_is_not_continued() {
    let mut replay = replay();
    let mut behind = Overlay::default();
    replay.advance_to(2);
    replay.commit_to(&mut behind, 3, written(3, false), WRITER);
}

#[test]
#[should_panic(expected = "revisions leave no gap")]
fn the_replay_does_not_jump() {
    replay().advance_to(3);
}

#[test]
#[should_panic(expected = "begins behind what is certain")]
fn an_overlay_of_what_is_certain_already_is_not_absorbed() {
    let mut replay = replay();
    let mut overlay = Overlay::default();
    replay.commit_to(&mut overlay, 2, written(2, false), WRITER);
    replay.commit(written(2, false), WRITER);
    replay.absorb(overlay, &mut BTreeMap::new());
}

#[test]
#[should_panic(expected = "is not resolved again")]
fn a_known_value_is_not_resolved() {
    let changes = written(2, false);
    let (key, stored) = &changes[0];
    let stored = stored.as_ref().expect("the key was put");
    Overlay::default().resolve(key, stored, "y".into());
}

#[test]
#[should_panic(expected = "states that are replayed")]
fn an_answer_is_not_compared_ahead_of_the_replay() {
    let (replay, overlay) = (replay(), Overlay::default());
    let _ = check_answer(replay.view(&overlay), &read(2));
}

#[test]
#[should_panic(expected = "revisions that are replayed")]
fn a_delivery_is_not_compared_ahead_of_the_replay() {
    let (replay, overlay) = (replay(), Overlay::default());
    let created = WatchCreated {
        watch: 1,
        range: KeyRange::all(),
        ..WatchCreated::default()
    };
    let delivery = Delivery {
        watch: 1,
        from: 2,
        upto: 2,
        events: Vec::new(),
        at_event: 0,
        at_ns: 0,
    };
    let watch = Watch::new(created, 0, 0);
    let _ = check_delivery(replay.view(&overlay), &watch, &delivery, 0);
}

#[test]
#[should_panic(expected = "what was acknowledged is not newer")]
fn the_keys_of_a_lease_are_those_of_an_interval() {
    let (replay, overlay) = (replay(), Overlay::default());
    let request = Request::LeaseTimeToLive { id: 7, keys: true };
    let response = Response::LeaseTimeToLive {
        ttl_s: 1,
        granted_ttl_s: 1,
        keys: Vec::new(),
    };
    let done = Done::example(1, 1, request, response);
    let _ = check_keys_of_lease(replay.view(&overlay), &done, 7, &[], 2);
}

/// One change of one key in one revision: the key's number, and the lease that it is put with,
/// or `None` where it is deleted.
type Step = (u8, Option<i64>);

fn change(revision: i64, (key, lease): Step) -> Change {
    let stored = lease.map(|lease| Stored {
        value: "x".into(),
        create_revision: revision,
        mod_revision: revision,
        version: 1,
        lease,
        is_assumed: false,
    });
    (vec![key].into(), stored)
}

/// The content of a hypothesis as a list of all that happened in it.
#[derive(Clone, Default)]
struct Happened(Vec<(i64, Step)>);

impl Happened {
    fn lease_of(&self, key: u8, revision: i64) -> Option<i64> {
        let mut changes = self.0.iter().rev();
        let last = changes.find(|(at, step)| *at <= revision && step.0 == key);
        last.and_then(|(_, step)| step.1)
    }

    fn assert_seen_in(&self, view: super::View<'_>, last: i64) {
        assert_eq!(view.last_revision(), last);
        for (revision, (key, _)) in &self.0 {
            let entry = view.log(*revision).expect("it is kept");
            assert_eq!(&entry.keys[..], [Bytes::from(vec![*key])]);
        }
        for revision in 1..=last {
            let listed = view.range(&KeyRange::all(), revision);
            let listed: Vec<(u8, i64)> = listed.map(|(key, at)| (key[0], at.lease)).collect();
            let all = (0..4).filter_map(|key| Some((key, self.lease_of(key, revision)?)));
            assert_eq!(listed, all.collect::<Vec<_>>(), "after revision {revision}");
            for key in 0..4 {
                let found = view.get(&[key], revision).map(|stored| stored.lease);
                assert_eq!(found, self.lease_of(key, revision));
            }
        }
        for lease in 1..3 {
            let attached: Vec<u8> = view.attached(lease).map(|key| key[0]).collect();
            let all = (0..4).filter(|key| self.lease_of(*key, last) == Some(lease));
            assert_eq!(attached, all.collect::<Vec<_>>(), "of lease {lease}");
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    (0..4_u8, prop::option::of(0..3_i64))
}

proptest! {
    /// Whatever of it is kept once for all of them.
    #[test]
    fn each_hypothesis_has_all_that_happened_in_it(
        certain in prop::collection::vec(step(), 0..6),
        steps in prop::collection::vec((step(), step(), 0..4_u8), 1..30),
        left in 0..3_usize,
    ) {
        let mut replay = Replay::new(0, 1000, usize::MAX);
        let mut happened = vec![Happened::default()];
        let mut revision = 0;
        for step in certain {
            revision += 1;
            replay.commit(vec![change(revision, step)], WRITER);
            replay.advance_to(revision);
            happened[0].0.push((revision, step));
        }
        let mut overlays = vec![Overlay::default()];
        for (most, odd, who) in steps {
            revision += 1;
            if overlays.len() < 3 {
                overlays.push(overlays[0].clone());
                happened.push(happened[0].clone());
            }
            let of = |number: usize| if number == usize::from(who) { odd } else { most };
            let changes = (0..overlays.len()).map(|number| vec![change(revision, of(number))]);
            let changes = changes.collect();
            replay.commit_to_all(overlays.iter_mut().collect(), revision, changes, WRITER);
            replay.advance_to(revision);
            for (number, happened) in happened.iter_mut().enumerate() {
                happened.0.push((revision, of(number)));
            }
            for (overlay, happened) in overlays.iter().zip(&happened) {
                happened.assert_seen_in(replay.view(overlay), revision);
            }
        }
        let left = left.min(overlays.len() - 1);
        replay.absorb(overlays.swap_remove(left), &mut BTreeMap::new());
        let none = Overlay::default();
        prop_assert!(replay.is_certain(&none));
        happened[left].assert_seen_in(replay.view(&none), revision);
        drop(overlays);
        prop_assert_eq!(replay.hypotheses_bytes(), 0);
    }
}
