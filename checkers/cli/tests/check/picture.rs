//! The picture in a real browser, used by its own `#selftest`: real events, timed.

use std::path::Path;

use serde_json::Value;

use crate::browser::{self, chromium};
use crate::program::{Folder, check, run};

/// What a person waits for.
const STEPS: [&str; 6] = [
    "first_frame_ms",
    "whole_ms",
    "zoom_ms",
    "pan_ms",
    "search_ms",
    "filter_ms",
];

/// What the page saw of itself.
fn selftest(chromium: &Path, folder: &Folder, page: &Path) -> Value {
    browser::selftest(chromium, &folder.path("profile"), page).0
}

#[test]
fn a_hundred_thousand_operations_with_a_violation_are_drawn_moved_and_searched_without_delay() {
    let Some(chromium) = chromium() else { return };
    let folder = Folder::new();
    let flags = [
        "--ops=100000",
        "--clients=24",
        "--keys=50",
        "--unknown=0.001",
        "--inject=stale-read",
    ];
    let file = folder.generate("h.vrdc", &flags);
    let page = folder.path("h.html");
    let html = format!("--html={}", page.display());
    assert_eq!(check(&file, &["--model=kv", &html]).status, 1);
    let seen = selftest(&chromium, &folder, &page);
    println!("{seen:#}");
    assert_eq!(seen["operations"], 100_000);
    assert!(seen["witness"].as_u64() >= Some(2), "{seen}");
    assert!(seen["lanes"].as_u64() >= Some(24), "{seen}");
    // The lanes on the screen are drawn with all their operations, and the violation is red.
    assert!(
        seen["operations_drawn_whole"].as_u64() > Some(40_000),
        "{seen}"
    );
    assert!(seen["witness_pixels"].as_u64() > Some(1_000), "{seen}");
    assert!(seen["marked_pixels"].as_u64() > Some(1_000), "{seen}");
    assert!(
        seen["detail"]
            .as_str()
            .is_some_and(|d| d.contains("part of the violation"))
    );
    for did in [
        "has_zoomed",
        "has_panned",
        "goes_to_found",
        "goes_to_marked",
    ] {
        assert_eq!(seen[did], true, "{did}: {seen}");
    }
    let found = seen["found"].as_u64().expect("a count");
    assert!((20_000..100_000).contains(&found), "{seen}");
    let of_key = seen["operations_of_key"].as_u64().expect("a count");
    assert!((1_000..4_000).contains(&of_key), "{seen}");
    assert_eq!(seen["operations_again"], 100_000);
    browser::assert_quick(&STEPS, &seen, || selftest(&chromium, &folder, &page));
}

#[test]
fn a_correct_history_is_drawn_without_anything_red() {
    let Some(chromium) = chromium() else { return };
    let folder = Folder::new();
    for (model, name) in [("cas-register", "a.vrdc"), ("etcd", "b.jsonl")] {
        let file = folder.generate(name, &["--ops=3000", "--model", model, "--unknown=0.01"]);
        let page = folder.path("h.html");
        let converted = run([
            "history",
            "convert",
            &file.display().to_string(),
            "-o",
            &page.display().to_string(),
        ]);
        assert_eq!(converted.status, 0, "{}", converted.complained);
        let seen = selftest(&chromium, &folder, &page);
        assert_eq!(
            (&seen["operations"], &seen["witness"]),
            (&3_000.into(), &0.into()),
            "{seen}"
        );
        assert_eq!(seen["marked_pixels"], 0, "{seen}");
        browser::assert_quick(&STEPS, &seen, || selftest(&chromium, &folder, &page));
    }
}

#[test]
fn a_history_beyond_the_limit_is_drawn_around_its_violation() {
    let Some(chromium) = chromium() else { return };
    let folder = Folder::new();
    let flags = [
        "--ops=400000",
        "--inject=stale-read",
        "--keys=10",
        "--model=register",
    ];
    let file = folder.generate("h.vrdc", &flags);
    let page = folder.path("h.html");
    let html = format!("--html={}", page.display());
    assert_eq!(check(&file, &["--model=register", &html]).status, 1);
    let seen = selftest(&chromium, &folder, &page);
    assert_eq!(seen["operations"], 200_000, "{seen}");
    assert!(seen["witness_pixels"].as_u64() > Some(1_000), "{seen}");
    let text = std::fs::read_to_string(&page).expect("it is there");
    assert!(text.contains("of a longer history"));
}
