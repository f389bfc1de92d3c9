//! What a check says of histories that are right, wrong, or too hard.

use crate::program::{Folder, check, run};

#[test]
fn a_correct_history_of_every_model_is_ok_and_the_model_is_told_from_its_operations() {
    let folder = Folder::new();
    for model in [
        "register",
        "cas-register",
        "kv",
        "kv-append",
        "set",
        "queue",
        "stack",
        "lock",
        "counter",
        "list-append",
        "etcd",
    ] {
        // Few at once, for those models for which that is hard.
        let flags = [
            "--model",
            model,
            "--ops=2000",
            "--clients=4",
            "--unknown=0.001",
        ];
        let file = folder.generate(&format!("{model}.vrdc"), &flags);
        let ran = check(&file, &[]);
        assert_eq!(ran.status, 0, "{model}: {} {}", ran.said, ran.complained);
        let report = ran.object();
        assert_eq!(report["verdict"], "ok", "{report}");
        // Reads and writes alone do not tell a map from a register.
        assert!(report["model"] == model || model == "kv", "{report}");
    }
}

#[test]
fn every_injected_error_is_found_and_its_witness_shown() {
    let folder = Folder::new();
    let objects = ["stale-read", "lost-write", "dup-write", "phantom-read"];
    let etcd = [
        "stale-read",
        "stale-value",
        "lost-write",
        "dup-write",
        "swap-rev",
        "torn-range",
        "split-txn",
        "watch-drop",
        "watch-dup",
        "watch-reorder",
        "early-expiry",
    ];
    let cases = ["register", "cas-register", "kv"]
        .iter()
        .flat_map(|model| objects.iter().map(move |error| (*model, *error)))
        .chain(["set", "queue", "stack", "counter", "kv-append"].map(|m| (m, "phantom-read")))
        .chain(["queue", "stack"].map(|m| (m, "dup-write")))
        .chain(etcd.iter().map(|error| ("etcd", *error)));
    for (model, error) in cases {
        for seed in ["1", "2", "3"] {
            let flags = [
                "--model",
                model,
                "--inject",
                error,
                "--seed",
                seed,
                "--ops=4000",
                "--keys=20",
                "--unknown=0.002",
                "--clients=6",
            ];
            let file = folder.generate("wrong.vrdc", &flags);
            let ran = check(&file, &["--model", model]);
            assert_eq!(ran.status, 1, "{model} {error} {seed}: {}", ran.said);
            let report = ran.object();
            assert_eq!(report["verdict"], "violation");
            let witness = &report["witness"];
            let operations = witness["operations"].as_array().expect("operations");
            assert!(!operations.is_empty(), "{model} {error}: {report}");
            assert!(witness["expected"].is_string() && witness["got"].is_string());
            // The same history without the error is right.
            let flags: Vec<&str> = flags
                .iter()
                .copied()
                .filter(|f| *f != "--inject" && *f != error)
                .collect();
            let file = folder.generate("right.vrdc", &flags);
            assert_eq!(
                check(&file, &["--model", model]).status,
                0,
                "{model} {seed}"
            );
        }
    }
}

#[test]
fn the_json_object_has_the_fields_that_tools_rely_on() {
    let folder = Folder::new();
    let file = folder.generate(
        "h.jsonl",
        &["--inject=stale-read", "--ops=3000", "--unknown=0.01"],
    );
    let report = check(&file, &["--model=kv"]).object();
    for field in [
        "operations",
        "keys",
        "unknown_outcomes",
        "max_configurations",
        "peak_memory_bytes",
    ] {
        assert!(report[field].is_u64(), "{field}: {report}");
    }
    assert!(report["operations_per_second"].is_f64(), "{report}");
    for engine in ["frontier", "zones", "revisions"] {
        assert!(report["engine"][engine].is_u64(), "{report}");
    }
    assert_eq!(report["file"], file.display().to_string());
    assert_eq!(report["witness"]["kind"], "not-linearizable");
    assert_eq!(report["clock_error"]["robust"], "up-to");
    assert!(report["clock_error"]["clock_error_ns"].is_u64());
}

#[test]
fn a_failure_begins_with_the_command_that_reproduces_it() {
    let folder = Folder::new();
    let file = folder.generate(
        "h.vrdc",
        &["--inject=lost-write", "--ops=3000", "--keys=10"],
    );
    let ran = run(["check", "--model=kv", &file.display().to_string()]);
    assert_eq!(ran.status, 1);
    let first = ran.said.lines().next().expect("a line");
    assert_eq!(
        first,
        format!("veridical-check check --model=kv {}", file.display())
    );
    let again: Vec<&str> = first.split(' ').skip(1).collect();
    assert_eq!(run(again).status, 1);
    for word in [
        "violation",
        "expected",
        "got",
        "witness",
        "client",
        "clocks",
        "frontier",
    ] {
        assert!(ran.said.contains(word), "{word}: {}", ran.said);
    }
}

#[test]
fn several_files_get_one_verdict_each_and_the_most_severe_status() {
    let folder = Folder::new();
    let right = folder.generate("right.vrdc", &["--ops=500"]);
    let wrong = folder.generate("wrong.vrdc", &["--ops=3000", "--inject=stale-read"]);
    let broken = folder.write("broken.jsonl", "this is no history\n");
    let missing = folder.path("missing");
    let junit = folder.path("junit.xml");
    let names = [&right, &wrong, &broken, &missing].map(|path| path.display().to_string());
    let status = |files: &[&String]| {
        let files = files.iter().map(|file| file.as_str());
        run(["check", "--json"].into_iter().chain(files)).status
    };
    assert_eq!(status(&[&names[0], &names[0]]), 0);
    assert_eq!(status(&[&names[0], &names[2]]), 2);
    assert_eq!(status(&[&names[3], &names[0]]), 2);
    let ran = run(["check", "--json", "--junit"]
        .into_iter()
        .map(String::from)
        .chain([junit.display().to_string()])
        .chain(names));
    assert_eq!(ran.status, 1, "a violation is more severe than a bad file");
    let reports = ran.json();
    assert_eq!(reports.len(), 4);
    assert_eq!(reports[0]["verdict"], "ok");
    assert_eq!(reports[1]["verdict"], "violation");
    assert!(reports[2]["error"].is_string() && reports[3]["error"].is_string());
    let junit = std::fs::read_to_string(junit).expect("it is written");
    let suite = junit.lines().find(|line| line.contains("<testsuite "));
    let suite = suite.expect("there is a suite");
    for count in ["tests=\"4\"", "errors=\"2\"", "failures=\"1\""] {
        assert!(suite.contains(count), "{count} in {junit}");
    }
    assert_eq!(junit.matches("<testcase ").count(), 4);
}

#[test]
fn what_is_too_hard_is_unknown_with_its_cause_and_status_3() {
    // A text to which two dozen clients append at once, and few look: a beam of two
    // configurations cannot decide in which order.
    let folder = Folder::new();
    let file = folder.generate(
        "texts.jsonl",
        &[
            "--model=kv-append",
            "--ops=4000",
            "--clients=24",
            "--keys=1",
            "--reads=0.1",
        ],
    );
    let ran = check(&file, &["--configurations=2"]);
    let report = ran.object();
    assert_eq!(
        (ran.status, &report["verdict"]),
        (3, &serde_json::json!("unknown")),
        "{report}"
    );
    assert_eq!(report["cause"]["cause"], "configurations");
    assert!(report["cause"]["events"].is_array());
}

#[test]
fn a_clock_error_up_to_which_a_violation_is_one_can_be_checked_by_widening_the_history() {
    let folder = Folder::new();
    for seed in ["1", "2", "3", "4"] {
        let file = folder.generate(
            "h.jsonl",
            &[
                "--inject=stale-read",
                // Decided by engine B, however much overlaps.
                "--model=register",
                "--ops=3000",
                "--keys=5",
                "--seed",
                seed,
            ],
        );
        let report = check(&file, &["--model=register"]).object();
        assert_eq!(report["clock_error"]["robust"], "up-to", "{report}");
        let limit = report["clock_error"]["clock_error_ns"]
            .as_u64()
            .expect("ns");
        let widened = folder.path("widened.jsonl");
        for (clock_error_ns, status) in [(limit, 1), (limit + 1, 0)] {
            let merged = run([
                "history",
                "merge",
                &file.display().to_string(),
                "-o",
                &widened.display().to_string(),
                &format!("--clock-error={clock_error_ns}ns"),
            ]);
            assert_eq!(merged.status, 0, "{}", merged.complained);
            assert_eq!(
                check(&widened, &["--model=register"]).status,
                status,
                "{clock_error_ns}"
            );
        }
    }
}

#[test]
fn a_value_that_nobody_wrote_is_a_violation_whatever_the_clocks() {
    let folder = Folder::new();
    let flags = ["--inject=phantom-read", "--ops=3000", "--model=register"];
    let file = folder.generate("h.vrdc", &flags);
    let report = check(&file, &["--model=register"]).object();
    assert_eq!(report["clock_error"]["robust"], "unlimited", "{report}");
}
