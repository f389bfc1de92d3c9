//! The way of a whole file: format, model, engines, threads, limits, report.

use std::io::{Cursor, Write};

use veridical_checkers::Verdict;
use veridical_checkers::check::{CheckError, CheckModel, CheckOptions, Report, check_stream};
use veridical_checkers::{Cause, ObjectKind, ViolationKind};
use veridical_histories::generate::etcd::{EtcdHistory, EtcdWorkload};
use veridical_histories::generate::object::{Injection, ObjectHistory, ObjectWorkload};
use veridical_histories::jsonl;
use veridical_histories::native::{Compression, NativeWriter};
use veridical_histories::object::ObjectEvent;

fn workload() -> ObjectWorkload {
    ObjectWorkload {
        operations: 30_000,
        keys: 300,
        unknown: 0.001,
        ..ObjectWorkload::default()
    }
}

fn native(events: &[ObjectEvent], compression: Compression) -> Vec<u8> {
    let mut writer = NativeWriter::new(Vec::new(), compression).unwrap();
    events.iter().for_each(|event| writer.write(event).unwrap());
    writer.finish().unwrap()
}

fn json_lines(events: &[ObjectEvent]) -> Vec<u8> {
    let mut writer = jsonl::Writer::new(Vec::new());
    events.iter().for_each(|event| writer.write(event).unwrap());
    writer.finish().unwrap()
}

fn check(bytes: Vec<u8>, options: CheckOptions) -> Report {
    check_stream(Cursor::new(bytes), options).unwrap()
}

#[test]
fn every_form_of_a_history_gets_the_same_report() {
    let events: Vec<ObjectEvent> = ObjectHistory::new(workload()).collect();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&json_lines(&events)).unwrap();
    let files = [
        ("native", native(&events, Compression::None)),
        ("native", native(&events, Compression::Zstd)),
        ("jsonl", json_lines(&events)),
        ("jsonl", gzip.finish().unwrap()),
    ];
    for (format, file) in files {
        let report = check(file, CheckOptions::default());
        assert_eq!(report.verdict, Verdict::Ok);
        assert_eq!(
            (report.format.as_str(), report.model.as_str()),
            (format, "kv")
        );
        assert_eq!(report.operations + report.unknown_outcomes, 30_000);
        assert_eq!(report.keys, 300);
        assert_eq!(report.exit_code(), 0);
        assert_eq!(
            report.engine.frontier + report.engine.zones,
            report.operations
        );
    }
}

#[test]
fn threads_change_nothing_but_the_time() {
    for injection in [None, Some(Injection::StaleRead), Some(Injection::LostWrite)] {
        let workload = ObjectWorkload {
            injection,
            ..workload()
        };
        let events: Vec<ObjectEvent> = ObjectHistory::new(workload).collect();
        let with = |threads| {
            let file = native(&events, Compression::None);
            check(
                file,
                CheckOptions {
                    threads,
                    ..CheckOptions::default()
                },
            )
        };
        let (one, three) = (with(1), with(3));
        assert_eq!(one.verdict, three.verdict);
        assert_eq!(one.verdict.is_ok(), injection.is_none());
        assert_eq!(one.exit_code(), u8::from(injection.is_some()));
    }
}

#[test]
fn every_injected_error_is_found_and_told_apart_from_a_correct_history() {
    for injection in Injection::ALL {
        let mut injected = 0;
        for seed in 0..20 {
            let workload = ObjectWorkload {
                seed,
                kind: ObjectKind::Register,
                operations: 3_000,
                keys: 5,
                injection: Some(*injection),
                ..ObjectWorkload::default()
            };
            let mut history = ObjectHistory::new(workload);
            let events: Vec<ObjectEvent> = history.by_ref().collect();
            injected += usize::from(history.has_injected());
            let report = check(native(&events, Compression::None), CheckOptions::default());
            if *injection != Injection::LostWrite {
                assert_eq!(
                    report.verdict.is_ok(),
                    !history.has_injected(),
                    "{injection:?} {seed}"
                );
            }
        }
        assert!(injected > 10, "{injection:?}: {injected}");
    }
}

#[test]
fn a_memory_limit_moves_keys_to_disk_and_changes_no_verdict() {
    for injection in [None, Some(Injection::StaleRead)] {
        let workload = ObjectWorkload {
            operations: 200_000,
            keys: 40_000,
            kind: ObjectKind::Register,
            injection,
            ..ObjectWorkload::default()
        };
        let events: Vec<ObjectEvent> = ObjectHistory::new(workload).collect();
        let with = |memory_limit_bytes| {
            let file = native(&events, Compression::None);
            check(
                file,
                CheckOptions {
                    memory_limit_bytes,
                    ..CheckOptions::default()
                },
            )
        };
        let (free, limited) = (with(None), with(Some(200_000)));
        assert_eq!(free.verdict, limited.verdict);
        assert_eq!(free.verdict.is_ok(), injection.is_none());
    }
}

#[test]
fn a_file_that_is_cut_off_is_checked_as_far_as_it_goes() {
    let events: Vec<ObjectEvent> = ObjectHistory::new(workload()).collect();
    let mut file = native(&events, Compression::None);
    file.truncate(file.len() - 100);
    let report = check(file, CheckOptions::default());
    let cause = match &report.verdict {
        Verdict::Unknown(undecided) => Some(undecided.cause),
        Verdict::Ok | Verdict::Violation(_) => None,
    };
    assert_eq!((cause, report.exit_code()), (Some(Cause::Truncated), 2));
    assert!(
        report
            .truncated
            .is_some_and(|text| text.contains("within a block"))
    );
    assert!(report.operations > 20_000);
}

#[test]
fn bad_lines_are_named_and_leave_the_verdict_unknown() {
    let events: Vec<ObjectEvent> = ObjectHistory::new(ObjectWorkload::default()).collect();
    let mut file = json_lines(&events);
    file.extend_from_slice(b"{\"t\":1,\"c\":}\n");
    let report = check(file, CheckOptions::default());
    assert_eq!(report.bad_line_count, 1);
    assert_eq!(
        report.bad_lines[0].split(':').next(),
        Some("line 2001, column 12")
    );
    assert_eq!(report.operations, 1_000);
    assert_eq!((report.verdict.word(), report.exit_code()), ("unknown", 2));
}

#[test]
fn a_line_that_is_certainly_about_one_object_leaves_the_others_to_be_judged() {
    let stale = |key: i64| {
        let event = |t: i64, op: i64, rest: String| {
            format!(
                "{{\"t\":{},\"c\":{key},\"op\":{},{rest}}}\n",
                10 * key + t,
                10 * key + op
            )
        };
        let call = |t, op, action: &str| {
            event(
                t,
                op,
                format!("\"e\":\"call\",\"in\":{{\"key\":{key},\"do\":{action}}}"),
            )
        };
        let end = |t, op, out: &str| event(t, op, format!("\"e\":\"return\",\"out\":{out}"));
        [
            call(0, 0, "{\"write\":1}"),
            end(1, 0, "\"done\""),
            call(2, 1, "\"read\""),
            end(3, 1, "{\"value\":2}"),
        ]
        .concat()
    };
    let (first, second) = (stale(1), stale(2));
    let damaged = first.replace("\"done\"", "\"dnoe\"");
    let verdict = |text: String| {
        let report = check(text.into_bytes(), CheckOptions::default());
        (
            report.verdict.word().to_owned(),
            report.bad_line_count,
            report.verdict,
        )
    };
    let (word, bad_lines, _) = verdict(damaged.clone());
    assert_eq!((word.as_str(), bad_lines), ("unknown", 1));
    let (word, bad_lines, verdict) = verdict(damaged + &second);
    assert_eq!((word.as_str(), bad_lines), ("violation", 1));
    assert_eq!(
        verdict.violation().and_then(|it| it.key.clone()).as_deref(),
        Some("2")
    );
}

#[test]
fn an_etcd_like_history_goes_to_engine_c() {
    let workload = EtcdWorkload {
        operations: 3_000,
        watches: 1,
        ..EtcdWorkload::default()
    };
    let mut native = NativeWriter::new(Vec::new(), Compression::Zstd).unwrap();
    let mut json = jsonl::Writer::new(Vec::new());
    for event in EtcdHistory::new(workload) {
        native.write(&event).unwrap();
        json.write(&event).unwrap();
    }
    for file in [native.finish().unwrap(), json.finish().unwrap()] {
        let report = check(file.clone(), CheckOptions::default());
        assert_eq!(report.verdict, Verdict::Ok);
        assert_eq!(
            (report.model.as_str(), report.engine.revisions),
            ("etcd", 3_000)
        );
        let model = Some(CheckModel::Object(ObjectKind::Kv));
        let options = CheckOptions {
            model,
            ..CheckOptions::default()
        };
        let error = check_stream(Cursor::new(file), options).unwrap_err();
        assert!(matches!(error, CheckError::ModelOfOtherVocabulary { .. }));
    }
}

#[test]
fn the_report_has_the_fields_that_tools_rely_on() {
    let workload = ObjectWorkload {
        kind: ObjectKind::Register,
        injection: Some(Injection::PhantomRead),
        ..ObjectWorkload::default()
    };
    let events: Vec<ObjectEvent> = ObjectHistory::new(workload).collect();
    let report = check(json_lines(&events), CheckOptions::default());
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["verdict"], "violation");
    for field in [
        "operations",
        "keys",
        "unknown_outcomes",
        "max_configurations",
    ] {
        assert!(json[field].is_u64(), "{field}: {json}");
    }
    assert!(json["operations_per_second"].is_f64() && json["peak_memory_bytes"].is_u64());
    assert!(json["engine"].is_object() && json["witness"]["operations"].is_array());
    let back: Report = serde_json::from_value(json).unwrap();
    assert_eq!(back, report);
    let violation = report.verdict.violation().unwrap();
    assert_eq!(violation.kind, ViolationKind::NotLinearizable);
    let junit = report.to_junit("a<b");
    assert!(junit.contains("<failure message=\"violation\">") && junit.contains("a&lt;b"));
}
