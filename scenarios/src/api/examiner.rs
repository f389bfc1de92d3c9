//! A client that asks for what the others have no use for: every invalid argument, numbers of
//! leases that the member chooses, hashes and compactions of revisions that are to come, calls
//! that name members that there are not. Each answer is judged like all others
//! ([`judge`](super::judge)), and what says something of keys or leases is part of the history.

use std::sync::Arc;
use std::time::Duration;
use veridical_client::{CallError, Connection, WatchResponses, record};
use veridical_env::Environment;
use veridical_harness::report::{Class, Finding};
use veridical_proto::etcdserverpb as api;
use veridical_proto::etcdserverpb::watch_request::RequestUnion;
use veridical_proto::native::request::Body as Ask;
use veridical_proto::native::response::Body as Answer;
use veridical_world::{SimEnvironment, World};

use crate::api::invalid;
use crate::cluster::{Cluster, client_address, peer_url};
use crate::keyspace::key;
use crate::observer::Observer;
use crate::plan::Plan;
use crate::sessions::{EXAMINER_CLIENT, EXAMINER_NAME};

/// Connecting, and one request.
const TIMEOUT: Duration = Duration::from_secs(2);

/// A key that nobody else writes, and one that nobody writes at all.
const OWN_KEY: u32 = 95;
const ABSENT_KEY: u32 = 91;

/// How long the examiner's leases last, in seconds.
const TTL_S: i64 = 5;

/// A lease and a member that there are not.
const NO_LEASE: i64 = 0x7fff_0bad_1ea5;
const NOBODY: u64 = 0x000b_ad1d;

/// A revision that no run reaches.
const FAR_REVISION: i64 = 1 << 40;

/// The identifier of the examiner's watch.
const WATCH_ID: i64 = 77;

/// Examines members.
pub struct Examiner {
    world: World,
    cluster: Cluster,
    observer: Observer,
    environment: SimEnvironment,
    plan: Arc<Plan>,
}

/// A member that is examined.
struct Seat {
    site: u32,
    connection: Connection,
    watches: WatchResponses,
}

impl Examiner {
    /// On a machine of its own.
    pub fn new(world: World, cluster: Cluster, observer: Observer, plan: Arc<Plan>) -> Self {
        Self {
            environment: world.add_host(EXAMINER_NAME),
            world,
            cluster,
            observer,
            plan,
        }
    }

    /// Examines one member after the other, each at its time.
    pub async fn run(self) {
        let plan = Arc::clone(&self.plan);
        for (number, at_ms) in plan.examinations.iter().enumerate() {
            self.observer
                .wait_until(Duration::from_millis(*at_ms))
                .await;
            let members: Vec<u32> = self.cluster.members().into_keys().collect();
            if members.is_empty() {
                continue;
            }
            let site = members[number % members.len()];
            if let Some(mut seat) = self.connect(site).await {
                self.examine(&mut seat).await;
                self.observer.count("api.member_examined");
            }
            self.ask_about_members().await;
        }
    }

    async fn connect(&self, site: u32) -> Option<Seat> {
        let (network, clock) = (self.environment.network(), self.environment.clock());
        let opened = Connection::open(network, clock, &client_address(site), TIMEOUT).await;
        let (connection, watches) = opened.ok()?;
        Some(Seat {
            site,
            connection,
            watches,
        })
    }

    /// Asks a member, and judges its answer.
    async fn ask(&self, seat: &Seat, ask: Ask) -> Result<Answer, CallError> {
        let asked = self.observer.judge().asks(Some(seat.site));
        let result = tokio::select! {
            biased;
            result = seat.connection.call(ask.clone()) => result,
            () = self.world.sleep(TIMEOUT) => {
                Err(CallError::Unknown("no answer in time".to_owned()))
            }
        };
        self.observer.judged(&asked, &ask, result)
    }

    /// The same, as part of the history.
    async fn operate(&self, seat: &Seat, ask: Ask) -> Result<Answer, CallError> {
        let input = record::request(&ask).expect("an operation");
        let op = self.observer.called(EXAMINER_CLIENT, input);
        let result = self.ask(seat, ask).await;
        self.observer
            .ended(EXAMINER_CLIENT, op, record::ending(&result));
        result
    }

    fn wrong(&self, text: String) {
        self.observer
            .report(Finding::new(Class::Violation, "wrong-answer", text));
    }

    /// What is asked for has to be refused in these words, if the member is fit to say anything.
    async fn refuses(&self, seat: &Seat, ask: Ask, message: &str) {
        let result = match record::request(&ask) {
            Some(_) => self.operate(seat, ask.clone()).await,
            None => self.ask(seat, ask.clone()).await,
        };
        match result {
            Ok(answer) => self.wrong(format!("{answer:?} to {ask:?}, not {message}")),
            Err(CallError::Refused { message: told, .. })
                if told != message && !is_momentary(&told) =>
            {
                self.wrong(format!("{told} to {ask:?}, not {message}"));
            }
            Err(_) => {}
        }
    }

    async fn examine(&self, seat: &mut Seat) {
        for ask in invalid::requests(&self.plan.knobs) {
            // The judge knows what has to come of it.
            let _ = self.ask(seat, ask).await;
        }
        self.ask_about_the_member(seat).await;
        self.ask_for_what_is_not_there(seat).await;
        self.use_leases_of_its_choice(seat).await;
        self.watch_under_an_identifier(seat).await;
    }

    async fn ask_about_the_member(&self, seat: &Seat) {
        for linearizable in [false, true] {
            let ask = Ask::MemberList(api::MemberListRequest { linearizable });
            let _ = self.ask(seat, ask).await;
        }
        let _ = self.ask(seat, Ask::Status(api::StatusRequest {})).await;
        for revision in [0, 1] {
            // The first revision may be compacted; both answers are judged.
            let ask = Ask::HashKv(api::HashKvRequest { revision });
            let _ = self.ask(seat, ask).await;
        }
        let ask = Ask::HashKv(api::HashKvRequest {
            revision: FAR_REVISION,
        });
        self.refuses(seat, ask, FUTURE_REVISION).await;
        self.ask_for_the_hash_of_what_is_left(seat).await;
    }

    /// The revision that the history was compacted to is the first that is left.
    async fn ask_for_the_hash_of_what_is_left(&self, seat: &Seat) {
        let hash = |revision| self.ask(seat, Ask::HashKv(api::HashKvRequest { revision }));
        let Ok(Answer::HashKv(before)) = hash(0).await else {
            return;
        };
        let revision = before.compact_revision;
        if revision <= 0 {
            return;
        }
        if let Err(CallError::Refused { message, .. }) = hash(revision).await
            && message == COMPACTED
            && let Ok(Answer::HashKv(after)) = hash(0).await
            && after.compact_revision == revision
        {
            self.wrong(format!(
                "{message} to the hash of revision {revision}, which is the first that is left"
            ));
        }
    }

    async fn ask_for_what_is_not_there(&self, seat: &Seat) {
        let compaction = api::CompactionRequest {
            revision: FAR_REVISION,
            physical: true,
        };
        self.refuses(seat, Ask::Compaction(compaction), FUTURE_REVISION)
            .await;
        let put = api::PutRequest {
            key: key(OWN_KEY),
            lease: NO_LEASE,
            ..Default::default()
        };
        self.refuses(seat, Ask::Put(put), LEASE_NOT_FOUND).await;
        for (ignore_value, ignore_lease) in [(true, false), (false, true)] {
            let put = api::PutRequest {
                key: key(ABSENT_KEY),
                ignore_value,
                ignore_lease,
                ..Default::default()
            };
            self.refuses(seat, Ask::Put(put), "etcdserver: key not found")
                .await;
        }
        let revoke = api::LeaseRevokeRequest { id: NO_LEASE };
        self.refuses(seat, Ask::LeaseRevoke(revoke), LEASE_NOT_FOUND)
            .await;
        let renewal = api::LeaseKeepAliveRequest { id: NO_LEASE };
        let _ = self.operate(seat, Ask::LeaseKeepAlive(renewal)).await;
        let question = api::LeaseTimeToLiveRequest {
            id: NO_LEASE,
            keys: true,
        };
        if let Ok(Answer::LeaseTimeToLive(told)) =
            self.operate(seat, Ask::LeaseTimeToLive(question)).await
            && told.ttl != -1
        {
            self.wrong(format!("{told:?} of a lease that there is not"));
        }
    }

    /// Two leases whose numbers the member chooses, one with a key.
    async fn use_leases_of_its_choice(&self, seat: &Seat) {
        let mut ids = Vec::new();
        for _ in 0..2 {
            let grant = Ask::LeaseGrant(api::LeaseGrantRequest { id: 0, ttl: TTL_S });
            if let Ok(Answer::LeaseGrant(granted)) = self.operate(seat, grant).await {
                ids.push(granted.id);
            }
        }
        let [first, second] = ids[..] else { return };
        let put = api::PutRequest {
            key: key(OWN_KEY),
            value: format!("examined.{first:x}").into(),
            lease: first,
            ..Default::default()
        };
        let _ = self.operate(seat, Ask::Put(put)).await;
        let question = api::LeaseTimeToLiveRequest {
            id: first,
            keys: true,
        };
        let _ = self.operate(seat, Ask::LeaseTimeToLive(question)).await;
        let list = Ask::LeaseLeases(api::LeaseLeasesRequest {});
        let _ = self.operate(seat, list).await;
        for id in [first, second] {
            let revoke = Ask::LeaseRevoke(api::LeaseRevokeRequest { id });
            let _ = self.operate(seat, revoke).await;
        }
    }

    /// A watch whose identifier the client chooses; a second one cannot have the same.
    async fn watch_under_an_identifier(&self, seat: &mut Seat) {
        let create = api::WatchCreateRequest {
            key: key(ABSENT_KEY),
            watch_id: WATCH_ID,
            ..Default::default()
        };
        let cancel = api::WatchCancelRequest { watch_id: WATCH_ID };
        let requests = [
            RequestUnion::CreateRequest(create.clone()),
            RequestUnion::CreateRequest(create),
            RequestUnion::CancelRequest(cancel),
        ];
        // Made, refused, canceled: the identifier, and whether it is there afterwards.
        let expected = [
            (WATCH_ID, true, false),
            (-1, true, true),
            (WATCH_ID, false, true),
        ];
        for (request, expected) in requests.into_iter().zip(expected) {
            let request_union = Some(request);
            let request = api::WatchRequest { request_union };
            let ask = Ask::Watch(request.clone());
            let asked = self.observer.judge().asks(Some(seat.site));
            if seat.connection.watch(request).await.is_err() {
                return;
            }
            let response = tokio::select! {
                biased;
                response = seat.watches.recv() => response,
                () = self.world.sleep(TIMEOUT) => None,
            };
            let Some(response) = response else { return };
            let judged = self
                .observer
                .judged(&asked, &ask, Ok(Answer::Watch(response)));
            let Ok(Answer::Watch(response)) = judged else {
                return;
            };
            let told = (response.watch_id, response.created, response.canceled);
            let has_reason = told != (-1, true, true) || response.cancel_reason == DUPLICATE_WATCH;
            if told != expected || !has_reason {
                return self.wrong(format!("{response:?}, not {expected:?}, to {ask:?}"));
            }
        }
    }

    /// Calls about members, of the leader; where others change the members, their calls are
    /// enough.
    async fn ask_about_members(&self) {
        if self.plan.spares > 0 || !self.plan.hasty.is_empty() {
            return;
        }
        let leader = self.cluster.elections().borrow().leader;
        let Some(seat) = self.connect(leader).await else {
            return;
        };
        let other = (leader + 1) % self.plan.members;
        let add = api::MemberAddRequest {
            peer_ur_ls: vec![peer_url(other)],
            is_learner: true,
        };
        self.refuses(
            &seat,
            Ask::MemberAdd(add),
            "etcdserver: Peer URLs already exists",
        )
        .await;
        let remove = Ask::MemberRemove(api::MemberRemoveRequest { id: NOBODY });
        self.refuses(&seat, remove, MEMBER_NOT_FOUND).await;
        let promote = |id| Ask::MemberPromote(api::MemberPromoteRequest { id });
        self.refuses(&seat, promote(NOBODY), MEMBER_NOT_FOUND).await;
        let voter = promote(u64::from(other) + 1);
        self.refuses(
            &seat,
            voter,
            "etcdserver: can only promote a learner member",
        )
        .await;
        let hand_over = Ask::MoveLeader(api::MoveLeaderRequest { target_id: NOBODY });
        self.refuses(&seat, hand_over, "etcdserver: bad leader transferee")
            .await;
        self.update_addresses(&seat, other).await;
    }

    /// Gives the member of a machine a second address, and takes it back.
    async fn update_addresses(&self, seat: &Seat, site: u32) {
        let update =
            |id, peer_ur_ls| Ask::MemberUpdate(api::MemberUpdateRequest { id, peer_ur_ls });
        let (id, own) = (u64::from(site) + 1, peer_url(site));
        let nobody = update(NOBODY, vec![own.clone()]);
        self.refuses(seat, nobody, MEMBER_NOT_FOUND).await;
        let of_another = vec![own.clone(), peer_url(seat.site)];
        self.refuses(
            seat,
            update(id, of_another),
            "etcdserver: Peer URLs already exists",
        )
        .await;
        let second = format!("http://second-address-of-{site}:2380");
        for addresses in [vec![own.clone(), second], vec![own]] {
            let ask = update(id, addresses);
            let is_done = self.ask(seat, ask).await.is_ok();
            self.observer.count(match is_done {
                true => "membership.updated",
                false => "membership.update_refused",
            });
        }
    }
}

const COMPACTED: &str = "etcdserver: mvcc: required revision has been compacted";
const FUTURE_REVISION: &str = "etcdserver: mvcc: required revision is a future revision";
const LEASE_NOT_FOUND: &str = "etcdserver: requested lease not found";
const MEMBER_NOT_FOUND: &str = "etcdserver: member not found";
const DUPLICATE_WATCH: &str = "mvcc: duplicate watch ID provided on the WatchStream";

/// Whether a refusal says only that this member is not fit to answer now.
fn is_momentary(message: &str) -> bool {
    [
        "etcdserver: no leader",
        "etcdserver: request timed out",
        "etcdserver: not leader",
        "etcdserver: server stopped",
        "etcdserver: too many requests",
        "etcdserver: unhealthy cluster",
    ]
    .contains(&message)
}
