//! Whether a pair is a key and a value, or one value.
//!
//! Jepsen's independent tests write `[k v]` for the value `v` of the key `k`; others write pairs
//! as values. Only calls tell which it is: a read that is called with `[k nil]` names a key, one
//! called with nothing has none. One answer holds for a whole history.

use super::Fields;
use crate::formats::Keys;
use crate::formats::edn::Form;
use crate::object::Value;
use crate::reading::{Place, ReadError};

use super::to_value;

/// What is known of the pairs of a history.
#[derive(Debug)]
pub(super) struct Keying {
    is_independent: Option<bool>,
    /// Where it was told.
    told_at: Option<Place>,
    /// A call that can be read both ways, with different verdicts.
    ambiguous: Option<Place>,
}

/// What a call tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Evidence {
    HasKey,
    HasNone,
    /// It can be read both ways. Nothing is lost by that where all calls only put something in.
    Either {
        only_puts: bool,
    },
    /// It is no call, or names its key in a field.
    Nothing,
}

/// Whether a function is called without an argument.
pub(super) fn takes_nothing(f: &str) -> bool {
    matches!(
        f,
        "read"
            | "get"
            | "r"
            | "dequeue"
            | "pop"
            | "drain"
            | "delete"
            | "acquire"
            | "lock"
            | "release"
            | "unlock"
    )
}

/// The two forms of a sequence of two.
pub(super) fn pair(form: &Form) -> Option<&[Form; 2]> {
    let Form::Sequence(forms) = form else {
        return None;
    };
    forms.as_slice().try_into().ok()
}

/// Key and value of a tuple: `[k v]`, or `[k old new]`, which is `[k [old new]]`.
pub(super) fn split(form: &Form) -> Option<(Value, Form)> {
    let Form::Sequence(forms) = form else {
        return None;
    };
    match forms.as_slice() {
        [key, value] => Some((to_value(key), value.clone())),
        [key, from, to] => {
            let comparison = Form::Sequence(vec![from.clone(), to.clone()]);
            Some((to_value(key), comparison))
        }
        _ => None,
    }
}

impl Evidence {
    fn of(form: &Form) -> Self {
        let is_call = form.get("type").and_then(Form::name) == Some("invoke");
        let is_nemesis = matches!(
            form.get("process"),
            Some(Form::Keyword(name)) if name == "nemesis"
        );
        let f = form.get("f").and_then(Form::name);
        let (true, false, Some(f), None) = (is_call, is_nemesis, f, form.get("key")) else {
            return Self::Nothing;
        };
        let value = form.get("value").unwrap_or(&Form::Nil);
        match (f, pair(value), value) {
            ("txn", _, _) => Self::HasNone,
            ("cas" | "compare-and-set", None, Form::Sequence(forms)) if forms.len() == 3 => {
                Self::HasKey
            }
            ("cas" | "compare-and-set", Some([_, to]), _) if pair(to).is_none() => Self::HasNone,
            ("increment" | "inc", Some(_), _) => Self::HasKey,
            ("increment" | "inc", None, _) => Self::HasNone,
            (f, Some([_, Form::Nil]), _) if takes_nothing(f) => Self::HasKey,
            (f, None, Form::Nil) if takes_nothing(f) => Self::HasNone,
            (f, Some(_), _) => Self::Either {
                only_puts: matches!(
                    f,
                    "write" | "put" | "set" | "w" | "add" | "enqueue" | "push" | "append"
                ),
            },
            (f, None, _) if takes_nothing(f) => Self::Nothing,
            (_, None, _) => Self::HasNone,
        }
    }
}

impl Keying {
    pub fn new(keys: Keys) -> Self {
        Self {
            is_independent: match keys {
                Keys::Told => None,
                Keys::Independent => Some(true),
                Keys::One => Some(false),
            },
            told_at: None,
            ambiguous: None,
        }
    }

    pub fn is_decided(&self) -> bool {
        self.is_independent.is_some()
    }

    /// Takes in what an event tells.
    pub fn look_at(&mut self, place: Place, form: &Form) {
        let is_independent = match Evidence::of(form) {
            Evidence::HasKey => true,
            Evidence::HasNone => false,
            Evidence::Either { only_puts } => {
                if !only_puts {
                    self.ambiguous.get_or_insert(place);
                }
                return;
            }
            Evidence::Nothing => return,
        };
        self.is_independent = Some(is_independent);
        self.told_at = Some(place);
    }

    /// Takes pairs for values where nothing told; an error where that may be wrong.
    pub fn decide_without_evidence(&mut self) -> Option<ReadError> {
        self.is_independent = Some(false);
        let place = self.ambiguous?;
        let expected = "something that tells whether a pair is a key and a value \
            (--independent) or one value (--independent=false)";
        Some(ReadError::syntax(place, expected))
    }

    /// Key and argument of a call, and whether both were in its value.
    pub fn of_call(&self, fields: &Fields<'_>) -> Result<(Value, Form, bool), ReadError> {
        let value = fields.value.unwrap_or(&Form::Nil);
        if let Some(key) = fields.key {
            return Ok((to_value(key), value.clone(), false));
        }
        let wrong = |expected: &str| {
            let told = match self.told_at {
                Some(place) => format!("{expected}, as in line {}", place.line),
                None => expected.to_owned(),
            };
            Err(ReadError::syntax(fields.place, told))
        };
        let is_independent = self
            .is_independent
            .expect("it is decided before it is used");
        if is_independent && fields.f != "txn" {
            return match split(value) {
                Some((key, value)) => Ok((key, value, true)),
                None => wrong("a pair of key and value"),
            };
        }
        let names_key = takes_nothing(fields.f) && matches!(pair(value), Some([_, Form::Nil]));
        if names_key {
            return wrong("no key");
        }
        Ok((Value::Nil, value.clone(), false))
    }
}
