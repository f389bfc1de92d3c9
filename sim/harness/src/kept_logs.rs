//! What processes logged, as the folder of a kept run has it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// What one process logged: its last lines, and how many were before them.
pub type KeptLogs = BTreeMap<String, (Vec<String>, u64)>;

/// What the first line of a log says of lines that were not kept, behind their number.
const DROPPED_LINES: &str = " earlier lines were not kept)";

/// How many lines were not kept before this one, if it says so.
fn dropped_lines(line: &str) -> Option<u64> {
    let number = line.strip_prefix('(')?.strip_suffix(DROPPED_LINES)?;
    number.parse().ok()
}

/// Writes what each process logged to a file of its own.
///
/// # Errors
/// It cannot be written.
pub fn write(dir: &Path, logs: &KeptLogs) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    for (process, (lines, dropped)) in logs {
        let mut file = BufWriter::new(fs::File::create(dir.join(format!("{process}.log")))?);
        if *dropped > 0 {
            writeln!(file, "({dropped}{DROPPED_LINES}")?;
        }
        for line in lines {
            writeln!(file, "{line}")?;
        }
        file.flush()?;
    }
    Ok(())
}

/// Reads what [`write()`] wrote.
///
/// # Errors
/// It cannot be read.
pub fn read(folder: &Path) -> io::Result<KeptLogs> {
    let mut logs = KeptLogs::new();
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<_>>()?;
    paths.sort_unstable();
    for path in paths {
        let Some(name) = path.file_stem().and_then(|stem| stem.to_str()) else {
            continue;
        };
        let text = fs::read_to_string(&path)?;
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let dropped = lines.first().and_then(|line| dropped_lines(line));
        if dropped.is_some() {
            lines.remove(0);
        }
        logs.insert(name.to_owned(), (lines, dropped.unwrap_or(0)));
    }
    Ok(logs)
}
