//! Which runs a benchmark consists of.

use super::table::clients_text;
use crate::flags::{BenchFlags, WireProtocol};
use crate::local_cluster::{LocalClusterError, ProgramKind};
use crate::run::BenchError;

/// One run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) clients: usize,
    /// What the members run, if the benchmark starts them.
    pub(crate) program: Option<ProgramKind>,
}

/// All runs of a benchmark, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) runs: Vec<Run>,
    /// Whether all of them meet the same members. Else each has new ones: the checker needs a
    /// store that what was asked before can no longer change, a nemesis has its time to begin, and members of one program that idle
    /// beside those of another would still use the machine.
    pub(crate) has_same_members: bool,
    /// Whether they are shown beside each other, be it one alone.
    pub(crate) is_series: bool,
}

impl Plan {
    /// What the flags ask for. Programs take turns at each number of clients, so that all of
    /// them meet the same weather of the machine.
    ///
    /// # Errors
    /// The flags contradict each other.
    pub(crate) fn new(flags: &BenchFlags) -> Result<Self, BenchError> {
        let local = &flags.local;
        let clients = match &flags.scale {
            Some(scale) => scale.clients(),
            None => &[flags.clients],
        };
        if flags.verify && clients.len() > 1 && local.members().is_none() {
            return Err(BenchError::ScaleVerify);
        }
        let programs: Vec<_> = match local.members() {
            Some(_) => local.program.iter().copied().map(Some).collect(),
            None => vec![None],
        };
        for (place, program) in programs.iter().enumerate() {
            if programs[..place].contains(program) {
                return Err(BenchError::ProgramTwice);
            }
        }
        if programs.contains(&Some(ProgramKind::Etcd)) && flags.protocol == WireProtocol::Native {
            return Err(LocalClusterError::Protocol.into());
        }
        let at = |clients: usize| {
            let programs = programs.iter();
            programs.map(move |&program| Run { clients, program })
        };
        Ok(Self {
            runs: clients.iter().copied().flat_map(at).collect(),
            is_series: flags.scale.is_some() || programs.len() > 1,
            has_same_members: programs.len() == 1 && !flags.verify && local.nemesis.is_empty(),
        })
    }
}

impl Run {
    /// The flags of this run alone.
    pub(crate) fn flags(&self, flags: &BenchFlags) -> BenchFlags {
        let mut flags = flags.clone();
        flags.clients = self.clients;
        flags
    }

    /// Which one it is, for who waits for it.
    pub(crate) fn label(&self) -> String {
        match self.program {
            Some(program) => format!("{}, {}", program.name(), clients_text(self.clients)),
            None => clients_text(self.clients),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::tests::parse;

    fn plan(flags: &[&str]) -> Result<Plan, BenchError> {
        Plan::new(&parse(flags).unwrap())
    }

    #[test]
    fn programs_take_turns_at_each_number_of_clients() {
        let flags = [
            "--local-cluster=3",
            "--program=veridical,etcd",
            "--scale=clients=1,8",
        ];
        let plan = plan(&flags).unwrap();
        let labels: Vec<_> = plan.runs.iter().map(Run::label).collect();
        assert_eq!(
            labels,
            [
                "veridical, 1 client",
                "etcd, 1 client",
                "veridical, 8 clients",
                "etcd, 8 clients"
            ]
        );
        assert!(!plan.has_same_members, "one would idle beside the other");
    }

    #[test]
    fn all_points_meet_the_same_members_unless_each_needs_new_ones() {
        let with = |more: &[&str]| {
            let mut flags = vec!["--local-cluster=3", "--scale=clients=1,8"];
            flags.extend_from_slice(more);
            plan(&flags).unwrap().has_same_members
        };
        assert!(with(&[]));
        assert!(!with(&["--verify"]));
        assert!(!with(&["--nemesis=kill"]));
    }

    #[test]
    fn without_a_scale_there_is_one_run_for_each_program() {
        let one = plan(&["--clients=7"]).unwrap();
        assert_eq!(
            one.runs,
            [Run {
                clients: 7,
                program: None
            }]
        );
        assert!(!one.is_series);
        let two = plan(&["--local-cluster=1", "--program=veridical,etcd"]).unwrap();
        assert!(two.is_series);
        let scale = plan(&["--scale=clients=7"]).unwrap();
        assert!(
            scale.is_series,
            "its form does not depend on how many there are"
        );
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for flags in [
            &["--scale=clients=1,8", "--verify"][..],
            &["--local-cluster=1", "--program=etcd,etcd"],
            &[
                "--local-cluster=1",
                "--program=veridical,etcd",
                "--protocol=native",
            ],
        ] {
            let error = plan(flags).unwrap_err();
            assert!(error.is_usage_error(), "{flags:?}: {error}");
        }
        assert!(plan(&["--scale=clients=8", "--verify"]).is_ok());
    }
}
