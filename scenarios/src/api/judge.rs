//! Judges what members answer: headers, identifiers and what else the checker of histories is
//! not told of, or takes for granted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::watch;
use veridical_client::CallError;
use veridical_node::{Limits, Status};
use veridical_proto::etcdserverpb as api;
use veridical_proto::native::request::Body as Ask;
use veridical_proto::native::response::Body as Answer;
use veridical_store::StoreReader;

use crate::api::refusals;
use crate::cluster::{client_address, member_name, peer_url};

/// What all answers of a run are measured against.
#[derive(Clone)]
pub struct Judge {
    facts: Arc<Mutex<Facts>>,
}

/// What is known of the members, from outside.
struct Facts {
    cluster_id: u64,
    bootstrap_members: u32,
    limits: Limits,
    /// The members that each machine had.
    installed: BTreeMap<u32, BTreeSet<u64>>,
    lives: BTreeMap<u64, Life>,
    /// Who led each term.
    leaders: BTreeMap<u64, u64>,
    /// Members that somebody asked to be removed.
    leaving: BTreeSet<u64>,
    /// Numbers of leases that members have chosen.
    chosen_leases: BTreeSet<i64>,
}

/// The last life of a member.
struct Life {
    number: u64,
    status: watch::Receiver<Status>,
    reader: StoreReader,
    /// The latest term of the lives before.
    earlier_term: u64,
}

/// The members at the moment of a call.
pub struct Asked {
    /// The machine that is asked, where the client knows it.
    site: Option<u32>,
    /// Each member's life and its status.
    then: BTreeMap<u64, (u64, Status)>,
}

/// Leaders that are remembered.
const LEADERS_MAX: usize = 4_096;

impl Judge {
    /// Of a cluster that these bootstrap members begin, with these settings.
    pub fn new(cluster_id: u64, bootstrap_members: u32, limits: Limits) -> Self {
        let facts = Facts {
            cluster_id,
            bootstrap_members,
            limits,
            installed: BTreeMap::new(),
            lives: BTreeMap::new(),
            leaders: BTreeMap::new(),
            leaving: BTreeSet::new(),
            chosen_leases: BTreeSet::new(),
        };
        Self {
            facts: Arc::new(Mutex::new(facts)),
        }
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts
            .lock()
            .expect("no panic while the facts are locked")
    }

    /// Member `id` begins to serve on a machine.
    pub fn serves(&self, site: u32, id: u64, status: watch::Receiver<Status>, reader: StoreReader) {
        let mut facts = self.facts();
        facts.installed.entry(site).or_default().insert(id);
        let before = facts.lives.remove(&id);
        let life = Life {
            number: before.as_ref().map_or(0, |life| life.number + 1),
            earlier_term: before.as_ref().map_or(0, Life::latest_term),
            status,
            reader,
        };
        facts.lives.insert(id, life);
    }

    /// Somebody asks for a member to be removed.
    pub fn may_leave(&self, id: u64) {
        self.facts().leaving.insert(id);
    }

    /// A member leads a term.
    pub fn leads(&self, id: u64, term: u64) {
        let mut facts = self.facts();
        facts.leaders.insert(term, id);
        if facts.leaders.len() > LEADERS_MAX {
            facts.leaders.pop_first();
        }
    }

    /// Somebody is about to ask a member, that of a machine if it is known.
    pub fn asks(&self, site: Option<u32>) -> Asked {
        let facts = self.facts();
        let lives = facts.lives.iter();
        Asked {
            site,
            then: lives
                .map(|(id, life)| (*id, (life.number, life.status.borrow().clone())))
                .collect(),
        }
    }

    /// Judges what came back.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn judge(
        &self,
        asked: &Asked,
        ask: &Ask,
        result: &Result<Answer, CallError>,
    ) -> Result<(), String> {
        let mut facts = self.facts();
        match result {
            Ok(answer) => match refusals::expected(ask, &facts.limits) {
                Some(refusal) => Err(format!("it was to be refused: {refusal}")),
                None => facts.judge_answer(asked, ask, answer),
            },
            Err(CallError::Refused { code, message }) => {
                refusals::check(ask, (*code, message), &facts.limits)
            }
            Err(CallError::Unknown(_) | CallError::Unavailable(_)) => Ok(()),
        }
    }
}

impl Life {
    fn latest_term(&self) -> u64 {
        self.earlier_term.max(self.status.borrow().term)
    }
}

/// An error with what does not hold, unless it does.
fn holds(condition: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    match condition {
        true => Ok(()),
        false => Err(what()),
    }
}

impl Facts {
    fn judge_answer(&mut self, asked: &Asked, ask: &Ask, answer: &Answer) -> Result<(), String> {
        if let Some(header) = header_of(answer) {
            self.judge_header(asked, header, tells_of_keys(answer))?;
        }
        match (ask, answer) {
            (Ask::LeaseGrant(ask), Answer::LeaseGrant(granted)) => self.judge_grant(ask, granted),
            (Ask::LeaseKeepAlive(ask), Answer::LeaseKeepAlive(kept)) => same(kept.id, ask.id),
            (Ask::LeaseTimeToLive(ask), Answer::LeaseTimeToLive(told)) => same(told.id, ask.id),
            (Ask::Status(_), Answer::Status(status)) => self.judge_status(asked, status),
            (Ask::HashKv(ask), Answer::HashKv(hashed)) => judge_hash(*ask, hashed),
            (Ask::MoveLeader(_), Answer::MoveLeader(moved)) => {
                holds(moved.header.is_none(), || "etcd gives no header".to_owned())
            }
            (Ask::MemberList(_), Answer::MemberList(list)) => self.judge_members(&list.members),
            (Ask::MemberAdd(ask), Answer::MemberAdd(added)) => self.judge_added(ask, added),
            (Ask::MemberRemove(ask), Answer::MemberRemove(removed)) => {
                let is_there = removed.members.iter().any(|member| member.id == ask.id);
                holds(!is_there, || format!("{} is still a member", ask.id))?;
                self.judge_members(&removed.members)
            }
            (Ask::MemberPromote(_), Answer::MemberPromote(promoted)) => {
                self.judge_members(&promoted.members)
            }
            (Ask::MemberUpdate(ask), Answer::MemberUpdate(updated)) => {
                let member = updated.members.iter().find(|member| member.id == ask.id);
                // Somebody may have removed it meanwhile.
                if let Some(member) = member {
                    holds(member.peer_ur_ls == ask.peer_ur_ls, || {
                        format!("its addresses are {:?}", member.peer_ur_ls)
                    })?;
                }
                self.judge_members(&updated.members)
            }
            // What they tell is for the checker of histories.
            (Ask::Range(_), Answer::Range(_))
            | (Ask::Put(_), Answer::Put(_))
            | (Ask::DeleteRange(_), Answer::DeleteRange(_))
            | (Ask::Txn(_), Answer::Txn(_))
            | (Ask::Compaction(_), Answer::Compaction(_))
            | (Ask::LeaseRevoke(_), Answer::LeaseRevoke(_))
            | (Ask::LeaseLeases(_), Answer::LeaseLeases(_))
            | (Ask::Watch(_), Answer::Watch(_)) => Ok(()),
            _ => Err("it is the answer to something else".to_owned()),
        }
    }

    fn judge_header(
        &self,
        asked: &Asked,
        header: Option<&api::ResponseHeader>,
        tells_of_keys: bool,
    ) -> Result<(), String> {
        let Some(header) = header else {
            return Err("it has no header".to_owned());
        };
        let (id, term) = (header.member_id, header.raft_term);
        holds(header.cluster_id == self.cluster_id, || {
            format!("the cluster is {:x}", self.cluster_id)
        })?;
        let is_known = match asked.site {
            Some(site) => self
                .installed
                .get(&site)
                .is_some_and(|ids| ids.contains(&id)),
            None => self.lives.contains_key(&id),
        };
        holds(is_known, || {
            format!("{id:x} is not the member that was asked")
        })?;
        let Some(life) = self.lives.get(&id) else {
            return Ok(());
        };
        let latest = life.latest_term();
        holds(term <= latest, || {
            format!("member {id:x} has not been in a term after {latest}")
        })?;
        let Some((number, then)) = asked.then.get(&id) else {
            return Ok(());
        };
        if *number != life.number {
            // It was started again in between.
            return Ok(());
        }
        holds(term >= then.term, || {
            format!(
                "member {id:x} was in term {} before it was asked",
                then.term
            )
        })?;
        // That it is not too old is the business of the checker of histories.
        let revisions = match tells_of_keys {
            true => 1..=life.reader.revision(),
            false => 0..=0,
        };
        holds(revisions.contains(&header.revision), || {
            format!("the revision of member {id:x} is one of {revisions:?}")
        })
    }

    fn judge_grant(
        &mut self,
        ask: &api::LeaseGrantRequest,
        granted: &api::LeaseGrantResponse,
    ) -> Result<(), String> {
        holds(granted.error.is_empty(), || {
            "a lease is granted with an error".to_owned()
        })?;
        let least_s = shortest_lease_s(&self.limits);
        holds(granted.ttl == ask.ttl.max(least_s), || {
            format!(
                "{} s were asked for, and {least_s} s are the least",
                ask.ttl
            )
        })?;
        if ask.id != 0 {
            return same(granted.id, ask.id);
        }
        holds(granted.id > 0, || "it has no number".to_owned())?;
        holds(self.chosen_leases.insert(granted.id), || {
            "the number was given to another lease".to_owned()
        })
    }

    fn judge_status(&self, asked: &Asked, status: &api::StatusResponse) -> Result<(), String> {
        let header = status.header.as_ref();
        let (id, term) = header.map_or((0, 0), |header| (header.member_id, header.raft_term));
        holds(status.raft_term == term, || {
            "its term is not that of the header".to_owned()
        })?;
        holds(status.version == env!("CARGO_PKG_VERSION"), || {
            format!("the version is {}", env!("CARGO_PKG_VERSION"))
        })?;
        let sizes = 0..=status.db_size;
        holds(sizes.contains(&status.db_size_in_use), || {
            "more is in use than there is".to_owned()
        })?;
        let leader = self.leaders.get(&term).copied();
        holds(status.leader == 0 || Some(status.leader) == leader, || {
            format!("term {term} is led by {leader:x?}")
        })?;
        let has_error = status
            .errors
            .iter()
            .any(|error| error == "etcdserver: no leader");
        holds(has_error == (status.leader == 0), || {
            "its errors say otherwise of the leader".to_owned()
        })?;
        let Some(life) = self.lives.get(&id) else {
            return Ok(());
        };
        let now = life.status.borrow();
        if let Some((number, then)) = asked.then.get(&id)
            && *number == life.number
        {
            holds(status.raft_applied_index <= now.commit_index, || {
                format!("{} is committed", now.commit_index)
            })?;
            // A log may be cut; without a new term it is not.
            let is_same_term = now.term == then.term;
            let range = then.last_index..=now.last_index;
            holds(!is_same_term || range.contains(&status.raft_index), || {
                format!("the log ends within {range:?}")
            })?;
            holds(
                then.learner != now.learner || status.is_learner == now.learner,
                || format!("that it learns is {}", now.learner),
            )?;
        }
        Ok(())
    }

    fn judge_members(&self, members: &[api::Member]) -> Result<(), String> {
        let ids: BTreeSet<u64> = members.iter().map(|member| member.id).collect();
        holds(ids.len() == members.len() && !ids.contains(&0), || {
            "each member has a number of its own".to_owned()
        })?;
        let addresses: Vec<&String> = { members.iter() }
            .flat_map(|member| &member.peer_ur_ls)
            .collect();
        let different: BTreeSet<&String> = addresses.iter().copied().collect();
        holds(different.len() == addresses.len(), || {
            format!("two members have one address: {addresses:?}")
        })?;
        let bootstrap_members = 1..=u64::from(self.bootstrap_members);
        let missing = bootstrap_members
            .filter(|id| !self.leaving.contains(id))
            .find(|id| !ids.contains(id));
        if let Some(id) = missing {
            return Err(format!("nobody asked for the removal of {id:x}"));
        }
        for member in members {
            self.judge_member(member)?;
        }
        Ok(())
    }

    fn judge_member(&self, member: &api::Member) -> Result<(), String> {
        let is_bootstrap_member = (1..=u64::from(self.bootstrap_members)).contains(&member.id);
        if !is_bootstrap_member {
            // Its name and where it serves clients are known once it has told them.
            let named = |site: &u32| member.name == member_name(*site);
            let site = self.installed.keys().find(|site| named(site));
            let tells = site.map(|site| format!("http://{}", client_address(*site)));
            holds(
                !member.peer_ur_ls.is_empty()
                    && (member.name.is_empty() || site.is_some())
                    && member
                        .client_ur_ls
                        .iter()
                        .all(|url| Some(url) == tells.as_ref()),
                || format!("nobody said so of member {:x}", member.id),
            )?;
            let knows = self.installed.values().any(|ids| ids.contains(&member.id));
            return holds(knows || member.id > u64::from(u32::MAX), || {
                format!("there was never a member {:x}", member.id)
            });
        }
        let site = (member.id - 1) as u32;
        holds(member.name == member_name(site), || {
            format!("the name of member {:x} is another", member.id)
        })?;
        holds(member.peer_ur_ls.first() == Some(&peer_url(site)), || {
            format!("member {:x} is reached elsewhere", member.id)
        })?;
        let clients = format!("http://{}", client_address(site));
        // Nobody knows it before the member has told it.
        let says_so = member.client_ur_ls.is_empty() || member.client_ur_ls == [clients];
        holds(says_so, || {
            format!("member {:x} serves clients elsewhere", member.id)
        })?;
        holds(!member.is_learner, || {
            format!("member {:x} founded the cluster", member.id)
        })
    }

    fn judge_added(
        &self,
        ask: &api::MemberAddRequest,
        added: &api::MemberAddResponse,
    ) -> Result<(), String> {
        let Some(member) = &added.member else {
            return Err("it does not say who was added".to_owned());
        };
        holds(
            member.peer_ur_ls == ask.peer_ur_ls && member.is_learner == ask.is_learner,
            || "another one was to be added".to_owned(),
        )?;
        // Somebody may have promoted or removed it meanwhile.
        let listed = added.members.iter().find(|listed| listed.id == member.id);
        holds(
            listed.is_none_or(|listed| listed.peer_ur_ls == member.peer_ur_ls),
            || "the list says otherwise".to_owned(),
        )?;
        self.judge_members(&added.members)
    }
}

/// The shortest lease that there is, in seconds (etcd: `minLeaseTTL`, worked out from the ticks of
/// an election, three halves of them).
fn shortest_lease_s(limits: &Limits) -> i64 {
    let election_ticks = limits.election_timeout_ms / limits.heartbeat_ms;
    let least_ms = (3 * election_ticks) / 2 * limits.heartbeat_ms;
    (least_ms as f64 / 1_000.0).ceil() as i64
}

fn same(got: i64, asked: i64) -> Result<(), String> {
    holds(got == asked, || format!("{asked} was asked for"))
}

fn judge_hash(ask: api::HashKvRequest, hashed: &api::HashKvResponse) -> Result<(), String> {
    let newest = hashed.header.as_ref().map_or(0, |header| header.revision);
    holds(hashed.compact_revision <= newest, || {
        "it is compacted beyond its revision".to_owned()
    })?;
    holds(ask.revision <= newest, || {
        format!("revision {} was to come", ask.revision)
    })?;
    holds(
        ask.revision <= 0 || hashed.compact_revision <= ask.revision,
        || format!("revision {} was compacted", ask.revision),
    )
}

/// Whether the header of an answer has a revision; as with etcd, those about members have none.
fn tells_of_keys(answer: &Answer) -> bool {
    !matches!(
        answer,
        Answer::MemberList(_)
            | Answer::MemberAdd(_)
            | Answer::MemberRemove(_)
            | Answer::MemberPromote(_)
            | Answer::MemberUpdate(_)
    )
}

/// The header of an answer; nothing of one that has none.
fn header_of(answer: &Answer) -> Option<Option<&api::ResponseHeader>> {
    Some(match answer {
        Answer::Range(answer) => answer.header.as_ref(),
        Answer::Put(answer) => answer.header.as_ref(),
        Answer::DeleteRange(answer) => answer.header.as_ref(),
        Answer::Txn(answer) => answer.header.as_ref(),
        Answer::Compaction(answer) => answer.header.as_ref(),
        Answer::LeaseGrant(answer) => answer.header.as_ref(),
        Answer::LeaseRevoke(answer) => answer.header.as_ref(),
        Answer::LeaseKeepAlive(answer) => answer.header.as_ref(),
        Answer::LeaseTimeToLive(answer) => answer.header.as_ref(),
        Answer::LeaseLeases(answer) => answer.header.as_ref(),
        Answer::Watch(answer) => answer.header.as_ref(),
        Answer::Status(answer) => answer.header.as_ref(),
        Answer::MemberList(answer) => answer.header.as_ref(),
        Answer::HashKv(answer) => answer.header.as_ref(),
        Answer::Hash(answer) => answer.header.as_ref(),
        Answer::Alarm(answer) => answer.header.as_ref(),
        Answer::MemberAdd(answer) => answer.header.as_ref(),
        Answer::MemberRemove(answer) => answer.header.as_ref(),
        Answer::MemberPromote(answer) => answer.header.as_ref(),
        Answer::MemberUpdate(answer) => answer.header.as_ref(),
        Answer::Batch(answer) => answer.header.as_ref(),
        // As from etcd: whoever gives leadership away tells no more, nor does whoever has freed
        // its room.
        Answer::MoveLeader(_) | Answer::Defragment(_) | Answer::Failure(_) => return None,
    })
}
