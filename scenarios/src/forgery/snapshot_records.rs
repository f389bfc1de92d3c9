//! What is altered in a snapshot.

use veridical_world::Rng;

use super::Forged;
use super::log_file::{put_half_word, put_word, word};
use super::snapshot_file::{HEADER_BYTES, Snapshot};

/// A forgery in a snapshot: the file as it is then.
pub fn forge(snapshot: &Snapshot, what: Forged, rng: &mut Rng) -> Option<Snapshot> {
    let mut forged = snapshot.clone();
    match what {
        Forged::SnapshotData => {
            let filled = snapshot.chunks.iter().filter(|data| !data.is_empty());
            let filled: Vec<_> = filled.collect();
            let data = (!filled.is_empty()).then(|| filled[rng.index(filled.len())].clone())?;
            let at = data.start + rng.index(data.len());
            forged.bytes[at] ^= 1 << rng.below(8);
            forged.make_right(&data);
        }
        Forged::SnapshotExchange => exchange(&mut forged, rng)?,
        Forged::SnapshotCount => {
            let chunks = word(&forged.bytes, forged.footer + 8);
            let at = forged.footer + 8;
            put_word(&mut forged.bytes, at, chunks + 1);
            forged.make_footer_right();
        }
        Forged::SnapshotPlace => {
            let at = 16 + 8 * rng.index(2);
            let place = word(&forged.bytes, at);
            put_word(&mut forged.bytes, at, place + 1);
            let crc = crc32c::crc32c(&forged.bytes[..36]);
            put_half_word(&mut forged.bytes, 36, crc);
        }
        Forged::SnapshotCluster => {
            let cluster = snapshot
                .names_cluster()
                .then(|| word(&forged.bytes, HEADER_BYTES))?;
            put_word(&mut forged.bytes, HEADER_BYTES, cluster.wrapping_add(1));
            let crc = crc32c::crc32c(&forged.bytes[HEADER_BYTES..HEADER_BYTES + 12]);
            put_half_word(&mut forged.bytes, HEADER_BYTES + 12, crc);
        }
        Forged::ClosedRecord
        | Forged::ClosedExchange
        | Forged::EntryIndex
        | Forged::EntryTerm
        | Forged::HardStateTerm
        | Forged::Vote
        | Forged::Incarnation
        | Forged::Owner
        | Forged::Kind
        | Forged::Length
        | Forged::Claim
        | Forged::TornInside
        | Forged::SegmentHeader => return None,
    }
    Some(forged)
}

/// Exchanges two chunks that follow each other and differ.
fn exchange(snapshot: &mut Snapshot, rng: &mut Rng) -> Option<()> {
    let pairs = snapshot.chunks.windows(2);
    let pairs: Vec<_> = pairs
        .filter(|pair| snapshot.bytes[pair[0].clone()] != snapshot.bytes[pair[1].clone()])
        .map(|pair| (pair[0].clone(), pair[1].clone()))
        .collect();
    let (one, other) = (!pairs.is_empty()).then(|| pairs[rng.index(pairs.len())].clone())?;
    let gap = other.start - one.end;
    let first = snapshot.bytes[one.clone()].to_vec();
    let second = snapshot.bytes[other.clone()].to_vec();
    let now_first = one.start..one.start + second.len();
    let now_second = now_first.end + gap..now_first.end + gap + first.len();
    snapshot.bytes[now_first.clone()].copy_from_slice(&second);
    let tag = now_first.end;
    snapshot.bytes[tag..tag + 4].copy_from_slice(b"CHNK");
    put_half_word(&mut snapshot.bytes, tag + 4, first.len() as u32);
    snapshot.bytes[now_second.clone()].copy_from_slice(&first);
    let length_at = one.start - gap + 4;
    put_half_word(&mut snapshot.bytes, length_at, second.len() as u32);
    snapshot.make_right(&now_first);
    snapshot.make_right(&now_second);
    Some(())
}
