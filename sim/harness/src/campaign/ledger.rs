//! The seeds that a campaign has finished: a file that is only ever appended to, one
//! report a line, so that a campaign that was killed goes on where it was.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::shard::Shard;
use crate::artefact::{Version, write_json};
use crate::report::RunReport;

/// What the campaign is.
const HEADER_FILE: &str = "campaign.json";

/// The finished seeds.
const SEEDS_FILE: &str = "seeds.jsonl";

/// What all reports of a ledger have in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The scenario.
    pub scenario: String,
    /// The planted bug, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planted: Option<String>,
    /// The seeds of the whole campaign.
    pub seeds: Range<u64>,
    /// Which of them are this ledger's.
    pub shard: Shard,
    /// The program: results of two must not be mixed.
    pub version: Version,
}

/// What keeps a ledger from being used.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The path of the file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// A line that is not the last one is not a report.
    #[error("{path}, line {line}: {source}")]
    Line {
        /// Of which file.
        path: PathBuf,
        /// Its number, from 1.
        line: usize,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// The folder belongs to another campaign.
    #[error("{path} holds another campaign (its {what} differs); choose another --out")]
    Other {
        /// The folder.
        path: PathBuf,
        /// What differs.
        what: &'static str,
    },
}

/// The ledger of a campaign, open for more.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    file: File,
}

impl Ledger {
    /// Opens the ledger in `dir`, or begins one; hands out what is in it already.
    ///
    /// # Errors
    /// See [`LedgerError`].
    pub fn open(dir: &Path, header: &Header) -> Result<(Self, Vec<RunReport>), LedgerError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| LedgerError::File { path, source }
        };
        fs::create_dir_all(dir).map_err(failed(dir))?;
        let header_path = dir.join(HEADER_FILE);
        if header_path.exists() {
            let known = read_header(dir)?;
            if let Some(what) = difference(&known, header) {
                return Err(LedgerError::Other {
                    path: dir.to_owned(),
                    what,
                });
            }
        } else {
            write_json(&header_path, header).map_err(failed(&header_path))?;
        }
        let path = dir.join(SEEDS_FILE);
        let mut file = OpenOptions::new()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .open(&path)
            .map_err(failed(&path))?;
        let (done, whole_bytes) = read_reports(&path)?;
        // What a kill left of the last line goes.
        file.set_len(whole_bytes).map_err(failed(&path))?;
        file.seek(io::SeekFrom::End(0)).map_err(failed(&path))?;
        Ok((Self { path, file }, done))
    }

    /// Appends a report; after that a kill of this program does not lose it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn append(&mut self, report: &RunReport) -> Result<(), LedgerError> {
        let mut line = serde_json::to_vec(report).expect("a report can be written");
        line.push(b'\n');
        self.file
            .write_all(&line)
            .map_err(|source| LedgerError::File {
                path: self.path.clone(),
                source,
            })
    }
}

/// What the two differ in, if they do.
fn difference(a: &Header, b: &Header) -> Option<&'static str> {
    let differs = [
        (a.scenario != b.scenario, "scenario"),
        (a.planted != b.planted, "planted bug"),
        (a.seeds != b.seeds, "range of seeds"),
        (a.shard != b.shard, "shard"),
        (a.version != b.version, "program"),
    ];
    differs
        .iter()
        .find(|(differs, _)| *differs)
        .map(|(_, what)| *what)
}

fn read_header(dir: &Path) -> Result<Header, LedgerError> {
    let path = dir.join(HEADER_FILE);
    let text = fs::read(&path).map_err(|source| LedgerError::File {
        path: path.clone(),
        source,
    })?;
    serde_json::from_slice(&text).map_err(|source| LedgerError::Line {
        path,
        line: 1,
        source,
    })
}

/// The reports in a file, and how many bytes they take: what follows is a line that was
/// being written when the program was killed.
fn read_reports(path: &Path) -> Result<(Vec<RunReport>, u64), LedgerError> {
    let failed = |source| LedgerError::File {
        path: path.to_owned(),
        source,
    };
    let mut file = BufReader::new(File::open(path).map_err(failed)?);
    let (mut reports, mut whole_bytes) = (Vec::new(), 0);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = file.read_until(b'\n', &mut line).map_err(failed)?;
        if read == 0 || line.last() != Some(&b'\n') {
            return Ok((reports, whole_bytes));
        }
        let report = serde_json::from_slice(&line).map_err(|source| LedgerError::Line {
            path: path.to_owned(),
            line: reports.len() + 1,
            source,
        })?;
        reports.push(report);
        whole_bytes += read as u64;
    }
}

/// Several ledgers as one.
#[derive(Clone, Debug)]
pub struct Merged {
    /// What they have in common.
    pub header: Header,
    /// All reports by seed.
    pub reports: BTreeMap<u64, RunReport>,
    /// Seeds with two reports of different digests.
    pub contradictions: Vec<u64>,
    /// Seeds of the campaign without a report.
    pub missing: u64,
}

/// Reads the ledgers in `dirs` and in their subfolders.
///
/// # Errors
/// See [`LedgerError`]; all have to be of the same campaign.
pub fn merge(dirs: &[PathBuf]) -> Result<Option<Merged>, LedgerError> {
    let mut merged: Option<Merged> = None;
    for dir in ledgers(dirs)? {
        let header = Header {
            shard: Shard::WHOLE,
            ..read_header(&dir)?
        };
        let merged = merged.get_or_insert_with(|| Merged {
            header: header.clone(),
            reports: BTreeMap::new(),
            contradictions: Vec::new(),
            missing: 0,
        });
        if let Some(what) = difference(&merged.header, &header) {
            return Err(LedgerError::Other { path: dir, what });
        }
        for report in read_reports(&dir.join(SEEDS_FILE))?.0 {
            let digest = report.digest.clone();
            let seed = report.seed;
            if let Some(other) = merged.reports.insert(seed, report)
                && other.digest != digest
            {
                merged.contradictions.push(seed);
            }
        }
    }
    if let Some(merged) = &mut merged {
        let wanted = merged.header.seeds.end - merged.header.seeds.start;
        merged.missing = wanted - merged.reports.len() as u64;
    }
    Ok(merged)
}

fn ledgers(dirs: &[PathBuf]) -> Result<Vec<PathBuf>, LedgerError> {
    let mut found = Vec::new();
    for dir in dirs {
        if dir.join(HEADER_FILE).exists() {
            found.push(dir.clone());
            continue;
        }
        let failed = |source| LedgerError::File {
            path: dir.clone(),
            source,
        };
        for entry in fs::read_dir(dir).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.join(HEADER_FILE).exists() {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Class, Finding};

    fn header(shard: Shard) -> Header {
        Header {
            scenario: "swarm".to_owned(),
            planted: None,
            seeds: 1..9,
            shard,
            version: Version {
                veridical: "0".to_owned(),
                plan_format: 1,
                program: "p".to_owned(),
            },
        }
    }

    fn report(seed: u64, digest: &str) -> RunReport {
        RunReport {
            digest: digest.to_owned(),
            ..RunReport::of_seed(seed, Finding::new(Class::Ok, "", ""))
        }
    }

    fn folder(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("veridical-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        dir
    }

    #[test]
    fn a_torn_last_line_is_dropped_and_the_ledger_goes_on() {
        let dir = folder("torn");
        let (mut ledger, done) = Ledger::open(&dir, &header(Shard::WHOLE)).expect("begun");
        assert!(done.is_empty());
        for seed in [1, 2, 3] {
            ledger.append(&report(seed, "d")).expect("appended");
        }
        drop(ledger);
        let path = dir.join(SEEDS_FILE);
        let whole = fs::read(&path).expect("read");
        for cut in 1..40 {
            fs::write(&path, &whole[..whole.len() - cut]).expect("torn");
            let (mut ledger, done) = Ledger::open(&dir, &header(Shard::WHOLE)).expect("opened");
            assert_eq!(done.len(), 2, "cut by {cut}");
            ledger.append(&report(3, "d")).expect("appended");
            drop(ledger);
            assert_eq!(fs::read(&path).expect("read"), whole);
        }
        fs::remove_dir_all(&dir).expect("removed");
    }

    #[test]
    fn damage_before_the_last_line_is_named_and_another_campaign_is_refused() {
        let dir = folder("damage");
        let (mut ledger, _) = Ledger::open(&dir, &header(Shard::WHOLE)).expect("begun");
        ledger.append(&report(1, "d")).expect("appended");
        ledger.append(&report(2, "d")).expect("appended");
        let path = dir.join(SEEDS_FILE);
        let mut bytes = fs::read(&path).expect("read");
        bytes[3] = b'?';
        fs::write(&path, bytes).expect("damaged");
        let error = Ledger::open(&dir, &header(Shard::WHOLE)).expect_err("it is damaged");
        assert!(matches!(error, LedgerError::Line { line: 1, .. }));
        let other = Header {
            seeds: 1..10,
            ..header(Shard::WHOLE)
        };
        let error = Ledger::open(&dir, &other).expect_err("it is another one");
        assert!(error.to_string().contains("range of seeds"), "{error}");
        fs::remove_dir_all(&dir).expect("removed");
    }

    #[test]
    fn shards_merge_and_what_is_missing_or_contradicts_is_told() {
        let dir = folder("merge");
        for index in 0..2 {
            let shard = Shard { index, count: 2 };
            let own = dir.join(format!("shard-{index}"));
            let (mut ledger, _) = Ledger::open(&own, &header(shard)).expect("begun");
            for seed in (1..8).filter(|seed| shard.has(*seed)) {
                ledger.append(&report(seed, "d")).expect("appended");
            }
            ledger
                .append(&report(4, &index.to_string()))
                .expect("appended");
        }
        let merged = merge(std::slice::from_ref(&dir))
            .expect("read")
            .expect("there are ledgers");
        assert_eq!((merged.reports.len(), merged.missing), (7, 1));
        assert!(merged.contradictions.contains(&4));
        fs::remove_dir_all(&dir).expect("removed");
    }
}
