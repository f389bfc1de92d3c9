//! What a disk does to the files on it.

use crate::latency::Latency;
use serde::{Deserialize, Serialize};

/// What an operation that was not synchronised may come to when power is lost.
///
/// Each pending write, in order, survives or vanishes. What survives of a write is
/// decided by sector, and a sector that survives is written as the page cache had it
/// right after that write, so earlier writes to the same sector come with it: order
/// within a sector is kept, whatever else is not.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CrashRules {
    /// A pending write vanishes.
    pub lost_write_probability: f64,
    /// Later writes of the same file may survive earlier ones that vanish. Otherwise
    /// the survivors are a prefix.
    pub reorder: bool,
    /// A pending write that spans sectors survives in part: each of its sectors on its
    /// own. Without `reorder` nothing after it survives.
    pub torn_write_probability: f64,
    /// A sector of a torn write is left with neither old nor new data, but with zeros or
    /// garbage.
    pub torn_sector_probability: f64,
    /// Such a sector is lost as a whole, also what was durable in it before and was not part
    /// of the write: the medium writes whole sectors.
    pub torn_sector_whole: bool,
    /// What a sector is, in bytes: 512 or 4096. Other values are rounded to one of them.
    pub sector_bytes: u32,
    /// The length survives of a write that vanishes; its data reads as zeros.
    pub size_without_data_probability: f64,
    /// A pending creation, renaming or removal vanishes, and with it whatever later
    /// changed the same name.
    pub lost_name_probability: f64,
}

impl CrashRules {
    /// All that was not synchronised is lost, nothing is torn: the simplest disk on
    /// which a forgotten `sync` shows.
    pub const fn lose_all() -> Self {
        Self {
            lost_write_probability: 1.0,
            reorder: false,
            torn_write_probability: 0.0,
            torn_sector_probability: 0.0,
            torn_sector_whole: false,
            sector_bytes: 512,
            size_without_data_probability: 0.0,
            lost_name_probability: 1.0,
        }
    }

    /// All that was not synchronised survives.
    pub const fn keep_all() -> Self {
        Self {
            lost_write_probability: 0.0,
            lost_name_probability: 0.0,
            ..Self::lose_all()
        }
    }

    /// Every kind of damage that an honest disk can do, each often.
    pub const fn harsh() -> Self {
        Self {
            lost_write_probability: 0.4,
            reorder: true,
            torn_write_probability: 0.5,
            torn_sector_probability: 0.2,
            torn_sector_whole: false,
            sector_bytes: 512,
            size_without_data_probability: 0.3,
            lost_name_probability: 0.5,
        }
    }
}

impl Default for CrashRules {
    fn default() -> Self {
        Self::lose_all()
    }
}

/// How a disk behaves, at any time. Probabilities are per operation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiskFaults {
    /// How long a read takes.
    pub read_latency: Latency,
    /// How long a write into the page cache takes, and a change of names.
    pub write_latency: Latency,
    /// How long a synchronisation takes.
    pub sync_latency: Latency,
    /// Reads fail with EIO.
    pub read_error_probability: f64,
    /// Writes and changes of names fail with EIO; nothing was written.
    pub write_error_probability: f64,
    /// A file's synchronisation fails with EIO *once*: the dirty pages count as clean
    /// from then on, reads show the new data until a crash, the next synchronisation
    /// succeeds, and the data was never durable.
    pub sync_error_probability: f64,
    /// A read returns fewer bytes than asked for.
    pub short_read_probability: f64,
    /// A write takes fewer bytes than it was given.
    pub short_write_probability: f64,
    /// A read or a write fails with EINTR; nothing was done. (Other calls are repeated by
    /// the standard library itself.)
    pub interrupt_probability: f64,
    /// One bit is flipped in what a read returns; the file is not changed. Scenario
    /// only: no checksum of the device lets this through often.
    pub read_flip_probability: f64,
    /// A write goes to a wrong, equally aligned sector of the same file, and its target
    /// keeps the old data. Scenario only.
    pub misdirected_write_probability: f64,
    /// A read returns, once, what is in a wrong, equally aligned sector of the same file; the
    /// file is not changed. Scenario only.
    pub misdirected_read_probability: f64,
    /// So many bytes a second are read and written at most (a budget in the cloud that is
    /// used up); 0 for no limit. What goes beyond makes later operations wait.
    pub throttle_bytes_per_s: u64,
    /// A synchronisation returns Ok, and nothing becomes durable. Scenario only: no
    /// system that waits for `sync` survives a majority of such disks.
    pub lying_sync_probability: f64,
    /// What a loss of power leaves.
    pub crash: CrashRules,
}

impl DiskFaults {
    /// A healthy disk: nothing fails, a write takes about 10 µs, a synchronisation
    /// about 500 µs; at a crash all that was not synchronised is lost.
    pub const fn none() -> Self {
        Self {
            read_latency: Latency::new(5, 10),
            write_latency: Latency::new(2, 8),
            sync_latency: Latency::new(200, 300),
            read_error_probability: 0.0,
            write_error_probability: 0.0,
            sync_error_probability: 0.0,
            short_read_probability: 0.0,
            short_write_probability: 0.0,
            interrupt_probability: 0.0,
            read_flip_probability: 0.0,
            misdirected_write_probability: 0.0,
            misdirected_read_probability: 0.0,
            throttle_bytes_per_s: 0,
            lying_sync_probability: 0.0,
            crash: CrashRules::lose_all(),
        }
    }
}

impl DiskFaults {
    /// The same disk with nothing wrong: it is as fast as before, reads and writes may
    /// still do a part or be interrupted, and nothing fails or lies. What a loss of power
    /// leaves stays as it was.
    #[must_use]
    pub const fn healed(&self) -> Self {
        Self {
            read_latency: self.read_latency,
            write_latency: self.write_latency,
            sync_latency: self.sync_latency,
            short_read_probability: self.short_read_probability,
            short_write_probability: self.short_write_probability,
            interrupt_probability: self.interrupt_probability,
            crash: self.crash,
            ..Self::none()
        }
    }
}

impl Default for DiskFaults {
    fn default() -> Self {
        Self::none()
    }
}
