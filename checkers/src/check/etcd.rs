//! Histories of an etcd-like store on their way into engine C.

use veridical_histories::etcd::EtcdEvent;
use veridical_histories::formats::{Events, ReadError};

use super::run::{Flow, Run};
use super::{CheckError, CheckModel};
use crate::etcd::EtcdChecker;
use crate::verdict::{Cause, Rejection, Undecided};

/// What is told where the order of a file decides.
const PLACES_COUNT: &str = "some events have the same time: their order is that of the file";

impl Run {
    /// Checks a history of an etcd-like store.
    pub(super) fn etcd(&mut self, mut events: Events<EtcdEvent>) -> Result<(), CheckError> {
        if let Some(CheckModel::Object(kind)) = self.options.model {
            return Err(CheckError::ModelOfOtherVocabulary {
                model: kind.name(),
                vocabulary: "an etcd-like store",
            });
        }
        self.report.model = "etcd".to_owned();
        let mut checker = EtcdChecker::new(self.options.etcd.clone());
        checker.limit_memory(self.options.memory_limit_bytes);
        let mut unreadable = None;
        let mut last_time_ns = 0;
        // Whether something has ended at that time.
        let mut has_ended = false;
        while let Some(event) = events.next() {
            let line = events.line();
            let event = match event {
                Ok(event) => event,
                Err(error) if error.is_local() => {
                    if self.is_stopped() {
                        break;
                    }
                    if unreadable.is_none() || !error.may_be_consequence() {
                        self.etcd_unreadable(&mut unreadable, error.to_string());
                    }
                    continue;
                }
                Err(error) => {
                    self.ended_by(error)?;
                    break;
                }
            };
            self.calls += u64::from(event.is_call());
            if unreadable.is_some() {
                continue;
            }
            if event.time_ns < last_time_ns {
                let what = out_of_order(last_time_ns, event.time_ns, self.report.events, line);
                self.etcd_unreadable(&mut unreadable, what);
                continue;
            }
            let is_new = event.time_ns > last_time_ns;
            last_time_ns = event.time_ns;
            has_ended = (has_ended && !is_new) || !event.is_call();
            if has_ended && event.is_call() {
                self.report.note(PLACES_COUNT);
            }
            self.report.events += 1;
            match checker.observe_owned(event) {
                Ok(()) => {}
                // What is wrong is kept for the end.
                Err(Rejection::Violation(_)) => {
                    self.read_to_end(&mut events)?;
                    break;
                }
                Err(Rejection::Malformed(malformed)) => {
                    let what = match line {
                        Some(line) => format!("line {line}: {}", malformed.reason),
                        None => malformed.to_string(),
                    };
                    self.etcd_unreadable(&mut unreadable, what);
                }
            }
            if let Flow::Stop = self.looks(checker.statistics().operations) {
                break;
            }
        }
        let verdict = checker.finish();
        self.conclude(verdict, unreadable);
        self.report
            .count_etcd(&checker.statistics(), checker.live_keys());
        Ok(())
    }

    /// Every revision hangs on those before, so that nothing is judged after such a line.
    fn etcd_unreadable(&mut self, unreadable: &mut Option<Undecided>, what: String) {
        let event = self.report.events;
        unreadable.get_or_insert_with(|| Undecided {
            cause: Cause::Unreadable,
            key: None,
            events: (event, event),
            text: what.clone(),
        });
        self.report.bad_line(what);
    }

    /// Reads what is left of a compressed file, whose checksum says whether all of it is as it
    /// was written.
    pub(super) fn read_to_end<E>(&self, events: &mut Events<E>) -> Result<(), ReadError> {
        if !self.is_compressed {
            return Ok(());
        }
        events.try_for_each(|event| match event {
            Err(error) if !error.is_local() && !error.is_truncation() => Err(error),
            Ok(_) | Err(_) => Ok(()),
        })
    }
}

/// Why an event that is earlier than the one before cannot be judged.
pub(super) fn out_of_order(last_ns: u64, found_ns: u64, event: u64, line: Option<u64>) -> String {
    let place = match line {
        Some(line) => format!("line {line}"),
        None => format!("event {event}"),
    };
    format!(
        "{place}: expected a time of at least {last_ns} ns, found {found_ns}: events have to be \
         in the order of their times"
    )
}
