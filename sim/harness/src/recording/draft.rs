//! A recording that is being made: what is added, within the bounds, and where things are.

use std::collections::BTreeMap;

use super::decode::Decoded;
use super::model::{
    FAULTS_MAX, Frame, FrameKind, INCIDENTS_MAX, Incident, InjectedFault, LIVES_MAX, Life,
    MESSAGES_MAX, Message, NUMBERS_MAX, Recording, STATES_MAX, StateChange,
};

/// A recording with what is looked up while it grows.
pub struct Draft<S> {
    /// What there is so far.
    pub recording: Recording<S>,
    kinds: BTreeMap<&'static str, u16>,
    keys: BTreeMap<String, u32>,
    /// Messages by sender, receiver and number on the link, counted with those left out.
    sent: BTreeMap<(u32, u32, u64), u64>,
}

impl<S> Default for Draft<S> {
    fn default() -> Self {
        Self {
            recording: Recording::default(),
            kinds: BTreeMap::new(),
            keys: BTreeMap::new(),
            sent: BTreeMap::new(),
        }
    }
}

impl<S> Draft<S> {
    /// Adds a message; the oldest gives way to it.
    pub fn push_message(&mut self, message: Message) {
        let recording = &mut self.recording;
        if recording.messages.len() >= MESSAGES_MAX
            && let Some(oldest) = recording.messages.pop_front()
        {
            self.sent.remove(&(oldest.from, oldest.to, oldest.ordinal));
            recording.left_out.messages += 1;
        }
        if !message.copy {
            let number = recording.left_out.messages + recording.messages.len() as u64;
            let name = (message.from, message.to, message.ordinal);
            self.sent.insert(name, number);
        }
        recording.messages.push_back(message);
    }

    /// The message of that number on that link, if it is still there.
    pub fn message(&mut self, from: u32, to: u32, ordinal: u64) -> Option<&mut Message> {
        let number = self.sent.get(&(from, to, ordinal))?;
        let place = number.checked_sub(self.recording.left_out.messages)?;
        self.recording
            .messages
            .get_mut(usize::try_from(place).ok()?)
    }

    /// Adds what a process says of itself from now on; the oldest change gives way to it.
    pub fn push_state(&mut self, change: StateChange<S>) {
        let recording = &mut self.recording;
        if recording.states.len() >= STATES_MAX {
            recording.states.pop_front();
            recording.left_out.states += 1;
        }
        recording.states.push_back(change);
    }

    /// Adds a turn of a life.
    pub fn push_life(&mut self, life: Life) {
        if self.recording.lives.len() < LIVES_MAX {
            self.recording.lives.push(life);
        } else {
            self.recording.left_out.lives += 1;
        }
    }

    /// Adds an incident; the oldest gives way to it.
    pub fn push_incident(&mut self, incident: Incident) {
        let recording = &mut self.recording;
        if recording.incidents.len() >= INCIDENTS_MAX {
            recording.incidents.pop_front();
            recording.left_out.incidents += 1;
        }
        recording.incidents.push_back(incident);
    }

    /// Adds a fault.
    pub fn push_fault(&mut self, fault: InjectedFault) {
        if self.recording.faults.len() < FAULTS_MAX {
            self.recording.faults.push(fault);
        } else {
            self.recording.left_out.faults += 1;
        }
    }

    /// A frame as the recording has it: its kind and its keys by their numbers.
    pub fn frame(&mut self, decoded: Decoded) -> Frame {
        let Decoded {
            kind,
            numbers,
            keys,
        } = decoded;
        assert!(
            kind.fields.len() <= NUMBERS_MAX,
            "a frame has {NUMBERS_MAX} numbers at most"
        );
        let kinds = &mut self.recording.kinds;
        let number = *self.kinds.entry(kind.name).or_insert_with(|| {
            kinds.push(FrameKind {
                name: kind.name.to_owned(),
                group: kind.group.to_owned(),
                fields: kind.fields.iter().map(|&name| name.into()).collect(),
            });
            kinds.len() as u16 - 1
        });
        Frame {
            kind: number,
            numbers: numbers[..kind.fields.len()].to_vec(),
            keys: keys.into_iter().map(|key| self.key(key)).collect(),
        }
    }

    fn key(&mut self, key: String) -> u32 {
        let known = &mut self.recording.keys;
        *self.keys.entry(key).or_insert_with_key(|key| {
            known.push(key.clone());
            known.len() as u32 - 1
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_too_many_messages_the_last_are_kept_and_the_others_counted() {
        let mut draft = Draft::<()>::default();
        for ordinal in 0..MESSAGES_MAX as u64 + 5 {
            draft.push_message(Message {
                ordinal,
                ..Message::default()
            });
        }
        assert_eq!(draft.recording.messages.len(), MESSAGES_MAX);
        assert_eq!(draft.recording.left_out.messages, 5);
        assert_eq!(draft.recording.messages[0].ordinal, 5);
        let last = MESSAGES_MAX as u64 + 4;
        let found = draft.message(0, 0, last).expect("the last one is there");
        assert_eq!(found.ordinal, last);
        assert!(draft.message(0, 0, 4).is_none());
    }
}
