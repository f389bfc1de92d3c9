//! What the process says with its exit status.

/// Exit statuses; the same in every program of this project.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitStatus {
    /// It did what it was asked to.
    Ok = 0,
    /// The store did not tell the truth.
    Violation = 1,
    /// Flags, files or addresses that cannot be used.
    Usage = 2,
    /// A check came to no answer.
    Unknown = 3,
    /// It had to end early: a failing disk, a damaged file, a bug.
    Crash = 5,
}

impl From<ExitStatus> for std::process::ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status as u8)
    }
}
