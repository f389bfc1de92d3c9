//! Histories of an etcd-like store on their way into engine C.

use veridical_histories::EventKind;
use veridical_histories::etcd::EtcdEvent;
use veridical_histories::formats::{Events, ReadError};

use super::ends::Ends;
use super::intake::call_is_missing;
use super::run::{EVENTS_BEHIND_MAX, Flow, Run};
use super::{CheckError, CheckModel};
use crate::etcd::EtcdChecker;
use crate::verdict::{Cause, Rejection, Undecided, Verdict};

/// What is told where the order of a file decides.
const PLACES_COUNT: &str = "some events have the same time: their order is that of the file";

/// What of a history may be judged. Every revision hangs on those before, so that nothing is judged
/// after a line that could not be read.
#[derive(Default)]
struct EtcdIntake {
    unreadable: Option<Undecided>,
    /// Whether a line is missing, or in the wrong place, before the one that showed it: then nothing
    /// that came before is certain either.
    reaches_back: bool,
    ends: Ends<()>,
    last_time_ns: u64,
    /// Whether something has ended at that time.
    has_ended: bool,
}

impl EtcdIntake {
    /// Follows an event; why it shows that a line before it is missing, if it does.
    fn follow(
        &mut self,
        event: &EtcdEvent,
        line: Option<u64>,
        clients_wait: bool,
    ) -> Option<String> {
        match &event.kind {
            EventKind::Call { op, .. } => {
                self.ends.called(*op, event.client, line, ());
                None
            }
            EventKind::Return { op, .. } | EventKind::Unknown { op } | EventKind::Failed { op } => {
                let was_open = self.ends.ended(*op, clients_wait).is_some();
                let is_wrong = !was_open && self.ends.are_all_watched();
                is_wrong.then(|| call_is_missing(*op, line))
            }
            EventKind::Note { .. } => None,
        }
    }
}

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
        let mut intake = EtcdIntake::default();
        let mut is_whole = true;
        while let Some(event) = events.next() {
            let line = events.line();
            let flow = match event {
                Ok(event) => self.etcd_event(&mut intake, &mut checker, event, line),
                Err(error) if error.is_local() => self.etcd_error(&mut intake, &error),
                Err(error) => {
                    self.ended_by(error)?;
                    break;
                }
            };
            if let Flow::Stop = flow {
                is_whole = false;
                self.look_behind_etcd(&mut intake, &mut events);
                self.read_to_end(&mut events)?;
                break;
            }
        }
        if is_whole && self.report.truncated.is_none() {
            self.etcd_missing_ends(&mut intake);
        }
        // What a missing line would explain is no violation.
        let verdict = checker.finish();
        let verdict = match intake.reaches_back && verdict.violation().is_some() {
            true => Verdict::Ok,
            false => verdict,
        };
        self.conclude(verdict, intake.unreadable);
        self.report
            .count_etcd(&checker.statistics(), checker.live_keys());
        Ok(())
    }

    /// Judges one event. `Stop` where nothing more need be judged.
    fn etcd_event(
        &mut self,
        intake: &mut EtcdIntake,
        checker: &mut EtcdChecker,
        event: EtcdEvent,
        line: Option<u64>,
    ) -> Flow {
        self.calls += u64::from(event.is_call());
        if intake.unreadable.is_some() {
            return Flow::On;
        }
        if event.time_ns < intake.last_time_ns {
            let (last, at) = (intake.last_time_ns, self.report.events);
            let what = out_of_order(last, event.time_ns, at, line);
            self.etcd_unreadable(intake, what, true);
            return Flow::On;
        }
        let is_new = event.time_ns > intake.last_time_ns;
        intake.last_time_ns = event.time_ns;
        intake.has_ended = (intake.has_ended && !is_new) || !event.is_call();
        if intake.has_ended && event.is_call() {
            self.report.note(PLACES_COUNT);
        }
        self.report.events += 1;
        if line.is_some()
            && let Some(what) = intake.follow(&event, line, self.clients_wait())
        {
            self.etcd_unreadable(intake, what, true);
            return Flow::On;
        }
        match checker.observe_owned(event) {
            Ok(()) => {}
            // What is wrong is kept for the end.
            Err(Rejection::Violation(_)) => return Flow::Stop,
            Err(Rejection::Malformed(malformed)) => {
                let what = match line {
                    Some(line) => format!("line {line}: {}", malformed.reason),
                    None => malformed.to_string(),
                };
                self.etcd_unreadable(intake, what, true);
            }
        }
        self.looks(checker.statistics().operations)
    }

    /// Takes in that something could not be read.
    fn etcd_error(&mut self, intake: &mut EtcdIntake, error: &ReadError) -> Flow {
        if self.is_stopped() {
            return Flow::Stop;
        }
        if intake.unreadable.is_none() || !error.may_be_consequence() {
            self.etcd_unreadable(intake, error.to_string(), error.is_about_earlier_lines());
        }
        Flow::On
    }

    fn etcd_unreadable(&mut self, intake: &mut EtcdIntake, what: String, reaches_back: bool) {
        let event = self.report.events;
        intake.reaches_back |= reaches_back;
        intake.unreadable.get_or_insert_with(|| Undecided {
            cause: Cause::Unreadable,
            key: None,
            events: (event, event),
            text: what.clone(),
        });
        self.report.bad_line(what);
    }

    /// Tells of operations that have no ends although their clients went on.
    fn etcd_missing_ends(&mut self, intake: &mut EtcdIntake) {
        if intake.unreadable.is_some() || self.report.stopped_early {
            return;
        }
        for (_, what) in intake.ends.missing() {
            self.etcd_unreadable(intake, what, false);
        }
    }

    /// Looks, once something is wrong, for a later event that betrays a line that is missing
    /// before it: then it may have been that line which would explain what is wrong.
    fn look_behind_etcd(&mut self, intake: &mut EtcdIntake, events: &mut Events<EtcdEvent>) {
        // Where lines are not known, no event can be missing without a word.
        if !self.options.looks_behind_violations || events.line().is_none() {
            return;
        }
        for _ in 0..EVENTS_BEHIND_MAX {
            let Some(event) = events.next() else {
                return;
            };
            let line = events.line();
            let betrayed = match event {
                Ok(event) if event.time_ns < intake.last_time_ns => {
                    let (last, at) = (intake.last_time_ns, self.report.events);
                    Some(out_of_order(last, event.time_ns, at, line))
                }
                Ok(event) => {
                    intake.last_time_ns = event.time_ns;
                    intake.follow(&event, line, false)
                }
                Err(error) if error.is_about_earlier_lines() => Some(error.to_string()),
                Err(error) if error.is_local() => None,
                Err(_) => return,
            };
            if let Some(what) = betrayed {
                self.etcd_unreadable(intake, what, true);
                return;
            }
        }
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
