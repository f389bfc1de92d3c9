//! docs/faults.md says of every fault what it does, how it is counted and which test shows
//! it.

#![allow(
    clippy::disallowed_methods,
    reason = "it reads files of the repository"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use veridical_world::{Counter, DiskFaults, Fault, NetworkFaults};

fn docs_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

fn page() -> String {
    std::fs::read_to_string(docs_dir().join("faults.md")).expect("the page is there")
}

/// What stands between backticks in the rows of the page's tables.
fn named_in_tables(page: &str) -> BTreeSet<&str> {
    page.lines()
        .filter(|line| line.starts_with('|'))
        .flat_map(|line| line.split('`').skip(1).step_by(2))
        .collect()
}

/// The kinds of faults: what the parser says that it would have taken.
fn kinds_of_faults() -> Vec<String> {
    let error = serde_json::from_str::<Fault>(r#"{"fault":"no such fault"}"#)
        .expect_err("there is none of this name")
        .to_string();
    let kinds: Vec<String> = error
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|name| *name != "no such fault")
        .map(str::to_owned)
        .collect();
    assert!(kinds.len() > 20, "{error}");
    kinds
}

fn fields_of(settings: &impl serde::Serialize) -> Vec<String> {
    let value = serde_json::to_value(settings).expect("settings can be written");
    let fields = value.as_object().expect("they are an object");
    fields.keys().cloned().collect()
}

#[test]
fn every_fault_setting_and_counter_is_in_the_documentation() {
    let page = page();
    let named = named_in_tables(&page);
    let disk = fields_of(&DiskFaults::none())
        .into_iter()
        .filter(|field| field != "crash");
    let missing: Vec<String> = kinds_of_faults()
        .into_iter()
        .chain(disk)
        .chain(fields_of(&DiskFaults::none().crash))
        .chain(fields_of(&NetworkFaults::none()))
        .chain(Counter::ALL.iter().map(|counter| counter.name().to_owned()))
        .filter(|name| !named.contains(name.as_str()))
        .collect();
    assert!(missing.is_empty(), "not in docs/faults.md: {missing:?}");
}

#[test]
fn every_counter_in_the_documentation_exists() {
    let page = page();
    let known: BTreeSet<&str> = Counter::ALL.iter().map(|counter| counter.name()).collect();
    let unknown: Vec<&str> = named_in_tables(&page)
        .into_iter()
        .filter(|name| {
            ["net.", "disk.", "process.", "clock."]
                .iter()
                .any(|group| name.starts_with(group))
        })
        .filter(|name| !known.contains(name))
        .collect();
    assert!(unknown.is_empty(), "no such counter: {unknown:?}");
}

#[test]
fn every_test_in_the_documentation_exists() {
    let page = page();
    let mut found = 0;
    for link in page.split("[`").skip(1) {
        let (name, rest) = link.split_once("`](").expect("a link to a test");
        let (file, _) = rest.split_once(')').expect("a link has an end");
        let source = std::fs::read_to_string(docs_dir().join(file))
            .unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(
            source.contains(&format!("fn {name}(")),
            "{file} has no test {name}"
        );
        found += 1;
    }
    assert!(found > 50, "only {found} tests are named");
}

#[test]
fn a_name_that_is_not_in_a_table_is_missed() {
    let page = "| `clog` | `net.hold` |\nonly text: `swizzle`\n";
    let named = named_in_tables(page);
    assert!(named.contains("clog") && named.contains("net.hold"));
    assert!(!named.contains("swizzle"));
}
