//! Any bytes as a snapshot file.

use bolero::TypeGenerator;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use veridical_fuzz::forge::{Version, push_chunk, push_footer, snapshot_header, snapshot_name};
use veridical_fuzz::memory_disk::{MemoryDisk, run};
use veridical_storage::FileError;
use veridical_storage::format::DataFormat;
use veridical_storage::snapshot::{SnapshotConfig, SnapshotError, SnapshotFile, SnapshotStore};

const DIR: &str = "/snapshots";
const TERM: u64 = 2;
const INDEX: u64 = 3;
const CLUSTER_ID: u64 = 0x0123_4567_89ab_cdef;
const TEST_TIME: Duration = Duration::from_secs(1);
const MOST_ITERATIONS: usize = 1_000_000;

fn path() -> std::path::PathBuf {
    Path::new(DIR).join(snapshot_name(TERM, INDEX))
}

/// What is accepted is written again byte for byte. Returns whether it was accepted.
fn check(bytes: &[u8]) -> bool {
    let disk = MemoryDisk::default();
    disk.insert(&path(), bytes.to_vec());
    let (store, _) = run(SnapshotStore::open(
        disk,
        Path::new(DIR),
        SnapshotConfig {
            cluster_id: CLUSTER_ID,
            ..SnapshotConfig::default()
        },
    ))
    .expect("a folder");
    let file = SnapshotFile {
        index: INDEX,
        term: TERM,
        path: path(),
    };
    // Version 1 is written on demand alone.
    let format = match bytes.get(8) {
        Some(1) => DataFormat::Previous,
        _ => DataFormat::Current,
    };
    match run(rewrite(&store, &file, format)) {
        Ok(written) => {
            assert_eq!(written, bytes);
            true
        }
        Err(SnapshotError::File(FileError::Corrupt { offset, .. })) => {
            assert!(offset <= bytes.len() as u64);
            false
        }
        Err(
            SnapshotError::File(FileError::UnsupportedVersion { .. })
            | SnapshotError::Foreign { .. },
        ) => false,
        Err(error) => panic!("{error:?}"),
    }
}

async fn rewrite(
    store: &SnapshotStore<MemoryDisk>,
    file: &SnapshotFile,
    format: DataFormat,
) -> Result<Vec<u8>, SnapshotError> {
    let mut reader = store.read(file).await?;
    let disk = MemoryDisk::default();
    let config = SnapshotConfig {
        format,
        cluster_id: CLUSTER_ID,
        ..SnapshotConfig::default()
    };
    let (copies, _) = SnapshotStore::open(disk.clone(), Path::new(DIR), config).await?;
    let mut writer = copies.create(reader.header()).await?;
    while let Some(chunk) = reader.next_chunk().await? {
        writer.write_chunk(&chunk).await?;
    }
    let copy = writer.finish().await?;
    Ok(disk.contents(&copy.path).expect("the copy is finished"))
}

#[derive(Clone, Debug, TypeGenerator)]
struct ForgedSnapshot {
    /// Of which version, and whether of another cluster.
    version: u8,
    meta: Vec<u8>,
    chunks: Vec<Vec<u8>>,
    /// What is wrong with it, if anything.
    defect: u8,
    tail: Vec<u8>,
    damage: (u16, u8),
}

impl ForgedSnapshot {
    fn version(&self) -> Version {
        match self.version % 8 {
            0..3 => Version::One,
            3 => Version::Two(CLUSTER_ID ^ 1 << (self.version / 8)),
            _ => Version::Two(CLUSTER_ID),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = snapshot_header(self.version(), TERM, INDEX, &self.meta);
        for chunk in &self.chunks {
            push_chunk(&mut out, TERM, INDEX, chunk);
        }
        if self.defect != 1 {
            let data = self.chunks.concat();
            let chunks = self.chunks.len() as u64 + u64::from(self.defect == 2);
            let data_bytes = data.len() as u64 + u64::from(self.defect == 3);
            push_footer(
                &mut out,
                TERM,
                INDEX,
                chunks,
                data_bytes,
                crc32c::crc32c(&data),
            );
        }
        if self.defect == 4 {
            out.extend_from_slice(&self.tail);
        }
        if self.defect >= 128 {
            let length = out.len();
            out[usize::from(self.damage.0) % length] ^= self.damage.1;
        }
        out
    }
}

#[test]
fn any_bytes_are_refused_or_written_again() {
    bolero::check!()
        .with_test_time(TEST_TIME)
        .with_iterations(MOST_ITERATIONS)
        .for_each(|bytes: &[u8]| {
            check(bytes);
        });
}

#[test]
fn forged_snapshots_are_refused_or_written_again() {
    let [previous, accepted, refused] = [const { AtomicU64::new(0) }; 3];
    bolero::check!()
        .with_test_time(TEST_TIME)
        .with_iterations(MOST_ITERATIONS)
        .with_type::<ForgedSnapshot>()
        .for_each(|snapshot| {
            let count = match (check(&snapshot.bytes()), snapshot.version()) {
                (true, Version::One) => &previous,
                (true, Version::Two(_)) => &accepted,
                (false, _) => &refused,
            };
            count.fetch_add(1, Relaxed);
        });
    let [previous, accepted, refused] = [previous, accepted, refused].map(AtomicU64::into_inner);
    println!("{accepted} accepted, {previous} of version 1, {refused} refused");
    assert!(previous > 0 && accepted > 0 && refused > 0);
}
