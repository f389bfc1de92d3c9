//! Every order of a history of one model.

use veridical_histories::{Event, EventKind, OperationId};

use crate::model::Model;

struct Tried<'a, M: Model> {
    call: usize,
    input: &'a M::Input,
    end: Option<(usize, &'a M::Output)>,
}

/// Whether some order of the operations in `events` explains them. Exponential in the
/// number of operations; panics above 64 of them, or where the events are no history.
///
/// All operations are tried together, whatever their keys: for a model with several
/// objects `states` of all of them are kept side by side.
pub fn is_linearizable<M: Model, N>(model: &M, events: &[Event<M::Input, M::Output, N>]) -> bool {
    let mut operations: Vec<(OperationId, Tried<'_, M>)> = Vec::new();
    for (index, event) in events.iter().enumerate() {
        let find = |operations: &[(OperationId, Tried<'_, M>)], op: OperationId| {
            operations
                .iter()
                .rposition(|(known, _)| *known == op)
                .expect("it was called")
        };
        match &event.kind {
            EventKind::Call { op, input } => {
                operations.push((
                    *op,
                    Tried {
                        call: index,
                        input,
                        end: None,
                    },
                ));
            }
            EventKind::Return { op, output } => {
                let at = find(&operations, *op);
                operations[at].1.end = Some((index, output));
            }
            EventKind::Failed { op } => {
                let at = find(&operations, *op);
                operations.remove(at);
            }
            EventKind::Unknown { .. } | EventKind::Note { .. } => {}
        }
    }
    assert!(operations.len() <= 64, "brute force is for small histories");
    let operations: Vec<Tried<'_, M>> = operations
        .into_iter()
        .map(|(_, operation)| operation)
        .collect();
    explore(model, &operations, 0, &[])
}

/// `states` holds those objects that are no longer in their initial state.
fn explore<M: Model>(
    model: &M,
    operations: &[Tried<'_, M>],
    placed: u64,
    states: &[(M::Key, M::State)],
) -> bool {
    let is_open = |index: usize| placed & (1 << index) == 0;
    if operations
        .iter()
        .enumerate()
        .all(|(index, op)| !is_open(index) || op.end.is_none())
    {
        return true;
    }
    for (index, operation) in operations.iter().enumerate() {
        let comes_too_early = || {
            operations.iter().enumerate().any(|(other, before)| {
                is_open(other) && before.end.is_some_and(|(end, _)| end < operation.call)
            })
        };
        if !is_open(index) || comes_too_early() {
            continue;
        }
        let key = model.key(operation.input);
        let at = states.iter().position(|(known, _)| *known == key);
        let initial;
        let state = match at {
            Some(at) => &states[at].1,
            None => {
                initial = model.initial();
                &initial
            }
        };
        let mut next = Vec::new();
        let output = operation.end.map(|(_, output)| output);
        model.step(state, operation.input, output, &mut next);
        for state in next {
            let mut states = states.to_vec();
            match at {
                Some(at) => states[at].1 = state,
                None => states.push((key.clone(), state)),
            }
            if explore(model, operations, placed | 1 << index, &states) {
                return true;
            }
        }
    }
    false
}
