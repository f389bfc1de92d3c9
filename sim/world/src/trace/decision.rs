//! Random decisions by the site at which they are taken.
//!
//! A decision is a pure function of (seed, [`Site`], how many were taken there before).
//! So a message more on one link, or a disk operation more in one process, moves no
//! decision anywhere else. What is left moves only behind the change, on that site.
//!
//! On demand every decision is recorded, with its time and a fingerprint of what it was
//! about, and a later run takes its decisions from that record: it finds them by content,
//! else by time, so that a recorded fate stays with its message even where messages were
//! added, changed or left out before it ("decision trace").

use crate::fault::ProcessId;
use crate::rng::{Rng, Stream, keyed_seed};
use crate::trace::DiskOperation;
use serde::{Deserialize, Serialize};
use std::hash::{BuildHasherDefault, Hasher};

/// The site at which a decision is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "on", rename_all = "snake_case")]
pub enum Site {
    /// The fate of a unit on a link.
    Unit {
        /// The sender.
        from: ProcessId,
        /// The receiver.
        to: ProcessId,
    },
    /// The fate of a request to connect, an answer, an end or a reset.
    Control {
        /// The sender.
        from: ProcessId,
        /// The receiver.
        to: ProcessId,
    },
    /// Which bytes of a unit are flipped.
    Corruption {
        /// The sender.
        from: ProcessId,
        /// The receiver.
        to: ProcessId,
    },
    /// How much of what is there a read returns.
    Read {
        /// The sender.
        from: ProcessId,
        /// The reader.
        to: ProcessId,
    },
    /// When what was held at a link goes on.
    Release {
        /// The sender.
        from: ProcessId,
        /// The receiver.
        to: ProcessId,
    },
    /// How much further apart than others two hosts are.
    Distance {
        /// The sender.
        from: ProcessId,
        /// The receiver.
        to: ProcessId,
    },
    /// What is decided when an operation of a disk begins: its latency among others.
    DiskBegin {
        /// The process whose disk it is.
        process: ProcessId,
        /// The operation.
        operation: DiskOperation,
    },
    /// What is decided when an operation of a disk takes effect.
    DiskEnd {
        /// The process whose disk it is.
        process: ProcessId,
        /// The operation.
        operation: DiskOperation,
    },
    /// What a loss of power leaves on a disk.
    PowerLoss {
        /// The process whose disk it is.
        process: ProcessId,
    },
    /// What of a disk decays.
    BitRot {
        /// The process whose disk it is.
        process: ProcessId,
    },
    /// The origins of a process's clocks.
    Clock {
        /// The process.
        process: ProcessId,
    },
    /// A seed for a process (`Environment::random_seed`).
    Seed {
        /// The process that gets the seed.
        process: ProcessId,
        /// The number of the process's start.
        incarnation: u32,
    },
    /// The orders of a swizzle.
    Swizzle,
    /// The priority of a link, if the schedule goes by priorities.
    LinkPriority {
        /// The sender.
        from: ProcessId,
        /// The receiver.
        to: ProcessId,
    },
    /// The priority of a task, if the schedule goes by priorities.
    TaskPriority {
        /// The process.
        process: ProcessId,
        /// The number of the process's start.
        incarnation: u32,
    },
    /// A generator for the driver of the run.
    Driver {
        /// The stream that it is drawn from.
        stream: Stream,
    },
}

impl Site {
    /// The stream that the decisions of the site belong to.
    const fn stream(self) -> Stream {
        match self {
            Self::Unit { .. }
            | Self::Control { .. }
            | Self::Corruption { .. }
            | Self::Read { .. }
            | Self::Release { .. }
            | Self::Distance { .. } => Stream::Network,
            Self::DiskBegin { .. }
            | Self::DiskEnd { .. }
            | Self::PowerLoss { .. }
            | Self::BitRot { .. } => Stream::Disk,
            Self::Clock { .. } => Stream::Clock,
            Self::Seed { .. } => Stream::Process,
            Self::Swizzle => Stream::Nemesis,
            Self::LinkPriority { .. } | Self::TaskPriority { .. } => Stream::Schedule,
            Self::Driver { stream } => stream,
        }
    }

    /// The site as a number: 8 bits of kind, 28 bits for each of two fields.
    const fn code(self) -> u64 {
        let (kind, a, b) = match self {
            Self::Unit { from, to } => (1, from.0 as u64, to.0 as u64),
            Self::Control { from, to } => (2, from.0 as u64, to.0 as u64),
            Self::Corruption { from, to } => (3, from.0 as u64, to.0 as u64),
            Self::Read { from, to } => (4, from.0 as u64, to.0 as u64),
            Self::Release { from, to } => (5, from.0 as u64, to.0 as u64),
            Self::Distance { from, to } => (6, from.0 as u64, to.0 as u64),
            Self::DiskBegin { process, operation } => (7, process.0 as u64, operation as u64),
            Self::DiskEnd { process, operation } => (8, process.0 as u64, operation as u64),
            Self::PowerLoss { process } => (9, process.0 as u64, 0),
            Self::BitRot { process } => (10, process.0 as u64, 0),
            Self::Clock { process } => (11, process.0 as u64, 0),
            Self::Seed {
                process,
                incarnation,
            } => (12, process.0 as u64, incarnation as u64),
            Self::Swizzle => (13, 0, 0),
            Self::Driver { stream } => (14, stream as u64, 0),
            Self::LinkPriority { from, to } => (15, from.0 as u64, to.0 as u64),
            Self::TaskPriority {
                process,
                incarnation,
            } => (16, process.0 as u64, incarnation as u64),
        };
        kind << 56 | (a & 0xFFF_FFFF) << 28 | (b & 0xFFF_FFFF)
    }

    /// Whether the time of a decision says nothing about which one it is: there are few
    /// of the kind, and their order is that of the program.
    const fn goes_by_ordinal(self) -> bool {
        matches!(
            self,
            Self::Distance { .. }
                | Self::Clock { .. }
                | Self::Seed { .. }
                | Self::Swizzle
                | Self::LinkPriority { .. }
                | Self::TaskPriority { .. }
                | Self::Driver { .. }
        )
    }
}

/// A decision that was taken: all that was drawn for it follows from its seed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The site at which it was taken.
    #[serde(flatten)]
    pub site: Site,
    /// The time at which it was taken, in simulated ns.
    #[serde(rename = "t")]
    pub at_ns: u64,
    /// A fingerprint of what it was about; 0 if it was about nothing in particular.
    #[serde(rename = "h", default, skip_serializing_if = "is_zero")]
    pub content: u64,
    /// The seed of its generator.
    #[serde(rename = "s")]
    pub seed: u64,
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands a reference over"
)]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Where the decisions of a run come from, and whether they are kept. By default they
/// follow from the seed and are not kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DecisionMode {
    /// Whether they are kept.
    pub keep: bool,
    /// The record that they are taken from; where it has no counterpart, the seed decides.
    pub record: Option<Vec<Decision>>,
}

/// How well a record fitted the run that was made from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayCounts {
    /// Decisions in the record.
    pub recorded: u64,
    /// Decisions taken from it, about the very same thing.
    pub matched: u64,
    /// Decisions taken from it by their time: about something else at the same site.
    pub by_time: u64,
    /// Decisions without a recorded counterpart, drawn from the seed.
    pub diverged: u64,
}

/// Decisions that are kept of a run at most; a run of the default scenario has about
/// 30,000. What comes after is left to the seed when the run is replayed.
pub const RECORDED_DECISIONS_MAX: usize = 4_000_000;

/// How far ahead in a site's record the same content is looked for.
const CONTENT_WINDOW: usize = 64;

/// How far apart in time two decisions about different things may be and still be taken
/// for the same one, in ns. Less than a round trip, more than the scheduler's jitter.
const TIME_TOLERANCE_NS: i64 = 1_000_000;

/// Sets decisions without a counterpart apart from those of the record.
const DIVERGED: u64 = 1 << 63;

/// What is recorded of a decision of one site.
#[derive(Clone, Copy, Debug)]
struct Entry {
    at_ns: i64,
    content: u64,
    seed: u64,
}

#[derive(Debug, Default)]
struct SiteState {
    taken: u64,
    record: Vec<Entry>,
    next: usize,
}

/// Hashes the numbers of sites; nobody iterates over the map.
#[derive(Default)]
struct CodeHasher(u64);

impl Hasher for CodeHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        let mixed = (self.0 ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = mixed ^ (mixed >> 29);
    }
}

/// The sites of a run, by their numbers.
#[allow(
    clippy::disallowed_types,
    reason = "its hasher has no seed, nobody iterates over it, and a tree costs a tenth of a run"
)]
type Sites = std::collections::HashMap<u64, SiteState, BuildHasherDefault<CodeHasher>>;

/// The decisions of a run.
#[derive(Debug)]
pub struct Decisions {
    run_seed: u64,
    sites: Sites,
    kept: Option<Vec<Decision>>,
    counts: Option<ReplayCounts>,
    /// By how much the run is behind its record, in ns: decisions that matched say it.
    drift_ns: i64,
}

impl Decisions {
    /// The decisions of the run with this seed.
    pub fn new(seed: u64, mode: DecisionMode) -> Self {
        let mut decisions = Self {
            run_seed: seed,
            sites: Sites::default(),
            kept: mode.keep.then(Vec::new),
            counts: None,
            drift_ns: 0,
        };
        if let Some(record) = mode.record {
            decisions.counts = Some(ReplayCounts {
                recorded: record.len() as u64,
                ..ReplayCounts::default()
            });
            for decision in record {
                let site = decisions.sites.entry(decision.site.code()).or_default();
                site.record.push(Entry {
                    at_ns: decision.at_ns as i64,
                    content: decision.content,
                    seed: decision.seed,
                });
            }
        }
        decisions
    }

    /// The generator for the next decision at `site`, at the time `at_ns`, about
    /// something with the fingerprint `content` (0 for nothing in particular).
    #[inline]
    pub fn draw(&mut self, site: Site, at_ns: u64, content: u64) -> Rng {
        let code = site.code();
        let state = self.sites.entry(code).or_default();
        let ordinal = state.taken;
        state.taken += 1;
        let recorded = match &mut self.counts {
            None => None,
            Some(counts) => {
                let at_ns = at_ns as i64;
                if site.goes_by_ordinal() {
                    state.take_next(counts)
                } else {
                    state.take(counts, &mut self.drift_ns, at_ns, content)
                }
            }
        };
        let seed = recorded.unwrap_or_else(|| {
            let apart = if self.counts.is_some() { DIVERGED } else { 0 };
            keyed_seed(self.run_seed, site.stream(), code, ordinal | apart)
        });
        if let Some(kept) = &mut self.kept
            && kept.len() < RECORDED_DECISIONS_MAX
        {
            kept.push(Decision {
                site,
                at_ns,
                content,
                seed,
            });
        }
        Rng::from_seed(seed)
    }

    /// Takes out the decisions that were kept.
    pub fn take_kept(&mut self) -> Vec<Decision> {
        self.kept.take().unwrap_or_default()
    }

    /// How well the record fits so far, if there is one.
    pub const fn counts(&self) -> Option<ReplayCounts> {
        self.counts
    }
}

impl SiteState {
    fn take_next(&mut self, counts: &mut ReplayCounts) -> Option<u64> {
        let found = self.record.get(self.next).map(|entry| entry.seed);
        match found {
            Some(_) => {
                self.next += 1;
                counts.matched += 1;
            }
            None => counts.diverged += 1,
        }
        found
    }

    fn take(
        &mut self,
        counts: &mut ReplayCounts,
        drift_ns: &mut i64,
        at_ns: i64,
        content: u64,
    ) -> Option<u64> {
        let expected_ns = at_ns - *drift_ns;
        if content != 0 {
            let end = (self.next + CONTENT_WINDOW).min(self.record.len());
            let same = (self.next..end)
                .filter(|index| self.record[*index].content == content)
                .min_by_key(|index| self.record[*index].at_ns.abs_diff(expected_ns));
            if let Some(index) = same {
                let entry = self.record[index];
                self.next = index + 1;
                *drift_ns = at_ns - entry.at_ns;
                counts.matched += 1;
                return Some(entry.seed);
            }
        }
        // What should have come before now does not exist any more.
        while let Some(entry) = self.record.get(self.next)
            && entry.at_ns < expected_ns - TIME_TOLERANCE_NS
        {
            self.next += 1;
        }
        match self.record.get(self.next) {
            Some(entry) if entry.at_ns <= expected_ns + TIME_TOLERANCE_NS => {
                self.next += 1;
                if entry.content == content {
                    counts.matched += 1;
                } else {
                    counts.by_time += 1;
                }
                Some(entry.seed)
            }
            _ => {
                counts.diverged += 1;
                None
            }
        }
    }
}
