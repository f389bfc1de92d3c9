//! Small histories of stores that held something before.

use super::super::InitialContentError;
use super::*;

/// A store at revision 9.
fn options() -> EtcdOptions {
    EtcdOptions {
        initial_revision: 9,
        ..EtcdOptions::default()
    }
}

fn held() -> Vec<KeyValue> {
    let changed = KeyValue {
        create_revision: 3,
        version: 2,
        ..kv("a", "old", 7)
    };
    vec![changed, kv("b", "kept", 4)]
}

/// What the history comes to in a store that held this.
fn verdict(script: &Script, content: &[KeyValue]) -> Verdict {
    let mut checker = EtcdChecker::with_content(options(), content).unwrap();
    for event in &script.events {
        // A violation is kept for the end.
        let _ = checker.observe(event);
    }
    checker.finish()
}

/// Reads of what was there, and of it once more after changes.
fn changed() -> Script {
    let mut script = Script::default();
    script.run(get("a"), read(9, vec![held()[0].clone()]));
    script.run(put("a", "new"), put_done(10));
    let now = KeyValue {
        create_revision: 3,
        version: 3,
        ..kv("a", "new", 10)
    };
    script.run(get("a"), read(10, vec![now]));
    script.run(get("b"), read(10, vec![held()[1].clone()]));
    let deletion = Request::DeleteRange(DeleteRangeRequest::of(KeyRange::all()));
    let deleted = DeleteRangeResult {
        deleted: 2,
        prev_kvs: vec![],
    };
    script.run(deletion, Outcome::done(11, Response::DeleteRange(deleted)));
    script.run(put("b", "again"), put_done(12));
    script.run(get("b"), read(12, vec![kv("b", "again", 12)]));
    script
}

#[test]
fn what_was_there_is_read_changed_and_deleted() {
    assert_eq!(verdict(&changed(), &held()), Verdict::Ok);
}

#[test]
fn what_was_there_and_is_not_shown_is_missed() {
    let more = [held(), vec![kv("c", "x", 5)]].concat();
    for wrong in [&held()[..1], &more[..], &[]] {
        let kind = verdict(&changed(), wrong)
            .violation()
            .map(|violation| violation.kind);
        assert_eq!(kind, Some(ViolationKind::WrongResult), "{wrong:?}");
    }
}

#[test]
fn what_came_before_is_undecided() {
    let mut earlier = Script::default();
    let old = RangeRequest {
        revision: 8,
        ..RangeRequest::get("a")
    };
    earlier.run(Request::Range(old), read(9, vec![held()[0].clone()]));
    let mut watched = Script::default();
    watched.watch();
    watched.watched(9, vec![event(kv("b", "kept", 4))]);
    for script in [earlier, watched] {
        let verdict = verdict(&script, &held());
        assert!(matches!(verdict, Verdict::Unknown(_)), "{verdict:?}");
    }
}

#[test]
fn a_content_that_no_store_holds_is_refused() {
    let refused = |content: &[KeyValue]| EtcdChecker::with_content(options(), content).unwrap_err();
    let twice = [kv("a", "x", 4), kv("a", "y", 5)];
    assert_eq!(refused(&twice), InitialContentError::Twice("a".into()));
    let leased = KeyValue {
        lease: 7,
        ..kv("a", "x", 4)
    };
    let key = "a".into();
    assert_eq!(
        refused(&[leased]),
        InitialContentError::Leased { key, lease: 7 }
    );
    for (create_revision, mod_revision, version) in [
        (4, 10, 2),
        (5, 4, 1),
        (0, 4, 1),
        (4, 4, 0),
        (4, 5, 3),
        (i64::MIN, i64::MIN, 1),
    ] {
        let pair = KeyValue {
            create_revision,
            mod_revision,
            version,
            ..kv("a", "x", 4)
        };
        let refusal = refused(&[pair]);
        let is_impossible = matches!(refusal, InitialContentError::Impossible { .. });
        assert!(is_impossible, "{refusal:?}");
    }
}
