//! Sets, queues and stacks.

use std::collections::{BTreeSet, VecDeque};

use veridical_histories::object::{Action, Action as A, Answer, Value};

use super::{ObjectState, is_done};

pub(super) fn step_set(
    members: &BTreeSet<Value>,
    action: &Action,
    output: Option<&Answer>,
) -> Option<ObjectState> {
    let changed = |change: &dyn Fn(&mut BTreeSet<Value>) -> bool| {
        let mut after = members.clone();
        let has_changed = change(&mut after);
        let told = match output {
            None | Some(Answer::Done) => true,
            Some(Answer::Applied(applied)) => *applied == has_changed,
            Some(_) => false,
        };
        told.then_some(ObjectState::Members(after))
    };
    match action {
        Action::Add(value) => changed(&|after| after.insert(value.clone())),
        Action::Remove(value) => changed(&|after| after.remove(value)),
        Action::Contains(value) => match output {
            None => true,
            Some(Answer::Applied(contains)) => *contains == members.contains(value),
            Some(_) => false,
        }
        .then(|| ObjectState::Members(members.clone())),
        Action::Read => match output {
            None => true,
            Some(Answer::Value(Value::List(read))) => {
                let read_once: BTreeSet<&Value> = read.iter().collect();
                read_once.len() == read.len() && read_once.iter().copied().eq(members)
            }
            Some(Answer::Value(Value::Nil)) => members.is_empty(),
            Some(_) => false,
        }
        .then(|| ObjectState::Members(members.clone())),
        A::Write(_) | A::Cas { .. } | A::Delete | A::Append(_) | A::Enqueue(_) => None,
        A::Dequeue | A::Push(_) | A::Pop | A::Acquire(_) | A::Release(_) => None,
        A::Increment(_) | A::LogAppend(_) | A::CheckTail | A::Txn(_) => None,
    }
}

pub(super) fn step_sequence(
    sequence: &VecDeque<Value>,
    action: &Action,
    output: Option<&Answer>,
) -> Option<ObjectState> {
    let mut after = sequence.clone();
    match action {
        Action::Enqueue(value) | Action::Push(value) => {
            after.push_back(value.clone());
            is_done(output).then_some(ObjectState::Sequence(after))
        }
        Action::Dequeue | Action::Pop => {
            let taken = if *action == Action::Dequeue {
                after.pop_front()
            } else {
                after.pop_back()
            };
            let told = match output {
                None => true,
                Some(Answer::Value(value)) => *value == taken.unwrap_or_default(),
                Some(Answer::Applied(false)) => taken.is_none(),
                Some(_) => false,
            };
            told.then_some(ObjectState::Sequence(after))
        }
        Action::Read => match output {
            None => true,
            Some(Answer::Value(Value::List(read))) => read.iter().eq(sequence),
            Some(Answer::Value(Value::Nil)) => sequence.is_empty(),
            Some(_) => false,
        }
        .then_some(ObjectState::Sequence(after)),
        A::Write(_) | A::Cas { .. } | A::Delete | A::Append(_) | A::Add(_) => None,
        A::Remove(_) | A::Contains(_) | A::Acquire(_) | A::Release(_) => None,
        A::Increment(_) | A::LogAppend(_) | A::CheckTail | A::Txn(_) => None,
    }
}
