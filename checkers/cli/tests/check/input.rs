//! Files as they are found: compressed, cut off, with bad lines, longer than memory.

use std::io::Write;

use crate::program::{Folder, check, program, run, run_with_input};

#[test]
fn standard_input_and_compressed_files_get_the_verdict_of_the_file() {
    let folder = Folder::new();
    for inject in [None, Some("--inject=stale-read")] {
        let flags: Vec<&str> = ["--ops=3000", "--keys=10"]
            .into_iter()
            .chain(inject)
            .collect();
        let status = i32::from(inject.is_some());
        for name in ["h.jsonl", "h.vrdc", "h.vrdc.zst"] {
            let file = folder.generate(name, &flags);
            assert_eq!(check(&file, &["--model=kv"]).status, status, "{name}");
            let bytes = std::fs::read(&file).expect("it is there");
            let ran = run_with_input(["check", "-", "--json", "--model=kv"], bytes.clone());
            assert_eq!(ran.status, status, "{name}: {}", ran.complained);
            assert_eq!(ran.object()["file"], "-");

            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gzip.write_all(&bytes).expect("memory");
            let zipped = folder.write("zipped", gzip.finish().expect("memory"));
            assert_eq!(check(&zipped, &["--model=kv"]).status, status, "{name}.gz");

            let zstd = ruzstd::encoding::compress_to_vec(
                bytes.as_slice(),
                ruzstd::encoding::CompressionLevel::Fastest,
            );
            let zipped = folder.write("zipped", zstd);
            let report = check(&zipped, &["--model=kv"]);
            assert_eq!(report.status, status, "{name}.zst: {}", report.said);
        }
    }
}

#[test]
fn a_bad_line_is_named_with_its_column_and_nothing_behind_it_is_judged() {
    let folder = Folder::new();
    let file = folder.generate(
        "h.jsonl",
        &["--ops=1000", "--inject=stale-read", "--keys=4"],
    );
    let lines = std::fs::read_to_string(&file).expect("it is there");
    let mut lines: Vec<&str> = lines.lines().collect();
    let behind = [lines.as_slice(), &["[]"]].concat();
    let behind = folder.write("behind.jsonl", behind.join("\n"));
    let ran = check(&behind, &["--model=kv"]);
    assert_eq!(
        ran.status, 1,
        "what came before it is certain: {}",
        ran.said
    );
    lines.insert(3, r#"{"t":1,"c":}"#);
    let file = folder.write("bad.jsonl", lines.join("\n"));
    let ran = check(&file, &["--model=kv"]);
    assert_eq!(ran.status, 2, "{}", ran.said);
    assert_eq!(ran.object()["verdict"], "unknown");
    assert_eq!(ran.object()["cause"]["cause"], "unreadable");
    let place = format!("{}: line 4, column 12: expected", file.display());
    assert!(ran.complained.contains(&place), "{}", ran.complained);
    assert_eq!(ran.object()["bad_line_count"], 1);

    let right = folder.generate("right.jsonl", &["--ops=100"]);
    let mut text = std::fs::read_to_string(&right).expect("it is there");
    text.push_str("[]\n");
    let file = folder.write("right-bad.jsonl", text);
    let ran = check(&file, &[]);
    assert_eq!(ran.status, 2, "{}", ran.said);
    assert_eq!(ran.object()["verdict"], "unknown");
    assert!(
        ran.complained.contains("line 201, column"),
        "{}",
        ran.complained
    );
}

#[test]
fn what_stands_before_a_cut_is_checked_and_what_is_behind_it_is_unknown() {
    let folder = Folder::new();
    for model in ["kv", "etcd"] {
        let file = folder.generate("h.vrdc", &["--ops=30000", "--model", model]);
        let bytes = std::fs::read(&file).expect("it is there");
        let cut = folder.write("cut.vrdc", &bytes[..bytes.len() - 10]);
        let ran = check(&cut, &[]);
        assert_eq!(ran.status, 2, "{model}: {} {}", ran.said, ran.complained);
        assert_eq!(ran.object()["verdict"], "unknown");
        assert!(
            ran.complained.contains("ends within a block"),
            "{}",
            ran.complained
        );
        let report = ran.object();
        assert!(report["truncated"].is_string(), "{report}");
        assert!(report["operations"].as_u64() > Some(10_000), "{report}");

        let mut damaged = bytes;
        let middle = damaged.len() / 2;
        damaged[middle] ^= 1;
        let damaged = folder.write("damaged.vrdc", damaged);
        let ran = check(&damaged, &[]);
        assert_eq!(ran.status, 2, "{}", ran.said);
        assert!(ran.complained.contains("checksum"), "{}", ran.complained);
    }
}

#[test]
fn what_cannot_be_a_history_is_a_usage_error_that_says_why() {
    let folder = Folder::new();
    let text = folder.write("text", "hello\n");
    let etcd = folder.generate("etcd.jsonl", &["--ops=10", "--model=etcd"]);
    let directory = folder.path("");
    let empty = folder.write("empty", "");
    for (file, flags, complaint) in [
        (&text, &[][..], "no known format begins like this: \"hello"),
        (&etcd, &["--model=kv"], "the model kv does not fit"),
        (&directory, &[], "directory"),
        (&empty, &[], "it is empty"),
        (&text, &["--format=native"], "shorter than its header"),
    ] {
        let ran = check(file, flags);
        assert_eq!(ran.status, 2, "{}", ran.said);
        assert!(ran.complained.contains(complaint), "{}", ran.complained);
    }
    assert_eq!(run(["check"]).status, 2);
    assert_eq!(run(["check", "x", "--model=bank"]).status, 2);
    assert_eq!(run(["check", "-", "-"]).status, 2);
}

#[test]
fn memory_does_not_grow_with_the_length_of_a_file() {
    let folder = Folder::new();
    let flags = [
        "--ops=2000000",
        "--keys=100",
        "--clients=16",
        "--reads=0.9",
        "--model=register",
    ];
    let file = folder.generate("long.vrdc", &flags);
    let report = check(&file, &[]).object();
    let (peak, length) = (
        report["peak_memory_bytes"].as_u64().expect("bytes"),
        file.metadata().expect("it is there").len(),
    );
    println!("peak {peak} bytes for {length} bytes: {report}");
    assert_eq!(report["operations"], 2_000_000);
    assert!(peak < length && peak < 28 << 20, "{peak} for {length}");
}

#[test]
fn a_memory_limit_moves_idle_keys_to_disk_and_changes_no_verdict() {
    let folder = Folder::new();
    let flags = [
        "--ops=300000",
        "--keys=200000",
        "--reads=0.1",
        "--model=register",
    ];
    let file = folder.generate("wide.vrdc", &flags);
    let free = check(&file, &[]).object();
    let limited = check(&file, &["--memory-limit=1MiB"]).object();
    assert_eq!(limited["verdict"], "ok");
    assert_eq!(limited["operations"], free["operations"]);
    let peak = |report: &serde_json::Value| report["peak_memory_bytes"].as_u64().expect("bytes");
    println!(
        "peak {} without, {} with a limit",
        peak(&free),
        peak(&limited)
    );
    assert!(peak(&limited) < peak(&free));
}

#[test]
fn generated_histories_flow_through_a_pipe() {
    let mut generator = program()
        .args(["history", "gen", "--ops=50000", "--inject=lost-write"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("it runs");
    let piped = generator.stdout.take().expect("it was asked for");
    let output = program()
        .args(["check", "-", "--json", "--model=kv"])
        .stdin(piped)
        .output()
        .expect("it runs");
    let _ = generator.wait();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}
