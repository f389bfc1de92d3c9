//! What the checkers take of memory, counted at the allocator.
#![expect(unsafe_code, reason = "an allocator cannot be written without")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use veridical_checkers::etcd::{EtcdChecker, EtcdOptions};
use veridical_checkers::{
    Cause, Checker, CheckerOptions, ObjectChecker, ObjectKind, ObjectModel, Verdict,
};
use veridical_histories::OperationId;
use veridical_histories::etcd::{
    EtcdEvent, Outcome, PutRequest, PutResult, RangeRequest, RangeResult, Request as EtcdRequest,
    Response,
};
use veridical_histories::generate::etcd::{EtcdHistory, EtcdWorkload};
use veridical_histories::object::{Action, Answer, ObjectEvent, Request, Value};

/// Counts the bytes that are allocated.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
/// One test at a time: the counts are the whole process's.
static ALONE: Mutex<()> = Mutex::new(());

// SAFETY: every call goes to the system's allocator with the arguments it came with.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(live, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `GlobalAlloc::dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// The most bytes that `run` had at once beyond those before it.
fn peak<T>(run: impl FnOnce() -> T) -> (usize, T) {
    let before = LIVE.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let result = run();
    (PEAK.load(Ordering::Relaxed) - before, result)
}

fn request(key: i64, action: Action) -> Request {
    Request {
        key: Value::Int(key),
        action,
    }
}

/// Each key is written once; every `unknown`th write has an unknown outcome.
fn write_every_key(checker: &mut ObjectChecker, keys: i64, unknown: i64) {
    for key in 0..keys {
        let (at, op) = (2 * key as u64, OperationId(key as u64));
        let action = Action::Write(Value::Int(key + 1));
        let call = ObjectEvent::call(at, 0, op, request(key, action));
        checker.observe(&call).unwrap();
        let end = if key % unknown == unknown - 1 {
            ObjectEvent::unknown(at + 1, 0, op)
        } else {
            ObjectEvent::returned(at + 1, 0, op, Answer::Done)
        };
        checker.observe(&end).unwrap();
    }
}

fn read(checker: &mut ObjectChecker, op: i64, key: i64, value: Value) -> bool {
    let (at, op) = (u64::MAX / 2 + op as u64, OperationId((1 << 60) + op as u64));
    let call = ObjectEvent::call(at, 0, op, request(key, Action::Read));
    checker.observe(&call).unwrap();
    let end = ObjectEvent::returned(at, 0, op, Answer::Value(value));
    checker.observe(&end).is_ok()
}

fn limited(limit_bytes: u64) -> ObjectChecker {
    let model = ObjectModel::new(ObjectKind::CasRegister);
    let mut checker = ObjectChecker::new(model, CheckerOptions::default());
    checker.limit_memory(Some(limit_bytes));
    checker
}

#[test]
fn ten_million_keys_fit_into_256_mib_and_none_is_forgotten() {
    let _alone = ALONE.lock();
    let limit = 256 << 20;
    let (peak, verdict) = peak(|| {
        let mut checker = limited(limit);
        write_every_key(&mut checker, 10_000_000, i64::MAX);
        for op in 0..1_000 {
            let key = op * 9_973;
            assert!(read(&mut checker, op, key, Value::Int(key + 1)));
        }
        let verdict = checker.finish();
        assert!(
            !read(&mut checker, 1_001, 77, Value::Int(79)),
            "a wrong read passes"
        );
        verdict
    });
    println!("{} MiB", peak >> 20);
    assert_eq!(verdict, Verdict::Ok);
    assert!(peak < limit as usize, "{peak} bytes");
}

/// Keys with a write of unknown outcome are never idle for good, and go to disk too.
#[test]
fn keys_with_unknown_outcomes_go_to_disk_and_come_back_with_them() {
    let _alone = ALONE.lock();
    let limit = 24 << 20;
    let (peak, ()) = peak(|| {
        let mut checker = limited(limit);
        write_every_key(&mut checker, 600_000, 2);
        for op in 0..200 {
            let key = 2 * op * 997 + 1;
            let value = if op % 2 == 0 {
                Value::Nil
            } else {
                Value::Int(key + 1)
            };
            assert!(read(&mut checker, op, key, value), "key {key}");
        }
        assert_eq!(checker.finish(), Verdict::Ok);
        // What was seen once does not go away again.
        let key = 2 * 997 + 1;
        assert!(!read(&mut checker, 300, key, Value::Nil));
    });
    println!("{} MiB", peak >> 20);
    assert!(peak < limit as usize, "{peak} bytes");
}

/// One key whose unknown writes alone are more than the limit.
#[test]
fn a_key_that_does_not_fit_is_undecided_and_the_others_are_still_judged() {
    let _alone = ALONE.lock();
    let limit = 16 << 20;
    let (peak, ()) = peak(|| {
        let mut checker = limited(limit);
        for number in 0..400_000 {
            let op = OperationId(number);
            let action = Action::Write(Value::Int(number as i64 + 1));
            let call = ObjectEvent::call(number, 0, op, request(-1, action));
            checker.observe(&call).unwrap();
            let end = ObjectEvent::unknown(number, 0, op);
            checker.observe(&end).unwrap();
        }
        write_every_key(&mut checker, 1_000, i64::MAX);
        let verdict = checker.finish();
        assert!(
            matches!(&verdict, Verdict::Unknown(undecided)
            if undecided.key.as_deref() == Some("-1")),
            "{verdict}"
        );
        assert!(!read(&mut checker, 1, 5, Value::Nil));
    });
    println!("{} MiB", peak >> 20);
    assert!(peak < limit as usize, "{peak} bytes");
}

/// So many keys that what is kept in memory of those on disk is too much by itself.
#[test]
fn keys_on_disk_that_are_too_many_even_there_are_undecided() {
    let _alone = ALONE.lock();
    let limit = 16 << 20;
    let (peak, verdict) = peak(|| {
        let mut checker = limited(limit);
        write_every_key(&mut checker, 4_000_000, i64::MAX);
        checker.finish()
    });
    println!("{} KiB, {verdict}", peak >> 10);
    assert!(matches!(verdict, Verdict::Unknown(undecided) if undecided.cause == Cause::Memory));
    assert!(peak < limit as usize, "{peak} bytes");
}

/// A queue that only grows, and many sets.
#[test]
fn queues_and_sets_that_do_not_fit_are_undecided() {
    let _alone = ALONE.lock();
    let limit = 16 << 20;
    for kind in [ObjectKind::Queue, ObjectKind::Stack, ObjectKind::Set] {
        let (peak, verdict) = peak(|| {
            let mut checker = ObjectChecker::new(ObjectModel::new(kind), CheckerOptions::default());
            checker.limit_memory(Some(limit));
            for number in 0..400_000 {
                let op = OperationId(number);
                let value = Value::Int(number as i64 + 1);
                let (key, action) = match kind {
                    ObjectKind::Queue => (0, Action::Enqueue(value)),
                    ObjectKind::Stack => (0, Action::Push(value)),
                    _ => (number as i64 / 1_000, Action::Add(value)),
                };
                let call = ObjectEvent::call(2 * number, 0, op, request(key, action));
                checker.observe(&call).unwrap();
                let end = ObjectEvent::returned(2 * number + 1, 0, op, Answer::Done);
                checker.observe(&end).unwrap();
            }
            checker.finish()
        });
        println!("{kind}: {} KiB, {verdict}", peak >> 10);
        assert!(matches!(verdict, Verdict::Unknown(undecided) if undecided.cause == Cause::Memory));
        assert!(peak < limit as usize, "{kind}: {peak} bytes");
    }
}

/// The checker for models of one's own: objects in use, and objects that are not.
#[test]
fn the_general_checker_keeps_its_limit() {
    let _alone = ALONE.lock();
    let limit = 4 << 20;
    for unknown in [2, u64::MAX] {
        let (peak, verdict) = peak(|| {
            let model = ObjectModel::new(ObjectKind::Register);
            let mut checker = Checker::new(model, CheckerOptions::default());
            checker.limit_memory(Some(limit));
            for number in 0..100_000 {
                let (op, key) = (OperationId(number), number as i64 / 2);
                let action = Action::Write(Value::Int(number as i64 + 1));
                let call = ObjectEvent::call(2 * number, 0, op, request(key, action));
                checker.observe(&call).unwrap();
                let end = match number % unknown {
                    1 => ObjectEvent::unknown(2 * number + 1, 0, op),
                    _ => ObjectEvent::returned(2 * number + 1, 0, op, Answer::Done),
                };
                checker.observe(&end).unwrap();
            }
            checker.finish()
        });
        println!("{} KiB, {verdict}", peak >> 10);
        assert!(matches!(verdict, Verdict::Unknown(undecided) if undecided.cause == Cause::Memory));
        assert!(peak < 2 * limit as usize, "{peak} bytes");
    }
}

/// Leases are never forgotten, so they have to fit.
#[test]
fn engine_c_says_so_where_leases_do_not_fit() {
    let _alone = ALONE.lock();
    let limit = 4 << 20;
    let run = |leases: i64| {
        peak(|| {
            let mut checker = EtcdChecker::new(EtcdOptions::default());
            checker.limit_memory(Some(limit));
            for lease in 1..=leases {
                let (at, op) = (2 * lease as u64, OperationId(lease as u64));
                let (id, ttl_s) = (lease, 60);
                let request = EtcdRequest::LeaseGrant { id, ttl_s };
                let call = EtcdEvent::call(at, 0, op, request);
                checker.observe_owned(call).unwrap();
                let outcome = Outcome::done(1, Response::LeaseGrant { id, ttl_s });
                let end = EtcdEvent::returned(at + 1, 0, op, outcome);
                checker.observe_owned(end).unwrap();
            }
            checker.finish()
        })
    };
    let (_, verdict) = run(5_000);
    assert_eq!(verdict, Verdict::Ok);
    let (peak, verdict) = run(200_000);
    println!("{} KiB, {verdict}", peak >> 10);
    assert!(matches!(verdict, Verdict::Unknown(undecided) if undecided.cause == Cause::Memory));
    assert!(peak < limit as usize, "{peak} bytes");
}

fn etcd_workload(operations: u64) -> EtcdWorkload {
    EtcdWorkload {
        operations,
        clients: 16,
        keys: 100,
        ..EtcdWorkload::default()
    }
}

#[test]
fn engine_c_takes_no_more_for_a_longer_history() {
    let _alone = ALONE.lock();
    let run = |operations| {
        peak(|| {
            let options = EtcdOptions {
                retain_revisions: 1 << 12,
                ..EtcdOptions::default()
            };
            let mut checker = EtcdChecker::new(options);
            for event in EtcdHistory::new(etcd_workload(operations)) {
                checker.observe_owned(event).unwrap();
            }
            assert!(checker.revision() > operations as i64 / 8);
            checker.statistics().revisions
        })
    };
    let ((short, few), (long, many)) = (run(60_000), run(480_000));
    println!(
        "{few} revisions {} KiB, {many} revisions {} KiB",
        short >> 10,
        long >> 10
    );
    assert!(long < short + short / 4, "{short} and {long} bytes");
}

/// Each operation of unknown outcome can have written any revision that nobody claims: the
/// explanations are bounded in number and bytes, whatever there is of them.
#[test]
fn engine_c_bounds_the_explanations_of_unknown_outcomes() {
    let _alone = ALONE.lock();
    let limit = 48 << 20;
    let (peak, verdict) = peak(|| {
        let mut checker = EtcdChecker::new(EtcdOptions::default());
        checker.limit_memory(Some(limit));
        let workload = EtcdWorkload {
            unknown: 0.02,
            ..etcd_workload(20_000)
        };
        for event in EtcdHistory::new(workload) {
            checker.observe_owned(event).expect("the history is right");
        }
        assert!(checker.statistics().unknown_outcomes > 300);
        checker.finish()
    });
    println!("{} KiB, {verdict}", peak >> 10);
    assert!(!matches!(verdict, Verdict::Violation(_)), "{verdict}");
    assert!(peak < limit as usize, "{peak} bytes");
}

/// Large values: the window of old revisions shrinks, and what would need more of it is
/// undecided.
#[test]
fn engine_c_keeps_fewer_revisions_where_memory_is_short() {
    let _alone = ALONE.lock();
    let limit = 8 << 20;
    let (peak, verdict) = peak(|| {
        let mut checker = EtcdChecker::new(EtcdOptions::default());
        checker.limit_memory(Some(limit));
        let mut op = 0;
        let mut run = |request, outcome| {
            op += 1;
            let call = EtcdEvent::call(2 * op, 0, OperationId(op), request);
            checker.observe_owned(call).unwrap();
            let end = EtcdEvent::returned(2 * op + 1, 0, OperationId(op), outcome);
            checker.observe_owned(end).unwrap();
        };
        for revision in 2..10_000i64 {
            let value = vec![revision as u8; 16 << 10];
            let put = PutRequest::of(format!("k{}", revision % 50), value);
            let done = Outcome::done(revision, Response::Put(PutResult::default()));
            run(EtcdRequest::Put(put), done);
        }
        // The first revision is long forgotten.
        let old = RangeRequest {
            revision: 2,
            ..RangeRequest::get("k2")
        };
        let nothing = Response::Range(RangeResult::default());
        run(EtcdRequest::Range(old), Outcome::done(9_999, nothing));
        assert!(checker.version_bytes() < limit as usize);
        assert_eq!(checker.statistics().revisions, 9_998);
        checker.finish()
    });
    println!("{} KiB, {verdict}", peak >> 10);
    assert!(matches!(verdict, Verdict::Unknown(undecided) if undecided.cause == Cause::Retention));
    assert!(peak < limit as usize, "{peak} bytes");
}
