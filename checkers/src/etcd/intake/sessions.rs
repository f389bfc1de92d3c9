//! What each member has shown to each session.

use std::collections::BTreeMap;

use crate::etcd::memory::tree_bytes;

/// By client and member, the greatest revision that was shown.
#[derive(Debug, Default)]
pub(in crate::etcd) struct Sessions {
    shown: BTreeMap<u64, BTreeMap<u64, i64>>,
}

impl Sessions {
    /// The greatest revision that each member has shown to this client.
    pub fn shown_to(&self, client: u64) -> BTreeMap<u64, i64> {
        self.shown.get(&client).cloned().unwrap_or_default()
    }

    /// A member showed `revision` to a client; member 0 stands for one that is not named.
    pub fn show(&mut self, client: u64, member: u64, revision: i64) {
        if member != 0 {
            let members = self.shown.entry(client).or_default();
            let shown = members.entry(member).or_default();
            *shown = revision.max(*shown);
        }
    }

    /// Bytes held, estimated.
    pub fn bytes(&self) -> usize {
        let members: usize = self.shown.values().map(tree_bytes).sum();
        members + tree_bytes(&self.shown)
    }
}
