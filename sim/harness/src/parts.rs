//! What implementors of [`Plan`](crate::Plan) put its parts together with.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;

/// The parts whose numbers are not in `out`.
pub fn keep<T: Clone>(parts: &[T], out: &BTreeSet<usize>) -> Vec<T> {
    parts
        .iter()
        .enumerate()
        .filter(|(number, _)| !out.contains(number))
        .map(|(_, part)| part.clone())
        .collect()
}

/// `value` as `goal`, then with one field after the other as in `goal`.
///
/// # Panics
/// If the values are not written as JSON objects that can be read back.
pub fn steps_to<T: Clone + Serialize + DeserializeOwned>(value: &T, goal: &T) -> Vec<T> {
    let mut steps = vec![goal.clone()];
    let as_json = |value: &T| serde_json::to_value(value).expect("settings can be written");
    let (now, then) = (as_json(value), as_json(goal));
    let (Some(fields), Some(goals)) = (now.as_object(), then.as_object()) else {
        return steps;
    };
    for (name, goal) in goals {
        if fields.get(name) != Some(goal) {
            let mut step = fields.clone();
            step.insert(name.clone(), goal.clone());
            steps.extend(serde_json::from_value(step.into()));
        }
    }
    steps
}
