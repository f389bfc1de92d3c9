//! Histories of an etcd-like store, as etcd's robustness tests write them and as JSON lines, in all
//! their spellings and damaged in one place.

use std::collections::BTreeMap;
use std::io::Cursor;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use veridical_checkers::check::CheckModel;
use veridical_histories::etcd::reference::{Past, Store};
use veridical_histories::etcd::{
    Compare, CompareResult, CompareTarget, DeleteRangeRequest, DeleteRangeResult, EtcdEvent,
    KeyRange, KeyValue, Outcome, PutRequest, PutResult, RangeRequest, RangeResult, Request,
    Response, TTL_NOT_TOLD_S, TxnOp, TxnOpResult, TxnRequest, TxnResult,
};
use veridical_histories::formats::{self, Format, History, OpenOptions};
use veridical_histories::generate::etcd::{EtcdHistory, EtcdWorkload};
use veridical_histories::generate::inject_etcd::{EtcdInjection, inject};
use veridical_histories::random::Random;
use veridical_histories::{EventKind, OperationId};

use crate::damage::{
    self, FieldDamage, Reading, Told, check, damage_field, makes_unknown_or_leaves,
};

const OPERATIONS: Reading = Reading {
    model: CheckModel::Etcd,
    format: Format::EtcdOperations,
};
const JSONL: Reading = Reading {
    format: Format::Jsonl,
    ..OPERATIONS
};

/// Answers that no correct store gives.
const INJECTIONS: &[Option<EtcdInjection>] = &[
    None,
    None,
    Some(EtcdInjection::StaleValue),
    Some(EtcdInjection::LostWrite),
    Some(EtcdInjection::SwappedRevisions),
    Some(EtcdInjection::TornRange),
];

/// What etcd's robustness tests ask for.
fn request(store: &Store, random: &mut Random, count: u64) -> Request {
    let key = |random: &mut Random| Bytes::from(format!("k{}", random.below(4)));
    match random.below(20) {
        0 => Request::LeaseGrant {
            id: count as i64 + 1,
            ttl_s: TTL_NOT_TOLD_S,
        },
        1 => Request::LeaseRevoke {
            id: 1 + random.below(count + 1) as i64,
        },
        2 => Request::Compact {
            revision: 1 + random.below(store.revision() as u64) as i64,
        },
        3..10 => {
            let range = match random.chance(0.5) {
                true => KeyRange::single(key(random)),
                false => KeyRange::span("k0", key(random)),
            };
            let is_old = random.chance(0.15);
            let revision = match is_old {
                true => 1 + random.below(store.revision() as u64) as i64,
                false => 0,
            };
            Request::Range(RangeRequest {
                limit: random.below(3) as i64,
                revision,
                serializable: is_old,
                ..RangeRequest::of(range)
            })
        }
        _ => Request::Txn(txn(store, random, count)),
    }
}

fn txn(store: &Store, random: &mut Random, count: u64) -> TxnRequest {
    let key = |random: &mut Random| Bytes::from(format!("k{}", random.below(4)));
    let step = |random: &mut Random| match random.below(4) {
        0 => TxnOp::Range(RangeRequest::get(key(random))),
        1 => TxnOp::DeleteRange(DeleteRangeRequest::of(KeyRange::single(key(random)))),
        _ => {
            let mut put = PutRequest::of(key(random), format!("v{count}"));
            if random.chance(0.1)
                && let Some((lease, _)) = store.leases().iter().next()
            {
                put.lease = *lease;
            }
            TxnOp::Put(put)
        }
    };
    let mut compares = Vec::new();
    if random.chance(0.4) {
        let target = match random.chance(0.3) {
            true => CompareTarget::Version(1 + random.below(3) as i64),
            false => CompareTarget::ModRevision(random.below(store.revision() as u64 + 1) as i64),
        };
        compares.push(Compare {
            range: KeyRange::single(key(random)),
            target,
            result: CompareResult::Equal,
        });
    }
    let failure = match compares.is_empty() {
        true => Vec::new(),
        false => vec![step(random)],
    };
    TxnRequest {
        compares,
        success: vec![step(random)],
        failure,
    }
}

#[derive(Clone, Debug)]
enum Client {
    Idle,
    Called(OperationId, Request),
    /// It was carried out; `None` where its client is not told.
    Applied(OperationId, Option<Outcome>),
}

/// A history as etcd's tests can tell it: what was refused, or not answered, has no end.
fn operations(seed: u64, count: u64, injection: Option<EtcdInjection>) -> Vec<EtcdEvent> {
    let mut random = Random::new(seed);
    let mut store = Store::new(1, Past::Everything);
    let mut clients: Vec<(u64, Client)> = (1..5).map(|client| (client, Client::Idle)).collect();
    let (mut events, mut called, mut next_client, mut now_ns) = (Vec::new(), 0, 5, 0);
    while called < count
        || clients
            .iter()
            .any(|(_, client)| !matches!(client, Client::Idle))
    {
        now_ns += 10;
        let slot = random.index(clients.len());
        let (session, client) = clients[slot].clone();
        clients[slot].1 = match client {
            Client::Idle if called == count => Client::Idle,
            Client::Idle => {
                let (op, request) = (OperationId(called), request(&store, &mut random, called));
                called += 1;
                events.push(EtcdEvent::call(now_ns, session, op, request.clone()));
                Client::Called(op, request)
            }
            Client::Called(op, request) => {
                let outcome = store.apply(&request);
                let is_told = matches!(outcome, Outcome::Done { .. }) && random.chance(0.95);
                Client::Applied(op, is_told.then(|| as_told(&request, outcome)))
            }
            Client::Applied(op, Some(outcome)) => {
                events.push(EtcdEvent::returned(now_ns, session, op, outcome));
                Client::Idle
            }
            Client::Applied(_, None) => {
                clients[slot].0 = next_client;
                next_client += 1;
                Client::Idle
            }
        };
    }
    if let Some(injection) = injection {
        inject(&mut events, injection, &mut random);
    }
    events
}

/// What these files tell of an answer.
fn as_told(request: &Request, outcome: Outcome) -> Outcome {
    let range = |result: RangeResult, limit: i64| RangeResult {
        more: limit > 0 && result.count > result.kvs.len() as i64,
        count: result.count,
        kvs: result
            .kvs
            .into_iter()
            .map(|pair| KeyValue {
                create_revision: 0,
                lease: -1,
                ..pair
            })
            .collect(),
    };
    let Outcome::Done {
        mut header,
        response,
    } = outcome
    else {
        panic!("refusals are not told: {outcome:?}");
    };
    let response = match (request, response) {
        (Request::Range(asked), Response::Range(result)) => {
            if asked.revision > 0 {
                header.revision = asked.revision;
            }
            Response::Range(range(result, asked.limit))
        }
        (Request::Txn(_), Response::Txn(result)) => {
            let results = result.results.into_iter().map(|result| match result {
                TxnOpResult::Range(result) => TxnOpResult::Range(range(result, 0)),
                TxnOpResult::Put(_) => TxnOpResult::Put(PutResult::default()),
                TxnOpResult::DeleteRange(result) => TxnOpResult::DeleteRange(DeleteRangeResult {
                    prev_kvs: Vec::new(),
                    ..result
                }),
                TxnOpResult::Txn(_) => panic!("there are no transactions in transactions"),
            });
            Response::Txn(TxnResult {
                results: results.collect(),
                ..result
            })
        }
        (_, response) => response,
    };
    Outcome::Done { header, response }
}

fn text(bytes: &Bytes) -> &str {
    std::str::from_utf8(bytes).expect("all keys and values are text")
}

fn range_json(range: &RangeRequest) -> Json {
    json!({
        "Start": text(&range.range.key), "End": text(&range.range.range_end), "Limit": range.limit,
    })
}

fn step_json(step: &TxnOp) -> Json {
    let nothing = json!({"Start": "", "End": "", "Limit": 0});
    let no_put = json!({"Key": "", "Value": {}, "LeaseID": 0});
    let no_delete = json!({"Key": ""});
    match step {
        TxnOp::Range(range) => json!({"Type": "range-operation", "Range": range_json(range),
            "Put": no_put, "Delete": no_delete}),
        TxnOp::Put(put) => json!({"Type": "put-operation", "Range": nothing,
            "Put": {"Key": text(&put.key), "Value": {"Value": text(&put.value)},
                "LeaseID": put.lease},
            "Delete": no_delete}),
        TxnOp::DeleteRange(deletion) => json!({"Type": "delete-operation", "Range": nothing,
            "Put": no_put, "Delete": {"Key": text(&deletion.range.key)}}),
        TxnOp::Txn(_) => panic!("there are no transactions in transactions"),
    }
}

fn input_json(request: &Request) -> Json {
    let steps = |steps: &[TxnOp]| match steps.is_empty() {
        true => Json::Null,
        false => steps.iter().map(step_json).collect(),
    };
    match request {
        Request::Range(range) => {
            let mut inner = range_json(range);
            inner["Revision"] = json!(range.revision);
            json!({"Type": "range", "Range": inner})
        }
        Request::Txn(txn) => {
            let conditions = txn.compares.iter().map(|compare| {
                let (revision, version) = match compare.target {
                    CompareTarget::Version(version) => (0, version),
                    CompareTarget::ModRevision(revision) => (revision, 0),
                    ref other => panic!("these tests do not compare {other:?}"),
                };
                json!({"Key": text(&compare.range.key), "ExpectedRevision": revision,
                    "ExpectedVersion": version})
            });
            let conditions: Vec<Json> = conditions.collect();
            json!({"Type": "txn", "Txn": {"Conditions": conditions,
                "OperationsOnSuccess": steps(&txn.success),
                "OperationsOnFailure": steps(&txn.failure)}})
        }
        Request::LeaseGrant { id, .. } => {
            json!({"Type": "leaseGrant", "LeaseGrant": {"LeaseID": id}})
        }
        Request::LeaseRevoke { id } => {
            json!({"Type": "leaseRevoke", "LeaseRevoke": {"LeaseID": id}})
        }
        Request::Compact { revision } => {
            json!({"Type": "compact", "Compact": {"Revision": revision}})
        }
        other => panic!("these tests do not ask for {other:?}"),
    }
}

fn kvs_json(result: &RangeResult) -> Json {
    let pairs = result.kvs.iter().map(|pair| {
        json!({"Key": text(&pair.key), "Value": {"Value": text(&pair.value)},
            "ModRevision": pair.mod_revision, "Version": pair.version})
    });
    pairs.collect()
}

fn response_json(response: &Response) -> Json {
    match response {
        Response::Range(result) => {
            json!({"Range": {"KVs": kvs_json(result), "Count": result.count}})
        }
        Response::Txn(result) => {
            let results = result.results.iter().map(|result| match result {
                TxnOpResult::Range(result) => {
                    json!({"KVs": kvs_json(result), "Count": result.count, "Deleted": 0})
                }
                TxnOpResult::DeleteRange(result) => {
                    json!({"KVs": null, "Count": 0, "Deleted": result.deleted})
                }
                TxnOpResult::Put(_) => json!({"KVs": null, "Count": 0, "Deleted": 0}),
                TxnOpResult::Txn(_) => panic!("there are no transactions in transactions"),
            });
            let results: Vec<Json> = results.collect();
            json!({"Txn": {"Failure": !result.succeeded, "Results": results}})
        }
        Response::LeaseGrant { .. } => json!({"LeaseGrant": {"LeaseID": 0}}),
        Response::LeaseRevoke => json!({"LeaseRevoke": {}}),
        Response::Compact => json!({"Compact": {}}),
        other => panic!("these tests do not tell {other:?}"),
    }
}

/// The operations, one JSON value each, in the order of their calls.
fn written(events: &[EtcdEvent], random: &mut Random) -> Vec<Json> {
    let mut written: Vec<Json> = Vec::new();
    let mut requests = BTreeMap::new();
    for event in events {
        let op = event.operation().expect("there are no notes");
        match &event.kind {
            EventKind::Call { input, .. } => {
                requests.insert(op, input.clone());
                let lost = match random.below(3) {
                    0 => json!({"Error": "", "ClientError": "", "Persisted": true,
                        "PersistedRevision": 0, "Revision": 0}),
                    1 => json!({"Error": "", "ClientError": "refused", "Revision": 0}),
                    _ => json!({"Error": "timeout", "Revision": 0}),
                };
                written.push(json!({"ClientId": event.client, "Input": input_json(input),
                    "Call": event.time_ns, "Output": lost, "Return": 0}));
            }
            EventKind::Return {
                output: Outcome::Done { header, response },
                ..
            } => {
                let mut output = response_json(response);
                let is_stale =
                    matches!(&requests[&op], Request::Range(range) if range.revision > 0);
                // Answers to stale reads are recorded with and without a revision.
                output["Revision"] = match is_stale {
                    true => json!(random.pick(&[-1, 0, header.revision])),
                    false => json!(header.revision),
                };
                output["Error"] = json!("");
                output["Persisted"] = json!(false);
                written[op.0 as usize]["Output"] = output;
                written[op.0 as usize]["Return"] = json!(event.time_ns);
            }
            other => panic!("refusals and unknown outcomes have no end: {other:?}"),
        }
    }
    written
}

/// Adds what may as well be left out: everything that an operation is not.
fn with_nulls(operation: &mut Json, random: &mut Random) {
    for part in ["Input", "Output"] {
        let fields = [
            "LeaseGrant",
            "LeaseRevoke",
            "Range",
            "Txn",
            "Compact",
            "Defragment",
        ];
        for field in fields {
            if operation[part].get(field).is_none() && random.chance(0.5) {
                operation[part][field] = Json::Null;
            }
        }
    }
}

fn read(text: &str, format: Format) -> Vec<EtcdEvent> {
    let source = Cursor::new(text.to_owned().into_bytes());
    let opened = formats::open(source, &OpenOptions::default())
        .unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(opened.format, format, "{text}");
    let History::Etcd(events) = opened.history else {
        panic!("it is of a store")
    };
    events
        .map(|event| event.unwrap_or_else(|error| panic!("{error}\n{text}")))
        .collect()
}

fn operations_sample() -> impl Strategy<Value = Vec<EtcdEvent>> {
    (0..u64::MAX, 3..40u64, prop::sample::select(INJECTIONS))
        .prop_map(|(seed, count, injection)| operations(seed, count, injection))
}

/// A history with everything that an etcd-like store does.
fn store_history(seed: u64, operations: u64, injection: Option<EtcdInjection>) -> Vec<EtcdEvent> {
    let workload = EtcdWorkload {
        seed,
        operations,
        clients: 4,
        keys: 4,
        leases: 5.0,
        compactions: 2.0,
        unknown: 0.02,
        stale_reads: 0.1,
        watches: 1,
        ..EtcdWorkload::default()
    };
    let mut events: Vec<EtcdEvent> = EtcdHistory::new(workload).collect();
    if let Some(injection) = injection {
        inject(&mut events, injection, &mut Random::new(seed));
    }
    events
}

fn store_sample() -> impl Strategy<Value = Vec<EtcdEvent>> {
    (0..u64::MAX, 3..60u64, prop::sample::select(INJECTIONS))
        .prop_map(|(seed, count, injection)| store_history(seed, count, injection))
}

/// What is damaged must be missed: etcd's tests leave nothing out but the zeros of pairs, and what
/// tells only why an outcome is not known.
fn may_be_missing(names: &[String]) -> bool {
    let name = names.last().expect("a field has a name").as_str();
    let is_content = name == "Value" && names.iter().filter(|name| *name == "Value").count() == 2;
    let is_why = matches!(
        name,
        "Error" | "ClientError" | "Persisted" | "PersistedRevision"
    );
    let is_of_other_kind = matches!(name, "Range" | "Put" | "Delete") && names.len() > 3;
    is_content || is_why || is_of_other_kind || matches!(name, "Version" | "ExpectedVersion")
}

fn damaged_operations(json: &[Json], how: u8, random: &mut Random) -> Option<String> {
    let lines: Vec<String> = json.iter().map(Json::to_string).collect();
    let told = vec![
        Some(Told {
            client: 0,
            is_call: true
        });
        lines.len()
    ];
    let in_a_field = |damage, random: &mut Random| {
        let mut json = json.to_vec();
        let at = random.index(json.len());
        damage_field(&mut json[at], damage, random, &|names| {
            damage != FieldDamage::Removed || !may_be_missing(names)
        })?;
        let lines: Vec<String> = json.iter().map(Json::to_string).collect();
        Some(lines.join("\n"))
    };
    match how % 6 {
        0 => damage::with_a_line_twice(&lines, &told, random),
        1 => damage::with_a_line_cut(&lines, random),
        2 => damage::with_a_bit_flipped(&lines, random),
        3 => in_a_field(FieldDamage::Renamed, random),
        4 => in_a_field(FieldDamage::Removed, random),
        _ => in_a_field(FieldDamage::Quoted, random),
    }
}

fn damaged_jsonl(events: &[EtcdEvent], how: u8, random: &mut Random) -> Option<String> {
    let json: Vec<Json> = events
        .iter()
        .map(|event| serde_json::to_value(event).expect("events are JSON"))
        .collect();
    let lines: Vec<String> = json.iter().map(Json::to_string).collect();
    let told: Vec<Option<Told>> = events
        .iter()
        .map(|event| {
            // What a watch brings may be missing, or come twice, because of the store.
            event.operation()?;
            let (client, is_call) = (event.client, event.is_call());
            Some(Told { client, is_call })
        })
        .collect();
    let in_a_field = |damage, random: &mut Random| {
        let mut json = json.clone();
        let at = random.index(json.len());
        damage_field(&mut json[at], damage, random, &|names| {
            damage != FieldDamage::Removed || names.len() == 1
        })?;
        let lines: Vec<String> = json.iter().map(Json::to_string).collect();
        Some(lines.join("\n"))
    };
    match how % 8 {
        0 => damage::without_a_line(&lines, &told, random),
        1 => damage::with_a_line_twice(&lines, &told, random),
        2 => damage::with_a_line_cut(&lines, random),
        3 => damage::with_a_bit_flipped(&lines, random),
        4 => damage::with_lines_exchanged(&lines, random),
        5 => in_a_field(FieldDamage::Renamed, random),
        6 => in_a_field(FieldDamage::Removed, random),
        _ => in_a_field(FieldDamage::Quoted, random),
    }
}

proptest! {
    #[test]
    fn operations_are_the_same_history_in_all_their_spellings(
        events in operations_sample(), seed in 0..u64::MAX,
        between in prop::sample::select(vec!["\n", "", " \r\n"]), is_pretty in any::<bool>()
    ) {
        let mut random = Random::new(seed);
        let mut json = written(&events, &mut random);
        let values: Vec<String> = json
            .iter_mut()
            .map(|operation| {
                with_nulls(operation, &mut random);
                match is_pretty {
                    true => serde_json::to_string_pretty(operation).expect("it is JSON"),
                    false => damage::json_in_any_order(operation, &mut random),
                }
            })
            .collect();
        let text = values.join(between);
        prop_assert_eq!(read(&text, Format::EtcdOperations), events, "{}", text);
    }

    #[test]
    fn json_lines_of_a_store_are_the_same_history_in_all_their_spellings(
        events in store_sample(), seed in 0..u64::MAX,
        line_end in prop::sample::select(vec!["\n", "\r\n", "\n \n"])
    ) {
        let mut random = Random::new(seed);
        let lines: Vec<String> = events
            .iter()
            .map(|event| {
                let json = serde_json::to_value(event).expect("events are JSON");
                damage::json_in_any_order(&json, &mut random)
            })
            .collect();
        prop_assert_eq!(read(&lines.join(line_end), Format::Jsonl), events);
    }

    #[test]
    fn one_damaged_operation_makes_a_verdict_unknown_or_leaves_it(
        events in operations_sample(), how in any::<(u8, u64)>()
    ) {
        let (how, seed) = how;
        let mut random = Random::new(seed);
        let json = written(&events, &mut random);
        let lines: Vec<String> = json.iter().map(Json::to_string).collect();
        if let Some(damaged) = damaged_operations(&json, how, &mut random) {
            makes_unknown_or_leaves(&lines.join("\n"), &damaged, OPERATIONS)?;
        }
    }

    #[test]
    fn one_damaged_json_line_of_a_store_makes_a_verdict_unknown_or_leaves_it(
        events in store_sample(), how in any::<(u8, u64)>()
    ) {
        let (how, seed) = how;
        let lines: Vec<String> = events
            .iter()
            .map(|event| serde_json::to_string(event).expect("events are JSON"))
            .collect();
        if let Some(damaged) = damaged_jsonl(&events, how, &mut Random::new(seed)) {
            makes_unknown_or_leaves(&lines.join("\n"), &damaged, JSONL)?;
        }
    }
}

#[test]
fn sound_operations_are_ok_and_others_are_violations() {
    let mut words = BTreeMap::new();
    for seed in 0..60 {
        let injection = (seed % 2 == 1).then_some(EtcdInjection::StaleValue);
        let events = operations(seed, 60, injection);
        let json = written(&events, &mut Random::new(seed));
        let lines: Vec<String> = json.iter().map(Json::to_string).collect();
        let report = check(&lines.join("\n"), OPERATIONS).expect("it is read");
        *words
            .entry((seed % 2 == 0, report.verdict.word()))
            .or_insert(0) += 1;
    }
    assert_eq!(words.get(&(true, "ok")), Some(&30), "{words:?}");
    assert!(words.get(&(false, "violation")) >= Some(&15), "{words:?}");
}
