//! Which member a client speaks to, and which ones it avoids for a while.

use std::time::Duration;

/// A member that fails is avoided for the pause, doubled with each failure up to this factor.
const AVOIDED_PAUSES_MAX: u32 = 64;

/// The members that a client knows, as it has found them.
#[derive(Clone, Debug)]
pub(crate) struct Endpoints {
    /// Fallbacks stand last.
    members: Vec<Member>,
    present: usize,
    /// What the user has named.
    configured: Vec<String>,
}

#[derive(Clone, Debug)]
struct Member {
    address: String,
    /// Failures since it last answered.
    failures: u32,
    /// Until when others are tried first.
    avoided_until: Duration,
    /// The user has named it, and the cluster has not: it is tried when no other is of use.
    is_fallback: bool,
}

impl Member {
    fn new(address: String) -> Self {
        Self {
            address,
            failures: 0,
            avoided_until: Duration::ZERO,
            is_fallback: false,
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
            configured: addresses.clone(),
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

    /// Whether all of them did, but for those that only the user has named.
    pub(crate) fn all_failed(&self) -> bool {
        let mut named = self.members.iter().filter(|member| !member.is_fallback);
        named.all(|member| member.failures > 0)
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

    /// The next member in turn that is not avoided, a fallback only after all others; or the one
    /// that is avoided the least.
    fn move_on(&mut self, now: Duration) {
        let count = self.members.len();
        let in_turn = (1..=count).map(|step| (self.present + step) % count);
        let next = in_turn.min_by_key(|place| {
            let member = &self.members[*place];
            let until = member.avoided_until;
            let left = if until <= now { Duration::ZERO } else { until };
            (left, member.is_fallback)
        });
        self.present = next.expect("there is a member");
    }

    /// Takes other addresses for the members, as if the user had named them from the beginning.
    pub(crate) fn replace(&mut self, addresses: Vec<String>) {
        if addresses.is_empty() {
            return;
        }
        self.configured = addresses.clone();
        self.take(addresses);
    }

    /// Takes the addresses that the cluster has named for the members; those that the user has
    /// named and the cluster has not are kept as fallbacks, since the way from here to an address
    /// that members have for each other may be another one.
    pub(crate) fn learn(&mut self, addresses: Vec<String>) {
        if addresses.is_empty() {
            return;
        }
        let named = addresses.len();
        let is_missing = |configured: &&String| !addresses.contains(configured);
        let fallbacks: Vec<_> = self.configured.iter().filter(is_missing).cloned().collect();
        self.take(addresses.into_iter().chain(fallbacks).collect());
        for member in &mut self.members[named..] {
            member.is_fallback = true;
        }
    }

    /// Takes other addresses. What is known of those that stay is kept, and the present one
    /// stays the present one if it is among them.
    fn take(&mut self, addresses: Vec<String>) {
        let present = self.present().to_owned();
        let known = std::mem::take(&mut self.members);
        self.members = addresses
            .into_iter()
            .map(|address| {
                let same = known.iter().find(|member| member.address == address);
                Member {
                    is_fallback: false,
                    ..same.cloned().unwrap_or_else(|| Member::new(address))
                }
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

    #[test]
    fn what_was_learnt_is_tried_before_what_was_configured_and_does_not_replace_it() {
        let mut endpoints = three();
        endpoints.learn(["d", "b"].map(str::to_owned).to_vec());
        let all = |endpoints: &Endpoints| endpoints.addresses().collect::<Vec<_>>().join(" ");
        assert_eq!(all(&endpoints), "d b a c");
        assert_eq!(endpoints.present(), "a", "which is of use");
        let mut seen = Vec::new();
        for _ in 0..4 {
            let present = endpoints.present().to_owned();
            endpoints.failed(&present, at(0), at(100));
            seen.push(present);
        }
        assert_eq!(seen, ["a", "d", "b", "c"]);
        assert!(endpoints.all_failed());
        endpoints.answered("c");
        assert!(endpoints.all_failed(), "no member answers");
        endpoints.answered("d");
        assert!(!endpoints.all_failed());
        endpoints.learn(["c", "e"].map(str::to_owned).to_vec());
        assert_eq!(all(&endpoints), "c e a b", "d is gone");
        endpoints.learn(Vec::new());
        assert_eq!(all(&endpoints), "c e a b", "nobody is no cluster");
        endpoints.replace(["f"].map(str::to_owned).to_vec());
        endpoints.learn(["g"].map(str::to_owned).to_vec());
        assert_eq!(all(&endpoints), "g f", "f is what the user wants now");
    }
}
