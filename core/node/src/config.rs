//! What a member is told at its start.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use veridical_planted::Planted;
use veridical_proto::command::MemberAttributes;
use veridical_proto::etcdserverpb::Member;
use veridical_storage::format::DataFormat;

use crate::limits::{ConfigError, Limits};
use crate::membership::directory::Directory;
use crate::observe::NodeObserver;

/// The settings of one member.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// This member.
    pub member_id: u64,
    /// Its cluster; connections from another cluster are refused.
    pub cluster_id: u64,
    /// Who the members are when the data folder is empty. Afterwards the log says it.
    pub initial_members: BTreeMap<u64, Member>,
    /// What this member tells the others of itself once it is one of them: its name, and
    /// where clients reach it. Without a name it tells nothing.
    pub attributes: MemberAttributes,
    /// The cluster exists already and this member was added to it: begin with nothing and
    /// wait for the leader.
    pub join: bool,
    /// The other members are lost for good: go on with what this one has, as the only member.
    pub force_new_cluster: bool,
    /// Where the write-ahead log and the snapshots live.
    pub data_dir: PathBuf,
    /// `host:port` on which peers reach this member.
    pub listen_peer_address: String,
    /// Timeouts, batches, thresholds.
    pub limits: Limits,
    /// Which version of the formats on disk and between peers is written; both are read.
    pub data_format: DataFormat,
    /// Defects planted on purpose; empty in production.
    pub planted: Planted,
    /// Watches over this member's steps; nobody does in production.
    pub observer: Option<Arc<dyn NodeObserver>>,
}

impl NodeConfig {
    /// `host:port` under which peers reach this member, as far as it was told.
    pub fn advertised_peer_address(&self) -> Option<String> {
        Directory::new(self.initial_members.clone()).peer_address(self.member_id)
    }

    /// Refuses settings with which the member could not work.
    ///
    /// # Errors
    /// The first setting that is out of range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let refuse = |field, reason: &str| {
            Err(ConfigError {
                field,
                reason: reason.to_owned(),
            })
        };
        if self.member_id == 0 {
            return refuse("member_id", "0 stands for nobody");
        }
        if !self.initial_members.contains_key(&self.member_id) {
            return refuse("initial_members", "this member is not among them");
        }
        self.limits.validate()
    }
}

/// Milliseconds as a duration.
pub(crate) const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> NodeConfig {
        NodeConfig {
            member_id: 1,
            cluster_id: 9,
            initial_members: BTreeMap::from([(1, Member::default())]),
            attributes: MemberAttributes::default(),
            join: false,
            force_new_cluster: false,
            data_dir: PathBuf::from("data"),
            listen_peer_address: "127.0.0.1:0".to_owned(),
            limits: Limits::default(),
            data_format: DataFormat::default(),
            planted: Planted::none(),
            observer: None,
        }
    }

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(config().validate(), Ok(()));
    }

    #[test]
    fn an_election_timeout_near_the_heartbeat_is_refused() {
        let mut config = config();
        config.limits.election_timeout_ms = 2 * config.limits.heartbeat_ms;
        assert_eq!(config.validate().unwrap_err().field, "election_timeout_ms");
    }

    #[test]
    fn a_member_that_is_not_in_its_cluster_is_refused() {
        let mut config = config();
        config.member_id = 2;
        assert_eq!(config.validate().unwrap_err().field, "initial_members");
    }
}
