//! SIGINT: what there is is printed.

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::program::{Folder, Ran, program};

fn interrupt(running: &Child) {
    let sent = Command::new("kill")
        .arg("-INT")
        .arg(running.id().to_string())
        .status()
        .expect("kill runs");
    assert!(sent.success());
}

#[test]
fn an_interrupt_while_waiting_for_input_prints_what_was_checked_as_unknown() {
    let folder = Folder::new();
    for name in ["h.jsonl", "h.vrdc"] {
        let file = folder.generate(name, &["--ops=20000"]);
        let bytes = std::fs::read(file).expect("it is there");
        let mut running = program()
            .args(["check", "-", "--json"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it runs");
        let mut stdin = running.stdin.take().expect("it was asked for");
        // Torn within a line, or a block.
        stdin
            .write_all(&bytes[..bytes.len() - 5])
            .expect("it reads");
        std::thread::sleep(Duration::from_millis(700));
        interrupt(&running);
        let ran = Ran::from(running.wait_with_output().expect("it ends"));
        drop(stdin);
        assert_eq!(ran.status, 3, "{name}: {} {}", ran.said, ran.complained);
        let report = ran.object();
        assert_eq!(report["verdict"], "unknown", "{report}");
        assert_eq!(report["cause"]["cause"], "interrupted");
        assert_eq!(report["stopped_early"], true);
        assert!(report["operations"].as_u64() > Some(10_000), "{report}");
        assert!(report.get("bad_lines").is_none(), "{report}");
    }
}

#[test]
fn an_interrupt_in_the_middle_of_a_file_ends_the_check_early() {
    let folder = Folder::new();
    let file = folder.generate("long.jsonl", &["--ops=1500000", "--model=register"]);
    let running = program()
        .args(["check", "--json"])
        .args([&file, &file])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    std::thread::sleep(Duration::from_millis(500));
    interrupt(&running);
    let ran = Ran::from(running.wait_with_output().expect("it ends"));
    assert_eq!(ran.status, 3, "{} {}", ran.said, ran.complained);
    let report = &ran.json()[0];
    assert_eq!(report["verdict"], "unknown", "{report}");
    assert!(report["operations"].as_u64() < Some(1_500_000), "{report}");
    assert!(
        ran.complained.contains("interrupted before"),
        "{}",
        ran.complained
    );
}
