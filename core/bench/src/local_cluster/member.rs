//! A member as a process.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use veridical_proto::etcdserverpb::RangeRequest;
use veridical_proto::native::request::Body as Ask;

use super::LocalClusterError;
use super::program::{MemberPlan, Program};
use super::usage::Usage;
use crate::endpoint::Opening;
use crate::flags::{Batch, WireProtocol};

/// How much of a log is shown when its member has ended.
const LOG_LINES_MAX: usize = 15;

/// How much of a log is read for that.
const LOG_TAIL_BYTES_MAX: u64 = 16 * 1_024;

/// How long a member may take to answer one question whether it serves. Above the time of an
/// election, and below that after which a member itself gives up.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Between two such questions.
const PROBE_PAUSE: Duration = Duration::from_millis(50);

/// Where a member is.
pub(crate) struct Place {
    /// It holds the log.
    pub(crate) folder: PathBuf,
    pub(crate) data_dir: PathBuf,
    pub(crate) host: Ipv4Addr,
    pub(crate) client_port: u16,
    pub(crate) peer_port: u16,
    /// What its command begins with, so that it runs in a network of its own.
    pub(crate) within: Vec<OsString>,
}

/// A member: a place, and a process while it runs.
pub(crate) struct Member {
    name: String,
    place: Place,
    /// What its command begins with besides, so that it has clocks of its own.
    clock: Vec<OsString>,
    child: Option<Child>,
    /// What its process had given to the disk when it was last sent a signal.
    seen_written_bytes: u64,
    /// What its processes used that have ended.
    former: Usage,
    /// What it had used when measuring began.
    baseline: Usage,
}

impl Member {
    /// A member that has not been started.
    pub(crate) fn new(name: String, place: Place) -> Self {
        Self {
            name,
            place,
            clock: Vec::new(),
            child: None,
            seen_written_bytes: 0,
            former: Usage::default(),
            baseline: Usage::default(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// `host:port` for clients.
    pub(crate) fn client_address(&self) -> String {
        format!("{}:{}", self.place.host, self.place.client_port)
    }

    pub(crate) fn client_port(&self) -> u16 {
        self.place.client_port
    }

    pub(crate) fn peer_port(&self) -> u16 {
        self.place.peer_port
    }

    pub(crate) fn peer_url(&self) -> String {
        format!("http://{}:{}", self.place.host, self.place.peer_port)
    }

    fn log_path(&self) -> PathBuf {
        self.place.folder.join("log")
    }

    pub(super) fn failed(
        &self,
        action: &'static str,
    ) -> impl FnOnce(io::Error) -> LocalClusterError {
        let member = self.name.clone();
        move |source| LocalClusterError::Member {
            member,
            action,
            source,
        }
    }

    /// Starts the process.
    ///
    /// # Errors
    /// The system refuses it.
    ///
    /// # Panics
    /// If it runs.
    pub(crate) fn start(
        &mut self,
        program: &Program,
        initial_cluster: &str,
    ) -> Result<(), LocalClusterError> {
        assert!(self.child.is_none(), "{} runs already", self.name);
        let started = self.spawn(program, initial_cluster);
        self.child = Some(started.map_err(self.failed("start it"))?);
        Ok(())
    }

    fn spawn(&self, program: &Program, initial_cluster: &str) -> io::Result<Child> {
        std::fs::create_dir_all(&self.place.folder)?;
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path())?;
        let plan = MemberPlan {
            within: &[&self.place.within[..], &self.clock].concat(),
            name: &self.name,
            data_dir: &self.place.data_dir,
            client_url: &format!("http://{}", self.client_address()),
            peer_url: &self.peer_url(),
            initial_cluster,
        };
        program
            .command(&plan)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
    }

    /// Lets its next processes run within that command, beside what its place needs.
    pub(crate) fn run_within(&mut self, clock: Vec<OsString>) {
        self.clock = clock;
    }

    /// Whether there is a process of it that nobody has waited for.
    pub(crate) fn has_process(&self) -> bool {
        self.child.is_some()
    }

    /// Sends a signal to its process.
    ///
    /// # Errors
    /// The system refuses it.
    pub(crate) fn signal(&mut self, signal: Signal) -> Result<(), LocalClusterError> {
        let Some(child) = &self.child else {
            return Ok(());
        };
        let process_id = Pid::from_child(child);
        // What is left of an ended process does not tell how much memory it had, nor everybody
        // what it wrote.
        let usage = Usage::of_process(child.id()).map_err(self.failed("see what it uses"))?;
        let peak = &mut self.former.peak_resident_bytes;
        *peak = usage.peak_resident_bytes.max(*peak);
        self.seen_written_bytes = usage.written_bytes;
        kill_process(process_id, signal)
            .map_err(io::Error::from)
            .map_err(self.failed("send it a signal"))
    }

    /// How its process has ended, if it has; afterwards there is none.
    ///
    /// # Errors
    /// The system does not tell.
    pub(crate) fn take_exit(&mut self) -> Result<Option<ExitStatus>, LocalClusterError> {
        let Some(child) = &mut self.child else {
            return Ok(None);
        };
        // What a process has used can be read until somebody has waited for it.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let exit = waitid(WaitId::Pid(Pid::from_child(child)), options)
            .map_err(io::Error::from)
            .and_then(|exit| match exit {
                Some(_) => Ok(Some((Usage::of_process(child.id())?, child.wait()?))),
                None => Ok(None),
            })
            .map_err(self.failed("see whether it runs"))?;
        Ok(exit.map(|(mut usage, status)| {
            let seen = std::mem::take(&mut self.seen_written_bytes);
            usage.written_bytes = usage.written_bytes.max(seen);
            self.former = self.former.and_then(usage);
            self.child = None;
            status
        }))
    }

    /// What all its processes have used so far.
    fn usage(&self) -> Result<Usage, LocalClusterError> {
        let Some(child) = &self.child else {
            return Ok(self.former);
        };
        let usage = Usage::of_process(child.id()).map_err(self.failed("see what it uses"))?;
        Ok(self.former.and_then(usage))
    }

    /// Begins to measure what it uses.
    ///
    /// # Errors
    /// The system does not tell.
    pub(crate) fn begin_measuring(&mut self) -> Result<(), LocalClusterError> {
        self.baseline = self.usage()?;
        Ok(())
    }

    /// What it has used since measuring began.
    ///
    /// # Errors
    /// The system does not tell.
    pub(crate) fn measured_usage(&self) -> Result<Usage, LocalClusterError> {
        Ok(self.usage()?.since(self.baseline))
    }

    /// The end of its log.
    pub(crate) fn log_tail(&self) -> String {
        match self.log_end() {
            Ok(text) => last_lines(&text),
            Err(error) => format!("(its log cannot be read: {error})"),
        }
    }

    /// Whether the end of its log has these words, in letters of either case.
    pub(crate) fn log_says(&self, words: &str) -> bool {
        let end = self.log_end();
        end.is_ok_and(|text| text.to_lowercase().contains(words))
    }

    fn log_end(&self) -> io::Result<String> {
        let mut log = File::open(self.log_path())?;
        let length = log.metadata()?.len();
        log.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES_MAX)))?;
        let mut bytes = Vec::new();
        log.take(LOG_TAIL_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES_MAX)..].join("\n")
}

impl Drop for Member {
    /// Nothing that the benchmark started outlives it.
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // An error says that it has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Waits until a member answers a linearizable read, for which it has to have applied
/// everything that was committed before.
pub(crate) async fn wait_until_caught_up(address: String) {
    let opening = Opening {
        protocol: WireProtocol::Grpc,
        batch: Batch::Of(1),
        shards: vec![vec![address]],
    };
    loop {
        let asked = tokio::time::timeout(PROBE_TIMEOUT, async {
            let mut connection = opening.open(0).await?;
            let read = RangeRequest {
                key: bytes::Bytes::from_static(b"\0"),
                ..RangeRequest::default()
            };
            let answer = connection.call(Ask::Range(read)).await;
            answer.map_err(|error| error.to_string())
        });
        if let Ok(Ok(_)) = asked.await {
            return;
        }
        tokio::time::sleep(PROBE_PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_of_a_log_is_its_last_lines() {
        let text: String = (0..100).map(|number| format!("{number}\n")).collect();
        let tail = last_lines(&text);
        assert!(tail.starts_with("85\n"), "{tail}");
        assert!(tail.ends_with("\n99"), "{tail}");
        assert_eq!(last_lines(""), "");
    }
}
