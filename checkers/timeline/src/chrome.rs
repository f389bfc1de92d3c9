//! A timeline in Chrome's trace event format, which Perfetto and `chrome://tracing` open.
//!
//! Each lane is a process there, with a track for each of: what it is (role and epoch), its
//! life (down, paused), the messages that it sends and gets, and each track of operations.
//! Faults have a process of their own. Messages are flows from a slice at the sender to a
//! slice at the receiver; values of states and queues are counters.
//!
//! Source: Google's "Trace Event Format"; `ts` and `dur` are microseconds.

use std::collections::BTreeMap;
use std::io;

use serde_json::{Map, Value, json};

use crate::{Ending, Fate, LaneId, Message, Operation, Part, State, Timeline, Turn};

/// The process of the faults.
const FAULTS_PID: u64 = 1;

/// Its track for those that have no length. (Without a track Perfetto puts them under a heading of
/// its own.)
const MOMENTS_TID: u64 = 1;

/// The process of the first lane.
const FIRST_PID: u64 = 10;

/// Tracks of a process.
const ROLE_TID: u64 = 1;
const LIFE_TID: u64 = 2;
const SENT_TID: u64 = 3;
const GOT_TID: u64 = 4;
/// The first track of operations.
const FIRST_OPERATIONS_TID: u64 = 100;

/// How long the slices of a message are drawn, in ns: a message has no length of its own.
const MESSAGE_NS: u64 = 20_000;

/// Writes the trace.
pub(crate) fn write(timeline: &Timeline, sink: &mut impl io::Write) -> io::Result<()> {
    let mut out = Out {
        sink,
        timeline,
        is_first: true,
    };
    out.sink
        .write_all(b"{\"displayTimeUnit\":\"ms\",\"otherData\":")?;
    let mut other = timeline.about.clone();
    other.insert("title".to_owned(), json!(timeline.title));
    other.insert("verdict".to_owned(), json!(timeline.verdict));
    let finding = timeline.finding.as_ref();
    other.insert(
        "finding".to_owned(),
        json!(finding.map(|finding| finding.text.as_str())),
    );
    other.insert("left_out".to_owned(), json!(timeline.left_out));
    serde_json::to_writer(&mut *out.sink, &other)?;
    out.sink.write_all(b",\"traceEvents\":[\n")?;
    out.processes()?;
    out.states()?;
    out.lives()?;
    out.faults()?;
    out.messages()?;
    out.operations()?;
    out.sink.write_all(b"\n]}\n")
}

/// A process and a track of it.
type Place = (u64, u64);

fn pid(lane: LaneId) -> u64 {
    FIRST_PID + u64::from(lane.0)
}

/// Where events go.
struct Out<'a, W: io::Write> {
    sink: &'a mut W,
    timeline: &'a Timeline,
    is_first: bool,
}

impl<W: io::Write> Out<'_, W> {
    fn event(&mut self, event: &Value) -> io::Result<()> {
        if !std::mem::replace(&mut self.is_first, false) {
            self.sink.write_all(b",\n")?;
        }
        serde_json::to_writer(&mut *self.sink, event)?;
        Ok(())
    }

    /// ns as µs since the origin.
    fn us(&self, ns: u64) -> f64 {
        ns.saturating_sub(self.timeline.origin_ns) as f64 / 1_000.0
    }

    /// Names a process or a track, or says where it stands.
    fn metadata(&mut self, name: &str, (pid, tid): Place, args: Value) -> io::Result<()> {
        self.event(&json!({ "ph": "M", "name": name, "pid": pid, "tid": tid, "args": args }))
    }

    /// Names a track and says where it stands.
    fn track(&mut self, place: Place, name: &str) -> io::Result<()> {
        self.metadata("thread_name", place, json!({ "name": name }))?;
        self.metadata("thread_sort_index", place, json!({ "sort_index": place.1 }))
    }

    fn slice(
        &mut self,
        (pid, tid): Place,
        (from_ns, to_ns): (u64, u64),
        (name, category): (&str, &str),
        args: Value,
    ) -> io::Result<()> {
        let length_us = to_ns.saturating_sub(from_ns) as f64 / 1_000.0;
        self.event(&json!({
            "ph": "X", "name": named(name), "cat": category, "pid": pid, "tid": tid,
            "ts": self.us(from_ns), "dur": length_us, "args": args,
        }))
    }

    fn counter(&mut self, lane: LaneId, at_ns: u64, name: &str, args: Value) -> io::Result<()> {
        self.event(&json!({
            "ph": "C", "name": name, "pid": pid(lane), "tid": 0, "ts": self.us(at_ns),
            "args": args,
        }))
    }

    fn processes(&mut self) -> io::Result<()> {
        self.metadata("process_name", (FAULTS_PID, 0), json!({ "name": "faults" }))?;
        let first = json!({ "sort_index": 0 });
        self.metadata("process_sort_index", (FAULTS_PID, 0), first)?;
        let moments = json!({ "name": "moments" });
        self.metadata("thread_name", (FAULTS_PID, MOMENTS_TID), moments)?;
        for (number, lane) in (0..).zip(&self.timeline.lanes) {
            let pid = pid(LaneId(number));
            self.metadata("process_name", (pid, 0), json!({ "name": lane.name }))?;
            self.metadata("process_sort_index", (pid, 0), json!({ "sort_index": pid }))?;
            for (tid, name) in [
                (ROLE_TID, "role"),
                (LIFE_TID, "life"),
                (SENT_TID, "sent"),
                (GOT_TID, "received"),
            ] {
                self.track((pid, tid), name)?;
            }
        }
        Ok(())
    }

    /// When each lane goes down, in ns and in order.
    fn ends(&self) -> BTreeMap<LaneId, Vec<u64>> {
        let mut ends: BTreeMap<LaneId, Vec<u64>> = BTreeMap::new();
        for life in &self.timeline.lives {
            if matches!(life.turn, Turn::Ended(_)) {
                ends.entry(life.lane).or_default().push(life.at_ns);
            }
        }
        ends
    }

    fn states(&mut self) -> io::Result<()> {
        let ends = self.ends();
        let mut of_lane: BTreeMap<LaneId, Vec<&State>> = BTreeMap::new();
        for state in &self.timeline.states {
            of_lane.entry(state.lane).or_default().push(state);
        }
        for (lane, states) in of_lane {
            let ends = ends.get(&lane).map(Vec::as_slice).unwrap_or_default();
            let end_of = |from_ns: u64, until_ns: u64| {
                let down = ends.iter().find(|end| **end >= from_ns);
                down.map_or(until_ns, |down| until_ns.min(*down))
            };
            let mut began: Option<&State> = None;
            for state in states {
                let is_new = began.is_none_or(|began| {
                    (&began.role, began.epoch) != (&state.role, state.epoch)
                        || end_of(began.at_ns, state.at_ns) < state.at_ns
                });
                if is_new {
                    if let Some(began) = began {
                        self.role(began, end_of(began.at_ns, state.at_ns))?;
                    }
                    began = Some(state);
                }
                self.values(state)?;
            }
            if let Some(began) = began {
                let until_ns = end_of(began.at_ns, self.timeline.last_ns());
                self.role(began, until_ns)?;
            }
        }
        Ok(())
    }

    fn role(&mut self, began: &State, until_ns: u64) -> io::Result<()> {
        let epoch_name = &self.timeline.epoch_name;
        let name = format!("{} of {epoch_name} {}", began.role, began.epoch);
        let args = json!({ epoch_name.as_str(): began.epoch, "detail": began.detail });
        let place = (pid(began.lane), ROLE_TID);
        self.slice(place, (began.at_ns, until_ns), (&name, "role"), args)
    }

    /// The values of a state, as counters.
    fn values(&mut self, state: &State) -> io::Result<()> {
        let mut counters: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
        for (field, value) in self.timeline.state_fields.iter().zip(&state.values) {
            if let Some(counter) = &field.counter {
                let counter = counters.entry(counter).or_default();
                counter.insert(field.name.clone(), json!(value));
            }
        }
        for (name, args) in counters {
            self.counter(state.lane, state.at_ns, name, args.into())?;
        }
        Ok(())
    }

    fn lives(&mut self) -> io::Result<()> {
        let mut down: BTreeMap<LaneId, (u64, String)> = BTreeMap::new();
        let mut paused: BTreeMap<LaneId, u64> = BTreeMap::new();
        for life in &self.timeline.lives {
            let (lane, at_ns) = (life.lane, life.at_ns);
            match &life.turn {
                Turn::Paused => {
                    paused.entry(lane).or_insert(at_ns);
                }
                Turn::Resumed => {
                    if let Some(from_ns) = paused.remove(&lane) {
                        self.gap(lane, (from_ns, at_ns), "paused")?;
                    }
                }
                Turn::Started => {
                    if let Some((from_ns, name)) = down.remove(&lane) {
                        self.gap(lane, (from_ns, at_ns), &name)?;
                    }
                }
                Turn::Ended(words) => {
                    if let Some(from_ns) = paused.remove(&lane) {
                        self.gap(lane, (from_ns, at_ns), "paused")?;
                    }
                    let name = format!("down: {words}");
                    down.entry(lane).or_insert((at_ns, name));
                }
            }
        }
        let end_ns = self.timeline.last_ns();
        for (lane, (from_ns, name)) in down {
            self.gap(lane, (from_ns, end_ns), &name)?;
        }
        for (lane, from_ns) in paused {
            self.gap(lane, (from_ns, end_ns), "paused")?;
        }
        Ok(())
    }

    fn gap(&mut self, lane: LaneId, from_to_ns: (u64, u64), name: &str) -> io::Result<()> {
        self.slice((pid(lane), LIFE_TID), from_to_ns, (name, "life"), json!({}))
    }

    /// Faults overlap: they are asynchronous events, or instants.
    fn faults(&mut self) -> io::Result<()> {
        let classes = self.timeline.fault_classes.all();
        for (number, fault) in self.timeline.faults.iter().enumerate() {
            let mut event = json!({
                "name": named(&fault.text), "cat": classes[fault.class.0 as usize],
                "pid": FAULTS_PID, "tid": 0, "ts": self.us(fault.at_ns),
                "args": { "id": fault.id, "fault": fault.parameters },
            });
            match fault.end_ns {
                Some(end_ns) => {
                    event["ph"] = json!("b");
                    // The number is one of the process, for Perfetto gives what has a global one no process.
                    event["id2"] = json!({ "local": number.to_string() });
                    self.event(&event)?;
                    event["ph"] = json!("e");
                    event["ts"] = json!(self.us(end_ns));
                    event["args"] = json!({});
                }
                None => {
                    event["ph"] = json!("i");
                    event["s"] = json!("t");
                    event["tid"] = json!(MOMENTS_TID);
                }
            }
            self.event(&event)?;
        }
        Ok(())
    }

    fn messages(&mut self) -> io::Result<()> {
        let room = Room::of(&self.timeline.messages);
        for (id, message) in (1_u64..).zip(&self.timeline.messages) {
            self.message(id, message, &room)?;
        }
        self.under_way()
    }

    fn message(&mut self, id: u64, message: &Message, room: &Room) -> io::Result<()> {
        let lanes = &self.timeline.lanes;
        let name_of = |lane: LaneId| &lanes[lane.0 as usize].name;
        let (sender, receiver) = (name_of(message.from), name_of(message.to));
        let name = self.name_of(message);
        let from = (pid(message.from), SENT_TID);
        let to = (pid(message.to), GOT_TID);
        let fate = match message.fate {
            Fate::Open => "open",
            Fate::Delivered => "delivered",
            Fate::Lost => "lost",
            Fate::Cut => "cut",
            Fate::Unheard => "unheard",
        };
        let parts: Vec<Value> = message.parts.iter().map(|part| self.part(part)).collect();
        let args = json!({
            "to": receiver, "bytes": message.bytes, "fate": fate, "parts": parts,
        });
        let until_ns = Room::until(&room.sent, message.from, message.sent_ns);
        let at_ns = message.sent_ns;
        self.slice(from, (at_ns, until_ns), (&name, "message"), args)?;
        let Some(at_ns) = arrived(message) else {
            return Ok(());
        };
        let args = json!({ "from": sender });
        let until_ns = Room::until(&room.got, message.to, at_ns);
        self.slice(to, (at_ns, until_ns), (&name, "message"), args)?;
        for (phase, place, at_ns) in [("s", from, message.sent_ns), ("f", to, at_ns)] {
            let mut flow = json!({
                "ph": phase, "id": id, "name": "message", "cat": "message",
                "pid": place.0, "tid": place.1, "ts": self.us(at_ns),
            });
            if phase == "f" {
                // It ends at the slice that encloses it, not at the next one.
                flow["bp"] = json!("e");
            }
            self.event(&flow)?;
        }
        Ok(())
    }

    /// A message's name: that of its parts.
    fn name_of(&self, message: &Message) -> String {
        let kinds = &self.timeline.kinds;
        let names: Vec<&str> = message
            .parts
            .iter()
            .map(|part| kinds[part.kind.0 as usize].name.as_str())
            .collect();
        let more = if message.more_parts > 0 { ", …" } else { "" };
        match names.is_empty() {
            true => "bytes".to_owned(),
            false => format!("{}{more}", names.join(", ")),
        }
    }

    fn part(&self, part: &Part) -> Value {
        let kind = &self.timeline.kinds[part.kind.0 as usize];
        let mut value = json!({ "kind": kind.name });
        for (field, number) in kind.fields.iter().zip(&part.numbers) {
            value[field] = json!(number);
        }
        value
    }

    /// By receiver: how many messages are under way, by time.
    fn under_way(&mut self) -> io::Result<()> {
        let mut steps: BTreeMap<LaneId, Vec<(u64, i64)>> = BTreeMap::new();
        for message in &self.timeline.messages {
            let steps = steps.entry(message.to).or_default();
            steps.push((message.sent_ns, 1));
            if let Some(ended_ns) = message.ended_ns {
                steps.push((ended_ns, -1));
            }
        }
        for (lane, mut steps) in steps {
            steps.sort_unstable();
            let mut under_way = 0;
            for (at_ns, step) in steps {
                under_way += step;
                let args = json!({ "count": under_way });
                self.counter(lane, at_ns, "messages under way to it", args)?;
            }
        }
        Ok(())
    }

    /// Slices of a track must not overlap: operations of one track that do take more tracks.
    fn operations(&mut self) -> io::Result<()> {
        let mut operations: Vec<&Operation> = self.timeline.operations.iter().collect();
        operations.sort_by_key(|operation| operation.call_ns);
        // For each track of the timeline, the tracks here and until when they are taken.
        let mut taken: BTreeMap<u32, Vec<(Place, u64)>> = BTreeMap::new();
        let mut tracks_of_lane: BTreeMap<LaneId, u64> = BTreeMap::new();
        let last_ns = self.timeline.last_ns();
        for operation in operations {
            let track = &self.timeline.tracks[operation.track.0 as usize];
            let until_ns = operation.end_ns.unwrap_or(last_ns);
            let own = taken.entry(operation.track.0).or_default();
            let free = own
                .iter_mut()
                .find(|(_, until_ns)| *until_ns <= operation.call_ns);
            let place = match free {
                Some((place, taken_until_ns)) => {
                    *taken_until_ns = until_ns;
                    *place
                }
                None => {
                    let number = tracks_of_lane.entry(track.lane).or_default();
                    let place = (pid(track.lane), FIRST_OPERATIONS_TID + *number);
                    *number += 1;
                    own.push((place, until_ns));
                    self.track(place, named(&track.label))?;
                    place
                }
            };
            self.operation(operation, place, until_ns)?;
        }
        Ok(())
    }

    fn operation(&mut self, operation: &Operation, place: Place, until_ns: u64) -> io::Result<()> {
        let category = match operation.ending {
            Ending::Open => "open",
            Ending::Done => "done",
            Ending::Refused => "refused",
            Ending::Unknown => "unknown",
            Ending::NoEffect => "failed",
        };
        let names = self.timeline.keys.all();
        let keys: Vec<&str> = operation
            .keys
            .iter()
            .map(|key| names[key.0 as usize].as_str())
            .collect();
        let args = json!({ "op": operation.op, "keys": keys });
        let (text, call_ns) = (operation.text.as_str(), operation.call_ns);
        if operation.end_ns == Some(call_ns) {
            return self.event(&json!({
                "ph": "i", "s": "t", "name": named(text), "cat": category, "pid": place.0,
                "tid": place.1, "ts": self.us(call_ns), "args": args,
            }));
        }
        self.slice(place, (call_ns, until_ns), (text, category), args)
    }
}

/// The format asks for a name.
fn named(name: &str) -> &str {
    match name.is_empty() {
        true => "?",
        false => name,
    }
}

/// When a message arrived, if it did.
fn arrived(message: &Message) -> Option<u64> {
    match message.fate {
        Fate::Delivered => message.ended_ns,
        Fate::Open | Fate::Lost | Fate::Cut | Fate::Unheard => None,
    }
}

/// When messages are sent and got, by lane and in order. Slices of a track must not overlap:
/// each is as long as there is room.
#[derive(Default)]
struct Room {
    sent: BTreeMap<LaneId, Vec<u64>>,
    got: BTreeMap<LaneId, Vec<u64>>,
}

impl Room {
    fn of(messages: &[Message]) -> Self {
        let mut room = Self::default();
        for message in messages {
            room.sent
                .entry(message.from)
                .or_default()
                .push(message.sent_ns);
            if let Some(at_ns) = arrived(message) {
                room.got.entry(message.to).or_default().push(at_ns);
            }
        }
        for times in room.sent.values_mut().chain(room.got.values_mut()) {
            times.sort_unstable();
        }
        room
    }

    /// Until when a slice may last that begins at `at_ns`.
    fn until(times: &BTreeMap<LaneId, Vec<u64>>, lane: LaneId, at_ns: u64) -> u64 {
        let times = times.get(&lane).map(Vec::as_slice).unwrap_or_default();
        let next = times.partition_point(|time| *time <= at_ns);
        let room = times.get(next).map_or(MESSAGE_NS, |next| next - at_ns);
        at_ns + room.min(MESSAGE_NS)
    }
}
