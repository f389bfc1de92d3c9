//! What clients of the runs of one test have sent and were told, for tests of the table; and
//! answers that are changed on their way, for tests of those who judge them.
//!
//! A test has a thread, and so has each run that it begins: the run takes over the traffic of who
//! began it. Were it the process's, a test would change the answers of its neighbours' runs.

use prost::Message;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};
use veridical_client::CallError;
use veridical_proto::native::request::Body as Ask;
use veridical_proto::native::response::Body as Answer;
use veridical_proto::native::{Request, Response};

use crate::api::schema::{Kind, Schema};

/// What went over the wire.
#[derive(Default)]
pub struct Traffic {
    /// Calls, fields and values of requests; fields of responses; errors.
    pub seen: BTreeSet<(Kind, String)>,
    /// The field of a response that is to be changed, once.
    pub tampers_with: Option<String>,
}

static SCHEMA: LazyLock<Schema> = LazyLock::new(Schema::of_the_api);
thread_local! {
    static TRAFFIC: RefCell<SharedTraffic> = RefCell::default();
}

/// The traffic of a test and of the runs that it begins.
#[derive(Clone, Default)]
pub struct SharedTraffic(Arc<Mutex<Traffic>>);

impl SharedTraffic {
    /// That of the test or of the run that this thread carries out.
    pub fn of_this_thread() -> Self {
        TRAFFIC.with_borrow(Clone::clone)
    }

    /// From now on this thread's runs are part of it.
    pub fn take_over(self) {
        TRAFFIC.set(self);
    }

    /// The traffic so far.
    pub fn lock(&self) -> MutexGuard<'_, Traffic> {
        self.0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// A request and the number under which the native protocol has it.
fn inner(encoded: &[u8]) -> Option<(&[u8], u8)> {
    // One field with the message: its key (of one byte or two), its length, its content.
    let mut rest = encoded;
    let mut key = 0_u64;
    let mut shift = 0;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        key |= u64::from(first & 0x7f) << shift;
        shift += 7;
        if first & 0x80 == 0 {
            break;
        }
    }
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if first & 0x80 == 0 {
            return Some((rest, (key >> 3) as u8));
        }
    }
    None
}

/// The name of the call that the native protocol has under a number.
fn call_of(number: u8) -> &'static str {
    match number {
        2 => "KV.Range",
        3 => "KV.Put",
        4 => "KV.DeleteRange",
        5 => "KV.Txn",
        6 => "KV.Compact",
        7 => "Lease.LeaseGrant",
        8 => "Lease.LeaseRevoke",
        9 => "Lease.LeaseKeepAlive",
        10 => "Lease.LeaseTimeToLive",
        11 => "Lease.LeaseLeases",
        12 => "Watch.Watch",
        13 => "Maintenance.Status",
        14 => "Cluster.MemberList",
        15 => "Maintenance.HashKV",
        16 => "Cluster.MemberAdd",
        17 => "Cluster.MemberRemove",
        18 => "Cluster.MemberPromote",
        19 => "Maintenance.MoveLeader",
        20 => "Cluster.MemberUpdate",
        other => panic!("the native protocol has a call {other} that is not known here"),
    }
}

/// A request is sent.
pub fn sent(ask: &Ask) {
    let request = Request {
        id: 0,
        body: Some(ask.clone()),
    };
    let encoded = request.encode_to_vec();
    let Some((bytes, number)) = inner(&encoded) else {
        return;
    };
    let call = call_of(number);
    let shared = SharedTraffic::of_this_thread();
    let mut traffic = shared.lock();
    traffic.seen.insert((Kind::Rpc, call.to_owned()));
    let rpc = SCHEMA.rpcs.iter().find(|rpc| rpc.name == call);
    let rpc = rpc.expect("the call is one of the API");
    SCHEMA.walk(&rpc.input, bytes, &mut |kind, name| {
        traffic.seen.insert((kind, name));
    });
}

/// What came back for a request, perhaps changed.
pub fn passes(ask: &Ask, result: Result<Answer, CallError>) -> Result<Answer, CallError> {
    sent(ask);
    let answer = match result {
        Ok(answer) => answer,
        Err(error) => {
            let (CallError::Refused { message, .. } | CallError::Unknown(message)) = &error else {
                return Err(error);
            };
            let seen = (Kind::Error, message.clone());
            SharedTraffic::of_this_thread().lock().seen.insert(seen);
            return Err(error);
        }
    };
    let mut response = Response {
        id: 0,
        ordinal: 0,
        body: Some(answer),
    };
    let encoded = response.encode_to_vec();
    let Some((bytes, number)) = inner(&encoded) else {
        return Ok(response.body.take().expect("it has one"));
    };
    let rpc = SCHEMA.rpcs.iter().find(|rpc| rpc.name == call_of(number));
    let output = &rpc.expect("the call is one of the API").output;
    let shared = SharedTraffic::of_this_thread();
    let mut traffic = shared.lock();
    SCHEMA.walk(output, bytes, &mut |kind, name| {
        if kind == Kind::Request {
            traffic.seen.insert((Kind::Response, name));
        }
    });
    if let Some(target) = &traffic.tampers_with
        && let Some(other) = SCHEMA.tampered(output, bytes, target)
    {
        traffic.tampers_with = None;
        let head = encoded.len() - bytes.len();
        let mut changed = key_of(number);
        let mut length = other.len();
        while length >= 0x80 {
            changed.push(length as u8 | 0x80);
            length >>= 7;
        }
        changed.push(length as u8);
        changed.extend(other);
        assert!(head >= 2, "a message has a key and a length");
        response = Response::decode(changed.as_slice()).expect("a message of the same sort");
    }
    Ok(response.body.take().expect("it has one"))
}

/// The key of a message of the native protocol on the wire.
fn key_of(number: u8) -> Vec<u8> {
    match u64::from(number) << 3 | 2 {
        key @ ..0x80 => vec![key as u8],
        key => vec![key as u8 | 0x80, (key >> 7) as u8],
    }
}
