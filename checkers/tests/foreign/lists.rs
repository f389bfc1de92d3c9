//! Histories of list-append transactions in EDN and as JSON lines, in all their spellings and
//! damaged in one place.

use std::collections::BTreeMap;
use std::io::Cursor;

use proptest::prelude::*;
use serde_json::Value as Json;
use veridical_checkers::ObjectKind;
use veridical_checkers::check::CheckModel;
use veridical_histories::formats::{self, Format, History, OpenOptions};
use veridical_histories::generate::object::{Injection, ObjectHistory, ObjectWorkload};
use veridical_histories::object::{Action, Answer, ObjectEvent, Request, TxnStep};
use veridical_histories::random::Random;
use veridical_histories::{EventKind, OperationId};

use crate::damage::{
    self, FieldDamage, Reading, Told, check, damage_field, makes_unknown_or_leaves,
};
use crate::objects::edn_value;
use crate::objects::with_sessions;

const EDN: Reading = Reading {
    model: CheckModel::Object(ObjectKind::ListAppend),
    format: Format::Edn,
};
const JSONL: Reading = Reading {
    format: Format::Jsonl,
    ..EDN
};

fn history(seed: u64, operations: u64, injection: Option<Injection>) -> Vec<ObjectEvent> {
    let workload = ObjectWorkload {
        seed,
        kind: ObjectKind::ListAppend,
        operations,
        keys: 3,
        clients: 4,
        unknown: 0.05,
        injection,
        ..ObjectWorkload::default()
    };
    with_sessions(ObjectHistory::new(workload))
}

fn sample() -> impl Strategy<Value = Vec<ObjectEvent>> {
    let injections = prop::sample::select(vec![
        None,
        Some(Injection::DuplicatedWrite),
        Some(Injection::PhantomRead),
    ]);
    (0..u64::MAX, 3..40u64, injections)
        .prop_map(|(seed, operations, injection)| history(seed, operations, injection))
}

/// How a history is spelt in EDN.
#[derive(Clone, Debug)]
struct Spelling {
    seed: u64,
    /// Fields that say nothing, any order, other brackets, other names of the same steps.
    is_wild: bool,
    has_times: bool,
    has_indexes: bool,
    is_wrapped: bool,
}

fn spelling() -> impl Strategy<Value = Spelling> {
    (any::<[bool; 4]>(), 0..u64::MAX).prop_map(|(flags, seed)| {
        let [is_wild, has_times, has_indexes, is_wrapped] = flags;
        Spelling {
            seed,
            is_wild,
            has_times,
            has_indexes,
            is_wrapped,
        }
    })
}

fn edn_step(step: &TxnStep, answer: Option<&Answer>, is_wild: bool, random: &mut Random) -> String {
    let key = edn_value(&step.key);
    let choose = |random: &mut Random, choices: &'static [&'static str]| match is_wild {
        true => *random.pick(choices),
        false => choices[0],
    };
    let inner = match (&step.action, answer) {
        (Action::Append(value), _) => {
            let f = choose(random, &[":append", "\"append\""]);
            format!("{f} {key} {}", edn_value(value))
        }
        (Action::Read, Some(Answer::Value(value))) => {
            let f = choose(random, &[":r", ":read"]);
            format!("{f} {key} {}", edn_value(value))
        }
        (Action::Read, _) => {
            let f = choose(random, &[":r", ":read"]);
            format!("{f} {key}{}", choose(random, &[" nil", ""]))
        }
        (other, _) => panic!("no generated transaction has {other}"),
    };
    match choose(random, &["[", "("]) {
        "[" => format!("[{inner}]"),
        _ => format!("({inner})"),
    }
}

fn edn(events: &[ObjectEvent], spelling: &Spelling) -> Vec<String> {
    let mut random = Random::new(spelling.seed);
    let mut called: BTreeMap<OperationId, Vec<TxnStep>> = BTreeMap::new();
    let mut lines = Vec::new();
    for (at, event) in events.iter().enumerate() {
        let op = event.operation().expect("there are no notes");
        if let EventKind::Call { input, .. } = &event.kind {
            let Action::Txn(steps) = &input.action else {
                panic!("all of it are transactions: {input}");
            };
            called.insert(op, steps.to_vec());
        }
        let (kind, answers) = match &event.kind {
            EventKind::Call { .. } => ("invoke", None),
            EventKind::Return {
                output: Answer::Txn(answers),
                ..
            } => ("ok", Some(answers)),
            EventKind::Return { output, .. } => panic!("no transaction answers {output}"),
            EventKind::Unknown { .. } => ("info", None),
            EventKind::Failed { .. } => ("fail", None),
            EventKind::Note { note } => match *note {},
        };
        let steps: Vec<String> = called[&op]
            .iter()
            .enumerate()
            .map(|(step, asked)| {
                let answer = answers.map(|answers| &answers[step]);
                edn_step(asked, answer, spelling.is_wild, &mut random)
            })
            .collect();
        let mut fields = vec![
            format!(":process {}", event.client),
            format!(":type :{kind}"),
            ":f :txn".to_owned(),
            format!(":value [{}]", steps.join(" ")),
        ];
        if spelling.has_times {
            fields.push(format!(":time {}", event.time_ns));
        }
        if spelling.has_indexes {
            fields.push(format!(":index {at}"));
        }
        lines.push(edn_map(fields, spelling.is_wild, &mut random));
    }
    if spelling.is_wrapped {
        lines[0].insert(0, '[');
        lines.last_mut().expect("there are events").push(']');
    }
    lines
}

fn edn_map(mut fields: Vec<String>, is_wild: bool, random: &mut Random) -> String {
    if !is_wild {
        return format!("{{{}}}", fields.join(" "));
    }
    fields.push(":node \"n1\"".to_owned());
    fields.push(":exception {:via [1 2] :cause nil}".to_owned());
    for at in (1..fields.len()).rev() {
        fields.swap(at, random.index(at + 1));
    }
    let between = *random.pick(&[", ", "  ", ",\t", " ; said\n "]);
    let tag = *random.pick(&["", "#jepsen.history.Op"]);
    format!("{tag}{{{}}}", fields.join(between))
}

/// What events say, without their times and clients.
fn kinds(events: &[ObjectEvent]) -> Vec<EventKind<Request, Answer>> {
    events.iter().map(|event| event.kind.clone()).collect()
}

fn read(text: &str, format: Format) -> Vec<ObjectEvent> {
    let source = Cursor::new(text.to_owned().into_bytes());
    let opened = formats::open(source, &OpenOptions::default()).expect("it is a history");
    assert_eq!(opened.format, format, "{text}");
    let History::Object(events) = opened.history else {
        panic!("it is of objects")
    };
    events
        .map(|event| event.unwrap_or_else(|error| panic!("{error}\n{text}")))
        .collect()
}

fn told(events: &[ObjectEvent]) -> Vec<Option<Told>> {
    let told = events.iter().map(|event| {
        let (client, is_call) = (event.client, event.is_call());
        Some(Told { client, is_call })
    });
    told.collect()
}

/// Replaces a word that means something, in one line of EDN.
fn with_another_word(lines: &[String], random: &mut Random) -> Option<String> {
    let [from, to] = *random.pick(&[
        [":value", ":vaule"],
        [":value", ":val"],
        [":process", ":procss"],
        [":type", ":tpye"],
        [":f ", ":g "],
        [":txn", ":tnx"],
        [":append", ":appedn"],
        ["[:r ", "[:q "],
        [":invoke", ":invke"],
        [":ok", ":k"],
        [":info", ":inof"],
        [":process ", ":process :"],
        [":time ", ":time :"],
        [":index ", ":index :"],
        ["]}", "}"],
        ["[[", "["],
        [":f :txn ", ""],
        [":type :ok ", ""],
        [":type :invoke ", ""],
    ]);
    let at = random.index(lines.len());
    // An end of unknown outcome need not repeat what was asked.
    let is_in_value = matches!(from, ":value" | ":append" | "[:r " | "]}" | "[[");
    if is_in_value && lines[at].contains(":info") {
        return None;
    }
    let mut damaged = lines.to_vec();
    damaged[at] = lines[at].replacen(from, to, 1);
    (damaged != lines).then(|| damaged.join("\n"))
}

fn damaged_edn(
    events: &[ObjectEvent],
    lines: &[String],
    has_order: bool,
    how: u8,
    random: &mut Random,
) -> Option<String> {
    match how % 6 {
        0 => damage::without_a_line(lines, &told(events), random),
        1 => damage::with_a_line_twice(lines, &told(events), random),
        2 => damage::with_a_line_cut(lines, random),
        3 => damage::with_a_bit_flipped(lines, random),
        4 if has_order => damage::with_lines_exchanged(lines, random),
        _ => with_another_word(lines, random),
    }
}

fn damaged_jsonl(events: &[ObjectEvent], how: u8, random: &mut Random) -> Option<String> {
    let json: Vec<Json> = events
        .iter()
        .map(|event| serde_json::to_value(event).expect("events are JSON"))
        .collect();
    let lines: Vec<String> = json.iter().map(Json::to_string).collect();
    let in_a_field = |damage, random: &mut Random| {
        let mut json = json.clone();
        let at = random.index(json.len());
        damage_field(&mut json[at], damage, random, &|names| {
            let name = names.last().expect("a field has a name").as_str();
            match damage {
                FieldDamage::Renamed => true,
                FieldDamage::Removed => names.len() == 1 || name == "do",
                // A key or a value may be a text as well.
                FieldDamage::Quoted => names.len() == 1,
            }
        })?;
        let lines: Vec<String> = json.iter().map(Json::to_string).collect();
        Some(lines.join("\n"))
    };
    match how % 8 {
        0 => damage::without_a_line(&lines, &told(events), random),
        1 => damage::with_a_line_twice(&lines, &told(events), random),
        2 => damage::with_a_line_cut(&lines, random),
        3 => damage::with_a_bit_flipped(&lines, random),
        4 => damage::with_lines_exchanged(&lines, random),
        5 => in_a_field(FieldDamage::Renamed, random),
        6 => in_a_field(FieldDamage::Removed, random),
        _ => in_a_field(FieldDamage::Quoted, random),
    }
}

proptest! {
    #[test]
    fn transactions_in_edn_are_the_same_history_in_all_their_spellings(
        events in sample(), spelling in spelling(),
        line_end in prop::sample::select(vec!["\n", "\r\n", "\n\n", " "])
    ) {
        // A comment ends with its line.
        let line_end = if spelling.is_wild { "\n" } else { line_end };
        let text = edn(&events, &spelling).join(line_end);
        prop_assert_eq!(kinds(&read(&text, Format::Edn)), kinds(&events), "{}", text);
    }

    #[test]
    fn transactions_as_json_lines_are_the_same_history_in_all_their_spellings(
        events in sample(), seed in 0..u64::MAX,
        line_end in prop::sample::select(vec!["\n", "\r\n", "\n \n"])
    ) {
        let mut random = Random::new(seed);
        let lines: Vec<String> = events
            .iter()
            .map(|event| {
                let json = serde_json::to_value(event).expect("events are JSON");
                damage::json_in_any_order(&json, &mut random)
            })
            .collect();
        prop_assert_eq!(read(&lines.join(line_end), Format::Jsonl), events);
    }

    #[test]
    fn one_damaged_line_of_transactions_in_edn_makes_a_verdict_unknown_or_leaves_it(
        events in sample(), spelling in spelling(), how in any::<(u8, u64)>()
    ) {
        let plain = Spelling { is_wild: false, is_wrapped: false, ..spelling };
        let has_order = plain.has_times || plain.has_indexes;
        let lines = edn(&events, &plain);
        let (how, seed) = how;
        let damaged = damaged_edn(&events, &lines, has_order, how, &mut Random::new(seed));
        if let Some(damaged) = damaged {
            makes_unknown_or_leaves(&lines.join("\n"), &damaged, EDN)?;
        }
    }

    #[test]
    fn one_damaged_json_line_of_transactions_makes_a_verdict_unknown_or_leaves_it(
        events in sample(), how in any::<(u8, u64)>()
    ) {
        let (how, seed) = how;
        let lines: Vec<String> = events
            .iter()
            .map(|event| serde_json::to_string(event).expect("events are JSON"))
            .collect();
        if let Some(damaged) = damaged_jsonl(&events, how, &mut Random::new(seed)) {
            makes_unknown_or_leaves(&lines.join("\n"), &damaged, JSONL)?;
        }
    }
}

#[test]
fn sound_transactions_are_ok_and_others_are_violations() {
    let mut words = BTreeMap::new();
    for seed in 0..60 {
        let injection = (seed % 2 == 1).then_some(Injection::PhantomRead);
        let events = history(seed, 40, injection);
        let spelling = Spelling {
            seed,
            is_wild: true,
            has_times: true,
            has_indexes: false,
            is_wrapped: false,
        };
        let report = check(&edn(&events, &spelling).join("\n"), EDN).expect("it is read");
        assert_eq!(report.bad_line_count, 0, "{report:?}");
        *words
            .entry((seed % 2 == 0, report.verdict.word()))
            .or_insert(0) += 1;
    }
    assert_eq!(words.get(&(true, "ok")), Some(&30), "{words:?}");
    assert!(words.get(&(false, "violation")) >= Some(&15), "{words:?}");
}
