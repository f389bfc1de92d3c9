//! A picture of a history that is read from a stream: all of it where it is short, else
//! the part that matters.

use std::collections::{BTreeMap, VecDeque};

use veridical_histories::etcd::{Request as EtcdRequest, TxnOp};
use veridical_histories::formats::{History, ReadError};
use veridical_histories::object::{Answer, Request, Value};
use veridical_histories::{Event, EventKind, OperationId};

use super::{Picture, PictureOperation};
use crate::linearization::linearization_points;
use crate::model::Model;
use crate::models::ObjectModel;
use crate::online::Operation;

/// Operations of one object up to which an order that explains them is looked for.
const POINTS_PER_OBJECT_MAX: usize = 5_000;
/// Of the operations drawn, this share lies before the event that matters.
const BEFORE_NUMERATOR: usize = 3;
const BEFORE_DENOMINATOR: usize = 4;

/// Which part of a history is drawn, and how.
#[derive(Clone, Debug)]
pub struct PictureOptions {
    /// What stands above it.
    pub title: String,
    /// Operations that are drawn at most.
    pub operations_max: usize,
    /// The event that has to be in it, counted from 0; the beginning unless given.
    pub event: Option<u64>,
    /// The specification by which linearization points are found, where there is one.
    pub model: Option<ObjectModel>,
}

impl Picture {
    /// Reads `history` and draws it, or of a long one the part around
    /// [`PictureOptions::event`]. Lines that are no events are left out; a binary file
    /// that is cut off is drawn as far as it goes.
    ///
    /// # Errors
    /// [`ReadError`] where the source fails or is damaged.
    pub fn of_history(history: History, options: &PictureOptions) -> Result<Self, ReadError> {
        match history {
            History::Object(events) => draw_objects(events, options),
            History::ObjectBlocks(blocks) => draw_objects(blocks, options),
            History::Etcd(events) => {
                let window = Window::read(events, options)?;
                let mut picture = window.frame(options);
                for drawn in &window.operations {
                    picture.push(drawn.operation(
                        etcd_key(&drawn.input),
                        drawn.input.to_string(),
                        drawn.end.as_ref().map(|(_, output)| output.to_string()),
                    ));
                }
                Ok(picture)
            }
        }
    }
}

fn draw_objects<N>(
    events: impl Iterator<Item = Result<Event<Request, Answer, N>, ReadError>>,
    options: &PictureOptions,
) -> Result<Picture, ReadError> {
    let window = Window::read(events, options)?;
    let mut picture = window.frame(options);
    let points = match &options.model {
        // Without the beginning nobody knows in which state the objects were.
        Some(model) if window.left_out_before == 0 => window.points(model),
        _ => vec![None; window.operations.len()],
    };
    for (drawn, point_ns) in window.operations.iter().zip(points) {
        let key = match &drawn.input.key {
            Value::Nil => String::new(),
            key @ (Value::Int(_) | Value::Text(_) | Value::List(_)) => key.to_string(),
        };
        let answer = drawn.end.as_ref().map(|(_, output)| output.to_string());
        picture.push(PictureOperation {
            point_ns,
            ..drawn.operation(key, drawn.input.action.to_string(), answer)
        });
    }
    Ok(picture)
}

/// One operation as it was read.
struct Drawn<I, O> {
    op: OperationId,
    client: u64,
    call_ns: u64,
    input: I,
    end: Option<(u64, O)>,
    /// It certainly had no effect.
    has_failed: bool,
}

impl<I, O> Drawn<I, O> {
    fn operation(&self, key: String, asked: String, answer: Option<String>) -> PictureOperation {
        let answer = match (answer, self.has_failed) {
            (Some(answer), _) => answer,
            (None, true) => "no effect".to_owned(),
            (None, false) => "unknown".to_owned(),
        };
        PictureOperation {
            op: self.op,
            client: self.client,
            call_ns: self.call_ns,
            return_ns: self.end.as_ref().map(|(return_ns, _)| *return_ns),
            key,
            text: format!("{asked} → {answer}"),
            point_ns: None,
        }
    }
}

/// The operations that are drawn, in the order of their calls.
struct Window<I, O> {
    operations: VecDeque<Drawn<I, O>>,
    /// Where the open ones stand, counted with those left out.
    open: BTreeMap<OperationId, usize>,
    left_out_before: usize,
    has_more_after: bool,
}

impl<I, O> Window<I, O> {
    fn read<N>(
        events: impl Iterator<Item = Result<Event<I, O, N>, ReadError>>,
        options: &PictureOptions,
    ) -> Result<Self, ReadError> {
        let mut window = Self {
            operations: VecDeque::new(),
            open: BTreeMap::new(),
            left_out_before: 0,
            has_more_after: false,
        };
        let most = options.operations_max.max(1);
        let before_max = (most / BEFORE_DENOMINATOR)
            .saturating_mul(BEFORE_NUMERATOR)
            .max(1);
        let mut at = 0;
        for event in events {
            let event = match event {
                Ok(event) => event,
                Err(error) if error.is_local() => continue,
                Err(error) if error.is_truncation() => break,
                Err(error) => return Err(error),
            };
            let is_before = options.event.is_some_and(|event| at < event);
            at += 1;
            if event.is_call() && window.operations.len() >= most && !is_before {
                window.has_more_after = true;
                break;
            }
            if event.is_call() && is_before && window.operations.len() >= before_max {
                window.operations.pop_front();
                window.left_out_before += 1;
            }
            window.take(event);
        }
        Ok(window)
    }

    fn take<N>(&mut self, event: Event<I, O, N>) {
        let (client, time_ns) = (event.client, event.time_ns);
        let (op, end, has_failed) = match event.kind {
            EventKind::Call { op, input } => {
                self.open
                    .insert(op, self.left_out_before + self.operations.len());
                self.operations.push_back(Drawn {
                    op,
                    client,
                    call_ns: time_ns,
                    input,
                    end: None,
                    has_failed: false,
                });
                return;
            }
            EventKind::Return { op, output } => (op, Some((time_ns, output)), false),
            EventKind::Unknown { op } => (op, None, false),
            EventKind::Failed { op } => (op, None, true),
            EventKind::Note { .. } => return,
        };
        let place = self
            .open
            .remove(&op)
            .and_then(|place| place.checked_sub(self.left_out_before));
        if let Some(drawn) = place.and_then(|place| self.operations.get_mut(place)) {
            drawn.end = end;
            drawn.has_failed = has_failed;
        }
    }

    /// A picture without operations whose title says what is left out.
    fn frame(&self, options: &PictureOptions) -> Picture {
        let first = self.left_out_before + 1;
        let last = self.left_out_before + self.operations.len();
        Picture::new(if self.left_out_before > 0 || self.has_more_after {
            format!(
                "{} (operations {first} to {last} of a longer history)",
                options.title
            )
        } else {
            options.title.clone()
        })
    }
}

impl Window<Request, Answer> {
    fn points(&self, model: &ObjectModel) -> Vec<Option<u64>> {
        let mut members: BTreeMap<Value, Vec<usize>> = BTreeMap::new();
        for (place, drawn) in self.operations.iter().enumerate() {
            if !drawn.has_failed {
                members
                    .entry(model.key(&drawn.input))
                    .or_default()
                    .push(place);
            }
        }
        let mut points = vec![None; self.operations.len()];
        for places in members.into_values() {
            if places.len() > POINTS_PER_OBJECT_MAX {
                continue;
            }
            let operations: Vec<Operation<Request, Answer>> = places
                .iter()
                .map(|place| {
                    let drawn = &self.operations[*place];
                    Operation {
                        client: drawn.client,
                        input: drawn.input.clone(),
                        call_ns: drawn.call_ns,
                        end: drawn.end.clone(),
                    }
                })
                .collect();
            for (place, point) in places.iter().zip(linearization_points(model, &operations)) {
                points[*place] = point;
            }
        }
        points
    }
}

/// The key or range that a request is about, for filtering.
fn etcd_key(request: &EtcdRequest) -> String {
    fn of_op(op: &TxnOp) -> String {
        match op {
            TxnOp::Range(op) => op.range.to_string(),
            TxnOp::Put(op) => veridical_histories::text_bytes::display(&op.key),
            TxnOp::DeleteRange(op) => op.range.to_string(),
            TxnOp::Txn(txn) => txn.success.first().map_or_else(String::new, of_op),
        }
    }
    match request {
        EtcdRequest::Range(op) => op.range.to_string(),
        EtcdRequest::Put(op) => veridical_histories::text_bytes::display(&op.key),
        EtcdRequest::DeleteRange(op) => op.range.to_string(),
        EtcdRequest::Txn(txn) => txn
            .success
            .first()
            .or(txn.failure.first())
            .map_or_else(String::new, of_op),
        EtcdRequest::Compact { .. }
        | EtcdRequest::LeaseGrant { .. }
        | EtcdRequest::LeaseRevoke { .. }
        | EtcdRequest::LeaseKeepAlive { .. }
        | EtcdRequest::LeaseTimeToLive { .. }
        | EtcdRequest::LeaseLeases => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::ObjectKind;
    use veridical_histories::formats::made;
    use veridical_histories::generate::object::{ObjectHistory, ObjectWorkload};

    fn history(operations: u64) -> History {
        let workload = ObjectWorkload {
            operations,
            ..ObjectWorkload::default()
        };
        History::Object(made(ObjectHistory::new(workload)))
    }

    fn options(operations_max: usize, event: Option<u64>) -> PictureOptions {
        PictureOptions {
            title: "t".to_owned(),
            operations_max,
            event,
            model: Some(ObjectModel::new(ObjectKind::Kv)),
        }
    }

    #[test]
    fn a_short_history_is_drawn_whole_with_its_linearization_points() {
        let picture = Picture::of_history(history(500), &options(1_000, None)).unwrap();
        assert_eq!((picture.len(), picture.title.as_str()), (500, "t"));
        for drawn in &picture.operations {
            let point_ns = drawn.point_ns.expect("a correct history has an order");
            assert!(drawn.call_ns <= point_ns);
            assert!(drawn.return_ns.is_none_or(|end| point_ns <= end));
        }
    }

    #[test]
    fn of_a_long_history_the_part_around_the_event_is_drawn() {
        let first = Picture::of_history(history(5_000), &options(400, None)).unwrap();
        assert_eq!(first.operations[0].op, OperationId(1));
        let picture = Picture::of_history(history(5_000), &options(400, Some(6_000))).unwrap();
        assert_eq!(picture.len(), 400);
        let ops: Vec<u64> = picture.operations.iter().map(|drawn| drawn.op.0).collect();
        // Event 6000 is near the call of operation 3000.
        assert!(ops[0] > 2_600 && ops[399] < 3_300, "{ops:?}");
        assert!(picture.title.contains("of a longer history"));
        assert!(picture.operations.iter().all(|d| d.point_ns.is_none()));
    }
}
