//! The operations of one object since it was last idle, and the smallest part of them
//! that is still wrong.

use std::collections::VecDeque;

use veridical_histories::OperationId;

use crate::feed::{FeedVerdict, FrontierFeed};
use crate::frontier::Explain;
use crate::model::Model;
use crate::verdict::WitnessOperation;

/// Rounds of deletion after which a witness counts as small enough.
const MINIMIZE_CHECKS_MAX: usize = 20_000;
/// Operations that may be judged in all rounds together.
const MINIMIZE_OPERATIONS_MAX: usize = 1 << 17;
/// Configurations that may be looked at for each check, where these are enough for the whole.
const MINIMIZE_CONFIGURATIONS_MAX: usize = 1 << 12;

/// One operation as it was recorded.
#[derive(Clone, Debug)]
pub(crate) struct Recorded<I, O> {
    pub op: OperationId,
    pub client: u64,
    pub call_event: u64,
    pub call_ns: u64,
    pub input: I,
    /// Event, time and answer of the return; `None` where the outcome is unknown.
    pub end: Option<(u64, u64, O)>,
}

/// An operation of a model's history.
pub(crate) type RecordedFor<M> = Recorded<<M as Model>::Input, <M as Model>::Output>;

impl<I, O> Recorded<I, O> {
    pub fn witness(&self, model: &impl Model<Input = I, Output = O>) -> WitnessOperation {
        WitnessOperation {
            op: Some(self.op),
            client: self.client,
            call_ns: self.call_ns,
            return_ns: self.end.as_ref().map(|(_, return_ns, _)| *return_ns),
            text: model.describe(&self.input, self.end.as_ref().map(|(_, _, output)| output)),
        }
    }
}

/// A wrong part of a history.
pub(crate) struct Minimal<M: Model> {
    /// States in which the object can have been before it.
    pub states: Vec<M::State>,
    pub operations: Vec<RecordedFor<M>>,
    /// The first event with which it is wrong.
    pub event: u64,
}

/// The operations of one object since it was last idle.
#[derive(Debug)]
pub(crate) struct Recording<M: Model> {
    states: Vec<M::State>,
    operations: VecDeque<RecordedFor<M>>,
    operations_max: usize,
    /// Operations were left out: what is kept need not be wrong by itself.
    is_truncated: bool,
}

impl<M: Model> Recording<M> {
    pub fn new(states: Vec<M::State>, operations_max: usize) -> Self {
        Self {
            states,
            operations: VecDeque::new(),
            operations_max,
            is_truncated: false,
        }
    }

    pub fn call(&mut self, recorded: RecordedFor<M>) {
        if self.operations.len() == self.operations_max {
            // The oldest closed operation goes; open ones are still needed.
            let oldest = self
                .operations
                .iter()
                .position(|old| old.end.is_some())
                .unwrap_or(0);
            self.operations.remove(oldest);
            self.is_truncated = true;
        }
        self.operations.push_back(recorded);
    }

    pub fn returned(&mut self, op: OperationId, event: u64, return_ns: u64, output: M::Output) {
        let recorded = self
            .operations
            .iter_mut()
            .rev()
            .find(|recorded| recorded.op == op);
        if let Some(recorded) = recorded {
            recorded.end = Some((event, return_ns, output));
        }
    }

    /// The operation of unknown outcome with this input that was called last.
    pub fn unknown(&self, input: &M::Input) -> Option<&RecordedFor<M>> {
        self.operations
            .iter()
            .rev()
            .find(|recorded| recorded.end.is_none() && recorded.input == *input)
    }

    /// Forgets all but the newest operations.
    pub fn shorten(&mut self, operations_max: usize) {
        if self.operations.len() > operations_max {
            let first = self.operations.len() - operations_max;
            self.operations.drain(..first);
            self.operations.shrink_to_fit();
            self.is_truncated = true;
        }
    }

    /// The states before everything, and all operations since; `None` where some are
    /// forgotten.
    pub fn whole(&self) -> Option<(&[M::State], impl Iterator<Item = &RecordedFor<M>>)> {
        (!self.is_truncated).then(|| (&self.states[..], self.operations.iter()))
    }

    /// What is recorded need not be wrong by itself.
    pub fn begins_unknown(&mut self) {
        self.is_truncated = true;
    }

    fn shortest_wrong<F: Explain<M>>(
        &self,
        model: &M,
        operations: &[RecordedFor<M>],
        limit: usize,
    ) -> Option<(u64, Vec<RecordedFor<M>>)> {
        // Later answers become unknown.
        let mut ends: Vec<u64> = operations
            .iter()
            .filter_map(|recorded| recorded.end.as_ref().map(|(end, _, _)| *end))
            .collect();
        ends.sort_unstable();
        let shortest = ends
            .partition_point(|end| !self.is_wrong::<F>(model, &prefix(operations, *end), limit));
        let end = *ends.get(shortest)?;
        Some((end, prefix(operations, end)))
    }

    /// Bytes held, estimated.
    pub fn bytes(&self) -> usize {
        self.operations.capacity() * size_of::<RecordedFor<M>>()
    }

    pub fn failed(&mut self, op: OperationId) {
        self.operations.retain(|recorded| recorded.op != op);
    }

    /// A smallest part of the recorded operations up to `event` that no order explains:
    /// with any one of its operations left out it is explained.
    pub fn minimize<F: Explain<M>>(&self, model: &M, event: u64, limit: usize) -> Minimal<M> {
        let mut operations: Vec<RecordedFor<M>> = self
            .operations
            .iter()
            .filter(|recorded| recorded.call_event <= event)
            .cloned()
            .collect();
        let is_wrong = |limit| self.is_wrong::<F>(model, &operations, limit);
        let few = limit.min(MINIMIZE_CONFIGURATIONS_MAX);
        // Without the beginning any state is possible, and nothing can be proved.
        let limit = [few, limit]
            .into_iter()
            .find(|limit| !self.is_truncated && is_wrong(*limit));
        let Some(limit) = limit else {
            return Minimal {
                states: self.states.clone(),
                operations,
                event,
            };
        };
        let mut first_wrong = event;
        if let Some((end, shorter)) = self.shortest_wrong::<F>(model, &operations, limit) {
            operations = shorter;
            first_wrong = end;
        }
        let (mut checks, mut judged) = (0, 0);
        let mut chunk = operations.len().div_ceil(2);
        while chunk > 0 && checks < MINIMIZE_CHECKS_MAX && judged < MINIMIZE_OPERATIONS_MAX {
            let mut at = 0;
            let mut has_shrunk = false;
            let may_go_on =
                |checks, judged| checks < MINIMIZE_CHECKS_MAX && judged < MINIMIZE_OPERATIONS_MAX;
            while at < operations.len() && may_go_on(checks, judged) {
                let end = (at + chunk).min(operations.len());
                let mut fewer = operations.clone();
                fewer.drain(at..end);
                checks += 1;
                judged += fewer.len();
                if self.is_wrong::<F>(model, &fewer, limit) {
                    operations = fewer;
                    has_shrunk = true;
                } else {
                    at = end;
                }
            }
            // Single operations are tried until none can go.
            chunk = if chunk == 1 && has_shrunk {
                1
            } else {
                chunk / 2
            };
        }
        Minimal {
            states: self.states.clone(),
            operations,
            event: first_wrong,
        }
    }

    fn is_wrong<F: Explain<M>>(
        &self,
        model: &M,
        operations: &[RecordedFor<M>],
        limit: usize,
    ) -> bool {
        enum Step<'a, M: Model> {
            Call(&'a RecordedFor<M>),
            Return(&'a RecordedFor<M>),
        }
        let mut steps: Vec<(u64, Step<'_, M>)> = Vec::new();
        for recorded in operations {
            steps.push((recorded.call_event, Step::Call(recorded)));
            if let Some((end, _, _)) = &recorded.end {
                steps.push((*end, Step::Return(recorded)));
            }
        }
        steps.sort_by_key(|(event, _)| *event);
        let mut feed: FrontierFeed<M, F> = FrontierFeed::new(model, self.states.clone());
        for (event, step) in steps {
            match step {
                Step::Call(recorded) => feed.call(recorded.op.0, recorded.input.clone()),
                Step::Return(recorded) => {
                    let (_, _, output) = recorded.end.as_ref().expect("it returned");
                    feed.returned(recorded.op.0, output.clone(), event);
                }
            }
        }
        feed.finish();
        matches!(feed.advance(model, limit), FeedVerdict::Violation { .. })
    }
}

/// The operations called by the event `last`; answers after it are unknown.
fn prefix<I: Clone, O: Clone>(operations: &[Recorded<I, O>], last: u64) -> Vec<Recorded<I, O>> {
    operations
        .iter()
        .filter(|recorded| recorded.call_event <= last)
        .cloned()
        .map(|mut recorded| {
            if recorded.end.as_ref().is_some_and(|(end, _, _)| *end > last) {
                recorded.end = None;
            }
            recorded
        })
        .collect()
}
