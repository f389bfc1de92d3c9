//! Values that nobody has seen.
//!
//! Where a gap was filled by a put, and several puts of that key have no known outcome, the
//! next answer tells that the key was written, but often not by which of them: the value
//! was overwritten before anybody read it. The puts are alike in all but their value, so
//! instead of a hypothesis for each of them one *slot* is kept: some put of this key that
//! was called in time. Which one is a matching of slots to puts (Kuhn, "The Hungarian
//! Method for the Assignment Problem", 1955: augmenting paths): what is assumed of one slot
//! is taken back when another one turns out to need the put. No put for a slot is a
//! contradiction; everything else is left open.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use rustc_hash::{FxHashMap, FxHashSet};
use veridical_histories::OperationId;

/// A put of unknown outcome that may fill slots of its key.
#[derive(Clone, Debug)]
pub(super) struct PlainPut {
    pub op: OperationId,
    /// What was acknowledged before its call: it wrote a later revision.
    pub floor: i64,
    pub value: Bytes,
}

/// A revision that some put of the key wrote.
#[derive(Clone, Debug)]
struct Slot {
    revision: i64,
    /// What it is assumed to be.
    op: Option<OperationId>,
    /// The value, where it is known.
    told: Option<Bytes>,
}

impl Slot {
    fn may_be(&self, put: &PlainPut) -> bool {
        put.floor < self.revision && self.told.as_ref().is_none_or(|told| *told == put.value)
    }
}

/// The slots of all keys in one hypothesis.
#[derive(Clone, Debug, Default)]
pub(super) struct Guesses {
    /// Ascending by revision.
    keys: BTreeMap<Bytes, Arc<Vec<Slot>>>,
}

/// A key's slots after one more is filled, or told.
#[derive(Clone, Debug)]
pub(super) struct Filled {
    slots: Vec<Slot>,
    /// The put that is assumed.
    pub op: OperationId,
    /// What the slot in question is assumed to hold.
    pub value: Bytes,
    /// The put that certainly wrote it, if there is no other one. It needs no slot.
    pub certain: Option<OperationId>,
}

impl Guesses {
    /// Bytes held, estimated; shared ones by their share.
    pub fn bytes(&self) -> usize {
        let of = |(key, slots): (&Bytes, &Arc<Vec<Slot>>)| {
            let shared = slots.len() * size_of::<Slot>() / Arc::strong_count(slots);
            shared + key.len() + 2 * size_of::<(Bytes, Arc<Vec<Slot>>)>()
        };
        self.keys.iter().map(of).sum()
    }

    fn slots(&self, key: &Bytes) -> &[Slot] {
        self.keys.get(key).map_or(&[], |slots| slots)
    }

    /// Lets one of `puts`, those of unknown outcome of this key, fill `revision`; one that
    /// wrote `told` if that is known. `None` if none is left.
    pub fn fill(
        &self,
        puts: &[PlainPut],
        key: &Bytes,
        revision: i64,
        told: Option<&Bytes>,
    ) -> Option<Filled> {
        let mut slots = self.slots(key).to_vec();
        if puts.len() <= slots.len() {
            return None;
        }
        slots.push(Slot {
            revision,
            op: None,
            told: told.cloned(),
        });
        matched(slots, puts, revision)
    }

    /// The value at `revision` has become known. `None` if no put can have written it.
    pub fn tell(
        &self,
        puts: &[PlainPut],
        key: &Bytes,
        revision: i64,
        value: &Bytes,
    ) -> Option<Filled> {
        let mut slots = self.slots(key).to_vec();
        let slot = slots.iter_mut().find(|slot| slot.revision == revision)?;
        slot.told = Some(value.clone());
        matched(slots, puts, revision)
    }

    /// The values that the slot at `revision` may turn out to have, each once.
    pub fn values(&self, puts: &[PlainPut], key: &Bytes, revision: i64) -> Vec<Bytes> {
        let slots = self.slots(key).iter();
        let Some(slot) = slots.clone().find(|slot| slot.revision == revision) else {
            return Vec::new();
        };
        let mut seen = FxHashSet::default();
        let possible = puts.iter().filter(|put| slot.may_be(put));
        possible
            .filter(|put| seen.insert(&put.value))
            .map(|put| put.value.clone())
            .collect()
    }

    /// Takes over what [`Guesses::fill`] or [`Guesses::tell`] has found for `key`.
    pub fn adopt(&mut self, key: &Bytes, filled: Filled) {
        if filled.slots.is_empty() {
            self.keys.remove(key);
        } else {
            self.keys.insert(key.clone(), Arc::new(filled.slots));
        }
    }
}

/// Finds a put for the slot at `revision`, and others for those it is taken from.
fn matched(mut slots: Vec<Slot>, puts: &[PlainPut], revision: i64) -> Option<Filled> {
    let start = slots.iter().position(|slot| slot.revision == revision)?;
    let by_op: FxHashMap<OperationId, &PlainPut> = puts.iter().map(|put| (put.op, put)).collect();
    let assumed = slots[start].op.and_then(|op| by_op.get(&op));
    let op = match assumed {
        Some(put) if slots[start].may_be(put) => put.op,
        _ => augment(&mut slots, puts, start)?,
    };
    let slot = &slots[start];
    let value = by_op[&op].value.clone();
    // Where no other put can be meant, it is this one, and both are done with.
    let mut possible = puts.iter().filter(|put| slot.may_be(put));
    let is_only_one = possible.next().is_some() && possible.next().is_none();
    let certain = is_only_one.then_some(op);
    if is_only_one {
        slots.remove(start);
    }
    Some(Filled {
        slots,
        op,
        value,
        certain,
    })
}

/// Breadth first along alternating paths, the latest puts first: what fills a gap was
/// mostly called shortly before. Goes out: the put of the slot that it starts from.
fn augment(slots: &mut [Slot], puts: &[PlainPut], start: usize) -> Option<OperationId> {
    slots[start].op = None;
    let owners: FxHashMap<OperationId, usize> = slots
        .iter()
        .enumerate()
        .filter_map(|(number, slot)| Some((slot.op?, number)))
        .collect();
    // From which slot a put was reached.
    let mut reached: FxHashMap<OperationId, usize> = FxHashMap::default();
    let mut queue = VecDeque::from([start]);
    while let Some(number) = queue.pop_front() {
        for put in puts.iter().rev() {
            if !slots[number].may_be(put) || reached.contains_key(&put.op) {
                continue;
            }
            reached.insert(put.op, number);
            if let Some(owner) = owners.get(&put.op) {
                queue.push_back(*owner);
                continue;
            }
            let mut op = put.op;
            loop {
                let number = reached[&op];
                match slots[number].op.replace(op) {
                    Some(taken) => op = taken,
                    None => return Some(op),
                }
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(op: u64, floor: i64, value: &'static str) -> PlainPut {
        PlainPut {
            op: OperationId(op),
            floor,
            value: Bytes::from_static(value.as_bytes()),
        }
    }

    fn key() -> Bytes {
        Bytes::from_static(b"k")
    }

    fn text(value: &'static str) -> Bytes {
        Bytes::from_static(value.as_bytes())
    }

    /// Fills revisions, and expects that it can be done.
    fn filled(puts: &[PlainPut], revisions: &[i64]) -> Guesses {
        let mut guesses = Guesses::default();
        for revision in revisions {
            let filled = guesses.fill(puts, &key(), *revision, None);
            guesses.adopt(&key(), filled.expect("a put is left"));
        }
        guesses
    }

    #[test]
    fn what_is_assumed_is_taken_back_when_the_put_is_needed_elsewhere() {
        let puts = [put(1, 0, "a"), put(2, 0, "b"), put(3, 5, "c")];
        let mut guesses = filled(&puts, &[3, 7]);
        // Whatever was assumed of 3 and 7, each of them may have written 7.
        for value in ["a", "b", "c"] {
            assert!(guesses.tell(&puts, &key(), 7, &text(value)).is_some());
        }
        assert!(guesses.tell(&puts, &key(), 3, &text("c")).is_none(), "late");
        let told = guesses.tell(&puts, &key(), 7, &text("b")).expect("a way");
        assert_eq!(told.certain, Some(OperationId(2)));
        guesses.adopt(&key(), told);
        // The put that certainly wrote 7 is not among them any more.
        let left = [puts[0].clone(), puts[2].clone()];
        assert!(guesses.tell(&left, &key(), 3, &text("a")).is_some());
        assert!(guesses.tell(&left, &key(), 3, &text("b")).is_none());
    }

    #[test]
    fn more_slots_than_puts_are_a_contradiction() {
        let puts = [put(1, 0, "a"), put(2, 0, "b"), put(3, 9, "c")];
        let guesses = filled(&puts, &[3, 7]);
        assert!(guesses.fill(&puts, &key(), 8, None).is_none());
        assert!(guesses.fill(&puts, &key(), 10, None).is_some());
    }

    #[test]
    fn puts_of_one_value_are_told_apart_by_when_they_were_called() {
        let puts = [put(1, 0, "a"), put(2, 5, "a"), put(3, 0, "b")];
        let mut guesses = filled(&puts, &[7, 8]);
        for revision in [7, 8] {
            let told = guesses.tell(&puts, &key(), revision, &text("a"));
            let told = told.expect("there are two");
            assert_eq!(told.certain, None);
            guesses.adopt(&key(), told);
        }
        assert!(guesses.fill(&puts, &key(), 9, Some(&text("a"))).is_none());
        let last = guesses.fill(&puts, &key(), 9, None).expect("one is left");
        assert_eq!(last.value, text("b"));
        assert_eq!(guesses.values(&puts, &key(), 7), [text("a")]);
    }

    #[test]
    fn the_only_put_there_is_is_certain() {
        let puts = [put(1, 0, "a"), put(2, 5, "b")];
        let filled = Guesses::default().fill(&puts, &key(), 4, None);
        let filled = filled.expect("there is one");
        assert_eq!(
            (filled.certain, filled.value),
            (Some(OperationId(1)), text("a"))
        );
    }
}
