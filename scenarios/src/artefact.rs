//! What is kept of a failure: a folder with the plan, the history, the trace, the
//! witness and the versions, enough to look into it and to run it again.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use veridical_histories::etcd::EtcdEvent;
use veridical_histories::jsonl;
use veridical_sim::Event;

use crate::plan::Plan;
use crate::report::RunReport;

/// Writes the folder.
///
/// # Errors
/// It cannot be written.
pub fn write(
    dir: &Path,
    plan: &Plan,
    report: &RunReport,
    history: &[EtcdEvent],
    trace: &[Event],
) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    write_json(&dir.join("plan.json"), plan)?;
    write_json(&dir.join("report.json"), report)?;
    let file = BufWriter::new(fs::File::create(dir.join("history.jsonl"))?);
    let mut writer = jsonl::Writer::new(file);
    for event in history {
        writer.write(event)?;
    }
    writer.finish()?;
    let mut file = BufWriter::new(fs::File::create(dir.join("trace.jsonl"))?);
    for event in trace {
        serde_json::to_writer(&mut file, event)?;
        file.write_all(b"\n")?;
    }
    file.flush()?;
    fs::write(dir.join("witness.txt"), witness(report))?;
    fs::write(
        dir.join("version.txt"),
        format!(
            "veridical {}\nplan format {}\n",
            env!("CARGO_PKG_VERSION"),
            plan.format
        ),
    )
}

fn write_json(path: &Path, value: &impl serde::Serialize) -> io::Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    fs::write(path, text)
}

/// A failure as text, its first line being the command that reproduces it.
pub fn witness(report: &RunReport) -> String {
    let mut text = format!("{}\n", report.reproduce);
    if let Some(finding) = &report.finding {
        text.push_str(&format!(
            "{} ({}) at {} ms of simulated time, seed {}, digest {}\n{}\n",
            finding.class,
            finding.signature,
            report.simulated_ms,
            report.seed,
            report.digest,
            finding.text
        ));
    }
    text
}
