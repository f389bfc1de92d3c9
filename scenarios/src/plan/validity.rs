//! Whether a plan names only what it has, and asks for nothing that no world can do. Plans that are
//! made do; one that was written by hand, or kept by another version, may not.

use std::cell::Cell;

use serde_json::Value;
use veridical_harness::InvalidPlan;
use veridical_node::KNOBS;
use veridical_planted::PlantedBug;
use veridical_world::{Fault, ProcessId};

use super::{Act, AdminCall, OldMember, Plan, Who, Whom};

/// No time in a plan is longer, in ms: eleven days, of which no run sees the end.
const TIME_MAX_MS: u64 = 1_000_000_000;

/// No size in a plan is greater, in bytes: more than any disk.
const BYTES_MAX: u64 = 1 << 50;

/// A gap in service that is allowed, in percent of an election timeout.
const GAP_MAX_PERCENT: u64 = 1_000_000;

/// Addresses of machines, those of a plan included.
const ADDRESSES: u32 = 1_000;

/// Machines of one kind at most: more than any plan needs, and few enough for one process.
const MACHINES_MAX: u64 = 64;

/// Strangers in one crowd: more than any member lets in.
const STRANGERS_MAX: u32 = 1_000;

/// A knob is at most so many times as great as any value that it usually has: queues, maps and
/// buffers are made of that size.
const KNOB_FACTOR_MAX: u64 = 16;

/// A value that a client writes, in bytes: more than any member takes.
const VALUE_BYTES_MAX: u32 = 16 * 1024 * 1024;

/// A clock that runs at this rate stands still.
const STANDSTILL_PPM: i64 = -1_000_000;

fn invalid(place: &str, reason: impl std::fmt::Display) -> InvalidPlan {
    InvalidPlan {
        reason: format!("{place}: {reason}"),
    }
}

impl Plan {
    /// Processes that faults may name: machines of members, of clients, and watchers.
    pub fn processes(&self) -> u32 {
        self.sites() + (self.hosts.len() + self.watchers.len()) as u32
    }

    /// Whether everything that the plan names is there, and its numbers can be carried out.
    ///
    /// # Errors
    /// The first thing that is not, and its place in the plan.
    pub fn validate(&self) -> Result<(), InvalidPlan> {
        self.check_size()?;
        if let Some(bug) = &self.planted
            && PlantedBug::from_name(bug).is_none()
        {
            return Err(invalid("planted", format!("there is no bug {bug:?}")));
        }
        self.check_knobs()?;
        if let Some(service) = self.service
            && service.gap_max_percent > GAP_MAX_PERCENT
        {
            let reason = format!("{} is more than {GAP_MAX_PERCENT}", service.gap_max_percent);
            return Err(invalid("service.gap_max_percent", reason));
        }
        self.check_clients()?;
        self.check_faults()?;
        self.check_changes()?;
        if let Some(lost) = self.lost_majority {
            self.check_site(lost.survivor, "lost_majority.survivor")?;
            if let Some(old) = lost.old_member {
                self.check_old_member(old, lost.survivor)?;
            }
        }
        for crowd in &self.strangers {
            self.check_site(crowd.site, "strangers")?;
            if crowd.connections > STRANGERS_MAX {
                let reason = format!("{} are more than {STRANGERS_MAX}", crowd.connections);
                return Err(invalid("strangers.connections", reason));
            }
        }
        for site in &self.last_minority {
            self.check_site(*site, "last_minority")?;
        }
        for site in &self.previous_format {
            self.check_site(*site, "previous_format")?;
        }
        if let Some(site) = self.rotten_member {
            self.check_site(site, "rotten_member")?;
        } else if !self.forgeries.is_empty() {
            return Err(invalid("forgeries", "there is no rotten_member"));
        }
        let written = serde_json::to_value(self).expect("a plan can be written");
        check_numbers(&written, "", "")
    }

    /// Only bootstrap members are lost, and not the one that is left.
    fn check_old_member(&self, old: OldMember, survivor: u32) -> Result<(), InvalidPlan> {
        match old.site < self.members && old.site != survivor {
            true => Ok(()),
            false => Err(invalid(
                "lost_majority.old_member.site",
                format!("no member was lost on machine {}", old.site),
            )),
        }
    }

    fn check_size(&self) -> Result<(), InvalidPlan> {
        if self.members == 0 {
            return Err(invalid("members", "there is no member"));
        }
        let machines = [
            ("members", u64::from(self.members)),
            ("spares", u64::from(self.spares)),
            ("hosts", self.hosts.len() as u64),
            ("watchers", self.watchers.len() as u64),
        ];
        for (place, count) in machines {
            if count > MACHINES_MAX {
                let reason = format!("{count} are more than {MACHINES_MAX}");
                return Err(invalid(place, reason));
            }
        }
        Ok(())
    }

    fn check_knobs(&self) -> Result<(), InvalidPlan> {
        for knob in KNOBS {
            let value = (knob.get)(&self.knobs);
            let greatest = knob
                .edges
                .iter()
                .copied()
                .chain([knob.default, knob.range.1]);
            let max = greatest
                .max()
                .unwrap_or(u64::MAX)
                .saturating_mul(KNOB_FACTOR_MAX);
            if value > max {
                let place = format!("knobs.{}", knob.name);
                return Err(invalid(&place, format!("{value} is more than {max}")));
            }
        }
        self.knobs
            .validate()
            .map_err(|error| invalid("knobs", error))
    }

    fn check_clients(&self) -> Result<(), InvalidPlan> {
        for (number, host) in self.hosts.iter().enumerate() {
            let place = format!("hosts[{number}]");
            self.check_site(host.first_member, &format!("{place}.first_member"))?;
            if host.value_bytes > VALUE_BYTES_MAX {
                let reason = format!("{} are more than {VALUE_BYTES_MAX}", host.value_bytes);
                return Err(invalid(&format!("{place}.value_bytes"), reason));
            }
            if let Some(batches) = host.batches
                && [batches.operations_max, batches.in_flight_max].contains(&0)
            {
                let reason = "a batch holds something, and one at least is under way";
                return Err(invalid(&format!("{place}.batches"), reason));
            }
        }
        for (number, watcher) in self.watchers.iter().enumerate() {
            let place = format!("watchers[{number}]");
            self.check_site(watcher.first_member, &format!("{place}.first_member"))?;
            let (first, end) = watcher.keys;
            let max = self.keyspace.keys_max();
            if first >= end || end > max {
                let reason = format!("from {first} to {end} is no range of keys up to {max}");
                return Err(invalid(&format!("{place}.keys"), reason));
            }
        }
        Ok(())
    }

    fn check_faults(&self) -> Result<(), InvalidPlan> {
        for (number, timed) in self.faults.iter().enumerate() {
            let place = format!("faults[{number}]");
            for process in timed.fault.processes() {
                self.check_process(process, &place)?;
            }
            if let Fault::ClockDrift { drift_ppm, .. } = timed.fault
                && !(STANDSTILL_PPM + 1..=-STANDSTILL_PPM).contains(&drift_ppm)
            {
                let reason = format!("no clock is off by {drift_ppm} millionths");
                return Err(invalid(&place, reason));
            }
        }
        Ok(())
    }

    fn check_changes(&self) -> Result<(), InvalidPlan> {
        for (number, planned) in self.changes.iter().enumerate() {
            let named = Cell::new(None);
            // Whoever gives each machine its own number sees all of them.
            let _same = planned.change.clone().renumbered(|id| {
                let unknown = (id.0 >= self.sites()).then_some(id.0);
                named.set(named.get().or(unknown));
                Some(id)
            });
            if let Some(site) = named.get() {
                self.check_site(site, &format!("changes[{number}]"))?;
            }
        }
        for (number, hasty) in self.hasty.iter().enumerate() {
            let place = format!("hasty[{number}]");
            if let Who::Site(site) = hasty.asked {
                self.check_site(site, &place)?;
            }
            self.check_call(&hasty.call, &place)?;
        }
        for (number, strike) in self.strikes.iter().enumerate() {
            if let Act::Ask { call } = &strike.act {
                self.check_call(call, &format!("strikes[{number}]"))?;
            }
        }
        Ok(())
    }

    /// The machine of [`AdminCall::Add`] and of its start may be one that is not there, but it has
    /// an address.
    fn check_call(&self, call: &AdminCall, place: &str) -> Result<(), InvalidPlan> {
        let whom = match *call {
            AdminCall::Remove { whom }
            | AdminCall::Promote { whom }
            | AdminCall::HandOver { whom } => whom,
            AdminCall::Add { machine, .. } | AdminCall::Start { machine } => {
                if machine >= ADDRESSES {
                    let reason = format!("there is no address {machine}, only {ADDRESSES}");
                    return Err(invalid(place, reason));
                }
                return Ok(());
            }
        };
        match whom {
            Whom::BootstrapMember(site) if site >= self.members => Err(invalid(
                place,
                format!(
                    "there is no bootstrap member {site}; the plan has {}, from 0 on",
                    self.members
                ),
            )),
            Whom::BootstrapMember(_) | Whom::Newcomer(_) | Whom::Nobody | Whom::Zero => Ok(()),
        }
    }

    fn check_site(&self, site: u32, place: &str) -> Result<(), InvalidPlan> {
        let sites = self.sites();
        if site < sites {
            return Ok(());
        }
        let reason = format!("there is no machine {site}; the plan has {sites}, from 0 on");
        Err(invalid(place, reason))
    }

    fn check_process(&self, process: ProcessId, place: &str) -> Result<(), InvalidPlan> {
        let processes = self.processes();
        if process.0 < processes {
            return Ok(());
        }
        let process = process.0;
        let reason = format!("there is no process {process}; the plan has {processes}, from 0 on");
        Err(invalid(place, reason))
    }
}

/// Whether the numbers of the written plan are possible, as the ends of their names say what they
/// are. Knobs have limits of their own, which say what a member can work with; that their times
/// are times counts for them, too.
fn check_numbers(value: &Value, name: &str, place: &str) -> Result<(), InvalidPlan> {
    match value {
        Value::Object(fields) => fields.iter().try_for_each(|(name, field)| {
            let place = match place {
                "" => name.clone(),
                place => format!("{place}.{name}"),
            };
            check_numbers(field, name, &place)
        }),
        Value::Array(items) => items.iter().enumerate().try_for_each(|(number, item)| {
            check_numbers(item, name, &format!("{place}[{number}]"))
        }),
        Value::Number(number) => check_number(number, name, place),
        Value::Null | Value::Bool(_) | Value::String(_) => Ok(()),
    }
}

fn check_number(number: &serde_json::Number, name: &str, place: &str) -> Result<(), InvalidPlan> {
    let size = number.as_f64().map_or(f64::INFINITY, f64::abs);
    let is_negative = number.as_f64().is_some_and(|number| number < 0.0);
    let max = if name.ends_with("_probability") {
        if is_negative {
            return Err(invalid(place, format!("{number} is no probability")));
        }
        1.0
    } else if name.ends_with("_ms") {
        TIME_MAX_MS as f64
    } else if name.ends_with("_us") {
        TIME_MAX_MS as f64 * 1_000.0
    } else if name.ends_with("_bytes") {
        BYTES_MAX as f64
    } else {
        return Ok(());
    };
    if size > max {
        return Err(invalid(place, format!("{number} is more than {max}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Change, PlannedChange};
    use crate::{impatience, swarm};
    use serde_json::json;
    use veridical_harness::TimedFault;

    #[test]
    fn a_change_on_a_machine_that_is_not_there_is_refused_by_its_place() {
        let plan = swarm::plan(1);
        let site = plan.sites();
        for change in [
            Change::Join { site },
            Change::HandOver { to: site },
            Change::Terminate {
                who: Who::Site(site),
            },
        ] {
            let mut wrong = plan.clone();
            wrong.changes = vec![PlannedChange::new(5, change)];
            let refused = wrong.validate().unwrap_err().reason;
            let expected = format!("changes[0]: there is no machine {site};");
            assert!(refused.starts_with(&expected), "{refused}");
        }
    }

    #[test]
    fn a_fault_of_a_process_that_is_not_there_is_refused_by_its_place() {
        let mut plan = swarm::plan(1);
        let process = ProcessId(plan.processes());
        let fault = Fault::Restart { process };
        plan.faults = vec![TimedFault { at_ms: 1, fault }];
        let refused = plan.validate().unwrap_err().reason;
        assert!(
            refused.starts_with("faults[0]: there is no process"),
            "{refused}"
        );
    }

    /// The plan of a seed with one thing changed in its written form.
    fn edited(edit: impl Fn(&mut Value)) -> Plan {
        let plan = impatience::plan(swarm::drawn(1));
        let mut written = serde_json::to_value(plan).expect("a plan can be written");
        edit(&mut written);
        serde_json::from_value(written).expect("it has the form of a plan")
    }

    #[test]
    fn whatever_is_named_and_not_there_is_refused_by_its_place() {
        let none = 1_000;
        for (pointer, wrong) in [
            ("/members", json!(0)),
            ("/spares", json!(1_000_000)),
            ("/planted", json!("no-such-bug")),
            ("/knobs/shards", json!(0)),
            ("/knobs/shards", json!(1_000_000)),
            ("/knobs/heartbeat_ms", json!(u64::MAX)),
            ("/knobs/reconnect_delay_ms", json!(0)),
            ("/hosts/0/value_bytes", json!(u32::MAX)),
            ("/hosts/0/first_member", json!(none)),
            ("/watchers/0/first_member", json!(none)),
            ("/watchers/0/keys", json!([0, 1_000_000])),
            ("/watchers/0/keys", json!([5, 5])),
            ("/previous_format", json!([none])),
            ("/rotten_member", json!(none)),
            ("/hasty/0/asked", json!({"site": none})),
            (
                "/hasty/0/call",
                json!({"do": "remove", "whom": {"bootstrap_member": none}}),
            ),
            ("/hasty/0/call", json!({"do": "start", "machine": u32::MAX})),
            ("/service/gap_max_percent", json!(u64::MAX)),
            ("/network/drop_probability", json!(1.5)),
            ("/disk/sync_error_probability", json!(-0.1)),
            ("/disk/sync_latency/base_us", json!(u64::MAX)),
            ("/heal_at_ms", json!(u64::MAX)),
            ("/restart_delay_ms", json!(u64::MAX)),
        ] {
            let plan = edited(|written| {
                let (parent, field) = pointer.rsplit_once('/').expect("it is a pointer");
                let parent = written.pointer_mut(parent).expect("it is there");
                match parent.as_array_mut() {
                    Some(list) => list[field.parse::<usize>().expect("a number")] = wrong.clone(),
                    None => parent[field] = wrong.clone(),
                }
            });
            let refused = plan.validate().expect_err(pointer).reason;
            let first = pointer.split('/').nth(1).expect("it has a name");
            assert!(refused.starts_with(first), "{pointer}: {refused}");
        }
    }

    #[test]
    fn a_size_beyond_any_disk_is_refused() {
        let mut plan = swarm::plan(1);
        let fault = Fault::DiskFull {
            process: ProcessId(0),
            free_bytes: u64::MAX,
            duration_ms: None,
        };
        plan.faults = vec![TimedFault { at_ms: 1, fault }];
        assert!(plan.validate().is_err());
    }

    #[test]
    fn a_clock_that_stands_still_is_refused() {
        for drift_ppm in [STANDSTILL_PPM, i64::MIN, i64::MAX] {
            let mut plan = swarm::plan(1);
            let fault = Fault::ClockDrift {
                process: ProcessId(0),
                drift_ppm,
                duration_ms: None,
            };
            plan.faults = vec![TimedFault { at_ms: 1, fault }];
            assert!(plan.validate().is_err(), "{drift_ppm}");
        }
    }
}
