//! Jepsen's histories as lines of a log, one register each.

use std::io::BufRead;

use super::edn::{Form, Parser};
use super::jepsen::{Kind, Open, Process, Processes, request, to_value};
use crate::object::{Action, Answer, ObjectEvent, Request, Value};
use crate::reading::{Cut, EventReader};
use crate::reading::{Lines, NextLine};
use crate::reading::{Place, ReadError};

/// Reads the lines of a Jepsen log of one register: `INFO  jepsen.util - 0 :invoke :read nil`.
/// Between the fields are tabs or blanks, and what a log writes before an operation may be
/// missing.
///
/// `:fail` of a compare-and-swap without an error behind it says that the comparison was
/// refused, as Porcupine has it; with one, or for anything else, nothing has happened.
#[derive(Debug)]
pub struct LogReader<R> {
    lines: Lines<R>,
    processes: Processes,
    /// Whether the source ended too early: a last line without its end may be half a line.
    cut: Cut,
    /// The event of a line that also showed an error.
    event: Option<ObjectEvent>,
}

/// The fields of a line, each with the byte at which it begins.
#[derive(Debug)]
struct Fields<'a> {
    process: (usize, &'a str),
    kind: (usize, &'a str),
    f: (usize, &'a str),
    /// The value, and the error behind it.
    value: (usize, &'a str),
}

/// Where in a line something else was expected, and what.
type Unexpected = (usize, &'static str);

/// What a logger writes before a message.
const MESSAGE_MARK: &str = " - ";

/// The words of `text`, which begins at the byte `at` of its line, each with its place.
fn words(text: &str, at: usize) -> impl Iterator<Item = (usize, &str)> {
    let begin = text.as_ptr() as usize;
    text.split_whitespace()
        .map(move |word| (at + (word.as_ptr() as usize - begin), word))
}

/// The part of a line that the logged program wrote, and where it begins.
fn message(line: &str) -> (usize, &str) {
    match line.find(MESSAGE_MARK) {
        Some(mark) => {
            let at = mark + MESSAGE_MARK.len();
            (at, &line[at..])
        }
        None => (0, line),
    }
}

/// Whether a line is about an operation of a process.
pub(super) fn is_operation(line: &str) -> bool {
    let (at, message) = message(line);
    let mut words = words(message, at);
    let process = words.next();
    process.is_some_and(|(_, word)| word.parse::<i64>().is_ok())
        && words.next().is_some_and(|(_, word)| {
            let kind = word.strip_prefix(':').and_then(Kind::from_name);
            kind.is_some()
        })
}

impl<'a> Fields<'a> {
    /// The fields of `line`; `None` for a line of something else in the same log.
    fn of(line: &'a str) -> Result<Option<Self>, Unexpected> {
        let (at, message) = message(line);
        let end = line.len();
        let mut words = words(message, at);
        let process = words.next().ok_or((end, "the number of a process"))?;
        // What the nemesis does is no operation.
        if process.1 == ":nemesis" {
            return Ok(None);
        }
        let is_number = process.1.parse::<i64>().is_ok();
        let (kind, f) = (words.next(), words.next());
        let is_keyword =
            |word: Option<(usize, &str)>| word.is_some_and(|(_, word)| word.starts_with(':'));
        let names_kind = kind
            .is_some_and(|(_, word)| word.strip_prefix(':').and_then(Kind::from_name).is_some());
        // Half of an operation is not to be taken for something else.
        let is_about_operation = is_number || names_kind || (is_keyword(kind) && is_keyword(f));
        if !is_about_operation && at > 0 {
            return Ok(None);
        }
        let expected = "process, type, function and value, tabs or blanks between";
        let kind = kind.ok_or((end, expected))?;
        let f = f.ok_or((end, expected))?;
        let value = words.next().ok_or((end, expected))?;
        Ok(Some(Self {
            process,
            kind,
            f,
            value: (value.0, line[value.0..].trim_end()),
        }))
    }

    /// The value as an EDN form, and whether an error stands behind it.
    fn form(&self) -> Result<(Form, bool), Unexpected> {
        let (at, text) = self.value;
        let unexpected = (at, "a value");
        // A line is bounded, and so is what it takes.
        let mut parser = Parser::new(text.as_bytes(), u64::MAX);
        let mut next = || match parser.next_inner_form() {
            Ok(form) => Ok(form),
            Err(_) => Err(unexpected),
        };
        let value = next()?.ok_or(unexpected)?;
        if value.symbol().is_some() {
            return Err(unexpected);
        }
        let has_error = next()?.is_some();
        match has_error && next()?.is_some() {
            true => Err((at, "a value and at most one error behind it")),
            false => Ok((value, has_error)),
        }
    }
}

impl<R: BufRead> LogReader<R> {
    /// A reader from `source`, of lines of at most `line_length_max` bytes.
    pub(crate) fn new(source: R, line_length_max: usize, cut: Cut) -> Self {
        Self {
            lines: Lines::new(source, line_length_max),
            processes: Processes::default(),
            cut,
            event: None,
        }
    }

    fn next_event(&mut self) -> Result<Option<ObjectEvent>, ReadError> {
        if let Some(event) = self.event.take() {
            return Ok(Some(event));
        }
        loop {
            match self.lines.advance()? {
                NextLine::End => return Ok(None),
                NextLine::TooLong => return Err(self.lines.too_long()),
                NextLine::Line => {}
            }
            let number = self.lines.line();
            let place = |at: usize| Place {
                line: number,
                column: at as u64 + 1,
            };
            let bytes = self.lines.bytes();
            let line = std::str::from_utf8(bytes)
                .map_err(|error| ReadError::syntax(place(error.valid_up_to()), "UTF-8"))?;
            if self.cut.is_set() && !self.lines.is_ended() {
                return Err(ReadError::syntax(place(bytes.len()), "the end of the line"));
            }
            match event(&mut self.processes, number, line, &place)? {
                (event, Some(error)) => {
                    self.event = event;
                    return Err(error);
                }
                (Some(event), None) => return Ok(Some(event)),
                (None, None) => {}
            }
        }
    }
}

/// What a line says: an event, if it is about an operation, and what is wrong with the one
/// before it of the same process.
fn event(
    processes: &mut Processes,
    line_number: u64,
    line: &str,
    place: &impl Fn(usize) -> Place,
) -> Result<(Option<ObjectEvent>, Option<ReadError>), ReadError> {
    let syntax = |(at, expected): Unexpected| ReadError::syntax(place(at), expected);
    let Some(fields) = Fields::of(line).map_err(syntax)? else {
        return Ok((None, None));
    };
    let process = match fields.process.1.parse::<i64>() {
        Ok(number) => Process::Number(number),
        Err(_) => return Err(syntax((fields.process.0, "the number of a process"))),
    };
    let kind = (fields.kind.1.strip_prefix(':'))
        .and_then(Kind::from_name)
        .ok_or((fields.kind.0, ":invoke, :ok, :fail or :info"))
        .map_err(syntax)?;
    let f = (fields.f.1.strip_prefix(':'))
        .ok_or((fields.f.0, ":read, :write or :cas"))
        .map_err(syntax)?;
    let at = place(fields.process.0);
    if kind == Kind::Invoke {
        let request = called(f, &fields, &process);
        return match request {
            Ok(request) => {
                let (event, lost) = processes.call(process, at, line_number, f, request);
                Ok((Some(event), lost))
            }
            Err(unexpected) => {
                processes.call_unreadable(process);
                Err(syntax(unexpected))
            }
        };
    }
    let open = processes.end(&process, at, f)?;
    let Open::Readable { op, request, .. } = open else {
        return Ok((None, None));
    };
    let session = processes.session(&process);
    let (value, has_error) = fields.form().map_err(syntax)?;
    let is_timeout = matches!(&value, Form::Keyword(name) if name == "timed-out");
    let returned = |answer| ObjectEvent::returned(line_number, session, op, answer);
    let event = match (kind, &request.action) {
        (Kind::Ok, Action::Read) => returned(Answer::Value(to_value(&value))),
        (Kind::Ok, Action::Cas { .. }) => returned(Answer::Applied(true)),
        (Kind::Ok, _) => returned(Answer::Done),
        (Kind::Fail, Action::Cas { .. }) if !is_timeout && !has_error => {
            returned(Answer::Applied(false))
        }
        (Kind::Fail, _) => ObjectEvent::failed(line_number, session, op),
        (Kind::Info, _) => {
            processes.lose(&process);
            ObjectEvent::unknown(line_number, session, op)
        }
        (Kind::Invoke, _) => unreachable!("calls are no ends"),
    };
    Ok((Some(event), None))
}

fn called(f: &str, fields: &Fields<'_>, process: &Process) -> Result<Request, Unexpected> {
    let (form, has_error) = fields.form()?;
    if has_error {
        return Err((fields.value.0, "one value"));
    }
    // A log is about one register, so that a pair is [old new], never [key value].
    let request = match f {
        "read" => Some(Request {
            key: Value::Nil,
            action: Action::Read,
        }),
        f => request(f, Value::Nil, &form, process),
    };
    request.ok_or((fields.f.0, ":read, :write or :cas with its value"))
}

impl<R: BufRead> Iterator for LogReader<R> {
    type Item = Result<ObjectEvent, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_event().transpose()
    }
}

impl<R: BufRead + Send> EventReader<ObjectEvent> for LogReader<R> {
    fn line(&self) -> Option<u64> {
        Some(self.lines.line())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OperationId;

    fn read(log: &str) -> Vec<Result<ObjectEvent, ReadError>> {
        LogReader::new(log.as_bytes(), 1 << 10, Cut::default()).collect()
    }

    const LOG: &str = "INFO  jepsen.util - 0\t:invoke\t:read\tnil\n\
        INFO  jepsen.util - 1\t:invoke\t:cas\t[2 0]\n\
        INFO  jepsen.util - 0\t:fail\t:read\t:timed-out\n\
        INFO  jepsen.util - 1\t:fail\t:cas\t[2 0]\n\
        INFO  jepsen.util - 0\t:invoke\t:write\t4\n\
        INFO  jepsen.util - 0\t:info\t:write\t:timed-out\n";

    #[test]
    fn lines_of_a_log_are_read_as_porcupine_reads_them() {
        let events: Vec<ObjectEvent> = read(LOG).into_iter().collect::<Result<_, _>>().unwrap();
        assert_eq!(events[2], ObjectEvent::failed(3, 0, OperationId(0)));
        assert_eq!(
            events[3],
            ObjectEvent::returned(4, 1, OperationId(1), Answer::Applied(false))
        );
        assert_eq!(events[5], ObjectEvent::unknown(6, 0, OperationId(2)));
    }

    #[test]
    fn blanks_for_tabs_and_lines_without_a_logger_are_the_same_history() {
        let all = |log: &str| -> Vec<ObjectEvent> {
            read(log).into_iter().collect::<Result<_, _>>().unwrap()
        };
        let expected = all(LOG);
        let spellings = [
            LOG.replace('\t', " "),
            LOG.replace('\t', "    "),
            LOG.replace("INFO  jepsen.util - ", ""),
            LOG.replace("INFO  jepsen.util - ", "").replace('\t', "  "),
            LOG.replace('\n', " \r\n"),
        ];
        for spelling in spellings {
            assert_eq!(all(&spelling), expected, "{spelling}");
            assert!(spelling.lines().all(is_operation));
        }
    }

    #[test]
    fn a_comparison_was_refused_only_where_no_error_says_otherwise() {
        let end = |line: &str| {
            let log = format!("0 :invoke :cas [1 2]\n{line}\n");
            read(&log).pop().unwrap().unwrap()
        };
        let refused = ObjectEvent::returned(2, 0, OperationId(0), Answer::Applied(false));
        let nothing_happened = ObjectEvent::failed(2, 0, OperationId(0));
        assert_eq!(end("0 :fail :cas [1 2]"), refused);
        assert_eq!(
            end("0\t:fail\t:cas\t[1 2]\t:no-connection"),
            nothing_happened
        );
        assert_eq!(end("0 :fail :cas [1 2] {:type :refused}"), nothing_happened);
        assert_eq!(end("0 :fail :cas :timed-out"), nothing_happened);
    }

    #[test]
    fn a_bad_line_is_named_and_the_rest_is_read() {
        let log = "INFO  jepsen.util - 0\t:invoke\t:read\tnil\n\
            INFO  jepsen.util - 0\t:what\t:read\t4\n\
            INFO  jepsen.core - Everything is fine\n\
            INFO  jepsen.db - n1 :setup\n\
            INFO  jepsen.util - :nemesis :info :start\n\
            INFO  jepsen.util - 0\t:ok\t:read\t4\n";
        let read = read(log);
        assert!(
            matches!(
                read[1],
                Err(ReadError::Syntax {
                    line: 2,
                    column: 23,
                    ..
                })
            ),
            "{read:?}"
        );
        assert!(read[2].is_ok());
    }

    #[test]
    fn no_damaged_line_about_an_operation_is_taken_for_another_line_of_the_log() {
        for line in [
            "INFO  jepsen.util - 0",
            "INFO  jepsen.util - 0 :ok",
            "INFO  jepsen.util - 0 :ok :read",
            "INFO  jepsen.util - x :ok :read 4",
            "INFO  jepsen.util  0 :ok :read 4",
            "INFO  jepsen.util - 0 :ok :write 4",
            "INFO  jepsen.util - 1 :ok :read 4",
            "INFO  jepsen.util - 0 :ok :read [4",
            "INFO  jepsen.util - 0 :invoke :read nil",
            "INFO  jepsen.util - ",
            "INFO",
        ] {
            let log = format!("INFO  jepsen.util - 0\t:invoke\t:read\tnil\n{line}\n");
            let read = read(&log);
            assert!(read.iter().any(Result::is_err), "{line}: {read:?}");
        }
    }
}
