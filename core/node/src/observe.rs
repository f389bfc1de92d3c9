//! What a member shows of its inner steps to whoever watches over it.

use std::fmt;
use veridical_raft::{Raft, Ready};

use crate::membership::directory::Directory;

/// A proposal of a member, in one of its lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProposalName {
    /// The member.
    pub member_id: u64,
    /// Its life.
    pub incarnation: u64,
    /// The proposal's number in that.
    pub sequence: u64,
}

/// What the caller of a proposal was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProposalEnding {
    /// What came of it, or that it has no effect.
    Answered,
    /// That nobody knows, by the member that could not find out any more.
    Unanswered,
    /// That nobody knows, because its time was up.
    TimedOut,
}

/// Sees the steps of members as they happen, before they have an effect outside: for
/// properties that are about logs and terms, which no client sees. It is called from the
/// members' own tasks, so it must neither block nor take long. Production members have
/// none.
pub trait NodeObserver: Send + Sync {
    /// A member starts, and Raft begins with what the disk had.
    fn raft_started(&self, raft: &Raft);

    /// Raft has handed out effects, which are about to be processed. `raft` is as it was
    /// when it did.
    fn raft_stepped(&self, raft: &Raft, ready: &Ready);

    /// Everything that Raft has handed out up to the `Ready` with this number is durable at
    /// this member: its log's task says so, before it tells anybody else.
    fn log_persisted(&self, member_id: u64, number: u64);

    /// A question of readers is put to Raft at this member, under this context
    /// ([`veridical_raft::ReadState::context`]); whatever is committed by now has to be seen
    /// by them.
    fn read_asked(&self, member_id: u64, context: u64);

    /// At this member the members of the cluster are these as of the applied `index`:
    /// when it starts, when it applies a change, when it installs a snapshot.
    fn members_applied(&self, member_id: u64, index: u64, directory: &Directory);

    /// The caller of a proposal waits for what comes of it.
    fn proposal_waits(&self, name: ProposalName);

    /// A proposal is about to be handed to the leader of `term`: from now on it may take effect.
    fn proposal_dispatched(&self, name: ProposalName, term: u64);

    /// A proposal of this member is applied here, and what it did can be read; or it had no
    /// effect, because it was taken for one that was applied before.
    fn proposal_applied(&self, name: ProposalName, is_duplicate: bool);

    /// The caller of a proposal is being told that nobody knows what came of it: this member has
    /// taken over a state in which it may be.
    fn proposal_forgotten(&self, name: ProposalName);

    /// The member stops, and all whose proposals wait at it are being told so: what is applied
    /// after this is too late for them.
    fn proposals_closed(&self, member_id: u64);

    /// The caller of a proposal waits no more.
    fn proposal_ended(&self, name: ProposalName, ending: ProposalEnding);
}

impl fmt::Debug for dyn NodeObserver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeObserver")
    }
}
