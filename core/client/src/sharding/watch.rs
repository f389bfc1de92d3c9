//! One watch over several shards.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;

use crate::watch::{Watch, WatchError, WatchEvents};

/// Watches of several shards, merged as their events come.
///
/// The events of each shard come in the order of its revisions; those of different shards have
/// no order. Which shard they are of comes with them.
#[derive(Debug)]
pub struct ShardedWatch {
    /// By the number of their shard; those that have ended are gone.
    watches: Vec<(usize, Watch)>,
    /// Who is looked at first, so that a busy shard keeps no other waiting.
    turn: usize,
}

impl ShardedWatch {
    pub(crate) fn new(watches: Vec<(usize, Watch)>) -> Self {
        Self { watches, turn: 0 }
    }

    /// The next events of any shard, with its number. After an error the watch of that shard
    /// has ended, and those of the others go on; `None` when all have ended.
    pub async fn next(&mut self) -> Option<(usize, Result<WatchEvents, WatchError>)> {
        poll_fn(|context| self.poll(context)).await
    }

    fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<(usize, Result<WatchEvents, WatchError>)>> {
        let mut looked_at = 0;
        while looked_at < self.watches.len() {
            let place = (self.turn + looked_at) % self.watches.len();
            let (shard, watch) = &mut self.watches[place];
            match Pin::new(watch).poll_next(context) {
                Poll::Ready(Some(batch)) => {
                    let shard = *shard;
                    self.turn = place + 1;
                    return Poll::Ready(Some((shard, batch)));
                }
                Poll::Ready(None) => {
                    self.watches.remove(place);
                    // Those behind it have moved up; each is looked at again.
                    looked_at = 0;
                }
                Poll::Pending => looked_at += 1,
            }
        }
        match self.watches.is_empty() {
            true => Poll::Ready(None),
            false => Poll::Pending,
        }
    }
}

impl Stream for ShardedWatch {
    type Item = (usize, Result<WatchEvents, WatchError>);

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll(context)
    }
}
