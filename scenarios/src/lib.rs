//! Our store under simulation: plans, workloads, faults and the invariants that are checked.
//!
//! Inputs: a scenario's name and a seed, or a plan.
//! Outputs: what [`harness`](veridical_harness) makes of it: a report for each seed, and on a
//! failure the command that reproduces it, the witness and a folder with everything.
//! Dependencies: core, sim, checkers, histories.
//!
//! [`scenario::Store`] is what the harness runs. A scenario makes the [`plan::Plan`] of a
//! seed, `swarm` by default; `run` carries it out: `cluster` boots the members, `workload`
//! and `watching` are the clients, `operator` changes the membership one step after the
//! other and `impatient_operators` all at once, `leader_nemesis` follows the elections,
//! `service` sees to it that writes go on, `lease_keepers` keep alive what is being ended.
//! `survivor` goes on when all others are lost, `strikes` act at observed moments, `strangers` crowd at ports that are not theirs, and `forgery` alters what the disk of a member holds.
//! `observer` feeds the checker while they run, `api` judges every answer, `accounting` asks why
//! an outcome is not known, `progress` what watches are told at the end. `shrinking` says what a
//! plan consists of, `mutation` how it is changed, `view` what its messages mean.
//!
//! What runs in the simulated world exists only under `--cfg madsim` (`cargo sim`).

mod about;
#[cfg(any(madsim, test))]
mod api;
#[cfg(madsim)]
mod batch_callers;
mod calm;
pub mod connected_majority;
#[cfg(madsim)]
mod deletions;
pub mod forced_cluster;
pub mod forged_disk;
pub mod forgery;
pub mod impatience;
pub mod keyspace;
pub mod knobs;
pub mod lying_disk;
pub mod membership_model;
pub mod mutation;
pub mod plan;
pub mod properties;
#[cfg(madsim)]
mod recorded;
pub mod rolling_restarts;
pub mod rotten_disk;
pub mod scenario;
pub mod sessions;
#[cfg(madsim)]
mod sharded_callers;
pub mod shrinking;
pub mod slow_disks;
pub mod stale_disk;
pub mod swarm;
pub mod timetable;
pub mod transaction;
pub mod view;

#[cfg(madsim)]
mod accounting;
#[cfg(madsim)]
mod cluster;
#[cfg(madsim)]
mod impatient_operators;
#[cfg(madsim)]
mod leader_nemesis;
#[cfg(madsim)]
mod lease_keepers;
#[cfg(madsim)]
mod lock_holders;
#[cfg(madsim)]
mod observer;
#[cfg(madsim)]
mod operator;
#[cfg(madsim)]
mod progress;
#[cfg(madsim)]
mod requests;
#[cfg(madsim)]
pub mod run;
#[cfg(madsim)]
mod service;
#[cfg(madsim)]
mod strangers;
#[cfg(madsim)]
mod strikes;
#[cfg(madsim)]
mod survivor;
#[cfg(madsim)]
mod watching;
#[cfg(madsim)]
mod workload;
