//! From clusters to configurations: what engine A has to know to go on.
//!
//! A cluster is told by two operations: a write that returned at f(v) and a read that was
//! called at s(v); the theorem behind this engine says that no more matters. Of the
//! forgotten ones the latest stands for all: the others are over before anything that is
//! still to come. A chain is told by the replacements between its values; if its beginning
//! is forgotten, one value stands for that.

use veridical_histories::OperationId;
use veridical_histories::object::{Action, Answer, Request, Value};

use super::{Cluster, Origin, Unseen, Zones};
use crate::feed::Lane;
use crate::models::{ObjectModel, ObjectState};
use crate::objects::ObjectFrontier;
use crate::witness::{Recorded, RecordedFor};

/// A value that nothing reads: what was there before the oldest cluster that is known
/// (0), or at the beginning of a chain.
fn forgotten_value(chain: u64) -> Value {
    Value::list([Value::text("forgotten"), Value::Int(chain as i64)])
}

/// A value that was certainly there.
struct Told {
    value: Value,
    written_call: u64,
    /// By when it was there.
    there: u64,
    /// The latest call of an operation that saw it.
    s: u64,
    /// What it replaced, where that is known.
    from: Option<Value>,
    write: Option<u64>,
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
    pub lane: Lane<ObjectModel, ObjectFrontier>,
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
    /// The values that were certainly there, as far as they are not forgotten.
    fn told(&self) -> Vec<Told> {
        let live = self.clusters.iter().zip(&self.origins);
        let mut links: Vec<(&Cluster, &Origin)> =
            live.filter(|(cluster, _)| cluster.is_settled()).collect();
        links.sort_by_key(|(cluster, _)| (cluster.chain, cluster.rank));
        let mut told: Vec<Told> = Vec::new();
        for (at, (cluster, origin)) in links.iter().enumerate() {
            let is_chained = cluster.chain != 0;
            let chain = links
                .iter()
                .filter(|(other, _)| other.chain == cluster.chain);
            let mut from = None;
            if is_chained {
                let before = at.checked_sub(1).map(|before| links[before].0);
                from = before
                    .filter(|before| before.chain == cluster.chain)
                    .map(|before| before.value.clone());
                if from.is_none() && cluster.rank > 0 {
                    // Its beginning is forgotten.
                    let beginning = forgotten_value(cluster.chain);
                    let latest = chain.clone().map(|(_, origin)| origin.s).max();
                    told.push(Told {
                        value: beginning.clone(),
                        written_call: cluster.chain_f.min(cluster.chain_s),
                        there: cluster.chain_f,
                        s: if latest < Some(cluster.chain_s) {
                            cluster.chain_s
                        } else {
                            0
                        },
                        from: None,
                        write: None,
                    });
                    from = Some(beginning);
                }
            }
            // What came later in its chain was there only after it.
            let there = if is_chained {
                let later = chain.filter(|(other, _)| other.rank >= cluster.rank);
                later.map(|(other, _)| other.f).min().unwrap_or(cluster.f)
            } else {
                cluster.f
            };
            told.push(Told {
                value: cluster.value.clone(),
                written_call: origin.written_call,
                there,
                s: origin.s,
                from,
                write: origin.trace.write.map(|write| write.op.0),
            });
        }
        if let Some((cluster, origin)) = self.evicted.as_deref() {
            told.push(Told {
                value: cluster.value.clone(),
                written_call: origin.written_call,
                there: cluster.chain_f,
                s: cluster.chain_s,
                from: None,
                write: origin.trace.write.map(|write| write.op.0),
            });
        }
        told
    }

    /// Tells engine A everything that matters about this key up to the event `now`.
    /// Tokens from `first_token` on are not used by the history's operations.
    pub fn to_lane(
        &self,
        model: &ObjectModel,
        key: &Value,
        open: &[OpenOperation<'_>],
        first_token: u64,
        now: u64,
    ) -> Handover {
        let mut initial = forgotten_value(0);
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
        for told in self.told() {
            if told.there == 0 {
                initial = told.value.clone();
            } else {
                let write = token();
                let action = match told.from {
                    Some(from) => Action::Cas {
                        from,
                        to: told.value.clone(),
                    },
                    None => Action::Write(told.value.clone()),
                };
                steps.push((
                    told.written_call.min(told.there),
                    Step::Call {
                        token: write,
                        request: request(action),
                    },
                ));
                steps.push((
                    told.there,
                    Step::Return {
                        token: write,
                        answer: Answer::Done,
                    },
                ));
                settled.extend(
                    told.write
                        .filter(|write| open.iter().any(|open| open.token == *write)),
                );
            }
            if told.s > 0 && told.s > told.written_call {
                let read = token();
                steps.push((
                    told.s,
                    Step::Call {
                        token: read,
                        request: request(Action::Read),
                    },
                ));
                let answer = Answer::Value(told.value);
                steps.push((
                    now,
                    Step::Return {
                        token: read,
                        answer,
                    },
                ));
            }
        }
        let mut unseen: Vec<(&Value, &Unseen)> = self.unseen.iter().collect();
        unseen.sort_unstable_by_key(|(_, unseen)| (unseen.call, unseen.trace.op));
        for (value, unseen) in unseen {
            let lost = token();
            let to = value.clone();
            let written = request(match unseen.from.clone() {
                Some(from) => Action::Cas { from, to },
                None => Action::Write(to),
            });
            steps.push((
                unseen.call,
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
        let mut lane = Lane::new(model, vec![initial.clone()]);
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
