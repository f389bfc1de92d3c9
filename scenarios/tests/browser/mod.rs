//! A real browser that opens a page and says what the page's own `#selftest` saw.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// A Chromium. Where there is none, CI installs one; elsewhere, and where that cannot be,
/// `None` after saying so.
pub fn chromium() -> Option<PathBuf> {
    let installed = || {
        let folders = std::env::var_os("PATH")?;
        std::env::split_paths(&folders)
            .flat_map(|folder| {
                ["chromium", "chromium-browser", "google-chrome"].map(|name| folder.join(name))
            })
            .find(|path| path.is_file())
    };
    if let Some(found) = installed() {
        return Some(found);
    }
    if std::env::var_os("CI").is_some() {
        println!("no Chromium: installing one");
        // Whether it worked is seen by looking for it again.
        let _ = Command::new("apt-get")
            .args([
                "install",
                "-y",
                "-qq",
                "--no-install-recommends",
                "chromium",
            ])
            .stdin(Stdio::null())
            .status();
    }
    let found = installed();
    if found.is_none() {
        println!("skipped: no Chromium is installed, and none can be");
    }
    found
}

/// What the page saw of itself, and what it wrote to its console beside advice.
pub fn selftest(chromium: &Path, profile: &Path, page: &Path) -> (Value, Vec<String>) {
    // Tests run at the same time, and a browser beside another one measures the other one.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let output = Command::new(chromium)
        .args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--hide-scrollbars",
            "--window-size=1600,900",
            "--enable-logging=stderr",
            "--dump-dom",
        ])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("file://{}#selftest", page.display()))
        .stdin(Stdio::null())
        .output()
        .expect("Chromium runs");
    let dom = String::from_utf8_lossy(&output.stdout);
    let json = dom
        .split_once("data-selftest=\"")
        .and_then(|(_, rest)| rest.split_once('"'))
        .unwrap_or_else(|| {
            let complaints = String::from_utf8_lossy(&output.stderr);
            panic!("no self-test in {} bytes of page\n{complaints}", dom.len())
        })
        .0
        .replace("&quot;", "\"")
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&");
    let seen = serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error}: {json}"));
    let console = String::from_utf8_lossy(&output.stderr)
        .lines()
        .filter(|line| line.contains("CONSOLE") && !line.contains("willReadFrequently"))
        .map(str::to_owned)
        .collect();
    (seen, console)
}

/// How long a person may wait for a step, in ms.
pub const STEP_MS_MAX: f64 = 100.0;

/// Sessions of the browser in which each step has to be quick once: a session on a busy
/// machine measures the machine.
const SESSIONS_MAX: usize = 8;

/// Every step was quick enough in `seen`, or is in another session.
pub fn assert_quick(steps: &[&str], seen: &Value, mut another: impl FnMut() -> Value) {
    let times = |seen: &Value| -> Vec<f64> {
        let of = |step: &&str| seen[*step].as_f64().expect("milliseconds");
        steps.iter().map(of).collect()
    };
    let mut least = times(seen);
    for _ in 1..SESSIONS_MAX {
        if least.iter().all(|ms| *ms < STEP_MS_MAX) {
            return;
        }
        for (least, ms) in least.iter_mut().zip(times(&another())) {
            *least = least.min(ms);
        }
    }
    for (step, ms) in steps.iter().zip(least) {
        assert!(ms < STEP_MS_MAX, "{step}: {ms} ms: {seen}");
    }
}
