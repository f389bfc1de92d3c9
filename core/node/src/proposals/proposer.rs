//! The caller's end of a proposal: named, queued for the leader, awaited.

use std::future::Future;
use std::time::Duration;
use veridical_env::Clock;
use veridical_planted::{Planted, PlantedBug};
use veridical_proto::command::command::Request as CommandRequest;
use veridical_store::{ApiError, CommandResponse};

use crate::config::{NodeConfig, ms};
use crate::proposals::table::Proposals;
use crate::requests::RaftHandle;

/// Turns requests of clients into proposals and waits for what comes of them.
pub(crate) struct Proposer<C: Clock> {
    proposals: Proposals,
    raft: RaftHandle,
    clock: C,
    timeout: Duration,
    max_request_bytes: usize,
    planted: Planted,
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
        let answer = tokio::select! {
            biased;
            answer = &mut ticket.reply => Some(answer),
            () = self.clock.sleep(self.timeout) => None,
        };
        match answer {
            Some(Ok(outcome)) => outcome,
            Some(Err(_)) => Err(ApiError::stopped().with_unknown_outcome()),
            None if ticket.give_up() && !self.planted.has(PlantedBug::UnknownToldAsFailed) => {
                Err(ApiError::timeout())
            }
            // As from etcd: that there is no leader is told only to those who ask not to wait.
            None => Err(ApiError::timeout_untaken()),
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
