//! What happened how often, by name, for tables and reports.

use std::collections::BTreeMap;

macro_rules! counters {
    ($($(#[$doc:meta])* $variant:ident => $name:literal,)+) => {
        /// Something that is counted. A fault is counted when it really took effect.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Counter {
            $($(#[$doc])* $variant,)+
        }

        impl Counter {
            /// Every counter, in the order of the declaration.
            pub const ALL: &'static [Counter] = &[$(Counter::$variant,)+];

            /// The name in reports: the subsystem, a dot, what happened.
            pub const fn name(self) -> &'static str {
                match self { $(Counter::$variant => $name,)+ }
            }
        }
    };
}

counters! {
    /// A unit was handed to the network.
    Send => "net.send",
    /// A unit reached the receiver's buffer.
    Deliver => "net.deliver",
    /// A unit was lost on a faulty link.
    Drop => "net.drop",
    /// A unit, or an attempt to connect, was lost because of a partition.
    DropPartition => "net.drop_partition",
    /// A unit reached a host that was down, or a connection that was gone.
    DropDead => "net.drop_dead",
    /// A unit was delivered twice.
    Duplicate => "net.duplicate",
    /// A unit was overtaken by a later one of the same stream.
    Reorder => "net.reorder",
    /// Bytes of a unit were flipped.
    Corrupt => "net.corrupt",
    /// A unit took a wait out of the delay's tail.
    SlowUnit => "net.slow",
    /// A unit was sent again after a loss, on a reliable stream.
    Retransmit => "net.retransmit",
    /// Something waited at a clogged link, or at a partition of reliable streams.
    Hold => "net.hold",
    /// A writer had to wait for the stream's window.
    Backpressure => "net.backpressure",
    /// A reader got only a part of the bytes that were there.
    Fragment => "net.fragment",
    /// A connection was established.
    Connect => "net.connect",
    /// A connection was refused: nobody listens.
    Refused => "net.refused",
    /// A connection was reset by a fault.
    ResetFault => "net.reset_fault",
    /// One end of a connection learnt of a reset, whatever its cause.
    Reset => "net.reset",

    /// A message waited because of its link's priority.
    MessageHeld => "schedule.message_held",
    /// A link got the lowest priority.
    LinkChange => "schedule.link_change",
    /// A message was put off by the schedule.
    MessageDelay => "schedule.message_delay",
    /// Several tasks were runnable and the schedule said which one goes.
    TaskChoice => "schedule.task_choice",
    /// A task got the lowest priority, or was put off by the schedule.
    TaskChange => "schedule.task_change",

    /// A read of a file.
    DiskRead => "disk.read",
    /// A write to a file, or a change of its length.
    DiskWrite => "disk.write",
    /// A file was synchronised.
    Fsync => "disk.fsync",
    /// The names of a folder were synchronised.
    SyncDir => "disk.sync_dir",
    /// A read, a write or a change of names failed with EIO.
    DiskError => "disk.eio",
    /// A synchronisation failed and the dirty pages became clean.
    FsyncError => "disk.fsync_eio",
    /// A write failed with ENOSPC.
    NoSpace => "disk.enospc",
    /// A read returned fewer bytes than there were.
    ShortRead => "disk.short_read",
    /// A write took fewer bytes than it was given.
    ShortWrite => "disk.short_write",
    /// An operation was interrupted (EINTR).
    Interrupted => "disk.eintr",
    /// An operation took a wait out of its latency's tail.
    SlowDisk => "disk.slow",
    /// An operation waited for a stalled device.
    DiskStall => "disk.stall",
    /// A synchronisation lied: it returned Ok and nothing became durable.
    LyingSync => "disk.lying_sync",
    /// A write went to a wrong place.
    MisdirectedWrite => "disk.misdirected_write",
    /// A read returned what is in a wrong place.
    MisdirectedRead => "disk.misdirected_read",
    /// An operation waited because the disk had passed its bytes per second.
    Throttled => "disk.throttled",
    /// A bit of a stored file was flipped for good.
    BitRot => "disk.bit_rot",
    /// A byte of a stored file became another one for good.
    DamagedByte => "disk.damaged_byte",
    /// A range of a stored file became zeros for good.
    ZeroedRange => "disk.zeroed_range",
    /// Two ranges of a stored file took each other's place; each is counted.
    ExchangedRange => "disk.exchanged_range",
    /// A range of a stored file became what it was once.
    OlderGeneration => "disk.older_generation",
    /// Someone who knows the format of a stored file changed it.
    ForgedRange => "disk.forged_range",
    /// A bit was flipped in what a read returned.
    ReadFlip => "disk.read_flip",
    /// At a crash a write was lost as a whole.
    LostWrite => "disk.lost_write",
    /// At a crash a later operation survived an earlier one of the same file.
    ReorderedWrite => "disk.reordered_write",
    /// At a crash a write survived in part.
    TornWrite => "disk.torn_write",
    /// At a crash a sector was left with zeros or garbage.
    TornSector => "disk.torn_sector",
    /// At a crash a file kept its new length and lost the data.
    SizeWithoutData => "disk.size_without_data",
    /// At a crash a creation, renaming or removal was lost.
    LostName => "disk.lost_name",

    /// A process was started or restarted.
    ProcessStart => "process.start",
    /// A process lost power.
    Crash => "process.crash",
    /// A process was killed; its machine lived on.
    Kill => "process.kill",
    /// A process ended by itself.
    Exit => "process.exit",
    /// A process panicked.
    Panic => "process.panic",
    /// A process was paused.
    Pause => "process.pause",
    /// A starved process was stopped for its next while.
    Starve => "process.starve",
    /// A task of a process was held.
    HeldTask => "process.held_task",
    /// A process died at a crash point.
    CrashPoint => "process.crash_point",
    /// A process died at a failpoint of its code.
    Failpoint => "process.failpoint",
    /// A process could not open one more file or connection.
    TooManyOpenFiles => "process.emfile",
    /// A clock was changed.
    ClockChange => "clock.change",
}

/// One number per [`Counter`].
#[derive(Clone, Debug)]
pub struct Counters {
    counts: [u64; Counter::ALL.len()],
    faults: BTreeMap<&'static str, u64>,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            counts: [0; Counter::ALL.len()],
            faults: BTreeMap::new(),
        }
    }
}

impl Counters {
    /// Counts one more.
    #[inline]
    pub fn add(&mut self, counter: Counter) {
        self.counts[counter as usize] += 1;
    }

    /// Sets a count that is kept elsewhere.
    pub fn set(&mut self, counter: Counter, count: u64) {
        self.counts[counter as usize] = count;
    }

    /// Counts an injected fault by the name of its kind.
    pub fn add_fault(&mut self, name: &'static str) {
        *self.faults.entry(name).or_default() += 1;
    }

    /// How often it happened so far.
    pub const fn get(&self, counter: Counter) -> u64 {
        self.counts[counter as usize]
    }

    /// All that are not zero, by name; injected faults under `fault.` and their kind.
    pub fn by_name(&self) -> BTreeMap<&'static str, u64> {
        Counter::ALL
            .iter()
            .map(|counter| (counter.name(), self.get(*counter)))
            .chain(self.faults.iter().map(|(name, count)| (*name, *count)))
            .filter(|(_, count)| *count > 0)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_distinct() {
        let names: BTreeSet<_> = Counter::ALL.iter().map(|counter| counter.name()).collect();
        assert_eq!(names.len(), Counter::ALL.len());
    }

    #[test]
    fn only_what_happened_is_listed() {
        let mut counters = Counters::default();
        counters.add(Counter::Corrupt);
        counters.add(Counter::Corrupt);
        counters.add_fault("fault.crash");
        let listed: Vec<_> = counters.by_name().into_iter().collect();
        assert_eq!(listed, [("fault.crash", 1), ("net.corrupt", 2)]);
    }
}
