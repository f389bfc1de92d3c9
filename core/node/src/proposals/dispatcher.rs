//! The driver's end of proposals: dispatched to the leader, which may be this member, and
//! taken from other members that think that this one leads.

use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use veridical_env::Environment;
use veridical_planted::{Planted, PlantedBug};
use veridical_probe::{reachable, sometimes};
use veridical_proto::peer::peer_frame::Body;
use veridical_proto::peer::{Forward, ForwardRefused};
use veridical_raft::{ProposeError, Raft};

use crate::codec::detached;
use crate::config::ms;
use crate::handles::Handles;
use crate::observe::{NodeObserver, ProposalName};
use crate::peers::transport::Transport;
use crate::proposals::table::{Attempt, Proposals};
use crate::proposals::unapplied_commands::{CommandName, UnappliedCommands};

/// Brings proposals to the leader: into this member's own log, or in a `Forward` frame.
pub(crate) struct Dispatcher<E: Environment> {
    proposals: Proposals,
    transport: Transport<E>,
    retry_after: Duration,
    /// Which commands of the own log are not applied yet, while this member leads.
    unapplied: UnappliedCommands,
    planted: Planted,
    observer: Option<Arc<dyn NodeObserver>>,
}

impl<E: Environment> Dispatcher<E> {
    pub(crate) fn new(handles: &Handles<E>) -> Self {
        Self {
            proposals: handles.proposals.clone(),
            transport: handles.transport.clone(),
            retry_after: ms(handles.config.limits.retry_ms),
            unapplied: UnappliedCommands::default(),
            planted: handles.config.planted,
            observer: handles.config.observer.clone(),
        }
    }

    /// Follows a change of the role.
    pub(crate) fn role_changed(&mut self, raft: &Raft, leads: bool) {
        if self.planted.has(PlantedBug::GivenUpWithLeader) {
            self.proposals.forget_attempted();
        }
        self.unapplied = match leads {
            true => UnappliedCommands::of(raft),
            false => UnappliedCommands::default(),
        };
    }

    /// Everything up to `index` is applied.
    pub(crate) fn applied(&mut self, index: u64) {
        self.unapplied.applied(index);
    }

    /// Dispatches the proposals that were not handed to the present leader yet, or whose
    /// forwarding may have been lost.
    pub(crate) fn dispatch_due(&mut self, raft: &mut Raft, now: Duration) {
        if raft.leader().is_none() {
            return;
        }
        let due = self
            .proposals
            .due(now, raft.term(), self.retry_after, raft.id());
        for (sequence, command) in due {
            if !self.dispatch(raft, sequence, command, now) {
                return;
            }
        }
    }

    /// Gives a proposal to the leader. Returns `false` if it is of no use to go on with
    /// others.
    pub(crate) fn dispatch(
        &mut self,
        raft: &mut Raft,
        sequence: u64,
        command: Bytes,
        now: Duration,
    ) -> bool {
        let Some(leader) = raft.leader() else {
            return false;
        };
        let attempt = Attempt {
            at: now,
            term: raft.term(),
            leader,
        };
        if !self.proposals.attempt(sequence, attempt) {
            return true;
        }
        let incarnation = self.proposals.incarnation();
        if let Some(observer) = &self.observer {
            let name = ProposalName {
                member_id: raft.id(),
                incarnation,
                sequence,
            };
            observer.proposal_dispatched(name, attempt.term);
        }
        if leader != raft.id() {
            let forward = Body::Forward(Forward {
                command,
                sequence,
                incarnation,
            });
            return self.transport.send(leader, forward);
        }
        let name = CommandName {
            member_id: leader,
            incarnation,
            sequence,
        };
        if self.unapplied.has(&name) {
            reachable!("node.own-proposal-in-the-log-from-an-earlier-term");
            return true;
        }
        let taken = raft.propose(command).is_ok();
        if !taken {
            // The proposal waits for the next tick.
            self.proposals.refused(sequence);
        }
        taken
    }

    /// Appends what a follower has passed on, unless it is in the log already.
    pub(crate) fn on_forward(&mut self, raft: &mut Raft, from: u64, forward: Forward) {
        let name = CommandName {
            member_id: from,
            incarnation: forward.incarnation,
            sequence: forward.sequence,
        };
        if self.unapplied.has(&name) {
            reachable!("node.forwarded-again-while-in-the-log");
            return;
        }
        let overloaded = match raft.propose(detached(&forward.command)) {
            Ok((_, index)) => {
                self.unapplied.insert(name, index);
                return;
            }
            Err(error) => matches!(error, ProposeError::Overloaded { .. }),
        };
        sometimes!(!overloaded, "node.forwarded-to-a-member-that-leads-no-more");
        let answer = ForwardRefused {
            sequence: forward.sequence,
            overloaded,
        };
        self.transport.send(from, Body::ForwardRefused(answer));
    }

    /// Follows the leader's word that it did not take a proposal.
    pub(crate) fn on_refused(&mut self, refused: &ForwardRefused) {
        self.proposals.refused(refused.sequence);
    }
}
