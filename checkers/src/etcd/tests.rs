//! Small histories, each with the one thing that is right or wrong about it.

use veridical_histories::OperationId;
use veridical_histories::etcd::{
    DeleteRangeRequest, DeleteRangeResult, ErrorKind, EtcdEvent, KeyRange, KeyValue, Outcome,
    PutRequest, PutResult, RangeRequest, RangeResult, Request, Response, TxnOp, TxnOpResult,
    TxnRequest, TxnResult, WatchCreated, WatchEvent, WatchEventKind, WatchNote, WatchResponse,
};

use super::{EtcdOptions, check};
use crate::{Verdict, ViolationKind};

const SECOND_NS: u64 = 1_000_000_000;

fn kv(key: &'static str, value: &'static str, mod_revision: i64) -> KeyValue {
    KeyValue {
        key: key.into(),
        value: value.into(),
        create_revision: mod_revision,
        mod_revision,
        version: 1,
        lease: 0,
    }
}

fn put(key: &'static str, value: &'static str) -> Request {
    Request::Put(PutRequest::of(key, value))
}

fn put_with_lease(key: &'static str, lease: i64) -> Request {
    Request::Put(PutRequest {
        lease,
        ..PutRequest::of(key, "v")
    })
}

fn put_done(revision: i64) -> Outcome {
    Outcome::done(revision, Response::Put(PutResult::default()))
}

fn get(key: &'static str) -> Request {
    Request::Range(RangeRequest::get(key))
}

fn read(revision: i64, kvs: Vec<KeyValue>) -> Outcome {
    let count = kvs.len() as i64;
    Outcome::done(
        revision,
        Response::Range(RangeResult {
            kvs,
            more: false,
            count,
        }),
    )
}

/// Builds a history from steps; time is the step's number unless set.
#[derive(Default)]
struct Script {
    events: Vec<EtcdEvent>,
    next: u64,
    now_ns: u64,
}

impl Script {
    fn call(&mut self, request: Request) -> OperationId {
        self.next += 1;
        self.now_ns += 1;
        let op = OperationId(self.next);
        self.events
            .push(EtcdEvent::call(self.now_ns, self.next, op, request));
        op
    }

    fn returns(&mut self, op: OperationId, outcome: Outcome) {
        self.now_ns += 1;
        self.events
            .push(EtcdEvent::returned(self.now_ns, op.0, op, outcome));
    }

    fn unknown(&mut self, op: OperationId) {
        self.now_ns += 1;
        self.events.push(EtcdEvent::unknown(self.now_ns, op.0, op));
    }

    fn run(&mut self, request: Request, outcome: Outcome) {
        let op = self.call(request);
        self.returns(op, outcome);
    }

    fn note(&mut self, note: WatchNote) {
        self.now_ns += 1;
        self.events.push(EtcdEvent::note(self.now_ns, 99, note));
    }

    fn watch(&mut self) {
        self.note(WatchNote::Created(WatchCreated {
            watch: 1,
            range: KeyRange::all(),
            start_revision: 2,
            revision: 1,
            ..WatchCreated::default()
        }));
    }

    fn watched(&mut self, revision: i64, events: Vec<WatchEvent>) {
        self.note(WatchNote::Response(WatchResponse {
            watch: 1,
            revision,
            events,
            ..WatchResponse::default()
        }));
    }

    fn verdict(&self) -> Verdict {
        check(&self.events, EtcdOptions::default()).unwrap()
    }

    fn kind(&self) -> Option<ViolationKind> {
        self.verdict().violation().map(|violation| violation.kind)
    }
}

fn event(kv: KeyValue) -> WatchEvent {
    WatchEvent {
        kind: WatchEventKind::Put,
        kv,
        prev_kv: None,
    }
}

#[test]
fn writes_and_reads_in_order_are_fine() {
    let mut script = Script::default();
    script.run(get("a"), read(1, vec![]));
    script.run(put("a", "x"), put_done(2));
    script.run(get("a"), read(2, vec![kv("a", "x", 2)]));
    script.run(
        Request::DeleteRange(DeleteRangeRequest::of(KeyRange::all())),
        Outcome::done(
            3,
            Response::DeleteRange(DeleteRangeResult {
                deleted: 1,
                prev_kvs: vec![],
            }),
        ),
    );
    script.run(get("a"), read(3, vec![]));
    assert_eq!(script.verdict(), Verdict::Ok);
}

#[test]
fn a_read_below_an_acknowledged_revision_is_stale() {
    let mut script = Script::default();
    script.run(put("a", "x"), put_done(2));
    script.run(get("a"), read(1, vec![]));
    assert_eq!(script.kind(), Some(ViolationKind::StaleRevision));
}

#[test]
fn two_writes_at_one_revision_are_refused() {
    let mut script = Script::default();
    let first = script.call(put("a", "x"));
    let second = script.call(put("b", "y"));
    script.returns(first, put_done(2));
    script.returns(second, put_done(2));
    assert_eq!(script.kind(), Some(ViolationKind::DuplicateRevision));
}

#[test]
fn a_revision_needs_somebody_who_wrote_it() {
    let mut script = Script::default();
    script.run(get("a"), read(2, vec![]));
    assert_eq!(script.kind(), Some(ViolationKind::UnexplainedRevision));
}

#[test]
fn an_unknown_write_explains_the_revision_at_which_it_is_seen() {
    let mut script = Script::default();
    let lost = script.call(put("a", "x"));
    script.unknown(lost);
    let other = script.call(put("b", "y"));
    script.unknown(other);
    script.run(get("a"), read(3, vec![kv("a", "x", 3)]));
    script.run(get("b"), read(3, vec![kv("b", "y", 2)]));
    assert_eq!(script.verdict(), Verdict::Ok);
    script.run(put("c", "z"), put_done(4));
    script.run(get("a"), read(4, vec![kv("a", "x", 2)]));
    assert_eq!(script.kind(), Some(ViolationKind::WrongResult));
}

#[test]
fn an_unknown_write_takes_effect_only_once() {
    let mut script = Script::default();
    let lost = script.call(put("a", "x"));
    script.unknown(lost);
    script.run(get("a"), read(2, vec![kv("a", "x", 2)]));
    script.run(
        get("a"),
        read(
            3,
            vec![KeyValue {
                mod_revision: 3,
                version: 2,
                ..kv("a", "x", 2)
            }],
        ),
    );
    assert_eq!(script.kind(), Some(ViolationKind::UnexplainedRevision));
}

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
fn the_parts_of_a_response_on_a_watch_come_one_after_the_other() {
    let begin = || {
        let mut script = Script::default();
        script.watch();
        script.run(put("a", "x"), put_done(2));
        script.run(put("b", "y"), put_done(3));
        script.note(WatchNote::Response(WatchResponse {
            watch: 1,
            revision: 3,
            events: vec![event(kv("a", "x", 2))],
            fragment: true,
            ..WatchResponse::default()
        }));
        script
    };
    let mut script = begin();
    script.watched(3, vec![event(kv("b", "y", 3))]);
    assert_eq!(script.verdict(), Verdict::Ok);
    let mut script = begin();
    script.run(put("c", "z"), put_done(4));
    script.watched(4, vec![event(kv("b", "y", 3)), event(kv("c", "z", 4))]);
    assert_eq!(script.kind(), Some(ViolationKind::Watch));
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
    let request = match &answer {
        Response::LeaseLeases { .. } => Request::LeaseLeases,
        _ => Request::LeaseTimeToLive { id: 7, keys: true },
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
    // Of two states between the call and the answer's revision either may be told.
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

#[test]
fn a_watch_gets_every_event_once_and_in_order() {
    let write = |script: &mut Script| {
        script.watch();
        script.run(put("a", "x"), put_done(2));
        script.run(put("b", "y"), put_done(3));
    };
    let (a, b) = (|| event(kv("a", "x", 2)), || event(kv("b", "y", 3)));
    let cases: [(Vec<Vec<WatchEvent>>, Option<ViolationKind>); 6] = [
        (vec![vec![a()], vec![b()]], None),
        (vec![vec![a(), b()]], None),
        (vec![vec![b()]], Some(ViolationKind::Watch)),
        (vec![vec![a()], vec![a()]], Some(ViolationKind::Watch)),
        (vec![vec![b(), a()]], Some(ViolationKind::Watch)),
        (
            vec![vec![event(kv("a", "other", 2))]],
            Some(ViolationKind::Watch),
        ),
    ];
    for (responses, expected) in cases {
        let mut script = Script::default();
        write(&mut script);
        for events in responses {
            script.watched(3, events);
        }
        assert_eq!(script.kind(), expected, "{:?}", script.events);
    }
}

#[test]
fn a_watch_event_tells_which_unknown_write_took_effect() {
    let mut script = Script::default();
    script.watch();
    let first = script.call(put("a", "x"));
    script.unknown(first);
    let second = script.call(put("a", "y"));
    script.unknown(second);
    script.watched(2, vec![event(kv("a", "y", 2))]);
    assert_eq!(script.verdict(), Verdict::Ok);
    script.run(get("a"), read(2, vec![kv("a", "x", 2)]));
    assert_eq!(script.kind(), Some(ViolationKind::WrongResult));
}

/// Swarm seed 1423, shrunk: which of nine operations wrote which of five revisions nobody was
/// told, and one transaction read most of them later.
#[test]
fn what_later_revisions_show_leaves_few_explanations() {
    const KEYS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let txn = |op| {
        Request::Txn(TxnRequest {
            success: vec![op],
            ..TxnRequest::default()
        })
    };
    let mut script = Script::default();
    for key in KEYS {
        let op = script.call(txn(TxnOp::Put(PutRequest::of(key, "v"))));
        script.unknown(op);
    }
    // The last one was the first; of the first two keys nobody knows.
    let shown = KEYS[2..].iter().zip((4..10).rev());
    let kvs: Vec<KeyValue> = shown.map(|(key, at)| kv(key, "v", at)).collect();
    let range = RangeRequest::of(KeyRange::span("c", "i"));
    script.run(
        txn(TxnOp::Range(range)),
        Outcome::done(
            9,
            Response::Txn(TxnResult {
                succeeded: true,
                results: vec![TxnOpResult::Range(RangeResult {
                    count: kvs.len() as i64,
                    kvs,
                    more: false,
                })],
            }),
        ),
    );
    let options = EtcdOptions {
        worlds_max: 2,
        evidence_patience: 1,
        ..EtcdOptions::default()
    };
    assert_eq!(check(&script.events, options), Ok(Verdict::Ok));
}

#[test]
fn a_range_that_mixes_two_revisions_is_found() {
    let mut script = Script::default();
    script.run(put("a", "1"), put_done(2));
    script.run(put("b", "1"), put_done(3));
    let reading = script.call(Request::Range(RangeRequest::of(KeyRange::all())));
    script.run(put("a", "2"), put_done(4));
    script.returns(reading, read(4, vec![kv("a", "1", 2), kv("b", "1", 3)]));
    assert_eq!(script.kind(), Some(ViolationKind::WrongResult));
}

#[test]
fn a_compaction_has_to_be_called_before_it_is_reported_and_kept_once_acknowledged() {
    let at = |revision| {
        Request::Range(RangeRequest {
            revision,
            ..RangeRequest::get("a")
        })
    };
    let mut script = Script::default();
    script.run(put("a", "x"), put_done(2));
    script.run(put("a", "y"), put_done(3));
    script.run(at(2), read(3, vec![kv("a", "x", 2)]));
    script.run(
        Request::Compact { revision: 3 },
        Outcome::done(3, Response::Compact),
    );
    script.run(at(2), Outcome::refused(ErrorKind::Compacted));
    assert_eq!(script.verdict(), Verdict::Ok);
    script.run(at(3), Outcome::refused(ErrorKind::Compacted));
    assert_eq!(script.kind(), Some(ViolationKind::Compaction));
    script.events.truncate(script.events.len() - 2);
    script.run(at(2), read(3, vec![kv("a", "x", 2)]));
    assert_eq!(script.kind(), Some(ViolationKind::Compaction));
}

#[test]
fn a_refusal_for_a_missing_key_needs_a_state_without_it() {
    let ignoring = Request::Put(PutRequest {
        ignore_value: true,
        ..PutRequest::of("a", "")
    });
    let mut script = Script::default();
    script.run(ignoring.clone(), Outcome::refused(ErrorKind::KeyNotFound));
    script.run(put("a", "x"), put_done(2));
    assert_eq!(script.verdict(), Verdict::Ok);
    script.run(ignoring, Outcome::refused(ErrorKind::KeyNotFound));
    assert_eq!(script.kind(), Some(ViolationKind::WrongRefusal));
}
