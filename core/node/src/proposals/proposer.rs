//! The caller's end of a proposal: named, queued for the leader, awaited.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use veridical_env::Clock;
use veridical_planted::{Planted, PlantedBug};
use veridical_proto::command::command::Request as CommandRequest;
use veridical_store::{ApiError, CommandResponse};

use crate::config::{NodeConfig, ms};
use crate::observe::{NodeObserver, ProposalEnding, ProposalName};
use crate::proposals::table::{Proposals, Ticket};
use crate::requests::RaftHandle;

/// Turns requests of clients into proposals and waits for what comes of them.
pub(crate) struct Proposer<C: Clock> {
    proposals: Proposals,
    raft: RaftHandle,
    clock: C,
    timeout: Duration,
    max_request_bytes: usize,
    planted: Planted,
    member_id: u64,
    observer: Option<Arc<dyn NodeObserver>>,
}

impl<C: Clock> Proposer<C> {
    pub(crate) fn new(
        proposals: Proposals,
        raft: RaftHandle,
        clock: C,
        config: &NodeConfig,
    ) -> Self {
        Self {
            proposals,
            raft,
            clock,
            timeout: ms(config.limits.request_timeout_ms),
            max_request_bytes: config.limits.max_request_bytes,
            planted: config.planted,
            member_id: config.member_id,
            observer: config.observer.clone(),
        }
    }

    /// Proposes a command and waits until it is applied here.
    ///
    /// # Errors
    /// The command is refused, or has no answer in time. Only an error that says so leaves
    /// the outcome unknown.
    pub(crate) async fn propose(
        &self,
        request: CommandRequest,
    ) -> Result<CommandResponse, ApiError> {
        let mut ticket = self.proposals.register(request, self.max_request_bytes)?;
        self.raft.propose(ticket.sequence, ticket.command.clone())?;
        self.observe(|observer| observer.proposal_waits(self.name(&ticket)));
        let answer = tokio::select! {
            biased;
            answer = &mut ticket.reply => Some(answer),
            () = self.clock.sleep(self.timeout) => None,
        };
        let is_late = answer.is_none();
        let outcome = match answer {
            Some(Ok(outcome)) => outcome,
            Some(Err(_)) => Err(ApiError::stopped().with_unknown_outcome()),
            None if (ticket.give_up() && !self.planted.has(PlantedBug::UnknownToldAsFailed))
                || self.planted.has(PlantedBug::KnownToldAsUnknown) =>
            {
                Err(ApiError::timeout())
            }
            // As from etcd: that there is no leader is told only to those who ask not to wait.
            None => Err(ApiError::timeout_untaken()),
        };
        self.observe(|observer| {
            let ending = match &outcome {
                Err(error) if !error.outcome_unknown => ProposalEnding::Answered,
                Ok(_) => ProposalEnding::Answered,
                Err(_) if is_late => ProposalEnding::TimedOut,
                Err(_) => ProposalEnding::Unanswered,
            };
            observer.proposal_ended(self.name(&ticket), ending);
        });
        outcome
    }

    fn name(&self, ticket: &Ticket) -> ProposalName {
        ProposalName {
            member_id: self.member_id,
            incarnation: self.proposals.incarnation(),
            sequence: ticket.sequence,
        }
    }

    fn observe(&self, tell: impl FnOnce(&dyn NodeObserver)) {
        if let Some(observer) = &self.observer {
            tell(observer.as_ref());
        }
    }
}

/// Waits for `work`, but not longer than `timeout`: then the error is that of `late`.
pub(crate) async fn within<T, C: Clock>(
    clock: &C,
    timeout: Duration,
    work: impl Future<Output = Result<T, ApiError>>,
    late: impl FnOnce() -> ApiError,
) -> Result<T, ApiError> {
    tokio::select! {
        biased;
        result = work => result,
        () = clock.sleep(timeout) => Err(late()),
    }
}
