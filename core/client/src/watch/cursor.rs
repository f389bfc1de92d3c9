//! How far a watch has come. It takes what streams bring and gives what is new of it, in whole
//! revisions, so that a watch can go on at any time from a revision and neither misses an event
//! nor brings one twice.

use veridical_proto::etcdserverpb::WatchResponse;
use veridical_proto::mvccpb::Event;

use super::{WatchError, WatchEvents};

/// How far a watch has come.
#[derive(Debug)]
pub(super) struct Cursor {
    /// The first revision that is not known whole; `None` until a member has said from where
    /// on a watch "from now on" is.
    next: Option<i64>,
    /// Events of the revision that is coming in, whose end has not been seen. Of one revision
    /// only: no more than one transaction writes.
    incomplete: Vec<Event>,
}

impl Cursor {
    /// At the beginning of a watch from this revision on; 0 is "from now on".
    pub(super) fn new(start_revision: i64) -> Self {
        Self {
            next: (start_revision != 0).then_some(start_revision),
            incomplete: Vec::new(),
        }
    }

    /// From where a new stream has to begin; 0 is "from now on". What a stream before has
    /// brought in part comes again.
    pub(super) fn resume(&mut self) -> i64 {
        self.incomplete.clear();
        self.next.unwrap_or(0)
    }

    /// The first revision whose events have not been given; `None` before the beginning.
    pub(super) fn next(&self) -> Option<i64> {
        self.next
    }

    /// Takes a response of the present stream; gives what is new, if anything is.
    ///
    /// # Errors
    /// The watch cannot go on.
    pub(super) fn take(
        &mut self,
        response: WatchResponse,
    ) -> Result<Option<WatchEvents>, WatchError> {
        let revision = response.revision();
        if response.compact_revision > 0 {
            return Err(WatchError::Compacted {
                compact_revision: response.compact_revision,
            });
        }
        if response.canceled {
            return Err(WatchError::Refused {
                reason: response.cancel_reason,
            });
        }
        if response.created {
            self.next.get_or_insert(revision + 1);
            return Ok(None);
        }
        // Said of all watches of a stream, this is a sign of life alone: etcd before 3.4.25 and
        // 3.5.8 says it ahead of events (etcd-io/etcd issue 15220).
        if response.watch_id < 0 {
            return Ok(None);
        }
        if response.events.is_empty() && !response.fragment && self.incomplete.is_empty() {
            return Ok(self.take_progress(revision));
        }
        self.incomplete.extend(response.events);
        let whole = match response.fragment {
            // The last revision may go on in the next fragment.
            true => {
                let last = self.incomplete.last().map_or(0, Event::revision);
                let begin = self
                    .incomplete
                    .partition_point(|event| event.revision() < last);
                let rest = self.incomplete.split_off(begin);
                std::mem::replace(&mut self.incomplete, rest)
            }
            false => std::mem::take(&mut self.incomplete),
        };
        Ok(self.give(whole))
    }

    /// The watch says that it has brought everything up to a revision.
    fn take_progress(&mut self, revision: i64) -> Option<WatchEvents> {
        if revision < self.next? {
            return None;
        }
        self.next = Some(revision + 1);
        Some(WatchEvents {
            revision,
            events: Vec::new(),
        })
    }

    /// What of whole revisions is new.
    fn give(&mut self, mut events: Vec<Event>) -> Option<WatchEvents> {
        let next = self.next.unwrap_or(0);
        events.retain(|event| event.revision() >= next);
        let revision = events.last()?.revision();
        self.next = Some(revision + 1);
        Some(WatchEvents { revision, events })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use veridical_proto::etcdserverpb::ResponseHeader;
    use veridical_proto::mvccpb::KeyValue;

    fn event(revision: i64, key: usize) -> Event {
        Event {
            kv: Some(KeyValue {
                key: format!("k{key}").into(),
                mod_revision: revision,
                ..KeyValue::default()
            }),
            ..Event::default()
        }
    }

    fn response(revision: i64, events: &[Event], fragment: bool) -> WatchResponse {
        WatchResponse {
            header: Some(ResponseHeader {
                revision,
                ..ResponseHeader::default()
            }),
            events: events.to_vec(),
            fragment,
            ..WatchResponse::default()
        }
    }

    fn created(revision: i64) -> WatchResponse {
        WatchResponse {
            created: true,
            ..response(revision, &[], false)
        }
    }

    /// What a server does next.
    #[derive(Clone, Debug)]
    enum Step {
        /// Sends so many events more, and goes on with them in the next response.
        Fragment(usize),
        /// Sends the rest of so many revisions.
        Whole(usize),
        /// Says that all of the past was brought, where that is so.
        Progress,
        /// Says something of all watches, at any time.
        OfAll,
        /// Is gone; the next one begins where it is told, or earlier by so many revisions.
        Break(i64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (1..4usize).prop_map(Step::Fragment),
            3 => (1..4usize).prop_map(Step::Whole),
            1 => Just(Step::Progress),
            1 => Just(Step::OfAll),
            2 => (0..3i64).prop_map(Step::Break),
        ]
    }

    /// The events of a history in which the revision of each index has so many.
    fn history(sizes: &[usize]) -> Vec<Event> {
        let revisions = sizes.iter().zip(1i64..);
        revisions
            .flat_map(|(size, revision)| (0..*size).map(move |key| event(revision, key)))
            .collect()
    }

    /// Sends the history from `start` on by these steps, and then what is left of it. Gives what
    /// the cursor gave, each time with the revision that it said.
    fn send(events: &[Event], start: i64, steps: &[Step]) -> Vec<WatchEvents> {
        let newest = events.last().map_or(0, Event::revision);
        let position = |revision: i64| events.partition_point(|event| event.revision() < revision);
        let end_of = |at: usize, revisions: usize| {
            let revision = events[at].revision() + revisions as i64;
            position(revision)
        };
        let mut cursor = Cursor::new(start);
        let mut at = position(cursor.resume());
        let mut in_fragments = false;
        let mut given = Vec::new();
        let finish = [Step::Whole(usize::MAX / 4)];
        for step in steps.iter().chain(&finish) {
            let message = match step {
                Step::Fragment(count) if at < events.len() => {
                    // The last event is left to a response that ends the fragments.
                    let end = (at + count).min(events.len() - 1);
                    in_fragments = true;
                    response(newest, &events[std::mem::replace(&mut at, end)..end], true)
                }
                Step::Whole(revisions) if at < events.len() => {
                    let end = end_of(at, *revisions);
                    in_fragments = false;
                    response(newest, &events[std::mem::replace(&mut at, end)..end], false)
                }
                Step::Progress if at == events.len() && !in_fragments => {
                    response(newest, &[], false)
                }
                Step::OfAll => WatchResponse {
                    watch_id: -1,
                    ..response(newest, &[], false)
                },
                Step::Break(earlier) => {
                    at = position(cursor.resume() - earlier);
                    in_fragments = false;
                    created(newest)
                }
                Step::Fragment(_) | Step::Whole(_) | Step::Progress => continue,
            };
            given.extend(cursor.take(message).expect("nothing is compacted"));
        }
        given
    }

    proptest! {
        #[test]
        fn however_a_stream_is_cut_the_events_are_the_same(
            sizes in proptest::collection::vec(0..4usize, 1..12),
            steps in proptest::collection::vec(step(), 0..30),
            start in 1..4i64,
        ) {
            let events = history(&sizes);
            let given = send(&events, start, &steps);
            let flat: Vec<Event> = given.iter().flat_map(|batch| batch.events.clone()).collect();
            let expected: Vec<Event> =
                events.iter().filter(|event| event.revision() >= start).cloned().collect();
            prop_assert_eq!(flat, expected);
        }

        #[test]
        fn what_is_said_to_be_brought_was_brought(
            sizes in proptest::collection::vec(0..4usize, 1..12),
            steps in proptest::collection::vec(step(), 0..30),
        ) {
            let events = history(&sizes);
            let mut brought = 0;
            for batch in send(&events, 1, &steps) {
                brought += batch.events.len();
                let due = events.partition_point(|event| event.revision() <= batch.revision);
                prop_assert_eq!(brought, due);
            }
        }
    }

    #[test]
    fn from_now_on_is_pinned_by_the_first_member() {
        let mut cursor = Cursor::new(0);
        assert_eq!(cursor.resume(), 0);
        cursor.take(created(7)).unwrap();
        assert_eq!(cursor.resume(), 8);
        // Another member, that is further: what came between is not skipped.
        cursor.take(created(20)).unwrap();
        assert_eq!(cursor.resume(), 8);
    }

    #[test]
    fn progress_of_all_watches_moves_nothing_and_that_of_the_watch_does() {
        let mut cursor = Cursor::new(3);
        let of_all = WatchResponse {
            watch_id: -1,
            ..response(9, &[], false)
        };
        assert_eq!(cursor.take(of_all), Ok(None));
        assert_eq!(cursor.resume(), 3);
        let own = cursor.take(response(9, &[], false)).unwrap().unwrap();
        assert_eq!((own.revision, own.events.len()), (9, 0));
        assert_eq!(cursor.resume(), 10);
    }

    #[test]
    fn a_compaction_ends_the_watch_with_its_revision() {
        let mut cursor = Cursor::new(3);
        let compacted = WatchResponse {
            canceled: true,
            compact_revision: 5,
            ..WatchResponse::default()
        };
        let error = WatchError::Compacted {
            compact_revision: 5,
        };
        assert_eq!(cursor.take(compacted), Err(error));
        let canceled = WatchResponse {
            canceled: true,
            cancel_reason: "no".to_owned(),
            ..WatchResponse::default()
        };
        assert!(matches!(
            cursor.take(canceled),
            Err(WatchError::Refused { .. })
        ));
    }
}
