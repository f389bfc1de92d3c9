//! What the machine allows to be done to members, made ready for use.

use std::fmt;
use std::path::Path;

use serde::Serialize;

use super::clocks::Clocks;
use super::disks::{Disks, try_loss_of_power};
use super::isolation::Isolation;
use super::network::Network;
use crate::nemesis::FaultKind;

/// A fault that was asked for and cannot be had on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Skipped {
    pub(crate) fault: &'static str,
    pub(crate) reason: String,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is skipped: {}", self.fault, self.reason)
    }
}

/// What the faults need that were asked for.
pub(crate) struct Means {
    /// The faults that can be had.
    pub(crate) kinds: Vec<FaultKind>,
    pub(crate) skipped: Vec<Skipped>,
    pub(crate) network: Option<Network>,
    pub(crate) disks: Option<Disks>,
    pub(crate) clocks: Option<Clocks>,
}

impl Means {
    /// Makes ready what these faults need. Whatever cannot be had is skipped.
    pub(crate) fn prepare(
        wanted: &[FaultKind],
        isolation: &Isolation,
        members: usize,
        folder: &Path,
    ) -> Self {
        let mut means = Self {
            kinds: Vec::new(),
            skipped: Vec::new(),
            network: None,
            disks: None,
            clocks: None,
        };
        for &kind in wanted {
            match means.make_ready(kind, isolation, members, folder) {
                Ok(()) => means.kinds.push(kind),
                Err(reason) => means.skipped.push(Skipped {
                    fault: kind.name(),
                    reason,
                }),
            }
        }
        means
    }

    fn make_ready(
        &mut self,
        kind: FaultKind,
        isolation: &Isolation,
        members: usize,
        folder: &Path,
    ) -> Result<(), String> {
        match isolation {
            Isolation::Refused(reason) if kind.needs_isolation() => return Err(reason.clone()),
            Isolation::NotNeeded | Isolation::Inside | Isolation::Refused(_) => {}
        }
        match kind {
            FaultKind::Kill | FaultKind::Pause | FaultKind::Restart => {}
            FaultKind::Partition => {
                let network = Network::build(folder, members);
                self.network = Some(network.map_err(|error| error.to_string())?);
            }
            FaultKind::PowerLoss => {
                try_loss_of_power(folder)?;
                self.make_disks(members, folder)?;
            }
            FaultKind::DiskFull => self.make_disks(members, folder)?,
            FaultKind::Clock => self.clocks = Some(Clocks::find()?),
        }
        Ok(())
    }

    fn make_disks(&mut self, members: usize, folder: &Path) -> Result<(), String> {
        if self.disks.is_none() {
            let disks = Disks::build(folder, members);
            self.disks = Some(disks.map_err(|error| error.to_string())?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_namespaces_is_skipped_with_the_reason_where_there_are_none() {
        let refused = Isolation::Refused("nobody may".to_owned());
        let wanted = [FaultKind::Kill, FaultKind::Partition];
        let folder = tempfile::tempdir().unwrap();
        let means = Means::prepare(&wanted, &refused, 3, folder.path());
        assert_eq!(means.kinds, [FaultKind::Kill]);
        let skipped = Skipped {
            fault: "partition",
            reason: "nobody may".to_owned(),
        };
        assert_eq!(means.skipped, [skipped]);
        assert!(means.network.is_none());
    }
}
