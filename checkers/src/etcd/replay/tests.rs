//! Misuse of the room: each of these is a bug of the coordinator, and stops it.

use std::collections::BTreeMap;

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
