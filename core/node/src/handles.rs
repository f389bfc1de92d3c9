//! What every task of a member has a handle of.

use std::sync::Arc;
use veridical_env::Environment;
use veridical_store::StoreReader;

use crate::config::NodeConfig;
use crate::leases::lessor::Lessor;
use crate::peers::transport::Transport;
use crate::proposals::table::Proposals;
use crate::reads::waiters::AppliedWaiters;
use crate::stop::Stop;

/// Parts that the tasks of one member share; each task takes copies of those it needs.
pub(crate) struct Handles<E: Environment> {
    pub(crate) environment: E,
    pub(crate) config: Arc<NodeConfig>,
    pub(crate) transport: Transport<E>,
    pub(crate) proposals: Proposals,
    pub(crate) waiters: AppliedWaiters,
    pub(crate) lessor: Lessor,
    pub(crate) reader: StoreReader,
    pub(crate) stop: Stop,
}
