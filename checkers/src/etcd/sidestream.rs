//! Taking watch records in.

use veridical_histories::etcd::{WatchEventKind, WatchNote, WatchResponse};

use super::alike::Look;
use super::evaluate::Mismatch;
use super::hypotheses::{Contradiction, Doubt};
use super::watch::{Delivery, Misdelivery, Watch, describe};
use super::world::Evidence;
use super::{EtcdChecker, Stop};
use crate::verdict::{Cause, MalformedReason, ViolationKind, WitnessOperation};

impl EtcdChecker {
    pub(super) fn note(&mut self, at_ns: u64, client: u64, note: WatchNote) -> Result<(), Stop> {
        match note {
            WatchNote::Created(created) => {
                if self.watches.contains_key(&created.watch) {
                    let reason = MalformedReason::WatchCreatedTwice(created.watch);
                    return Err(Stop::Malformed(reason));
                }
                let number = created.watch;
                self.watches
                    .insert(number, Watch::new(created, client, at_ns));
                Ok(())
            }
            WatchNote::Response(response) => self.watch_responded(at_ns, &response),
        }
    }

    fn watch_responded(&mut self, at_ns: u64, response: &WatchResponse) -> Result<(), Stop> {
        self.statistics.watch_responses += 1;
        let at_event = self.statistics.events;
        let Some(watch) = self.watches.get_mut(&response.watch) else {
            return Err(Stop::Malformed(MalformedReason::NoSuchWatch(
                response.watch,
            )));
        };
        let delivery = watch.respond(response, at_event, at_ns);
        let wanted = watch.next();
        let delivery = delivery
            .and_then(|delivery| {
                delivery.map_or(Ok(None), |delivery| {
                    delivery.check_order().map(|()| Some(delivery))
                })
            })
            .map_err(|wrong| self.misdelivered(response.watch, at_ns, wrong))?;
        if response.canceled {
            if response.compact_revision > 0 {
                self.check_cancellation(at_ns, response, wanted)?;
            }
            if let Some(watch) = self.watches.get_mut(&response.watch) {
                watch.end();
            }
        }
        for told in &response.events {
            let revision = told.kv.mod_revision;
            if revision > self.applied {
                let seen = match told.kind {
                    WatchEventKind::Put => Evidence::Wrote {
                        kv: told.kv.clone(),
                        keys_only: false,
                    },
                    WatchEventKind::Delete => Evidence::Deleted(told.kv.key.clone()),
                };
                self.evidence.entry(revision).or_default().push(seen);
            }
            self.see(revision, at_ns);
        }
        let Some(delivery) = delivery else {
            self.forget_ended(response.watch);
            return self.advance();
        };
        self.see(delivery.upto, at_ns);
        if delivery.upto <= self.applied {
            self.check_delivery(delivery)
        } else {
            if !self.is_lost {
                self.deliveries
                    .entry(delivery.upto)
                    .or_default()
                    .push(delivery);
            }
            self.advance()
        }
    }

    /// Compares a delivery with the revisions it speaks of, which are replayed.
    pub(super) fn check_delivery(&mut self, delivery: Delivery) -> Result<(), Stop> {
        if self.is_lost {
            return Ok(());
        }
        let oldest = delivery.from.max(self.options.initial_revision + 1);
        if oldest < self.base.log_start() && oldest <= delivery.upto {
            let text = format!(
                "watch {} was sent revisions {} to {}; those before {} are forgotten",
                delivery.watch,
                delivery.from,
                delivery.upto,
                self.base.log_start()
            );
            self.undecided(Cause::Retention, delivery.at_event, text);
            self.forget_ended(delivery.watch);
            return Ok(());
        }
        let compacted_below = self
            .compactions_called
            .keys()
            .next_back()
            .copied()
            .unwrap_or(0);
        self.retain_worlds(|checker, world| {
            let watch = &checker.watches[&delivery.watch];
            let look = Look {
                first: delivery.from - 1,
                last: delivery.upto,
                range: Some(watch.range()),
            };
            let blurred = Self::blurred(world, &[look]);
            if !blurred.is_empty() {
                return Err(Doubt::Blurred(blurred));
            }
            let view = checker.view(world);
            if let Some(untold) = delivery.untold(view) {
                let operations = checker.witnesses(&delivery);
                return Err(Doubt::Untold { untold, operations });
            }
            delivery
                .check(watch, view, compacted_below)
                .map_err(|wrong| {
                    Doubt::Wrong(Contradiction {
                        kind: ViolationKind::Watch,
                        mismatch: Mismatch {
                            expected: wrong.expected,
                            got: wrong.got,
                        },
                        operations: checker.witnesses(&delivery),
                    })
                })
        })?;
        self.forget_ended(delivery.watch);
        Ok(())
    }

    /// A watch ends for compaction only where its next revision was compacted away.
    fn check_cancellation(
        &self,
        at_ns: u64,
        response: &WatchResponse,
        wanted: i64,
    ) -> Result<(), Stop> {
        let is_called = self
            .compactions_called
            .range(response.compact_revision..)
            .next()
            .is_some();
        let (expected, got) = if !is_called {
            (
                "a watch that goes on: no such compaction was called".to_owned(),
                format!("canceled, compacted to {}", response.compact_revision),
            )
        } else if wanted >= response.compact_revision {
            (
                format!("a watch that goes on from revision {wanted}, which is not compacted"),
                format!("canceled, compacted to {}", response.compact_revision),
            )
        } else {
            return Ok(());
        };
        Err(self.misdelivered(response.watch, at_ns, Misdelivery { expected, got }))
    }

    fn misdelivered(&self, watch: u64, at_ns: u64, wrong: Misdelivery) -> Stop {
        let mut operations: Vec<WitnessOperation> = self
            .watches
            .get(&watch)
            .map(Watch::witness)
            .into_iter()
            .collect();
        operations.push(WitnessOperation {
            op: None,
            client: operations.first().map_or(0, |created| created.client),
            call_ns: at_ns,
            return_ns: Some(at_ns),
            text: format!("watch {watch} sent {}", wrong.got),
        });
        self.violated(ViolationKind::Watch, wrong.expected, wrong.got, operations)
    }

    fn witnesses(&self, delivery: &Delivery) -> Vec<WitnessOperation> {
        let watch = &self.watches[&delivery.watch];
        let created = watch.witness();
        let sent = WitnessOperation {
            op: None,
            client: created.client,
            call_ns: delivery.at_ns,
            return_ns: Some(delivery.at_ns),
            text: format!(
                "watch {} was sent revisions {} to {}: {}",
                delivery.watch,
                delivery.from,
                delivery.upto,
                delivery
                    .events
                    .iter()
                    .map(describe)
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
        };
        vec![created, sent]
    }

    /// Forgets a watch that ended and of which nothing waits.
    fn forget_ended(&mut self, watch: u64) {
        let is_awaited = || {
            self.deliveries
                .values()
                .flatten()
                .any(|delivery| delivery.watch == watch)
        };
        if self.watches.get(&watch).is_some_and(Watch::has_ended) && !is_awaited() {
            self.watches.remove(&watch);
        }
    }
}
