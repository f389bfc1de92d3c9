//! Registers, maps, texts, locks and counters: everything that is one value.

use veridical_histories::object::{Action, Action as A, Answer, Value};

use super::{ObjectModel, ObjectState, is_answer, is_done};

pub(super) fn step(
    model: &ObjectModel,
    state: &Value,
    action: &Action,
    output: Option<&Answer>,
) -> Option<ObjectState> {
    let stays = || ObjectState::Value(state.clone());
    match action {
        Action::Read => can_read(model, state, output).then(stays),
        Action::Write(value) => is_done(output).then(|| ObjectState::Value(value.clone())),
        Action::Cas { from, to } => {
            let applies = state == from;
            let told = match output {
                None => true,
                Some(Answer::Done) => applies,
                Some(Answer::Applied(applied)) => *applied == applies,
                Some(_) => false,
            };
            told.then(|| {
                if applies {
                    ObjectState::Value(to.clone())
                } else {
                    stays()
                }
            })
        }
        Action::Delete => {
            let existed = !state.is_nil();
            let told = match output {
                None | Some(Answer::Done) => true,
                Some(Answer::Applied(applied)) => *applied == existed,
                Some(_) => false,
            };
            told.then_some(ObjectState::Value(Value::Nil))
        }
        Action::Append(value) => is_done(output).then(|| ObjectState::Value(append(state, value))),
        Action::Acquire(owner) => match output {
            None => Some(if state.is_nil() {
                ObjectState::Value(owner.clone())
            } else {
                stays()
            }),
            Some(Answer::Done | Answer::Applied(true)) => {
                state.is_nil().then(|| ObjectState::Value(owner.clone()))
            }
            // A lock that is taken, by whomever, is refused.
            Some(Answer::Applied(false)) => (!state.is_nil()).then(stays),
            Some(_) => None,
        },
        Action::Release(owner) => match output {
            None => Some(if state == owner {
                ObjectState::Value(Value::Nil)
            } else {
                stays()
            }),
            Some(Answer::Done | Answer::Applied(true)) => {
                (state == owner).then_some(ObjectState::Value(Value::Nil))
            }
            Some(Answer::Applied(false)) => (state != owner).then(stays),
            Some(_) => None,
        },
        // To add to a number is to increment it.
        Action::Increment(by) | A::Add(Value::Int(by)) => {
            let before = match state {
                Value::Int(number) => *number,
                Value::Nil | Value::Text(_) | Value::List(_) => 0,
            };
            let after = Value::Int(before.wrapping_add(*by));
            let told = match output {
                None | Some(Answer::Done | Answer::Applied(true)) => true,
                Some(Answer::Value(value)) => *value == after,
                Some(_) => false,
            };
            told.then_some(ObjectState::Value(after))
        }
        A::Add(_) | A::Remove(_) | A::Contains(_) | A::Enqueue(_) | A::Dequeue => None,
        A::Push(_) | A::Pop | A::LogAppend(_) | A::CheckTail | A::Txn(_) => None,
    }
}

pub(super) fn can_read(model: &ObjectModel, state: &Value, output: Option<&Answer>) -> bool {
    is_answer(output, &Answer::Value(state.clone()))
        || (model.nil_is_wildcard() && output == Some(&Answer::Value(Value::Nil)))
}

fn append(state: &Value, value: &Value) -> Value {
    let text = |value: &Value| match value {
        Value::Nil => String::new(),
        Value::Text(text) => text.to_string(),
        Value::Int(_) | Value::List(_) => value.to_string(),
    };
    match state {
        Value::List(values) => {
            Value::list(values.iter().cloned().chain(std::iter::once(value.clone())))
        }
        Value::Nil | Value::Int(_) | Value::Text(_) => Value::text(&(text(state) + &text(value))),
    }
}
