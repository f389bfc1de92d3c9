//! Histories of registers, sets, queues and counters, in EDN, as a log and as JSON lines.

use std::io::Cursor;

use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use veridical_checkers::ObjectKind;
use veridical_checkers::check::{CheckModel, CheckOptions, Report, check_stream};
use veridical_histories::formats::{self, Format, History, Keys, OpenOptions};
use veridical_histories::generate::object::{Injection, ObjectHistory, ObjectWorkload};
use veridical_histories::object::{Action, Answer, ObjectEvent, Request, Value};
use veridical_histories::random::Random;
use veridical_histories::{EventKind, OperationId};

/// A history whose clients call one operation at a time.
#[derive(Clone, Debug)]
struct Sample {
    kind: ObjectKind,
    events: Vec<ObjectEvent>,
}

const KINDS: &[ObjectKind] = &[
    ObjectKind::Register,
    ObjectKind::CasRegister,
    ObjectKind::Set,
    ObjectKind::Queue,
    ObjectKind::Counter,
];

/// A log is of one register.
fn sample_of_register() -> impl Strategy<Value = Sample> {
    let registers = &[ObjectKind::Register, ObjectKind::CasRegister];
    sample_of(registers, 1..2u64).prop_map(|sample| Sample {
        events: of_one_object(&sample.events),
        ..sample
    })
}

fn sample() -> impl Strategy<Value = Sample> {
    sample_of(KINDS, 1..4u64)
}

fn sample_of(
    kinds: &'static [ObjectKind],
    keys: std::ops::Range<u64>,
) -> impl Strategy<Value = Sample> {
    let kinds = prop::sample::select(kinds);
    let injections = prop::sample::select(vec![
        None,
        Some(Injection::StaleRead),
        Some(Injection::LostWrite),
        Some(Injection::PhantomRead),
    ]);
    (kinds, injections, 0..u64::MAX, 5..60u64, keys).prop_map(
        |(kind, injection, seed, operations, keys)| {
            let workload = ObjectWorkload {
                seed,
                kind,
                operations,
                keys,
                clients: 4,
                unknown: 0.05,
                injection: injection.filter(|injection| injection.fits(kind)),
                ..ObjectWorkload::default()
            };
            Sample {
                kind,
                events: with_sessions(ObjectHistory::new(workload)),
            }
        },
    )
}

/// The same events with operations counted by their calls, with clients that end with an unknown
/// outcome, and with times that differ.
pub fn with_sessions(events: impl Iterator<Item = ObjectEvent>) -> Vec<ObjectEvent> {
    let mut sessions: Vec<u64> = (0..64).collect();
    let mut numbers = std::collections::BTreeMap::new();
    let mut next_session = 64;
    let mut renamed = Vec::new();
    for (at, mut event) in events.enumerate() {
        let slot = event.client as usize % sessions.len();
        event.client = sessions[slot];
        event.time_ns = 10 * at as u64 + 10;
        let count = numbers.len() as u64;
        let op = match &mut event.kind {
            EventKind::Call { op, .. } | EventKind::Return { op, .. } => op,
            EventKind::Unknown { op } | EventKind::Failed { op } => op,
            EventKind::Note { note } => match *note {},
        };
        *op = OperationId(*numbers.entry(*op).or_insert(count));
        if let EventKind::Unknown { .. } = event.kind {
            sessions[slot] = next_session;
            next_session += 1;
        }
        renamed.push(event);
    }
    renamed
}

/// What is known of the operations of the events, in order.
fn request_of(events: &[ObjectEvent], op: OperationId) -> &Request {
    let mut of_op = events.iter().filter(|event| event.operation() == Some(op));
    match &of_op.next().expect("it is in the history").kind {
        EventKind::Call { input, .. } => input,
        other => panic!("what ends was called: {other:?}"),
    }
}

/// How a history is spelt: everything that a reader has to see through.
#[derive(Clone, Debug)]
struct Spelling {
    seed: u64,
    /// Fields that say nothing, in an order of their own, with blanks and commas between.
    is_wild: bool,
    has_times: bool,
    has_indexes: bool,
    is_wrapped: bool,
    key_field: bool,
    blanks: &'static str,
    prefix: &'static str,
    line_end: &'static str,
}

impl Spelling {
    /// What has to be said about the keys: additions alone do not tell whether they name any.
    fn keys(&self) -> Keys {
        match self.key_field {
            true => Keys::Told,
            false => Keys::Independent,
        }
    }
}

fn spelling() -> impl Strategy<Value = Spelling> {
    let flags = (any::<[bool; 5]>(), 0..u64::MAX);
    let blanks = prop::sample::select(vec!["\t", " ", "   ", " \t"]);
    let prefix = prop::sample::select(vec!["", "INFO  jepsen.util - "]);
    let line_end = prop::sample::select(vec!["\n", "\r\n", "\n\n"]);
    (flags, blanks, prefix, line_end).prop_map(|((flags, seed), blanks, prefix, line_end)| {
        let [is_wild, has_times, has_indexes, is_wrapped, key_field] = flags;
        Spelling {
            seed,
            is_wild,
            has_times,
            has_indexes,
            is_wrapped,
            key_field,
            blanks,
            prefix,
            line_end,
        }
    })
}

/// A value, as Jepsen writes it.
pub(super) fn edn_value(value: &Value) -> String {
    match value {
        Value::List(values) => {
            let inner: Vec<String> = values.iter().map(edn_value).collect();
            format!("[{}]", inner.join(" "))
        }
        Value::Nil | Value::Int(_) | Value::Text(_) => value.to_string(),
    }
}

/// Function and value of an operation, as Jepsen writes them.
fn edn_operation(action: &Action) -> (&'static str, String) {
    match action {
        Action::Read => ("read", "nil".to_owned()),
        Action::Write(value) => ("write", edn_value(value)),
        Action::Cas { from, to } => ("cas", format!("[{} {}]", edn_value(from), edn_value(to))),
        Action::Add(value) => ("add", edn_value(value)),
        Action::Remove(value) => ("remove", edn_value(value)),
        Action::Contains(value) => ("contains", edn_value(value)),
        Action::Enqueue(value) => ("enqueue", edn_value(value)),
        Action::Dequeue => ("dequeue", "nil".to_owned()),
        Action::Increment(by) => ("increment", by.to_string()),
        other => panic!("no generated history of these kinds has {other}"),
    }
}

/// Type, function and value of an event. EDN has no refusals: they had no effect.
fn edn_event(events: &[ObjectEvent], event: &ObjectEvent) -> (&'static str, &'static str, String) {
    let op = event.operation().expect("there are no notes");
    let (f, asked) = edn_operation(&request_of(events, op).action);
    match &event.kind {
        EventKind::Call { .. } => ("invoke", f, asked),
        EventKind::Return { output, .. } => match output {
            Answer::Value(value) => ("ok", f, edn_value(value)),
            Answer::Applied(applied) if f == "contains" => ("ok", f, applied.to_string()),
            Answer::Applied(false) => ("fail", f, asked),
            Answer::Applied(true) | Answer::Done => ("ok", f, asked),
            Answer::Txn(_) => panic!("there are no transactions"),
        },
        EventKind::Unknown { .. } => ("info", f, asked),
        EventKind::Failed { .. } => ("fail", f, asked),
        EventKind::Note { note } => match *note {},
    }
}

fn edn(events: &[ObjectEvent], spelling: &Spelling) -> Vec<String> {
    let mut random = Random::new(spelling.seed);
    let lines = events.iter().enumerate().map(|(at, event)| {
        let (kind, f, value) = edn_event(events, event);
        let op = event.operation().expect("there are no notes");
        let key = edn_value(&request_of(events, op).key);
        let mut fields = vec![
            format!(":process {}", event.client),
            format!(":type :{kind}"),
            format!(":f :{f}"),
        ];
        if spelling.key_field {
            fields.push(format!(":key {key}"));
            fields.push(format!(":value {value}"));
        } else {
            fields.push(format!(":value [{key} {value}]"));
        }
        if spelling.has_times {
            fields.push(format!(":time {}", event.time_ns));
        }
        if spelling.has_indexes {
            fields.push(format!(":index {at}"));
        }
        let mut between = " ";
        if spelling.is_wild {
            fields.push(":node \"n1\"".to_owned());
            fields.push(":error [:timeout {:a 1}]".to_owned());
            for at in (1..fields.len()).rev() {
                fields.swap(at, random.index(at + 1));
            }
            between = *random.pick(&[", ", "  ", ",\t", " ; said\n "]);
        }
        format!("{{{}}}", fields.join(between))
    });
    let mut lines: Vec<String> = lines.collect();
    if spelling.is_wrapped {
        lines[0].insert(0, '[');
        lines.last_mut().expect("there are events").push(']');
    }
    lines
}

fn log(events: &[ObjectEvent], spelling: &Spelling) -> Vec<String> {
    let lines = events.iter().map(|event| {
        let (kind, f, value) = edn_event(events, event);
        let fields = [
            event.client.to_string(),
            format!(":{kind}"),
            format!(":{f}"),
            value,
        ];
        format!("{}{}", spelling.prefix, fields.join(spelling.blanks))
    });
    lines.collect()
}

fn jsonl(events: &[ObjectEvent], spelling: &Spelling) -> Vec<String> {
    let mut random = Random::new(spelling.seed);
    let lines = events.iter().map(|event| {
        let json = serde_json::to_value(event).expect("events are JSON");
        if !spelling.is_wild {
            return json.to_string();
        }
        let object = json.as_object().expect("events are objects");
        let mut fields: Vec<String> = object
            .iter()
            .map(|(name, value)| format!(" \"{name}\" : {value} "))
            .collect();
        for at in (1..fields.len()).rev() {
            fields.swap(at, random.index(at + 1));
        }
        format!("{{{}}}", fields.join(","))
    });
    lines.collect()
}

/// The history of one object, which is all that a log can be about.
fn of_one_object(events: &[ObjectEvent]) -> Vec<ObjectEvent> {
    let is_of_it = |event: &&ObjectEvent| {
        let op = event.operation().expect("there are no notes");
        request_of(events, op).key == Value::Int(0)
    };
    let mut numbers = std::collections::BTreeMap::new();
    let mut kept: Vec<ObjectEvent> = events.iter().filter(is_of_it).cloned().collect();
    for event in &mut kept {
        let count = numbers.len() as u64;
        let op = match &mut event.kind {
            EventKind::Call { op, input } => {
                input.key = Value::Nil;
                op
            }
            EventKind::Return { op, .. } | EventKind::Unknown { op } => op,
            EventKind::Failed { op } => op,
            EventKind::Note { note } => match *note {},
        };
        *op = OperationId(*numbers.entry(*op).or_insert(count));
    }
    kept
}

/// What EDN makes of the events: it knows no refusal.
fn without_refusals(events: &[ObjectEvent]) -> Vec<ObjectEvent> {
    let mut events = events.to_vec();
    let actions: Vec<Action> = events
        .iter()
        .map(|event| {
            let op = event.operation().expect("there are no notes");
            request_of(&events, op).action.clone()
        })
        .collect();
    for (event, action) in events.iter_mut().zip(actions) {
        if let EventKind::Return { op, output } = &mut event.kind {
            match output {
                Answer::Applied(_) if matches!(action, Action::Contains(_)) => {}
                _ if matches!(action, Action::Increment(_)) => *output = Answer::Done,
                Answer::Applied(false) => event.kind = EventKind::Failed { op: *op },
                // Which of the two it is depends on the function.
                Answer::Applied(true) | Answer::Done => *output = Answer::Done,
                Answer::Value(_) | Answer::Txn(_) => {}
            }
        }
    }
    events
}

/// What events say, without their times and clients.
fn kinds(events: &[ObjectEvent]) -> Vec<EventKind<Request, Answer>> {
    let kinds = events.iter().map(|event| match &event.kind {
        EventKind::Return {
            op,
            output: Answer::Applied(true),
        } => EventKind::Return {
            op: *op,
            output: Answer::Done,
        },
        kind => kind.clone(),
    });
    kinds.collect()
}

fn read(text: &str, format: Format, keys: Keys) -> Vec<ObjectEvent> {
    let source = Cursor::new(text.to_owned().into_bytes());
    let options = OpenOptions {
        keys,
        ..OpenOptions::default()
    };
    let opened = formats::open(source, &options).expect("it is a history");
    assert_eq!(opened.format, format, "{text}");
    let History::Object(events) = opened.history else {
        panic!("it is of objects")
    };
    events
        .map(|event| event.unwrap_or_else(|error| panic!("{error}\n{text}")))
        .collect()
}

fn check(lines: &[String], kind: ObjectKind, format: Format, keys: Keys) -> Option<Report> {
    let text = lines.join("\n") + "\n";
    let options = CheckOptions {
        model: Some(CheckModel::Object(kind)),
        format: Some(format),
        keys,
        looks_behind_violations: true,
        ..CheckOptions::default()
    };
    check_stream(Cursor::new(text.into_bytes()), options).ok()
}

/// The process of a line about an event, and whether it is a call.
fn told(events: &[ObjectEvent], at: usize) -> (u64, bool) {
    (events[at].client, events[at].is_call())
}

/// Damages one line; `None` where that cannot be seen, so that another history is right.
fn damage(
    lines: &[String],
    events: &[ObjectEvent],
    has_order: bool,
    how: u8,
    random: &mut Random,
) -> Option<Vec<String>> {
    let mut damaged = lines.to_vec();
    let at = random.index(lines.len());
    let (client, is_call) = told(events, at);
    let goes_on = (at + 1..events.len()).any(|later| told(events, later) == (client, true));
    let ends = (at + 1..events.len()).any(|later| told(events, later) == (client, false));
    match how % 6 {
        // A call without its end is an operation of unknown outcome, unless its client went on.
        0 if is_call && !ends => return None,
        0 if !is_call && !goes_on => return None,
        0 => {
            damaged.remove(at);
        }
        1 => damaged.insert(at, lines[at].clone()),
        2 => {
            let length = 1 + random.index(lines[at].len() - 1);
            let cut = (0..=length)
                .rev()
                .find(|at_byte| lines[at].is_char_boundary(*at_byte))?;
            damaged[at].truncate(cut);
            // Half a number is a number.
            let last = lines[at][..cut].trim_end().len();
            let is_number_cut = lines[at]
                .as_bytes()
                .get(last.checked_sub(1)?)?
                .is_ascii_digit();
            if is_number_cut || lines[at][cut..].trim().is_empty() {
                return None;
            }
        }
        3 => {
            damaged[at] = lines[at]
                .replacen(":value", ":vaule", 1)
                .replacen("\"op\"", "\"po\"", 1)
        }
        4 => {
            let renamed = [
                ("read", "raed"),
                ("write", "wriet"),
                ("add", "dda"),
                ("queue", "qeueu"),
            ];
            let (from, to) = renamed
                .into_iter()
                .find(|(from, _)| lines[at].contains(from))?;
            damaged[at] = lines[at].replacen(from, to, 1);
        }
        _ if !has_order || at + 1 == lines.len() => return None,
        _ => damaged.swap(at, at + 1),
    }
    (damaged != lines).then_some(damaged)
}

fn damage_makes_unknown(
    lines: &[String],
    sample: &Sample,
    format: Format,
    (has_order, keys): (bool, Keys),
    (how, seed): (u8, u64),
) -> TestCaseResult {
    let Some(before) = check(lines, sample.kind, format, keys) else {
        return Ok(());
    };
    prop_assert!(
        before.bad_lines.is_empty(),
        "{:?}\n{}",
        before.bad_lines,
        lines.join("\n")
    );
    let mut random = Random::new(seed);
    let Some(damaged) = damage(lines, &sample.events, has_order, how, &mut random) else {
        return Ok(());
    };
    let Some(after) = check(&damaged, sample.kind, format, keys) else {
        return Ok(());
    };
    let at = lines
        .iter()
        .zip(&damaged)
        .take_while(|(line, damaged)| line == damaged)
        .count();
    let place = format!(
        "line {at}: {:?} became {:?}",
        lines.get(at),
        damaged.get(at)
    );
    let (before, word) = (before.verdict.word(), after.verdict.word());
    prop_assert!(
        word == "unknown" || word == before,
        "{before} became {word}: {place}\n{after:?}\n{}",
        lines.join("\n")
    );
    prop_assert!(
        word == "violation" || after.bad_line_count > 0,
        "nothing is said: {place}\n{after:?}\n{}",
        lines.join("\n")
    );
    Ok(())
}

proptest! {
    #[test]
    fn edn_is_the_same_history_in_all_its_spellings(
        sample in sample(), spelling in spelling()
    ) {
        let text = edn(&sample.events, &spelling).join(spelling.line_end);
        let read = read(&text, Format::Edn, spelling.keys());
        let expected = without_refusals(&sample.events);
        prop_assert_eq!(kinds(&read), kinds(&expected), "{}", text);
    }

    #[test]
    fn a_log_is_the_same_history_with_blanks_and_with_tabs(
        sample in sample_of_register(), spelling in spelling()
    ) {
        let events = sample.events;
        let text = log(&events, &spelling).join(spelling.line_end);
        prop_assert_eq!(kinds(&read(&text, Format::JepsenLog, Keys::Told)), kinds(&events), "{}", text);
    }

    #[test]
    fn json_lines_are_the_same_history_with_their_fields_in_any_order(
        sample in sample(), spelling in spelling()
    ) {
        let text = jsonl(&sample.events, &spelling).join(spelling.line_end);
        prop_assert_eq!(read(&text, Format::Jsonl, Keys::Told), sample.events);
    }

    #[test]
    fn one_damaged_line_of_edn_makes_a_verdict_unknown_or_leaves_it(
        sample in sample(), spelling in spelling(), how in any::<(u8, u64)>()
    ) {
        let plain = Spelling { is_wild: false, is_wrapped: false, ..spelling };
        let has_order = plain.has_times || plain.has_indexes;
        let lines = edn(&sample.events, &plain);
        damage_makes_unknown(&lines, &sample, Format::Edn, (has_order, plain.keys()), how)?;
    }

    #[test]
    fn one_damaged_line_of_a_log_makes_a_verdict_unknown_or_leaves_it(
        sample in sample_of_register(), spelling in spelling(), how in any::<(u8, u64)>()
    ) {
        let lines = log(&sample.events, &spelling);
        damage_makes_unknown(&lines, &sample, Format::JepsenLog, (false, Keys::Told), how)?;
    }

    #[test]
    fn one_damaged_json_line_makes_a_verdict_unknown_or_leaves_it(
        sample in sample(), spelling in spelling(), how in any::<(u8, u64)>()
    ) {
        let plain = Spelling { is_wild: false, ..spelling };
        let lines = jsonl(&sample.events, &plain);
        damage_makes_unknown(&lines, &sample, Format::Jsonl, (true, Keys::Told), how)?;
    }
}

#[test]
fn violations_are_found_in_every_format() {
    let mut found = [0; 3];
    for seed in 0..40 {
        let workload = ObjectWorkload {
            seed,
            kind: ObjectKind::CasRegister,
            operations: 60,
            keys: 1,
            clients: 4,
            injection: Some(Injection::StaleRead),
            ..ObjectWorkload::default()
        };
        let events = with_sessions(ObjectHistory::new(workload));
        let spelling = Spelling {
            seed,
            is_wild: true,
            has_times: true,
            has_indexes: false,
            is_wrapped: false,
            key_field: false,
            blanks: "  ",
            prefix: "",
            line_end: "\n",
        };
        let written = [
            (edn(&events, &spelling), Format::Edn),
            (log(&of_one_object(&events), &spelling), Format::JepsenLog),
            (jsonl(&events, &spelling), Format::Jsonl),
        ];
        for ((lines, format), found) in written.into_iter().zip(&mut found) {
            let report =
                check(&lines, ObjectKind::CasRegister, format, Keys::Told).expect("it is read");
            assert_eq!(report.bad_line_count, 0, "{report:?}");
            *found += u32::from(report.verdict.word() == "violation");
        }
    }
    assert!(found.iter().all(|found| *found >= 10), "{found:?}");
}
