//! A run of a system that nobody here knows, as a page in a real browser and as a trace.

// The same driver as the pages of simulated runs have.
#[path = "../../../scenarios/tests/browser/mod.rs"]
mod browser;

use std::collections::BTreeMap;

use serde_json::Value;
use veridical_timeline::{
    Emphasis, Ending, Fate, Fault, Finding, KeyId, KindId, LaneId, LifeEvent, Log, LogLine,
    Message, Note, Operation, State, StateField, Timeline, TrackId, Turn, Witness,
};

const SERVERS: u64 = 3;
const CLIENTS: u64 = 4;
const ROUNDS: u64 = 200;
const ROUND_NS: u64 = 10_000_000;

/// What a person waits for.
const STEPS: [&str; 6] = [
    "first_frame_ms",
    "whole_ms",
    "zoom_ms",
    "pan_ms",
    "scrub_ms",
    "search_ms",
];

/// Replicas that gossip, and clients that read and write one of them.
struct Gossip {
    timeline: Timeline,
    servers: Vec<LaneId>,
    clients: LaneId,
    tracks: Vec<TrackId>,
    request: KindId,
    rumour: KindId,
    key: KeyId,
}

impl Gossip {
    fn new() -> Self {
        let mut timeline = Timeline::new("gossip, seed 3");
        timeline.epoch_name = "view".to_owned();
        timeline.state_fields = vec![StateField {
            name: "version".to_owned(),
            is_in_table: true,
            counter: Some("versions".to_owned()),
        }];
        timeline.progress_field = Some(0);
        let servers = (0..SERVERS).map(|number| timeline.node(&format!("replica-{number}")));
        let servers: Vec<LaneId> = servers.collect();
        let clients = timeline.client_lane("clients");
        let tracks =
            (0..CLIENTS).map(|client| timeline.track(clients, &format!("client {client}")));
        let tracks = tracks.collect();
        let (requests, rumours) = (timeline.group("requests"), timeline.quiet_group("rumours"));
        let request = timeline.message_kind("Request", requests, &["number"]);
        let rumour = timeline.message_kind("Rumour", rumours, &["version"]);
        let key = timeline.key("colour");
        for server in &servers {
            let started = LifeEvent::new(*server, 0, Turn::Started);
            timeline.lives.push(started);
        }
        Self {
            timeline,
            servers,
            clients,
            tracks,
            request,
            rumour,
            key,
        }
    }

    /// A rumour from one replica to the next, and an operation of one client, which lasts
    /// longer than the time to the client's next call.
    fn round(&mut self, round: u64) {
        let at_ns = round * ROUND_NS;
        let number = (round % SERVERS) as usize;
        let (server, next) = (self.servers[number], self.servers[(number + 1) % 3]);
        let mut message = Message::new(server, next, at_ns);
        let fate = match round % 17 {
            0 => Fate::Lost,
            _ => Fate::Delivered,
        };
        message.end(at_ns + 3_000_000, fate);
        message.push(self.rumour, &[round], &[self.key]);
        self.timeline.messages.push(message);
        self.timeline.states.push(State {
            lane: server,
            at_ns,
            role: "replica".to_owned(),
            epoch: round / 100,
            emphasis: Emphasis::Low,
            detail: String::new(),
            values: vec![round as i64],
        });
        let mut message = Message::new(self.clients, server, at_ns);
        message.end(at_ns + 1_000_000, Fate::Delivered);
        message.push(self.request, &[round], &[self.key]);
        self.timeline.messages.push(message);
        let client = round % CLIENTS;
        let text = match client {
            1 => format!("read → {}", round.saturating_sub(5)),
            _ => format!("write {round}"),
        };
        let track = self.tracks[client as usize];
        let mut operation = Operation::new(track, client, at_ns, text);
        operation.op = Some(round);
        operation.is_read = client == 1;
        operation.keys.push(self.key);
        operation.end(at_ns + 5 * ROUND_NS, Ending::Done);
        self.timeline.operations.push(operation);
    }

    /// A crash with its recovery, and a slow disk.
    fn harm(&mut self) {
        let (victim, slow) = (self.servers[1], self.servers[2]);
        let timeline = &mut self.timeline;
        let ended = Turn::Ended("killed".to_owned());
        for (at_ns, turn) in [(500_000_000, ended), (700_000_000, Turn::Started)] {
            timeline.lives.push(LifeEvent::new(victim, at_ns, turn));
        }
        let (crash, disk) = (timeline.fault_class("crash"), timeline.fault_class("disk"));
        let killed = Fault::moment(crash, 500_000_000, "replica-1 killed", &[victim]);
        timeline.faults.push(killed);
        timeline.faults.push(Fault {
            end_ns: Some(900_000_000),
            ..Fault::moment(disk, 800_000_000, "replica-2: slow disk", &[slow])
        });
        let note = Note::new(victim, 710_000_000, "recovered 7 keys");
        timeline.notes.push(note);
        timeline.logs.push(Log {
            lane: victim,
            left_out: 0,
            lines: vec![LogLine {
                at_ns: 710_000_000,
                text: "INFO recovered".to_owned(),
            }],
        });
    }
}

/// A run in which a client reads what was overwritten before it asked.
fn gossip() -> Timeline {
    let mut gossip = Gossip::new();
    (0..ROUNDS).for_each(|round| gossip.round(round));
    gossip.harm();
    let mut timeline = gossip.timeline;
    timeline.verdict = "violation".to_owned();
    let witness = [100, 101].map(|number| Witness::of(&timeline.operations[number]));
    timeline.finding = Some(Finding {
        name: "stale-read".to_owned(),
        key: Some("colour".to_owned()),
        expected: Some("100 or later".to_owned()),
        got: Some("96".to_owned()),
        witness: witness.to_vec(),
        ..Finding::default()
    });
    timeline
}

#[test]
fn a_person_can_use_the_page_of_any_system() {
    let Some(chromium) = browser::chromium() else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("run.html");
    let mut page = Vec::new();
    gossip().write_page(&mut page).expect("memory");
    std::fs::write(&path, page).expect("written");
    let profile = folder.path().join("profile");
    let (seen, console) = browser::selftest(&chromium, &profile, &path);
    println!("{seen:#}");
    assert_eq!(console, Vec::<String>::new());
    assert_eq!(seen["errors"], serde_json::json!([]));
    for (name, count) in [
        ("messages", 2 * ROUNDS),
        ("operations", ROUNDS),
        ("operations_again", ROUNDS),
        ("nodes", SERVERS),
        ("lanes", SERVERS + 1),
        ("lanes_without_one", SERVERS),
        ("table_rows", SERVERS),
        ("faults", 2),
        ("fault_rows", 2),
        ("witness", 2),
        ("messages_of_kind", ROUNDS),
    ] {
        assert_eq!(seen[name], count, "{name}: {seen}");
    }
    for (name, text) in [
        ("witness_text", "100 or later"),
        ("detail", "part of the violation"),
        ("state_in_middle", "replica-1"),
        ("pointed", " → "),
        ("fault_detail", "replica-1 killed"),
    ] {
        let shown = seen[name].as_str().unwrap_or_default();
        assert!(shown.contains(text), "{name}: {seen}");
    }
    for did in ["goes_to_found", "goes_to_marked", "goes_to_witness"] {
        assert_eq!(seen[did], true, "{did}: {seen}");
    }
    browser::assert_quick(&STEPS, &seen, || {
        browser::selftest(&chromium, &profile, &path).0
    });
}

#[test]
fn on_no_track_of_the_trace_slices_overlap_though_operations_of_a_client_do() {
    let mut trace = Vec::new();
    gossip().write_chrome_trace(&mut trace).expect("memory");
    let trace: Value = serde_json::from_slice(&trace).expect("JSON");
    let events = trace["traceEvents"].as_array().expect("events");
    let mut slices: BTreeMap<(u64, u64), Vec<(f64, f64)>> = BTreeMap::new();
    for event in events.iter().filter(|event| event["ph"] == "X") {
        let number = |field: &str| event[field].as_f64().expect("a number");
        let track = (
            event["pid"].as_u64().expect("a pid"),
            event["tid"].as_u64().expect("a tid"),
        );
        let from = number("ts");
        let slice = (from, from + number("dur"));
        slices.entry(track).or_default().push(slice);
    }
    for (track, slices) in &mut slices {
        slices.sort_by(|a, b| a.partial_cmp(b).expect("numbers"));
        for pair in slices.windows(2) {
            assert!(pair[0].1 <= pair[1].0, "{track:?}: {pair:?}");
        }
    }
    let named = |name: &str| events.iter().any(|event| event["name"] == name);
    for name in ["write 7", "replica of view 0", "down: killed", "versions"] {
        assert!(named(name), "{name}");
    }
}
