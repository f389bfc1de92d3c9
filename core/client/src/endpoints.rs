//! Which member a client speaks to, and which ones it avoids for a while.

use std::time::Duration;

/// A member that fails is avoided for the pause, doubled with each failure up to this factor.
const AVOIDED_PAUSES_MAX: u32 = 64;

/// The members that a client knows, as it has found them.
#[derive(Clone, Debug)]
pub(crate) struct Endpoints {
    members: Vec<Member>,
    present: usize,
}

#[derive(Clone, Debug)]
struct Member {
    address: String,
    /// Failures since it last answered.
    failures: u32,
    /// Until when others are tried first.
    avoided_until: Duration,
}

impl Member {
    fn new(address: String) -> Self {
        Self {
            address,
            failures: 0,
            avoided_until: Duration::ZERO,
        }
    }
}

impl Endpoints {
    /// Begins with the member of that number.
    ///
    /// # Panics
    /// If there is no address.
    pub(crate) fn new(addresses: Vec<String>, first: usize) -> Self {
        assert!(!addresses.is_empty(), "a client needs an endpoint");
        let present = first % addresses.len();
        Self {
            members: addresses.into_iter().map(Member::new).collect(),
            present,
        }
    }

    /// The address of the present member.
    pub(crate) fn present(&self) -> &str {
        &self.members[self.present].address
    }

    /// All of them.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|member| member.address.as_str())
    }

    /// The present member has answered.
    pub(crate) fn answered(&mut self, address: &str) {
        if let Some(member) = self.find(address) {
            member.failures = 0;
            member.avoided_until = Duration::ZERO;
        }
    }

    /// Whether any of them failed since it last answered.
    pub(crate) fn any_failed(&self) -> bool {
        self.members.iter().any(|member| member.failures > 0)
    }

    /// The member at `address` is of no use at `now`: it is avoided for `pause`, longer each
    /// time, and another one is the present one, unless another one is already.
    pub(crate) fn failed(&mut self, address: &str, now: Duration, pause: Duration) {
        let Some(member) = self.find(address) else {
            return;
        };
        member.failures = member.failures.saturating_add(1);
        let pauses = 1 << (member.failures - 1).min(AVOIDED_PAUSES_MAX.ilog2());
        member.avoided_until = now.saturating_add(pause.saturating_mul(pauses));
        if self.present() == address {
            self.move_on(now);
        }
    }

    /// The next member in turn that is not avoided, or that is avoided the least.
    fn move_on(&mut self, now: Duration) {
        let count = self.members.len();
        let in_turn = (1..=count).map(|step| (self.present + step) % count);
        let next = in_turn.min_by_key(|place| {
            let until = self.members[*place].avoided_until;
            if until <= now { Duration::ZERO } else { until }
        });
        self.present = next.expect("there is a member");
    }

    /// Takes other addresses for the members. What is known of those that stay is kept, and
    /// the present one stays the present one if it is among them.
    pub(crate) fn replace(&mut self, addresses: Vec<String>) {
        if addresses.is_empty() {
            return;
        }
        let present = self.present().to_owned();
        let known = std::mem::take(&mut self.members);
        self.members = addresses
            .into_iter()
            .map(|address| {
                let same = known.iter().find(|member| member.address == address);
                same.cloned().unwrap_or_else(|| Member::new(address))
            })
            .collect();
        let place = self.addresses().position(|address| address == present);
        self.present = place.unwrap_or(0);
    }

    fn find(&mut self, address: &str) -> Option<&mut Member> {
        self.members
            .iter_mut()
            .find(|member| member.address == address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn three() -> Endpoints {
        Endpoints::new(["a", "b", "c"].map(str::to_owned).to_vec(), 0)
    }

    #[test]
    fn members_are_tried_in_turn() {
        let mut endpoints = three();
        let mut seen = Vec::new();
        for _ in 0..4 {
            let present = endpoints.present().to_owned();
            endpoints.failed(&present, at(0), at(0));
            seen.push(present);
        }
        assert_eq!(seen, ["a", "b", "c", "a"]);
    }

    #[test]
    fn a_member_that_failed_is_passed_over_until_its_pause_is_over() {
        let mut endpoints = three();
        endpoints.failed("a", at(0), at(100));
        assert_eq!(endpoints.present(), "b");
        endpoints.failed("b", at(10), at(10));
        assert_eq!(endpoints.present(), "c");
        // The turn would be a's.
        endpoints.failed("c", at(30), at(10));
        assert_eq!(endpoints.present(), "b");
        endpoints.failed("b", at(100), at(10));
        assert_eq!(endpoints.present(), "c");
    }

    #[test]
    fn each_failure_makes_the_pause_longer_and_an_answer_ends_it() {
        let mut endpoints = three();
        for now in [0, 1] {
            endpoints.failed("a", at(now), at(100));
        }
        assert_eq!(endpoints.members[0].avoided_until, at(201));
        endpoints.answered("a");
        endpoints.failed("a", at(1_000), at(100));
        assert_eq!(endpoints.members[0].avoided_until, at(1_100));
        for _ in 0..100 {
            endpoints.failed("a", at(0), at(1));
        }
        assert_eq!(endpoints.members[0].avoided_until, at(64));
    }

    #[test]
    fn only_the_first_of_several_callers_leaves_a_member() {
        let mut endpoints = three();
        endpoints.failed("a", at(0), at(10));
        endpoints.failed("a", at(0), at(10));
        assert_eq!(endpoints.present(), "b");
    }

    #[test]
    fn new_addresses_keep_what_is_known_of_the_old() {
        let mut endpoints = three();
        endpoints.failed("a", at(0), at(100));
        endpoints.replace(["d", "b", "a"].map(str::to_owned).to_vec());
        assert_eq!(endpoints.present(), "b");
        endpoints.failed("b", at(1), at(1));
        // Not a, which is avoided still.
        assert_eq!(endpoints.present(), "d");
        endpoints.replace(Vec::new());
        assert_eq!(endpoints.addresses().count(), 3);
    }
}
