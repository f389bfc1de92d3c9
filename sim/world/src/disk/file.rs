//! The contents of one file: what reads show, what is durable, what is in between.

use super::faults::CrashRules;
use super::pages::Pages;
use crate::counter::Counter;
use crate::digest::fingerprint;
use crate::rng::Rng;
use crate::trace::Journal;
use bytes::Bytes;

/// The number of a file on its disk; never used twice, never 0.
pub type FileId = u64;

/// A change that has not been synchronised.
#[derive(Clone, Debug)]
enum Pending {
    Write { offset: u64, data: Bytes },
    SetLength { length: u64 },
}

/// The contents of one file.
///
/// Three views: `cached` is what reads show. `durable` is what the medium holds for
/// certain. `flushed` is the page cache as of the last synchronisation, and exists only
/// where it differs from `durable`, that is after a synchronisation that failed or lied:
/// its pages count as clean, so a later synchronisation does not write them again. But a
/// later write to such a sector makes it dirty again, and then the whole sector is
/// written, old data and new.
#[derive(Clone, Debug, Default)]
pub(super) struct FileContents {
    cached: Pages,
    durable: Pages,
    flushed: Option<Pages>,
    pending: Vec<Pending>,
    /// How many changes were made before the first one in `pending`.
    settled: u64,
}

/// What became of a pending change in a crash.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Survives,
    Vanishes,
    Torn,
    /// The data is lost, the length is not.
    SizeOnly,
}

/// What a crash left of a file.
pub(super) struct CrashOutcome {
    /// How many changes were pending.
    pub(super) pending: u64,
    /// A fingerprint of what is left where they were to go.
    pub(super) hash: u64,
}

impl FileContents {
    /// The length that reads see.
    pub(super) const fn len(&self) -> u64 {
        self.cached.len()
    }

    /// How much room the file takes.
    pub(super) const fn present_bytes(&self) -> u64 {
        self.cached.present_bytes()
    }

    /// How much more room a write would take.
    pub(super) fn missing_bytes(&self, offset: u64, length: usize) -> u64 {
        self.cached.missing_bytes(offset, length)
    }

    /// Reads up to `length` bytes, fewer at the end.
    pub(super) fn read(&self, offset: u64, length: usize) -> Vec<u8> {
        let left = self.cached.len().saturating_sub(offset);
        self.cached.read(
            offset,
            length.min(usize::try_from(left).unwrap_or(usize::MAX)),
        )
    }

    /// Writes into the page cache.
    pub(super) fn write(&mut self, offset: u64, data: Bytes) {
        self.cached.write(offset, &data);
        self.pending.push(Pending::Write { offset, data });
    }

    /// Changes the length in the page cache.
    pub(super) fn set_len(&mut self, length: u64) {
        self.cached.set_len(length);
        self.pending.push(Pending::SetLength { length });
    }

    /// A mark behind all changes made so far, for [`FileContents::sync`].
    pub(super) fn mark(&self) -> u64 {
        self.settled + self.pending.len() as u64
    }

    /// Settles all changes before `mark`. If `durably` they are on the medium then;
    /// otherwise (the synchronisation failed, or lied) they only count as clean.
    pub(super) fn sync(&mut self, mark: u64, durably: bool, sector_bytes: u64) {
        let count = usize::try_from(mark.saturating_sub(self.settled)).unwrap_or(usize::MAX);
        let count = count.min(self.pending.len());
        if count == 0 {
            return;
        }
        if !durably && self.flushed.is_none() {
            self.flushed = Some(self.durable.clone());
        }
        self.settled += count as u64;
        for change in self.pending.drain(..count) {
            match (&mut self.flushed, durably) {
                (None, _) => apply(&mut self.durable, &change),
                (Some(flushed), false) => apply(flushed, &change),
                (Some(flushed), true) => {
                    apply(flushed, &change);
                    write_back(&mut self.durable, flushed, &change, sector_bytes);
                }
            }
        }
    }

    /// Power is lost: decides what is left, by `rules`.
    pub(super) fn crash(
        &mut self,
        rules: &CrashRules,
        rng: &mut Rng,
        journal: &mut Journal,
    ) -> CrashOutcome {
        let pending = std::mem::take(&mut self.pending);
        let mut cache = self.flushed.take().unwrap_or_else(|| self.durable.clone());
        let sector_bytes = sector_bytes(rules);
        let mut gap = false;
        for change in &pending {
            apply(&mut cache, change);
            let fate = if gap && !rules.reorder {
                Fate::Vanishes
            } else {
                decide(change, rules, rng, sector_bytes)
            };
            if gap && fate != Fate::Vanishes {
                journal.counters.add(Counter::ReorderedWrite);
            }
            gap |= fate != Fate::Survives;
            match (fate, change) {
                (Fate::Survives, _) => write_back(&mut self.durable, &cache, change, sector_bytes),
                (Fate::Torn, Pending::Write { offset, data }) => {
                    journal.counters.add(Counter::TornWrite);
                    tear(
                        &mut self.durable,
                        &cache,
                        (*offset, data.len()),
                        rules,
                        rng,
                        journal,
                    );
                }
                (Fate::SizeOnly, Pending::Write { offset, data }) => {
                    let end = offset + data.len() as u64;
                    if end > self.durable.len() {
                        self.durable.set_len(end);
                    }
                }
                (Fate::Vanishes | Fate::Torn | Fate::SizeOnly, _) => {}
            }
        }
        let mut left = Vec::new();
        for change in &pending {
            if let Pending::Write { offset, data } = change {
                let now = self.durable.read(*offset, data.len());
                let end = offset + data.len() as u64;
                if now == data[..] && end <= self.durable.len() {
                    // It survived, or what followed it brought it back.
                } else if end <= self.durable.len() && now.iter().all(|byte| *byte == 0) {
                    journal.counters.add(Counter::SizeWithoutData);
                } else {
                    journal.counters.add(Counter::LostWrite);
                }
                left.push(fingerprint(&now));
            }
        }
        self.settled += pending.len() as u64;
        self.cached = self.durable.clone();
        let hash = left
            .iter()
            .fold(0, |hash: u64, part| hash.rotate_left(7) ^ part);
        CrashOutcome {
            pending: pending.len() as u64,
            hash,
        }
    }

    /// Whether a crash could change anything.
    pub(super) fn is_settled(&self) -> bool {
        self.pending.is_empty() && self.flushed.is_none()
    }

    /// Whether some change has not been synchronised.
    pub(super) fn is_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Replaces bytes wherever the file is held, as far as it holds them: reads show it until
    /// they are overwritten.
    pub(super) fn decay(&mut self, offset: u64, bytes: &[u8]) {
        let views = [&mut self.cached, &mut self.durable];
        for view in views.into_iter().chain(&mut self.flushed) {
            let held = view.len().saturating_sub(offset).min(bytes.len() as u64);
            view.write_without_length(offset, &bytes[..held as usize]);
        }
    }

    /// Flips one bit wherever the file is held: reads show it until it is overwritten.
    pub(super) fn rot(&mut self, offset: u64, bit: u8) {
        self.cached.flip(offset, bit);
        if offset < self.durable.len() {
            self.durable.flip(offset, bit);
        }
        if let Some(flushed) = &mut self.flushed {
            flushed.flip(offset, bit);
        }
    }
}

fn apply(pages: &mut Pages, change: &Pending) {
    match change {
        Pending::Write { offset, data } => pages.write(*offset, data),
        Pending::SetLength { length } => pages.set_len(*length),
    }
}

/// The size of a sector under `rules`.
pub(super) const fn sector_bytes(rules: &CrashRules) -> u64 {
    if rules.sector_bytes > 512 { 4096 } else { 512 }
}

/// Copies the sectors that `change` touched from the page cache to the medium, with
/// the length that the change brought.
fn write_back(medium: &mut Pages, cache: &Pages, change: &Pending, sector_bytes: u64) {
    match change {
        Pending::Write { offset, data } => {
            let start = offset / sector_bytes * sector_bytes;
            let end = (offset + data.len() as u64).next_multiple_of(sector_bytes);
            let bytes = cache.read(start, (end - start) as usize);
            medium.write_without_length(start, &bytes);
            medium.set_len_only(medium.len().max(offset + data.len() as u64));
            clear_tail(medium);
        }
        Pending::SetLength { length } => medium.set_len(*length),
    }
}

fn decide(change: &Pending, rules: &CrashRules, rng: &mut Rng, sector_bytes: u64) -> Fate {
    match change {
        Pending::SetLength { .. } => {
            if rng.chance(rules.lost_write_probability) {
                Fate::Vanishes
            } else {
                Fate::Survives
            }
        }
        Pending::Write { offset, data } => {
            let spans = (offset % sector_bytes + data.len() as u64) > sector_bytes;
            let can_tear = spans || rules.torn_sector_probability > 0.0;
            if can_tear && rng.chance(rules.torn_write_probability) {
                Fate::Torn
            } else if !rng.chance(rules.lost_write_probability) {
                Fate::Survives
            } else if rng.chance(rules.size_without_data_probability) {
                Fate::SizeOnly
            } else {
                Fate::Vanishes
            }
        }
    }
}

/// Lets each sector of a write survive on its own, or be left with zeros or garbage.
fn tear(
    medium: &mut Pages,
    cache: &Pages,
    (offset, length): (u64, usize),
    rules: &CrashRules,
    rng: &mut Rng,
    journal: &mut Journal,
) {
    let sector_bytes = sector_bytes(rules);
    let end = offset + length as u64;
    let mut written_to = medium.len();
    let mut sector = offset / sector_bytes * sector_bytes;
    while sector < end {
        let next = sector + sector_bytes;
        let (from, to) = if rules.torn_sector_whole {
            (sector, next)
        } else {
            (sector.max(offset), next.min(end))
        };
        if rng.chance(rules.torn_sector_probability) {
            journal.counters.add(Counter::TornSector);
            let mut garbage = vec![0; (to - from) as usize];
            if rng.chance(0.5) {
                rng.fill(&mut garbage);
            }
            medium.write_without_length(from, &garbage);
            written_to = written_to.max(to.min(end));
        } else if rng.chance(0.5) {
            medium.write_without_length(sector, &cache.read(sector, sector_bytes as usize));
            written_to = written_to.max(to);
        }
        sector = next;
    }
    if end > medium.len() {
        // The length is kept apart from the data: up to the last sector that got
        // through, or as the write would have left it.
        let length = if rng.chance(0.5) { end } else { written_to };
        medium.set_len_only(length);
    }
    clear_tail(medium);
}

/// Bytes of the last sector behind the end of the file are not part of it; they must not
/// show when it grows again.
fn clear_tail(pages: &mut Pages) {
    let length = pages.len();
    pages.set_len_only(length + 1);
    pages.set_len(length);
}
