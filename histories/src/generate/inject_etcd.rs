//! Known errors for histories of an etcd-like store.
//!
//! Each of them is what a broken store would have answered. Whether the changed history
//! is wrong can depend on the rest of it (a lost write that nobody reads is no error),
//! so callers compare with brute force or count.

use bytes::Bytes;

use crate::etcd::{
    EtcdEvent, KeyValue, Outcome, RangeResult, Request, Response, TxnOpResult, WatchNote,
};
use crate::{EventKind, random::Random};

/// A kind of error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EtcdInjection {
    /// A read answers as it was one or more revisions ago, header included.
    StaleRead,
    /// A read shows an old pair under a current header.
    StaleValue,
    /// An acknowledged write is read as if it never happened.
    LostWrite,
    /// A write shows up at two revisions: its version is one too high.
    DuplicatedWrite,
    /// Two writes have each other's revisions.
    SwappedRevisions,
    /// A range mixes the states of two revisions.
    TornRange,
    /// A transaction's operations show different revisions.
    SplitTransaction,
    /// A watch leaves an event out.
    DroppedWatchEvent,
    /// A watch sends an event twice.
    DuplicatedWatchEvent,
    /// A watch sends two events in the wrong order.
    ReorderedWatchEvents,
    /// A lease's keys are gone before its time.
    EarlyExpiry,
}

impl EtcdInjection {
    /// Every one, in the order in which they are listed for people.
    pub const ALL: &'static [Self] = &[
        Self::StaleRead,
        Self::StaleValue,
        Self::LostWrite,
        Self::DuplicatedWrite,
        Self::SwappedRevisions,
        Self::TornRange,
        Self::SplitTransaction,
        Self::DroppedWatchEvent,
        Self::DuplicatedWatchEvent,
        Self::ReorderedWatchEvents,
        Self::EarlyExpiry,
    ];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::StaleRead => "stale-read",
            Self::StaleValue => "stale-value",
            Self::LostWrite => "lost-write",
            Self::DuplicatedWrite => "dup-write",
            Self::SwappedRevisions => "swap-rev",
            Self::TornRange => "torn-range",
            Self::SplitTransaction => "split-txn",
            Self::DroppedWatchEvent => "watch-drop",
            Self::DuplicatedWatchEvent => "watch-dup",
            Self::ReorderedWatchEvents => "watch-reorder",
            Self::EarlyExpiry => "early-expiry",
        }
    }

    /// The injection of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|injection| injection.name() == name)
    }
}

/// Changes one answer of `events` so that it shows the error. `false` where the history
/// has no place for it.
pub fn inject(events: &mut [EtcdEvent], injection: EtcdInjection, random: &mut Random) -> bool {
    let places: Vec<usize> = (0..events.len())
        .filter(|place| fits(&events[*place], injection))
        .collect();
    if places.is_empty() {
        return false;
    }
    let place = *random.pick(&places);
    match injection {
        EtcdInjection::StaleRead => stale_read(events, place),
        EtcdInjection::SwappedRevisions => swap_revisions(events, place, &places, random),
        EtcdInjection::EarlyExpiry => early_expiry(events, place),
        EtcdInjection::DroppedWatchEvent
        | EtcdInjection::DuplicatedWatchEvent
        | EtcdInjection::ReorderedWatchEvents => {
            let EventKind::Note {
                note: WatchNote::Response(response),
            } = &mut events[place].kind
            else {
                return false;
            };
            let at = random.index(response.events.len());
            if injection == EtcdInjection::DroppedWatchEvent {
                response.events.remove(at);
            } else if injection == EtcdInjection::DuplicatedWatchEvent {
                let event = response.events[at].clone();
                response.events.insert(at, event);
            } else {
                response.events.rotate_left(1);
            }
            true
        }
        EtcdInjection::StaleValue
        | EtcdInjection::LostWrite
        | EtcdInjection::DuplicatedWrite
        | EtcdInjection::TornRange
        | EtcdInjection::SplitTransaction => {
            let old = older_pairs(events, place);
            change_pairs(&mut events[place], injection, &old, random)
        }
    }
}

fn answer(event: &EtcdEvent) -> Option<(i64, &Response)> {
    let EventKind::Return {
        output: Outcome::Done { header, response },
        ..
    } = &event.kind
    else {
        return None;
    };
    Some((header.revision, response))
}

fn answer_mut(event: &mut EtcdEvent) -> Option<(&mut i64, &mut Response)> {
    let EventKind::Return {
        output: Outcome::Done { header, response },
        ..
    } = &mut event.kind
    else {
        return None;
    };
    Some((&mut header.revision, response))
}

fn fits(event: &EtcdEvent, injection: EtcdInjection) -> bool {
    use EtcdInjection as E;
    let watch_events = |least: usize| {
        matches!(
            &event.kind,
            EventKind::Note { note: WatchNote::Response(response) }
                if response.events.len() >= least
        )
    };
    match (injection, answer(event)) {
        (E::DroppedWatchEvent | E::DuplicatedWatchEvent, _) => watch_events(1),
        (E::ReorderedWatchEvents, _) => watch_events(2),
        (E::StaleRead, Some((_, Response::Range(_)))) => true,
        (
            E::StaleValue | E::LostWrite | E::DuplicatedWrite | E::EarlyExpiry,
            Some((_, Response::Range(result))),
        ) => !result.kvs.is_empty(),
        (E::TornRange, Some((_, Response::Range(result)))) => result.kvs.len() >= 2,
        (E::SplitTransaction, Some((_, Response::Txn(result)))) => result
            .results
            .iter()
            .any(|result| matches!(result, TxnOpResult::Range(range) if !range.kvs.is_empty())),
        (E::SwappedRevisions, Some((_, Response::Put(_)))) => true,
        _ => false,
    }
}

/// The last answer before `place`'s call that read the same, or an empty one.
fn stale_read(events: &mut [EtcdEvent], place: usize) -> bool {
    let Some(request) = request_of(events, place) else {
        return false;
    };
    let older = (0..place).rev().find_map(|index| {
        (request_of(events, index).as_ref() == Some(&request))
            .then(|| {
                answer(&events[index]).map(|(revision, response)| (revision, response.clone()))
            })
            .flatten()
    });
    let (old_revision, old) = older.unwrap_or((1, Response::Range(RangeResult::default())));
    let Some((revision, response)) = answer_mut(&mut events[place]) else {
        return false;
    };
    let differs = *revision != old_revision || *response != old;
    (*revision, *response) = (old_revision, old);
    differs
}

fn request_of(events: &[EtcdEvent], place: usize) -> Option<Request> {
    let op = events[place].operation()?;
    events[..place].iter().rev().find_map(|event| {
        let EventKind::Call { op: called, input } = &event.kind else {
            return None;
        };
        (*called == op).then(|| input.clone())
    })
}

fn swap_revisions(
    events: &mut [EtcdEvent],
    place: usize,
    places: &[usize],
    random: &mut Random,
) -> bool {
    let other = *random.pick(places);
    let revision_of = |event: &EtcdEvent| answer(event).map(|(revision, _)| revision);
    let (Some(a), Some(b)) = (revision_of(&events[place]), revision_of(&events[other])) else {
        return false;
    };
    for (place, revision) in [(place, b), (other, a)] {
        if let Some((own, _)) = answer_mut(&mut events[place]) {
            *own = revision;
        }
    }
    a != b
}

/// Takes a pair with a lease out of a read, and everything after it out of the history:
/// as if the store had let the lease expire just before.
fn early_expiry(events: &mut [EtcdEvent], place: usize) -> bool {
    let Some((revision, Response::Range(result))) = answer_mut(&mut events[place]) else {
        return false;
    };
    let Some(at) = result.kvs.iter().position(|kv| kv.lease != 0) else {
        return false;
    };
    let lease = result.kvs[at].lease;
    let before = result.kvs.len();
    result.kvs.retain(|kv| kv.lease != lease);
    result.count -= (before - result.kvs.len()) as i64;
    *revision += 1;
    true
}

/// Pairs that earlier answers showed, in order of time.
fn older_pairs(events: &[EtcdEvent], place: usize) -> Vec<KeyValue> {
    let mut pairs = Vec::new();
    for event in &events[..place] {
        if let Some((_, Response::Range(result))) = answer(event) {
            pairs.extend(result.kvs.iter().cloned());
        }
    }
    pairs
}

fn change_pairs(
    event: &mut EtcdEvent,
    injection: EtcdInjection,
    old: &[KeyValue],
    random: &mut Random,
) -> bool {
    let Some((_, response)) = answer_mut(event) else {
        return false;
    };
    let result = match response {
        Response::Range(result) => result,
        Response::Txn(txn) => {
            let mut ranges = txn.results.iter_mut().filter_map(|result| match result {
                TxnOpResult::Range(range) => Some(range),
                TxnOpResult::Put(_) | TxnOpResult::DeleteRange(_) | TxnOpResult::Txn(_) => None,
            });
            let found = ranges.find(|range| !range.kvs.is_empty());
            match found {
                Some(range) => range,
                None => return false,
            }
        }
        Response::Put(_)
        | Response::DeleteRange(_)
        | Response::Compact
        | Response::LeaseGrant { .. }
        | Response::LeaseRevoke
        | Response::LeaseKeepAlive { .. }
        | Response::LeaseTimeToLive { .. }
        | Response::LeaseLeases { .. } => return false,
    };
    let at = random.index(result.kvs.len());
    let kv = &mut result.kvs[at];
    if injection == EtcdInjection::LostWrite && kv.version == 1 {
        result.kvs.remove(at);
        result.count -= 1;
        return true;
    }
    if injection == EtcdInjection::DuplicatedWrite {
        kv.version += 1;
        return true;
    }
    // What an earlier answer showed of the key, or else its state before its last change as
    // far as the pair tells.
    let older = old
        .iter()
        .rev()
        .find(|older| older.key == kv.key && older.mod_revision < kv.mod_revision);
    match older {
        Some(older) => *kv = older.clone(),
        None if kv.version > 1 => {
            kv.version -= 1;
            kv.mod_revision = kv.create_revision;
            kv.value = Bytes::from_static(b"older");
        }
        None => {
            result.kvs.remove(at);
            result.count -= 1;
        }
    }
    true
}
