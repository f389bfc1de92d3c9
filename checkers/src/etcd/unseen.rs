//! Explanations that nobody will be able to tell apart.
//!
//! Where many answers wait behind a gap, they may show already that a key which the gap
//! may have written was deleted again before anybody looked at it. All such explanations
//! come to the same state, so they are one from the beginning: a slot of several ways
//! (compare [`super::alike`], which finds the same afterwards).

use std::sync::Arc;

use bytes::Bytes;
use veridical_histories::etcd::Request;

use super::EtcdChecker;
use super::gaps::{Candidate, Place};
use super::slots::{Blur, Way};
use super::versions::Change;
use super::world::World;

impl EtcdChecker {
    /// Those of `candidates` for revision `next` that nobody will see, as one.
    pub(super) fn join_unseen(
        &self,
        world: &World,
        next: i64,
        candidates: Vec<Candidate>,
    ) -> Vec<Candidate> {
        if candidates.len() <= self.options.alike_worlds_max {
            return candidates;
        }
        let (mut joined, mut ways) = (Vec::new(), Vec::new());
        let mut blur = Blur {
            keys: Vec::new(),
            until: next,
        };
        let mut first = None;
        for candidate in candidates {
            let way = match &candidate.place {
                Place::Slot(_) => Way::Put {
                    key: candidate.changes[0].0.clone(),
                    told: None,
                },
                Place::Own(op, _) if self.unknown.contains(*op) => Way::Operation(*op),
                _ => {
                    joined.push(candidate);
                    continue;
                }
            };
            let Some(until) = self.unseen_until(world, next, &candidate.changes) else {
                joined.push(candidate);
                continue;
            };
            ways.push(way);
            blur.until = blur.until.max(until);
            let keys = candidate.changes.iter().map(|(key, _)| key.clone());
            blur.keys.extend(keys);
            first.get_or_insert(candidate);
        }
        if let Some(first) = first {
            let place = match ways.len() {
                1 => first.place,
                _ => Place::Any(Box::new(first.place), ways.into(), Arc::new(blur)),
            };
            joined.push(Candidate { place, ..first });
        }
        joined
    }

    /// From when on the changes have no trace, if nobody can see them before that.
    fn unseen_until(&self, world: &World, next: i64, changes: &[Change]) -> Option<i64> {
        let each = changes.iter().map(|(key, stored)| {
            let before = self.view(world).get(key, next - 1)?;
            // The end of a lease would be another one.
            if stored.as_ref()?.lease != 0 || before.lease != 0 {
                return None;
            }
            self.deleted_unseen(next, key)
        });
        each.collect::<Option<Vec<i64>>>()?.into_iter().max()
    }

    /// The revision behind `next` that deletes `key`, if nobody looks at it before.
    fn deleted_unseen(&self, next: i64, key: &Bytes) -> Option<i64> {
        let (mut at, mut claimed) = (None, 0);
        for (revision, done) in self.writers.range(next + 1..) {
            if done.open.request.depends_on(key) {
                return None;
            }
            if matches!(&done.open.request, Request::DeleteRange(deletion) if deletion.range.contains(key))
            {
                at = Some(*revision);
                break;
            }
            claimed += 1;
        }
        let at = at?;
        let looks = |request: &Request| request.depends_on(key);
        let waiting = self.observers.range(next..at);
        let is_seen = { waiting }
            .any(|(_, done)| done.iter().any(|done| looks(&done.open.request)))
            || self
                .evidence
                .range(next..at)
                .any(|(_, seen)| seen.iter().any(|evidence| evidence.key() == key))
            || self.watched_from().any(|from| from < at)
            || self
                .refusals
                .iter()
                .any(|refusal| refusal.open.floor.revision < at);
        let in_flight = self.open.values().filter(|open| open.floor.revision < at);
        let is_in_flight =
            { in_flight }.any(|open| looks(&open.request) || open.request.may_change(key));
        // What else is hidden in between must have nothing to do with it.
        let is_hidden = at - next - 1 > claimed
            && self
                .unknown
                .others()
                .any(|open| looks(&open.request) || open.request.may_change(key));
        (!is_seen && !is_in_flight && !is_hidden).then_some(at)
    }
}
