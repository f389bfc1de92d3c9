//! The intake of what watches record: creations and responses.

use std::collections::BTreeMap;

use veridical_histories::etcd::{WatchCreated, WatchResponse};

use crate::etcd::memory::CONTENT_BYTES;
use crate::etcd::objection::{Contradiction, Stop};
use crate::verdict::{MalformedReason, ViolationKind, WitnessOperation};

use super::compactions::Compactions;
use super::watch::{Delivery, Misdelivery, Watch, describe};

/// All watches that still matter.
#[derive(Debug, Default)]
pub(in crate::etcd) struct Watches {
    watches: BTreeMap<u64, Watch>,
    /// How many responses were taken in.
    responses: u64,
}

impl Watches {
    /// A watch was created.
    ///
    /// # Errors
    /// There is one of its number.
    pub fn create(
        &mut self,
        created: WatchCreated,
        client: u64,
        at_ns: u64,
    ) -> Result<(), MalformedReason> {
        let number = created.watch;
        if self.watches.contains_key(&number) {
            return Err(MalformedReason::WatchCreatedTwice(number));
        }
        let watch = Watch::new(created, client, at_ns);
        self.watches.insert(number, watch);
        Ok(())
    }

    /// A watch was sent a response. Returns the delivery that it completes, if it does.
    ///
    /// # Errors
    /// There is no such watch, or the response is wrong by itself.
    pub fn respond(
        &mut self,
        response: &WatchResponse,
        compactions: &Compactions,
        at_event: u64,
        at_ns: u64,
    ) -> Result<Option<Delivery>, Stop> {
        self.responses += 1;
        let number = response.watch;
        let watch = self.watches.get_mut(&number);
        let watch = watch.ok_or(Stop::Malformed(MalformedReason::NoSuchWatch(number)))?;
        let delivery = watch
            .respond(response, at_event, at_ns)
            .map_err(|wrong| misdelivered(watch, number, at_ns, wrong))?;
        if response.canceled {
            if response.compact_revision > 0 {
                check_cancellation(response, watch.next(), compactions)
                    .map_err(|wrong| misdelivered(watch, number, at_ns, wrong))?;
            }
            watch.end();
        }
        Ok(delivery)
    }

    /// The watch that was sent `delivery`.
    pub fn of(&self, delivery: &Delivery) -> &Watch {
        let watch = self.watches.get(&delivery.watch);
        watch.expect("a watch is kept while a delivery to it waits")
    }

    /// The oldest revisions that the watches which go on can still be sent.
    pub fn next_revisions(&self) -> impl Iterator<Item = i64> {
        let watches = self.watches.values();
        watches.filter(|watch| !watch.has_ended()).map(Watch::next)
    }

    /// Whether the watch has ended.
    pub fn has_ended(&self, watch: u64) -> bool {
        self.watches.get(&watch).is_some_and(Watch::has_ended)
    }

    /// Forgets a watch that ended.
    pub fn forget(&mut self, watch: u64) {
        let forgotten = self.watches.remove(&watch);
        assert!(
            forgotten.is_some_and(|watch| watch.has_ended()),
            "a watch that goes on is not forgotten"
        );
    }

    /// The witnesses of a wrong delivery.
    pub fn witnesses(&self, delivery: &Delivery) -> Vec<WitnessOperation> {
        let created = self.of(delivery).witness();
        let events: Vec<String> = delivery.events.iter().map(describe).collect();
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
                events.join(", ")
            ),
        };
        vec![created, sent]
    }

    /// Forgets all watches; how many responses there were stays known.
    pub fn clear(&mut self) {
        self.watches.clear();
    }

    /// How many responses were taken in.
    pub fn responses(&self) -> u64 {
        self.responses
    }

    /// Bytes held, estimated.
    pub fn bytes(&self) -> usize {
        self.watches.len() * (size_of::<Watch>() + CONTENT_BYTES)
    }
}

/// A watch ends for compaction only where its next revision was compacted away.
fn check_cancellation(
    response: &WatchResponse,
    wanted: i64,
    compactions: &Compactions,
) -> Result<(), Misdelivery> {
    let compacted = response.compact_revision;
    let expected = if !compactions.may_have_reached(compacted) {
        "a watch that goes on: no such compaction was called".to_owned()
    } else if wanted >= compacted {
        format!("a watch that goes on from revision {wanted}, which is not compacted")
    } else {
        return Ok(());
    };
    Err(Misdelivery {
        expected,
        got: format!("canceled, compacted to {compacted}"),
    })
}

/// A response that is wrong by itself contradicts the history.
fn misdelivered(watch: &Watch, number: u64, at_ns: u64, wrong: Misdelivery) -> Stop {
    let created = watch.witness();
    let sent = WitnessOperation {
        op: None,
        client: created.client,
        call_ns: at_ns,
        return_ns: Some(at_ns),
        text: format!("watch {number} sent {}", wrong.got),
    };
    let operations = vec![created, sent];
    Contradiction::new(ViolationKind::Watch, wrong.expected, wrong.got, operations).into()
}
