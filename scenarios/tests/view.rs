//! A run that is looked at: as a page in a real browser, as a trace, stopped at a time.
#![cfg(madsim)]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the test runs on the host"
)]

mod browser;
#[path = "browser/run_page.rs"]
mod run_page;

use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};
use veridical_world::trace::Journal;
use veridical_world::{Event, TraceMode};

/// A bug that an answer bears witness of, and that is soon found.
const BUG: &str = "torn-cut";

/// Seeds within which it is found.
const SEEDS: &str = "60";

fn simulator(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_veridical-sim"))
        .args(arguments)
        .output()
        .expect("the program starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn path(path: &Path) -> &str {
    path.to_str().expect("paths of tests are text")
}

/// The digest that an output names.
fn digest_in(text: &str) -> String {
    let (_, rest) = text.split_once("digest ").expect("a digest");
    rest.chars().take_while(char::is_ascii_hexdigit).collect()
}

/// The report of a seed that nobody watches.
fn report(seed: &str) -> Value {
    let text = stdout(&simulator(&["one", "--seed", seed]));
    serde_json::from_str(&text).expect("a report")
}

#[test]
fn who_watches_a_run_moves_nothing_in_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let page = dir.path().join("run.html");
    let artefact = dir.path().join("artefact");
    for seed in ["1", "2", "3"] {
        let unseen = report(seed);
        let seen = simulator(&["run", "--seed", seed, "--html", path(&page)]);
        assert_eq!(digest_in(&stdout(&seen)), unseen["digest"], "seed {seed}");
        let text = std::fs::read_to_string(&page).expect("written");
        assert!(text.contains("AppendEntries"), "messages are understood");
        simulator(&["one", "--seed", seed, "--artefact", path(&artefact)]);
        let kept = std::fs::read(artefact.join("report.json")).expect("written");
        let kept: Value = serde_json::from_slice(&kept).expect("a report");
        assert_eq!(kept["digest"], unseen["digest"], "seed {seed}");
    }
}

#[test]
fn a_run_that_is_stopped_is_the_beginning_of_the_whole_one() {
    let dir = tempfile::tempdir().expect("a folder");
    let trace = dir.path().join("trace.jsonl");
    simulator(&["one", "--seed", "1", "--trace", path(&trace)]);
    let stopped = simulator(&["run", "--seed", "1", "--until", "4s", "--log", "info"]);
    let said = stdout(&stopped);
    assert_eq!(stopped.status.code(), Some(0), "{said}");
    assert!(said.contains("stopped at 4000 ms"), "{said}");
    for part in ["member-1: ", "open operations: ", "active faults: "] {
        assert!(said.contains(part), "{said}");
    }
    let text = std::fs::read_to_string(&trace).expect("written");
    let events = text.lines().map(|line| {
        let event: Event = serde_json::from_str(line).expect("an event");
        event
    });
    let mut journal = Journal::new(TraceMode::Off, None);
    let mut found = false;
    for event in events {
        if found {
            // The first event that the stopped run did not see.
            assert!(event.at_ns >= 4_000_000_000, "{event:?}");
            break;
        }
        journal.record(event.at_ns, event.process, event.kind);
        found = format!("{:032x}", journal.digest().value()) == digest_in(&said);
    }
    assert!(found, "no beginning of the whole run has this digest");

    let logged = String::from_utf8_lossy(&stopped.stderr).into_owned();
    let seconds = |line: &str| line.split_whitespace().next()?.parse::<f64>().ok();
    let times: Vec<f64> = logged.lines().filter_map(seconds).collect();
    assert!(times.len() > 3 && times.is_sorted(), "{logged}");
    assert!(times.iter().all(|time| *time < 4.001), "{logged}");
    assert!(logged.contains(" member-2 "), "{logged}");
    assert!(!logged.contains(" DEBUG "), "{logged}");
    let wrong = simulator(&["run", "--seed", "1", "--log", "a=b=c"]);
    assert_eq!(wrong.status.code(), Some(2));
}

#[test]
fn the_page_and_the_trace_of_a_failure_show_what_is_wrong_with_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let recalled = simulator(&["recall", "--bug", BUG, "--seeds", SEEDS, "--jobs", "1"]);
    let line = stdout(&recalled);
    let (_, seed) = line.split_once("--seed ").expect("the bug is found");
    let seed: String = seed.chars().take_while(char::is_ascii_digit).collect();
    let artefacts = path(dir.path());
    let bug = ["--planted", BUG, "--artefacts", artefacts];
    simulator(&[&["run", "--seed", &seed], &bug[..]].concat());
    let kept = dir.path().join(format!("swarm-{seed}-{BUG}"));

    let trace = dir.path().join("trace.json");
    let exported = ["view", path(&kept), "--trace", "chrome", "-o", path(&trace)];
    assert_eq!(simulator(&exported).status.code(), Some(0));
    let trace: Value =
        serde_json::from_slice(&std::fs::read(&trace).expect("written")).expect("JSON");
    assert_keeps_the_rules(&trace);

    let Some(chromium) = browser::chromium() else {
        return;
    };
    let written = std::fs::read(kept.join("run.html")).expect("written with the failure");
    let page = dir.path().join("again.html");
    simulator(&["view", path(&kept), "-o", path(&page)]);
    assert!(
        written == std::fs::read(&page).expect("written"),
        "the same page again"
    );
    let (seen, console) = browser::selftest(&chromium, &dir.path().join("profile"), &page);
    println!("{seen:#}");
    assert_eq!(console, Vec::<String>::new());
    assert_eq!(seen["errors"], serde_json::json!([]));
    assert_shows_the_run(&seen);
    let profile = dir.path().join("profile");
    browser::assert_quick(&run_page::STEPS, &seen, || {
        browser::selftest(&chromium, &profile, &page).0
    });
}

fn assert_shows_the_run(seen: &Value) {
    let number = |name: &str| {
        seen[name]
            .as_u64()
            .unwrap_or_else(|| panic!("{name}: {seen}"))
    };
    let text = |name: &str| {
        seen[name]
            .as_str()
            .unwrap_or_else(|| panic!("{name}: {seen}"))
    };
    // Lanes: the members, and at least a host with clients.
    assert!(number("nodes") >= 3, "{seen}");
    assert!(number("lanes") > number("nodes"), "{seen}");
    assert_eq!(number("table_rows"), number("nodes"));
    for kind in ["AppendEntries", "Vote", "Heartbeat", "Put"] {
        let kinds = seen["kinds"].as_array().expect("kinds");
        assert!(kinds.contains(&kind.into()), "{kind}: {seen}");
    }
    // The violation is on the first screen, in red and in words.
    assert!(number("witness") >= 1, "{seen}");
    assert!(number("witness_pixels") > 300, "{seen}");
    assert!(text("witness_text").contains("expected"), "{seen}");
    assert!(text("detail").contains("part of the violation"), "{seen}");
    for did in [
        "has_zoomed",
        "has_panned",
        "has_stepped",
        "has_stepped_back",
        "goes_to_found",
        "goes_to_witness",
    ] {
        assert_eq!(seen[did], true, "{did}: {seen}");
    }
    // The slider: nobody was anything at the start, somebody led in the middle.
    assert!(text("state_in_middle").contains("er"), "{seen}");
    assert_ne!(seen["state_in_middle"], seen["state_at_start"]);
    assert!((seen["cursor_part"].as_f64().expect("a part") - 0.5).abs() < 0.01);
    // Filters take away and give back.
    let all = number("messages_all");
    assert_eq!(all, number("messages"));
    assert_eq!(all, number("messages_again"));
    assert_eq!(number("lanes_without_one"), number("lanes") - 1);
    for less in [
        "messages_without_one",
        "messages_without_group",
        "messages_of_kind",
        "messages_of_key",
    ] {
        let count = number(less);
        assert!(count > 0 && count < all, "{less}: {seen}");
    }
    assert!(number("operations_of_key") < number("operations"), "{seen}");
    assert!(number("found") > 0, "{seen}");
    assert!(number("found_kind") > 0, "{seen}");
    // Arrows and faults are drawn and say what they are.
    assert!(number("arrow_pixels") > 200, "{seen}");
    assert!(text("pointed").contains(" → "), "{seen}");
    assert!(number("fault_pixels") > 20, "{seen}");
    assert!(text("fault_detail").contains("fault "), "{seen}");
    assert!(text("log_of").starts_with("member-"), "{seen}");
}

/// A time of a trace, in ns: µs are written with fractions.
fn ns(us: &Value) -> Option<i64> {
    Some((us.as_f64()? * 1_000.0).round() as i64)
}

/// Beginning and end of each slice in ns, by process and track.
type Slices = BTreeMap<(u64, u64), Vec<(i64, i64)>>;

/// A field of an event that is a text.
fn word(event: &Value, field: &str) -> String {
    event[field].as_str().unwrap_or("").to_owned()
}

/// What the trace event format asks for, and what Perfetto needs on top.
fn assert_keeps_the_rules(trace: &Value) {
    let events = trace["traceEvents"].as_array().expect("events");
    let mut slices = Slices::new();
    let mut asynchronous: BTreeMap<(u64, String, String), Vec<String>> = BTreeMap::new();
    let mut flows: BTreeMap<u64, Vec<&Value>> = BTreeMap::new();
    let mut seen: BTreeMap<String, u64> = BTreeMap::new();
    let mut named = std::collections::BTreeSet::new();
    for event in events {
        let phase = word(event, "ph");
        *seen.entry(phase.clone()).or_default() += 1;
        assert!(!word(event, "name").is_empty(), "{event}");
        let pid = event["pid"].as_u64().expect("a pid");
        let tid = event["tid"].as_u64().expect("a tid");
        let at = ns(&event["ts"]);
        assert!(phase == "M" || at.is_some_and(|at| at >= 0), "{event}");
        let at = at.unwrap_or(0);
        match phase.as_str() {
            "M" => {
                assert!(event["args"].is_object(), "{event}");
                if word(event, "name") == "process_name" {
                    named.insert(pid);
                }
            }
            "X" => {
                let length = ns(&event["dur"]).expect("a duration");
                assert!(length >= 0, "{event}");
                slices
                    .entry((pid, tid))
                    .or_default()
                    .push((at, at + length));
            }
            "b" | "e" => {
                let id = word(&event["id2"], "local");
                let category = word(event, "cat");
                asynchronous
                    .entry((pid, category, id))
                    .or_default()
                    .push(phase);
            }
            "s" | "f" => {
                assert!(phase == "s" || event["bp"] == "e", "{event}");
                flows
                    .entry(event["id"].as_u64().expect("an id"))
                    .or_default()
                    .push(event);
            }
            "C" => {
                let values = event["args"].as_object().expect("values");
                assert!(values.values().all(Value::is_number), "{event}");
            }
            // Perfetto shows what has a wider scope under a heading of its own.
            "i" => assert_eq!(event["s"], "t", "{event}"),
            other => panic!("phase {other}"),
        }
    }
    for phase in ["M", "X", "b", "e", "s", "f", "C"] {
        assert!(seen.get(phase).is_some_and(|count| *count > 0), "{seen:?}");
    }
    for (pid, _) in slices.keys() {
        assert!(named.contains(pid), "process {pid} has a name");
    }
    assert_slices_nest(&mut slices);
    for (name, phases) in asynchronous {
        assert_eq!(phases, ["b", "e"], "{name:?}");
    }
    assert_flows_are_bound(&flows, &slices);
}

/// On one track a slice lies in another or beside it. The slices are sorted by this.
fn assert_slices_nest(slices: &mut Slices) {
    for ((pid, tid), slices) in slices {
        slices.sort_by_key(|slice| (slice.0, -slice.1));
        let mut open: Vec<(i64, i64)> = Vec::new();
        for slice in slices {
            while open.last().is_some_and(|last| last.1 <= slice.0) {
                open.pop();
            }
            if let Some(last) = open.last() {
                assert!(slice.1 <= last.1, "{pid}/{tid}: {last:?} {slice:?}");
            }
            open.push(*slice);
        }
    }
}

/// A flow has two ends, and each is bound to the slice around it.
fn assert_flows_are_bound(flows: &BTreeMap<u64, Vec<&Value>>, slices: &Slices) {
    for (id, ends) in flows {
        let phases: Vec<_> = ends.iter().map(|end| word(end, "ph")).collect();
        assert_eq!(phases, ["s", "f"], "flow {id}");
        assert!(ns(&ends[0]["ts"]) <= ns(&ends[1]["ts"]), "flow {id}");
        for end in ends {
            let track = (
                end["pid"].as_u64().expect("a pid"),
                end["tid"].as_u64().expect("a tid"),
            );
            let at = ns(&end["ts"]).expect("a time");
            let slices = &slices[&track];
            let first = slices.partition_point(|slice| slice.0 <= at);
            let bound = slices[..first]
                .iter()
                .rev()
                .take(4)
                .any(|slice| at <= slice.1);
            assert!(bound, "flow {id} at {at} hangs in the air");
        }
    }
}
