//! Whose a session in a history is: the numbers of clients, watchers and of the probe.

use crate::plan::Plan;

/// Sessions of one client are numbered this far apart from those of another.
pub const SESSIONS_PER_CLIENT: u64 = 1 << 20;

/// The probe's number as a client, apart from all others.
pub const PROBE_CLIENT: u64 = 900_000;

/// The number of the client that writes all the time, apart from all others.
pub const STEADY_CLIENT: u64 = 910_000;

/// The first client of the leases that are kept alive, apart from all others.
pub const KEEPER_CLIENT: u64 = 920_000;

/// The number of the client that examines members, apart from all others.
pub const EXAMINER_CLIENT: u64 = 930_000;

/// Requests of those who take a lock from each other, one session each, apart from all others.
pub const HOLDER_CLIENT: u64 = 950_000;

/// The watch of one of them, behind all requests of a run.
pub const FOLLOWER_CLIENT: u64 = 1_040_000;

/// Their machine.
pub const HOLDER_NAME: &str = "holders";

/// The first of the callers whose calls travel in batches, apart from all others.
pub const BATCH_CLIENT: u64 = 940_000;

/// Their machine.
pub const BATCH_NAME: &str = "batches";

/// Its machine.
pub const EXAMINER_NAME: &str = "examiner";

/// The machine of those clients.
pub const KEEPER_NAME: &str = "keepers";

/// The first watcher's number as a client.
pub const WATCHER_CLIENT: u64 = 800_000;

/// The process of a host with clients.
pub fn host_name(number: usize) -> String {
    format!("clients-{number}")
}

/// The process of a watcher.
pub fn watcher_name(number: u64) -> String {
    format!("watcher-{number}")
}

/// The process of the probe.
pub const PROBE_NAME: &str = "probe";

/// The machine of the client that writes all the time.
pub const STEADY_NAME: &str = "steady";

/// The client that a session belongs to.
pub const fn client_of(session: u64) -> u64 {
    session % SESSIONS_PER_CLIENT
}

/// The name of the process that a session belongs to.
pub fn process_of(plan: &Plan, session: u64) -> Option<String> {
    let client = client_of(session);
    if client == PROBE_CLIENT {
        return Some(PROBE_NAME.to_owned());
    }
    if client >= HOLDER_CLIENT {
        return Some(HOLDER_NAME.to_owned());
    }
    if client >= BATCH_CLIENT {
        return Some(BATCH_NAME.to_owned());
    }
    if client == EXAMINER_CLIENT {
        return Some(EXAMINER_NAME.to_owned());
    }
    if client >= KEEPER_CLIENT {
        return Some(KEEPER_NAME.to_owned());
    }
    if client == STEADY_CLIENT {
        return Some(STEADY_NAME.to_owned());
    }
    if client >= WATCHER_CLIENT {
        return Some(watcher_name(client - WATCHER_CLIENT));
    }
    let mut first = 0;
    for (number, host) in plan.hosts.iter().enumerate() {
        first += host.clients.len() as u64;
        if client < first {
            return Some(host_name(number));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm;

    #[test]
    fn a_session_belongs_to_the_host_of_its_client() {
        let plan = swarm::plan(3);
        let first = plan.hosts[0].clients.len() as u64;
        let name = |session| process_of(&plan, session);
        assert_eq!(name(first - 1).as_deref(), Some("clients-0"));
        assert_eq!(name(first).as_deref(), Some("clients-1"));
        let third_session = first + 3 * SESSIONS_PER_CLIENT;
        assert_eq!(name(third_session).as_deref(), Some("clients-1"));
        assert_eq!(name(WATCHER_CLIENT + 1).as_deref(), Some("watcher-1"));
        assert_eq!(name(PROBE_CLIENT).as_deref(), Some("probe"));
        assert_eq!(name(PROBE_CLIENT - 200_000), None);
    }
}
