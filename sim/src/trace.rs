//! The trace of a run: typed events, folded into the digest, kept or streamed on demand.

use crate::counter::{Counter, Counters};
use crate::digest::{Digest, fingerprint};
use crate::fault::ProcessId;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::io::{self, BufRead, Write};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When, in simulated nanoseconds since the start of the run.
    #[serde(rename = "t")]
    pub at_ns: u64,
    /// In which process; none for the world itself.
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessId>,
    /// What.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// Why a unit of the network was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DropCause {
    /// The link loses units.
    Loss,
    /// The link is cut.
    Partition,
    /// The receiver's host is down.
    HostDown,
    /// The receiver knows no such connection, or has closed it.
    NoConnection,
}

/// Which operation of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskOperation {
    /// A read.
    Read,
    /// A write.
    Write,
    /// A change of a file's length.
    SetLength,
    /// A synchronisation of a file.
    Sync,
    /// A synchronisation of a folder.
    SyncDir,
    /// An opening or creation of a file.
    Open,
    /// A renaming.
    Rename,
    /// A removal.
    Remove,
    /// A listing, a query of a length, a creation of folders.
    Query,
}

/// The kinds of events. Units of the network are named by their link (from, to) and
/// their ordinal on it, so that a decision can be found again after the code changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "e", rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventKind {
    /// A process started.
    Start {
        /// How often it has been started before.
        incarnation: u32,
    },
    /// A process ended by itself.
    Exit {
        /// Whether it panicked.
        panicked: bool,
        /// A fingerprint of what it said.
        text: u64,
    },
    /// A process was stopped from outside.
    Crash {
        /// Whether the machine lost power; else only the process was killed.
        power: bool,
    },
    /// A process was paused.
    Pause,
    /// A paused process goes on.
    Resume,
    /// A unit was handed to the network by this process.
    Send {
        /// The receiver.
        to: ProcessId,
        /// The unit's number on its link.
        ordinal: u64,
        /// Its length in bytes.
        length: u64,
        /// A fingerprint of its bytes.
        hash: u64,
    },
    /// A unit reached this process.
    Deliver {
        /// The sender.
        from: ProcessId,
        /// The unit's number on its link.
        ordinal: u64,
        /// Its length in bytes.
        length: u64,
    },
    /// A unit sent by this process was lost.
    Drop {
        /// The receiver.
        to: ProcessId,
        /// The unit's number on its link.
        ordinal: u64,
        /// Why.
        cause: DropCause,
    },
    /// A unit sent by this process will arrive twice.
    Duplicate {
        /// The receiver.
        to: ProcessId,
        /// The unit's number on its link.
        ordinal: u64,
    },
    /// Bytes of a unit sent by this process were flipped.
    Corrupt {
        /// The receiver.
        to: ProcessId,
        /// The unit's number on its link.
        ordinal: u64,
    },
    /// Something sent by this process waits at its link.
    Hold {
        /// The receiver.
        to: ProcessId,
    },
    /// What waited at a link is sent on.
    Release {
        /// The receiver.
        to: ProcessId,
        /// How many units and control segments.
        count: u64,
    },
    /// A connection from this process was accepted by the other host.
    Connect {
        /// The host connected to.
        to: ProcessId,
        /// The port there.
        port: u16,
    },
    /// A connection was refused.
    Refused {
        /// The host asked.
        to: ProcessId,
        /// The port there.
        port: u16,
    },
    /// This process learnt that the other end closed its sending direction.
    EndOfStream {
        /// The other end.
        from: ProcessId,
    },
    /// This process learnt that a connection was reset.
    Reset {
        /// The other end.
        from: ProcessId,
    },
    /// An operation of this process's disk took effect.
    Disk {
        /// Which.
        operation: DiskOperation,
        /// The number of the file on its disk; 0 if it concerns a folder.
        file: u64,
        /// The offset in the file.
        offset: u64,
        /// How many bytes.
        length: u64,
    },
    /// An operation of this process's disk failed.
    DiskError {
        /// Which.
        operation: DiskOperation,
        /// The number of the file on its disk; 0 if it concerns a folder.
        file: u64,
        /// The number of the error on Linux.
        errno: u32,
    },
    /// What a crash left of a file that had unsynchronised operations.
    CrashedFile {
        /// The number of the file on its disk.
        file: u64,
        /// How many operations were pending.
        pending: u64,
        /// The length that is left.
        length: u64,
        /// A fingerprint of what is left of the sectors that were being written.
        hash: u64,
    },
    /// What a crash left of the names that had not been synchronised.
    CrashedNames {
        /// How many changes were pending.
        pending: u64,
        /// How many were lost.
        lost: u64,
    },
    /// The clock of this process was changed.
    Clock {
        /// The new rate: this many millionths faster than true time.
        drift_ppm: i64,
        /// How far the wall clock jumped, in ns.
        jump_ns: i64,
    },
    /// A fault was injected.
    Fault {
        /// Its number in this run.
        id: u64,
        /// A fingerprint of its serialised form.
        hash: u64,
    },
    /// An injected fault ended.
    Heal {
        /// Its number in this run.
        id: u64,
    },
    /// Something that the application recorded.
    Custom {
        /// What.
        label: String,
        /// A number that goes with it.
        value: u64,
    },
}

impl Event {
    /// Takes the event into a digest: time, process, kind, fields.
    fn fold(&self, digest: &mut Digest) {
        use EventKind::*;
        digest.fold(self.at_ns);
        let process = self.process.map_or(0, |process| u64::from(process.0) + 1);
        let mut head = |tag: u64, small: u64| digest.fold(tag << 56 | process << 24 | small);
        let id = |process: ProcessId| u64::from(process.0);
        match self.kind {
            Start { incarnation } => head(1, u64::from(incarnation)),
            Exit { panicked, text } => {
                head(2, u64::from(panicked));
                digest.fold(text);
            }
            Crash { power } => head(3, u64::from(power)),
            Pause => head(4, 0),
            Resume => head(5, 0),
            Send {
                to,
                ordinal,
                length,
                hash,
            } => {
                head(6, id(to));
                digest.fold(ordinal << 24 ^ length);
                digest.fold(hash);
            }
            Deliver {
                from,
                ordinal,
                length,
            } => {
                head(7, id(from));
                digest.fold(ordinal << 24 ^ length);
            }
            Drop { to, ordinal, cause } => {
                head(8, id(to));
                digest.fold(ordinal << 8 | cause as u64);
            }
            Duplicate { to, ordinal } => {
                head(9, id(to));
                digest.fold(ordinal);
            }
            Corrupt { to, ordinal } => {
                head(10, id(to));
                digest.fold(ordinal);
            }
            Hold { to } => head(11, id(to)),
            Release { to, count } => {
                head(12, id(to));
                digest.fold(count);
            }
            Connect { to, port } => {
                head(13, id(to));
                digest.fold(u64::from(port));
            }
            Refused { to, port } => {
                head(14, id(to));
                digest.fold(u64::from(port));
            }
            EndOfStream { from } => head(15, id(from)),
            Reset { from } => head(16, id(from)),
            Disk {
                operation,
                file,
                offset,
                length,
            } => {
                head(17, operation as u64);
                digest.fold(file << 32 ^ length);
                digest.fold(offset);
            }
            DiskError {
                operation,
                file,
                errno,
            } => {
                head(18, operation as u64);
                digest.fold(file << 32 ^ u64::from(errno));
            }
            CrashedFile {
                file,
                pending,
                length,
                hash,
            } => {
                head(19, pending);
                digest.fold(file);
                digest.fold(length);
                digest.fold(hash);
            }
            CrashedNames { pending, lost } => {
                head(20, pending);
                digest.fold(lost);
            }
            Clock { drift_ppm, jump_ns } => {
                head(21, 0);
                digest.fold(drift_ppm as u64);
                digest.fold(jump_ns as u64);
            }
            Fault { id, hash } => {
                head(22, 0);
                digest.fold(id);
                digest.fold(hash);
            }
            Heal { id } => {
                head(23, 0);
                digest.fold(id);
            }
            Custom { ref label, value } => {
                head(24, 0);
                digest.fold_bytes(label.as_bytes());
                digest.fold(value);
            }
        }
    }
}

/// Which events are kept in memory. The digest covers all of them in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TraceMode {
    /// None.
    #[default]
    Off,
    /// The last so many.
    Last(usize),
    /// All.
    Full,
}

/// The record of a run: digest, counters, and the events themselves on demand.
pub struct Journal {
    digest: Digest,
    count: u64,
    last_at_ns: u64,
    mode: TraceMode,
    kept: VecDeque<Event>,
    sink: Option<Box<dyn Write + Send>>,
    sink_error: Option<io::Error>,
    /// What happened how often.
    pub counters: Counters,
}

impl Journal {
    /// An empty journal that keeps events by `mode` and writes each as a line of JSON
    /// to `sink`.
    pub fn new(mode: TraceMode, sink: Option<Box<dyn Write + Send>>) -> Self {
        Self {
            digest: Digest::default(),
            count: 0,
            last_at_ns: 0,
            mode,
            kept: VecDeque::new(),
            sink,
            sink_error: None,
            counters: Counters::default(),
        }
    }

    /// Records an event. Time never goes back: an event that a timer brings a little
    /// late carries the time of the one before.
    #[inline]
    pub fn record(&mut self, at_ns: u64, process: Option<ProcessId>, kind: EventKind) {
        let at_ns = at_ns.max(self.last_at_ns);
        self.last_at_ns = at_ns;
        self.count += 1;
        let event = Event {
            at_ns,
            process,
            kind,
        };
        event.fold(&mut self.digest);
        if self.mode != TraceMode::Off || self.sink.is_some() {
            self.keep(event);
        }
    }

    fn keep(&mut self, event: Event) {
        if let Some(sink) = &mut self.sink {
            let written = serde_json::to_writer(&mut *sink, &event)
                .map_err(io::Error::from)
                .and_then(|()| sink.write_all(b"\n"));
            if let Err(error) = written {
                self.sink = None;
                self.sink_error = Some(error);
            }
        }
        match self.mode {
            TraceMode::Off => return,
            TraceMode::Last(limit) => {
                while self.kept.len() >= limit.max(1) {
                    self.kept.pop_front();
                }
            }
            TraceMode::Full => {}
        }
        self.kept.push_back(event);
    }

    /// The digest of all events so far.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// How many events have been recorded.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Takes out the events that were kept, and writes the rest of the stream. Fails if
    /// the sink failed, now or earlier.
    pub fn finish(&mut self) -> (Vec<Event>, io::Result<()>) {
        let flushed = match (self.sink_error.take(), &mut self.sink) {
            (Some(error), _) => Err(error),
            (None, Some(sink)) => sink.flush(),
            (None, None) => Ok(()),
        };
        (std::mem::take(&mut self.kept).into(), flushed)
    }
}

/// Where two traces part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The number of the first event that differs, from 0.
    pub index: u64,
    /// That event in the first trace; none if it ended before.
    pub left: Option<Event>,
    /// That event in the second trace; none if it ended before.
    pub right: Option<Event>,
}

/// The first event in which two traces differ, or `None` if they are the same.
pub fn first_difference(left: &[Event], right: &[Event]) -> Option<Difference> {
    let index = left
        .iter()
        .zip(right)
        .position(|(a, b)| a != b)
        .unwrap_or(left.len().min(right.len()));
    (index < left.len() || index < right.len()).then(|| Difference {
        index: index as u64,
        left: left.get(index).cloned(),
        right: right.get(index).cloned(),
    })
}

/// The same for two traces that were streamed, one event of JSON a line.
///
/// # Errors
/// If one cannot be read, or a line that differs is not an event.
pub fn first_difference_of_streams(
    left: impl BufRead,
    right: impl BufRead,
) -> io::Result<Option<Difference>> {
    let parse = |line: Option<String>| line.map(|line| serde_json::from_str(&line)).transpose();
    let (mut left, mut right) = (left.lines(), right.lines());
    let mut index = 0;
    loop {
        let (a, b) = (left.next().transpose()?, right.next().transpose()?);
        if a != b {
            return Ok(Some(Difference {
                index,
                left: parse(a)?,
                right: parse(b)?,
            }));
        }
        if a.is_none() {
            return Ok(None);
        }
        index += 1;
    }
}

/// The fingerprint that events carry for a text.
pub fn text_fingerprint(text: &str) -> u64 {
    fingerprint(text.as_bytes())
}

/// A journal with what else the parts of the world need when they do something: the
/// time and a place to count.
pub struct Recorder<'a> {
    /// The present time in ns.
    pub now_ns: u64,
    /// Where it is recorded.
    pub journal: &'a mut Journal,
}

impl Recorder<'_> {
    /// Records an event of `process` at the present time.
    #[inline]
    pub fn record(&mut self, process: ProcessId, kind: EventKind) {
        self.journal.record(self.now_ns, Some(process), kind);
    }

    /// Counts something.
    #[inline]
    pub fn count(&mut self, counter: Counter) {
        self.journal.counters.add(counter);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
}
