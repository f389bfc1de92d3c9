//! Folders and the names in them: what processes see, what is durable, what is pending.

use super::faults::CrashRules;
use super::file::FileId;
use crate::counter::Counter;
use crate::rng::Rng;
use crate::trace::Journal;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path};

/// A folder, by its normalised path: components joined by `/`, the root being empty.
type Folder = String;

/// A name in a folder.
type Slot = (Folder, String);

/// A change of names that has not been synchronised. All its assignments become durable
/// together: that is what makes a rename atomic.
#[derive(Clone, Debug)]
struct Change {
    assignments: Vec<(Slot, Option<FileId>)>,
}

impl Change {
    fn concerns(&self, folder: &str) -> bool {
        self.assignments
            .iter()
            .any(|((known, _), _)| known == folder)
    }

    fn touches(&self, slots: &BTreeSet<&Slot>) -> bool {
        self.assignments
            .iter()
            .any(|(slot, _)| slots.contains(slot))
    }
}

/// All names of a disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    folders: BTreeSet<Folder>,
    current: BTreeMap<Slot, FileId>,
    /// The files in `current`; none has two names.
    named: BTreeSet<FileId>,
    durable: BTreeMap<Slot, FileId>,
    pending: Vec<Change>,
}

/// What a crash did to the names.
pub(super) struct NamesOutcome {
    /// How many changes were pending.
    pub(super) pending: u64,
    /// How many were lost.
    pub(super) lost: u64,
}

/// The normalised form of a folder's path.
pub(super) fn folder(path: &Path) -> io::Result<Folder> {
    let mut parts: Vec<&str> = Vec::new();
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            Component::ParentDir => {
                parts.pop();
            }
            Component::Normal(part) => {
                parts.push(part.to_str().ok_or(io::ErrorKind::InvalidInput)?)
            }
        }
    }
    Ok(parts.join("/"))
}

/// The folder and the name of a file's path.
pub(super) fn slot(path: &Path) -> io::Result<Slot> {
    let whole = folder(path)?;
    match whole.rsplit_once('/') {
        Some((folder, name)) => Ok((folder.to_owned(), name.to_owned())),
        None if whole.is_empty() => Err(io::ErrorKind::IsADirectory.into()),
        None => Ok((String::new(), whole)),
    }
}

impl Names {
    /// Whether there is such a folder.
    fn has_folder(&self, folder: &str) -> bool {
        folder.is_empty() || self.folders.contains(folder)
    }

    /// Creates a folder and its parents; durable at once.
    pub(super) fn create_folders(&mut self, path: &Path) -> io::Result<()> {
        let whole = folder(path)?;
        let mut at = String::new();
        for part in whole.split('/').filter(|part| !part.is_empty()) {
            if self.current.contains_key(&(at.clone(), part.to_owned())) {
                return Err(io::ErrorKind::NotADirectory.into());
            }
            if !at.is_empty() {
                at.push('/');
            }
            at.push_str(part);
            self.folders.insert(at.clone());
        }
        Ok(())
    }

    /// The file with this name, if there is one. Fails if there is no such folder, or a
    /// folder has this name.
    pub(super) fn find(&self, slot: &Slot) -> io::Result<Option<FileId>> {
        if !self.has_folder(&slot.0) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let as_folder = if slot.0.is_empty() {
            slot.1.clone()
        } else {
            format!("{}/{}", slot.0, slot.1)
        };
        if self.folders.contains(&as_folder) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        Ok(self.current.get(slot).copied())
    }

    fn change(&mut self, assignments: Vec<(Slot, Option<FileId>)>) {
        for (slot, file) in &assignments {
            if let Some(before) = assign(&mut self.current, slot, *file) {
                self.named.remove(&before);
            }
            self.named.extend(file);
        }
        self.pending.push(Change { assignments });
    }

    /// Names a new file.
    pub(super) fn create(&mut self, slot: Slot, file: FileId) {
        self.change(vec![(slot, Some(file))]);
    }

    /// Removes a name.
    pub(super) fn remove(&mut self, slot: Slot) {
        self.change(vec![(slot, None)]);
    }

    /// Gives the file `file`, called `from`, the name `to`.
    pub(super) fn rename(&mut self, from: Slot, to: Slot, file: FileId) {
        if from != to {
            self.change(vec![(from, None), (to, Some(file))]);
        }
    }

    /// The names in a folder, sorted.
    pub(super) fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let folder = folder(path)?;
        if !self.has_folder(&folder) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(self
            .in_folder(&folder)
            .map(|((_, name), _)| name.clone())
            .collect())
    }

    fn in_folder<'a>(&'a self, folder: &'a str) -> impl Iterator<Item = (&'a Slot, &'a FileId)> {
        self.current
            .range((folder.to_owned(), String::new())..)
            .take_while(move |((known, _), _)| known == folder)
    }

    /// Makes the names in a folder durable, and what had to happen before them.
    pub(super) fn sync(&mut self, path: &Path) -> io::Result<()> {
        let folder = folder(path)?;
        if !self.has_folder(&folder) {
            return Err(io::ErrorKind::NotFound.into());
        }
        // From the end: a change is due if it concerns the folder, or if a later due
        // change touches one of its names (an older value must not come back later).
        let mut due = vec![false; self.pending.len()];
        let mut slots = BTreeSet::new();
        for (index, change) in self.pending.iter().enumerate().rev() {
            if change.concerns(&folder) || change.touches(&slots) {
                due[index] = true;
                slots.extend(change.assignments.iter().map(|(slot, _)| slot));
            }
        }
        let mut due = due.into_iter();
        let durable = &mut self.durable;
        self.pending.retain(|change| {
            let due = due.next().expect("one mark for each change");
            if due {
                for (slot, file) in &change.assignments {
                    assign(durable, slot, *file);
                }
            }
            !due
        });
        Ok(())
    }

    /// Power is lost: decides which pending changes survive. A change that vanishes takes
    /// with it whatever later touched the same names.
    pub(super) fn crash(
        &mut self,
        rules: &CrashRules,
        rng: &mut Rng,
        journal: &mut Journal,
    ) -> NamesOutcome {
        let pending = std::mem::take(&mut self.pending);
        let mut lost_slots = BTreeSet::new();
        let mut lost = 0;
        for change in &pending {
            let vanishes = change.touches(&lost_slots)
                || (lost > 0 && !rules.reorder)
                || rng.chance(rules.lost_name_probability);
            if vanishes {
                lost += 1;
                journal.counters.add(Counter::LostName);
                lost_slots.extend(change.assignments.iter().map(|(slot, _)| slot));
            } else {
                for (slot, file) in &change.assignments {
                    assign(&mut self.durable, slot, *file);
                }
            }
        }
        self.current = self.durable.clone();
        self.named = self.current.values().copied().collect();
        NamesOutcome {
            pending: pending.len() as u64,
            lost,
        }
    }

    /// Every file that has a name, or may have one after a crash.
    pub(super) fn reachable(&self) -> BTreeSet<FileId> {
        let pending = self
            .pending
            .iter()
            .flat_map(|change| change.assignments.iter().filter_map(|(_, file)| *file));
        self.current
            .values()
            .chain(self.durable.values())
            .copied()
            .chain(pending)
            .collect()
    }

    /// Whether the file has a name now.
    pub(super) fn is_named(&self, file: FileId) -> bool {
        self.named.contains(&file)
    }

    /// How many files have a name now.
    pub(super) fn count(&self) -> usize {
        self.named.len()
    }

    /// Whether the file has a name, or may have one after a crash.
    pub(super) fn is_reachable(&self, file: FileId) -> bool {
        let in_change = |change: &Change| {
            let mut files = change.assignments.iter().map(|(_, file)| *file);
            files.any(|known| known == Some(file))
        };
        self.is_named(file)
            || self.durable.values().any(|known| *known == file)
            || self.pending.iter().any(in_change)
    }

    /// The files whose names end in `suffix`, in the order of their names.
    pub(super) fn with_suffix_and_durability(
        &self,
        suffix: &str,
    ) -> impl Iterator<Item = (String, FileId, bool)> {
        let named = self.current.iter();
        let wanted = named.filter(move |((_, name), _)| name.ends_with(suffix));
        wanted.map(|(slot, file)| {
            let is_durable = self.durable.get(slot) == Some(file);
            (slot.1.clone(), *file, is_durable)
        })
    }

    /// The files whose names end in `suffix`.
    pub(super) fn with_suffix(&self, suffix: &str) -> Vec<FileId> {
        self.current
            .iter()
            .filter(|((_, name), _)| name.ends_with(suffix))
            .map(|(_, file)| *file)
            .collect()
    }
}

/// Gives or takes a name; the file that had it before.
fn assign(names: &mut BTreeMap<Slot, FileId>, slot: &Slot, file: Option<FileId>) -> Option<FileId> {
    match file {
        Some(file) => names.insert(slot.clone(), file),
        None => names.remove(slot),
    }
}
