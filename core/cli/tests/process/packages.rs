//! Programs of others that tests run: found in the PATH, or taken out of a package of Debian,
//! which is unpacked and not installed, so that nothing else of the machine changes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// What was looked for so far, and where it is or why it is not there.
static FOUND: Mutex<BTreeMap<&str, Result<PathBuf, String>>> = Mutex::new(BTreeMap::new());

/// Where a program of a package is. `None` where it cannot be had, after printing why; in CI
/// that is a failure.
pub fn program(name: &'static str, package: &str) -> Option<PathBuf> {
    let mut found = FOUND.lock().expect("nobody panics with it");
    let found = found
        .entry(name)
        .or_insert_with(|| in_path(name).map_or_else(|| unpacked(name, package), Ok))
        .clone();
    match found {
        Ok(path) => Some(path),
        Err(reason) => {
            let is_ci = std::env::var("CI").is_ok_and(|value| value == "true");
            assert!(!is_ci, "{name}: {reason}");
            eprintln!("skipped: {name} is not installed, and {reason}");
            None
        }
    }
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// Downloads a package and takes the program out of it, unless that was done before.
fn unpacked(name: &str, package: &str) -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(package);
    let program = folder.join("usr/bin").join(name);
    if program.is_file() {
        return Ok(program);
    }
    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).map_err(text)?;
    let download = || run(scratch.path(), "apt-get", &["download", package]);
    if let Err(reason) = download() {
        // The lists of packages may be missing or old; only root can renew them.
        run(scratch.path(), "apt-get", &["update"]).map_err(|_| reason)?;
        download()?;
    }
    let archive = std::fs::read_dir(scratch.path())
        .map_err(text)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .ok_or_else(|| format!("apt-get download {package} has left no package"))?;
    let content = scratch.path().join("content");
    let (archive, target) = (archive.to_string_lossy(), content.to_string_lossy());
    run(scratch.path(), "dpkg-deb", &["-x", &archive, &target])?;
    // Another process may do the same; whoever is first has it.
    let _ = std::fs::rename(&content, &folder);
    if program.is_file() {
        Ok(program)
    } else {
        Err(format!("the package {package} has no usr/bin/{name}"))
    }
}

fn run(folder: &Path, program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} {arguments:?}: {}", complaint.trim()))
}

fn text(error: std::io::Error) -> String {
    error.to_string()
}
