//! Linearizable reads that wait for confirmation (thesis section 6.4).

use std::collections::VecDeque;

use crate::entry::{LogIndex, NodeId};

/// A read as the leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ReadRequest {
    /// Who asks; the leader itself or a follower.
    pub(crate) from: NodeId,
    pub(crate) context: u64,
}

/// The leader's reads: those that wait for a round of heartbeats to start, and those
/// whose round is under way. Bounded by the caller (`Config::max_pending_reads`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct ReadRounds {
    waiting: Vec<ReadRequest>,
    confirming: VecDeque<Confirming>,
    sequence: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Confirming {
    sequence: u64,
    index: LogIndex,
    request: ReadRequest,
}

impl ReadRounds {
    pub(crate) fn pending(&self) -> usize {
        self.waiting.len() + self.confirming.len()
    }

    pub(crate) fn ask(&mut self, request: ReadRequest) {
        self.waiting.push(request);
    }

    /// Whether reads wait for a round.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The latest round.
    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Starts a round for all waiting reads, which will be served at `commit`.
    pub(crate) fn start_round(&mut self, commit: LogIndex) {
        self.sequence += 1;
        let sequence = self.sequence;
        assert!(
            self.confirming
                .back()
                .is_none_or(|last| last.sequence < sequence && last.index <= commit),
            "later rounds serve reads at later indexes"
        );
        self.confirming
            .extend(self.waiting.drain(..).map(|request| Confirming {
                sequence,
                index: commit,
                request,
            }));
    }

    /// Takes the next read whose round is at most `confirmed`.
    pub(crate) fn pop_confirmed(&mut self, confirmed: u64) -> Option<(ReadRequest, LogIndex)> {
        assert!(
            confirmed <= self.sequence,
            "only rounds that began are confirmed"
        );
        let first = self.confirming.front()?;
        if first.sequence > confirmed {
            return None;
        }
        let read = self.confirming.pop_front()?;
        Some((read.request, read.index))
    }
}

/// A follower's reads that were forwarded to the leader, in the order of asking.
/// Bounded by the caller (`Config::max_pending_reads`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct ForwardedReads {
    reads: VecDeque<Forwarded>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Forwarded {
    ticket: u64,
    context: u64,
    asked_at_tick: u64,
}

impl ForwardedReads {
    pub(crate) fn pending(&self) -> usize {
        self.reads.len()
    }

    /// Remembers a read. The ticket, not the owner's context, goes over the wire: an
    /// answer from before a restart must not answer a later read of the same context.
    pub(crate) fn ask(&mut self, ticket: u64, context: u64, now_tick: u64) {
        assert!(
            self.reads
                .back()
                .is_none_or(|last| last.asked_at_tick <= now_tick),
            "forwarded reads are in the order of asking"
        );
        self.reads.push_back(Forwarded {
            ticket,
            context,
            asked_at_tick: now_tick,
        });
    }

    /// The owner's context of `ticket`, which is then forgotten. Answers come mostly in
    /// order, so the search is short.
    pub(crate) fn take(&mut self, ticket: u64) -> Option<u64> {
        let position = self.reads.iter().position(|read| read.ticket == ticket)?;
        self.reads.remove(position).map(|read| read.context)
    }

    /// Forgets reads asked at or before `tick`: their question or answer was lost.
    pub(crate) fn expire(&mut self, tick: u64) {
        while self
            .reads
            .front()
            .is_some_and(|read| read.asked_at_tick <= tick)
        {
            self.reads.pop_front();
        }
    }

    pub(crate) fn clear(&mut self) {
        self.reads.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(context: u64) -> ReadRequest {
        ReadRequest { from: 1, context }
    }

    #[test]
    fn one_round_confirms_every_read_that_waited_for_it_and_no_later_one() {
        let mut rounds = ReadRounds::default();
        rounds.ask(request(1));
        rounds.ask(request(2));
        rounds.start_round(5);
        rounds.ask(request(3));
        rounds.start_round(6);
        assert_eq!(rounds.pop_confirmed(0), None);
        assert_eq!(rounds.pop_confirmed(1), Some((request(1), 5)));
        assert_eq!(rounds.pop_confirmed(1), Some((request(2), 5)));
        assert_eq!(rounds.pop_confirmed(1), None);
        assert_eq!(rounds.pop_confirmed(2), Some((request(3), 6)));
        assert_eq!(rounds.pending(), 0);
    }

    #[test]
    fn a_forwarded_read_is_answered_once_and_forgotten_when_old() {
        let mut reads = ForwardedReads::default();
        reads.ask(11, 1, 0);
        reads.ask(12, 2, 5);
        assert_eq!(reads.take(12), Some(2));
        assert_eq!(reads.take(12), None);
        reads.expire(0);
        assert_eq!(reads.take(11), None);
    }
}
