//! `veridical-check history`.

use crate::program::{Folder, check, run, run_with_input};

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_others() {
    let folder = Folder::new();
    for model in ["kv", "etcd"] {
        let bytes = |seed: &str| {
            let flags = ["--ops=500", "--dist=zipf", "--model", model, "--seed", seed];
            std::fs::read(folder.generate("h.vrdc", &flags)).expect("it is there")
        };
        assert_eq!(bytes("7"), bytes("7"));
        assert_ne!(bytes("7"), bytes("8"));
    }
}

#[test]
fn statistics_count_what_was_asked_for() {
    let folder = Folder::new();
    let file = folder.generate("h.vrdc", &["--ops=20000", "--clients=9", "--unknown=0.1"]);
    let name = file.display().to_string();
    let json = run(["history", "stat", "--json", &name]).object();
    assert_eq!(json["operations"], 20_000);
    assert_eq!(json["clients"], 9);
    assert_eq!(json["concurrency_max"], 9);
    assert_eq!(json["format"], "native");
    let unknown = json["unknown"].as_u64().expect("a count");
    assert!((1_800..2_200).contains(&unknown), "{json}");
    for field in [
        "latency_p50_ns",
        "latency_p99_ns",
        "latency_p999_ns",
        "latency_max_ns",
    ] {
        assert!(json[field].as_u64() > Some(0), "{json}");
    }
    let text = run(["history", "stat", &name]);
    assert!(
        text.said.contains("20000 (") && text.said.contains("p99"),
        "{}",
        text.said
    );
}

#[test]
fn a_history_survives_every_form() {
    let folder = Folder::new();
    for model in ["cas-register", "etcd"] {
        let first = folder.generate("first.jsonl", &["--ops=2000", "--model", model]);
        let mut last = first.clone();
        for name in ["a.vrdc", "b.vrdc.zst", "c.jsonl"] {
            let next = folder.path(name);
            let ran = run([
                "history",
                "convert",
                &last.display().to_string(),
                "-o",
                &next.display().to_string(),
            ]);
            assert_eq!(ran.status, 0, "{}", ran.complained);
            assert_eq!(
                check(&next, &[]).object()["operations"],
                2_000,
                "{model} {name}"
            );
            last = next;
        }
        let read = |path| std::fs::read(path).expect("it is there");
        assert!(read(&first) == read(&last), "{model}");
    }
}

#[test]
fn porcupine_gets_a_partition_for_each_key() {
    let folder = Folder::new();
    let file = folder.generate("h.vrdc", &["--ops=300", "--keys=7"]);
    let bytes = std::fs::read(file).expect("it is there");
    let ran = run_with_input(
        [
            "history",
            "convert",
            "-",
            "-o",
            "-",
            "--to=porcupine",
            "--model=kv",
        ],
        bytes,
    );
    assert_eq!(ran.status, 0, "{}", ran.complained);
    let json: serde_json::Value = serde_json::from_str(&ran.said).expect("JSON");
    let partitions = json["Partitions"].as_array().expect("partitions");
    assert_eq!(partitions.len(), 7);
    let operations: usize = partitions
        .iter()
        .map(|partition| partition["History"].as_array().expect("operations").len())
        .sum();
    assert_eq!(operations, 300);
    assert!(
        !partitions[0]["PartialLinearizations"]
            .as_array()
            .expect("orders")
            .is_empty()
    );
}

#[test]
fn merged_logs_of_clients_are_the_history() {
    let folder = Folder::new();
    let whole = folder.generate("whole.jsonl", &["--ops=2000", "--clients=4", "--keys=3"]);
    let text = std::fs::read_to_string(&whole).expect("it is there");
    let logs: Vec<String> = (0..4)
        .map(|client| {
            let own = text
                .lines()
                .filter(|line| line.contains(&format!("\"c\":{client},")));
            let log = own.collect::<Vec<_>>().join("\n");
            folder
                .write(&format!("{client}.jsonl"), log)
                .display()
                .to_string()
        })
        .collect();
    let merged = folder.path("merged.jsonl").display().to_string();
    let ran = run(["history", "merge", "-o", &merged]
        .into_iter()
        .chain(logs.iter().map(String::as_str)));
    assert_eq!(ran.status, 0, "{}", ran.complained);
    let is_whole = std::fs::read_to_string(&merged).expect("it is there") == text;
    assert!(is_whole, "{merged}");
    // Against the order of time within one log.
    let reversed: Vec<&str> = text.lines().rev().collect();
    let reversed = folder.write("reversed.jsonl", reversed.join("\n"));
    let ran = run([
        "history",
        "merge",
        "-o",
        &merged,
        &reversed.display().to_string(),
    ]);
    assert_eq!(ran.status, 2, "{}", ran.complained);
}

#[test]
fn an_input_is_never_overwritten_and_an_error_that_does_not_fit_is_refused() {
    let folder = Folder::new();
    let file = folder
        .generate("h.jsonl", &["--ops=10"])
        .display()
        .to_string();
    let ran = run(["history", "convert", &file, "-o", &file]);
    assert_eq!(ran.status, 2);
    assert!(
        ran.complained.contains("would be overwritten"),
        "{}",
        ran.complained
    );
    for arguments in [
        &["history", "gen", "--model=queue", "--inject=lost-write"][..],
        &["history", "gen", "--model=kv", "--inject=watch-drop"],
        &["history", "gen", "--ops=3", "--inject=stale-read"],
        &["history", "gen", "--reads=1.5"],
        &["history", "gen", "-o", "x.html"],
        &["history", "stat", "/nowhere"],
    ] {
        let ran = run(arguments);
        assert_eq!(ran.status, 2, "{arguments:?}: {}", ran.said);
        assert!(!ran.complained.is_empty());
    }
}
