//! Files that are wrong, too large, or read by somebody who goes away.

use std::io::{Read, Write};
use std::process::Stdio;

use crate::program::{Folder, check, program};

#[test]
fn a_file_without_an_operation_is_an_error_in_every_format() {
    let folder = Folder::new();
    for (format, text) in [
        ("edn", ""),
        ("edn", "[]"),
        ("edn", "{:process :nemesis :type :info :f :kill :value nil}"),
        ("jepsen-log", "INFO  jepsen.core - Everything is fine\n"),
        ("jsonl", "\n\n"),
        ("s2", ""),
        ("etcd-operations", ""),
    ] {
        let file = folder.write("none", text);
        let ran = check(&file, &["--format", format]);
        assert_eq!(ran.status, 2, "{format}: {}", ran.said);
        assert!(
            ran.complained.contains("no operation"),
            "{}",
            ran.complained
        );
        assert_eq!(ran.object()["verdict"], "unknown");
    }
}

#[test]
fn what_a_model_was_told_from_is_printed_and_what_cannot_be_told_is_asked_for() {
    let folder = Folder::new();
    let additions =
        "{:process 0 :type :invoke :f :add :value 2}\n{:process 0 :type :ok :f :add :value 2}\n";
    let read = |value: &str| {
        let events = ["invoke", "ok"].map(|kind| {
            let value = if kind == "ok" { value } else { "nil" };
            format!("{{:process 0 :type :{kind} :f :read :value {value}}}\n")
        });
        folder.write("h.edn", additions.to_owned() + &events.concat())
    };
    for (value, model) in [("2", "counter"), ("#{2}", "set"), ("[2]", "set")] {
        let report = check(&read(value), &[]).object();
        assert_eq!(
            (&report["verdict"], &report["model"]),
            (&"ok".into(), &model.into())
        );
        assert!(report["model_because"].is_string(), "{report}");
    }
    let ran = check(&read("7"), &["--initial=5"]);
    assert_eq!(ran.object()["verdict"], "ok", "{}", ran.said);
    let ran = check(&read("[2]"), &["--initial=5"]);
    assert!(
        ran.complained.contains("a set cannot begin with 5"),
        "{}",
        ran.complained
    );
    let texts = additions.replace(":add :value 2", ":write :value \"a\"");
    let read_of_nothing = "{:process 1 :type :invoke :f :read :value nil}\n{:process 1 :type :ok :f :read :value \"\"}\n";
    let file = folder.write("texts.edn", texts + read_of_nothing);
    let ran = check(&file, &[]);
    assert_eq!(ran.status, 2, "{}", ran.said);
    assert!(
        ran.complained.contains("give --model"),
        "{}",
        ran.complained
    );
}

#[test]
fn what_every_object_was_taken_to_begin_with_is_told_with_a_violation() {
    let folder = Folder::new();
    let text = "{:process 0 :type :invoke :f :read :value nil}\n{:process 0 :type :ok :f :read :value 3}\n";
    let file = folder.write("h.edn", text);
    let report = check(&file, &["--model=register"]).object();
    assert_eq!(report["verdict"], "violation");
    let notes = report["notes"].to_string();
    assert!(notes.contains("begin with nil; --initial"), "{notes}");
    assert_eq!(check(&file, &["--model=register", "--initial=3"]).status, 0);
}

#[test]
fn pairs_are_what_is_said_of_them() {
    let folder = Folder::new();
    let text = "{:process 0 :type :invoke :f :cas :value [1 [2 3]]}\n{:process 0 :type :ok :f :cas :value [1 [2 3]]}\n";
    let file = folder.write("h.edn", text);
    let ran = check(&file, &["--model=cas-register"]);
    assert_eq!(ran.status, 2, "{}", ran.said);
    assert!(
        ran.complained.contains("--independent"),
        "{}",
        ran.complained
    );
    let told = ["--model=cas-register", "--independent", "--initial=2"];
    assert_eq!(check(&file, &told).status, 0);
    let told = ["--model=cas-register", "--independent=false", "--initial=1"];
    assert_eq!(check(&file, &told).status, 0);
}

#[test]
fn a_small_file_that_becomes_a_large_form_is_refused_within_the_memory() {
    let folder = Folder::new();
    let bombs: [(&str, &str, &str, u32); 4] = [
        (
            "edn",
            "{:process 0 :type :invoke :f :write :value [",
            "1 ",
            3_000_000,
        ),
        (
            "edn",
            "{:process 0 :type :invoke :f :write :value \"",
            "aa",
            3_000_000,
        ),
        (
            "edn",
            "{:process 0 :type :invoke :f :write :value ",
            "[[",
            300_000,
        ),
        (
            "jsonl",
            "{\"t\":1,\"c\":1,\"e\":\"call\",\"op\":1,\"in\":{\"do\":{\"write\":[",
            "1,",
            3_000_000,
        ),
    ];
    for (format, begin, more, times) in bombs {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(begin.as_bytes()).expect("memory");
        let chunk = more.repeat(10_000);
        for _ in 0..times / 10_000 {
            gzip.write_all(chunk.as_bytes()).expect("memory");
        }
        let file = folder.write("bomb.gz", gzip.finish().expect("memory"));
        let ran = check(&file, &["--memory-limit=48MiB", "--format", format]);
        assert_eq!(ran.status, 2, "{format}: {}", ran.said);
        assert!(
            ran.complained.contains("line 1, column"),
            "{}",
            ran.complained
        );
        let peak = ran.object()["peak_memory_bytes"].as_u64().unwrap_or(0);
        assert!(peak < 48 << 20, "{format}: {peak}");
    }
}

#[test]
fn a_compressed_text_that_is_cut_off_is_checked_as_far_as_it_goes() {
    let folder = Folder::new();
    let file = folder.generate("h.jsonl", &["--ops=20000", "--model=register"]);
    let bytes = std::fs::read(&file).expect("it is there");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&bytes).expect("memory");
    let level = ruzstd::encoding::CompressionLevel::Fastest;
    let zstd = ruzstd::encoding::compress_to_vec(bytes.as_slice(), level);
    for (name, zipped) in [("gz", gzip.finish().expect("memory")), ("zst", zstd)] {
        let cut = folder.write("cut", &zipped[..zipped.len() * 3 / 4]);
        let ran = check(&cut, &[]);
        assert_eq!(ran.status, 2, "{name}: {}", ran.said);
        let report = ran.object();
        assert_eq!(report["verdict"], "unknown");
        assert_eq!(
            report["bad_line_count"],
            serde_json::Value::Null,
            "{report}"
        );
        assert!(report["truncated"].is_string(), "{report}");
        assert!(report["operations"].as_u64() > Some(5_000), "{report}");
    }
}

#[test]
fn a_program_whose_reader_goes_away_ends_quietly() {
    let folder = Folder::new();
    let wrong = "{\"t\":1,\n".repeat(1_000);
    let file = folder.write("wrong.jsonl", wrong);
    let files = vec![file; 2_000];
    let mut running = program()
        .arg("check")
        .args(["--format=jsonl", "--json"])
        .args(&files)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut first = [0; 10];
    let mut said = running.stdout.take().expect("it was asked for");
    said.read_exact(&mut first).expect("it says something");
    drop(said);
    let mut complained = String::new();
    let mut stderr = running.stderr.take().expect("it was asked for");
    stderr.read_to_string(&mut complained).expect("it is text");
    running.wait().expect("it ends");
    assert!(!complained.contains("panicked"), "{complained}");
    let last = complained.lines().last().unwrap_or_default();
    assert!(last.contains("wrong.jsonl: "), "{last}");
}
