//! Texts with one thing wrong in them, and what may become of their verdict.
//!
//! Damage is what makes a text malformed or inconsistent: there is no sound history of which it is a
//! spelling. A changed answer is none, for another store could have given it.

use std::io::Cursor;

use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use serde_json::Value as Json;
use veridical_checkers::check::{CheckModel, CheckOptions, Report, check_stream};
use veridical_histories::formats::{Format, Keys};
use veridical_histories::random::Random;

/// What a text is read as.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    pub model: CheckModel,
    pub format: Format,
}

/// The verdict about a text; `None` where nothing of it can be read.
pub fn check(text: &str, reading: Reading) -> Option<Report> {
    let options = CheckOptions {
        model: Some(reading.model),
        format: Some(reading.format),
        keys: Keys::Told,
        looks_behind_violations: true,
        ..CheckOptions::default()
    };
    check_stream(Cursor::new(text.to_owned().into_bytes()), options).ok()
}

/// Asserts that the damage makes the verdict `unknown`, or leaves it and says what is wrong.
pub fn makes_unknown_or_leaves(text: &str, damaged: &str, reading: Reading) -> TestCaseResult {
    let before = check(text, reading).expect("it is a history");
    prop_assert!(
        before.bad_lines.is_empty(),
        "{:?}\n{text}",
        before.bad_lines
    );
    let Some(after) = check(damaged, reading) else {
        return Ok(());
    };
    let place = first_difference(text, damaged);
    let (before, word) = (before.verdict.word(), after.verdict.word());
    prop_assert!(
        word == "unknown" || word == before,
        "{before} became {word}: {place}\n{after:?}\n{text}"
    );
    prop_assert!(
        word == "violation" || after.bad_line_count > 0,
        "nothing is said: {place}\n{after:?}\n{text}"
    );
    Ok(())
}

fn first_difference(text: &str, damaged: &str) -> String {
    let same = text
        .lines()
        .zip(damaged.lines())
        .take_while(|(line, damaged)| line == damaged)
        .count();
    let of = |text: &str| text.lines().nth(same).unwrap_or("").to_owned();
    format!("line {}: {:?} became {:?}", same + 1, of(text), of(damaged))
}

/// A line of a history: the client it is about, and whether it is a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    pub client: u64,
    pub is_call: bool,
}

/// Leaves a line out; `None` where the rest is another history: a call that never ended, or an end
/// whose client did not go on, may not have been there.
pub fn without_a_line(
    lines: &[String],
    told: &[Option<Told>],
    random: &mut Random,
) -> Option<String> {
    let at = random.index(lines.len());
    let Told { client, is_call } = told[at]?;
    let later = |is_call| {
        let wanted = Some(Told { client, is_call });
        (at + 1..lines.len()).filter(move |later| told[*later] == wanted)
    };
    let is_seen = match is_call {
        true => later(false).next().is_some(),
        // Of two operations the later one has to be known to have ended.
        false => later(true)
            .next()
            .is_some_and(|call| later(false).any(|end| end > call)),
    };
    is_seen.then(|| {
        let mut damaged = lines.to_vec();
        damaged.remove(at);
        damaged.join("\n")
    })
}

/// Writes a line twice.
pub fn with_a_line_twice(
    lines: &[String],
    told: &[Option<Told>],
    random: &mut Random,
) -> Option<String> {
    let at = random.index(lines.len());
    told[at]?;
    let mut damaged = lines.to_vec();
    damaged.insert(at, lines[at].clone());
    Some(damaged.join("\n"))
}

/// Exchanges two lines that follow each other, of which each has a time of its own.
pub fn with_lines_exchanged(lines: &[String], random: &mut Random) -> Option<String> {
    let at = random.index(lines.len().checked_sub(1)?);
    let mut damaged = lines.to_vec();
    damaged.swap(at, at + 1);
    Some(damaged.join("\n"))
}

/// Cuts the end of a line off.
pub fn with_a_line_cut(lines: &[String], random: &mut Random) -> Option<String> {
    let at = random.index(lines.len());
    let cut = 1 + random.index(lines[at].trim_end().len().checked_sub(1)?);
    let is_boundary = lines[at].is_char_boundary(cut);
    is_boundary.then(|| {
        let mut damaged = lines.to_vec();
        damaged[at].truncate(cut);
        damaged.join("\n")
    })
}

/// Flips a bit of a character that stands between values.
pub fn with_a_bit_flipped(lines: &[String], random: &mut Random) -> Option<String> {
    let at = random.index(lines.len());
    let structural: Vec<usize> = lines[at]
        .bytes()
        .enumerate()
        .filter(|(_, byte)| b"{}[]\":".contains(byte))
        .map(|(place, _)| place)
        .collect();
    let place = *structural.get(random.index(structural.len().max(1)))?;
    let mut bytes = lines[at].clone().into_bytes();
    bytes[place] ^= 1 << random.below(3);
    let mut damaged = lines.to_vec();
    damaged[at] = String::from_utf8(bytes).ok()?;
    Some(damaged.join("\n"))
}

/// What is done to one field of a JSON value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldDamage {
    Renamed,
    Removed,
    /// A number becomes a text.
    Quoted,
}

/// Damages one field of `json`, chosen among those that `fits` says may be damaged like that.
/// `fits` is told the names from the outermost field to this one.
pub fn damage_field(
    json: &mut Json,
    damage: FieldDamage,
    random: &mut Random,
    fits: &dyn Fn(&[String]) -> bool,
) -> Option<()> {
    let mut places = Vec::new();
    collect_places(
        json,
        &mut Vec::new(),
        &mut Vec::new(),
        &mut |place, names, value| {
            let is_fit = damage != FieldDamage::Quoted || value.is_number();
            if is_fit && fits(names) {
                places.push(place.to_vec());
            }
        },
    );
    let place = places.get(random.index(places.len().max(1)))?;
    let (last, way) = place.split_last().expect("a field has a name");
    let mut inner = json;
    for step in way {
        inner = match step {
            Step::Field(name) => &mut inner[name.as_str()],
            Step::Element(at) => &mut inner[*at],
        };
    }
    let Step::Field(name) = last else {
        unreachable!("places are those of fields");
    };
    let object = inner.as_object_mut().expect("a field is one of an object");
    let value = object.remove(name).expect("the field is there");
    match damage {
        FieldDamage::Removed => {}
        FieldDamage::Renamed => {
            object.insert(misspelt(name, random), value);
        }
        FieldDamage::Quoted => {
            object.insert(name.clone(), Json::String(value.to_string()));
        }
    }
    Some(())
}

#[derive(Clone, Debug)]
enum Step {
    Field(String),
    Element(usize),
}

/// Told a field: the way to it, the names on that way, and its value.
type Found<'a> = &'a mut dyn FnMut(&[Step], &[String], &Json);

fn collect_places(json: &Json, place: &mut Vec<Step>, names: &mut Vec<String>, found: Found<'_>) {
    match json {
        Json::Object(fields) => {
            for (name, value) in fields {
                place.push(Step::Field(name.clone()));
                names.push(name.clone());
                found(place, names, value);
                collect_places(value, place, names, found);
                names.pop();
                place.pop();
            }
        }
        Json::Array(values) => {
            for (at, value) in values.iter().enumerate() {
                place.push(Step::Element(at));
                collect_places(value, place, names, found);
                place.pop();
            }
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}

/// A name with one of its letters changed.
fn misspelt(name: &str, random: &mut Random) -> String {
    let mut bytes = name.as_bytes().to_vec();
    let at = random.index(bytes.len());
    bytes[at] = if bytes[at] == b'x' { b'y' } else { b'x' };
    String::from_utf8(bytes).expect("names are ASCII")
}

/// JSON with its fields in any order and blanks between everything.
pub fn json_in_any_order(json: &Json, random: &mut Random) -> String {
    let blank = |random: &mut Random| *random.pick(&["", " ", "\t", "  "]);
    match json {
        Json::Object(fields) => {
            let mut written: Vec<String> = fields
                .iter()
                .map(|(name, value)| {
                    let (before, after) = (blank(random), blank(random));
                    let value = json_in_any_order(value, random);
                    format!("{before}{}{after}:{value}", Json::from(name.as_str()))
                })
                .collect();
            for at in (1..written.len()).rev() {
                written.swap(at, random.index(at + 1));
            }
            format!("{{{}{}}}", written.join(","), blank(random))
        }
        Json::Array(values) => {
            let written: Vec<String> = values
                .iter()
                .map(|value| json_in_any_order(value, random))
                .collect();
            format!("[{}{}]", written.join(" ,"), blank(random))
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {
            format!("{}{json}{}", blank(random), blank(random))
        }
    }
}
