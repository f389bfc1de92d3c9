//! Every event counts, and a difference is found.

use super::{
    Event, EventKind, Journal, SentUnit, TraceListener, TraceMode, first_difference,
    first_difference_of_streams,
};
use crate::fault::ProcessId;
use serde_json::Value;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

fn custom(label: &str, value: u64) -> EventKind {
    EventKind::Custom {
        label: label.to_owned(),
        value,
    }
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("one thread").write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_digest_does_not_depend_on_what_is_kept() {
    let sink = Shared::default();
    let mut off = Journal::new(TraceMode::Off, None);
    let mut full = Journal::new(TraceMode::Full, Some(Box::new(sink.clone())));
    for journal in [&mut off, &mut full] {
        for i in 0..100 {
            journal.record(i, Some(ProcessId(1)), custom("x", i));
        }
    }
    assert_eq!(off.digest(), full.digest());
    assert_eq!(off.finish().0.len(), 0);
    assert_eq!(full.finish().0.len(), 100);
    assert_eq!(
        sink.0
            .lock()
            .expect("one thread")
            .iter()
            .filter(|b| **b == b'\n')
            .count(),
        100
    );
}

/// Notes what it is shown.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

impl TraceListener for Notes {
    fn event(&mut self, event: &Event) {
        let mut notes = self.0.lock().expect("one thread");
        notes.push(format!("event at {}", event.at_ns));
    }
    fn unit_sent(&mut self, unit: SentUnit<'_>) {
        let mut notes = self.0.lock().expect("one thread");
        notes.push(format!("unit {} of {:?}", unit.ordinal, unit.data));
    }
}

#[test]
fn a_listener_sees_events_and_units_and_moves_no_digest() {
    let notes = Notes::default();
    let mut unseen = Journal::new(TraceMode::Off, None);
    let mut seen = Journal::new(TraceMode::Off, None);
    seen.listen_with(Box::new(notes.clone()));
    for journal in [&mut unseen, &mut seen] {
        journal.record(3, Some(ProcessId(1)), custom("x", 1));
        journal.tell_unit(SentUnit {
            at_ns: 3,
            from: ProcessId(1),
            to: ProcessId(0),
            ordinal: 7,
            data: &[1, 2],
        });
    }
    assert_eq!(unseen.digest(), seen.digest());
    assert_eq!(
        *notes.0.lock().expect("one thread"),
        ["event at 3", "unit 7 of [1, 2]"]
    );
    // A listener alone keeps nothing.
    assert_eq!(seen.finish().0.len(), 0);
}

#[test]
fn a_ring_keeps_the_last_events() {
    let mut journal = Journal::new(TraceMode::Last(3), None);
    for i in 0..10 {
        journal.record(i, None, custom("x", i));
    }
    let times: Vec<_> = journal.finish().0.iter().map(|event| event.at_ns).collect();
    assert_eq!(times, [7, 8, 9]);
}

/// One event of each kind, as it is written.
const EVERY_KIND: &str = r#"
{"e":"start","incarnation":0}
{"e":"exit","panicked":false,"text":0}
{"e":"crash","power":false}
{"e":"pause"}
{"e":"resume"}
{"e":"send","to":1,"ordinal":0,"length":0,"hash":0}
{"e":"deliver","from":1,"ordinal":0,"length":0}
{"e":"drop","to":1,"ordinal":0,"cause":"loss"}
{"e":"duplicate","to":1,"ordinal":0}
{"e":"corrupt","to":1,"ordinal":0}
{"e":"hold","to":1}
{"e":"release","to":1,"count":1}
{"e":"connect","to":1,"port":1}
{"e":"refused","to":1,"port":1}
{"e":"end_of_stream","from":1}
{"e":"reset","from":1}
{"e":"disk","operation":"read","file":1,"offset":0,"length":1}
{"e":"disk_error","operation":"read","file":1,"errno":5}
{"e":"crashed_file","file":1,"pending":1,"length":1,"hash":1}
{"e":"crashed_names","pending":1,"lost":0}
{"e":"damage","file":1,"offset":0,"length":1,"hash":1}
{"e":"clock","drift_ppm":1,"jump_ns":0}
{"e":"fault","id":1,"hash":1}
{"e":"heal","id":1}
{"e":"custom","label":"a","value":1}
"#;

/// Another value of the same field.
fn another(value: &Value) -> Value {
    match value {
        Value::Bool(flag) => (!flag).into(),
        Value::Number(number) => (number.as_i64().expect("it is whole") + 1).into(),
        Value::String(text) => match text.as_str() {
            "read" => "write".into(),
            "loss" => "partition".into(),
            label => format!("{label}{label}").into(),
        },
        Value::Null | Value::Array(_) | Value::Object(_) => panic!("no field is {value}"),
    }
}

/// The event as it is written, and the same with another value of each field in turn.
fn with_each_field_changed(line: &str) -> Vec<EventKind> {
    let written: Value = serde_json::from_str(line).expect("it is JSON");
    let fields = written.as_object().expect("it is an object");
    let mut all = vec![written.clone()];
    for (name, value) in fields.iter().filter(|(name, _)| *name != "e") {
        let mut changed = written.clone();
        changed[name.as_str()] = another(value);
        all.push(changed);
    }
    let read =
        |value| serde_json::from_value(value).unwrap_or_else(|error| panic!("{line}: {error}"));
    all.into_iter().map(read).collect()
}

#[test]
fn every_field_of_every_event_reaches_the_digest() {
    let mut seen = std::collections::BTreeSet::new();
    let lines = EVERY_KIND.lines().filter(|line| !line.is_empty());
    for kind in lines.flat_map(with_each_field_changed) {
        let (p, q) = (ProcessId(1), ProcessId(2));
        for (at_ns, process) in [(5, None), (6, None), (5, Some(p)), (5, Some(q))] {
            let mut journal = Journal::new(TraceMode::Off, None);
            journal.record(at_ns, process, kind.clone());
            assert!(
                seen.insert(journal.digest().value()),
                "{kind:?} {process:?}"
            );
        }
    }
}

#[test]
fn no_kind_of_event_is_left_out_of_that_test() {
    let error = serde_json::from_str::<EventKind>(r#"{"e":"none of them"}"#)
        .expect_err("there is none of this name")
        .to_string();
    let kinds = error.split('`').skip(1).step_by(2);
    let mut known = 0;
    for kind in kinds.filter(|kind| *kind != "none of them") {
        assert!(EVERY_KIND.contains(&format!("\"e\":\"{kind}\"")), "{kind}");
        known += 1;
    }
    assert!(known > 20, "{error}");
}

#[test]
fn the_first_difference_is_found_in_memory_and_in_streams() {
    let trace = |odd: u64| -> Vec<Event> {
        (0..10)
            .map(|i| Event {
                at_ns: i,
                process: None,
                kind: custom("x", if i == 4 { odd } else { 0 }),
            })
            .collect()
    };
    let lines = |events: &[Event]| -> String {
        events
            .iter()
            .map(|event| serde_json::to_string(event).expect("an event") + "\n")
            .collect()
    };
    let (a, b) = (trace(0), trace(1));
    assert_eq!(first_difference(&a, &a), None);
    let difference = first_difference(&a, &b).expect("they differ");
    assert_eq!(difference.index, 4);
    let streamed = first_difference_of_streams(lines(&a).as_bytes(), lines(&b).as_bytes());
    assert_eq!(streamed.expect("both are events"), Some(difference));
    let shorter = first_difference(&a, &a[..7]).expect("one is shorter");
    assert_eq!((shorter.index, shorter.right), (7, None));
}
