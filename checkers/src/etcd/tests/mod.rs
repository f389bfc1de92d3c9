//! Small histories, each with the one thing that is right or wrong about it.

mod initial;
mod leases;

use veridical_histories::OperationId;
use veridical_histories::etcd::{
    DeleteRangeRequest, DeleteRangeResult, ErrorKind, EtcdEvent, KeyRange, KeyValue, Outcome,
    PutRequest, PutResult, RangeRequest, RangeResult, Request, Response, TxnOp, TxnOpResult,
    TxnRequest, TxnResult, WatchCreated, WatchEvent, WatchEventKind, WatchNote, WatchResponse,
};

use super::{EtcdChecker, EtcdOptions, check};
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

/// Swarm seed 1423, shrunk: which of nine operations wrote which of five revisions no answer
/// said, and one transaction read most of them later.
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
        hypotheses_max: 2,
        evidence_patience: 1,
        ..EtcdOptions::default()
    };
    assert_eq!(check(&script.events, options), Ok(Verdict::Ok));
}

/// Puts of as many keys without a known outcome, all of which may have written what follows.
fn unknown_puts(script: &mut Script, keys: &[&'static str]) {
    for key in keys {
        let op = script.call(put(key, "v"));
        script.unknown(op);
    }
}

const LETTERS: [&str; 26] = [
    "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s",
    "t", "u", "v", "w", "x", "y", "z",
];

#[test]
fn what_all_explanations_agree_on_takes_memory_once() {
    let mut script = Script::default();
    unknown_puts(&mut script, &LETTERS);
    // Some of them wrote revision 2. A copy of all that follows for each explanation would be
    // more than what they may take, and then nothing could be proved any more.
    for revision in 3..12_000 {
        script.run(put("other", "value"), put_done(revision));
    }
    assert_eq!(script.verdict(), Verdict::Ok);
    let letters = Request::Range(RangeRequest::of(KeyRange::span("a", "o")));
    script.run(letters, read(11_999, vec![]));
    let letters = Request::Range(RangeRequest::of(KeyRange::span("p", "zz")));
    script.run(letters, read(11_999, vec![]));
    assert_eq!(script.verdict(), Verdict::Ok, "it was the put of o");
    script.run(get("o"), read(11_999, vec![]));
    assert_eq!(script.kind(), Some(ViolationKind::WrongResult));
}

#[test]
fn a_crowd_of_explanations_waits_for_thousands_of_answers() {
    let mut script = Script::default();
    unknown_puts(&mut script, &LETTERS);
    for revision in 10..6_000 {
        script.run(put("other", "value"), put_done(revision));
    }
    for (key, at) in LETTERS.iter().zip([5, 3, 9, 2, 4, 8, 6, 7]) {
        script.run(get(key), read(5_999, vec![kv(key, "v", at)]));
    }
    assert_eq!(script.verdict(), Verdict::Ok);
    let options = EtcdOptions {
        crowded_patience: 1 << 12,
        ..EtcdOptions::default()
    };
    let early = check(&script.events, options);
    assert!(matches!(early, Ok(Verdict::Unknown(_))), "{early:?}");
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

/// The example in `docs/algorithms/revisions.md`.
fn worked_example() -> Script {
    let mut script = Script::default();
    let first = script.call(put("a", "x"));
    script.unknown(first);
    let second = script.call(put("b", "y"));
    script.unknown(second);
    script.run(put("c", "z"), put_done(4));
    script.run(get("a"), read(4, vec![kv("a", "x", 3)]));
    script
}

#[test]
fn two_hypotheses_become_one_by_the_answer_that_refutes_the_other() {
    let mut script = worked_example();
    script.run(get("b"), read(4, vec![kv("b", "y", 2)]));
    assert_eq!(script.verdict(), Verdict::Ok);
    let mut checker = EtcdChecker::new(EtcdOptions::default());
    for event in &script.events {
        checker.observe(event).unwrap();
    }
    assert_eq!(checker.statistics().hypotheses_max, 2);
    assert_eq!(checker.unplaced().count(), 0);
    let mut script = worked_example();
    script.run(get("b"), read(4, vec![]));
    assert_eq!(script.kind(), Some(ViolationKind::WrongResult));
}
