//! What is altered in a log.

use veridical_world::Rng;

use super::Forged;
use super::log_file::{
    CLAIM_AT, ENTRY, Frame, HARD_STATE, KIND_AT, MEMBER, Segment, half_word, put_half_word,
    put_word, word,
};

/// No frame is of this kind.
const NO_KIND: u8 = 7;

/// The kind of the records that say which segment is the oldest.
const OLDEST_SEGMENT: u8 = 6;

/// Of so many newest records one is altered, where a later one would make up for it.
const NEWEST: usize = 2;

/// A forgery in one of the segments, oldest first: its number, and the segment as it is then.
pub fn forge(segments: &[Segment], what: Forged, rng: &mut Rng) -> Option<(usize, Segment)> {
    let last = segments.len().checked_sub(1)?;
    match what {
        Forged::ClosedRecord => alter_closed(segments, rng, alter_payload),
        Forged::ClosedExchange => alter_closed(segments, rng, exchange),
        Forged::SegmentHeader => {
            let segment = alter_header(segments.get(last.checked_sub(1)?)?, &segments[last], rng);
            Some((last, segment?))
        }
        Forged::TornInside => Some((last, tear_inside(&segments[last], rng)?)),
        Forged::EntryIndex
        | Forged::EntryTerm
        | Forged::HardStateTerm
        | Forged::Vote
        | Forged::Incarnation
        | Forged::Owner
        | Forged::Kind
        | Forged::Length
        | Forged::Claim => Some((last, alter_last(&segments[last], what, rng)?)),
        Forged::SnapshotData
        | Forged::SnapshotExchange
        | Forged::SnapshotCount
        | Forged::SnapshotPlace
        | Forged::SnapshotCluster => None,
    }
}

/// Alters one of the segments that the next one names by a checksum.
fn alter_closed(
    segments: &[Segment],
    rng: &mut Rng,
    alter: impl Fn(&mut Segment, &mut Rng) -> Option<()>,
) -> Option<(usize, Segment)> {
    let place = pick(rng, &closed(segments))?;
    let mut segment = segments[place].clone();
    let end = segments[place + 1].previous_end();
    segment.frames.retain(|frame| (frame.start as u64) < end);
    alter(&mut segment, rng)?;
    Some((place, segment))
}

fn pick<T: Clone>(rng: &mut Rng, among: &[T]) -> Option<T> {
    let at = (!among.is_empty()).then(|| rng.index(among.len()))?;
    among.get(at).cloned()
}

/// The segments that the next one names by a checksum. Older ones than the log needs may be
/// there, too, and nobody reads them.
fn closed(segments: &[Segment]) -> Vec<usize> {
    let Some(last) = segments.last() else {
        return Vec::new();
    };
    let oldest = last
        .frames
        .iter()
        .filter(|frame| frame.kind == OLDEST_SEGMENT);
    let oldest = oldest.map(|frame| last.payload_word(frame, 0));
    let oldest = oldest.max().unwrap_or(word(&last.bytes, 24));
    let pairs = segments.windows(2).enumerate();
    pairs
        .filter(|(_, pair)| {
            let (one, next) = (&pair[0], &pair[1]);
            one.sequence() >= oldest && next.sequence() == one.sequence() + 1 && next.is_chained()
        })
        .map(|(place, _)| place)
        .collect()
}

fn alter_payload(segment: &mut Segment, rng: &mut Rng) -> Option<()> {
    let frame = pick(rng, &segment.frames)?;
    let at = frame.payload.start + rng.index(frame.payload.len());
    segment.bytes[at] ^= 1 << rng.below(8);
    segment.make_right(frame.start, frame.payload.len());
    Some(())
}

/// Exchanges two records of the same length that differ.
fn exchange(segment: &mut Segment, rng: &mut Rng) -> Option<()> {
    let content = |frame: &Frame| {
        let payload = segment.bytes[frame.payload.clone()].to_vec();
        (frame.kind, payload)
    };
    let one = pick(rng, &segment.frames)?;
    let others: Vec<Frame> = (segment.frames.iter())
        .filter(|other| other.payload.len() == one.payload.len() && content(other) != content(&one))
        .cloned()
        .collect();
    let other = pick(rng, &others)?;
    let (first, second) = (content(&one), content(&other));
    for (frame, (kind, payload)) in [(one, second), (other, first)] {
        segment.bytes[frame.start + KIND_AT] = kind;
        segment.bytes[frame.payload.clone()].copy_from_slice(&payload);
        segment.make_right(frame.start, frame.payload.len());
    }
    Some(())
}

/// Alters a field of the header of the last segment that the one before it contradicts.
fn alter_header(before: &Segment, last: &Segment, rng: &mut Rng) -> Option<Segment> {
    if before.sequence() + 1 != last.sequence() {
        return None;
    }
    let mut segment = last.clone();
    // The end of the one before; the index and the term of the last entry; what else a flag says
    // to be there.
    let mut fields = vec![32, 48, 56];
    let flags = half_word(&segment.bytes, 12);
    for (flag, words) in [(1, [64, 72, 80]), (2, [88, 96, 104])] {
        if flags & flag != 0 {
            fields.extend(words);
        }
    }
    let has_head = segment.head_end() > 136;
    let choice = rng.index(fields.len() + usize::from(has_head) + usize::from(last.is_chained()));
    match fields.get(choice) {
        Some(field) => {
            let word = word(&segment.bytes, *field);
            put_word(
                &mut segment.bytes,
                *field,
                word.wrapping_add(1 << rng.below(4)),
            );
        }
        None if has_head && choice == fields.len() => put_word(&mut segment.bytes, 40, 136),
        None => {
            let chain = half_word(&segment.bytes, 128).rotate_left(7) | 1;
            put_half_word(&mut segment.bytes, 128, chain);
        }
    }
    segment.make_header_right();
    Some(segment)
}

/// Flips a bit of a record that is known to be durable. The record behind it was written when it
/// was not, so that it bears no witness for it, and one further behind does. That one is durable,
/// too: otherwise power that is lost later may take the witness away, and nobody could know.
fn tear_inside(last: &Segment, rng: &mut Rng) -> Option<Segment> {
    // An earlier forgery may have left a claim that is none.
    let claimed_before = |end: u64| {
        let sound = (last.frames.iter()).filter(|frame| frame.claim <= frame.start as u64);
        let durable = sound.filter(|frame| frame.payload.end as u64 <= end);
        durable.map(|frame| frame.claim).max()
    };
    let witnessed = claimed_before(claimed_before(u64::MAX)?)?;
    let places: Vec<Frame> = (last.frames.windows(2))
        .filter(|pair| {
            // What is in the head was durable before the segment had its name, and claims nothing.
            let is_in_head = (pair[0].start as u64) < last.head_end();
            let is_witnessed = pair[0].payload.end as u64 <= witnessed;
            !is_in_head && is_witnessed && pair[1].claim <= pair[0].start as u64
        })
        .map(|pair| pair[0].clone())
        .collect();
    let frame = pick(rng, &places)?;
    let mut segment = last.clone();
    let at = frame.start + rng.index(frame.payload.end - frame.start);
    segment.bytes[at] ^= 1 << rng.below(8);
    Some(segment)
}

/// A field of a record, and what it becomes.
#[derive(Clone, Copy, Debug)]
enum Altered {
    /// The word of this number in the payload.
    Word(usize, u64),
    Kind(u8),
    Claim(u64),
    Length(usize),
}

/// Alters a record of the last segment in a way that what comes before it contradicts.
fn alter_last(last: &Segment, what: Forged, rng: &mut Rng) -> Option<Segment> {
    let places: Vec<(Frame, Altered)> = (0..last.frames.len())
        .filter_map(|place| {
            Some((
                last.frames[place].clone(),
                alteration(last, place, what, rng)?,
            ))
        })
        .collect();
    // What nothing behind it bears witness for is what could pass for a torn tail; and a vote that
    // a later record repeats is not forgotten.
    let is_of_newest = matches!(
        what,
        Forged::Vote | Forged::Kind | Forged::Length | Forged::Claim
    );
    let from = places.len().saturating_sub(NEWEST) * usize::from(is_of_newest);
    let (frame, altered) = pick(rng, &places[from..])?;
    let mut segment = last.clone();
    let mut length = frame.payload.len();
    match altered {
        Altered::Word(number, word) => {
            put_word(&mut segment.bytes, frame.payload.start + 8 * number, word);
        }
        Altered::Kind(kind) => segment.bytes[frame.start + KIND_AT] = kind,
        Altered::Claim(claim) => put_word(&mut segment.bytes, frame.start + CLAIM_AT, claim),
        Altered::Length(bytes) => length = bytes,
    }
    segment.make_right(frame.start, length);
    Some(segment)
}

/// What a field of the frame with this number becomes, if what comes before it contradicts
/// that.
fn alteration(last: &Segment, place: usize, what: Forged, rng: &mut Rng) -> Option<Altered> {
    let frame = &last.frames[place];
    let earlier = |kind| (last.frames[..place].iter().rev()).find(move |frame| frame.kind == kind);
    let field = |number| last.payload_word(frame, number);
    let is = |kind| (frame.kind == kind).then_some(());
    let has_member = half_word(&last.bytes, 12) & 1 != 0;
    match what {
        Forged::EntryIndex => {
            is(ENTRY)?;
            let before = earlier(ENTRY).map(|entry| last.payload_word(entry, 1))?;
            (field(1) == before + 1).then_some(Altered::Word(1, before + 2))
        }
        Forged::EntryTerm => {
            is(ENTRY)?;
            let before = last.frames.get(place.checked_sub(1)?)?;
            let follows = before.kind == ENTRY && last.payload_word(before, 1) + 1 == field(1);
            let term = last.payload_word(before, 0).checked_sub(1)?;
            follows.then_some(Altered::Word(0, term))
        }
        Forged::HardStateTerm => {
            is(HARD_STATE)?;
            let before = last.payload_word(earlier(HARD_STATE)?, 0);
            Some(Altered::Word(0, before.checked_sub(1)?))
        }
        Forged::Vote => {
            is(HARD_STATE)?;
            let before = earlier(HARD_STATE)?;
            let (term, vote) = (last.payload_word(before, 0), last.payload_word(before, 1));
            let other = [vote + 1, 0][rng.index(2)];
            (term == field(0) && vote != 0).then_some(Altered::Word(1, other))
        }
        Forged::Incarnation => {
            is(MEMBER)?;
            let before = word(&last.bytes, 80).checked_sub(1)?;
            has_member.then_some(Altered::Word(2, before))
        }
        Forged::Owner => {
            is(MEMBER)?;
            has_member.then_some(Altered::Word(0, field(0).wrapping_add(1)))
        }
        Forged::Kind => Some(Altered::Kind(NO_KIND)),
        Forged::Length => {
            let is_fixed = frame.kind == HARD_STATE || frame.kind == MEMBER;
            is_fixed.then_some(Altered::Length(frame.payload.len() - 8))
        }
        Forged::Claim => Some(Altered::Claim(frame.start as u64 + 8)),
        Forged::ClosedRecord
        | Forged::ClosedExchange
        | Forged::TornInside
        | Forged::SegmentHeader
        | Forged::SnapshotData
        | Forged::SnapshotExchange
        | Forged::SnapshotCount
        | Forged::SnapshotPlace
        | Forged::SnapshotCluster => None,
    }
}
