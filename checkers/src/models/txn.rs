//! Lists by key, read and appended to by transactions, all at once.

use std::collections::BTreeMap;

use veridical_histories::object::{Action, Action as A, Answer, Request, Value};

use super::{ObjectModel, ObjectState};

type Lists = BTreeMap<Value, Vec<Value>>;

pub(super) fn step(
    model: &ObjectModel,
    lists: &Lists,
    input: &Request,
    output: Option<&Answer>,
) -> Option<ObjectState> {
    let mut after = lists.clone();
    match (&input.action, output) {
        (Action::Txn(steps), None) => {
            for step in steps {
                apply(model, &mut after, &step.key, &step.action, None)?;
            }
        }
        (Action::Txn(steps), Some(Answer::Txn(answers))) if steps.len() == answers.len() => {
            for (step, answer) in steps.iter().zip(answers) {
                apply(model, &mut after, &step.key, &step.action, Some(answer))?;
            }
        }
        (Action::Txn(_), Some(_)) => return None,
        (action, output) => apply(model, &mut after, &input.key, action, output)?,
    }
    Some(ObjectState::Lists(after))
}

/// `None` where the answer is impossible.
fn apply(
    model: &ObjectModel,
    lists: &mut Lists,
    key: &Value,
    action: &Action,
    output: Option<&Answer>,
) -> Option<()> {
    match action {
        Action::Append(value) => {
            lists.entry(key.clone()).or_default().push(value.clone());
            Some(())
        }
        Action::Write(value) => {
            lists.insert(key.clone(), vec![value.clone()]);
            Some(())
        }
        Action::Read => {
            let list = lists.get(key).map_or(&[][..], Vec::as_slice);
            let told = match output {
                None => true,
                Some(Answer::Value(Value::Nil)) => list.is_empty() || model.nil_is_wildcard(),
                Some(Answer::Value(Value::List(read))) => **read == *list,
                // A written register is read as its value.
                Some(Answer::Value(value)) => std::slice::from_ref(value) == list,
                Some(_) => false,
            };
            told.then_some(())
        }
        A::Cas { .. } | A::Delete | A::Add(_) | A::Remove(_) | A::Contains(_) => None,
        A::Enqueue(_) | A::Dequeue | A::Push(_) | A::Pop | A::Acquire(_) => None,
        A::Release(_) | A::Increment(_) | A::LogAppend(_) | A::CheckTail | A::Txn(_) => None,
    }
}
