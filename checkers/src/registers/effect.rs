//! The effect of an operation on one value: what it needs and what it writes.

use veridical_histories::object::{Action, Answer, Value};

/// What has to be there for an operation to be legal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Guard<V> {
    Any,
    Is(V),
    IsNot(V),
    /// No value allows this answer.
    Never,
}

/// An operation: what has to be there, and what is there afterwards, if that changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Effect<V> {
    pub guard: Guard<V>,
    pub set: Option<V>,
}

impl<V> Effect<V> {
    /// The same effect with other names for values.
    pub fn map<W>(self, mut name: impl FnMut(V) -> W) -> Effect<W> {
        Effect {
            guard: match self.guard {
                Guard::Any => Guard::Any,
                Guard::Is(value) => Guard::Is(name(value)),
                Guard::IsNot(value) => Guard::IsNot(name(value)),
                Guard::Never => Guard::Never,
            },
            set: self.set.map(name),
        }
    }
}

fn effect(guard: Guard<&Value>, set: Option<Value>) -> Effect<Value> {
    let guard = match guard {
        Guard::Any => Guard::Any,
        Guard::Is(value) => Guard::Is(value.clone()),
        Guard::IsNot(value) => Guard::IsNot(value.clone()),
        Guard::Never => Guard::Never,
    };
    let set = set.filter(|set| guard != Guard::Is(set.clone()));
    Effect { guard, set }
}

/// The effect of an action that was answered.
pub(super) fn answered(
    action: &Action,
    answer: &Answer,
    nil_reads_anything: bool,
) -> Effect<Value> {
    let swap = |from: &Value, to: &Value| match answer {
        Answer::Done | Answer::Applied(true) => effect(Guard::Is(from), Some(to.clone())),
        Answer::Applied(false) => effect(Guard::IsNot(from), None),
        Answer::Value(_) | Answer::Txn(_) => effect(Guard::Never, None),
    };
    let never = || effect(Guard::Never, None);
    match action {
        Action::Read => match answer {
            Answer::Value(Value::Nil) if nil_reads_anything => effect(Guard::Any, None),
            Answer::Value(value) => effect(Guard::Is(value), None),
            Answer::Done | Answer::Applied(_) | Answer::Txn(_) => never(),
        },
        Action::Write(value) => match answer {
            Answer::Done | Answer::Applied(true) => effect(Guard::Any, Some(value.clone())),
            Answer::Value(_) | Answer::Applied(false) | Answer::Txn(_) => never(),
        },
        Action::Delete => match answer {
            Answer::Done => effect(Guard::Any, Some(Value::Nil)),
            Answer::Applied(true) => effect(Guard::IsNot(&Value::Nil), Some(Value::Nil)),
            Answer::Applied(false) => effect(Guard::Is(&Value::Nil), None),
            Answer::Value(_) | Answer::Txn(_) => never(),
        },
        Action::Cas { from, to } => swap(from, to),
        Action::Acquire(owner) => swap(&Value::Nil, owner),
        Action::Release(owner) => swap(owner, &Value::Nil),
        Action::Append(_) | Action::Add(_) | Action::Remove(_) | Action::Contains(_) => never(),
        Action::Enqueue(_) | Action::Dequeue | Action::Push(_) | Action::Pop => never(),
        Action::Increment(_) | Action::LogAppend(_) | Action::CheckTail => never(),
        Action::Txn(_) => never(),
    }
}

/// The effect an action has if it has one at all; `None` where it has none.
pub(super) fn unanswered(action: &Action) -> Option<Effect<Value>> {
    let effect = match action {
        Action::Write(value) => effect(Guard::Any, Some(value.clone())),
        Action::Delete => effect(Guard::Any, Some(Value::Nil)),
        Action::Cas { from, to } => effect(Guard::Is(from), Some(to.clone())),
        Action::Acquire(owner) => effect(Guard::Is(&Value::Nil), Some(owner.clone())),
        Action::Release(owner) => effect(Guard::Is(owner), Some(Value::Nil)),
        Action::Read | Action::Append(_) | Action::Add(_) | Action::Remove(_) => return None,
        Action::Contains(_) | Action::Enqueue(_) | Action::Dequeue | Action::Push(_) => {
            return None;
        }
        Action::Pop | Action::Increment(_) | Action::LogAppend(_) => return None,
        Action::CheckTail | Action::Txn(_) => return None,
    };
    effect.set.is_some().then_some(effect)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Model;
    use crate::models::{ObjectKind, ObjectModel, ObjectState};
    use veridical_histories::object::Request;

    /// Runs an effect on a value.
    fn run(effect: &Effect<Value>, state: &Value) -> Option<Value> {
        let applies = match &effect.guard {
            Guard::Any => true,
            Guard::Is(value) => value == state,
            Guard::IsNot(value) => value != state,
            Guard::Never => false,
        };
        applies.then(|| effect.set.clone().unwrap_or_else(|| state.clone()))
    }

    #[test]
    fn effects_are_the_steps_of_the_model() {
        let values = [Value::Nil, Value::Int(1), Value::Int(2)];
        let mut actions = vec![Action::Read, Action::Delete, Action::Dequeue];
        let mut answers = vec![
            Answer::Done,
            Answer::Applied(true),
            Answer::Applied(false),
            Answer::Txn(Vec::new()),
        ];
        for a in &values {
            answers.push(Answer::Value(a.clone()));
            actions.push(Action::Write(a.clone()));
            actions.push(Action::Acquire(a.clone()));
            actions.push(Action::Release(a.clone()));
            for b in &values {
                actions.push(Action::Cas {
                    from: a.clone(),
                    to: b.clone(),
                });
            }
        }
        for is_wildcard in [false, true] {
            let mut model = ObjectModel::new(ObjectKind::Kv);
            if is_wildcard {
                model = model.with_nil_as_wildcard();
            }
            let step = |action: &Action, answer: Option<&Answer>, state: &Value| {
                let request = Request {
                    key: Value::Nil,
                    action: action.clone(),
                };
                let mut next = Vec::new();
                model.step(
                    &ObjectState::Value(state.clone()),
                    &request,
                    answer,
                    &mut next,
                );
                next.pop()
            };
            for action in &actions {
                for state in &values {
                    for answer in &answers {
                        let expected = step(action, Some(answer), state);
                        let found = run(&answered(action, answer, is_wildcard), state);
                        assert_eq!(
                            found.map(ObjectState::Value),
                            expected,
                            "{action} → {answer} in {state}"
                        );
                    }
                    let effect = unanswered(action);
                    let found = effect.and_then(|effect| run(&effect, state));
                    let expected = step(action, None, state)
                        .filter(|next| *next != ObjectState::Value(state.clone()));
                    let found = found.filter(|next| next != state);
                    assert_eq!(
                        found.map(ObjectState::Value),
                        expected,
                        "{action} in {state}"
                    );
                }
            }
        }
    }
}
