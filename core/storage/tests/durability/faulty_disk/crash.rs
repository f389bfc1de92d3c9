//! What a crash leaves.

use super::{Change, Faults, FaultyDisk, Inode, Rng};

/// How a crash treats what was not synchronised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crash {
    /// Pieces and names survive with this chance, in percent.
    pub survival_percent: u64,
    /// A write is torn into pieces of this size.
    pub sector_bytes: usize,
    /// The sector under a lost piece may be zeros or garbage, also where it held
    /// something durable.
    pub garbage: bool,
}

impl FaultyDisk {
    /// The machine stops. Returns the disk of the machine that starts again.
    pub fn crash(&self, crash: Crash) -> Self {
        let mut state = self.lock();
        state.process += 1;
        state.faults = Faults::default();
        let mut rng = Rng(state.rng.next());
        for inode in &mut state.inodes {
            inode.crash(crash, &mut rng);
        }
        for dir in state.dirs.values_mut() {
            for change in std::mem::take(&mut dir.pending) {
                if rng.below(100) < crash.survival_percent {
                    change.apply(&mut dir.durable);
                }
            }
            dir.live = dir.durable.clone();
        }
        Self {
            state: self.state.clone(),
            process: state.process,
        }
    }
}

impl Inode {
    fn crash(&mut self, crash: Crash, rng: &mut Rng) {
        for change in std::mem::take(&mut self.pending) {
            match change {
                Change::SetLength(_) => {
                    if rng.below(100) < crash.survival_percent {
                        change.apply(&mut self.durable);
                    }
                }
                Change::Write { offset, data } => self.tear(offset, &data, crash, rng),
            }
        }
        self.live = self.durable.clone();
    }

    fn tear(&mut self, offset: usize, data: &[u8], crash: Crash, rng: &mut Rng) {
        let mut at = 0;
        while at < data.len() {
            let sector = (offset + at) / crash.sector_bytes;
            let sector_end = (sector + 1) * crash.sector_bytes;
            let piece_end = data.len().min(sector_end - offset);
            let piece = &data[at..piece_end];
            if rng.below(100) < crash.survival_percent {
                Change::Write {
                    offset: offset + at,
                    data: piece.to_vec(),
                }
                .apply(&mut self.durable);
            } else if crash.garbage && rng.below(4) == 0 {
                let garbage = rng.below(2) == 0;
                let bytes = (0..crash.sector_bytes)
                    .map(|_| if garbage { rng.next() as u8 } else { 0 })
                    .collect();
                Change::Write {
                    offset: sector * crash.sector_bytes,
                    data: bytes,
                }
                .apply(&mut self.durable);
            } else if rng.below(4) == 0 {
                // The length survives, the data does not.
                let length = self.durable.len().max(offset + piece_end);
                Change::SetLength(length).apply(&mut self.durable);
            }
            at = piece_end;
        }
    }
}
