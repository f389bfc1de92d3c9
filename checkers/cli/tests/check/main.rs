//! `veridical-check check` and `veridical-check history` as their users meet them: processes, files,
//! pipes, signals, exit statuses, and pictures in a real browser.

// The same driver as the pages of simulated runs have.
#[path = "../../../../scenarios/tests/browser/mod.rs"]
mod browser;
mod edges;
mod histories;
mod input;
mod interrupt;
mod picture;
mod program;
mod verdicts;
