//! Misuse of the room: each of these is a bug of the coordinator, and stops it.

use std::collections::BTreeMap;

use veridical_histories::OperationId;
use veridical_histories::etcd::{
    PutRequest, PutResult, RangeRequest, RangeResult, Request, Response,
};

use super::attributions::Attributions;
use super::equivalent::Equivalence;
use super::gap::Gap;
use super::unknowns::Unknowns;
use super::{Hypotheses, Hypothesis};
use crate::etcd::EtcdOptions;
use crate::etcd::intake::Intake;
use crate::etcd::operation::{Done, Open};
use crate::etcd::replay::Replay;

fn hypotheses() -> Hypotheses {
    Hypotheses::new(&EtcdOptions::default(), usize::MAX)
}

fn replay() -> Replay {
    Replay::new(1, 100, usize::MAX)
}

fn gap_at(revision: i64) {
    let (replay, intake) = (replay(), Intake::new(1, 0));
    let (unknown, attributions) = (Unknowns::default(), Attributions::default());
    let revocations = BTreeMap::new();
    Gap::new(
        revision,
        &replay,
        &intake,
        &unknown,
        &revocations,
        &attributions,
    );
}

#[test]
#[should_panic(expected = "only a writer can explain a gap")]
fn reads_of_unknown_outcome_are_not_taken_in() {
    let read = Request::Range(RangeRequest::get("a"));
    hypotheses().add_undetermined(Open::example(1, 0, read));
}

#[test]
#[should_panic(expected = "takes effect once")]
fn an_operation_does_not_write_two_revisions() {
    let mut hypothesis = Hypothesis::default();
    hypothesis.place(OperationId(1), 2);
    hypothesis.place(OperationId(1), 3);
}

#[test]
#[should_panic(expected = "in order of revision")]
fn gaps_are_not_filled_ahead() {
    gap_at(3);
}

#[test]
#[should_panic(expected = "known to exist")]
fn a_revision_that_nobody_saw_is_no_gap() {
    gap_at(2);
}

#[test]
#[should_panic(expected = "merging leaves a hypothesis")]
fn there_is_always_a_hypothesis() {
    let equivalence = Equivalence {
        replay: &replay(),
        unknown: &Unknowns::default(),
        observable_from: 1,
    };
    equivalence.merged(Vec::new());
}

#[test]
#[should_panic(expected = "only a beam is lost")]
fn a_contradiction_of_all_hypotheses_is_no_loss() {
    hypotheses().lose();
}

#[test]
#[should_panic(expected = "has its changes")]
fn nothing_is_replayed_once_the_content_is_lost() {
    let mut hypotheses = hypotheses();
    hypotheses.is_lost = true;
    let put = Request::Put(PutRequest::of("a", "x"));
    let done = Done::example(1, 2, put, Response::Put(PutResult::default()));
    let intake = Intake::new(1, 0);
    let _ = hypotheses.replay_write(&mut replay(), intake.leases(), 0, &done);
}

#[test]
fn a_single_hypothesis_is_checked_where_it_is() {
    let mut hypotheses = hypotheses();
    let read = Request::Range(RangeRequest::get("a"));
    let done = Done::example(1, 1, read, Response::Range(RangeResult::default()));
    let mut checks = 0;
    let result = hypotheses.retain(&mut replay(), 0, |replay, hypothesis| {
        checks += 1;
        crate::etcd::replay::check_answer(hypothesis.view(replay), &done)
    });
    assert!(result.is_ok() && checks == 1 && hypotheses.hypotheses.len() == 1);
}
