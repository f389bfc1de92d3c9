//! What a process has used, as Linux tells it in `/proc`.

use std::io;
use std::time::Duration;

/// What a process, or several of one member one after the other, has used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// In user and system mode, all threads.
    pub(crate) cpu: Duration,
    /// The most memory that was resident at once.
    pub(crate) peak_resident_bytes: u64,
    /// What was given to the disk.
    pub(crate) written_bytes: u64,
}

impl Usage {
    /// What a process has used so far. It may have ended, as long as nobody has waited for
    /// it; then it has no memory any more, and some systems tell what it gave to the disk only
    /// to root.
    ///
    /// # Errors
    /// There is no such process, or the system tells this in another form.
    pub(crate) fn of_process(process_id: u32) -> io::Result<Self> {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/{process_id}/{name}"));
        let told = |what: Option<u64>, name: &str| {
            let reason = format!("/proc/{process_id}/{name} has another form than expected");
            what.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, reason))
        };
        let ticks = told(cpu_ticks(&read("stat")?), "stat")?;
        let ticks_per_second = rustix::param::clock_ticks_per_second();
        Ok(Self {
            cpu: Duration::from_secs_f64(ticks as f64 / ticks_per_second as f64),
            peak_resident_bytes: field(&read("status")?, "VmHWM:").unwrap_or(0) * 1_024,
            written_bytes: match read("io") {
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => 0,
                io => told(field(&io?, "write_bytes:"), "io")?,
            },
        })
    }

    /// What both have used, one after the other.
    pub(crate) fn and_then(self, later: Self) -> Self {
        Self {
            cpu: self.cpu + later.cpu,
            peak_resident_bytes: self.peak_resident_bytes.max(later.peak_resident_bytes),
            written_bytes: self.written_bytes + later.written_bytes,
        }
    }

    /// What was used since an earlier reading. A peak cannot be subtracted: it stays that of
    /// the whole time.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(earlier.cpu),
            peak_resident_bytes: self.peak_resident_bytes,
            written_bytes: self.written_bytes.saturating_sub(earlier.written_bytes),
        }
    }
}

/// The sum of `utime` and `stime` (proc(5)).
fn cpu_ticks(stat: &str) -> Option<u64> {
    // The second field is the name in parentheses, which may hold blanks and parentheses.
    let (_, behind_name) = stat.rsplit_once(')')?;
    let mut fields = behind_name.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// The number behind a name at the beginning of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_found_behind_any_name() {
        let stat = "77 (a ) b) S 1 77 77 0 -1 4194560 900 0 0 0 250 50 0 0 20 0 9 0 1 2 3";
        assert_eq!(cpu_ticks(stat), Some(300));
        assert_eq!(cpu_ticks("77 (a) S 1"), None);
    }

    #[test]
    fn a_field_is_the_number_behind_its_name() {
        let io = "wchar: 5\nwrite_bytes: 8192\ncancelled_write_bytes: 3\n";
        assert_eq!(field(io, "write_bytes:"), Some(8_192));
        assert_eq!(field("VmHWM:\t  2048 kB\n", "VmHWM:"), Some(2_048));
        assert_eq!(field(io, "VmHWM:"), None);
    }

    #[test]
    fn this_process_has_used_something() {
        let usage = Usage::of_process(std::process::id()).unwrap();
        assert!(usage.peak_resident_bytes > 100_000, "{usage:?}");
    }

    #[test]
    fn later_usage_is_added_and_earlier_usage_is_taken_off() {
        let usage = |seconds, peak_resident_bytes, written_bytes| Usage {
            cpu: Duration::from_secs(seconds),
            peak_resident_bytes,
            written_bytes,
        };
        let both = usage(3, 50, 7).and_then(usage(1, 40, 2));
        assert_eq!(both, usage(4, 50, 9));
        assert_eq!(both.since(usage(1, 45, 3)), usage(3, 50, 6));
    }
}
