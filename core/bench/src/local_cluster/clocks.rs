//! Clocks of a member's own: a namespace of time, in which it starts.
//!
//! The kernel lets the monotonic clock and the one since boot differ there by a fixed time. It
//! has nothing of the kind for the wall clock, nor for the rate of any of them.

use std::ffi::OsString;

use super::tool::Tool;

/// What the attempt puts the clocks ahead by.
const ATTEMPT_SECONDS: u64 = 100_000;

/// The program that starts others with such clocks.
pub(crate) struct Clocks(Tool);

impl Clocks {
    /// Sees whether a program can be given clocks of its own.
    ///
    /// # Errors
    /// It cannot, and why.
    pub(crate) fn find() -> Result<Self, String> {
        let unshare = Tool::find("unshare", "util-linux").map_err(|error| error.to_string())?;
        let clocks = Self(unshare);
        let uptime = std::fs::read_to_string("/proc/uptime").map_err(|error| error.to_string())?;
        let seconds = uptime.split('.').next().and_then(|text| text.parse().ok());
        let seconds: u64 = seconds.ok_or("/proc/uptime has another form than expected")?;
        // Older kernels move only the children of a program there, and not the program that
        // takes its place.
        let expected = seconds + ATTEMPT_SECONDS;
        let look = format!("read up rest < /proc/uptime && test ${{up%.*}} -ge {expected}");
        let mut words = clocks.within(ATTEMPT_SECONDS).split_off(1);
        words.extend(["sh", "-c", &look].map(OsString::from));
        clocks.0.run(&words).map_err(|error| error.to_string())?;
        Ok(clocks)
    }

    /// What a command begins with whose clocks are to be ahead by that.
    pub(crate) fn within(&self, ahead_seconds: u64) -> Vec<OsString> {
        vec![
            self.0.path().as_os_str().to_owned(),
            OsString::from("--time"),
            OsString::from(format!("--monotonic={ahead_seconds}")),
            OsString::from(format!("--boottime={ahead_seconds}")),
            OsString::from("--"),
        ]
    }
}
