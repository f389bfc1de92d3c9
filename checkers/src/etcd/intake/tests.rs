//! Misuse of the room: each of these is a bug of the coordinator, and stops it.

use veridical_histories::etcd::{KeyRange, PutRequest, PutResult, Request, Response, WatchCreated};

use super::compactions::Compactions;
use super::watches::Watches;
use super::{Backlog, Delivery, Evidence};
use crate::etcd::operation::Done;

fn written(op: u64, revision: i64) -> Done {
    let request = Request::Put(PutRequest::of("a", "x"));
    Done::example(op, revision, request, Response::Put(PutResult::default()))
}

fn delivery() -> Delivery {
    Delivery {
        watch: 1,
        from: 2,
        upto: 2,
        events: Vec::new(),
        at_event: 0,
        at_ns: 0,
    }
}

#[test]
#[should_panic(expected = "a revision is claimed once")]
fn two_writers_do_not_wait_for_one_revision() {
    let mut backlog = Backlog::new(1);
    backlog.push_writer(written(1, 2));
    backlog.push_writer(written(2, 2));
}

#[test]
#[should_panic(expected = "behind an older one that waits")]
fn no_waiting_writer_is_passed_over() {
    let mut backlog = Backlog::new(1);
    backlog.push_writer(written(1, 2));
    backlog.take_writer(3);
}

#[test]
#[should_panic(expected = "nothing waits for a revision that is replayed")]
fn what_was_seen_of_a_revision_is_forgotten_with_it() {
    let mut backlog = Backlog::new(1);
    backlog.push_evidence(2, Evidence::Deleted("a".into()));
    backlog.forget_seen(3);
}

#[test]
#[should_panic(expected = "is not forgotten")]
fn a_watch_that_goes_on_is_kept() {
    let mut watches = Watches::default();
    let created = WatchCreated {
        watch: 1,
        range: KeyRange::all(),
        ..WatchCreated::default()
    };
    watches.create(created, 0, 0).expect("it is the first");
    watches.forget(1);
}

#[test]
#[should_panic(expected = "kept while a delivery to it waits")]
fn a_delivery_belongs_to_a_watch() {
    Watches::default().of(&delivery());
}

#[test]
#[should_panic(expected = "a delivery tells of something new")]
fn a_delivery_is_not_empty() {
    let backwards = Delivery {
        upto: 1,
        ..delivery()
    };
    let _ = backwards.check_order();
}

#[test]
#[should_panic(expected = "a compaction ends after its call")]
fn a_compaction_is_called_before_it_fails() {
    Compactions::default().had_no_effect(5);
}

#[test]
fn a_refused_compaction_does_not_explain_its_own_refusal() {
    let mut compactions = Compactions::default();
    compactions.called(5);
    assert!(compactions.may_have_reached(5));
    assert!(!compactions.may_have_reached_without_one(5));
    compactions.called(5);
    assert!(compactions.may_have_reached_without_one(5));
    compactions.had_no_effect(5);
    compactions.called(6);
    assert!(compactions.may_have_reached_without_one(5));
    assert_eq!(compactions.greatest_called(), 6);
}
