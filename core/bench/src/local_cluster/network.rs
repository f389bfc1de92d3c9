//! A network of the benchmark's own: each member has a namespace with one interface, all of
//! these meet at a bridge, and the clients are beside the bridge.
//!
//! It is made inside the namespaces of [`super::isolation`] and is gone with them. A cut is a
//! rule at the receiver (`ip rule`): what comes from an address is dropped, and the sender
//! hears nothing of it, as of a cable that is cut. It needs no packet filter.

use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::fs::File;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use rustix::mount::{UnmountFlags, unmount};

use super::tool::{Tool, ToolError};
use crate::nemesis::{Loss, Site};

/// Where clients and members listen: each has its namespace, so all ports are free.
pub(crate) const CLIENT_PORT: u16 = 2379;
pub(crate) const PEER_PORT: u16 = 2380;

const BRIDGE: &str = "veridical";

/// Linux asks its rules in their order, and the one that finds local addresses is the first.
/// It has to come behind those that drop.
const DROP_PREFERENCE: usize = 10;
const LOCAL_PREFERENCE: usize = 100;

/// The network, and how it is changed.
pub(crate) struct Network {
    ip: Tool,
    nsenter: Tool,
    /// A file for each member, which its namespace is mounted on.
    namespaces: Vec<PathBuf>,
}

impl Network {
    /// Makes it, with files below that folder.
    ///
    /// # Errors
    /// A program is not there, or the system refuses.
    pub(crate) fn build(folder: &Path, members: usize) -> Result<Self, ToolError> {
        let mut network = Self {
            ip: Tool::find("ip", "iproute2")?,
            nsenter: Tool::find("nsenter", "util-linux")?,
            namespaces: Vec::new(),
        };
        let unshare = Tool::find("unshare", "util-linux")?;
        let bridge = format!(
            "link set lo up\n\
             link add {BRIDGE} type bridge\n\
             addr add {}/24 dev {BRIDGE}\n\
             link set {BRIDGE} up\n{}",
            address(Site::Clients),
            behind_drops()
        );
        network.change(Site::Clients, &bridge)?;
        for member in 0..members {
            network.add_member(member, &unshare, folder)?;
        }
        Ok(network)
    }

    fn add_member(
        &mut self,
        member: usize,
        unshare: &Tool,
        folder: &Path,
    ) -> Result<(), ToolError> {
        let namespace = folder.join(format!("net{member}"));
        File::create(&namespace).map_err(|error| ToolError::Refused {
            command: namespace.display().to_string(),
            complaint: error.to_string(),
        })?;
        let mut option = OsString::from("--net=");
        option.push(&namespace);
        let nothing = [&option, self.ip.path().as_os_str(), OsStr::new("-V")];
        unshare.run(&nothing)?;
        self.namespaces.push(namespace.clone());
        let outer = interface(member);
        let words = [
            "link", "add", &outer, "type", "veth", "peer", "eth0", "netns",
        ];
        let mut words: Vec<&OsStr> = words.iter().map(OsStr::new).collect();
        words.push(namespace.as_os_str());
        self.ip.run(&words)?;
        let plug_in = format!("link set {outer} master {BRIDGE} up\n");
        self.change(Site::Clients, &plug_in)?;
        let set_up = format!(
            "link set lo up\naddr add {}/24 dev eth0\nlink set eth0 up\n{}",
            address(Site::Member(member)),
            behind_drops()
        );
        self.change(Site::Member(member), &set_up)
    }

    /// The address of a member.
    pub(crate) fn address_of(member: usize) -> Ipv4Addr {
        address(Site::Member(member))
    }

    /// What a command begins with that is to run where this member is.
    pub(crate) fn within(&self, member: usize) -> Vec<OsString> {
        let mut option = OsString::from("--net=");
        option.push(&self.namespaces[member]);
        let nsenter = self.nsenter.path().as_os_str().to_owned();
        vec![nsenter, option, OsString::from("--")]
    }

    /// Loses packets from now on, because of what befell that member.
    ///
    /// # Errors
    /// The system refuses.
    pub(crate) fn cut(&self, victim: usize, losses: &[Loss]) -> Result<(), ToolError> {
        self.each(losses, &|loss| rule("add", victim, *loss))
    }

    /// Loses them no longer.
    ///
    /// # Errors
    /// The system refuses.
    pub(crate) fn heal(&self, victim: usize, losses: &[Loss]) -> Result<(), ToolError> {
        self.each(losses, &|loss| rule("del", victim, *loss))
    }

    fn each(&self, losses: &[Loss], line: &dyn Fn(&Loss) -> String) -> Result<(), ToolError> {
        let mut receivers: Vec<Site> = losses.iter().map(|loss| loss.to).collect();
        receivers.sort_unstable();
        receivers.dedup();
        for receiver in receivers {
            let here = losses.iter().filter(|loss| loss.to == receiver);
            self.change(receiver, &here.map(line).collect::<String>())?;
        }
        Ok(())
    }

    /// Gives lines of commands to `ip` where a site is.
    fn change(&self, site: Site, lines: &str) -> Result<(), ToolError> {
        match site {
            Site::Clients => self.ip.run_with(&["-batch", "-"], lines),
            Site::Member(member) => {
                let mut words = self.within(member).split_off(1);
                words.push(self.ip.path().as_os_str().to_owned());
                words.extend(["-batch", "-"].map(OsString::from));
                self.nsenter.run_with(&words, lines)
            }
        }
    }
}

impl Drop for Network {
    /// A series makes one network after the other.
    fn drop(&mut self) {
        for namespace in &self.namespaces {
            // It is gone at the latest with the namespace of mounts.
            let _ = unmount(namespace, UnmountFlags::DETACH);
        }
        let mut lines = format!("link del {BRIDGE}\n");
        for member in 0..self.namespaces.len() {
            // An interface goes with its namespace, but not at once.
            let _ = writeln!(lines, "link del {}", interface(member));
        }
        let _ = write!(
            lines,
            "rule add pref 0 lookup local\nrule del pref {LOCAL_PREFERENCE}\n"
        );
        let _ = self.ip.run_with(&["-force", "-batch", "-"], &lines);
    }
}

fn address(site: Site) -> Ipv4Addr {
    match site {
        Site::Member(member) => Ipv4Addr::new(10, 77, 0, 1 + member as u8),
        Site::Clients => Ipv4Addr::new(10, 77, 0, 254),
    }
}

/// The member's end of the bridge.
fn interface(member: usize) -> String {
    format!("m{member}")
}

/// Puts the rule that finds local addresses behind those that drop.
fn behind_drops() -> String {
    format!("rule add pref {LOCAL_PREFERENCE} lookup local\nrule del pref 0\n")
}

/// A victim's rules have a preference of their own: two of them may lose the same packets, and
/// each heals for itself.
fn rule(verb: &str, victim: usize, loss: Loss) -> String {
    let preference = DROP_PREFERENCE + victim;
    let from = address(loss.from);
    format!("rule {verb} pref {preference} from {from} blackhole\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_that_drop_come_before_the_one_that_finds_local_addresses() {
        let last_member = 8;
        assert!(DROP_PREFERENCE + last_member < LOCAL_PREFERENCE);
        let loss = Loss {
            from: Site::Member(0),
            to: Site::Clients,
        };
        assert_eq!(
            rule("add", last_member, loss),
            "rule add pref 18 from 10.77.0.1 blackhole\n"
        );
    }

    #[test]
    fn every_site_has_an_address_of_its_own() {
        let mut addresses: Vec<_> = (0..9).map(Network::address_of).collect();
        addresses.push(address(Site::Clients));
        addresses.sort_unstable();
        addresses.dedup();
        assert_eq!(addresses.len(), 10);
    }
}
