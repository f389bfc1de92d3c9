//! An order that explains a history, for pictures: the checkers only say that one exists.

use std::collections::BTreeMap;

use rustc_hash::FxHashSet;

use crate::model::Model;
use crate::online::Operation;

/// Configurations looked at for one object before it is left without an order.
const STEPS_MAX: usize = 200_000;

/// When each operation can have taken effect, in nanoseconds, by its place in
/// `operations`; `None` for those that need not have, and for all of an object whose
/// order is not found within limits or does not exist.
pub fn linearization_points<M: Model>(
    model: &M,
    operations: &[Operation<M::Input, M::Output>],
) -> Vec<Option<u64>> {
    let mut objects: BTreeMap<M::Key, Vec<usize>> = BTreeMap::new();
    for (index, operation) in operations.iter().enumerate() {
        objects
            .entry(model.key(&operation.input))
            .or_default()
            .push(index);
    }
    let mut points = vec![None; operations.len()];
    for mut members in objects.into_values() {
        members.sort_by_key(|index| operations[*index].call_ns);
        let Some(order) = find_order(model, operations, &members) else {
            continue;
        };
        let mut at = 0;
        for index in order {
            at = at.max(operations[index].call_ns);
            points[index] = Some(at);
        }
    }
    points
}

/// Depth-first search with memory of failed configurations (Wing and Gong 1993, Lowe
/// 2017), over operations ordered by call.
fn find_order<M: Model>(
    model: &M,
    operations: &[Operation<M::Input, M::Output>],
    members: &[usize],
) -> Option<Vec<usize>> {
    struct Frame<S> {
        state: S,
        /// Where to go on looking for the next operation.
        next: usize,
        /// Next states of the operation tried last, still to be tried.
        states: Vec<S>,
        chosen: usize,
    }
    let return_of = |at: usize| {
        operations[members[at]]
            .end
            .as_ref()
            .map_or(u64::MAX, |(return_ns, _)| *return_ns)
    };
    let mut placed = vec![false; members.len()];
    let mut order: Vec<usize> = Vec::new();
    let mut failed: FxHashSet<(Placed, M::State)> = FxHashSet::default();
    let frame = |state| Frame {
        state,
        next: 0,
        states: Vec::new(),
        chosen: usize::MAX,
    };
    let mut frames = vec![frame(model.initial())];
    let mut steps = 0;
    loop {
        let done = (0..members.len()).all(|at| placed[at] || return_of(at) == u64::MAX);
        if done {
            return Some(order.into_iter().map(|at| members[at]).collect());
        }
        steps += 1;
        if steps > STEPS_MAX {
            return None;
        }
        let top = frames.last_mut()?;
        if let Some(state) = top.states.pop() {
            let chosen = top.chosen;
            placed[chosen] = true;
            order.push(chosen);
            if failed.contains(&(prefix_and_rest(&placed), state.clone())) {
                placed[chosen] = false;
                order.pop();
            } else {
                frames.push(frame(state));
            }
            continue;
        }
        // Only what was called before every open operation returned can come next.
        let first_return = (0..members.len())
            .filter(|at| !placed[*at])
            .map(return_of)
            .min()
            .unwrap_or(u64::MAX);
        let candidate = (top.next..members.len())
            .find(|at| !placed[*at] && operations[members[*at]].call_ns <= first_return);
        match candidate {
            Some(at) => {
                top.next = at + 1;
                top.chosen = at;
                let operation = &operations[members[at]];
                let output = operation.end.as_ref().map(|(_, output)| output);
                model.step(&top.state, &operation.input, output, &mut top.states);
            }
            None => {
                let top = frames.pop()?;
                failed.insert((prefix_and_rest(&placed), top.state));
                placed[order.pop()?] = false;
            }
        }
    }
}

/// Which operations are placed: see [`prefix_and_rest`].
type Placed = (usize, Vec<bool>);

/// How many operations at the beginning are all placed, and which of those up to the last
/// placed one: as wide as the concurrency, not as the history.
fn prefix_and_rest(placed: &[bool]) -> Placed {
    let prefix = placed.iter().take_while(|placed| **placed).count();
    let end = placed
        .iter()
        .rposition(|placed| *placed)
        .map_or(0, |last| last + 1);
    (prefix, placed[prefix..end.max(prefix)].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::{ObjectKind, ObjectModel};
    use veridical_histories::EventKind;
    use veridical_histories::generate::object::{ObjectHistory, ObjectWorkload};
    use veridical_histories::object::{Answer, Request};

    fn operations(workload: ObjectWorkload) -> Vec<Operation<Request, Answer>> {
        let mut all: BTreeMap<u64, Operation<Request, Answer>> = BTreeMap::new();
        for event in ObjectHistory::new(workload) {
            match event.kind {
                EventKind::Call { op, input } => {
                    let (client, call_ns) = (event.client, event.time_ns);
                    all.insert(
                        op.0,
                        Operation {
                            client,
                            input,
                            call_ns,
                            end: None,
                        },
                    );
                }
                EventKind::Return { op, output } => {
                    all.get_mut(&op.0).unwrap().end = Some((event.time_ns, output));
                }
                EventKind::Unknown { .. } | EventKind::Failed { .. } => {}
                EventKind::Note { note } => match note {},
            }
        }
        all.into_values().collect()
    }

    #[test]
    fn points_lie_within_their_operations_and_replay_to_the_answers() {
        let workload = ObjectWorkload {
            kind: ObjectKind::CasRegister,
            operations: 300,
            clients: 5,
            keys: 3,
            unknown: 0.02,
            ..ObjectWorkload::default()
        };
        let operations = operations(workload);
        let model = ObjectModel::new(ObjectKind::CasRegister);
        let points = linearization_points(&model, &operations);
        let mut states = BTreeMap::new();
        let mut order: Vec<(u64, usize)> = points
            .iter()
            .enumerate()
            .filter_map(|(i, point)| Some(((*point)?, i)))
            .collect();
        order.sort_unstable();
        assert!(order.len() >= operations.iter().filter(|op| op.end.is_some()).count());
        for (point, index) in order {
            let operation = &operations[index];
            assert!(operation.call_ns <= point);
            assert!(
                operation
                    .end
                    .as_ref()
                    .is_none_or(|(return_ns, _)| point <= *return_ns)
            );
            let key = model.key(&operation.input);
            let state = states.entry(key).or_insert_with(|| model.initial());
            // Points may coincide; then the order among them is not told.
            let mut next = Vec::new();
            let output = operation.end.as_ref().map(|(_, output)| output);
            model.step(state, &operation.input, output, &mut next);
            if let Some(after) = next.pop() {
                *state = after;
            }
        }
    }

    #[test]
    fn a_wrong_history_has_no_points() {
        let mut operations = operations(ObjectWorkload {
            kind: ObjectKind::Register,
            keys: 1,
            ..ObjectWorkload::default()
        });
        operations.truncate(50);
        if let Some((_, answer)) = &mut operations[20].end {
            *answer = Answer::Value(veridical_histories::object::Value::Int(-9));
        }
        operations[20].input.action = veridical_histories::object::Action::Read;
        let model = ObjectModel::new(ObjectKind::Register);
        assert!(
            linearization_points(&model, &operations)
                .iter()
                .all(Option::is_none)
        );
    }
}
