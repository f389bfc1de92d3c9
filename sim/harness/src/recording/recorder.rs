//! Makes the recording of a run while it goes on.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use veridical_world::{
    DropCause, Event, EventKind, Fault, FaultId, ProcessId, SentUnit, TraceListener,
};

use super::decode::DecodeUnit;
use super::draft::Draft;
use super::model::{
    FRAMES_PER_MESSAGE_MAX, Fate, Frame, Incident, InjectedFault, Life, Message, RecordedState,
    Recording, StateChange, Turn,
};

/// Looks at a process's state, whenever the process sends something.
pub type Look<S> = Box<dyn Fn() -> S + Send>;

/// Makes a recording. Cheap to clone: all clones write the same one.
pub struct Recorder<S>(Arc<Mutex<Work<S>>>);

impl<S> Clone for Recorder<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

struct Work<S> {
    draft: Draft<S>,
    decode: DecodeUnit,
    /// By process: how its state is told, and what it was last.
    followed: Vec<Option<(Look<S>, S)>>,
}

impl<S: RecordedState> Recorder<S> {
    /// A recorder at the start of a run; `decode` says what messages mean.
    pub fn new(decode: DecodeUnit) -> Self {
        Self(Arc::new(Mutex::new(Work {
            draft: Draft::default(),
            decode,
            followed: Vec::new(),
        })))
    }

    fn work(&self) -> MutexGuard<'_, Work<S>> {
        // A run that panicked is shown, too.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on the state of the process is told by `look`, which must not call the
    /// world.
    pub fn follow(&self, process: ProcessId, at_ns: u64, look: Look<S>) {
        let mut work = self.work();
        let place = process.0 as usize;
        if work.followed.len() <= place {
            work.followed.resize_with(place + 1, || None);
        }
        work.followed[place] = Some((look, S::default()));
        work.look(process.0, at_ns);
    }

    /// The state of the process may have changed.
    pub fn look(&self, process: ProcessId, at_ns: u64) {
        self.work().look(process.0, at_ns);
    }

    /// Takes out what was recorded.
    pub fn take(&self, end_ns: u64) -> Recording<S> {
        let mut recording = std::mem::take(&mut self.work().draft).recording;
        recording.end_ns = end_ns;
        recording
    }
}

impl<S: RecordedState> Work<S> {
    fn look(&mut self, process: u32, at_ns: u64) {
        let Some(Some((look, last))) = self.followed.get_mut(process as usize) else {
            return;
        };
        let state = look();
        if state != *last {
            *last = state.clone();
            self.draft.push_state(StateChange {
                at_ns,
                process,
                state,
            });
        }
    }

    fn end(&mut self, link: (u32, u32), ordinal: u64, ended_ns: u64, fate: Fate) {
        let Some(message) = self.draft.message(link.0, link.1, ordinal) else {
            return;
        };
        if message.ended_ns.is_none() {
            message.ended_ns = Some(ended_ns);
            message.fate = fate;
        } else {
            let copy = Message {
                ended_ns: Some(ended_ns),
                fate,
                copy: true,
                ..message.clone()
            };
            self.draft.push_message(copy);
        }
    }

    fn life(&mut self, at_ns: u64, process: u32, turn: Turn) {
        self.draft.push_life(Life {
            at_ns,
            process,
            turn,
        });
    }
}

impl<S: RecordedState> TraceListener for Recorder<S> {
    fn process_added(&mut self, _: ProcessId, name: &str) {
        self.work().draft.recording.processes.push(name.to_owned());
    }

    fn event(&mut self, event: &Event) {
        let at_ns = event.at_ns;
        let mut work = self.work();
        if let EventKind::Heal { id } = event.kind {
            let faults = &mut work.draft.recording.faults;
            if let Some(fault) = faults.iter_mut().rev().find(|fault| fault.id == id) {
                fault.ended_ns = Some(at_ns);
            }
        }
        let Some(ProcessId(process)) = event.process else {
            return;
        };
        match &event.kind {
            EventKind::Start { .. } => work.life(at_ns, process, Turn::Started),
            EventKind::Exit { panicked, .. } => {
                let turn = if *panicked {
                    Turn::Panicked
                } else {
                    Turn::Exited
                };
                work.life(at_ns, process, turn);
            }
            EventKind::Crash { power } => {
                let turn = if *power {
                    Turn::PowerLost
                } else {
                    Turn::Killed
                };
                work.life(at_ns, process, turn);
                if let Some(followed) = work.followed.get_mut(process as usize) {
                    *followed = None;
                }
            }
            EventKind::Pause => work.life(at_ns, process, Turn::Paused),
            EventKind::Resume => work.life(at_ns, process, Turn::Resumed),
            EventKind::Deliver { from, ordinal, .. } => {
                work.end((from.0, process), *ordinal, at_ns, Fate::Delivered);
            }
            EventKind::Drop { to, ordinal, cause } => {
                let fate = match cause {
                    DropCause::Loss => Fate::Lost,
                    DropCause::Partition => Fate::Cut,
                    DropCause::HostDown | DropCause::NoConnection => Fate::Unheard,
                };
                work.end((process, to.0), *ordinal, at_ns, fate);
            }
            EventKind::Corrupt { to, ordinal } => {
                if let Some(message) = work.draft.message(process, to.0, *ordinal) {
                    message.corrupt = true;
                }
            }
            kind => {
                if let Some(text) = incident(kind, &work.draft.recording.processes) {
                    work.draft.push_incident(Incident {
                        at_ns,
                        process,
                        text,
                    });
                }
            }
        }
    }

    fn unit_sent(&mut self, unit: SentUnit<'_>) {
        let mut work = self.work();
        let (from, to) = (unit.from.0, unit.to.0);
        work.look(from, unit.at_ns);
        let decode = work.decode;
        let draft = &mut work.draft;
        let name = |id: u32| {
            let name = draft.recording.processes.get(id as usize);
            name.map(String::as_str).unwrap_or_default()
        };
        let decoded = decode(name(from), name(to), unit.data);
        let more_frames = decoded.len().saturating_sub(FRAMES_PER_MESSAGE_MAX) as u32;
        let frames: Vec<Frame> = decoded
            .into_iter()
            .take(FRAMES_PER_MESSAGE_MAX)
            .map(|frame| draft.frame(frame))
            .collect();
        draft.push_message(Message {
            sent_ns: unit.at_ns,
            from,
            to,
            ordinal: unit.ordinal,
            bytes: unit.data.len() as u64,
            frames,
            more_frames,
            ..Message::default()
        });
    }

    fn fault_injected(&mut self, at_ns: u64, id: FaultId, fault: &Fault) {
        self.work().draft.push_fault(InjectedFault {
            id: id.0,
            at_ns,
            ended_ns: None,
            fault: fault.clone(),
        });
    }
}

/// What is worth a mark of its own beside messages, lives and faults.
fn incident(kind: &EventKind, processes: &[String]) -> Option<String> {
    let name = |id: &ProcessId| {
        let name = processes.get(id.0 as usize);
        name.map(String::as_str).unwrap_or_default()
    };
    Some(match kind {
        EventKind::DiskError {
            operation, errno, ..
        } => format!("the disk fails: {operation:?}, errno {errno}"),
        EventKind::CrashedFile {
            file,
            pending,
            length,
            ..
        } => format!(
            "the crash caught file {file} with {pending} pending operations; {length} bytes are left"
        ),
        EventKind::Damage {
            file,
            offset,
            length,
            ..
        } => format!("{length} bytes of file {file} at {offset} are damaged"),
        EventKind::CrashedNames { lost: 0, .. } => return None,
        EventKind::CrashedNames { pending, lost } => {
            format!("the crash took {lost} of {pending} pending changes of names")
        }
        EventKind::Clock { drift_ppm, jump_ns } => format!(
            "the clock runs {drift_ppm} millionths fast{}",
            match jump_ns {
                0 => String::new(),
                jump_ns => format!(", jumped by {} ms", jump_ns / 1_000_000),
            }
        ),
        EventKind::Reset { from } => {
            format!("a connection with {} was reset", name(from))
        }
        EventKind::Refused { to, port } => {
            format!("{} refused a connection to port {port}", name(to))
        }
        // These are shown otherwise (lives, messages, faults), or tell a person nothing.
        EventKind::Start { .. }
        | EventKind::Exit { .. }
        | EventKind::Crash { .. }
        | EventKind::Pause
        | EventKind::Resume
        | EventKind::Send { .. }
        | EventKind::Deliver { .. }
        | EventKind::Drop { .. }
        | EventKind::Duplicate { .. }
        | EventKind::Corrupt { .. }
        | EventKind::Hold { .. }
        | EventKind::Release { .. }
        | EventKind::Connect { .. }
        | EventKind::EndOfStream { .. }
        | EventKind::Disk { .. }
        | EventKind::Fault { .. }
        | EventKind::Heal { .. }
        | EventKind::Custom { .. } => return None,
    })
}
