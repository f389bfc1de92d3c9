//! The history of a benchmark: to a checker, to a file, or to both, while it runs.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use tokio_util::sync::CancellationToken;
use veridical_checkers::etcd::{EtcdChecker, EtcdOptions, InitialContentError};
use veridical_checkers::{Rejection, Verdict};
use veridical_client::CallError;
use veridical_client::record::{self, Ending};
use veridical_histories::OperationId;
use veridical_histories::etcd::{EtcdEvent, Request};
use veridical_histories::jsonl::Writer;
use veridical_proto::native::request::Body as Ask;
use veridical_proto::native::response::Body as Answer;

use super::event_queue::{EventReceiver, EventSender, event_queue};
use super::present::Present;

/// Answers that the checker lets wait for a sign of who wrote a revision, when a broken
/// connection leaves several candidates.
const EVIDENCE_PATIENCE: usize = 1 << 10;

/// So many times as many answers as operations are asked at once may wait for one that is still
/// under way: it is answered sooner or later, and what it may have written need not be guessed.
const ROUNDS_WAITED: usize = 8;

/// Why a history could not be recorded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordingError {
    /// The file of the history cannot be written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The history is none.
    #[error("the recorded history is malformed, which is a bug of the benchmark: {0}")]
    Malformed(String),
}

/// What the history came to.
#[derive(Debug, Default)]
pub(crate) struct Recorded {
    pub(crate) events: u64,
    /// `None` if nothing was checked.
    pub(crate) verdict: Option<Verdict>,
}

impl Recorded {
    /// Whether the store did not tell the truth.
    pub(crate) fn is_violation(&self) -> bool {
        let verdict = self.verdict.as_ref();
        verdict.is_some_and(|verdict| verdict.violation().is_some())
    }
}

/// Takes events in. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Recorder {
    events: EventSender<EtcdEvent>,
}

/// Calls that were made together.
#[must_use = "each call has an end"]
pub(crate) struct Operations {
    first_client: u64,
    /// The number of the first; the others follow it.
    first_number: u64,
    count: usize,
}

/// The thread that checks and writes.
pub(crate) struct Recording {
    recorder: Recorder,
    thread: JoinHandle<Result<Recorded, RecordingError>>,
}

/// A checker of a store that holds this, of which so many operations are asked at once.
///
/// # Errors
/// A lease may take some of it away.
pub(crate) fn checker_from(
    present: &Present,
    asked_at_once: usize,
) -> Result<EtcdChecker, InitialContentError> {
    let usual = EtcdOptions::default();
    let options = EtcdOptions {
        initial_revision: present.revision,
        evidence_patience: EVIDENCE_PATIENCE,
        patience: usual.patience + ROUNDS_WAITED * asked_at_once,
        ..usual
    };
    EtcdChecker::with_content(options, &present.content)
}

/// Where the history goes.
pub(crate) struct Sinks<'a> {
    /// Knows what the store held before the first operation.
    pub(crate) checker: Option<EtcdChecker>,
    pub(crate) history: Option<&'a Path>,
}

impl Recording {
    /// Starts to record. The first violation cancels `run`: what comes after it is not checked.
    ///
    /// # Errors
    /// The file cannot be created.
    pub(crate) fn start(sinks: Sinks<'_>, run: CancellationToken) -> Result<Self, RecordingError> {
        let writer = match sinks.history {
            Some(path) => {
                let failed = |source| RecordingError::File {
                    path: path.to_owned(),
                    source,
                };
                let file = File::create(path).map_err(failed)?;
                Some((path.to_owned(), Writer::new(BufWriter::new(file))))
            }
            None => None,
        };
        let checker = sinks.checker;
        let (events, waiting) = event_queue();
        let thread = std::thread::spawn(move || take_in(&waiting, writer, checker, &run));
        let recorder = Recorder { events };
        Ok(Self { recorder, thread })
    }

    pub(crate) fn recorder(&self) -> Recorder {
        self.recorder.clone()
    }

    /// Ends the history. Nothing can be recorded after that.
    ///
    /// # Errors
    /// The file could not be written, or the history is none.
    pub(crate) fn finish(self) -> Result<Recorded, RecordingError> {
        self.recorder.events.close();
        self.thread.join().expect("the checker does not panic")
    }
}

impl Recorder {
    /// Records calls that are made together, the first by client `first` and each other one by
    /// the next. To be called before the requests are sent.
    pub(crate) fn call(&self, first: u64, asks: &[Ask]) -> Operations {
        // What is worked out here is not worked out while others wait.
        let first_number = match asks {
            [ask] => self.begin(first, std::iter::once(request(ask))),
            asks => {
                let requests: Vec<_> = asks.iter().map(request).collect();
                self.begin(first, requests.into_iter())
            }
        };
        Operations {
            first_client: first,
            first_number,
            count: asks.len(),
        }
    }

    fn begin(&self, first: u64, requests: impl ExactSizeIterator<Item = Request>) -> u64 {
        let mut clients = first..;
        self.events.begin(requests, |request, number, time_ns| {
            let client = clients.next().expect("there are enough numbers");
            EtcdEvent::call(time_ns, client, OperationId(number), request)
        })
    }

    /// Records how they ended. To be called after the answers have come in.
    pub(crate) fn ended(&self, operations: Operations, results: &[Result<Answer, CallError>]) {
        assert_eq!(operations.count, results.len(), "each call has an end");
        match results {
            [result] => self.end(&operations, std::iter::once(record::ending(result))),
            results => {
                let endings: Vec<_> = results.iter().map(record::ending).collect();
                self.end(&operations, endings.into_iter());
            }
        }
    }

    fn end(&self, operations: &Operations, endings: impl ExactSizeIterator<Item = Ending>) {
        let mut ended = (operations.first_client..).zip(operations.first_number..);
        self.events.send(endings, |ending, time_ns| {
            let (client, number) = ended.next().expect("there are enough numbers");
            let operation = OperationId(number);
            match ending {
                Ending::Known(outcome) => EtcdEvent::returned(time_ns, client, operation, outcome),
                Ending::Unknown => EtcdEvent::unknown(time_ns, client, operation),
                Ending::Failed => EtcdEvent::failed(time_ns, client, operation),
            }
        });
    }
}

fn request(ask: &Ask) -> Request {
    record::request(ask).expect("every request of a workload is an operation")
}

fn take_in(
    events: &EventReceiver<EtcdEvent>,
    mut writer: Option<(PathBuf, Writer<BufWriter<File>>)>,
    mut checker: Option<EtcdChecker>,
    run: &CancellationToken,
) -> Result<Recorded, RecordingError> {
    let mut recorded = Recorded::default();
    let mut taken = Vec::new();
    while events.take(&mut taken) {
        for event in taken.drain(..) {
            recorded.events += 1;
            if let Some((path, writer)) = &mut writer {
                let failed = |source| RecordingError::File {
                    path: path.clone(),
                    source,
                };
                writer.write(&event).map_err(failed)?;
            }
            let Some(checking) = &mut checker else {
                continue;
            };
            match checking.observe_owned(event) {
                Ok(()) => {}
                Err(Rejection::Violation(violation)) => {
                    recorded.verdict = Some(Verdict::Violation(violation));
                    checker = None;
                    run.cancel();
                }
                Err(Rejection::Malformed(malformed)) => {
                    return Err(RecordingError::Malformed(malformed.to_string()));
                }
            }
        }
    }
    if let Some((path, writer)) = writer {
        writer
            .finish()
            .map_err(|source| RecordingError::File { path, source })?;
    }
    if let Some(mut checker) = checker {
        recorded.verdict = Some(checker.finish());
    }
    Ok(recorded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::key;
    use veridical_proto::etcdserverpb::{
        PutRequest, PutResponse, RangeRequest, RangeResponse, ResponseHeader,
    };

    fn header(revision: i64) -> Option<ResponseHeader> {
        Some(ResponseHeader {
            revision,
            member_id: 1,
            ..ResponseHeader::default()
        })
    }

    /// A put at revision 2, and a read that shows the key or not: the verdict, and whether the
    /// run was ended by it.
    fn verdict_of_read(shows_the_put: bool) -> (Verdict, bool) {
        let empty = Present {
            revision: 1,
            content: Vec::new(),
        };
        let sinks = Sinks {
            checker: Some(checker_from(&empty, 1).unwrap()),
            history: None,
        };
        let run = CancellationToken::new();
        let recording = Recording::start(sinks, run.clone()).unwrap();
        let recorder = recording.recorder();
        let put = PutRequest {
            key: key(1),
            value: "x".into(),
            ..PutRequest::default()
        };
        let operations = recorder.call(1, &[Ask::Put(put.clone())]);
        let answer = PutResponse {
            header: header(2),
            ..PutResponse::default()
        };
        recorder.ended(operations, &[Ok(Answer::Put(answer))]);
        let read = RangeRequest {
            key: key(1),
            ..RangeRequest::default()
        };
        let operations = recorder.call(2, &[Ask::Range(read)]);
        let kv = veridical_proto::mvccpb::KeyValue {
            key: put.key,
            value: put.value,
            create_revision: 2,
            mod_revision: 2,
            version: 1,
            lease: 0,
        };
        let answer = RangeResponse {
            header: header(2),
            kvs: if shows_the_put { vec![kv] } else { Vec::new() },
            count: i64::from(shows_the_put),
            more: false,
        };
        recorder.ended(operations, &[Ok(Answer::Range(answer))]);
        drop(recorder);
        let recorded = recording.finish().unwrap();
        assert_eq!(recorded.events, 4);
        (recorded.verdict.unwrap(), run.is_cancelled())
    }

    #[test]
    fn a_read_that_misses_an_acknowledged_write_is_a_violation_and_ends_the_run() {
        assert_eq!(verdict_of_read(true), (Verdict::Ok, false));
        let (verdict, is_ended) = verdict_of_read(false);
        assert!(verdict.violation().is_some() && is_ended);
    }
}
