//! What no later event can constrain is forgotten, and what takes too much is given up.

use veridical_histories::object::Action;

use super::graph::NodeId;
use super::transaction::steps;
use super::{ELEMENT_BYTES, ListChecker, NODE_BYTES, WAITING_MAX};
use crate::verdict::Cause;

impl ListChecker {
    /// Forgets what nothing new can constrain.
    pub(super) fn forget(&mut self) {
        while self.waiting.len() > WAITING_MAX {
            let Some((_, oldest)) = self.pending.pop_first() else {
                break;
            };
            self.given_up.insert(oldest);
            self.release();
        }
        self.release();
    }

    pub(super) fn release(&mut self) {
        let oldest_call = self
            .pending
            .first_key_value()
            .map_or(u64::MAX, |(call, _)| *call);
        while let Some((closed, node)) = self.waiting.front().copied()
            && closed < oldest_call
        {
            self.waiting.pop_front();
            if self.graph.node(node).unseen_appends == 0 {
                self.drop_node(node);
            } else {
                // Where its appends go is open yet; what it answered is not needed for that.
                if let Some((_, answer)) = &mut self.graph.node_mut(node).end {
                    *answer = None;
                }
                self.unseen.insert(node);
            }
        }
    }

    pub(super) fn drop_node(&mut self, node: NodeId) {
        let call = self.graph.call_event(node);
        // Nobody knows what one without an outcome has read.
        let has_read = self.graph.node(node).end.is_some();
        let mut touched = Vec::new();
        steps(&self.graph.node(node).request, &mut |key, action| {
            if has_read || matches!(action, Action::Append(_)) {
                touched.push(key.clone());
            }
        });
        for key in &touched {
            if let Some(list) = self.lists.get_mut(key) {
                list.last_forgotten_call = list.last_forgotten_call.max(call);
                list.last_readers.retain(|reader| *reader != node);
            }
        }
        // Only lost transactions can turn up behind what is forgotten.
        if self.lost.is_empty() {
            touched.clear();
        }
        self.graph.forget(node, &touched);
    }

    pub(super) fn look_at_memory(&mut self, now: u64) {
        let Some(bytes_max) = self.bytes_max else {
            return;
        };
        let elements: usize = self
            .lists
            .values()
            .map(|list| list.appends.len() + list.shown.len())
            .sum();
        let bytes = elements * ELEMENT_BYTES + self.graph.len() * NODE_BYTES;
        if bytes > bytes_max {
            self.give_up(
                now,
                Cause::Memory,
                "the lists take more memory than allowed",
            );
        }
    }
}
