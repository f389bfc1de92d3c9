//! Histories of an S2 stream, in all their spellings and damaged in one place.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value as Json, json};
use veridical_checkers::ObjectKind;
use veridical_checkers::check::CheckModel;
use veridical_histories::formats::{Format, S2Reader};
use veridical_histories::object::{Action, Answer, LogAppend, ObjectEvent, Request, Value};
use veridical_histories::random::Random;
use veridical_histories::{EventKind, OperationId};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::damage::{
    self, FieldDamage, Reading, Told, check, damage_field, makes_unknown_or_leaves,
};

const READING: Reading = Reading {
    model: CheckModel::Object(ObjectKind::Log),
    format: Format::S2,
};

/// How an operation ended.
#[derive(Clone, Debug)]
enum End {
    Answered(Answer),
    Refused,
    /// It is told at the end of the file, as S2's own recorder does.
    Unknown,
}

/// An operation that is open, and how it will end once that is decided.
type Open = (OperationId, Action, Option<End>);

/// What the stream holds.
#[derive(Default)]
struct Stream {
    tail: u64,
    hash: u64,
    token: Option<String>,
}

impl Stream {
    fn apply(&mut self, action: &Action) -> End {
        let tail = |stream: &Self| Value::Int(stream.tail as i64);
        match action {
            Action::LogAppend(append) => {
                let is_fenced =
                    append.fencing_token.is_some() && append.fencing_token != self.token;
                if is_fenced || append.match_seq_num.is_some_and(|at| at != self.tail) {
                    return End::Refused;
                }
                self.tail += append.records;
                for record in &append.record_hashes {
                    self.hash = xxh3_64_with_seed(&record.to_le_bytes(), self.hash);
                }
                if append.set_fencing_token.is_some() {
                    self.token.clone_from(&append.set_fencing_token);
                }
                End::Answered(Answer::Value(tail(self)))
            }
            Action::Read => {
                let hash = Value::Int(self.hash as i64);
                End::Answered(Answer::Value(Value::list([tail(self), hash])))
            }
            Action::CheckTail => End::Answered(Answer::Value(tail(self))),
            other => panic!("streams have no {other}"),
        }
    }
}

fn action(stream: &Stream, random: &mut Random) -> Action {
    match random.below(4) {
        0 => Action::Read,
        1 => Action::CheckTail,
        _ => {
            let records = 1 + random.below(3);
            let token = |random: &mut Random| {
                let token = format!("t{}", random.below(2));
                random.chance(0.2).then_some(token)
            };
            Action::LogAppend(std::sync::Arc::new(LogAppend {
                records,
                record_hashes: (0..records).map(|_| random.next_u64()).collect(),
                set_fencing_token: token(random),
                fencing_token: token(random),
                match_seq_num: random
                    .chance(0.3)
                    .then(|| stream.tail.saturating_sub(random.below(2))),
            }))
        }
    }
}

/// A history of a stream; where `is_sound` is false, one of its answers is of another tail.
fn history(seed: u64, operations: u64, is_sound: bool) -> Vec<ObjectEvent> {
    let mut random = Random::new(seed);
    let mut stream = Stream::default();
    let mut clients: Vec<(u64, Option<Open>)> = (0..3).map(|client| (client, None)).collect();
    let (mut events, mut deferred) = (Vec::new(), Vec::new());
    let (mut called, mut next_client) = (0, 3);
    while called < operations || clients.iter().any(|(_, open)| open.is_some()) {
        let slot = random.index(clients.len());
        let (client, open) = clients[slot].clone();
        let open = match open {
            None if called == operations => continue,
            None => {
                let (op, action) = (OperationId(called), action(&stream, &mut random));
                called += 1;
                let request = Request {
                    key: Value::Nil,
                    action: action.clone(),
                };
                events.push(ObjectEvent::call(0, client, op, request));
                Some((op, action, None))
            }
            Some((op, action, None)) => {
                let mut end = stream.apply(&action);
                let is_append = matches!(action, Action::LogAppend(_));
                if is_append && random.chance(0.1) {
                    end = End::Unknown;
                }
                Some((op, action, Some(end)))
            }
            Some((op, _, Some(End::Answered(answer)))) => {
                events.push(ObjectEvent::returned(0, client, op, answer));
                None
            }
            Some((op, _, Some(End::Refused))) => {
                events.push(ObjectEvent::failed(0, client, op));
                None
            }
            Some((op, _, Some(End::Unknown))) => {
                deferred.push(ObjectEvent::unknown(0, client, op));
                clients[slot].0 = next_client;
                next_client += 1;
                None
            }
        };
        clients[slot].1 = open;
    }
    events.extend(deferred);
    if !is_sound {
        spoil(&mut events, &mut random);
    }
    for (at, event) in events.iter_mut().enumerate() {
        event.time_ns = at as u64 + 1;
    }
    events
}

/// Makes one answer that of another stream.
fn spoil(events: &mut [ObjectEvent], random: &mut Random) {
    let answers = events.iter_mut().filter_map(|event| match &mut event.kind {
        EventKind::Return { output, .. } => Some(output),
        EventKind::Call { .. } | EventKind::Unknown { .. } | EventKind::Failed { .. } => None,
        EventKind::Note { note } => match *note {},
    });
    let mut answers: Vec<&mut Answer> = answers.collect();
    let at = random.index(answers.len().max(1));
    if let Some(Answer::Value(Value::Int(tail))) = answers.get_mut(at) {
        *tail += 1;
    }
}

fn start(action: &Action) -> Json {
    match action {
        Action::Read => json!("Read"),
        Action::CheckTail => json!("CheckTail"),
        Action::LogAppend(append) => json!({"Append": {
            "num_records": append.records,
            "record_hashes": append.record_hashes,
            "set_fencing_token": append.set_fencing_token,
            "fencing_token": append.fencing_token,
            "match_seq_num": append.match_seq_num,
        }}),
        other => panic!("streams have no {other}"),
    }
}

fn finish(action: &Action, answer: &Answer) -> Json {
    let Answer::Value(value) = answer else {
        panic!("streams answer with values, not {answer}");
    };
    let name = if matches!(action, Action::LogAppend(_)) {
        "AppendSuccess"
    } else if *action == Action::CheckTail {
        "CheckTailSuccess"
    } else {
        "ReadSuccess"
    };
    match value {
        Value::Int(tail) => json!({name: {"tail": *tail as u64}}),
        Value::List(tail_and_hash) => {
            let [Value::Int(tail), Value::Int(hash)] = tail_and_hash[..] else {
                panic!("a tail and a hash, not {value}");
            };
            json!({name: {"tail": tail as u64, "stream_hash": hash as u64}})
        }
        Value::Nil | Value::Text(_) => panic!("a tail, not {value}"),
    }
}

fn lines(events: &[ObjectEvent]) -> Vec<Json> {
    let mut actions = BTreeMap::new();
    let line = |event: &ObjectEvent| {
        let op = event.operation().expect("there are no notes");
        let labeled = match &event.kind {
            EventKind::Call { input, .. } => {
                actions.insert(op, input.action.clone());
                json!({"Start": start(&input.action)})
            }
            EventKind::Return { output, .. } => json!({"Finish": finish(&actions[&op], output)}),
            EventKind::Unknown { .. } => json!({"Finish": "AppendIndefiniteFailure"}),
            EventKind::Failed { .. } => json!({"Finish": "AppendDefiniteFailure"}),
            EventKind::Note { note } => match *note {},
        };
        json!({"event": labeled, "client_id": event.client, "op_id": op.0})
    };
    events.iter().map(line).collect()
}

fn sample() -> impl Strategy<Value = Vec<ObjectEvent>> {
    (0..u64::MAX, 3..40u64, any::<bool>())
        .prop_map(|(seed, operations, is_sound)| history(seed, operations, is_sound))
}

/// Damages one line in the way `how`.
fn damaged(events: &[ObjectEvent], how: u8, random: &mut Random) -> Option<String> {
    let json = lines(events);
    let written: Vec<String> = json.iter().map(Json::to_string).collect();
    let told: Vec<Option<Told>> = events
        .iter()
        .map(|event| {
            let (client, is_call) = (event.client, event.is_call());
            Some(Told { client, is_call })
        })
        .collect();
    let in_a_field = |damage, random: &mut Random| {
        let mut json = json.clone();
        let at = random.index(json.len());
        // Which fields appends have is told by the first one.
        let appends = json
            .iter()
            .filter(|line| line["event"]["Start"].is_object());
        let is_only_append = appends.count() == 1 && json[at]["event"]["Start"].is_object();
        let reads = json
            .iter()
            .filter(|line| line.to_string().contains("ReadSuccess"));
        let is_only_read = reads.count() == 1;
        damage_field(&mut json[at], damage, random, &|names| {
            let name = names.last().expect("a field has a name").as_str();
            let is_optional = matches!(
                name,
                "record_hashes" | "set_fencing_token" | "fencing_token" | "match_seq_num"
            );
            let is_untold =
                (is_optional && is_only_append) || (name == "stream_hash" && is_only_read);
            damage != FieldDamage::Removed || !is_untold
        })?;
        let lines: Vec<String> = json.iter().map(Json::to_string).collect();
        Some(lines.join("\n"))
    };
    match how % 9 {
        0 => damage::without_a_line(&written, &told, random),
        1 => damage::with_a_line_twice(&written, &told, random),
        2 => damage::with_a_line_cut(&written, random),
        3 => damage::with_a_bit_flipped(&written, random),
        4 => in_a_field(FieldDamage::Renamed, random),
        5 => in_a_field(FieldDamage::Removed, random),
        6 => in_a_field(FieldDamage::Quoted, random),
        7 => with_another_end(&json, random),
        _ => with_another_operation(&json, random),
    }
}

/// Lets an operation end as one of another kind.
fn with_another_end(lines: &[Json], random: &mut Random) -> Option<String> {
    let mut lines = lines.to_vec();
    let at = random.index(lines.len());
    let finish = lines[at]["event"].get("Finish")?.to_string();
    let [from, to] = *random.pick(&[
        ["CheckTailSuccess", "AppendSuccess"],
        ["AppendSuccess", "CheckTailSuccess"],
        ["AppendDefiniteFailure", "ReadFailure"],
        ["AppendDefiniteFailure", "CheckTailFailure"],
        ["AppendSuccess", "ReadSuccess"],
    ]);
    let changed = finish.contains(from).then(|| finish.replace(from, to))?;
    lines[at]["event"]["Finish"] = serde_json::from_str(&changed).expect("it is JSON");
    let lines: Vec<String> = lines.iter().map(Json::to_string).collect();
    Some(lines.join("\n"))
}

/// Names another operation in one line.
fn with_another_operation(lines: &[Json], random: &mut Random) -> Option<String> {
    let mut lines = lines.to_vec();
    let at = random.index(lines.len());
    let is_last_of_its_client = !lines[at + 1..]
        .iter()
        .any(|line| line["client_id"] == lines[at]["client_id"]);
    if is_last_of_its_client {
        return None;
    }
    lines[at]["op_id"] = json!(1_000_000 + at);
    let lines: Vec<String> = lines.iter().map(Json::to_string).collect();
    Some(lines.join("\n"))
}

proptest! {
    #[test]
    fn a_stream_is_the_same_history_with_its_fields_in_any_order(
        events in sample(), seed in 0..u64::MAX,
        line_end in prop::sample::select(vec!["\n", "\r\n", "\n \n"])
    ) {
        let mut random = Random::new(seed);
        let lines: Vec<String> = lines(&events)
            .iter()
            .map(|line| damage::json_in_any_order(line, &mut random))
            .collect();
        let text = lines.join(line_end);
        let mut read = Vec::new();
        for event in S2Reader::new(text.as_bytes(), 1 << 20) {
            read.push(event.unwrap_or_else(|error| panic!("{error}\n{text}")));
        }
        // Blank lines count, so that times may be further apart.
        for (at, event) in read.iter_mut().enumerate() {
            event.time_ns = at as u64 + 1;
        }
        prop_assert_eq!(read, events, "{}", text);
    }

    #[test]
    fn one_damaged_line_of_a_stream_makes_a_verdict_unknown_or_leaves_it(
        events in sample(), how in any::<(u8, u64)>()
    ) {
        let (how, seed) = how;
        let Some(damaged) = damaged(&events, how, &mut Random::new(seed)) else {
            return Ok(());
        };
        let lines: Vec<String> = lines(&events).iter().map(Json::to_string).collect();
        makes_unknown_or_leaves(&lines.join("\n"), &damaged, READING)?;
    }
}

#[test]
fn sound_streams_are_ok_and_spoilt_ones_are_violations() {
    let mut words = BTreeMap::new();
    for seed in 0..60 {
        let events = history(seed, 30, seed % 2 == 0);
        let lines: Vec<String> = lines(&events).iter().map(Json::to_string).collect();
        let report = check(&lines.join("\n"), READING).expect("it is read");
        assert_eq!(report.bad_line_count, 0, "{report:?}");
        *words
            .entry((seed % 2 == 0, report.verdict.word()))
            .or_insert(0) += 1;
    }
    assert_eq!(words.get(&(true, "ok")), Some(&30), "{words:?}");
    assert!(words.get(&(false, "violation")) >= Some(&15), "{words:?}");
}
