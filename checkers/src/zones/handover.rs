//! From clusters to configurations: what engine A has to know to go on.
//!
//! A cluster is told by two operations: a write that returned at f(v) and a read that was
//! called at s(v); the theorem behind this engine says that no more matters. Of the
//! forgotten ones the latest stands for all: the others are over before anything that is
//! still to come.

use veridical_histories::OperationId;
use veridical_histories::object::{Action, Answer, Request, Value};

use super::{Cluster, Origin, Zones};
use crate::lane::Lane;
use crate::models::{ObjectModel, ObjectState};
use crate::witness::{Recorded, RecordedFor};

/// A value that nothing reads: what was there before the oldest cluster that is known.
fn forgotten_value() -> Value {
    Value::list([Value::text("forgotten")])
}

/// An operation that is still open.
pub(crate) struct OpenOperation<'a> {
    pub token: u64,
    pub call: u64,
    pub client: u64,
    pub call_ns: u64,
    pub request: &'a Request,
}

/// What engine A goes on with.
pub(crate) struct Handover {
    pub lane: Lane<ObjectModel>,
    /// Tokens of open writes that have taken effect already: their ends tell nothing.
    pub settled: Vec<u64>,
    /// The same operations for a witness, and the state before them.
    pub recorded: Vec<RecordedFor<ObjectModel>>,
    pub initial: ObjectState,
    /// How many tokens were used.
    pub tokens: u64,
}

enum Step<'a> {
    Call { token: u64, request: Request },
    Open(&'a OpenOperation<'a>),
    Return { token: u64, answer: Answer },
    Unknown { token: u64 },
}

impl Zones {
    /// Tells engine A everything that matters about this key up to the event `now`.
    /// Tokens from `first_token` on are not used by the history's operations.
    pub fn to_lane(
        &self,
        key: &Value,
        open: &[OpenOperation<'_>],
        first_token: u64,
        now: u64,
    ) -> Handover {
        let mut initial = forgotten_value();
        let mut steps: Vec<(u64, Step<'_>)> = Vec::new();
        let mut settled = Vec::new();
        let mut next_token = first_token;
        let mut token = || {
            next_token += 1;
            next_token - 1
        };
        let request = |action| Request {
            key: key.clone(),
            action,
        };
        let known = self.clusters.iter().zip(&self.origins);
        let evicted = self.evicted.iter().map(|evicted| (&evicted.0, &evicted.1));
        for (
            Cluster { value, f, s },
            Origin {
                written_call,
                trace,
            },
        ) in known.chain(evicted)
        {
            if *f == u64::MAX {
                // Its write is among the open operations.
                continue;
            }
            if *f == 0 {
                initial = value.clone();
            } else {
                let write = token();
                let written = request(Action::Write(value.clone()));
                steps.push((
                    *written_call,
                    Step::Call {
                        token: write,
                        request: written,
                    },
                ));
                steps.push((
                    *f,
                    Step::Return {
                        token: write,
                        answer: Answer::Done,
                    },
                ));
                let is_open = |token: u64| open.iter().any(|open| open.token == token);
                if let Some(write) = &trace.write
                    && is_open(write.op.0)
                {
                    settled.push(write.op.0);
                }
            }
            if *s > 0 && *s > *written_call {
                let read = token();
                steps.push((
                    *s,
                    Step::Call {
                        token: read,
                        request: request(Action::Read),
                    },
                ));
                let answer = Answer::Value(value.clone());
                steps.push((
                    now,
                    Step::Return {
                        token: read,
                        answer,
                    },
                ));
            }
        }
        let mut unseen: Vec<(&Value, u64)> = self
            .unseen
            .iter()
            .map(|(value, (call, _))| (value, *call))
            .collect();
        unseen.sort_unstable_by_key(|(_, call)| *call);
        for (value, call) in unseen {
            let lost = token();
            let written = request(Action::Write(value.clone()));
            steps.push((
                call,
                Step::Call {
                    token: lost,
                    request: written,
                },
            ));
            steps.push((now, Step::Unknown { token: lost }));
        }
        for operation in open {
            if !settled.contains(&operation.token) {
                steps.push((operation.call, Step::Open(operation)));
            }
        }
        steps.sort_by_key(|(at, _)| *at);
        let initial = ObjectState::Value(initial);
        let mut lane = Lane::new([initial.clone()]);
        let mut recorded: Vec<RecordedFor<ObjectModel>> = Vec::new();
        for (at, step) in steps {
            match step {
                Step::Call { token, request } => {
                    recorded.push(Recorded {
                        op: OperationId(token),
                        client: 0,
                        call_event: at,
                        call_ns: 0,
                        input: request.clone(),
                        end: None,
                    });
                    lane.call(token, request);
                }
                Step::Open(operation) => {
                    recorded.push(Recorded {
                        op: OperationId(operation.token),
                        client: operation.client,
                        call_event: at,
                        call_ns: operation.call_ns,
                        input: operation.request.clone(),
                        end: None,
                    });
                    lane.call(operation.token, operation.request.clone());
                }
                Step::Return { token, answer } => {
                    let known = recorded.iter_mut().find(|known| known.op.0 == token);
                    if let Some(known) = known {
                        known.end = Some((at, 0, answer.clone()));
                    }
                    lane.returned(token, answer, at);
                }
                Step::Unknown { token } => lane.unknown(token),
            }
        }
        Handover {
            lane,
            settled,
            recorded,
            initial,
            tokens: next_token - first_token,
        }
    }
}
