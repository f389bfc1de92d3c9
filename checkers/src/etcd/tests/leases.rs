//! Small histories about leases.

use super::*;

fn leased(expires_ns: u64) -> Script {
    let mut script = Script::default();
    script.run(
        Request::LeaseGrant { id: 7, ttl_s: 2 },
        Outcome::done(1, Response::LeaseGrant { id: 7, ttl_s: 2 }),
    );
    script.run(put_with_lease("a", 7), put_done(2));
    script.now_ns = expires_ns;
    script.run(get("a"), read(3, vec![]));
    script
}

#[test]
fn a_lease_may_expire_after_its_time_to_live_and_not_before() {
    assert_eq!(leased(2 * SECOND_NS).verdict(), Verdict::Ok);
    assert_eq!(leased(SECOND_NS).kind(), Some(ViolationKind::Lease));
}

#[test]
fn nothing_is_attached_to_a_lease_after_its_end() {
    let mut script = leased(2 * SECOND_NS);
    script.run(put_with_lease("a", 7), put_done(4));
    assert_eq!(script.kind(), Some(ViolationKind::Lease));
}

#[test]
fn a_lease_that_was_revoked_is_not_revoked_again() {
    let mut script = Script::default();
    let granted = Response::LeaseGrant { id: 7, ttl_s: 2 };
    script.run(
        Request::LeaseGrant { id: 7, ttl_s: 2 },
        Outcome::done(1, granted),
    );
    let revoke = || Request::LeaseRevoke { id: 7 };
    script.run(revoke(), Outcome::done(1, Response::LeaseRevoke));
    assert_eq!(script.verdict(), Verdict::Ok);
    script.run(revoke(), Outcome::done(1, Response::LeaseRevoke));
    assert_eq!(script.kind(), Some(ViolationKind::Lease));
}

#[test]
fn a_lease_that_lives_is_not_granted_again_and_one_that_was_never_granted_is_not_taken() {
    let grant = |ttl_s| Request::LeaseGrant { id: 7, ttl_s };
    let granted = |ttl_s| Outcome::done(1, Response::LeaseGrant { id: 7, ttl_s });
    let exists = || Outcome::refused(ErrorKind::LeaseExists);
    let mut script = Script::default();
    script.run(grant(5), granted(5));
    script.run(grant(9), exists());
    assert_eq!(script.verdict(), Verdict::Ok);
    script.run(grant(9), granted(9));
    assert_eq!(script.kind(), Some(ViolationKind::Lease));
    let mut script = Script::default();
    script.run(grant(5), granted(5));
    script.now_ns = 5 * SECOND_NS;
    script.run(grant(9), granted(9));
    assert_eq!(script.verdict(), Verdict::Ok);
    let mut script = Script::default();
    script.run(grant(5), exists());
    assert_eq!(script.kind(), Some(ViolationKind::Lease));
}

/// A lease of 5 s with key `a`, asked for after one second.
fn asked(answer: Response) -> Script {
    let mut script = Script::default();
    let granted = Response::LeaseGrant { id: 7, ttl_s: 5 };
    script.run(
        Request::LeaseGrant { id: 7, ttl_s: 5 },
        Outcome::done(1, granted),
    );
    script.run(put_with_lease("a", 7), put_done(2));
    script.now_ns = SECOND_NS;
    let request = if let Response::LeaseLeases { .. } = &answer {
        Request::LeaseLeases
    } else {
        Request::LeaseTimeToLive { id: 7, keys: true }
    };
    script.run(request, Outcome::done(2, answer));
    script
}

fn time_to_live(ttl_s: i64, granted_ttl_s: i64, keys: &[&'static str]) -> Response {
    Response::LeaseTimeToLive {
        ttl_s,
        granted_ttl_s,
        keys: keys.iter().map(|key| (*key).into()).collect(),
    }
}

#[test]
fn a_lease_lasts_as_long_as_was_granted_less_what_has_passed() {
    for ttl_s in [3, 4, 5] {
        let answer = time_to_live(ttl_s, 5, &["a"]);
        assert_eq!(asked(answer).verdict(), Verdict::Ok, "{ttl_s}");
    }
    for (ttl_s, granted_ttl_s) in [(2, 5), (6, 5), (6, 6), (-1, 0)] {
        let answer = time_to_live(ttl_s, granted_ttl_s, &["a"]);
        let kind = asked(answer).kind();
        assert_eq!(
            kind,
            Some(ViolationKind::Lease),
            "{ttl_s} of {granted_ttl_s}"
        );
    }
}

#[test]
fn a_lease_has_the_keys_that_were_attached_to_it() {
    for keys in [&[][..], &["b"], &["a", "b"]] {
        let answer = time_to_live(4, 5, keys);
        assert_eq!(asked(answer).kind(), Some(ViolationKind::Lease), "{keys:?}");
    }
    // The answer may show either of two states between the call and its revision.
    for keys in [&["a"][..], &["a", "b"]] {
        let mut script = asked(time_to_live(4, 5, &["a"]));
        let question = script.call(Request::LeaseTimeToLive { id: 7, keys: true });
        script.run(put_with_lease("b", 7), put_done(3));
        script.returns(question, Outcome::done(3, time_to_live(4, 5, keys)));
        assert_eq!(script.verdict(), Verdict::Ok, "{keys:?}");
    }
}

#[test]
fn a_list_of_leases_has_those_that_certainly_live_and_none_that_was_never_granted() {
    let list = |ids: &[i64]| Response::LeaseLeases { ids: ids.to_vec() };
    assert_eq!(asked(list(&[7])).verdict(), Verdict::Ok);
    for ids in [&[][..], &[7, 8], &[7, 7]] {
        assert_eq!(
            asked(list(ids)).kind(),
            Some(ViolationKind::Lease),
            "{ids:?}"
        );
    }
}

#[test]
fn a_keepalive_in_flight_counts_against_an_expiry_seen_before_it_returned() {
    let mut script = Script::default();
    script.run(
        Request::LeaseGrant { id: 7, ttl_s: 2 },
        Outcome::done(1, Response::LeaseGrant { id: 7, ttl_s: 2 }),
    );
    script.run(put_with_lease("a", 7), put_done(2));
    script.now_ns = SECOND_NS;
    let keepalive = script.call(Request::LeaseKeepAlive { id: 7 });
    script.now_ns = 2 * SECOND_NS + 10;
    script.run(get("a"), read(3, vec![]));
    assert_eq!(script.verdict(), Verdict::Ok);
    script.returns(
        keepalive,
        Outcome::done(3, Response::LeaseKeepAlive { ttl_s: 2 }),
    );
    assert_eq!(script.kind(), Some(ViolationKind::Lease));
}

#[test]
fn a_revocation_deletes_the_keys_of_its_lease() {
    let revoke = Request::LeaseRevoke { id: 7 };
    let begin = || {
        let mut script = Script::default();
        script.run(
            Request::LeaseGrant { id: 7, ttl_s: 100 },
            Outcome::done(1, Response::LeaseGrant { id: 7, ttl_s: 100 }),
        );
        script.run(put_with_lease("a", 7), put_done(2));
        script
    };
    let mut script = begin();
    script.run(revoke.clone(), Outcome::done(3, Response::LeaseRevoke));
    script.run(get("a"), read(3, vec![]));
    assert_eq!(script.verdict(), Verdict::Ok);
    let mut script = begin();
    script.run(revoke, Outcome::done(2, Response::LeaseRevoke));
    assert_eq!(script.kind(), Some(ViolationKind::Lease));
}
