//! A run in Chrome's trace event format, which Perfetto and `chrome://tracing` open.
//!
//! Each process of the run is a process there, with a track for each of: what it is
//! (role and term), its life (down, paused), the messages that it sends and gets, and
//! each of its clients. Faults have a process of their own. Messages are flows from a
//! slice at the sender to a slice at the receiver; commit index and queues are counters.
//!
//! Source: Google's "Trace Event Format"; `ts` and `dur` are microseconds.

use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::operations::operations;
use super::page_data::turn;
use super::{Recording, StateChange, View};
use crate::sessions::client_of;
use veridical_harness::view::{Ending, Fate, Message, Turn, class, describe};

/// The process of the faults.
const FAULTS_PID: u64 = 1;

/// Its track for those that have no length. (Without a track Perfetto puts them under a heading of
/// its own.)
const MOMENTS_TID: u64 = 1;

/// The process of the first process of the run.
const FIRST_PID: u64 = 10;

/// Tracks of a process.
const ROLE_TID: u64 = 1;
const LIFE_TID: u64 = 2;
const SENT_TID: u64 = 3;
const GOT_TID: u64 = 4;
/// The track of client 0.
const FIRST_CLIENT_TID: u64 = 100;

/// How long the slices of a message are drawn, in ns: a message has no length of its own.
const MESSAGE_NS: u64 = 20_000;

/// Writes the trace.
pub fn write(view: &View<'_>, sink: &mut impl io::Write) -> io::Result<()> {
    let mut out = Out {
        sink,
        is_first: true,
    };
    out.sink
        .write_all(b"{\"displayTimeUnit\":\"ms\",\"otherData\":")?;
    let other = json!({
        "reproduce": view.report.reproduce,
        "digest": view.report.digest,
        "verdict": view.report.verdict.word(),
        "finding": view.report.finding.as_ref().map(|finding| finding.text.as_str()),
        "left_out": serde_json::to_value(view.recording.left_out)?,
    });
    serde_json::to_writer(&mut *out.sink, &other)?;
    out.sink.write_all(b",\"traceEvents\":[\n")?;
    processes(view.recording, &mut out)?;
    roles(view.recording, &mut out)?;
    lives(view.recording, &mut out)?;
    faults(view.recording, &mut out)?;
    messages(view.recording, &mut out)?;
    client_operations(view, &mut out)?;
    out.sink.write_all(b"\n]}\n")
}

/// Where events go.
struct Out<'a, W: io::Write> {
    sink: &'a mut W,
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

    /// Names a process or a track, or says where it stands.
    fn metadata(&mut self, name: &str, pid: u64, tid: u64, args: Value) -> io::Result<()> {
        self.event(&json!({ "ph": "M", "name": name, "pid": pid, "tid": tid, "args": args }))
    }

    fn slice(
        &mut self,
        (pid, tid): (u64, u64),
        (from_ns, to_ns): (u64, u64),
        (name, category): (&str, &str),
        args: Value,
    ) -> io::Result<()> {
        self.event(&json!({
            "ph": "X", "name": name, "cat": category, "pid": pid, "tid": tid,
            "ts": us(from_ns), "dur": us(to_ns.saturating_sub(from_ns)), "args": args,
        }))
    }
}

/// ns as µs.
fn us(ns: u64) -> f64 {
    ns as f64 / 1_000.0
}

fn pid(process: u32) -> u64 {
    FIRST_PID + u64::from(process)
}

fn processes<W: io::Write>(recording: &Recording, out: &mut Out<'_, W>) -> io::Result<()> {
    out.metadata("process_name", FAULTS_PID, 0, json!({ "name": "faults" }))?;
    out.metadata(
        "process_sort_index",
        FAULTS_PID,
        0,
        json!({ "sort_index": 0 }),
    )?;
    out.metadata(
        "thread_name",
        FAULTS_PID,
        MOMENTS_TID,
        json!({ "name": "moments" }),
    )?;
    for (number, name) in (0..).zip(&recording.processes) {
        let pid = pid(number);
        out.metadata("process_name", pid, 0, json!({ "name": name }))?;
        out.metadata("process_sort_index", pid, 0, json!({ "sort_index": pid }))?;
        for (tid, name) in [
            (ROLE_TID, "role"),
            (LIFE_TID, "life"),
            (SENT_TID, "sent"),
            (GOT_TID, "received"),
        ] {
            out.metadata("thread_name", pid, tid, json!({ "name": name }))?;
            out.metadata("thread_sort_index", pid, tid, json!({ "sort_index": tid }))?;
        }
    }
    Ok(())
}

/// When each process goes down, in ns and in order.
fn ends_of(recording: &Recording) -> BTreeMap<u32, Vec<u64>> {
    let mut ends: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    for life in &recording.lives {
        if !matches!(life.turn, Turn::Started | Turn::Paused | Turn::Resumed) {
            ends.entry(life.process).or_default().push(life.at_ns);
        }
    }
    ends
}

fn roles<W: io::Write>(recording: &Recording, out: &mut Out<'_, W>) -> io::Result<()> {
    let ends = ends_of(recording);
    let mut of_process: BTreeMap<u32, Vec<&StateChange>> = BTreeMap::new();
    for change in &recording.states {
        of_process.entry(change.process).or_default().push(change);
    }
    for (process, changes) in of_process {
        let mut began: Option<&StateChange> = None;
        let ends = ends.get(&process).map(Vec::as_slice).unwrap_or_default();
        let end_of = |from_ns: u64, until_ns: u64| {
            let down = ends.iter().find(|end| **end >= from_ns);
            down.map_or(until_ns, |down| until_ns.min(*down))
        };
        for change in changes.iter().copied() {
            let is_new = began.is_none_or(|began| {
                (&began.state.role, began.state.term) != (&change.state.role, change.state.term)
                    || end_of(began.at_ns, change.at_ns) < change.at_ns
            });
            if is_new {
                if let Some(began) = began {
                    role(out, process, began, end_of(began.at_ns, change.at_ns))?;
                }
                began = Some(change);
            }
            let state = &change.state;
            let counters = [
                (
                    "log",
                    json!({ "commit": state.commit, "applied": state.applied, "last": state.last }),
                ),
                (
                    "log queues",
                    json!({
                        "uncommitted": state.last.saturating_sub(state.commit),
                        "unapplied": state.commit.saturating_sub(state.applied),
                    }),
                ),
            ];
            for (name, args) in counters {
                counter(out, process, change.at_ns, name, args)?;
            }
        }
        if let Some(began) = began {
            role(out, process, began, end_of(began.at_ns, recording.end_ns))?;
        }
    }
    Ok(())
}

fn role<W: io::Write>(
    out: &mut Out<'_, W>,
    process: u32,
    began: &StateChange,
    until_ns: u64,
) -> io::Result<()> {
    let state = &began.state;
    let name = format!("{} of term {}", state.role, state.term);
    let args = json!({ "term": state.term, "leader": state.leader });
    let track = (pid(process), ROLE_TID);
    out.slice(track, (began.at_ns, until_ns), (&name, "role"), args)
}

fn counter<W: io::Write>(
    out: &mut Out<'_, W>,
    process: u32,
    at_ns: u64,
    name: &str,
    args: Value,
) -> io::Result<()> {
    out.event(&json!({
        "ph": "C", "name": name, "pid": pid(process), "tid": 0, "ts": us(at_ns), "args": args,
    }))
}

fn lives<W: io::Write>(recording: &Recording, out: &mut Out<'_, W>) -> io::Result<()> {
    let mut down: BTreeMap<u32, (u64, Turn)> = BTreeMap::new();
    let mut paused: BTreeMap<u32, u64> = BTreeMap::new();
    for life in &recording.lives {
        let track = (pid(life.process), LIFE_TID);
        match life.turn {
            Turn::Paused => {
                paused.entry(life.process).or_insert(life.at_ns);
            }
            Turn::Resumed => {
                if let Some(from_ns) = paused.remove(&life.process) {
                    out.slice(track, (from_ns, life.at_ns), ("paused", "life"), json!({}))?;
                }
            }
            Turn::Started => {
                if let Some((from_ns, turn_down)) = down.remove(&life.process) {
                    let name = format!("down: {}", turn(turn_down));
                    out.slice(track, (from_ns, life.at_ns), (&name, "life"), json!({}))?;
                }
            }
            turn_down => {
                if let Some(from_ns) = paused.remove(&life.process) {
                    out.slice(track, (from_ns, life.at_ns), ("paused", "life"), json!({}))?;
                }
                down.entry(life.process).or_insert((life.at_ns, turn_down));
            }
        }
    }
    for (process, (from_ns, turn_down)) in down {
        let name = format!("down: {}", turn(turn_down));
        let track = (pid(process), LIFE_TID);
        out.slice(
            track,
            (from_ns, recording.end_ns),
            (&name, "life"),
            json!({}),
        )?;
    }
    for (process, from_ns) in paused {
        let track = (pid(process), LIFE_TID);
        out.slice(
            track,
            (from_ns, recording.end_ns),
            ("paused", "life"),
            json!({}),
        )?;
    }
    Ok(())
}

/// Faults overlap: they are asynchronous events, or instants.
fn faults<W: io::Write>(recording: &Recording, out: &mut Out<'_, W>) -> io::Result<()> {
    for injected in &recording.faults {
        let name = describe(&injected.fault, &recording.processes);
        let args = serde_json::to_value(&injected.fault)?;
        let mut event = json!({
            "name": name, "cat": class(&injected.fault), "pid": FAULTS_PID, "tid": 0,
            "ts": us(injected.at_ns), "args": args,
        });
        match injected.end_ns(recording.end_ns) {
            Some(end_ns) => {
                event["ph"] = json!("b");
                // Within the process: Perfetto gives what goes by a global number no process.
                event["id2"] = json!({ "local": injected.id.to_string() });
                out.event(&event)?;
                event["ph"] = json!("e");
                event["ts"] = json!(us(end_ns));
                event["args"] = json!({});
            }
            None => {
                event["ph"] = json!("i");
                event["s"] = json!("t");
                event["tid"] = json!(MOMENTS_TID);
            }
        }
        out.event(&event)?;
    }
    Ok(())
}

/// A message's name: that of its frames.
fn name_of(message: &Message, recording: &Recording) -> String {
    let kind = |kind: u16| recording.kinds.get(kind as usize);
    let names: Vec<&str> = message
        .frames
        .iter()
        .filter_map(|frame| Some(kind(frame.kind)?.name.as_str()))
        .collect();
    match names.as_slice() {
        [] => "bytes".to_owned(),
        [name] => (*name).to_owned(),
        names => {
            let more = if message.more_frames > 0 { ", …" } else { "" };
            format!("{}{more}", names.join(", "))
        }
    }
}

fn messages<W: io::Write>(recording: &Recording, out: &mut Out<'_, W>) -> io::Result<()> {
    // By receiver: how many messages are under way, by time.
    let mut steps: BTreeMap<u32, Vec<(u64, i64)>> = BTreeMap::new();
    // Slices of a track must not overlap: each is as long as there is room.
    let mut sent: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    let mut got: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    let arrived = |message: &Message| match message.fate {
        Fate::Delivered => message.ended_ns,
        _ => None,
    };
    for message in &recording.messages {
        sent.entry(message.from).or_default().push(message.sent_ns);
        if let Some(at_ns) = arrived(message) {
            got.entry(message.to).or_default().push(at_ns);
        }
        let steps = steps.entry(message.to).or_default();
        steps.push((message.sent_ns, 1));
        if let Some(ended_ns) = message.ended_ns {
            steps.push((ended_ns, -1));
        }
    }
    for times in sent.values_mut().chain(got.values_mut()) {
        times.sort_unstable();
    }
    let until = |times: &BTreeMap<u32, Vec<u64>>, process: u32, at_ns: u64| {
        let times = times.get(&process).map(Vec::as_slice).unwrap_or_default();
        let next = times.partition_point(|time| *time <= at_ns);
        let room = times.get(next).map_or(MESSAGE_NS, |next| next - at_ns);
        at_ns + room.min(MESSAGE_NS)
    };
    for (id, message) in (1_u64..).zip(&recording.messages) {
        let name = name_of(message, recording);
        let from = (pid(message.from), SENT_TID);
        let to = (pid(message.to), GOT_TID);
        let args = json!({
            "to": recording.processes.get(message.to as usize),
            "bytes": message.bytes,
            "fate": serde_json::to_value(message.fate)?,
            "frames": frames(message, recording),
        });
        let sent_until_ns = until(&sent, message.from, message.sent_ns);
        out.slice(
            from,
            (message.sent_ns, sent_until_ns),
            (&name, "message"),
            args,
        )?;
        let Some(at_ns) = arrived(message) else {
            continue;
        };
        let args = json!({ "from": recording.processes.get(message.from as usize) });
        let got_until_ns = until(&got, message.to, at_ns);
        out.slice(to, (at_ns, got_until_ns), (&name, "message"), args)?;
        for (phase, track, at_ns) in [("s", from, message.sent_ns), ("f", to, at_ns)] {
            let mut flow = json!({
                "ph": phase, "id": id, "name": "message", "cat": "message",
                "pid": track.0, "tid": track.1, "ts": us(at_ns),
            });
            if phase == "f" {
                // It ends at the slice that encloses it, not at the next one.
                flow["bp"] = json!("e");
            }
            out.event(&flow)?;
        }
    }
    for (process, mut steps) in steps {
        steps.sort_unstable();
        let mut under_way = 0;
        for (at_ns, step) in steps {
            under_way += step;
            counter(
                out,
                process,
                at_ns,
                "messages under way to it",
                json!({ "count": under_way }),
            )?;
        }
    }
    Ok(())
}

fn frames(message: &Message, recording: &Recording) -> Vec<Value> {
    let frames = message.frames.iter().filter_map(|frame| {
        let kind = recording.kinds.get(frame.kind as usize)?;
        let mut value = json!({ "kind": kind.name });
        for (field, number) in kind.fields.iter().zip(&frame.numbers) {
            value[field] = json!(number);
        }
        Some(value)
    });
    frames.collect()
}

fn client_operations<W: io::Write>(view: &View<'_>, out: &mut Out<'_, W>) -> io::Result<()> {
    let mut named = BTreeSet::new();
    for operation in operations(view.plan, view.history) {
        let Some(process) = view.recording.process(&operation.process) else {
            continue;
        };
        let client = client_of(operation.session);
        let (pid, tid) = (pid(process), FIRST_CLIENT_TID + client);
        if named.insert((pid, tid)) {
            let name = json!({ "name": format!("client {client}") });
            out.metadata("thread_name", pid, tid, name)?;
            out.metadata("thread_sort_index", pid, tid, json!({ "sort_index": tid }))?;
        }
        let category = match operation.ending {
            Ending::Open => "open",
            Ending::Done => "done",
            Ending::Refused => "refused",
            Ending::Unknown => "unknown",
            Ending::Failed => "failed",
        };
        let args = json!({ "op": operation.op, "keys": operation.keys });
        let (text, call_ns) = (operation.text.as_str(), operation.call_ns);
        match operation.end_ns {
            Some(end_ns) if end_ns == call_ns => out.event(&json!({
                "ph": "i", "s": "t", "name": text, "cat": category, "pid": pid, "tid": tid,
                "ts": us(call_ns), "args": args,
            }))?,
            end_ns => {
                let end_ns = end_ns.unwrap_or(view.recording.end_ns);
                out.slice((pid, tid), (call_ns, end_ns), (text, category), args)?;
            }
        }
    }
    Ok(())
}
