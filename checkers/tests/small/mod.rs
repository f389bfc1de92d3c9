//! Small random histories of one value, drawn without a store: most of them are wrong
//! or nearly so, and unknown outcomes are frequent.

use veridical_histories::OperationId;
use veridical_histories::jsonl;
use veridical_histories::object::{Action, Answer, ObjectEvent, Request, Value};
use veridical_histories::random::Random;

/// How histories are drawn.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// The most operations.
    pub operations: u64,
    /// The most that are open at once.
    pub open: usize,
    /// Values beside nil.
    pub domain: i64,
    /// Whether each value is written at most once.
    pub is_unique: bool,
    /// Share of unknown outcomes among those of writes.
    pub unknown: f64,
    /// Whether there is compare-and-swap, and deletion.
    pub has_cas: bool,
    pub has_delete: bool,
}

struct Pending {
    op: OperationId,
    action: Action,
    answer: Option<Answer>,
}

fn number(value: i64) -> Value {
    if value == 0 {
        Value::Nil
    } else {
        Value::Int(value)
    }
}

/// A history that was carried out by a real register, with unknown operations taking
/// effect whenever it pleases them, and at most two answers changed.
pub fn draw(seed: u64, shape: Shape) -> Vec<ObjectEvent> {
    let mut random = Random::new(!seed);
    let mut value = 0i64;
    let mut fresh = 0;
    let mut events: Vec<ObjectEvent> = Vec::new();
    let mut pending: Vec<Pending> = Vec::new();
    let mut lost: Vec<Action> = Vec::new();
    let count = 2 + random.below(shape.operations - 1);
    let open_max = 1 + random.index(shape.open);
    let mut called = 0;
    while called < count || !pending.is_empty() {
        let now = events.len() as u64;
        if !lost.is_empty() && random.chance(0.25) {
            let at = random.index(lost.len());
            apply(&mut value, &lost.swap_remove(at));
        }
        // Some take effect before they return.
        if !pending.is_empty() && random.chance(0.3) {
            let at = random.index(pending.len());
            let pending = &mut pending[at];
            if pending.answer.is_none() {
                pending.answer = Some(apply(&mut value, &pending.action));
            }
        }
        if called < count && (pending.is_empty() || random.chance(0.5)) && pending.len() < open_max
        {
            let kind = written_kind(&mut Random::new(seed ^ called << 32), shape);
            let action = draw_action(&mut random, kind, shape, value, &mut fresh);
            let op = OperationId(called);
            let request = Request {
                key: Value::Nil,
                action: action.clone(),
            };
            events.push(ObjectEvent::call(now, called, op, request));
            pending.push(Pending {
                op,
                action,
                answer: None,
            });
            called += 1;
        } else if !pending.is_empty() {
            let Pending { op, action, answer } = pending.swap_remove(random.index(pending.len()));
            let is_lost = action != Action::Read && random.chance(shape.unknown);
            if is_lost {
                if answer.is_none() {
                    lost.push(action);
                }
                events.push(ObjectEvent::unknown(now, op.0, op));
            } else {
                let mut answer = answer.unwrap_or_else(|| apply(&mut value, &action));
                if random.chance(0.5 / count as f64) {
                    answer = match answer {
                        Answer::Value(_) => {
                            let range = fresh.max(shape.domain) as u64 + 1;
                            Answer::Value(number(random.below(range) as i64))
                        }
                        Answer::Applied(applied) => Answer::Applied(!applied),
                        same => same,
                    };
                }
                events.push(ObjectEvent::returned(now, op.0, op, answer));
            }
        }
    }
    events
}

/// What is called next; `value` is what the register holds.
fn draw_action(
    random: &mut Random,
    kind: u64,
    shape: Shape,
    value: i64,
    fresh: &mut i64,
) -> Action {
    let mut written = |random: &mut Random| {
        if shape.is_unique {
            *fresh += 1;
            *fresh
        } else {
            random.below(shape.domain as u64 + 1) as i64
        }
    };
    match kind {
        0 => Action::Write(number(written(random))),
        1 => Action::Delete,
        2 => {
            let to = number(written(random));
            let from = if random.chance(0.7) {
                value
            } else {
                random.below((*fresh).max(shape.domain) as u64 + 1) as i64
            };
            Action::Cas {
                from: number(from),
                to,
            }
        }
        _ => Action::Read,
    }
}

fn written_kind(random: &mut Random, shape: Shape) -> u64 {
    let kinds: &[u64] = match (shape.has_cas, shape.has_delete) {
        (false, false) => &[0, 3],
        (false, true) => &[0, 1, 3, 3],
        (true, false) => &[0, 2, 2, 3],
        (true, true) => &[0, 1, 2, 2, 3, 3],
    };
    *random.pick(kinds)
}

fn apply(value: &mut i64, action: &Action) -> Answer {
    let of = |value: &Value| match value {
        Value::Int(number) => *number,
        _ => 0,
    };
    match action {
        Action::Write(written) => {
            *value = of(written);
            Answer::Done
        }
        Action::Delete => {
            *value = 0;
            Answer::Done
        }
        Action::Cas { from, to } => {
            let applies = *value == of(from);
            if applies {
                *value = of(to);
            }
            Answer::Applied(applies)
        }
        _ => Answer::Value(number(*value)),
    }
}

/// One event a line.
pub fn print(events: &[ObjectEvent]) -> String {
    let mut writer = jsonl::Writer::new(Vec::new());
    events.iter().for_each(|event| writer.write(event).unwrap());
    String::from_utf8(writer.finish().unwrap()).unwrap()
}
