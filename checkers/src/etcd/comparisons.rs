//! Comparisons of what waited for a revision with every hypothesis that is left.

use veridical_histories::etcd::{Request, Response};

use super::hypotheses::Hypotheses;
use super::intake::{Delivery, Intake, LeaseTimes};
use super::objection::{Contradiction, Inconclusive, Stop};
use super::operation::{Done, Refusal};
use super::replay::{
    Replay, StatesRead, check_answer, check_delivery, check_keys_of_lease, check_refusal,
    check_revocation, revisions_read, states_read, unresolved_in,
};
use crate::verdict::ViolationKind;

/// The outcome of a comparison that found no contradiction.
pub(super) enum Compared {
    /// Some hypothesis gives what was seen.
    Fits,
    /// The comparison needs states that are kept no more, as this text says.
    Forgotten(String),
}

/// Compares the answer of an operation that changed nothing with the state after its
/// revision, which is replayed.
///
/// # Errors
/// No hypothesis gives this answer.
pub(super) fn compare_answer(
    hypotheses: &mut Hypotheses,
    replay: &mut Replay,
    leases: &LeaseTimes,
    event: u64,
    done: &Done,
) -> Result<Compared, Stop> {
    assert!(
        done.header.revision <= replay.applied(),
        "an answer is compared once its revision is replayed"
    );
    match &done.open.request {
        Request::LeaseRevoke { id } => {
            // A lease of the same number may have been granted again.
            if leases.is_single(*id) {
                hypotheses.retain(replay, event, |replay, hypothesis| {
                    check_revocation(hypothesis.view(replay), done, *id)
                })?;
            }
            Ok(Compared::Fits)
        }
        Request::LeaseTimeToLive { id, keys: true } => {
            compare_keys_of_lease(hypotheses, replay, event, done, *id)
        }
        Request::Range(_)
        | Request::Put(_)
        | Request::DeleteRange(_)
        | Request::Txn(_)
        | Request::Compact { .. }
        | Request::LeaseGrant { .. }
        | Request::LeaseKeepAlive { .. }
        | Request::LeaseTimeToLive { keys: false, .. }
        | Request::LeaseLeases => compare_read(hypotheses, replay, event, done),
    }
}

/// Compares what an answer shows with the states that its request names.
fn compare_read(
    hypotheses: &mut Hypotheses,
    replay: &mut Replay,
    event: u64,
    done: &Done,
) -> Result<Compared, Stop> {
    let revision = done.header.revision;
    let (oldest, newest) = revisions_read(done);
    if newest > revision {
        let contradiction = Contradiction::new(
            ViolationKind::WrongResult,
            format!("a refusal, for revision {newest} does not exist at revision {revision}"),
            "an answer",
            vec![done.witness()],
        );
        return Err(contradiction.into());
    }
    let oldest_state = replay.oldest_state();
    if oldest < oldest_state {
        let op = done.open.op;
        let text =
            format!("{op} read revision {oldest}; those before {oldest_state} are forgotten");
        return Ok(Compared::Forgotten(text));
    }
    hypotheses.retain(replay, event, |replay, hypothesis| {
        let undetermined = hypothesis.undetermined();
        if oldest < undetermined.divergent_until() {
            let diverging = undetermined.diverging_in(&states_read(done));
            if !diverging.is_empty() {
                return Err(Inconclusive::Diverges(diverging));
            }
        }
        check_answer(hypothesis.view(replay), done)
    })?;
    Ok(Compared::Fits)
}

/// The keys in an answer to `LeaseTimeToLive` are those of a state from what was
/// acknowledged before the call up to the answer's revision.
fn compare_keys_of_lease(
    hypotheses: &mut Hypotheses,
    replay: &mut Replay,
    event: u64,
    done: &Done,
    lease: i64,
) -> Result<Compared, Stop> {
    let Response::LeaseTimeToLive { keys, .. } = &done.response else {
        return Ok(Compared::Fits);
    };
    let first = done.open.floor.revision.min(done.header.revision);
    let oldest_state = replay.oldest_state();
    if first < oldest_state {
        let text = format!(
            "{} was told the keys of a lease as of revision {first} or later; those before \
             {oldest_state} are forgotten",
            done.open.op
        );
        return Ok(Compared::Forgotten(text));
    }
    hypotheses.retain(replay, event, |replay, hypothesis| {
        check_keys_of_lease(hypothesis.view(replay), done, lease, keys, first)
    })?;
    Ok(Compared::Fits)
}

/// Compares a delivery to a watch with the revisions that it speaks of, which are replayed.
///
/// # Errors
/// No hypothesis gives these events.
pub(super) fn compare_delivery(
    hypotheses: &mut Hypotheses,
    replay: &mut Replay,
    intake: &Intake,
    event: u64,
    delivery: &Delivery,
) -> Result<Compared, Stop> {
    let (from, upto) = (delivery.from, delivery.upto);
    let oldest = from.max(replay.first_change());
    let oldest_kept = replay.oldest_state() + 1;
    if oldest < oldest_kept && oldest <= upto {
        let text = format!(
            "watch {} was sent revisions {from} to {upto}; those before {oldest_kept} are \
             forgotten",
            delivery.watch
        );
        return Ok(Compared::Forgotten(text));
    }
    let watch = intake.watches().of(delivery);
    let compacted_below = intake.compaction_called();
    let shown = StatesRead {
        first: from - 1,
        last: upto,
        range: Some(watch.range()),
    };
    let witnesses = || intake.watches().witnesses(delivery);
    hypotheses.retain(replay, event, |replay, hypothesis| {
        let diverging = hypothesis.undetermined().diverging_in(&[shown]);
        if !diverging.is_empty() {
            return Err(Inconclusive::Diverges(diverging));
        }
        let view = hypothesis.view(replay);
        if let Some(unresolved) = unresolved_in(view, delivery) {
            return Err(Inconclusive::Unresolved {
                unresolved,
                operations: witnesses(),
            });
        }
        check_delivery(view, watch, delivery, compacted_below).map_err(|wrong| {
            let (expected, got) = (wrong.expected, wrong.got);
            Contradiction::new(ViolationKind::Watch, expected, got, witnesses()).into()
        })
    })?;
    Ok(Compared::Fits)
}

/// A refusal for a missing key is possible in a state up to the last one that is replayed.
///
/// # Errors
/// It is possible in no hypothesis.
pub(super) fn compare_refusal(
    hypotheses: &mut Hypotheses,
    replay: &mut Replay,
    event: u64,
    refusal: &Refusal,
) -> Result<(), Stop> {
    let last = replay.applied();
    hypotheses.retain(replay, event, |replay, hypothesis| {
        check_refusal(hypothesis.view(replay), refusal, last)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcd::EtcdOptions;
    use veridical_histories::etcd::{RangeRequest, RangeResult};

    #[test]
    #[should_panic(expected = "once its revision is replayed")]
    fn no_answer_is_compared_ahead_of_the_replay() {
        let mut hypotheses = Hypotheses::new(&EtcdOptions::default(), usize::MAX);
        let mut replay = Replay::new(1, 100, usize::MAX);
        let intake = Intake::new(1, 0);
        let read = Request::Range(RangeRequest::get("a"));
        let done = Done::example(1, 2, read, Response::Range(RangeResult::default()));
        let _ = compare_answer(&mut hypotheses, &mut replay, intake.leases(), 3, &done);
    }
}
