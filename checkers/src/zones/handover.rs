//! The handover from clusters to configurations: what engine A has to know to go on.
//!
//! A cluster is known by two operations: a write that returned at f(v) and a read that was
//! called at s(v); the theorem behind this engine says that no more matters. Of the forgotten
//! clusters the latest stands for all: the others are over before anything that is still to
//! come. A chain is known by the replacements between its values; if its beginning is
//! forgotten, one value stands for that.

use veridical_histories::OperationId;
use veridical_histories::object::{Action, Answer, Request, Value};

use super::{Cluster, Origin, Unseen, Zones};
use crate::feed::FrontierFeed;
use crate::models::{ObjectModel, ObjectState};
use crate::objects::ObjectFrontier;
use crate::witness::{Recorded, RecordedFor};

/// A value that nothing reads: what was there before the oldest cluster that is known
/// (0), or at the beginning of a chain.
fn forgotten_value(chain: u64) -> Value {
    Value::list([Value::text("forgotten"), Value::Int(chain as i64)])
}

/// A value that was certainly there.
struct KnownValue {
    value: Value,
    written_call: u64,
    /// The event by which it was there.
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
    pub feed: FrontierFeed<ObjectModel, ObjectFrontier>,
    /// Tokens of open writes that have taken effect already: their ends tell nothing.
    pub settled: Vec<u64>,
    /// The same operations for a witness, and the state before them.
    pub recorded: Vec<RecordedFor<ObjectModel>>,
    pub initial: ObjectState,
    /// How many tokens the handover used.
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
    fn known_values(&self) -> Vec<KnownValue> {
        let live = self.clusters.iter().zip(&self.origins);
        let mut links: Vec<(&Cluster, &Origin)> =
            live.filter(|(cluster, _)| cluster.is_settled()).collect();
        links.sort_by_key(|(cluster, _)| (cluster.chain, cluster.rank));
        let mut known: Vec<KnownValue> = Vec::new();
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
                    known.push(KnownValue {
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
            known.push(KnownValue {
                value: cluster.value.clone(),
                written_call: origin.written_call,
                there,
                s: origin.s,
                from,
                write: origin.trace.write.map(|write| write.op.0),
            });
        }
        if let Some((cluster, origin)) = self.evicted.as_deref() {
            known.push(KnownValue {
                value: cluster.value.clone(),
                written_call: origin.written_call,
                there: cluster.chain_f,
                s: cluster.chain_s,
                from: None,
                write: origin.trace.write.map(|write| write.op.0),
            });
        }
        known
    }

    /// Tells engine A everything that matters about this key up to the event `now`.
    /// Tokens from `first_token` on are not used by the history's operations.
    pub fn hand_over(
        &self,
        model: &ObjectModel,
        key: &Value,
        open: &[OpenOperation<'_>],
        first_token: u64,
        now: u64,
    ) -> Handover {
        let mut retelling = Retelling {
            key,
            now,
            next_token: first_token,
            initial: forgotten_value(0),
            steps: Vec::new(),
            settled: Vec::new(),
        };
        for known in self.known_values() {
            retelling.known_value(known, open);
        }
        let mut unseen: Vec<(&Value, &Unseen)> = self.unseen.iter().collect();
        unseen.sort_unstable_by_key(|(_, unseen)| (unseen.call, unseen.trace.op));
        for (value, unseen) in unseen {
            retelling.unseen(value, unseen);
        }
        for operation in open {
            if !retelling.settled.contains(&operation.token) {
                retelling
                    .steps
                    .push((operation.call, Step::Open(operation)));
            }
        }
        retelling.finish(model, first_token)
    }
}

/// The history that engine A is told in the place of the real one.
struct Retelling<'a> {
    key: &'a Value,
    now: u64,
    next_token: u64,
    initial: Value,
    /// Steps with the event at which each of them happens.
    steps: Vec<(u64, Step<'a>)>,
    /// Tokens of open writes that have taken effect already.
    settled: Vec<u64>,
}

impl<'a> Retelling<'a> {
    /// A call of `action` at the event `at`; its token.
    fn call(&mut self, at: u64, action: Action) -> u64 {
        let token = self.next_token;
        self.next_token += 1;
        let request = Request {
            key: self.key.clone(),
            action,
        };
        self.steps.push((at, Step::Call { token, request }));
        token
    }

    fn returned(&mut self, at: u64, token: u64, answer: Answer) {
        self.steps.push((at, Step::Return { token, answer }));
    }

    /// A write by which the value was there, and a read that saw it last.
    fn known_value(&mut self, known: KnownValue, open: &[OpenOperation<'_>]) {
        if known.there == 0 {
            self.initial = known.value.clone();
        } else {
            let action = match known.from {
                Some(from) => Action::Cas {
                    from,
                    to: known.value.clone(),
                },
                None => Action::Write(known.value.clone()),
            };
            let write = self.call(known.written_call.min(known.there), action);
            self.returned(known.there, write, Answer::Done);
            let is_open = |write: &u64| open.iter().any(|open| open.token == *write);
            self.settled.extend(known.write.filter(is_open));
        }
        if known.s > 0 && known.s > known.written_call {
            let read = self.call(known.s, Action::Read);
            self.returned(self.now, read, Answer::Value(known.value));
        }
    }

    /// A write of unknown outcome that nobody has seen.
    fn unseen(&mut self, value: &Value, unseen: &Unseen) {
        let to = value.clone();
        let action = match unseen.from.clone() {
            Some(from) => Action::Cas { from, to },
            None => Action::Write(to),
        };
        let token = self.call(unseen.call, action);
        self.steps.push((self.now, Step::Unknown { token }));
    }

    /// Tells engine A all steps in their order.
    fn finish(mut self, model: &ObjectModel, first_token: u64) -> Handover {
        self.steps.sort_by_key(|(at, _)| *at);
        let initial = ObjectState::Value(self.initial);
        let mut feed = FrontierFeed::new(model, vec![initial.clone()]);
        let mut recorded: Vec<RecordedFor<ObjectModel>> = Vec::new();
        for (at, step) in self.steps {
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
                    feed.call(token, request);
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
                    feed.call(operation.token, operation.request.clone());
                }
                Step::Return { token, answer } => {
                    let known = recorded.iter_mut().find(|known| known.op.0 == token);
                    if let Some(known) = known {
                        known.end = Some((at, 0, answer.clone()));
                    }
                    feed.returned(token, answer, at);
                }
                Step::Unknown { token } => feed.unknown(token),
            }
        }
        Handover {
            feed,
            settled: self.settled,
            recorded,
            initial,
            tokens: self.next_token - first_token,
        }
    }
}
