//! Decay: what is stored changes without anybody having written it. The model knows nothing
//! of formats; whoever does reads a file, decides what to change and overwrites it.

use super::file::FileId;
use super::model::{DiskContext, DiskModel, DiskSnapshot};
use crate::counter::Counter;
use crate::digest::fingerprint;
use crate::trace::EventKind;
use serde::{Deserialize, Serialize};

/// How the contents of a file are damaged at rest. A range begins at a multiple of its own
/// length, so that 8 bytes are a field of most formats, and 512 or 4096 are a sector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Damage {
    /// One byte becomes another.
    Byte {
        /// Which.
        becomes: DamagedByte,
    },
    /// A range becomes zeros.
    Zeros {
        /// Its length.
        bytes: u32,
    },
    /// Two ranges take each other's place.
    Exchange {
        /// The length of each.
        bytes: u32,
    },
    /// A range becomes what it was in the image of the disk that was kept last
    /// ([`Fault::KeepDisk`](crate::Fault::KeepDisk)): writes since then that were acknowledged
    /// and never reached the medium. Without an image nothing happens.
    OlderGeneration {
        /// Its length.
        bytes: u32,
    },
}

/// What a damaged byte becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DamagedByte {
    /// 0.
    Zero,
    /// 255.
    Ones,
    /// What the byte before it is.
    Neighbour,
    /// One more.
    OneMore,
    /// One less.
    OneLess,
}

impl DiskModel {
    /// Damages one of the files whose names end in `suffix`, somewhere before its last byte
    /// that is not zero: programs write zeros ahead, and nobody would notice there.
    /// `kept` is an earlier image of this disk.
    pub fn decay(
        &mut self,
        context: &mut DiskContext<'_>,
        damage: Damage,
        suffix: &str,
        kept: Option<&DiskSnapshot>,
    ) {
        let mut files: Vec<(FileId, Vec<u8>)> = Vec::new();
        for file in self.names.with_suffix(suffix) {
            let mut bytes = self.contents_of(file);
            let written = bytes.iter().rposition(|byte| *byte != 0);
            bytes.truncate(written.map_or(0, |last| last + 1));
            if !bytes.is_empty() {
                files.push((file, bytes));
            }
        }
        if files.is_empty() {
            return;
        }
        let (file, bytes) = files.swap_remove(context.rng.index(files.len()));
        let draw_range = |context: &mut DiskContext<'_>, length: u32| {
            let length = length.max(1) as usize;
            let start = context.rng.index(bytes.len().div_ceil(length)) * length;
            start..(start + length).min(bytes.len())
        };
        match damage {
            Damage::Byte { becomes } => {
                let at = context.rng.index(bytes.len());
                let byte = match becomes {
                    DamagedByte::Zero => 0,
                    DamagedByte::Ones => 0xff,
                    DamagedByte::Neighbour => bytes[at.saturating_sub(1)],
                    DamagedByte::OneMore => bytes[at].wrapping_add(1),
                    DamagedByte::OneLess => bytes[at].wrapping_sub(1),
                };
                self.damage(context, file, Counter::DamagedByte, at, &[byte]);
            }
            Damage::Zeros { bytes: length } => {
                let range = draw_range(context, length);
                let zeros = vec![0; range.len()];
                self.damage(context, file, Counter::ZeroedRange, range.start, &zeros);
            }
            Damage::Exchange { bytes: length } => {
                let (one, other) = (draw_range(context, length), draw_range(context, length));
                // The last one may be cut short by the end of what was written.
                if one.len() == other.len() {
                    let counter = Counter::ExchangedRange;
                    self.damage(context, file, counter, one.start, &bytes[other.clone()]);
                    self.damage(context, file, counter, other.start, &bytes[one]);
                }
            }
            Damage::OlderGeneration { bytes: length } => {
                let range = draw_range(context, length);
                let older = kept.and_then(|kept| kept.files.get(&file));
                if let Some(older) = older {
                    let mut image = older.contents.read(range.start as u64, range.len());
                    image.resize(range.len(), 0);
                    self.damage(context, file, Counter::OlderGeneration, range.start, &image);
                }
            }
        }
    }

    /// The files whose names end in `suffix`, in the order of their names.
    pub fn named(&self, suffix: &str) -> Vec<(String, FileId)> {
        let files = self.names.with_suffix_and_durability(suffix);
        files.map(|(name, file, _)| (name, file)).collect()
    }

    /// What reads of a file show.
    pub fn contents_of(&self, file: FileId) -> Vec<u8> {
        let contents = &self.files[&file].contents;
        let length = usize::try_from(contents.len()).unwrap_or(usize::MAX);
        contents.read(0, length)
    }

    /// Changes bytes of a file wherever it is held. Counts it if they differ.
    pub fn damage(
        &mut self,
        context: &mut DiskContext<'_>,
        file: FileId,
        counter: Counter,
        offset: usize,
        bytes: &[u8],
    ) {
        let contents = &mut self.stored(file).contents;
        let offset = offset as u64;
        if contents.read(offset, bytes.len()) == bytes {
            return;
        }
        contents.decay(offset, bytes);
        // A page that nobody had written may be there now.
        self.measure();
        context.recorder.count(counter);
        let kind = EventKind::Damage {
            file,
            offset,
            length: bytes.len() as u64,
            hash: fingerprint(bytes),
        };
        context.recorder.record(context.process, kind);
    }
}
