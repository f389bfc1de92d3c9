//! Random histories of a queue or a stack, most of them wrong or nearly so.

use std::collections::VecDeque;

use veridical_checkers::ObjectKind;
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
    /// Share of unknown outcomes.
    pub unknown: f64,
    /// Share of operations that fail.
    pub failed: f64,
    /// How likely an error is.
    pub wrong: f64,
    /// Share of values that were put in before.
    pub repeats: f64,
    /// Share of operations that put something in; drawn for each history where it is 0.
    pub inserts: f64,
    /// Share of reads of the whole content.
    pub reads: f64,
}

struct Pending {
    op: OperationId,
    action: Action,
    answer: Option<Answer>,
}

/// A history that a real object carried out, with at most one answer that is wrong.
pub fn draw(seed: u64, kind: ObjectKind, shape: Shape) -> Vec<ObjectEvent> {
    let mut random = Random::new(!seed);
    let mut content: VecDeque<i64> = VecDeque::new();
    let mut events: Vec<ObjectEvent> = Vec::new();
    let mut pending: Vec<Pending> = Vec::new();
    let mut lost: Vec<Action> = Vec::new();
    let (mut called, mut fresh) = (0, 0);
    // Where the shape does not say, about as much is put in as is taken out: most sequences stay
    // short, and some grow.
    let inserts = match *random.pick(&[0.45, 0.5, 0.55]) {
        drawn if shape.inserts == 0.0 => drawn,
        _ => shape.inserts,
    };
    let mut wrong_at = match random.chance(shape.wrong) {
        true => random.below(shape.operations),
        false => u64::MAX,
    };
    while called < shape.operations || !pending.is_empty() {
        let now = events.len() as u64;
        if !lost.is_empty() && random.chance(0.1) {
            let at = random.index(lost.len());
            apply(&mut content, &lost.swap_remove(at));
        }
        // Some take effect before they return.
        if !pending.is_empty() && random.chance(0.4) {
            let at = random.index(pending.len());
            let pending = &mut pending[at];
            if pending.answer.is_none() {
                pending.answer = Some(apply(&mut content, &pending.action));
            }
        }
        let calls = pending.is_empty() || random.chance(0.5) && pending.len() < shape.open;
        if called < shape.operations && calls {
            let action = draw_action(&mut random, kind, shape, inserts, &mut fresh);
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
            if random.chance(shape.unknown) {
                if answer.is_none() {
                    lost.push(action);
                }
                events.push(ObjectEvent::unknown(now, op.0, op));
                continue;
            }
            if answer.is_none() && random.chance(shape.failed) {
                events.push(ObjectEvent::failed(now, op.0, op));
                continue;
            }
            let mut answer = answer.unwrap_or_else(|| apply(&mut content, &action));
            if called > wrong_at && matches!(action, Action::Dequeue | Action::Pop) {
                wrong_at = u64::MAX;
                answer = wrong(&mut random, &mut content, fresh, answer);
            }
            events.push(ObjectEvent::returned(now, op.0, op, answer));
        }
    }
    events
}

/// What is called next.
fn draw_action(
    random: &mut Random,
    kind: ObjectKind,
    shape: Shape,
    inserts: f64,
    fresh: &mut i64,
) -> Action {
    if random.chance(shape.reads) {
        return Action::Read;
    }
    let is_insert = random.chance(inserts);
    if is_insert && (*fresh == 0 || !random.chance(shape.repeats)) {
        *fresh += 1;
    }
    match (kind, is_insert) {
        (ObjectKind::Queue, true) => Action::Enqueue((*fresh).into()),
        (ObjectKind::Queue, false) => Action::Dequeue,
        (_, true) => Action::Push((*fresh).into()),
        (_, false) => Action::Pop,
    }
}

/// Another answer than the right one; the object goes on as if it were right, or not.
fn wrong(random: &mut Random, content: &mut VecDeque<i64>, fresh: i64, right: Answer) -> Answer {
    match random.below(4) {
        0 => Answer::Value(Value::Nil),
        1 => Answer::Value(Value::Int(1 + random.below(fresh.max(1) as u64) as i64)),
        // One of the first few is taken, which is mostly neither the oldest nor the newest.
        _ if !content.is_empty() => {
            let at = random.index(content.len().min(4));
            let taken = content.remove(at).expect("it is that long");
            if let Answer::Value(Value::Int(right)) = right {
                content.push_front(right);
            }
            Answer::Value(Value::Int(taken))
        }
        _ => right,
    }
}

fn apply(content: &mut VecDeque<i64>, action: &Action) -> Answer {
    match action {
        Action::Enqueue(Value::Int(value)) | Action::Push(Value::Int(value)) => {
            content.push_back(*value);
            Answer::Done
        }
        Action::Dequeue => Answer::Value(content.pop_front().map_or(Value::Nil, Value::Int)),
        Action::Pop => Answer::Value(content.pop_back().map_or(Value::Nil, Value::Int)),
        _ => Answer::Value(Value::list(content.iter().map(|value| Value::Int(*value)))),
    }
}

/// One event a line.
pub fn print(events: &[ObjectEvent]) -> String {
    let mut writer = jsonl::Writer::new(Vec::new());
    events.iter().for_each(|event| writer.write(event).unwrap());
    String::from_utf8(writer.finish().unwrap()).unwrap()
}
