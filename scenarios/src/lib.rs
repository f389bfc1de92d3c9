//! Workloads, fault plans and campaigns over the real store in the simulated world.
//!
//! Comes in: a scenario's name and a seed, or a plan.
//! Goes out: a report for each seed: verdict, digest, faults that took effect; on a
//! failure the command that reproduces it, the witness and an artefact folder.
//! May depend on: core, sim, checkers, histories.
//!
//! A scenario ([`scenario`]) makes the [`plan::Plan`] of a seed, `swarm` by default; `run`
//! carries it out: `cluster` boots the members, `workload` and `watching` are the clients,
//! `operator` changes the membership, `observer` feeds the checker while they run;
//! `campaign` runs many seeds, each in a process of its own; `explore` also changes the
//! plans that reach what others do not.
//!
//! What runs in the simulated world exists only under `--cfg madsim` (`cargo sim`).

// Most modules run on the host: they start processes, write reports, measure time. Those that
// run in the simulated world take the bans of `clippy.toml` back upon themselves.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these modules run on the host"
)]

pub mod artefact;
pub mod bugbase;
pub mod campaign;
pub mod command_line;
pub mod commands;
pub mod explore;
pub mod failures;
pub mod junit;
pub mod keyspace;
pub mod knobs;
pub mod lying_disk;
pub mod places;
pub mod plan;
pub mod progress;
pub mod properties;
pub mod recall;
pub mod replay;
pub mod report;
pub mod roll;
pub mod rotten_disk;
pub mod scenario;
pub mod sessions;
pub mod shrink;
pub mod single;
pub mod stale_disk;
pub mod swarm;
pub mod table;
pub mod timetable;
pub mod transaction;
pub mod trial;
pub mod view;

#[cfg(all(test, unix))]
mod stand_in;

#[cfg(madsim)]
mod cluster;
#[cfg(madsim)]
mod hunt;
#[cfg(madsim)]
mod member_log;
#[cfg(madsim)]
mod observer;
#[cfg(madsim)]
mod operator;
#[cfg(madsim)]
mod refusals;
#[cfg(madsim)]
mod requests;
#[cfg(madsim)]
pub mod run;
#[cfg(madsim)]
mod watching;
#[cfg(madsim)]
mod workload;
