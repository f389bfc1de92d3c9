//! Versions of the formats on disk.
//!
//! A program reads every version that it knows and writes the current one, or the one
//! before if it is told to. So members can be upgraded one by one, and an upgrade can be
//! taken back: first all members write the previous version again, and once what they
//! wrote before is gone (log segments and snapshots are replaced as time goes by), the
//! earlier program can read their folders.

/// Which version of the formats is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DataFormat {
    /// Version 1: for a way back to an earlier program.
    Previous,
    /// Version 2: segments of the log are chained, snapshots name their cluster.
    #[default]
    Current,
}

impl DataFormat {
    /// The newest version that this program knows.
    pub const NEWEST: u32 = 2;

    /// The oldest version that this program knows.
    pub const OLDEST: u32 = 1;

    /// The number in the headers of files.
    pub const fn version(self) -> u32 {
        match self {
            Self::Previous => Self::OLDEST,
            Self::Current => Self::NEWEST,
        }
    }
}
