//! The viewer: what happened over time, as one HTML page that needs nothing else, or as a
//! trace in Chrome's format, which Perfetto opens.
//!
//! Inputs: a [`Timeline`], which whoever ran or read something fills in: lanes for processes
//! and for clients; operations with call, return and how they ended; messages; faults; states
//! of processes; notes; logs; the finding, whose witness the page marks.
//! Outputs: bytes into a sink.
//! Dependencies: serde and serde_json. It knows no checker, no simulator and no protocol; the
//! words and the numbers that it shows are those that it is given.
//!
//! `model` is the data, `page_data` packs it into columns, `page` writes the page around it,
//! whose script and style are in `page/`; `chrome` writes the trace.
//!
//! # Example
//!
//! A lock service of which two clients hold the lock at once:
//!
//! ```
//! use veridical_timeline::{
//!     Ending, Fault, Fate, Finding, LifeEvent, Message, Note, Operation, Timeline, Turn, Witness,
//! };
//!
//! let mut timeline = Timeline::new("lock service, seed 7");
//! timeline.verdict = "violation".to_owned();
//! timeline.end_ns = 9_000_000;
//!
//! let server = timeline.node("server");
//! let clients = timeline.client_lane("clients");
//! let group = timeline.group("locks");
//! let acquire = timeline.message_kind("Acquire", group, &["attempt"]);
//! let lock = timeline.key("lock-1");
//! for client in 0..2 {
//!     let track = timeline.track(clients, &format!("client {client}"));
//!     let mut operation = Operation::new(track, client, 1_000_000, "acquire → granted");
//!     operation.op = Some(client + 1);
//!     operation.end(3_000_000 + client, Ending::Done);
//!     operation.keys.push(lock);
//!     timeline.operations.push(operation);
//!
//!     let mut message = Message::new(clients, server, 1_000_000);
//!     message.end(2_000_000, Fate::Delivered);
//!     message.push(acquire, &[1], &[lock]);
//!     timeline.messages.push(message);
//! }
//! timeline.lives.push(LifeEvent::new(server, 0, Turn::Started));
//! timeline.lives.push(LifeEvent::new(server, 2_100_000, Turn::Ended("lost power".to_owned())));
//! let crash = timeline.fault_class("crash");
//! timeline.faults.push(Fault::moment(crash, 2_100_000, "server: power loss", &[server]));
//! timeline.notes.push(Note::new(server, 2_200_000, "the disk lost 1 file"));
//! timeline.finding = Some(Finding {
//!     name: "not-linearizable".to_owned(),
//!     expected: Some("one holder".to_owned()),
//!     got: Some("two holders".to_owned()),
//!     witness: vec![Witness::of(&timeline.operations[0]), Witness::of(&timeline.operations[1])],
//!     ..Finding::default()
//! });
//!
//! let mut page = Vec::new();
//! timeline.write_page(&mut page)?;
//! let mut trace = Vec::new();
//! timeline.write_chrome_trace(&mut trace)?;
//! # assert!(String::from_utf8_lossy(&page).contains("two holders"));
//! # Ok::<(), std::io::Error>(())
//! ```

mod chrome;
mod columns;
mod model;
mod names;
mod page;
mod page_data;

pub use model::{
    Emphasis, Ending, Fate, Fault, FaultClassId, Finding, GroupId, KeyId, KindId, LaneId,
    LifeEvent, Log, LogLine, Message, Note, Operation, Part, State, StateField, Timeline, TrackId,
    Turn, Witness,
};
