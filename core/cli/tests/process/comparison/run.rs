//! One step on both stores, and whether they answered alike.

use std::fmt;
use std::time::{Duration, Instant};

use veridical_proto::etcdserverpb as api;

use super::answer::text;
use super::api::{Api, Watcher};
use super::operation::{Operation, Step, Watching};
use super::store::{Pair, wait_until_ready};
use api::watch_request::RequestUnion;

/// A watch that has said nothing for so long has said everything, if both have said the same.
const QUIET: Duration = Duration::from_millis(25);

/// For so long one may be behind the other.
const LAG_MAX: Duration = Duration::from_secs(8);

/// What is written out of a character that is repeated.
const REPEATED_MAX: usize = 20;

/// What both answered to a step, where that is not the same.
#[derive(Clone, Debug)]
pub struct Difference {
    pub step: Step,
    pub ours: String,
    pub etcd: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = brief(&format!("{:?}", self.step));
        let (ours, etcd) = (brief(&self.ours), brief(&self.etcd));
        write!(f, "{step}\n  ours {ours}\n  etcd {etcd}")
    }
}

/// A text in which no character comes very often in a row, as it does in large values.
pub fn brief(text: &str) -> String {
    let mut short = String::new();
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let mut repeated = 1;
        while characters.next_if_eq(&character).is_some() {
            repeated += 1;
        }
        if repeated > REPEATED_MAX {
            short.push_str(&format!("{character}…×{repeated}"));
        } else {
            short.extend(std::iter::repeat_n(character, repeated));
        }
    }
    short
}

/// Does a step on both.
pub async fn step(pair: &mut Pair, step: &Step) -> Option<Difference> {
    let member = step.member % pair.size();
    if matches!(step.operation, Operation::Restart) {
        pair.restart(member).await;
        return None;
    }
    let (our_api, etcd_api) = pair.apis(member);
    if pair.size() > 1 {
        // What a follower answers by itself is as old as what it knows.
        wait_until_ready(our_api).await;
        wait_until_ready(etcd_api).await;
    }
    let (ours, etcd) = match &step.operation {
        Operation::Watch(watching) => watch(our_api, etcd_api, watching).await,
        other => (one(our_api, other).await, one(etcd_api, other).await),
    };
    (ours != etcd).then(|| Difference {
        step: step.clone(),
        ours,
        etcd,
    })
}

/// The answer of one store.
async fn one(api: &Api, operation: &Operation) -> String {
    use Operation as O;
    macro_rules! call {
        ($path:literal, $request:expr, $answer:ident) => {
            text(
                api.unary::<_, api::$answer>(concat!("/etcdserverpb.", $path), $request)
                    .await,
            )
        };
    }
    match operation.clone() {
        O::Range(request) => call!("KV/Range", request, RangeResponse),
        O::Put(request) => call!("KV/Put", request, PutResponse),
        O::Delete(request) => call!("KV/DeleteRange", request, DeleteRangeResponse),
        O::Txn(request) => call!("KV/Txn", request, TxnResponse),
        O::Compact(request) => call!("KV/Compact", request, CompactionResponse),
        O::Grant(request) => call!("Lease/LeaseGrant", request, LeaseGrantResponse),
        O::Revoke(request) => call!("Lease/LeaseRevoke", request, LeaseRevokeResponse),
        O::KeepAlive(request) => text(api.keep_alive(request).await),
        O::TimeToLive(request) => {
            call!("Lease/LeaseTimeToLive", request, LeaseTimeToLiveResponse)
        }
        O::Leases => {
            let request = api::LeaseLeasesRequest::default();
            call!("Lease/LeaseLeases", request, LeaseLeasesResponse)
        }
        O::Alarm(request) => call!("Maintenance/Alarm", request, AlarmResponse),
        O::Status => {
            let request = api::StatusRequest::default();
            call!("Maintenance/Status", request, StatusResponse)
        }
        O::Hash => {
            let request = api::HashRequest::default();
            call!("Maintenance/Hash", request, HashResponse)
        }
        O::HashKv(request) => call!("Maintenance/HashKV", request, HashKvResponse),
        O::Defragment => {
            let request = api::DefragmentRequest::default();
            call!("Maintenance/Defragment", request, DefragmentResponse)
        }
        O::MoveLeader(request) => call!("Maintenance/MoveLeader", request, MoveLeaderResponse),
        O::MemberAdd(request) => call!("Cluster/MemberAdd", request, MemberAddResponse),
        O::MemberRemove(request) => call!("Cluster/MemberRemove", request, MemberRemoveResponse),
        O::MemberUpdate(request) => call!("Cluster/MemberUpdate", request, MemberUpdateResponse),
        O::MemberPromote(request) => {
            call!("Cluster/MemberPromote", request, MemberPromoteResponse)
        }
        O::MemberList(request) => call!("Cluster/MemberList", request, MemberListResponse),
        O::Watch(_) | O::Restart => unreachable!("it is not one call"),
    }
}

/// Opens the watches on both, writes, ends them, and tells what came.
async fn watch(our_api: &Api, etcd_api: &Api, watching: &Watching) -> (String, String) {
    let (mut ours, mut etcd) = (our_api.watch(), etcd_api.watch());
    for create in &watching.creates {
        let request = RequestUnion::CreateRequest(create.clone());
        ours.send(request.clone()).await;
        etcd.send(request).await;
        read_both(&mut ours, &mut etcd).await;
    }
    let mut written = (Vec::new(), Vec::new());
    for operation in &watching.meanwhile {
        written.0.push(one(our_api, operation).await);
        written.1.push(one(etcd_api, operation).await);
    }
    read_both(&mut ours, &mut etcd).await;
    for id in &watching.cancels {
        let request = RequestUnion::CancelRequest(api::WatchCancelRequest { watch_id: *id });
        ours.send(request.clone()).await;
        etcd.send(request).await;
        read_both(&mut ours, &mut etcd).await;
    }
    (told(&ours, &written.0), told(&etcd, &written.1))
}

/// Reads what has come, for longer while it is not the same.
async fn read_both(ours: &mut Watcher, etcd: &mut Watcher) {
    let deadline = Instant::now() + LAG_MAX;
    loop {
        ours.read(QUIET).await;
        etcd.read(QUIET).await;
        if (ours.seen == etcd.seen && ours.end == etcd.end) || Instant::now() > deadline {
            return;
        }
    }
}

fn told(watcher: &Watcher, written: &[String]) -> String {
    format!("{written:?} {:?} {:?}", watcher.seen, watcher.end)
}
