//! What a local cluster used, and what befell it.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use super::Skipped;
use super::traffic::NetworkBytes;
use super::usage::Usage;
use crate::nemesis::{FaultKind, FaultRecord};

/// What one member used while it was measured.
#[derive(Debug, Serialize)]
pub(crate) struct MemberReport {
    name: String,
    cpu_seconds: f64,
    /// Not there if no operation succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_us_per_operation: Option<f64>,
    peak_resident_bytes: u64,
    written_bytes: u64,
}

/// What a local cluster used, and what befell it.
#[derive(Debug, Serialize)]
pub(crate) struct LocalClusterReport {
    program: &'static str,
    version: String,
    /// Whether the data was in memory: a synchronisation costs nothing there.
    data_in_memory: bool,
    /// Of all members together. Not there if no operation succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_us_per_operation: Option<f64>,
    members: Vec<MemberReport>,
    /// Over the connections that the members accepted. Not there where the system does not
    /// tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<NetworkBytes>,
    /// How often each fault of `--nemesis` was injected. Not there without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    faults: Option<BTreeMap<&'static str, usize>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fault_log: Vec<FaultRecord>,
    /// What was asked of `--nemesis` and cannot be had on this machine.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    skipped: Vec<Skipped>,
}

/// What was seen of a local cluster.
pub(crate) struct Observed {
    pub(crate) program: &'static str,
    pub(crate) version: String,
    pub(crate) data_in_memory: bool,
    pub(crate) usages: Vec<(String, Usage)>,
    pub(crate) network: Option<NetworkBytes>,
    /// The faults that were asked for, and those that were injected.
    pub(crate) faults: Option<(Vec<FaultKind>, Vec<FaultRecord>)>,
    /// What was asked for and cannot be had.
    pub(crate) skipped: Vec<Skipped>,
}

impl LocalClusterReport {
    /// The report of a run in which so many operations succeeded.
    pub(crate) fn new(observed: Observed, operations: u64) -> Self {
        let per_operation = |cpu_seconds: f64| {
            (operations > 0).then(|| cpu_seconds * 1_000_000.0 / operations as f64)
        };
        let members: Vec<MemberReport> = observed
            .usages
            .into_iter()
            .map(|(name, usage)| MemberReport {
                name,
                cpu_seconds: usage.cpu.as_secs_f64(),
                cpu_us_per_operation: per_operation(usage.cpu.as_secs_f64()),
                peak_resident_bytes: usage.peak_resident_bytes,
                written_bytes: usage.written_bytes,
            })
            .collect();
        let cpu_seconds = members.iter().map(|member| member.cpu_seconds).sum();
        let (faults, fault_log) = match observed.faults {
            Some((kinds, log)) => (Some(counts(&kinds, &log)), log),
            None => (None, Vec::new()),
        };
        Self {
            program: observed.program,
            version: observed.version,
            data_in_memory: observed.data_in_memory,
            cpu_us_per_operation: per_operation(cpu_seconds),
            members,
            network: observed.network,
            faults,
            fault_log,
            skipped: observed.skipped,
        }
    }

    /// The name of the program.
    pub(crate) fn program(&self) -> &'static str {
        self.program
    }

    /// How many there are, and of what.
    pub(crate) fn members_text(&self) -> String {
        let members = match self.members.len() {
            1 => "1 member".to_owned(),
            count => format!("{count} members"),
        };
        let memory = match self.data_in_memory {
            true => ", data in memory: a synchronisation costs nothing",
            false => "",
        };
        format!("{members} of {} {}{memory}", self.program, self.version)
    }

    pub(crate) fn cpu_us_per_operation(&self) -> Option<f64> {
        self.cpu_us_per_operation
    }

    /// Of all members together.
    pub(crate) fn peak_resident_bytes(&self) -> u64 {
        let members = self.members.iter();
        members.map(|member| member.peak_resident_bytes).sum()
    }

    /// Of all members together.
    pub(crate) fn written_bytes(&self) -> u64 {
        self.members.iter().map(|member| member.written_bytes).sum()
    }

    /// With clients and between members.
    pub(crate) fn network_bytes(&self) -> Option<u64> {
        let network = self.network?;
        Some(network.client_bytes + network.peer_bytes)
    }

    /// For people.
    pub(crate) fn to_text(&self) -> String {
        let mut text = String::new();
        self.write_to(&mut text).expect("a text takes everything");
        text
    }

    fn write_to(&self, text: &mut String) -> std::fmt::Result {
        writeln!(text, "{}", self.members_text())?;
        writeln!(
            text,
            "                   CPU s  CPU µs/op  peak MiB  written MiB"
        )?;
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let shown = |figure: Option<f64>| figure.map_or("-".to_owned(), |us| format!("{us:.1}"));
        for member in &self.members {
            writeln!(
                text,
                "{:<17}{:>7.2}{:>11}{:>10.1}{:>13.1}",
                member.name,
                member.cpu_seconds,
                shown(member.cpu_us_per_operation),
                mib(member.peak_resident_bytes),
                mib(member.written_bytes),
            )?;
        }
        let total = self.members.iter().map(|member| member.cpu_seconds);
        writeln!(
            text,
            "{:<17}{:>7.2}{:>11}",
            "all",
            total.sum::<f64>(),
            shown(self.cpu_us_per_operation)
        )?;
        if let Some(network) = &self.network {
            writeln!(
                text,
                "network: {:.1} MiB with clients, {:.1} MiB between members",
                mib(network.client_bytes),
                mib(network.peer_bytes)
            )?;
        }
        if let Some(faults) = &self.faults {
            let faults: Vec<String> = faults
                .iter()
                .map(|(fault, count)| format!("{fault} {count}"))
                .collect();
            writeln!(text, "nemesis: {}", faults.join(", "))?;
        }
        for skipped in &self.skipped {
            writeln!(text, "nemesis: {skipped}")?;
        }
        for record in &self.fault_log {
            writeln!(text, "{record}")?;
        }
        Ok(())
    }
}

/// How often each kind was injected; 0 for those that were asked for in vain.
fn counts(kinds: &[FaultKind], log: &[FaultRecord]) -> BTreeMap<&'static str, usize> {
    kinds
        .iter()
        .map(|kind| {
            let of_kind = log.iter().filter(|record| record.fault == kind.name());
            (kind.name(), of_kind.count())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn observed() -> Observed {
        let usage = |seconds| Usage {
            cpu: Duration::from_secs(seconds),
            peak_resident_bytes: 3 << 20,
            written_bytes: 5 << 20,
        };
        let record = FaultRecord {
            at_ms: 1_500,
            fault: FaultKind::Kill.name(),
            member: "m1".to_owned(),
            detail: None,
            lasted_ms: Some(700),
            caught_up_after_ms: None,
        };
        Observed {
            program: "veridical",
            version: "0.1.0".to_owned(),
            data_in_memory: false,
            network: None,
            usages: vec![("m0".to_owned(), usage(1)), ("m1".to_owned(), usage(3))],
            faults: Some((vec![FaultKind::Kill, FaultKind::Pause], vec![record])),
            skipped: vec![Skipped {
                fault: FaultKind::Partition.name(),
                reason: "nobody may".to_owned(),
            }],
        }
    }

    #[test]
    fn processor_time_is_told_for_each_operation() {
        let report = LocalClusterReport::new(observed(), 1_000);
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["cpu_us_per_operation"], 4_000.0);
        assert_eq!(json["members"][1]["cpu_us_per_operation"], 3_000.0);
        let report = LocalClusterReport::new(observed(), 0);
        let json = serde_json::to_value(&report).unwrap();
        assert!(json.get("cpu_us_per_operation").is_none());
    }

    #[test]
    fn a_fault_that_never_came_is_counted_as_none() {
        let report = LocalClusterReport::new(observed(), 1);
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["faults"]["kill"], 1);
        assert_eq!(json["faults"]["pause"], 0);
        assert_eq!(json["fault_log"][0]["at_ms"], 1_500);
        let text = report.to_text();
        assert!(text.contains("nemesis: kill 1, pause 0\n"), "{text}");
        let skipped = "nemesis: partition is skipped: nobody may\n";
        assert!(text.contains(skipped), "{text}");
        assert_eq!(json["skipped"][0]["fault"], "partition");
        assert!(text.contains("kill"), "{text}");
    }
}
