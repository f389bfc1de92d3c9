//! Every event counts, and a difference is found.

use super::{
    DiskOperation, DropCause, Event, EventKind, Journal, SentUnit, TraceListener, TraceMode,
    first_difference, first_difference_of_streams,
};
use crate::fault::ProcessId;
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

#[test]
fn every_field_of_every_event_reaches_the_digest() {
    let p = ProcessId(1);
    let q = ProcessId(2);
    let kinds = [
        EventKind::Start { incarnation: 0 },
        EventKind::Start { incarnation: 1 },
        EventKind::Exit {
            panicked: false,
            text: 0,
        },
        EventKind::Exit {
            panicked: true,
            text: 0,
        },
        EventKind::Exit {
            panicked: true,
            text: 1,
        },
        EventKind::Crash { power: false },
        EventKind::Crash { power: true },
        EventKind::Pause,
        EventKind::Resume,
        EventKind::Send {
            to: p,
            ordinal: 0,
            length: 0,
            hash: 0,
        },
        EventKind::Send {
            to: q,
            ordinal: 0,
            length: 0,
            hash: 0,
        },
        EventKind::Send {
            to: p,
            ordinal: 1,
            length: 0,
            hash: 0,
        },
        EventKind::Send {
            to: p,
            ordinal: 0,
            length: 1,
            hash: 0,
        },
        EventKind::Send {
            to: p,
            ordinal: 0,
            length: 0,
            hash: 1,
        },
        EventKind::Deliver {
            from: p,
            ordinal: 0,
            length: 0,
        },
        EventKind::Deliver {
            from: q,
            ordinal: 0,
            length: 0,
        },
        EventKind::Deliver {
            from: p,
            ordinal: 1,
            length: 0,
        },
        EventKind::Deliver {
            from: p,
            ordinal: 0,
            length: 1,
        },
        EventKind::Drop {
            to: p,
            ordinal: 0,
            cause: DropCause::Loss,
        },
        EventKind::Drop {
            to: p,
            ordinal: 0,
            cause: DropCause::Partition,
        },
        EventKind::Duplicate { to: p, ordinal: 0 },
        EventKind::Corrupt { to: p, ordinal: 0 },
        EventKind::Hold { to: p },
        EventKind::Release { to: p, count: 1 },
        EventKind::Release { to: p, count: 2 },
        EventKind::Connect { to: p, port: 1 },
        EventKind::Connect { to: p, port: 2 },
        EventKind::Refused { to: p, port: 1 },
        EventKind::EndOfStream { from: p },
        EventKind::Reset { from: p },
        EventKind::Disk {
            operation: DiskOperation::Read,
            file: 1,
            offset: 0,
            length: 1,
        },
        EventKind::Disk {
            operation: DiskOperation::Write,
            file: 1,
            offset: 0,
            length: 1,
        },
        EventKind::Disk {
            operation: DiskOperation::Read,
            file: 2,
            offset: 0,
            length: 1,
        },
        EventKind::Disk {
            operation: DiskOperation::Read,
            file: 1,
            offset: 1,
            length: 1,
        },
        EventKind::Disk {
            operation: DiskOperation::Read,
            file: 1,
            offset: 0,
            length: 2,
        },
        EventKind::DiskError {
            operation: DiskOperation::Read,
            file: 1,
            errno: 5,
        },
        EventKind::DiskError {
            operation: DiskOperation::Read,
            file: 1,
            errno: 28,
        },
        EventKind::CrashedFile {
            file: 1,
            pending: 1,
            length: 1,
            hash: 1,
        },
        EventKind::CrashedFile {
            file: 1,
            pending: 1,
            length: 1,
            hash: 2,
        },
        EventKind::CrashedFile {
            file: 1,
            pending: 1,
            length: 2,
            hash: 1,
        },
        EventKind::CrashedNames {
            pending: 1,
            lost: 0,
        },
        EventKind::CrashedNames {
            pending: 1,
            lost: 1,
        },
        EventKind::Clock {
            drift_ppm: 1,
            jump_ns: 0,
        },
        EventKind::Clock {
            drift_ppm: 0,
            jump_ns: 1,
        },
        EventKind::Fault { id: 1, hash: 1 },
        EventKind::Fault { id: 1, hash: 2 },
        EventKind::Heal { id: 1 },
        custom("a", 1),
        custom("b", 1),
        custom("a", 2),
    ];
    let mut seen = std::collections::BTreeSet::new();
    for kind in kinds {
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
