//! What is known of the times at which leases exist, from the times of their requests.
//!
//! Leases have no revisions of their own, so only bounds by real time are used, each of
//! them one-sided: nothing here can refuse a history that a correct store produced.

use std::collections::BTreeMap;

/// Nanoseconds of a second.
const SECOND_NS: u64 = 1_000_000_000;

/// Facts about one lease number.
#[derive(Clone, Debug, Default)]
struct Facts {
    /// Grants that were called and not refused.
    grants: u64,
    /// The event at which the first acknowledged grant returned.
    granted_event: Option<u64>,
    /// Its time to live as it was granted last, in seconds.
    granted_ttl_s: Option<i64>,
    /// The time until which the lease certainly lives, unless it is revoked: the latest call
    /// of a successful grant or keepalive, plus the time to live.
    alive_until_ns: u64,
    /// The same time for the shortest-lived acknowledged grant alone. Once the number was
    /// granted more than once, nothing later is certain.
    granted_until_ns: Option<u64>,
    /// The same time for each grant of this number that has not answered: a lease lives at
    /// least as long as the client asked for.
    unanswered_until_ns: Vec<u64>,
    /// Whether a revocation was called and not refused.
    revoke_called: bool,
    /// The event at which the first acknowledged revocation returned.
    revoked_event: Option<u64>,
}

/// What is known of all leases of a history.
#[derive(Debug, Default)]
pub(in crate::etcd) struct LeaseTimes {
    facts: BTreeMap<i64, Facts>,
    /// Grants with a number chosen by the server that have not returned: the lease may
    /// have any number.
    unnumbered: u64,
    /// Grants with a number of the client's that have not returned.
    unanswered: usize,
    tolerance_ns: u64,
}

/// The lease that a client asks for.
#[derive(Clone, Copy, Debug)]
pub(in crate::etcd) struct Asked {
    /// The number; 0 leaves it to the server.
    pub id: i64,
    /// The least time to live, in seconds.
    pub ttl_s: i64,
    /// The time of the call.
    pub call_ns: u64,
}

impl Asked {
    fn until_ns(self) -> u64 {
        self.call_ns.saturating_add(ttl_ns(self.ttl_s))
    }
}

impl LeaseTimes {
    pub fn new(tolerance_ns: u64) -> Self {
        Self {
            tolerance_ns,
            ..Self::default()
        }
    }

    /// Bytes held, estimated; trees are two thirds full.
    pub fn bytes(&self) -> usize {
        self.facts.len() * (size_of::<i64>() + size_of::<Facts>()) * 3 / 2
            + self.unanswered * size_of::<u64>() * 2
    }

    pub fn grant_called(&mut self, asked: Asked) {
        if asked.id == 0 {
            self.unnumbered += 1;
        } else {
            let facts = self.facts.entry(asked.id).or_default();
            facts.grants += 1;
            facts.unanswered_until_ns.push(asked.until_ns());
            self.unanswered += 1;
        }
    }

    pub fn grant_refused(&mut self, asked: Asked) {
        if asked.id == 0 {
            self.unnumbered -= 1;
        } else if let Some(facts) = self.facts.get_mut(&asked.id) {
            facts.grants -= 1;
            self.answered(asked);
        }
    }

    /// The lease has the number `id` and lives for `ttl_s`.
    pub fn granted(&mut self, asked: Asked, id: i64, ttl_s: i64, event: u64) {
        if asked.id == 0 {
            self.unnumbered -= 1;
            self.facts.entry(id).or_default().grants += 1;
        } else {
            self.answered(asked);
        }
        let facts = self.facts.entry(id).or_default();
        let until = Asked { ttl_s, ..asked }.until_ns();
        facts.granted_event.get_or_insert(event);
        facts.granted_ttl_s = Some(ttl_s);
        facts.alive_until_ns = facts.alive_until_ns.max(until);
        facts.granted_until_ns = Some(facts.granted_until_ns.map_or(until, |old| old.min(until)));
    }

    fn answered(&mut self, asked: Asked) {
        let facts = self.facts.entry(asked.id).or_default();
        let mut unanswered = facts.unanswered_until_ns.iter();
        if let Some(place) = unanswered.position(|until_ns| *until_ns == asked.until_ns()) {
            facts.unanswered_until_ns.swap_remove(place);
            self.unanswered -= 1;
        }
    }

    pub fn kept_alive(&mut self, id: i64, ttl_s: i64, call_ns: u64) {
        let facts = self.facts.entry(id).or_default();
        facts.alive_until_ns = facts
            .alive_until_ns
            .max(call_ns.saturating_add(ttl_ns(ttl_s)));
    }

    pub fn revoke_called(&mut self, id: i64) {
        self.facts.entry(id).or_default().revoke_called = true;
    }

    pub fn revoked(&mut self, id: i64, event: u64) {
        self.facts
            .entry(id)
            .or_default()
            .revoked_event
            .get_or_insert(event);
    }

    /// Whether the lease was granted at most once, so that its end is final.
    pub fn is_single(&self, id: i64) -> bool {
        self.unnumbered == 0 && self.facts.get(&id).is_none_or(|facts| facts.grants <= 1)
    }

    /// Whether the lease can exist at some time before now and after `call_event`.
    pub fn may_exist(&self, id: i64, call_event: u64) -> bool {
        if self.unnumbered > 0 {
            return true;
        }
        self.facts.get(&id).is_some_and(|facts| {
            facts.grants > 1
                || (facts.grants == 1
                    && facts
                        .revoked_event
                        .is_none_or(|revoked| revoked > call_event))
        })
    }

    /// Whether the lease can be missing at some time after `call_event` and before
    /// `now_ns`.
    pub fn may_be_missing(&self, id: i64, call_event: u64, now_ns: u64) -> bool {
        self.facts.get(&id).is_none_or(|facts| {
            facts.grants != 1
                || facts.revoke_called
                || facts
                    .granted_event
                    .is_none_or(|granted| granted > call_event)
                || self.has_passed(facts.alive_until_ns, now_ns)
        })
    }

    /// Whether a further grant of this number, which is counted already, can have succeeded
    /// after `call_event` and before `now_ns`: the lease that has it may be missing then.
    pub fn may_be_granted_again(&self, id: i64, call_event: u64, now_ns: u64) -> bool {
        self.facts.get(&id).is_none_or(|facts| {
            facts.grants != 2
                || facts.revoke_called
                || facts
                    .granted_event
                    .is_none_or(|granted| granted > call_event)
                || self.has_passed(facts.alive_until_ns, now_ns)
        })
    }

    /// Whether the lease can have expired before `known_ns`, when its expiry was known.
    pub fn may_have_expired(&self, id: i64, known_ns: u64) -> bool {
        self.facts.get(&id).is_none_or(|facts| {
            let until = if facts.grants > 1 {
                let unanswered = facts.unanswered_until_ns.iter();
                let shortest = unanswered.chain(&facts.granted_until_ns).min();
                shortest.copied().unwrap_or(0)
            } else {
                facts.alive_until_ns
            };
            self.has_passed(until, known_ns)
        })
    }

    fn has_passed(&self, until_ns: u64, now_ns: u64) -> bool {
        now_ns.saturating_add(self.tolerance_ns) >= until_ns
    }

    /// The time to live that the lease was granted, in seconds, if that is certain.
    pub fn granted_ttl_s(&self, id: i64) -> Option<i64> {
        let facts = self.facts.get(&id)?;
        facts.granted_ttl_s.filter(|_| self.is_single(id))
    }

    /// The least that is left, in whole seconds, of a time that certainly lasts until
    /// `until_ns`, for somebody who looks at it by `now_ns`.
    pub fn left_s(&self, until_ns: u64, now_ns: u64) -> i64 {
        let left_ns = until_ns.saturating_sub(now_ns.saturating_add(self.tolerance_ns));
        (left_ns / SECOND_NS) as i64
    }

    /// LeaseTimes that certainly exist from `call_event` on until `now_ns`.
    pub fn certain(&self, call_event: u64, now_ns: u64) -> impl Iterator<Item = i64> + '_ {
        let ids = self.facts.keys().copied();
        ids.filter(move |id| !self.may_be_missing(*id, call_event, now_ns))
    }

    /// The time until which the lease certainly lives, in nanoseconds.
    pub fn alive_until_ns(&self, id: i64) -> u64 {
        self.facts.get(&id).map_or(0, |facts| facts.alive_until_ns)
    }
}

fn ttl_ns(ttl_s: i64) -> u64 {
    u64::try_from(ttl_s).unwrap_or(0).saturating_mul(SECOND_NS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(id: i64, ttl_s: i64, call_ns: u64) -> Asked {
        Asked { id, ttl_s, call_ns }
    }

    #[test]
    fn a_lease_lives_from_the_call_of_its_last_keepalive_for_its_time_to_live() {
        let mut leases = LeaseTimes::new(1);
        leases.grant_called(asked(7, 2, 0));
        leases.granted(asked(7, 2, 0), 7, 2, 1);
        assert!(!leases.may_have_expired(7, 2 * SECOND_NS - 2));
        assert!(leases.may_have_expired(7, 2 * SECOND_NS - 1));
        leases.kept_alive(7, 2, SECOND_NS);
        assert!(!leases.may_have_expired(7, 3 * SECOND_NS - 2));
        assert!(leases.may_have_expired(7, 3 * SECOND_NS - 1));
    }

    #[test]
    fn a_number_granted_twice_allows_everything() {
        let mut leases = LeaseTimes::new(0);
        leases.grant_called(asked(7, 2, 0));
        leases.granted(asked(7, 2, 0), 7, 2, 1);
        leases.revoked(7, 5);
        assert!(!leases.may_exist(7, 6));
        leases.grant_called(asked(7, 2, 0));
        assert!(leases.may_exist(7, 6));
        assert!(leases.may_be_missing(7, 6, 0));
    }

    #[test]
    fn a_grant_without_a_number_may_be_any_lease_until_it_returns() {
        let mut leases = LeaseTimes::new(0);
        leases.grant_called(asked(0, 2, 0));
        assert!(leases.may_exist(9, 0));
        leases.granted(asked(0, 2, 0), 7, 2, 1);
        assert!(!leases.may_exist(9, 2));
        assert!(leases.may_exist(7, 2));
    }

    /// Swarm seeds 3361 and 9219: the lease whose keys were deleted was that of a grant that was
    /// never answered, and not of the one that was.
    #[test]
    fn of_two_leases_of_one_number_the_unanswered_one_may_end_first() {
        let mut leases = LeaseTimes::new(0);
        leases.grant_called(asked(7, 1, 0));
        leases.grant_called(asked(7, 2, 9 * SECOND_NS));
        leases.granted(asked(7, 2, 9 * SECOND_NS), 7, 2, 1);
        assert!(leases.may_have_expired(7, SECOND_NS));
        assert!(!leases.may_have_expired(7, SECOND_NS - 1));
        leases.grant_refused(asked(7, 1, 0));
        assert!(!leases.may_have_expired(7, 11 * SECOND_NS - 1));
    }
}
