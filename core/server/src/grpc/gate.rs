//! What every service asks before it serves a request.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::metadata::MetadataMap;
use veridical_store::ApiError;

use super::{ServedNode, status_of};

/// Metadata with which a client says that it wants an error rather than to wait while
/// there is no leader (etcd: `rpctypes.MetadataRequireLeaderKey`).
const REQUIRE_LEADER_KEY: &str = "hasleader";
const REQUIRE_LEADER_VALUE: &str = "true";

/// Election timeouts without a leader after which a stream ends that requires one
/// (etcd: `maxNoLeaderCnt`).
const LEADERLESS_TIMEOUTS_MAX: u32 = 3;

/// Whether a learner serves a request. It answers from its own state only (etcd:
/// `isRPCSupportedForLearner`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Learner {
    /// It does.
    Serves,
    /// The client has to ask another member.
    Refuses,
}

/// The node, and the conditions on which it serves.
#[derive(Clone)]
pub(crate) struct Gate {
    node: ServedNode,
    closing: CancellationToken,
}

impl Gate {
    pub(crate) fn new(node: ServedNode, closing: CancellationToken) -> Self {
        Self { node, closing }
    }

    pub(crate) fn node(&self) -> &ServedNode {
        &self.node
    }

    /// When streams have to end because the process does.
    pub(crate) fn closing(&self) -> CancellationToken {
        self.closing.clone()
    }

    /// Admits a request.
    ///
    /// # Errors
    /// This member is a learner, or it knows no leader and the client wants one.
    pub(crate) fn admit(&self, metadata: &MetadataMap, learner: Learner) -> Result<(), Status> {
        let status = self.node.raft_status();
        if status.learner && learner == Learner::Refuses {
            return Err(status_of(ApiError::not_supported_for_learner()));
        }
        if status.leader.is_none() && requires_leader(metadata) {
            return Err(status_of(ApiError::no_leader()));
        }
        Ok(())
    }

    /// Waits until a stream has to end for lack of a leader: for ever if its client did
    /// not ask for that.
    pub(crate) async fn leader_lost(self, required: bool) {
        if !required {
            return std::future::pending().await;
        }
        let period = Duration::from_millis(self.node.config().limits.election_timeout_ms);
        let mut leaderless = 0;
        while leaderless < LEADERLESS_TIMEOUTS_MAX {
            tokio::time::sleep(period).await;
            leaderless = match self.node.raft_status().leader {
                Some(_) => 0,
                None => leaderless + 1,
            };
        }
    }
}

/// Whether the client wants an error while there is no leader.
pub(crate) fn requires_leader(metadata: &MetadataMap) -> bool {
    metadata
        .get(REQUIRE_LEADER_KEY)
        .is_some_and(|value| value == REQUIRE_LEADER_VALUE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_word_true_requires_a_leader() {
        let mut metadata = MetadataMap::new();
        assert!(!requires_leader(&metadata));
        metadata.insert("hasleader", "false".parse().unwrap());
        assert!(!requires_leader(&metadata));
        metadata.insert("hasleader", "true".parse().unwrap());
        assert!(requires_leader(&metadata));
    }
}
