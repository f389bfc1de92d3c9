//! The replayed store: every key's versions over a window of revisions, the keys
//! changed by each revision, and the keys attached to each lease.
//!
//! [`Base`] is what is certain. Where a revision could have been written by one of
//! several unknown operations, each hypothesis keeps its changes in an [`Overlay`];
//! a [`View`] reads the two as one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;

use bytes::Bytes;
use veridical_histories::etcd::{KeyRange, KeyValue};

use super::operation::Writer;

/// A key's content between two of its changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub value: Bytes,
    pub create_revision: i64,
    pub mod_revision: i64,
    pub version: i64,
    pub lease: i64,
    /// The value is only assumed (see [`super::slots`]).
    pub is_guess: bool,
}

/// A value that has to be known before anything can be compared with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Untold {
    pub key: Bytes,
    /// The revision that wrote it.
    pub revision: i64,
    /// What it is said to be.
    pub value: Option<Bytes>,
}

impl Stored {
    /// What has to be known before this is compared with `kv`.
    pub fn untold(&self, kv: &KeyValue, keys_only: bool) -> Option<Untold> {
        let is_asked = self.is_guess && !keys_only && self.mod_revision == kv.mod_revision;
        is_asked.then(|| self.untold_of(&kv.key, Some(&kv.value)))
    }

    /// Its value has to be known, whatever it is, or that it is `value`.
    pub fn untold_of(&self, key: &Bytes, value: Option<&Bytes>) -> Untold {
        Untold {
            key: key.clone(),
            revision: self.mod_revision,
            value: value.cloned(),
        }
    }

    pub fn to_kv(&self, key: &Bytes) -> KeyValue {
        KeyValue {
            key: key.clone(),
            value: self.value.clone(),
            create_revision: self.create_revision,
            mod_revision: self.mod_revision,
            version: self.version,
            lease: self.lease,
        }
    }

    /// Whether `kv` says the same, its value left out where `keys_only`. A lease of -1
    /// marks a pair of which not everything was recorded: what is 0 is not told.
    pub fn equals(&self, kv: &KeyValue, keys_only: bool) -> bool {
        if kv.lease == -1 {
            return self.mod_revision == kv.mod_revision
                && (kv.create_revision == 0 || self.create_revision == kv.create_revision)
                && (kv.version == 0 || self.version == kv.version)
                && (keys_only || self.value == kv.value);
        }
        self.mod_revision == kv.mod_revision
            && self.create_revision == kv.create_revision
            && self.version == kv.version
            && self.lease == kv.lease
            && if keys_only {
                kv.value.is_empty()
            } else {
                self.value == kv.value
            }
    }
}

/// A key's content as later answers can tell it; a value that is only assumed is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Content<'a> {
    value: Option<&'a Bytes>,
    create_revision: i64,
    mod_revision: i64,
    version: i64,
    lease: i64,
}

impl<'a> Content<'a> {
    fn of(stored: &'a Stored) -> Self {
        Self {
            value: (!stored.is_guess).then_some(&stored.value),
            create_revision: stored.create_revision,
            mod_revision: stored.mod_revision,
            version: stored.version,
            lease: stored.lease,
        }
    }
}

/// What keys contain, where it is not what they contain for certain.
pub(super) type LastChanges<'a> = Vec<(&'a Bytes, Option<Content<'a>>)>;

/// What one revision did to one key: `None` deletes it.
pub(super) type Change = (Bytes, Option<Stored>);

#[derive(Clone, Debug)]
struct Version {
    revision: i64,
    stored: Option<Stored>,
}

/// Ascending by revision.
type Versions = VecDeque<Version>;

fn bytes_of(version: &Version) -> usize {
    let value = version
        .stored
        .as_ref()
        .map_or(0, |stored| stored.value.len());
    size_of::<Version>() + value
}

fn bytes_of_all(versions: &Versions) -> usize {
    versions.iter().map(bytes_of).sum()
}

fn bytes_of_entry(keys: &[Bytes]) -> usize {
    let lengths: usize = keys.iter().map(Bytes::len).sum();
    size_of::<LogEntry>() + std::mem::size_of_val(keys) + lengths
}

fn at(versions: &Versions, revision: i64) -> Option<&Stored> {
    let last = versions.back()?;
    if last.revision <= revision {
        return last.stored.as_ref();
    }
    let newer = versions.partition_point(|version| version.revision <= revision);
    versions[newer.checked_sub(1)?].stored.as_ref()
}

/// One revision as it was replayed.
#[derive(Clone, Debug)]
pub(super) struct LogEntry {
    pub keys: Box<[Bytes]>,
    pub writer: Writer,
}

type Attached = BTreeMap<i64, BTreeSet<Bytes>>;

fn attach(attached: &mut BTreeSet<Bytes>, key: &Bytes, is_attached: bool) {
    if is_attached {
        attached.insert(key.clone());
    } else {
        attached.remove(key);
    }
}

/// What is certain.
#[derive(Debug, Default)]
pub(super) struct Base {
    keys: BTreeMap<Bytes, Versions>,
    log: VecDeque<LogEntry>,
    /// The revision of the first entry of `log`.
    log_start: i64,
    attached: Attached,
    /// Bytes of versions and log, estimated.
    bytes: usize,
}

/// What holds in one hypothesis, on top of the [`Base`]: the versions that came since.
#[derive(Clone, Debug, Default)]
pub(super) struct Overlay {
    keys: BTreeMap<Bytes, Versions>,
    log: Vec<LogEntry>,
    attached: Attached,
    /// What became known of values that were assumed, by key and revision.
    told: BTreeMap<(Bytes, i64), Stored>,
    /// Bytes of all that, estimated.
    bytes: usize,
}

impl Base {
    pub fn new(initial_revision: i64) -> Self {
        Self {
            log_start: initial_revision + 1,
            ..Self::default()
        }
    }

    /// The last certain revision.
    pub fn revision(&self) -> i64 {
        self.log_start + self.log.len() as i64 - 1
    }

    /// The first revision whose log entry is kept; states from the one before it on can
    /// be read.
    pub fn log_start(&self) -> i64 {
        self.log_start
    }

    /// Carries out the next revision.
    pub fn commit(&mut self, changes: Vec<Change>, writer: Writer) {
        let revision = self.revision() + 1;
        let keys: Box<[Bytes]> = changes.iter().map(|(key, _)| key.clone()).collect();
        self.bytes += bytes_of_entry(&keys);
        for (key, stored) in changes {
            let new_lease = stored.as_ref().map_or(0, |stored| stored.lease);
            let versions = self.keys.entry(key.clone()).or_default();
            let old_lease = versions
                .back()
                .and_then(|v| v.stored.as_ref())
                .map_or(0, |stored| stored.lease);
            let version = Version { revision, stored };
            self.bytes += bytes_of(&version);
            versions.push_back(version);
            if old_lease != new_lease {
                if old_lease != 0
                    && let Some(keys) = self.attached.get_mut(&old_lease)
                {
                    keys.remove(&key);
                    if keys.is_empty() {
                        self.attached.remove(&old_lease);
                    }
                }
                if new_lease != 0 {
                    self.attached.entry(new_lease).or_default().insert(key);
                }
            }
        }
        self.log.push_back(LogEntry { keys, writer });
    }

    /// Takes over a hypothesis that turned out to be the only one left.
    pub fn absorb(&mut self, overlay: Overlay) {
        for (key, versions) in overlay.keys {
            self.bytes += bytes_of_all(&versions);
            self.keys.entry(key).or_default().extend(versions);
        }
        let entries = overlay.log.iter().map(|entry| bytes_of_entry(&entry.keys));
        self.bytes += entries.sum::<usize>();
        for (lease, keys) in overlay.attached {
            if keys.is_empty() {
                self.attached.remove(&lease);
            } else {
                self.attached.insert(lease, keys);
            }
        }
        self.log.extend(overlay.log);
        for ((key, revision), told) in overlay.told {
            let versions = self.keys.get_mut(&key);
            let version = versions.and_then(|versions| {
                let number = versions.partition_point(|version| version.revision < revision);
                versions.get_mut(number).filter(|v| v.revision == revision)
            });
            // What is forgotten need not be known any more.
            if let Some(version) = version {
                self.bytes -= bytes_of(version);
                version.stored = Some(told);
                self.bytes += bytes_of(version);
            }
        }
    }

    /// Forgets what only reads below `oldest` could see. Cost is amortised over commits.
    pub fn collect_garbage(&mut self, oldest: i64) {
        while self.log_start <= oldest {
            let Some(entry) = self.log.pop_front() else {
                break;
            };
            let revision = self.log_start;
            self.log_start += 1;
            self.bytes -= bytes_of_entry(&entry.keys);
            for key in &entry.keys {
                let Some(versions) = self.keys.get_mut(key) else {
                    continue;
                };
                // All before the newest version that is not above `revision` is dead.
                let dead = versions
                    .partition_point(|v| v.revision <= revision)
                    .saturating_sub(1);
                self.bytes -= versions
                    .drain(..dead)
                    .map(|dead| bytes_of(&dead))
                    .sum::<usize>();
                if versions.len() == 1
                    && versions[0].stored.is_none()
                    && versions[0].revision <= revision
                {
                    self.bytes -= bytes_of_all(versions);
                    self.keys.remove(key);
                }
            }
        }
    }

    /// Keys with some version.
    pub fn keys(&self) -> usize {
        self.keys.len()
    }

    /// Bytes held, estimated; without those of the tables.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Revisions held, for reports.
    pub fn kept_revisions(&self) -> usize {
        self.log.len()
    }
}

/// A base and a hypothesis, read as one.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub base: &'a Base,
    pub overlay: &'a Overlay,
}

impl<'a> View<'a> {
    fn history(&self, key: &[u8]) -> KeyHistory<'a> {
        KeyHistory {
            base: self.base.keys.get(key),
            since: self.overlay.keys.get(key),
        }
    }

    /// The key's content after `revision`.
    pub fn get(&self, key: &[u8], revision: i64) -> Option<&'a Stored> {
        let stored = self.history(key).at(revision)?;
        Some(self.overlay.as_told(key, stored))
    }

    /// Whether the key does not exist after some revision in `first..=last`.
    pub fn absent_within(&self, key: &[u8], first: i64, last: i64) -> bool {
        let history = self.history(key);
        history.at(first).is_none()
            || history
                .versions()
                .any(|v| v.stored.is_none() && (first..=last).contains(&v.revision))
    }

    /// Existing keys of `range` after `revision`, in order of key.
    pub fn range(
        &self,
        range: &KeyRange,
        revision: i64,
    ) -> impl Iterator<Item = (&'a Bytes, &'a Stored)> + use<'a> {
        let bounds = bounds_of(range);
        let base = bounds
            .clone()
            .map(|bounds| self.base.keys.range::<Bytes, _>(bounds));
        let over = bounds.map(|bounds| self.overlay.keys.range::<Bytes, _>(bounds));
        let merged = Merged {
            base: base.into_iter().flatten().peekable(),
            over: over.into_iter().flatten().peekable(),
        };
        let overlay = self.overlay;
        merged.filter_map(move |(key, history)| {
            let stored = history.at(revision)?;
            Some((key, overlay.as_told(key, stored)))
        })
    }

    /// Keys attached to `lease` now, in order.
    pub fn attached(&self, lease: i64) -> impl Iterator<Item = &'a Bytes> + use<'a> {
        self.overlay
            .attached
            .get(&lease)
            .or_else(|| self.base.attached.get(&lease))
            .into_iter()
            .flatten()
    }

    /// Leases with attached keys now, ascending.
    pub fn leases(&self) -> BTreeSet<i64> {
        self.base
            .attached
            .keys()
            .chain(self.overlay.attached.keys())
            .copied()
            .filter(|lease| self.attached(*lease).next().is_some())
            .collect()
    }

    /// The last revision that is replayed here.
    pub fn last_revision(&self) -> i64 {
        self.base.revision() + self.overlay.log.len() as i64
    }

    /// What `revision` changed; `None` where it is not replayed or forgotten.
    pub fn log(&self, revision: i64) -> Option<&'a LogEntry> {
        let index = usize::try_from(revision - self.base.log_start).ok()?;
        match index.checked_sub(self.base.log.len()) {
            None => self.base.log.get(index),
            Some(index) => self.overlay.log.get(index),
        }
    }
}

/// What a small allocation takes beside its contents, with the room that a sequence has
/// to grow, in bytes.
const ALLOCATION_BYTES: usize = 64;

impl Overlay {
    pub fn is_empty(&self) -> bool {
        self.log.is_empty() && self.told.is_empty()
    }

    /// The present contents of the keys that differ from the base in them.
    pub fn last_changes<'a>(&'a self, base: &'a Base) -> LastChanges<'a> {
        let last = |versions: Option<&'a Versions>| versions?.back()?.stored.as_ref();
        let content = |key: &Bytes, stored: Option<&'a Stored>| {
            stored.map(|stored| Content::of(self.as_told(key, stored)))
        };
        let touched = self.keys.keys().chain(self.told.keys().map(|(key, _)| key));
        let touched: BTreeSet<&Bytes> = touched.collect();
        let changes = touched.into_iter().filter_map(|key| {
            let before = last(base.keys.get(key));
            let now = match self.keys.get(key) {
                Some(versions) => last(Some(versions)),
                None => before,
            };
            let (before, now) = (before.map(Content::of), content(key, now));
            (before != now).then_some((key, now))
        });
        changes.collect()
    }

    /// The keys whose versions differ, and the last revision at which one of them changed.
    pub fn differences(&self, other: &Self) -> (Vec<Bytes>, i64) {
        let keys: BTreeSet<&Bytes> = self.keys.keys().chain(other.keys.keys()).collect();
        let mut until = 0;
        let differing = keys.into_iter().filter(|key| {
            let (own, theirs) = (self.keys.get(*key), other.keys.get(*key));
            let of = |versions: Option<&Versions>| -> Vec<_> {
                let versions = versions.into_iter().flatten();
                versions
                    .map(|v| (v.revision, v.stored.clone().map(|stored| stored.is_guess)))
                    .collect()
            };
            let differs = of(own) != of(theirs)
                || own
                    .into_iter()
                    .flatten()
                    .zip(theirs.into_iter().flatten())
                    .any(|(a, b)| {
                        a.stored.as_ref().map(Content::of) != b.stored.as_ref().map(Content::of)
                    });
            if differs {
                let last = |versions: Option<&Versions>| Some(versions?.back()?.revision);
                until = until.max(last(own).max(last(theirs)).unwrap_or(0));
            }
            differs
        });
        let differing = differing.cloned().collect();
        (differing, until)
    }

    /// What was assumed when `stored` was written has become known.
    pub fn tell(&mut self, key: &Bytes, stored: &Stored, value: Bytes) {
        let told = Stored {
            value,
            is_guess: false,
            ..stored.clone()
        };
        self.bytes += 2 * size_of::<((Bytes, i64), Stored)>() + key.len();
        self.told.insert((key.clone(), stored.mod_revision), told);
    }

    /// With what has become known since.
    fn as_told<'a>(&'a self, key: &[u8], stored: &'a Stored) -> &'a Stored {
        if !stored.is_guess || self.told.is_empty() {
            return stored;
        }
        let place = (Bytes::copy_from_slice(key), stored.mod_revision);
        self.told.get(&place).unwrap_or(stored)
    }

    /// Bytes held, estimated.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Carries out the next revision, which is `revision`.
    pub fn commit(&mut self, base: &Base, revision: i64, changes: Vec<Change>, writer: Writer) {
        let keys: Box<[Bytes]> = changes.iter().map(|(key, _)| key.clone()).collect();
        self.bytes += bytes_of_entry(&keys) + ALLOCATION_BYTES;
        for (key, stored) in changes {
            let new_lease = stored.as_ref().map_or(0, |stored| stored.lease);
            let bytes = &mut self.bytes;
            let versions = self.keys.entry(key.clone()).or_insert_with(|| {
                *bytes += 2 * size_of::<(Bytes, Versions)>() + ALLOCATION_BYTES;
                Versions::new()
            });
            let old_lease = versions
                .back()
                .or_else(|| base.keys.get(&key)?.back())
                .and_then(|v| v.stored.as_ref())
                .map_or(0, |stored| stored.lease);
            let version = Version { revision, stored };
            // Of the value every hypothesis has the same bytes.
            *bytes += 2 * size_of::<Version>();
            versions.push_back(version);
            for (lease, is_attached) in [(old_lease, false), (new_lease, true)] {
                if lease != 0 && old_lease != new_lease {
                    let attached = self
                        .attached
                        .entry(lease)
                        .or_insert_with(|| base.attached.get(&lease).cloned().unwrap_or_default());
                    *bytes += size_of::<Bytes>() * (1 + attached.len());
                    attach(attached, &key, is_attached);
                }
            }
        }
        self.log.push(LogEntry { keys, writer });
    }
}

/// The versions of a key: those of the base, then those of the hypothesis.
#[derive(Clone, Copy)]
struct KeyHistory<'a> {
    base: Option<&'a Versions>,
    since: Option<&'a Versions>,
}

impl<'a> KeyHistory<'a> {
    fn at(&self, revision: i64) -> Option<&'a Stored> {
        match self.since {
            Some(since) if since.front()?.revision <= revision => at(since, revision),
            _ => at(self.base?, revision),
        }
    }

    fn versions(&self) -> impl Iterator<Item = &'a Version> + use<'a> {
        let parts = [self.base, self.since];
        parts.into_iter().flatten().flatten()
    }
}

type KeyBounds = (Bound<Bytes>, Bound<Bytes>);

/// `None` where the range is empty.
fn bounds_of(range: &KeyRange) -> Option<KeyBounds> {
    let first = Bound::Included(range.key.clone());
    if range.is_single() {
        Some((first, Bound::Included(range.key.clone())))
    } else if range.is_unbounded() {
        Some((first, Bound::Unbounded))
    } else {
        (range.key < range.range_end).then(|| (first, Bound::Excluded(range.range_end.clone())))
    }
}

/// Two ordered sequences as one.
struct Merged<B: Iterator, O: Iterator> {
    base: std::iter::Peekable<B>,
    over: std::iter::Peekable<O>,
}

impl<'a, B, O> Iterator for Merged<B, O>
where
    B: Iterator<Item = (&'a Bytes, &'a Versions)>,
    O: Iterator<Item = (&'a Bytes, &'a Versions)>,
{
    type Item = (&'a Bytes, KeyHistory<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        use std::cmp::Ordering;
        let order = match (self.base.peek(), self.over.peek()) {
            (_, None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((base, _)), Some((over, _))) => base.cmp(over),
        };
        let base = order.is_le().then(|| self.base.next()).flatten();
        let over = order.is_ge().then(|| self.over.next()).flatten();
        let (key, _) = base.or(over)?;
        let history = KeyHistory {
            base: base.map(|(_, versions)| versions),
            since: over.map(|(_, versions)| versions),
        };
        Some((key, history))
    }
}
