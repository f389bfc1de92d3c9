//! The history of clients of a register, a map, a queue or another object, checked while it
//! is made.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;
use veridical_checkers::{
    CheckerOptions, ObjectChecker, ObjectModel, Rejection, Verdict, Violation,
};
use veridical_histories::object::{Answer, ObjectEvent, Request};
use veridical_histories::{EventKind, OperationId};
use veridical_world::World;

use crate::report::{Began, Class, Finding};
use crate::run::{Keep, Limits, Observed};
use crate::simulate::stop_at;
use crate::style::{Ending as ShownEnding, ShownOperation};

/// How an operation ended for its client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It was answered.
    Done(Answer),
    /// It certainly had no effect and never will.
    Refused,
    /// It may have taken effect, or may still: it timed out, or its connection broke.
    Unknown,
}

/// Takes the calls and endings of all clients and feeds them to the checker. The first
/// finding stays. Cheap to clone.
///
/// A history that is malformed is a finding, what a checker cannot decide is `unknown`, and
/// a run without operations is not clean either: nothing was checked.
#[derive(Clone)]
pub struct ObjectRecorder {
    world: World,
    state: Arc<Mutex<State>>,
}

struct State {
    checker: ObjectChecker,
    keep: Keep,
    operations: u64,
    unknown_outcomes: u64,
    finding: Option<Finding>,
    history: Vec<ObjectEvent>,
    timetable: Vec<Began>,
    /// Who waits for the first finding.
    waker: Option<Waker>,
}

impl ObjectRecorder {
    /// A recorder at the start of a run, for histories of that model.
    pub fn new(world: World, model: ObjectModel, keep: Keep, limits: Limits) -> Self {
        let usual = CheckerOptions::default();
        let options = CheckerOptions {
            configurations_max: limits.of(usual.configurations_max),
            ..usual
        };
        let state = State {
            checker: ObjectChecker::new(model, options),
            keep,
            operations: 0,
            unknown_outcomes: 0,
            finding: None,
            history: Vec::new(),
            timetable: Vec::new(),
            waker: None,
        };
        Self {
            world,
            state: Arc::new(Mutex::new(state)),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A client that panicked is a finding of its own.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ns(&self) -> u64 {
        self.world.now().as_nanos() as u64
    }

    /// A client is about to send an operation. A client that goes on after one of its
    /// operations had an unknown outcome is another client to a checker, so its session is
    /// named: a number that is never used by two operations at once.
    pub fn called(&self, session: u64, request: Request) -> OperationId {
        let mut state = self.state();
        let op = OperationId(state.operations);
        state.operations += 1;
        let event = ObjectEvent::call(self.now_ns(), session, op, request);
        self.observe(&mut state, event, "call");
        op
    }

    /// The operation has ended.
    pub fn ended(&self, session: u64, op: OperationId, ending: Ending) {
        let mut state = self.state();
        let now_ns = self.now_ns();
        let (event, label) = match ending {
            Ending::Done(answer) => (ObjectEvent::returned(now_ns, session, op, answer), "return"),
            Ending::Refused => (ObjectEvent::failed(now_ns, session, op), "failed"),
            Ending::Unknown => {
                state.unknown_outcomes += 1;
                (ObjectEvent::unknown(now_ns, session, op), "unknown")
            }
        };
        self.observe(&mut state, event, label);
    }

    /// A client begins the operation of that number in its plan.
    pub fn begins(&self, client: u64, number: usize) {
        let at_ms = self.world.now().as_millis() as u64;
        let mut state = self.state();
        if state.keep.timetable {
            state.timetable.push(Began {
                client,
                number,
                at_ms,
            });
        }
    }

    /// Something is wrong that is not in the history.
    pub fn report(&self, finding: Finding) {
        let mut state = self.state();
        self.note(&mut state, finding);
    }

    /// Lets `work` run until it is done, something is wrong, or that time of the run has come;
    /// then ends the history. So a run ends at the earliest event that is wrong.
    pub async fn watch(
        &self,
        work: impl Future<Output = ()>,
        until: Option<Duration>,
    ) -> Observed<ObjectEvent> {
        let (mut work, mut stopped) = (pin!(work), pin!(stop_at(&self.world, until)));
        poll_fn(|context| {
            let is_over = {
                let mut state = self.state();
                state.waker = Some(context.waker().clone());
                state.finding.is_some()
            };
            if is_over
                || stopped.as_mut().poll(context).is_ready()
                || work.as_mut().poll(context).is_ready()
            {
                return Poll::Ready(());
            }
            Poll::Pending
        })
        .await;
        self.finish()
    }

    fn observe(&self, state: &mut State, event: ObjectEvent, label: &str) {
        let number = event.operation().map_or(0, |op| op.0);
        // The history is part of the digest: two runs that differ in it differ.
        self.world.record(label, number);
        if state.finding.is_none()
            && let Err(rejection) = state.checker.observe(&event)
        {
            let finding = match rejection {
                Rejection::Violation(violation) => violation_finding(&violation),
                Rejection::Malformed(malformed) => Finding::new(
                    Class::Crash,
                    "malformed-history",
                    format!("the recorded history is malformed: {malformed}"),
                ),
            };
            self.note(state, finding);
        }
        if state.keep.history {
            state.history.push(event);
        }
    }

    fn note(&self, state: &mut State, finding: Finding) {
        if state.finding.is_none() {
            self.world.record("finding", 0);
            state.finding = Some(finding);
            if let Some(waker) = state.waker.take() {
                waker.wake();
            }
        }
    }

    /// Ends the history.
    pub fn finish(&self) -> Observed<ObjectEvent> {
        let mut state = self.state();
        let mut undecided = None;
        if state.finding.is_none() {
            match state.checker.finish() {
                Verdict::Ok if state.operations == 0 => {
                    undecided = Some("no operation was called: nothing was checked".to_owned());
                }
                Verdict::Ok => {}
                Verdict::Violation(violation) => {
                    state.finding = Some(violation_finding(&violation));
                }
                Verdict::Unknown(unknown) => undecided = Some(unknown.to_string()),
            }
        }
        Observed {
            operations: state.operations,
            unknown_outcomes: state.unknown_outcomes,
            finding: state.finding.clone(),
            undecided,
            history: state
                .keep
                .history
                .then(|| std::mem::take(&mut state.history)),
            timetable: state
                .keep
                .timetable
                .then(|| std::mem::take(&mut state.timetable)),
            ..Observed::nothing()
        }
    }
}

/// A violation of a checker as a finding.
pub fn violation_finding(violation: &Violation) -> Finding {
    let signature = serde_json::to_value(violation.kind)
        .ok()
        .and_then(|kind| kind.as_str().map(str::to_owned))
        .unwrap_or_else(|| format!("{:?}", violation.kind));
    Finding {
        class: Class::Violation,
        signature,
        text: violation.to_string(),
        witness: Some(Box::new(violation.clone())),
    }
}

/// The operations of a history as they are shown; `process_of` names the process that a
/// session belongs to.
pub fn shown_operations(
    history: &[ObjectEvent],
    process_of: impl Fn(u64) -> String,
) -> Vec<ShownOperation> {
    let mut shown: Vec<ShownOperation> = Vec::new();
    let mut open: BTreeMap<OperationId, usize> = BTreeMap::new();
    for event in history {
        let (op, ending, answer) = match &event.kind {
            EventKind::Call { op, input } => {
                open.insert(*op, shown.len());
                shown.push(ShownOperation {
                    op: Some(op.0),
                    session: event.client,
                    process: process_of(event.client),
                    call_ns: event.time_ns,
                    end_ns: None,
                    ending: ShownEnding::Open,
                    is_read: false,
                    keys: vec![input.key.to_string()],
                    text: input.to_string(),
                });
                continue;
            }
            EventKind::Return { op, output } => (op, ShownEnding::Done, output.to_string()),
            EventKind::Unknown { op } => (op, ShownEnding::Unknown, "outcome unknown".to_owned()),
            EventKind::Failed { op } => (op, ShownEnding::NoEffect, "no effect".to_owned()),
            EventKind::Note { note } => match *note {},
        };
        if let Some(operation) = open.remove(op).and_then(|at| shown.get_mut(at)) {
            operation.end_ns = Some(event.time_ns);
            operation.ending = ending;
            operation.text.push_str(" → ");
            operation.text.push_str(&answer);
        }
    }
    shown
}
