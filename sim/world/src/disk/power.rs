//! What a loss of power leaves of a disk; images of a disk, kept and put back; decay.

use super::file::FileId;
use super::model::{DiskContext, DiskModel, DiskSnapshot};
use super::names::Names;
use crate::counter::Counter;
use crate::trace::EventKind;

impl DiskModel {
    /// Power is lost: decides what is left of everything that was not synchronised.
    pub fn lose_power(&mut self, context: &mut DiskContext<'_>) {
        let rules = self.faults.crash;
        let names = self
            .names
            .crash(&rules, context.rng, context.recorder.journal);
        if names.pending > 0 {
            let kind = EventKind::CrashedNames {
                pending: names.pending,
                lost: names.lost,
            };
            context.recorder.record(context.process, kind);
        }
        self.close_all();
        for (file, stored) in &mut self.files {
            if stored.contents.is_settled() {
                continue;
            }
            let outcome = stored
                .contents
                .crash(&rules, context.rng, context.recorder.journal);
            let kind = EventKind::CrashedFile {
                file: *file,
                pending: outcome.pending,
                length: stored.contents.len(),
                hash: outcome.hash,
            };
            context.recorder.record(context.process, kind);
        }
        self.measure();
    }

    /// The process is gone: its handles are closed, the page cache stays.
    pub fn close_all(&mut self) {
        for stored in self.files.values_mut() {
            stored.handles = 0;
        }
        self.collect();
        self.measure();
    }

    /// Forgets files that have no name, cannot get one back, and are not open.
    pub(super) fn collect(&mut self) {
        if self.files.len() > self.names.count() {
            let reachable = self.names.reachable();
            self.files
                .retain(|file, stored| stored.handles > 0 || reachable.contains(file));
        }
    }

    /// A file has lost its name or its last handle: if it has neither any more, it takes
    /// no room, and is forgotten unless a crash may bring its name back.
    pub(super) fn release(&mut self, file: FileId) {
        let Some(stored) = self.files.get(&file) else {
            return;
        };
        if stored.handles > 0 || self.names.is_named(file) {
            return;
        }
        self.used_bytes -= stored.contents.present_bytes();
        if !self.names.is_reachable(file) {
            self.files.remove(&file);
        }
    }

    /// Counts anew what the files take that have a name or are open.
    pub(super) fn measure(&mut self) {
        let used = self
            .files
            .iter()
            .filter(|(file, stored)| stored.handles > 0 || self.names.is_named(**file))
            .map(|(_, stored)| stored.contents.present_bytes());
        self.used_bytes = used.sum();
    }

    /// How many handles on files are open.
    pub fn open_files(&self) -> usize {
        let handles = self.files.values().map(|stored| stored.handles as usize);
        handles.sum()
    }

    /// What its files take, in bytes.
    pub const fn used_bytes(&self) -> u64 {
        self.used_bytes
    }

    /// Flips `bits` bits in files whose names end in `suffix`.
    pub fn rot(&mut self, context: &mut DiskContext<'_>, bits: u32, suffix: &str) {
        let files: Vec<FileId> = self
            .names
            .with_suffix(suffix)
            .into_iter()
            .filter(|file| self.files[file].contents.len() > 0)
            .collect();
        for _ in 0..bits {
            if files.is_empty() {
                return;
            }
            let file = files[context.rng.index(files.len())];
            let contents = &mut self.stored(file).contents;
            let offset = context.rng.below(contents.len());
            contents.rot(offset, context.rng.below(8) as u8);
            context.recorder.count(Counter::BitRot);
        }
    }

    /// Whether power could take something from the newest file, by name, whose name ends in
    /// `suffix`: a change of its contents that was not synchronised.
    pub fn newest_is_pending(&self, suffix: &str) -> bool {
        let newest = self.names.with_suffix(suffix).pop();
        newest.is_some_and(|file| self.files[&file].contents.is_pending())
    }

    /// The files whose names end in `suffix` and of which something would be lost with the power:
    /// content, or the name itself.
    pub fn unsynchronised(&self, suffix: &str) -> Vec<String> {
        let files = self.names.with_suffix_and_durability(suffix);
        let lossy = files.filter(|(_, file, is_name_durable)| {
            !is_name_durable || self.files[file].contents.is_pending()
        });
        lossy.map(|(name, _, _)| name).collect()
    }

    /// What it holds now.
    pub fn snapshot(&self) -> DiskSnapshot {
        DiskSnapshot {
            files: self.files.clone(),
            names: self.names.clone(),
        }
    }

    /// Puts back what it held once; no file is open afterwards.
    pub fn restore(&mut self, snapshot: &DiskSnapshot) {
        self.files = snapshot.files.clone();
        self.names = snapshot.names.clone();
        self.close_all();
    }

    /// Empties the disk.
    pub fn wipe(&mut self) {
        self.files.clear();
        self.names = Names::default();
        self.measure();
    }
}
