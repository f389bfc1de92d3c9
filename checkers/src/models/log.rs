//! A log of records, appended to on conditions (S2 streams, Kafka-like offsets).

use veridical_histories::object::{Action, Action as A, Answer, LogAppend, Value};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::ObjectState;

/// What a log remembers: its length, a hash over all its records, its fencing token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LogState {
    /// The sequence number of the next record.
    pub tail: u64,
    /// XXH3 of each record's hash, seeded with the hash before it; 0 for an empty log.
    pub hash: u64,
    /// Appends that name another token are refused.
    pub fencing_token: Option<String>,
}

impl LogState {
    /// The log after `append`; `None` where its conditions do not hold.
    fn after(&self, append: &LogAppend) -> Option<Self> {
        let is_fenced_out =
            append.fencing_token.is_some() && append.fencing_token != self.fencing_token;
        let is_elsewhere = append
            .match_seq_num
            .is_some_and(|expected| expected != self.tail);
        if is_fenced_out || is_elsewhere {
            return None;
        }
        Some(Self {
            tail: self.tail + append.records,
            hash: append.record_hashes.iter().fold(self.hash, |hash, record| {
                xxh3_64_with_seed(&record.to_le_bytes(), hash)
            }),
            fencing_token: append
                .set_fencing_token
                .clone()
                .or(self.fencing_token.clone()),
        })
    }
}

pub(super) fn step(
    state: &LogState,
    action: &Action,
    output: Option<&Answer>,
) -> Option<ObjectState> {
    match action {
        Action::LogAppend(append) => match (state.after(append), output) {
            (Some(after), None) => Some(ObjectState::Log(after)),
            (None, None) => Some(ObjectState::Log(state.clone())),
            (Some(after), Some(Answer::Value(Value::Int(tail)))) => {
                (after.tail as i64 == *tail).then_some(ObjectState::Log(after))
            }
            _ => None,
        },
        Action::Read | Action::CheckTail => {
            let told = match output {
                None => true,
                Some(Answer::Value(Value::Int(tail))) => *tail == state.tail as i64,
                Some(Answer::Value(Value::List(tail_and_hash))) => {
                    **tail_and_hash
                        == [Value::Int(state.tail as i64), Value::Int(state.hash as i64)]
                }
                Some(_) => false,
            };
            told.then(|| ObjectState::Log(state.clone()))
        }
        A::Write(_) | A::Cas { .. } | A::Delete | A::Append(_) | A::Add(_) | A::Remove(_) => None,
        A::Contains(_) | A::Enqueue(_) | A::Dequeue | A::Push(_) | A::Pop | A::Acquire(_) => None,
        A::Release(_) | A::Increment(_) | A::Txn(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appends_hold_to_their_conditions_and_chain_their_hashes() {
        let append = LogAppend {
            records: 2,
            record_hashes: vec![7, 8],
            set_fencing_token: Some("t".into()),
            match_seq_num: Some(0),
            ..LogAppend::default()
        };
        let after = LogState::default().after(&append).unwrap();
        assert_eq!(after.tail, 2);
        assert_eq!(
            after.hash,
            xxh3_64_with_seed(
                &8u64.to_le_bytes(),
                xxh3_64_with_seed(&7u64.to_le_bytes(), 0)
            )
        );
        assert_eq!(after.after(&append), None);
        let fenced = LogAppend {
            fencing_token: Some("u".into()),
            ..LogAppend::default()
        };
        assert_eq!(after.after(&fenced), None);
    }
}
