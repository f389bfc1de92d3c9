//! Histories of single objects on their way into the engines.

use std::collections::VecDeque;

use veridical_histories::EventKind;
use veridical_histories::formats::{Affected, Events, ReadError, Source};
use veridical_histories::native::NativeReader;
use veridical_histories::object::{ObjectEvent, Value};

use super::etcd::out_of_order;
use super::guess::{Guess, guess};
use super::intake::{Admission, Intake};
use super::parallel::ParallelChecker;
use super::run::{EVENTS_BEHIND_MAX, Flow, Run};
use super::simultaneous::{SIMULTANEOUS_MAX, last_time_begins, order};
use super::{CheckError, CheckModel};
use crate::lists::ListChecker;
use crate::models::{ObjectKind, ObjectModel};
use crate::objects::ObjectChecker;
use crate::verdict::{Cause, Rejection, Verdict};

/// Calls looked at to guess the model.
const GUESS_CALLS_MAX: usize = 10_000;
/// Bytes of values that are kept meanwhile, estimated.
const GUESS_BYTES_MAX: usize = 4 << 20;

/// What an open operation takes, estimated: in the reader, here, and in an engine.
const OPEN_BYTES: usize = 2 << 10;

/// An event, or why it could not be read, and the line that it was read from.
type Line = (Result<ObjectEvent, ReadError>, Option<u64>);

/// Checks objects on the caller's thread or on several.
enum Objects {
    Here(Box<ObjectChecker>),
    Lists(Box<ListChecker>),
    Parallel(ParallelChecker),
}

impl Objects {
    fn observe(&mut self, event: &ObjectEvent, line: Option<u64>) -> Result<(), Rejection> {
        match self {
            Self::Here(checker) => checker.observe(event),
            Self::Lists(checker) => checker.observe(event),
            Self::Parallel(checker) => checker.observe(event, line),
        }
    }

    fn has_failed(&self) -> bool {
        matches!(self, Self::Parallel(checker) if checker.has_failed())
    }
}

/// The check of objects: what was read and waits, what may be judged, and who judges it.
struct Judging {
    intake: Intake,
    checker: Objects,
    /// Events of the last time that was read: more of it may follow.
    waiting: Vec<(ObjectEvent, Option<u64>)>,
    last_time_ns: u64,
    /// What every object was taken to begin with, where nobody has said so.
    initial: Option<Value>,
}

impl Run {
    /// Checks a history that is read event by event.
    pub(super) fn object_lines(
        &mut self,
        mut events: Events<ObjectEvent>,
    ) -> Result<(), CheckError> {
        let mut beginning = read_beginning(&mut events);
        let readable = beginning
            .iter()
            .filter_map(|(event, _)| event.as_ref().ok());
        let model = self.object_model(readable)?;
        let clients_wait = self.clients_wait();
        let mut judging = self.judging(model, Intake::new(true, clients_wait));
        loop {
            let next = beginning.pop_front().or_else(|| {
                let event = events.next()?;
                Some((event, events.line()))
            });
            let flow = match next {
                None => break,
                Some((Ok(event), line)) => self.object_line(&mut judging, event, line),
                Some((Err(error), _)) if error.is_local() => {
                    if self.is_stopped() {
                        break;
                    }
                    self.object_error(&mut judging, &error)
                }
                Some((Err(error), _)) => {
                    self.ended_by(error)?;
                    break;
                }
            };
            if let Flow::Stop = flow {
                let rest = beginning.into_iter().chain(std::iter::from_fn(|| {
                    let event = events.next()?;
                    Some((event, events.line()))
                }));
                self.look_behind(&mut judging, rest);
                self.read_to_end(&mut events)?;
                return self.finish_objects(judging);
            }
        }
        if let Flow::Stop = self.judge_waiting(&mut judging) {
            return self.finish_objects(judging);
        }
        if !self.report.stopped_early && self.report.truncated.is_none() {
            for what in judging.intake.missing_ends(self.report.events) {
                self.report.bad_line(what);
            }
        }
        self.finish_objects(judging)
    }

    /// Looks, once something is wrong, for a later event that betrays a line that is missing
    /// before it: then it may have been that line which would explain what is wrong.
    fn look_behind(&mut self, judging: &mut Judging, rest: impl Iterator<Item = Line>) {
        if !self.options.looks_behind_violations || judging.intake.damage().is_everything() {
            return;
        }
        // What had been read, but came behind what is wrong, is no more than read.
        let waiting = std::mem::take(&mut judging.waiting).into_iter();
        let waiting = waiting.map(|(event, line)| (Ok(event), line));
        for (event, line) in waiting.chain(rest).take(EVENTS_BEHIND_MAX) {
            let betrayed = match event {
                Ok(event) if event.time_ns < judging.last_time_ns => {
                    let (last, at) = (judging.last_time_ns, self.report.events);
                    Some(out_of_order(last, event.time_ns, at, line))
                }
                Ok(event) => {
                    judging.last_time_ns = event.time_ns;
                    judging.intake.is_out_of_step(&event, line)
                }
                Err(error) if error.is_about_earlier_lines() => Some(error.to_string()),
                Err(error) if error.is_local() => None,
                Err(_) => return,
            };
            if let Some(what) = betrayed {
                judging.intake.give_up(self.report.events, what.clone());
                self.report.bad_line(what);
                return;
            }
        }
    }

    /// Takes in that something could not be read.
    fn object_error(&mut self, judging: &mut Judging, error: &ReadError) -> Flow {
        let key = match error.affected() {
            // What came before it can be judged, and nothing behind it.
            Affected::History => {
                if let Flow::Stop = self.judge_waiting(judging) {
                    // It is the first line behind what is wrong, and is looked at like the others.
                    if self.options.looks_behind_violations && error.is_about_earlier_lines() {
                        judging
                            .intake
                            .give_up(self.report.events, error.to_string());
                        self.report.bad_line(error.to_string());
                    }
                    return Flow::Stop;
                }
                None
            }
            Affected::Key(_) => None,
            Affected::Operation { op, .. } => {
                let mut waiting = judging.waiting.iter();
                waiting.find_map(|(event, _)| match &event.kind {
                    EventKind::Call { op: called, input } if called == op => {
                        Some(input.key.clone())
                    }
                    EventKind::Call { .. } | EventKind::Return { .. } => None,
                    EventKind::Unknown { .. } | EventKind::Failed { .. } => None,
                    EventKind::Note { note } => match *note {},
                })
            }
        };
        if judging.intake.refuse(error, key, self.report.events) {
            self.report.bad_line(error.to_string());
        }
        Flow::On
    }

    /// Takes in one event of a text.
    fn object_line(
        &mut self,
        judging: &mut Judging,
        event: ObjectEvent,
        line: Option<u64>,
    ) -> Flow {
        let is_later = judging
            .waiting
            .first()
            .is_some_and(|(first, _)| first.time_ns != event.time_ns);
        let is_full = judging.waiting.len() >= SIMULTANEOUS_MAX;
        if is_full && !is_later {
            self.report.note_places_count();
        }
        let flow = match is_later || is_full {
            true => self.judge_waiting(judging),
            false => Flow::On,
        };
        judging.waiting.push((event, line));
        flow
    }

    /// Judges the events that have waited for others of their time.
    fn judge_waiting(&mut self, judging: &mut Judging) -> Flow {
        let mut waiting = std::mem::take(&mut judging.waiting);
        order(&mut waiting);
        for at in 0..waiting.len() {
            let (event, line) = &waiting[at];
            if let Flow::Stop = self.judge(judging, event, *line) {
                judging.waiting = waiting.split_off(at + 1);
                return Flow::Stop;
            }
        }
        waiting.clear();
        judging.waiting = waiting;
        Flow::On
    }

    /// Checks a history that is read in blocks.
    pub(super) fn object_blocks(
        &mut self,
        mut blocks: NativeReader<Source, ObjectEvent>,
    ) -> Result<(), CheckError> {
        let mut events = Vec::new();
        let mut end = blocks.read_block(&mut events);
        let model = self.object_model(&events)?;
        let mut judging = self.judging(model, Intake::new(false, false));
        loop {
            let has_more = match end {
                Ok(has_more) => has_more,
                Err(error) => {
                    self.ended_by(error)?;
                    false
                }
            };
            let mut ready = match has_more {
                true => last_time_begins(&events),
                false => events.len(),
            };
            if events.len() - ready >= SIMULTANEOUS_MAX {
                self.report.note_places_count();
                ready = events.len();
            }
            order(&mut events[..ready]);
            for event in &events[..ready] {
                if let Flow::Stop = self.judge(&mut judging, event, None) {
                    return self.finish_objects(judging);
                }
            }
            events.drain(..ready);
            if !has_more {
                break;
            }
            end = blocks.read_block(&mut events);
        }
        self.finish_objects(judging)
    }

    /// The model of a history that begins with these events.
    fn object_model<'a>(
        &mut self,
        beginning: impl IntoIterator<Item = &'a ObjectEvent>,
    ) -> Result<ObjectModel, CheckError> {
        let kind = match self.options.model {
            Some(CheckModel::Object(kind)) => kind,
            Some(CheckModel::Etcd) => {
                return Err(CheckError::ModelOfOtherVocabulary {
                    model: "etcd",
                    vocabulary: "single objects",
                });
            }
            None => {
                let told = guess(beginning).map_err(|why| CheckError::ModelNotTold { why })?;
                let Guess { kind, because } = told;
                self.report.model_because = Some(because.to_owned());
                kind
            }
        };
        self.report.model = kind.name().to_owned();
        let mut model = ObjectModel::new(kind);
        if self.options.nil_is_wildcard {
            model = model.with_nil_as_wildcard();
        }
        if let Some(initial) = &self.options.initial {
            model = model.with_initial(initial.clone())?;
        }
        Ok(model)
    }

    fn judging(&self, model: ObjectModel, mut intake: Intake) -> Judging {
        let options = self.options.checker.clone();
        let limit = self.options.memory_limit_bytes;
        let threads = self.options.threads;
        let is_assumed = self.options.initial.is_none() && model.kind().has_initial();
        let initial = is_assumed.then(|| model.initial_value());
        let checker = if model.kind() == ObjectKind::ListAppend {
            let mut checker = ListChecker::new(model, options);
            checker.limit_memory(limit);
            Objects::Lists(Box::new(checker))
        } else {
            intake.keep_keys_apart();
            if threads > 1 {
                Objects::Parallel(ParallelChecker::new(model, &options, threads, limit))
            } else {
                let mut checker = ObjectChecker::new(model, options);
                checker.limit_memory(limit);
                Objects::Here(Box::new(checker))
            }
        };
        Judging {
            intake,
            checker,
            waiting: Vec::new(),
            last_time_ns: 0,
            initial,
        }
    }

    /// How many operations may be open at once: half of the memory is for them.
    fn open_max(&self) -> usize {
        let limit = self.options.memory_limit_bytes;
        limit.map_or(usize::MAX, |limit| limit as usize / 2 / OPEN_BYTES)
    }

    /// Judges one event. `Stop` where nothing more need be judged.
    fn judge(&mut self, judging: &mut Judging, event: &ObjectEvent, line: Option<u64>) -> Flow {
        let Judging {
            intake, checker, ..
        } = judging;
        let at = self.report.events;
        self.report.events += 1;
        self.calls += u64::from(event.is_call());
        if intake.damage().is_everything() {
            return self.looks(at / 2);
        }
        if let EventKind::Call { input, .. } = &event.kind {
            self.keys.count(&input.key);
        }
        if event.time_ns < judging.last_time_ns {
            let what = out_of_order(judging.last_time_ns, event.time_ns, at, line);
            intake.give_up(at, what.clone());
            self.report.bad_line(what);
            return Flow::On;
        }
        judging.last_time_ns = event.time_ns;
        if intake.open_count() >= self.open_max() {
            intake.too_many_open(at);
            return Flow::Stop;
        }
        let Admission::Judged { key } = intake.admit(event, line) else {
            return self.looks(at / 2);
        };
        match checker.observe(event, line) {
            Ok(()) if checker.has_failed() => Flow::Stop,
            Ok(()) => self.looks(at / 2),
            // What is wrong is kept for the end.
            Err(Rejection::Violation(_)) => Flow::Stop,
            Err(Rejection::Malformed(malformed)) => {
                let what = intake.malformed(&malformed, event, key, line);
                self.report.bad_line(what);
                Flow::On
            }
        }
    }

    fn finish_objects(&mut self, judging: Judging) -> Result<(), CheckError> {
        let mut unreadable = judging.intake.damage().undecided().cloned();
        let is_in_doubt = judging.intake.damage().reaches_back();
        let is_out_of_memory = unreadable
            .as_ref()
            .is_some_and(|it| it.cause == Cause::Memory);
        let (verdict, statistics, spill_error) = match judging.checker {
            // Whatever is open would have to be gone through.
            Objects::Here(checker) if is_out_of_memory => (Verdict::Ok, checker.statistics(), None),
            Objects::Here(mut checker) => {
                let verdict = checker.finish();
                (verdict, checker.statistics(), checker.take_spill_error())
            }
            Objects::Lists(mut checker) => (checker.finish(), checker.statistics(), None),
            Objects::Parallel(checker) => {
                let (ended, malformed) = checker.finish();
                if let Some((undecided, what)) = malformed {
                    self.report.bad_line(what);
                    unreadable.get_or_insert(undecided);
                }
                ended
            }
        };
        if let Some(error) = spill_error {
            return Err(CheckError::Spill(error));
        }
        // What a missing line would explain is no violation.
        let verdict = match is_in_doubt && verdict.violation().is_some() {
            true => Verdict::Ok,
            false => verdict,
        };
        self.conclude(verdict, unreadable);
        if let (Verdict::Violation(_), Some(initial)) = (&self.report.verdict, judging.initial) {
            self.report.note(&format!(
                "every object was taken to begin with {initial}; --initial VALUE says otherwise"
            ));
        }
        self.report.count_objects(&statistics);
        self.report.keys = self.keys.estimate();
        Ok(())
    }
}

/// As much of a history as it takes to guess its model.
fn read_beginning(events: &mut Events<ObjectEvent>) -> VecDeque<Line> {
    let mut beginning = VecDeque::new();
    let (mut calls, mut bytes) = (0, 0);
    while calls < GUESS_CALLS_MAX && bytes < GUESS_BYTES_MAX {
        let Some(event) = events.next() else {
            break;
        };
        let is_last = matches!(&event, Err(error) if !error.is_local());
        bytes += size_of::<Line>();
        match &event {
            Ok(event) => {
                calls += usize::from(event.is_call());
                bytes += event_bytes(event);
            }
            Err(error) => bytes += error.to_string().len(),
        }
        beginning.push_back((event, events.line()));
        if is_last {
            break;
        }
    }
    beginning
}

/// What the values of an event take, estimated.
fn event_bytes(event: &ObjectEvent) -> usize {
    match &event.kind {
        EventKind::Call { input, .. } => input.heap_bytes(),
        EventKind::Return { output, .. } => output.heap_bytes(),
        EventKind::Unknown { .. } | EventKind::Failed { .. } => 0,
        EventKind::Note { note } => match *note {},
    }
}
