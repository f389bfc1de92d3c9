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

impl ExitStatus {
    /// The more severe of two, for a process that did several things: a violation, an early
    /// end, input that cannot be used, no answer, in this order.
    #[must_use]
    pub fn most_severe(self, other: Self) -> Self {
        let rank = |status| match status {
            Self::Ok => 0,
            Self::Unknown => 1,
            Self::Usage => 2,
            Self::Crash => 3,
            Self::Violation => 4,
        };
        match rank(self) >= rank(other) {
            true => self,
            false => other,
        }
    }
}

impl From<ExitStatus> for std::process::ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status as u8)
    }
}
