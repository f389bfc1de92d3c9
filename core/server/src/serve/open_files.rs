//! How many files the process may have open: connections are files, too, and a member that can
//! open none of its own has to stop.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// Of all files that may be open, at least so many are for the member itself: its log, its
/// snapshots, its engine and the connections of the other members.
const RESERVED_MIN: u64 = 64;

/// One part in so many is for the member itself, if that is more.
const RESERVED_PART: u64 = 4;

/// Raises the soft limit to the hard one, as any process may, and returns what holds then;
/// nothing if there is no limit.
pub(crate) fn raise_limit() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return limit.current;
    }
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(error) => {
            warn!(%error, "cannot raise the limit of open files");
            limit.current
        }
    }
}

/// How many connections clients may have at once where so many files may be open.
pub(crate) fn client_connections_max(open_files_max: Option<u64>) -> usize {
    let Some(open_files_max) = open_files_max else {
        return tokio::sync::Semaphore::MAX_PERMITS;
    };
    let reserved = RESERVED_MIN.max(open_files_max / RESERVED_PART);
    let free = open_files_max.saturating_sub(reserved).max(1);
    usize::try_from(free).map_or(tokio::sync::Semaphore::MAX_PERMITS, |free| {
        free.min(tokio::sync::Semaphore::MAX_PERMITS)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_of_the_files_and_at_least_64_are_kept_for_the_member() {
        assert_eq!(client_connections_max(Some(128)), 64);
        assert_eq!(client_connections_max(Some(1_024)), 768);
        assert_eq!(client_connections_max(Some(1_048_576)), 786_432);
    }

    #[test]
    fn one_client_is_served_however_few_files_there_may_be() {
        assert_eq!(client_connections_max(Some(0)), 1);
        assert_eq!(client_connections_max(Some(64)), 1);
    }

    #[test]
    fn without_a_limit_of_files_there_is_none_of_connections() {
        assert_eq!(
            client_connections_max(None),
            tokio::sync::Semaphore::MAX_PERMITS
        );
    }
}
