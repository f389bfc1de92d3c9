//! What a transaction asks of the lists, and what it was told.

use rustc_hash::FxHashMap;
use veridical_histories::OperationId;
use veridical_histories::object::{Action, Answer, Request, Value};

use super::graph::Cycle;
use crate::models::ObjectModel;

/// A read of a list by a transaction: the list as it was before the transaction.
pub(super) struct Read {
    pub key: Value,
    pub list: Vec<Value>,
}

/// How judging an event ends, other than well.
pub(super) enum Wrong {
    Cycle(Cycle),
    /// What was expected and what was got, at a key.
    Answer(Value, String, String),
    /// Something was seen of a transaction that was given up.
    Late(OperationId),
}

impl From<Cycle> for Wrong {
    fn from(cycle: Cycle) -> Self {
        Self::Cycle(cycle)
    }
}

/// Calls `visit` with every step of a request.
pub(super) fn steps<'a>(request: &'a Request, visit: &mut impl FnMut(&'a Value, &'a Action)) {
    if let Action::Txn(steps) = &request.action {
        steps.iter().for_each(|step| visit(&step.key, &step.action));
    } else {
        visit(&request.key, &request.action);
    }
}

/// What a request appends, in order, with the keys.
pub(super) fn appends(request: &Request) -> Vec<(&Value, &Value)> {
    let mut appends = Vec::new();
    steps(request, &mut |key, action| {
        if let Action::Append(value) = action {
            appends.push((key, value));
        }
    });
    appends
}

pub(super) fn is_supported(request: &Request) -> bool {
    let mut is_supported = true;
    steps(request, &mut |_, action| {
        is_supported &= matches!(action, Action::Read | Action::Append(_));
    });
    is_supported
}

/// What a transaction read, without what it had appended itself.
pub(super) fn reads_before(
    model: &ObjectModel,
    request: &Request,
    answer: &Answer,
) -> Result<Vec<Read>, Wrong> {
    let other_kind = |key: &Value| {
        let expected = "an answer to what was asked".to_owned();
        Err(Wrong::Answer(key.clone(), expected, answer.to_string()))
    };
    let answers: &[Answer] = match (&request.action, answer) {
        (Action::Txn(steps), Answer::Txn(answers)) if steps.len() == answers.len() => answers,
        (Action::Txn(_), _) => return other_kind(&request.key),
        (_, answer) => std::slice::from_ref(answer),
    };
    let mut asked = Vec::new();
    steps(request, &mut |key, action| asked.push((key, action)));
    let mut own: FxHashMap<&Value, Vec<&Value>> = FxHashMap::default();
    let mut reads: Vec<Read> = Vec::new();
    for ((key, action), answer) in asked.into_iter().zip(answers) {
        let read: &[Value] = match (action, answer) {
            (Action::Append(value), _) => {
                own.entry(key).or_default().push(value);
                continue;
            }
            (_, Answer::Value(Value::Nil)) if model.nil_is_wildcard() => continue,
            (_, Answer::Value(Value::Nil)) => &[],
            (_, Answer::Value(Value::List(list))) => list,
            // A register that was written once is read as its value.
            (_, Answer::Value(value)) => std::slice::from_ref(value),
            _ => return other_kind(key),
        };
        let own = own.get(key).map_or(&[][..], Vec::as_slice);
        let before = read.len().checked_sub(own.len());
        let before = before.filter(|before| read[*before..].iter().eq(own.iter().copied()));
        let Some(before) = before else {
            let expected = format!("what the transaction had appended to {key} at the end");
            let got = Value::List(read.to_vec().into()).to_string();
            return Err(Wrong::Answer(key.clone(), expected, got));
        };
        let list = &read[..before];
        match reads.iter().find(|earlier| earlier.key == *key) {
            Some(earlier) if earlier.list == list => {}
            Some(earlier) => {
                let expected = Value::List(earlier.list.clone().into());
                let expected = format!("{expected} again, as the transaction read it before");
                let got = Value::List(list.to_vec().into()).to_string();
                return Err(Wrong::Answer(key.clone(), expected, got));
            }
            None => reads.push(Read {
                key: key.clone(),
                list: list.to_vec(),
            }),
        }
    }
    Ok(reads)
}
