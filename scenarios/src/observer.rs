//! The history of a run, checked while it is made.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::Notify;
use veridical_checkers::etcd::{EtcdChecker, EtcdOptions};
use veridical_checkers::{Rejection, Verdict};
use veridical_client::CallError;
use veridical_client::record::Ending;
use veridical_histories::etcd::{EtcdEvent, Outcome, Request, WatchNote};
use veridical_histories::{Event, EventKind, OperationId};
use veridical_proto::native::request::Body as Ask;
use veridical_proto::native::response::Body as Answer;
use veridical_world::World;

use crate::api::judge::{Asked, Judge};
#[cfg(test)]
use crate::api::traffic;
use crate::deletions::Deletions;

use veridical_harness::object_recorder::violation_finding;
use veridical_harness::report::Began;
use veridical_harness::report::{Class, Finding};
use veridical_harness::run::{Keep, Observed};

/// Takes the events of all clients and feeds them to the checker. The first finding
/// stays.
#[derive(Clone)]
pub struct Observer {
    world: World,
    state: Arc<Mutex<State>>,
    found: Arc<Notify>,
    judge: Judge,
}

struct State {
    checker: EtcdChecker,
    next_operation: u64,
    next_watch: u64,
    operations: u64,
    unknown_outcomes: u64,
    counts: BTreeMap<&'static str, u64>,
    finding: Option<Finding>,
    history: Option<Vec<EtcdEvent>>,
    timetable: Option<Vec<Began>>,
    deletions: Deletions,
}

impl Observer {
    /// An observer at the start of a run.
    pub fn new(world: World, options: EtcdOptions, judge: Judge, keep: Keep) -> Self {
        let state = State {
            checker: EtcdChecker::new(options),
            next_operation: 0,
            next_watch: 0,
            operations: 0,
            unknown_outcomes: 0,
            counts: BTreeMap::new(),
            finding: None,
            history: keep.history.then(Vec::new),
            timetable: keep.timetable.then(Vec::new),
            deletions: Deletions::default(),
        };
        Self {
            world,
            state: Arc::new(Mutex::new(state)),
            found: Arc::new(Notify::new()),
            judge,
        }
    }

    /// Who judges the answers.
    pub fn judge(&self) -> &Judge {
        &self.judge
    }

    /// What came back for a request is judged before anybody makes something of it.
    pub fn judged(
        &self,
        asked: &Asked,
        ask: &Ask,
        result: Result<Answer, CallError>,
    ) -> Result<Answer, CallError> {
        #[cfg(test)]
        let result = traffic::passes(ask, result);
        if let Err(wrong) = self.judge.judge(asked, ask, &result) {
            let text = format!("{wrong}: {result:?} to {ask:?}");
            self.report(Finding::new(Class::Violation, "wrong-answer", text));
        }
        result
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no panic while the observer is locked")
    }

    fn now_ns(&self) -> u64 {
        self.world.now().as_nanos() as u64
    }

    fn observe(&self, state: &mut State, event: EtcdEvent) {
        let (label, word) = match &event.kind {
            EventKind::Call { op, .. } => ("call", op.0),
            EventKind::Return { op, output } => match output {
                Outcome::Done { header, .. } => ("return", op.0 << 32 | header.revision as u64),
                Outcome::Refused { .. } => ("refused", op.0),
            },
            EventKind::Unknown { op } => ("unknown", op.0),
            EventKind::Failed { op } => ("failed", op.0),
            EventKind::Note {
                note: WatchNote::Created(created),
            } => ("watch", created.watch),
            EventKind::Note {
                note: WatchNote::Response(response),
            } => (
                "watch-response",
                response.watch << 32 | response.revision as u64,
            ),
        };
        self.world.record(label, word);
        if state.finding.is_none() {
            let found = match state.checker.observe(&event) {
                Ok(()) => None,
                Err(Rejection::Violation(violation)) => Some(violation_finding(&violation)),
                Err(Rejection::Malformed(malformed)) => Some(Finding::new(
                    Class::Crash,
                    "malformed-history",
                    format!("the recorded history is malformed: {malformed}"),
                )),
            };
            self.note(state, found);
        }
        if let Some(history) = &mut state.history {
            history.push(event);
        }
    }

    fn note(&self, state: &mut State, finding: Option<Finding>) {
        if let Some(finding) = finding
            && state.finding.is_none()
        {
            self.world.record("finding", 0);
            state.finding = Some(finding);
            self.found.notify_one();
        }
    }

    /// Something was done to the cluster that the report is to count.
    pub fn count(&self, name: &'static str) {
        self.world.record(name, 0);
        *self.state().counts.entry(name).or_default() += 1;
    }

    /// Something is wrong that is not in the history.
    pub fn report(&self, finding: Finding) {
        self.note(&mut self.state(), Some(finding));
    }

    /// Waits until something is wrong.
    pub async fn found(&self) {
        self.found.notified().await;
    }

    /// Waits until this time of the run.
    pub async fn wait_until(&self, at: Duration) {
        let left = at.saturating_sub(self.world.now());
        if !left.is_zero() {
            self.world.sleep(left).await;
        }
    }

    /// A client begins an operation of its plan.
    pub fn begins(&self, client: u64, number: usize) {
        let at_ms = self.world.now().as_millis() as u64;
        if let Some(timetable) = &mut self.state().timetable {
            timetable.push(Began {
                client,
                number,
                at_ms,
            });
        }
    }

    /// An operation is about to be sent.
    pub fn called(&self, client: u64, input: Request) -> OperationId {
        let mut state = self.state();
        let op = OperationId(state.next_operation);
        state.next_operation += 1;
        state.operations += 1;
        state.deletions.called(op, &input);
        self.observe(&mut state, Event::call(self.now_ns(), client, op, input));
        op
    }

    /// An operation has ended.
    pub fn ended(&self, client: u64, op: OperationId, ending: Ending) {
        let mut state = self.state();
        let now_ns = self.now_ns();
        let event = match ending {
            Ending::Known(outcome) => {
                state.deletions.done(op, now_ns);
                Event::returned(now_ns, client, op, outcome)
            }
            Ending::Unknown => {
                state.unknown_outcomes += 1;
                Event::unknown(now_ns, client, op)
            }
            Ending::Failed => {
                state.deletions.done(op, now_ns);
                Event::failed(now_ns, client, op)
            }
        };
        self.observe(&mut state, event);
    }

    /// Whether somebody's deletion may have taken `key` since then.
    pub fn may_have_deleted(&self, key: &[u8], since: Duration) -> bool {
        let since_ns = since.as_nanos() as u64;
        self.state().deletions.may_have_deleted(key, since_ns)
    }

    /// A number for a watch that is about to be created.
    pub fn next_watch(&self) -> u64 {
        let mut state = self.state();
        state.next_watch += 1;
        state.next_watch
    }

    /// A watch was created or has brought something.
    pub fn watched(&self, client: u64, note: WatchNote) {
        let mut state = self.state();
        self.observe(&mut state, Event::note(self.now_ns(), client, note));
    }

    /// Ends the history.
    pub fn finish(&self) -> Observed<EtcdEvent> {
        let mut state = self.state();
        let mut undecided = None;
        if state.finding.is_none() {
            match state.checker.finish() {
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
            observations: BTreeMap::from([(
                "watch responses".to_owned(),
                state.checker.statistics().watch_responses,
            )]),
            counts: std::mem::take(&mut state.counts),
            history: state.history.take(),
            timetable: state.timetable.take(),
            nodes_at_end: None,
        }
    }
}
