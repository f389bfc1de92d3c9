//! The invariants of a whole cluster (Ongaro and Ousterhout 2014, figure 3), and what they
//! stand on: what was durable stays, what a member promises is on its disk, and the
//! configuration in force is that of its log.
//!
//! Each member's log is mirrored as a chain of hashes, so that two logs are compared by
//! comparing two words. What is remembered is bounded: the newest entries of each log, the
//! newest committed ones, the last leaders.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::InvariantViolation;
use super::committed::{CommittedLog, incomplete};
use super::configuration::Configurations;
use super::durability::DurableState;
use super::elections::Elections;
use super::leaders::Leaders;
use super::log_view::{Link, LogView, describe};
use super::member::{self, MemberState, leader_rewrites};
use crate::entry::{Entry, LogIndex, NodeId, Term};
use crate::membership::Membership;
use crate::ready::{Ready, Role};

/// The most pairs of index and term whose prefixes are remembered.
const PREFIXES_MAX: usize = 1 << 16;

/// The most leaders that are remembered.
const LEADERS_MAX: usize = 256;

/// A member as it was seen last.
#[derive(Clone, Debug)]
struct Member {
    state: MemberState,
    log: LogView,
    applied: LogIndex,
    /// The end of what it said to be durable.
    durable: Option<(LogIndex, Link)>,
    durable_state: DurableState,
    configurations: Configurations,
}

/// What a member finds on its disk when it starts, beside the entries of its log.
#[derive(Clone, Debug)]
pub struct LogStart {
    /// The log begins behind this entry.
    pub base_index: LogIndex,
    /// The term of that entry.
    pub base_term: Term,
    /// The members as of that entry.
    pub membership: Membership,
    /// The last entry that is applied already.
    pub applied: LogIndex,
}

/// The log of a leader as it was elected.
#[derive(Clone, Debug)]
struct ElectedLog {
    member: NodeId,
    /// Up to here its log was compared with what was committed.
    compared: LogIndex,
    /// What it had behind that, without the entries of its own term.
    rest: Vec<Link>,
}

/// What has been seen of one cluster, to judge what is seen next.
#[derive(Clone, Debug, Default)]
pub struct ClusterInvariants {
    members: BTreeMap<NodeId, Member>,
    /// The prefix that goes with each index and term.
    prefixes: BTreeMap<(LogIndex, Term), u64>,
    committed: CommittedLog,
    leaders: Leaders,
    elected_logs: BTreeMap<Term, ElectedLog>,
    elections: Elections,
}

impl ClusterInvariants {
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
        state: MemberState,
        start: LogStart,
        entries: impl Iterator<Item = &'a Entry>,
    ) -> Result<(), InvariantViolation> {
        let before = self.members.remove(&state.member);
        if let Some(before) = &before {
            member::check_vote_stands(before.durable_state.vote(), &state)?;
        }
        let durable = before.and_then(|member| {
            // A snapshot that contradicts a log takes the place of all of it (Raft paper,
            // section 7); it may have been received right before a crash.
            let had = member.log.at(start.base_index);
            let is_void = had.is_some_and(|link| link.term != start.base_term);
            member.durable.filter(|_| !is_void)
        });
        // It may have become durable right before a crash.
        if let Some(candidate) = state.vote {
            self.elections
                .has_voted(state.member, state.term, candidate)?;
        }
        let base = (start.base_index, start.base_term);
        let Some(mut log) = self.log_after(base)? else {
            return Ok(());
        };
        let mut configurations = Configurations::begin(base.0, start.membership);
        for entry in entries {
            configurations.append(entry);
            let link = log.push(entry);
            self.match_prefix(state.member, entry.index, link)?;
        }
        if let Some((index, link)) = durable
            && index > log.base_index()
            && log.at(index) != Some(link)
        {
            return InvariantViolation::new(
                "durable-entries-lost",
                format!(
                    "member {} had said that its log is durable up to entry {index} of term {}, \
                     and starts with a log that has {}",
                    state.member,
                    link.term,
                    describe(log.at(index)),
                ),
            );
        }
        let member = Member {
            state,
            applied: start.applied,
            durable_state: DurableState::begin(log.clone(), (state.term, state.vote)),
            configurations,
            durable: durable.filter(|(index, _)| *index > log.base_index()),
            log,
        };
        self.members.insert(state.member, member);
        self.commits(state, base.0)
    }

    /// A member is about to carry out effects.
    ///
    /// # Errors
    /// The first property that this step breaks.
    pub fn stepped(&mut self, state: MemberState, ready: &Ready) -> Result<(), InvariantViolation> {
        let Some(member) = self.members.get_mut(&state.member) else {
            return Ok(());
        };
        let before = std::mem::replace(&mut member.state, state);
        if !differs(&before, &state) && changes_no_log(ready) {
            return member.durable_state.check(&state, &member.log, ready);
        }
        member::check_monotonic(&before, &state)?;
        let still_leads = state.still_leads(&before);
        if let Some(meta) = &ready.install_snapshot {
            if still_leads {
                return leader_rewrites(&state, "installs a snapshot");
            }
            let Some(log) = self.log_after((meta.index, meta.term))? else {
                self.members.remove(&state.member);
                return Ok(());
            };
            if let Some(member) = self.members.get_mut(&state.member) {
                member.log = log;
                member.applied = meta.index;
                member.durable = None;
            }
        }
        self.elections.stand(ready);
        if ready.entries.is_empty()
            && ready.install_snapshot.is_none()
            && let Some(member) = self.members.get(&state.member)
        {
            self.elections.check_vote(&before, &state, &member.log)?;
        }
        let counted = self.members.get(&state.member);
        let counted = counted.map(|member| member.configurations.latest().clone());
        self.appends(&before, still_leads, ready)?;
        if let Some(member) = self.members.get(&state.member) {
            member.durable_state.check(&state, &member.log, ready)?;
            if state.role == Role::Leader && !still_leads {
                member.durable_state.leads(&state)?;
                let voters = &member.configurations.latest().voters;
                // Of whom nothing is known nothing can be said.
                if voters.iter().all(|voter| self.members.contains_key(voter)) {
                    self.elections.check_majority(&state, voters)?;
                }
            }
        }
        if state.role == Role::Leader && !still_leads {
            self.is_elected(state)?;
        }
        if state.commit > before.commit {
            self.commits(state, before.commit)?;
            if still_leads && let Some(counted) = counted {
                self.counts(&state, &counted)?;
            }
        }
        self.applies(state.member, &ready.committed)?;
        if let Some(member) = self.members.get_mut(&state.member) {
            let persisted = state.persisted.min(member.log.last_index());
            member.durable = member.log.at(persisted).map(|link| (persisted, link));
        }
        Ok(())
    }

    /// A log that begins behind a snapshot. `None` if it is too long ago what came before.
    fn log_after(
        &self,
        (index, term): (LogIndex, Term),
    ) -> Result<Option<LogView>, InvariantViolation> {
        let link = match index {
            0 => Link::ORIGIN,
            _ => match self.committed.at(index) {
                Some(link) => link,
                None => return Ok(None),
            },
        };
        if link.term != term {
            return InvariantViolation::new(
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
    fn match_prefix(
        &mut self,
        member: NodeId,
        index: LogIndex,
        link: Link,
    ) -> Result<(), InvariantViolation> {
        let known = *self
            .prefixes
            .entry((index, link.term))
            .or_insert(link.prefix);
        if known != link.prefix {
            return InvariantViolation::new(
                "log-matching",
                format!(
                    "member {member} has an entry {index} of term {}, as another has, but what \
                     is in it or before it differs",
                    link.term
                ),
            );
        }
        if self.prefixes.len() > PREFIXES_MAX {
            self.prefixes.pop_first();
        }
        Ok(())
    }

    /// The log grows, or is replaced from some index on. Leader append-only: not that of a
    /// leader.
    fn appends(
        &mut self,
        before: &MemberState,
        still_leads: bool,
        ready: &Ready,
    ) -> Result<(), InvariantViolation> {
        let Some(member) = self.members.get_mut(&before.member) else {
            return Ok(());
        };
        let state = member.state;
        let had = member.log.last_index();
        let begins = ready.entries.first().map(|entry| entry.index);
        let kept = begins.map_or(state.last_index, |index| index.saturating_sub(1));
        if kept < had && ready.install_snapshot.is_none() {
            let text = format!("removes the entries {} to {had} of its log", kept + 1);
            if still_leads {
                return leader_rewrites(&state, &text);
            }
            if kept < before.commit {
                return InvariantViolation::new(
                    "state-machine-safety",
                    format!(
                        "member {} {text}, and knew that they are committed up to {}",
                        state.member, before.commit
                    ),
                );
            }
            member.log.truncate(kept);
        }
        if kept > member.log.last_index() {
            return InvariantViolation::new(
                "log-matching",
                format!(
                    "the log of member {} goes on behind entry {kept}, and ended at {}",
                    state.member,
                    member.log.last_index()
                ),
            );
        }
        if still_leads {
            let committed_term = member.log.at(state.commit).map(|link| link.term);
            member
                .configurations
                .check_one_at_a_time(&state, committed_term, ready)?;
        }
        for entry in &ready.entries {
            let Some(member) = self.members.get_mut(&state.member) else {
                break;
            };
            let link = member.log.push(entry);
            self.match_prefix(state.member, entry.index, link)?;
        }
        if let Some(member) = self.members.get_mut(&state.member) {
            member.durable_state.hand_out(ready, kept, &member.log);
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
    ) -> Result<(), InvariantViolation> {
        let Some(member) = self.members.get_mut(&id) else {
            return Ok(());
        };
        if member.durable_state.needs_sync(number) && is_pending() {
            return InvariantViolation::new(
                "not-durable",
                format!("member {id} calls its log durable, and has not synchronised it"),
            );
        }
        let elections = &mut self.elections;
        member.durable_state.persisted(number, |term, candidate| {
            elections.has_voted(id, term, candidate)
        })
    }

    /// Raft at a member counts majorities in this configuration.
    ///
    /// # Errors
    /// It is not that of its log.
    pub fn check_configuration(
        &self,
        member: NodeId,
        in_force: &Membership,
    ) -> Result<(), InvariantViolation> {
        match self.members.get(&member) {
            Some(known) => known.configurations.check_in_force(member, in_force),
            None => Ok(()),
        }
    }

    /// A member has applied this configuration as of `index`.
    ///
    /// # Errors
    /// It is not that of its log.
    pub fn check_applied_configuration(
        &self,
        member: NodeId,
        index: LogIndex,
        applied: &Membership,
    ) -> Result<(), InvariantViolation> {
        match self.members.get(&member) {
            Some(known) => known.configurations.check_applied(member, index, applied),
            None => Ok(()),
        }
    }

    /// The highest index that some member knows to be committed.
    pub fn committed(&self) -> LogIndex {
        self.committed.last_index()
    }

    /// How many terms have had a leader.
    pub fn terms_led(&self) -> usize {
        self.leaders.terms()
    }

    /// Election safety, and leader completeness against what is committed already.
    fn is_elected(&mut self, state: MemberState) -> Result<(), InvariantViolation> {
        let (id, term) = (state.member, state.term);
        self.leaders.leads(id, term)?;
        let Some(member) = self.members.get(&id) else {
            return Ok(());
        };
        let compared = self.committed.check_complete(id, term, &member.log)?;
        let elected = ElectedLog {
            member: id,
            compared,
            rest: member
                .log
                .since(compared + 1)
                .take_while(|link| link.term < term)
                .collect(),
        };
        self.elected_logs.insert(term, elected);
        if self.elected_logs.len() > LEADERS_MAX {
            self.elected_logs.pop_first();
        }
        Ok(())
    }

    /// A member knows more to be committed than `before`: the same as all others know, and
    /// leaders of later terms had it (leader completeness).
    fn commits(&mut self, state: MemberState, before: LogIndex) -> Result<(), InvariantViolation> {
        let (id, term) = (state.member, state.term);
        let Some(member) = self.members.get(&id) else {
            return Ok(());
        };
        let log = &member.log;
        self.committed
            .commits((id, term), log, before, state.commit)?;
        for (later, leader) in self.elected_logs.range(term + 1..) {
            let Some(behind) = state.commit.checked_sub(leader.compared + 1) else {
                continue;
            };
            let own = leader.rest.get(behind as usize).copied();
            if own != log.at(state.commit) {
                return incomplete(leader.member, *later, state.commit, own);
            }
        }
        Ok(())
    }

    /// A leader commits by counting disks, and only entries of its own term (paper, section
    /// 5.4.2). It goes by its configuration, or by `counted`, that of a moment ago.
    fn counts(&self, state: &MemberState, counted: &Membership) -> Result<(), InvariantViolation> {
        let (id, index) = (state.member, state.commit);
        let Some(leader) = self.members.get(&id) else {
            return Ok(());
        };
        let term = leader.log.at(index).map_or(0, |link| link.term);
        if term != state.term {
            return InvariantViolation::new(
                "committed-without-majority",
                format!(
                    "member {id}, leader of term {}, commits up to entry {index} of term {term}",
                    state.term
                ),
            );
        }
        // Of whom nothing is known nothing can be said.
        let has_it = |voter: &&NodeId| {
            let voter = self.members.get(*voter);
            voter.is_none_or(|voter| voter.durable_state.has(&leader.log, index))
        };
        let is_enough = |membership: &Membership| {
            membership.voters.iter().filter(has_it).count() * 2 > membership.voters.len()
        };
        if is_enough(counted) || is_enough(leader.configurations.latest()) {
            return Ok(());
        }
        InvariantViolation::new(
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
    fn applies(&mut self, id: NodeId, entries: &[Entry]) -> Result<(), InvariantViolation> {
        let Some(member) = self.members.get_mut(&id) else {
            return Ok(());
        };
        for entry in entries {
            if entry.index != member.applied + 1 {
                return InvariantViolation::new(
                    "state-machine-safety",
                    format!(
                        "member {id} applies entry {} after {}",
                        entry.index, member.applied
                    ),
                );
            }
            member.applied = entry.index;
            let own = member.log.at(entry.index);
            let committed = self.committed.at(entry.index);
            if own.map(|link| link.term) != Some(entry.term)
                || committed.is_some_and(|committed| own != Some(committed))
            {
                return InvariantViolation::new(
                    "state-machine-safety",
                    format!(
                        "member {id} applies an entry {} of term {}; its log has {}, committed \
                         is {}",
                        entry.index,
                        entry.term,
                        describe(own),
                        describe(committed),
                    ),
                );
            }
        }
        Ok(())
    }

    /// The term that a member was in when it was seen last.
    pub fn term_of(&self, member: NodeId) -> Option<Term> {
        self.members.get(&member).map(|member| member.state.term)
    }
}

/// Whether the states of one member differ in something that promises depend on.
fn differs(before: &MemberState, after: &MemberState) -> bool {
    let parts = |state: &MemberState| {
        let ends = (state.commit, state.persisted, state.last_index);
        (state.vote(), state.role, ends)
    };
    parts(before) != parts(after)
}

/// Whether a `Ready` is about messages alone.
fn changes_no_log(ready: &Ready) -> bool {
    ready.entries.is_empty() && ready.committed.is_empty() && ready.install_snapshot.is_none()
}
