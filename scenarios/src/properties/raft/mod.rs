//! Raft's safety properties (Ongaro and Ousterhout 2014, figure 3), and what they stand on:
//! what was durable stays, what a member promises is on its disk (`promises`), and the
//! configuration in force is that of its log (`configuration`).
//!
//! Each member's log is mirrored as a chain of hashes, so that two logs are compared by
//! comparing two words. What is remembered is bounded: the newest entries of each log, the
//! newest committed ones, the last leaders.

mod configuration;
mod elections;
mod log;
mod promises;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use veridical_raft::{Entry, LogIndex, Membership, NodeId, Raft, Ready, Role, Term};

use super::Broken;
use configuration::Configurations;
use elections::Elections;
use log::{Link, LogView};
use promises::{Promises, begins_to_lead, check_vote_stands};

/// Committed entries, and pairs of index and term, that are remembered.
const REMEMBERED_MAX: usize = 1 << 16;

/// Leaders that are remembered.
const LEADERS_MAX: usize = 256;

/// What Raft at a member says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The member.
    pub member: NodeId,
    /// Its term.
    pub term: Term,
    /// Whom it voted for in that term.
    pub vote: Option<NodeId>,
    /// What it is in that term.
    pub role: Role,
    /// What it knows to be committed.
    pub commit: LogIndex,
    /// The end of its log.
    pub last_index: LogIndex,
    /// The end of the part of its log that is durable.
    pub persisted: LogIndex,
}

impl From<&Raft> for Standing {
    fn from(raft: &Raft) -> Self {
        Self {
            member: raft.id(),
            term: raft.term(),
            vote: raft.vote(),
            role: raft.role(),
            commit: raft.commit_index(),
            last_index: raft.last_index(),
            persisted: raft.persisted_index(),
        }
    }
}

/// A member as it was seen last.
struct Member {
    standing: Standing,
    log: LogView,
    applied: LogIndex,
    /// The end of what it said to be durable.
    durable: Option<(LogIndex, Link)>,
    promises: Promises,
    configurations: Configurations,
}

/// What a member finds on its disk beside the entries of its log.
#[derive(Clone, Debug)]
pub struct Beginning {
    /// The log begins behind this entry.
    pub base_index: LogIndex,
    /// The term of that entry.
    pub base_term: Term,
    /// The members as of that entry.
    pub membership: Membership,
    /// The last entry that is applied already.
    pub applied: LogIndex,
}

/// A leader as it was elected.
struct Leader {
    member: NodeId,
    /// Up to here its log was compared with what was committed.
    compared: LogIndex,
    /// What it had behind that, without the entries of its own term.
    rest: Vec<Link>,
}

/// The properties of one cluster.
#[derive(Default)]
pub struct RaftLaws {
    members: BTreeMap<NodeId, Member>,
    /// The prefix that goes with each index and term.
    prefixes: BTreeMap<(LogIndex, Term), u64>,
    committed: BTreeMap<LogIndex, Link>,
    /// The highest index that a member knew to be committed while it was in a term.
    committed_in: BTreeMap<Term, LogIndex>,
    leaders: BTreeMap<Term, Leader>,
    elections: Elections,
}

impl RaftLaws {
    /// The disk of a member decays, and nothing can be said of what it had called durable: a
    /// record at the very end of a log, with nothing behind it that proves that it was whole,
    /// cannot be told from one that was being written when power was lost.
    pub fn disk_decays(&mut self, member: NodeId) {
        self.members.remove(&member);
        self.elections.disk_decays(member);
    }

    /// A member starts with the entries that its disk had.
    ///
    /// # Errors
    /// Its log contradicts that of another, lacks what it had said to be durable, or its vote
    /// is forgotten.
    pub fn started<'a>(
        &mut self,
        standing: Standing,
        beginning: Beginning,
        entries: impl Iterator<Item = &'a Entry>,
    ) -> Result<(), Broken> {
        let before = self.members.remove(&standing.member);
        if let Some(before) = &before {
            check_vote_stands(before.promises.vote(), &standing)?;
        }
        let durable = before.and_then(|member| {
            // A snapshot that contradicts a log takes the place of all of it (Raft paper,
            // section 7); it may have been received right before a crash.
            let had = member.log.at(beginning.base_index);
            let is_void = had.is_some_and(|link| link.term != beginning.base_term);
            member.durable.filter(|_| !is_void)
        });
        // It may have become durable right before a crash.
        if let Some(candidate) = standing.vote {
            self.elections
                .has_voted(standing.member, standing.term, candidate)?;
        }
        let base = (beginning.base_index, beginning.base_term);
        let Some(mut log) = self.log_after(base)? else {
            return Ok(());
        };
        let mut configurations = Configurations::begin(base.0, beginning.membership);
        for entry in entries {
            configurations.append(entry);
            let link = log.push(entry);
            self.match_prefix(standing.member, entry.index, link)?;
        }
        if let Some((index, link)) = durable
            && index > log.base_index()
            && log.at(index) != Some(link)
        {
            return Broken::new(
                "durable-entries-lost",
                format!(
                    "member {} had said that its log is durable up to entry {index} of term {}, \
                     and starts with a log that has {}",
                    standing.member,
                    link.term,
                    tell(log.at(index)),
                ),
            );
        }
        let member = Member {
            standing,
            applied: beginning.applied,
            promises: Promises::begin(log.clone(), (standing.term, standing.vote)),
            configurations,
            durable: durable.filter(|(index, _)| *index > log.base_index()),
            log,
        };
        self.members.insert(standing.member, member);
        self.commits(standing, base.0)
    }

    /// A member is about to carry out effects.
    ///
    /// # Errors
    /// The first property that this step breaks.
    pub fn stepped(&mut self, standing: Standing, ready: &Ready) -> Result<(), Broken> {
        let Some(member) = self.members.get_mut(&standing.member) else {
            return Ok(());
        };
        let before = std::mem::replace(&mut member.standing, standing);
        if before == standing && changes_no_log(ready) {
            return member.promises.check(&standing, &member.log, ready);
        }
        check_vote_stands((before.term, before.vote), &standing)?;
        if standing.commit < before.commit {
            return Broken::new(
                "state-machine-safety",
                format!(
                    "member {} knew that the entries up to {} are committed, and now up to {}",
                    standing.member, before.commit, standing.commit
                ),
            );
        }
        let still_leads = (before.role, before.term) == (Role::Leader, standing.term)
            && standing.role == Role::Leader;
        if let Some(meta) = &ready.install_snapshot {
            if still_leads {
                return leader_rewrites(&standing, "installs a snapshot");
            }
            let Some(log) = self.log_after((meta.index, meta.term))? else {
                self.members.remove(&standing.member);
                return Ok(());
            };
            if let Some(member) = self.members.get_mut(&standing.member) {
                member.log = log;
                member.applied = meta.index;
                member.durable = None;
            }
        }
        self.elections.stand(ready);
        if ready.entries.is_empty()
            && ready.install_snapshot.is_none()
            && let Some(member) = self.members.get(&standing.member)
        {
            self.elections.check_vote(&before, &standing, &member.log)?;
        }
        let counted = self.members.get(&standing.member);
        let counted = counted.map(|member| member.configurations.latest().clone());
        self.appends(&before, still_leads, ready)?;
        if let Some(member) = self.members.get(&standing.member) {
            member.promises.check(&standing, &member.log, ready)?;
            if begins_to_lead(&before, &standing) {
                member.promises.leads(&standing)?;
                let voters = &member.configurations.latest().voters;
                // Of whom nothing is known nothing can be said.
                if voters.iter().all(|voter| self.members.contains_key(voter)) {
                    self.elections.check_majority(&standing, voters)?;
                }
            }
        }
        if standing.role == Role::Leader && !still_leads {
            self.is_elected(standing)?;
        }
        if standing.commit > before.commit {
            self.commits(standing, before.commit)?;
            if still_leads && let Some(counted) = counted {
                self.counts(&standing, &counted)?;
            }
        }
        self.applies(standing.member, &ready.committed)?;
        if let Some(member) = self.members.get_mut(&standing.member) {
            let persisted = standing.persisted.min(member.log.last_index());
            member.durable = member.log.at(persisted).map(|link| (persisted, link));
        }
        Ok(())
    }

    /// A log that begins behind a snapshot. `None` if it is too long ago what came before.
    fn log_after(&self, (index, term): (LogIndex, Term)) -> Result<Option<LogView>, Broken> {
        let link = match index {
            0 => Link::ORIGIN,
            _ => match self.committed.get(&index) {
                Some(link) => *link,
                None => return Ok(None),
            },
        };
        if link.term != term {
            return Broken::new(
                "state-machine-safety",
                format!(
                    "a snapshot ends at entry {index} of term {term}, and what was committed \
                     there is of term {}",
                    link.term
                ),
            );
        }
        Ok(Some(LogView::after(index, link)))
    }

    /// Log matching: two entries with the same index and term have equal ones before them.
    fn match_prefix(&mut self, member: NodeId, index: LogIndex, link: Link) -> Result<(), Broken> {
        let known = *self
            .prefixes
            .entry((index, link.term))
            .or_insert(link.prefix);
        if known != link.prefix {
            return Broken::new(
                "log-matching",
                format!(
                    "member {member} has an entry {index} of term {}, as another has, but what \
                     is in it or before it differs",
                    link.term
                ),
            );
        }
        if self.prefixes.len() > REMEMBERED_MAX {
            self.prefixes.pop_first();
        }
        Ok(())
    }

    /// The log grows, or is replaced from some index on. Leader append-only: not that of a
    /// leader.
    fn appends(
        &mut self,
        before: &Standing,
        still_leads: bool,
        ready: &Ready,
    ) -> Result<(), Broken> {
        let Some(member) = self.members.get_mut(&before.member) else {
            return Ok(());
        };
        let standing = member.standing;
        let had = member.log.last_index();
        let begins = ready.entries.first().map(|entry| entry.index);
        let kept = begins.map_or(standing.last_index, |index| index.saturating_sub(1));
        if kept < had && ready.install_snapshot.is_none() {
            let text = format!("removes the entries {} to {had} of its log", kept + 1);
            if still_leads {
                return leader_rewrites(&standing, &text);
            }
            if kept < before.commit {
                return Broken::new(
                    "state-machine-safety",
                    format!(
                        "member {} {text}, and knew that they are committed up to {}",
                        standing.member, before.commit
                    ),
                );
            }
            member.log.truncate(kept);
        }
        if kept > member.log.last_index() {
            return Broken::new(
                "log-matching",
                format!(
                    "the log of member {} goes on behind entry {kept}, and ended at {}",
                    standing.member,
                    member.log.last_index()
                ),
            );
        }
        for entry in &ready.entries {
            let Some(member) = self.members.get_mut(&standing.member) else {
                break;
            };
            let link = member.log.push(entry);
            self.match_prefix(standing.member, entry.index, link)?;
        }
        if let Some(member) = self.members.get_mut(&standing.member) {
            member.promises.hand_out(ready, kept, &member.log);
            member.configurations.hand_out(ready, kept);
        }
        Ok(())
    }

    /// Everything that a member has handed out up to the `Ready` of this number is durable, as
    /// its log's task says; `is_pending` tells whether its log has changes that were not
    /// synchronised.
    ///
    /// # Errors
    /// They had to be.
    pub fn persisted(
        &mut self,
        id: NodeId,
        number: u64,
        is_pending: impl Fn() -> bool,
    ) -> Result<(), Broken> {
        let Some(member) = self.members.get_mut(&id) else {
            return Ok(());
        };
        if member.promises.needs_sync(number) && is_pending() {
            return Broken::new(
                "not-durable",
                format!("member {id} calls its log durable, and has not synchronised it"),
            );
        }
        let elections = &mut self.elections;
        member.promises.persisted(number, |term, candidate| {
            elections.has_voted(id, term, candidate)
        })
    }

    /// Raft at a member goes by this configuration.
    ///
    /// # Errors
    /// It is not that of its log.
    pub fn goes_by(&self, member: NodeId, in_force: &Membership) -> Result<(), Broken> {
        match self.members.get(&member) {
            Some(known) => known.configurations.check_in_force(member, in_force),
            None => Ok(()),
        }
    }

    /// A member has applied this configuration as of `index`.
    ///
    /// # Errors
    /// It is not that of its log.
    pub fn has_applied(
        &self,
        member: NodeId,
        index: LogIndex,
        applied: &Membership,
    ) -> Result<(), Broken> {
        match self.members.get(&member) {
            Some(known) => known.configurations.check_applied(member, index, applied),
            None => Ok(()),
        }
    }

    /// The highest index that some member knows to be committed.
    pub fn committed(&self) -> LogIndex {
        self.committed
            .last_key_value()
            .map_or(0, |(index, _)| *index)
    }

    /// Election safety, and leader completeness against what is committed already.
    fn is_elected(&mut self, standing: Standing) -> Result<(), Broken> {
        let (id, term) = (standing.member, standing.term);
        if let Some(leader) = self.leaders.get(&term)
            && leader.member != id
        {
            return Broken::new(
                "two-leaders",
                format!("members {} and {id} both led term {term}", leader.member),
            );
        }
        let Some(member) = self.members.get(&id) else {
            return Ok(());
        };
        let earlier = self.committed_in.range(..term);
        let base_index = member.log.base_index();
        let compared = earlier.map(|(_, index)| *index).fold(base_index, u64::max);
        if compared > base_index {
            let committed = self.committed.get(&compared).copied();
            let own = member.log.at(compared);
            if committed.is_some() && own != committed {
                return incomplete(id, term, compared, own);
            }
        }
        let leader = Leader {
            member: id,
            compared,
            rest: member
                .log
                .since(compared + 1)
                .take_while(|link| link.term < term)
                .collect(),
        };
        self.leaders.insert(term, leader);
        if self.leaders.len() > LEADERS_MAX {
            self.leaders.pop_first();
        }
        Ok(())
    }

    /// A member knows more to be committed than `before`: the same as all others know, and
    /// leaders of later terms had it (leader completeness).
    fn commits(&mut self, standing: Standing, before: LogIndex) -> Result<(), Broken> {
        let (id, term) = (standing.member, standing.term);
        let Some(member) = self.members.get(&id) else {
            return Ok(());
        };
        if standing.commit > member.log.last_index() {
            return Broken::new(
                "state-machine-safety",
                format!(
                    "member {id} takes the entries up to {} for committed, and its log ends \
                     at {}",
                    standing.commit,
                    member.log.last_index()
                ),
            );
        }
        for index in before + 1..=standing.commit {
            let Some(link) = member.log.at(index) else {
                continue;
            };
            let known = *self.committed.entry(index).or_insert(link);
            if known != link {
                return Broken::new(
                    "state-machine-safety",
                    format!(
                        "at member {id} the committed entry {index} is of term {}, at another \
                         of term {}, and they or those before them differ",
                        link.term, known.term
                    ),
                );
            }
        }
        while self.committed.len() > REMEMBERED_MAX {
            self.committed.pop_first();
        }
        let highest = self.committed_in.entry(term).or_default();
        *highest = standing.commit.max(*highest);
        if self.committed_in.len() > LEADERS_MAX {
            forget_oldest(&mut self.committed_in);
        }
        for (later, leader) in self.leaders.range(term + 1..) {
            let Some(behind) = standing.commit.checked_sub(leader.compared + 1) else {
                continue;
            };
            let own = leader.rest.get(behind as usize).copied();
            if own != member.log.at(standing.commit) {
                return incomplete(leader.member, *later, standing.commit, own);
            }
        }
        Ok(())
    }

    /// A leader commits by counting disks, and only entries of its own term (paper, section
    /// 5.4.2). It goes by its configuration, or by `counted`, that of a moment ago.
    fn counts(&self, standing: &Standing, counted: &Membership) -> Result<(), Broken> {
        let (id, index) = (standing.member, standing.commit);
        let Some(leader) = self.members.get(&id) else {
            return Ok(());
        };
        let term = leader.log.at(index).map_or(0, |link| link.term);
        if term != standing.term {
            return Broken::new(
                "committed-without-majority",
                format!(
                    "member {id}, leader of term {}, commits up to entry {index} of term {term}",
                    standing.term
                ),
            );
        }
        // Of whom nothing is known nothing can be said.
        let has_it = |voter: &&NodeId| {
            let voter = self.members.get(*voter);
            voter.is_none_or(|voter| voter.promises.has(&leader.log, index))
        };
        let is_enough = |membership: &Membership| {
            membership.voters.iter().filter(has_it).count() * 2 > membership.voters.len()
        };
        if is_enough(counted) || is_enough(leader.configurations.latest()) {
            return Ok(());
        }
        Broken::new(
            "committed-without-majority",
            format!(
                "member {id} commits up to entry {index}, which is on the disks of no majority \
                 of {:x?}",
                counted.voters
            ),
        )
    }

    /// State machine safety: entries are applied one after the other, each the one that is
    /// committed at its index.
    fn applies(&mut self, id: NodeId, entries: &[Entry]) -> Result<(), Broken> {
        let Some(member) = self.members.get_mut(&id) else {
            return Ok(());
        };
        for entry in entries {
            if entry.index != member.applied + 1 {
                return Broken::new(
                    "state-machine-safety",
                    format!(
                        "member {id} applies entry {} after {}",
                        entry.index, member.applied
                    ),
                );
            }
            member.applied = entry.index;
            let own = member.log.at(entry.index);
            let committed = self.committed.get(&entry.index).copied();
            if own.map(|link| link.term) != Some(entry.term)
                || committed.is_some_and(|committed| own != Some(committed))
            {
                return Broken::new(
                    "state-machine-safety",
                    format!(
                        "member {id} applies an entry {} of term {}; its log has {}, committed \
                         is {}",
                        entry.index,
                        entry.term,
                        tell(own),
                        tell(committed),
                    ),
                );
            }
        }
        Ok(())
    }

    /// The term that a member was in when it was seen last.
    pub fn term_of(&self, member: NodeId) -> Option<Term> {
        self.members.get(&member).map(|member| member.standing.term)
    }
}

/// Forgets the oldest term, but not how much was committed in it.
fn forget_oldest(committed_in: &mut BTreeMap<Term, LogIndex>) {
    if let Some((_, index)) = committed_in.pop_first()
        && let Some(mut next) = committed_in.first_entry()
    {
        *next.get_mut() = index.max(*next.get());
    }
}

/// Whether it is about messages alone.
fn changes_no_log(ready: &Ready) -> bool {
    ready.entries.is_empty() && ready.committed.is_empty() && ready.install_snapshot.is_none()
}

fn tell(link: Option<Link>) -> String {
    link.map_or_else(
        || "nothing there".to_owned(),
        |link| format!("one of term {}", link.term),
    )
}

fn leader_rewrites(standing: &Standing, what: &str) -> Result<(), Broken> {
    Broken::new(
        "leader-append-only",
        format!(
            "member {}, leader of term {}, {what}",
            standing.member, standing.term
        ),
    )
}

fn incomplete(
    leader: NodeId,
    term: Term,
    index: LogIndex,
    own: Option<Link>,
) -> Result<(), Broken> {
    Broken::new(
        "leader-completeness",
        format!(
            "member {leader} became leader of term {term} without entry {index}, which was \
             committed in an earlier term; it had {}",
            tell(own)
        ),
    )
}
