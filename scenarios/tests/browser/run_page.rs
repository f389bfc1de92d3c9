//! What a person does with the page of a run.

/// The steps that its self-test times.
pub const STEPS: [&str; 6] = [
    "whole_ms",
    "zoom_ms",
    "pan_ms",
    "scrub_ms",
    "filter_ms",
    "search_ms",
];
