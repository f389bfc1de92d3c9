//! Any bytes as the segments of a log.

use bolero::TypeGenerator;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use veridical_fuzz::forge::{Version, push_frame, segment_chain, segment_header, segment_name};
use veridical_fuzz::memory_disk::{MemoryDisk, run};
use veridical_storage::FileError;
use veridical_storage::wal::{Recovered, Wal, WalConfig, WalError, WalRecord};

const DIR: &str = "/wal";
const TEST_TIME: Duration = Duration::from_secs(1);
const MOST_ITERATIONS: usize = 1_000_000;

fn open(disk: &MemoryDisk) -> Result<(Wal<MemoryDisk>, Recovered), WalError> {
    let config = WalConfig {
        segment_bytes: 4096,
        ..WalConfig::default()
    };
    run(Wal::open(disk.clone(), Path::new(DIR), config))
}

/// What is accepted means the same when it is opened again and when it is written anew.
/// Returns whether it was accepted.
fn check(disk: &MemoryDisk) -> bool {
    let recovered = match open(disk) {
        Ok((_, recovered)) => recovered,
        Err(
            WalError::File(FileError::Corrupt { .. })
            | WalError::File(FileError::UnsupportedVersion { .. }),
        ) => return false,
        Err(error) => panic!("{error:?}"),
    };
    let expected = Recovered {
        truncated_tail: None,
        ..recovered
    };
    assert!(
        expected
            .entries
            .is_sorted_by(|entry, next| entry.index + 1 == next.index)
    );
    let again = open(disk).expect("a log that was opened can be opened").1;
    assert_eq!(again, expected);

    let disk = MemoryDisk::default();
    let (mut wal, _) = open(&disk).expect("an empty folder");
    let mut records = Vec::new();
    records.extend(expected.member.map(WalRecord::Member));
    records.extend(expected.hard_state.map(WalRecord::HardState));
    let mark = expected.snapshot.map(WalRecord::Snapshot);
    let last_index = expected.entries.last().map_or(0, |entry| entry.index);
    // A mark beyond the entries restarts the log; otherwise it is about one of them.
    let restarts = expected
        .snapshot
        .is_some_and(|mark| mark.index > last_index);
    let entries = expected.entries.iter().cloned().map(WalRecord::Entry);
    let (first, last) = if restarts { (mark, None) } else { (None, mark) };
    records.extend(first.into_iter().chain(entries).chain(last));
    for record in records {
        run(wal.append(&[record])).expect("the disk works");
    }
    run(wal.sync()).expect("the disk works");
    assert_eq!(open(&disk).expect("just written").1, expected);
    true
}

#[derive(Clone, Debug, TypeGenerator)]
struct ForgedFrame {
    kind: u8,
    claim: u8,
    /// Small numbers, so that they fit each other now and then.
    words: [u8; 3],
    data: Vec<u8>,
    aligned: bool,
    damage: Option<(u8, u8)>,
}

#[derive(Clone, Debug, TypeGenerator)]
struct ForgedLog {
    flags: u8,
    words: [u8; 3],
    carried: u8,
    frames: Vec<ForgedFrame>,
    tail: Vec<u8>,
    next_header: Option<[u8; 15]>,
    /// Of which version the segments are.
    versions: u8,
    /// Whether the next segment names the one before it, and whether it names that right.
    chain: u8,
}

/// Where frames begin and end.
#[derive(Clone, Debug, Default)]
struct Frames(Vec<(usize, u64)>);

impl ForgedFrame {
    fn push(
        &self,
        segment: &mut Vec<u8>,
        claims: &mut Vec<u64>,
        last_index: &mut u64,
        frames: &mut Frames,
    ) {
        let end = segment.len() as u64;
        if self.aligned {
            segment.resize(segment.len().next_multiple_of(4096), 0);
        }
        let start = segment.len();
        let claim = match self.claim {
            200.. => u64::from(self.claim) * 8,
            choice => claims[usize::from(choice) % claims.len()],
        };
        let claim = if self.aligned && self.claim < 160 {
            end
        } else {
            claim
        };
        let [first, second, third] = self.words.map(|word| u64::from(word % 5));
        let index = if self.words[1] < 230 {
            *last_index + 1
        } else {
            second
        };
        let mut payload = Vec::new();
        let words: &[u64] = match self.kind % 16 {
            0..=6 => &[first, index],
            7 => &[first, second, third],
            8 => &[*last_index, first],
            9 => &[first, second, third],
            10 => &[*last_index + first, second],
            11 => &[1],
            _ => &[],
        };
        words
            .iter()
            .for_each(|word| payload.extend_from_slice(&word.to_le_bytes()));
        let kind = match self.kind % 16 {
            0..=6 => {
                *last_index = index;
                payload.push(third as u8);
                payload.extend_from_slice(&self.data);
                1
            }
            kind @ 7..=11 => kind - 5,
            _ => {
                payload.extend_from_slice(&self.data);
                first as u8
            }
        };
        push_frame(segment, 1, claim, kind, &payload);
        claims.push(segment.len() as u64);
        frames.0.push((start, segment.len() as u64));
        if let Some((offset, flip)) = self.damage
            && self.words[0] >= 128
        {
            let length = segment.len() - start;
            segment[start + usize::from(offset) % length] ^= flip;
        }
    }
}

impl ForgedLog {
    /// Whether a segment is of the version that is written.
    fn is_current(&self, segment: u32) -> bool {
        self.versions >> segment & 1 == 1
    }

    /// Whether the next segment is of the current version and names this one.
    fn is_chained(&self) -> bool {
        self.next_header.is_some() && self.is_current(1) && self.chain % 8 > 1
    }

    fn disk(&self) -> MemoryDisk {
        let [last_index, last_term, floor] = self.words.map(|word| u64::from(word % 4));
        let mut segment = vec![0; 136];
        let mut claims = vec![0];
        let mut frames = Frames::default();
        let mut index = last_index;
        let carried = self.frames.len().min(usize::from(self.carried % 4));
        for frame in &self.frames[..carried] {
            let plain = ForgedFrame {
                claim: 0,
                aligned: false,
                damage: None,
                ..frame.clone()
            };
            plain.push(&mut segment, &mut claims.clone(), &mut index, &mut frames);
        }
        let head_end = segment.len() as u64;
        claims = vec![head_end];
        let mut words = [3; 14];
        let oldest = if floor == 3 { 2 } else { 1 };
        words[..6].copy_from_slice(&[1, oldest, 0, head_end, last_index, last_term]);
        words[12] = last_index;
        let first = match self.is_current(0) {
            true => Version::Two(0),
            false => Version::One,
        };
        let header = segment_header(first, u32::from(self.flags % 8), words);
        segment[..136].copy_from_slice(&header);
        for frame in &self.frames[carried..] {
            frame.push(&mut segment, &mut claims, &mut index, &mut frames);
        }
        segment.extend_from_slice(&self.tail);
        let next = self.next_header.map(|next| {
            let mut words = [0; 14];
            for (word, drawn) in words.iter_mut().zip(next) {
                *word = u64::from(drawn % 3);
            }
            words[0] = 2;
            words[2] = claims[usize::from(next[2]) % claims.len()];
            words[3] = 136;
            let before = frames.0.iter().filter(|(_, end)| *end <= words[2]);
            let right = segment_chain(&segment, before.map(|(start, _)| *start));
            let chain = match self.chain % 8 {
                0 => 0,
                1 => !right,
                _ => right,
            };
            let version = match self.is_current(1) {
                true => Version::Two(u64::from(chain)),
                false => Version::One,
            };
            segment_header(version, u32::from(next[14] % 8), words)
        });
        let disk = MemoryDisk::default();
        disk.insert(&Path::new(DIR).join(segment_name(1)), segment);
        if let Some(header) = next {
            disk.insert(&Path::new(DIR).join(segment_name(2)), header);
        }
        disk
    }
}

#[test]
fn any_bytes_are_refused_or_mean_the_same_twice() {
    bolero::check!()
        .with_test_time(TEST_TIME)
        .with_iterations(MOST_ITERATIONS)
        .for_each(|bytes: &[u8]| {
            let disk = MemoryDisk::default();
            disk.insert(&Path::new(DIR).join(segment_name(1)), bytes.to_vec());
            check(&disk);
        });
}

#[test]
fn forged_records_are_refused_or_mean_the_same_twice() {
    let [plain, chained, refused] = [const { AtomicU64::new(0) }; 3];
    bolero::check!()
        .with_test_time(TEST_TIME)
        .with_iterations(MOST_ITERATIONS)
        .with_type::<ForgedLog>()
        .for_each(|log| {
            let count = match (check(&log.disk()), log.is_chained()) {
                (true, false) => &plain,
                (true, true) => &chained,
                (false, _) => &refused,
            };
            count.fetch_add(1, Relaxed);
        });
    let [plain, chained, refused] = [plain, chained, refused].map(AtomicU64::into_inner);
    println!("{plain} accepted, {chained} with a chain, {refused} refused");
    // A forge that nothing passes would prove nothing.
    assert!(plain > 0 && chained > 0 && refused > 0);
}
