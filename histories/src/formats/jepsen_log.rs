//! Jepsen's histories as lines of a log, one register each.

use std::io::BufRead;

use super::edn::{Form, Parser};
use super::error::{Place, ReadError};
use super::jepsen::{Kind, Process, Processes, request, to_value};
use crate::object::{Action, Answer, ObjectEvent, Request, Value};

/// Reads the lines of a Jepsen log of one register, tabs between the fields:
/// `INFO  jepsen.util - 0<TAB>:invoke<TAB>:read<TAB>nil`.
#[derive(Debug)]
pub struct LogReader<R> {
    source: R,
    processes: Processes,
    line: u64,
    buffer: String,
}

/// The fields of a line, each with the byte at which it begins.
struct Fields<'a> {
    process: (usize, &'a str),
    kind: (usize, &'a str),
    f: (usize, &'a str),
    value: (usize, &'a str),
}

/// Where in a line something else was expected, and what.
type Unexpected = (usize, &'static str);

impl<'a> Fields<'a> {
    /// The fields of `line`; `None` for a line of something else in the same log.
    fn of(line: &'a str) -> Result<Option<Self>, Unexpected> {
        let fields_at = match line.find('\t') {
            Some(tab) => line[..tab].rfind(' ').map_or(0, |space| space + 1),
            None if line.contains(" - ") => return Ok(None),
            None => return Err((line.len(), "a tab after the process")),
        };
        let mut places = Vec::new();
        let mut at = fields_at;
        for field in line[fields_at..].split('\t') {
            places.push((at, field.trim()));
            at += field.len() + 1;
        }
        let [process, kind, f, value, ..] = places[..] else {
            let expected = "process, type, function and value, tabs between";
            return Err((line.len(), expected));
        };
        Ok(Some(Self {
            process,
            kind,
            f,
            value,
        }))
    }

    /// The value as an EDN form.
    fn form(&self) -> Result<Form, Unexpected> {
        let text = format!("{{:value {}}}", self.value.1);
        let parsed = Parser::new(text.as_bytes()).next_form();
        let value = match parsed {
            Ok(Some((_, map))) => map.get("value").cloned(),
            Ok(None) | Err(_) => None,
        };
        value.ok_or((self.value.0, "a value"))
    }
}

impl<R: BufRead> LogReader<R> {
    /// A reader from `source`.
    pub fn new(source: R) -> Self {
        Self {
            source,
            processes: Processes::default(),
            line: 0,
            buffer: String::new(),
        }
    }

    fn next_event(&mut self) -> Result<Option<ObjectEvent>, ReadError> {
        loop {
            self.buffer.clear();
            self.line += 1;
            if self.source.read_line(&mut self.buffer)? == 0 {
                return Ok(None);
            }
            let buffer = std::mem::take(&mut self.buffer);
            let event = self.event(buffer.trim_end_matches(['\n', '\r']));
            self.buffer = buffer;
            let event = event.map_err(|(at, expected)| {
                let place = Place {
                    line: self.line,
                    column: at as u64 + 1,
                };
                ReadError::syntax(place, expected)
            })?;
            if let Some(event) = event {
                return Ok(Some(event));
            }
        }
    }

    fn event(&mut self, line: &str) -> Result<Option<ObjectEvent>, Unexpected> {
        if line.trim().is_empty() {
            return Ok(None);
        }
        let Some(fields) = Fields::of(line)? else {
            return Ok(None);
        };
        let process = match fields.process.1.parse::<i64>() {
            Ok(number) => Process::Number(number),
            Err(_) if fields.process.1 == ":nemesis" => return Ok(None),
            Err(_) => return Err((fields.process.0, "the number of a process")),
        };
        let kind = (fields.kind.1.strip_prefix(':'))
            .and_then(Kind::from_name)
            .ok_or((fields.kind.0, ":invoke, :ok, :fail or :info"))?;
        if kind == Kind::Invoke {
            self.called(process, &fields).map(Some)
        } else {
            self.ended(process, kind, &fields).map(Some)
        }
    }

    fn called(&mut self, process: Process, fields: &Fields<'_>) -> Result<ObjectEvent, Unexpected> {
        let f = (fields.f.1.strip_prefix(':')).ok_or((fields.f.0, ":read, :write or :cas"))?;
        let form = fields.form()?;
        let of_register = |action| Request {
            key: Value::Nil,
            action,
        };
        // One register: a pair is [old new], never [key value].
        let request = match f {
            "read" => Some(of_register(Action::Read)),
            "write" => Some(of_register(Action::Write(to_value(&form)))),
            f => request(f, &form, false, &process),
        };
        let request = request.ok_or((fields.f.0, ":read, :write or :cas with its value"))?;
        let expected = "the end of this process's operation before the next";
        let call = self.processes.call(process, self.line, request);
        call.ok_or((fields.process.0, expected))
    }

    fn ended(
        &mut self,
        process: Process,
        kind: Kind,
        fields: &Fields<'_>,
    ) -> Result<ObjectEvent, Unexpected> {
        if !fields.f.1.starts_with(':') {
            return Err((fields.f.0, ":read, :write or :cas"));
        }
        let open = self.processes.open.remove(&process);
        let (op, request) = open.ok_or((fields.kind.0, "an :invoke before this"))?;
        let (time_ns, session) = (self.line, self.processes.session(&process));
        let is_timeout = fields.value.1 == ":timed-out";
        let returned = |answer| ObjectEvent::returned(time_ns, session, op, answer);
        Ok(match (kind, &request.action) {
            (Kind::Ok, Action::Read) => returned(Answer::Value(to_value(&fields.form()?))),
            (Kind::Ok, Action::Cas { .. }) => returned(Answer::Applied(true)),
            (Kind::Ok, _) => returned(Answer::Done),
            (Kind::Fail, Action::Cas { .. }) if !is_timeout => returned(Answer::Applied(false)),
            (Kind::Fail, _) => ObjectEvent::failed(time_ns, session, op),
            (Kind::Info, _) => {
                self.processes.lose(&process);
                ObjectEvent::unknown(time_ns, session, op)
            }
            (Kind::Invoke, _) => unreachable!("calls are no ends"),
        })
    }
}

impl<R: BufRead> Iterator for LogReader<R> {
    type Item = Result<ObjectEvent, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_event().transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OperationId;

    #[test]
    fn lines_of_a_log_are_read_as_porcupine_reads_them() {
        let log = "INFO  jepsen.util - 0\t:invoke\t:read\tnil\n\
            INFO  jepsen.util - 1\t:invoke\t:cas\t[2 0]\n\
            INFO  jepsen.util - 0\t:fail\t:read\t:timed-out\n\
            INFO  jepsen.util - 1\t:fail\t:cas\t[2 0]\n\
            INFO  jepsen.util - 0\t:invoke\t:write\t4\n\
            INFO  jepsen.util - 0\t:info\t:write\t:timed-out\n";
        let events: Vec<ObjectEvent> = LogReader::new(log.as_bytes())
            .collect::<Result<_, _>>()
            .unwrap();
        assert_eq!(events[2], ObjectEvent::failed(3, 0, OperationId(0)));
        assert_eq!(
            events[3],
            ObjectEvent::returned(4, 1, OperationId(1), Answer::Applied(false))
        );
        assert_eq!(events[5], ObjectEvent::unknown(6, 0, OperationId(2)));
    }

    #[test]
    fn a_bad_line_is_named_and_the_rest_is_read() {
        let log = "INFO  jepsen.util - 0\t:invoke\t:read\tnil\n\
            INFO  jepsen.util - 0\t:what\t:read\t4\n\
            INFO  jepsen.util - 0\t:ok\t:read\t4\n";
        let read: Vec<_> = LogReader::new(log.as_bytes()).collect();
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
}
