//! The contradictions that hypotheses can come to.

use veridical_histories::text_bytes::display;

use crate::etcd::intake::{Intake, LeaseTimes};
use crate::etcd::objection::Contradiction;
use crate::etcd::operation::{Done, Writer};
use crate::etcd::replay::Replay;
use crate::etcd::stored::{Change, Unresolved};
use crate::verdict::{ViolationKind, WitnessOperation};

use super::hypothesis::Hypothesis;
use super::unknowns::Unknowns;

/// Nothing explains the gap at `revision`.
pub(super) fn unexplained(
    unknown: &Unknowns,
    intake: &Intake,
    revision: i64,
    early_lease: Option<i64>,
) -> Contradiction {
    let backlog = intake.backlog();
    let writer = backlog.writers_after(revision - 1).next();
    let observer = backlog.observers_from(revision).next();
    let observer = observer.and_then(|(_, waiting)| waiting.first());
    let first = match (writer, observer) {
        (Some((at, writer)), Some(observer)) if at < observer.header.revision => Some(writer),
        (writer, observer) => observer.or(writer.map(|(_, writer)| writer)),
    };
    let operations: Vec<WitnessOperation> = first.map(Done::witness).into_iter().collect();
    let Some(lease) = early_lease else {
        return Contradiction::new(
            ViolationKind::UnexplainedRevision,
            format!("an operation that can have written revision {revision}"),
            format!(
                "none of the {} with unknown outcome can have, and no lease can have expired",
                unknown.len()
            ),
            operations,
        );
    };
    Contradiction::new(
        ViolationKind::Lease,
        format!(
            "lease {lease} to live until {} ns at least",
            intake.leases().alive_until_ns(lease)
        ),
        format!("revision {revision}, which nothing else explains, deleted its keys"),
        operations,
    )
}

/// No key is attached to a lease that ended for good.
pub(super) fn check_ends(
    replay: &Replay,
    hypothesis: &Hypothesis,
    leases: &LeaseTimes,
    changes: &[Change],
    done: &Done,
) -> Result<(), Contradiction> {
    for (_, stored) in changes {
        let lease = stored.as_ref().map_or(0, |stored| stored.lease);
        if lease == 0 {
            continue;
        }
        let Some(end) = hypothesis.end_of(replay, lease) else {
            continue;
        };
        if leases.is_single(lease) {
            return Err(Contradiction::new(
                ViolationKind::Lease,
                format!(
                    "a refusal, for lease {lease} ended at revision {}",
                    end.revision
                ),
                "the put was carried out",
                vec![done.witness()],
            ));
        }
    }
    Ok(())
}

/// A write whose revision was written by something else in this hypothesis.
pub(super) fn written_twice(
    replay: &Replay,
    hypothesis: &Hypothesis,
    done: &Done,
) -> Contradiction {
    let revision = done.header.revision;
    let entry = hypothesis.view(replay).log(revision);
    let expected = match entry.map(|entry| entry.writer) {
        Some(Writer::Operation(op)) => {
            format!("revision {revision}, which {op} wrote, to be written once")
        }
        Some(Writer::Expiry(lease)) => {
            format!("revision {revision}, the end of lease {lease}, to be written once")
        }
        None => format!("revision {revision} to be written once"),
    };
    Contradiction::new(
        ViolationKind::DuplicateRevision,
        expected,
        "a second write at this revision",
        vec![done.witness()],
    )
}

/// A value was shown that nobody saw before, and that nobody can have written.
pub(super) fn unresolvable(
    unresolved: &Unresolved,
    operations: Vec<WitnessOperation>,
) -> Contradiction {
    let key = display(&unresolved.key);
    let got = match &unresolved.shown {
        Some(value) => display(value),
        None => "none is left".to_owned(),
    };
    Contradiction::new(
        ViolationKind::WrongResult,
        format!(
            "what a put of {key} of unknown outcome can have written at revision {}",
            unresolved.revision
        ),
        got,
        operations,
    )
}
