//! Leases, and what keeps them alive.

use std::time::Duration;

use tokio::sync::watch;
use veridical_env::Clock;
use veridical_proto::etcdserverpb as api;

use crate::ask::ask;
use crate::client::Client;
use crate::connection::CallError;
use crate::connector::Connector;

pub use veridical_proto::etcdserverpb::{
    LeaseGrantResponse, LeaseLeasesResponse, LeaseRevokeResponse, LeaseTimeToLiveResponse,
};

/// gRPC's `NOT_FOUND`: there is no such lease.
const CODE_NOT_FOUND: u32 = 5;

/// A lease is renewed this many times in its time to live.
const RENEWALS_PER_TTL: u32 = 3;

/// How a lease is granted.
#[derive(Clone, Copy, Debug, Default)]
pub struct LeaseGrantOptions {
    id: i64,
}

impl LeaseGrantOptions {
    /// The member chooses an identifier.
    pub fn new() -> Self {
        Self::default()
    }

    /// With this identifier.
    #[must_use]
    pub fn with_id(mut self, id: i64) -> Self {
        self.id = id;
        self
    }
}

/// What is asked about a lease.
#[derive(Clone, Copy, Debug, Default)]
pub struct LeaseTimeToLiveOptions {
    keys: bool,
}

impl LeaseTimeToLiveOptions {
    /// How long it has.
    pub fn new() -> Self {
        Self::default()
    }

    /// And which keys go with it.
    #[must_use]
    pub fn with_keys(mut self) -> Self {
        self.keys = true;
        self
    }
}

impl<T: Connector, C: Clock> Client<T, C> {
    /// Grants a lease of `ttl_s` seconds. The answer has the time that it really got, which may
    /// be longer.
    ///
    /// # Errors
    /// See [`Client::call`]. [`CallError::Unknown`]: there may be a lease now, or later, which
    /// ends by itself. With an identifier of one's own it can be asked for.
    pub async fn lease_grant(
        &self,
        ttl_s: i64,
        options: impl Into<Option<LeaseGrantOptions>>,
    ) -> Result<LeaseGrantResponse, CallError> {
        let request = api::LeaseGrantRequest {
            ttl: ttl_s,
            id: options.into().unwrap_or_default().id,
        };
        ask!(self, LeaseGrant, request)
    }

    /// Ends a lease and deletes its keys.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub async fn lease_revoke(&self, id: i64) -> Result<LeaseRevokeResponse, CallError> {
        ask!(self, LeaseRevoke, api::LeaseRevokeRequest { id })
    }

    /// How many seconds a lease has left, -1 if there is no such lease.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub async fn lease_time_to_live(
        &self,
        id: i64,
        options: impl Into<Option<LeaseTimeToLiveOptions>>,
    ) -> Result<LeaseTimeToLiveResponse, CallError> {
        let keys = options.into().unwrap_or_default().keys;
        ask!(
            self,
            LeaseTimeToLive,
            api::LeaseTimeToLiveRequest { id, keys }
        )
    }

    /// All leases there are.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub async fn leases(&self) -> Result<LeaseLeasesResponse, CallError> {
        ask!(self, LeaseLeases, api::LeaseLeasesRequest {})
    }

    /// Renews a lease now, and from now on three times in its time to live, until the keeper is
    /// dropped or the lease is gone.
    ///
    /// ```no_run
    /// # async fn example(client: veridical_client::PipelinedClient)
    /// # -> Result<(), veridical_client::CallError> {
    /// use veridical_client::PutOptions;
    ///
    /// let lease = client.lease_grant(10, None).await?.id;
    /// client.put("alive/me", "yes", PutOptions::new().with_lease(lease)).await?;
    /// let keeper = client.lease_keep_alive(lease).await?;
    /// println!("no longer certain: {}", keeper.lost().await);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`CallError::Refused`] if there is no such lease; see [`Client::call`].
    pub async fn lease_keep_alive(&self, id: i64) -> Result<LeaseKeeper<C>, CallError> {
        let (known, ttl) = match self.renew(id).await? {
            Renewal::Alive { until, ttl } => (Known::Alive { until }, ttl),
            Renewal::Gone => return Err(lease_not_found()),
        };
        let (sender, state) = watch::channel(known);
        veridical_env::task::spawn(keep(self.clone(), id, ttl, sender));
        Ok(LeaseKeeper {
            id,
            state,
            clock: self.clock().clone(),
        })
    }

    /// One renewal.
    async fn renew(&self, id: i64) -> Result<Renewal, CallError> {
        // It is renewed later than now, so it lives longer than from now on.
        let sent = self.clock().monotonic();
        let answer = async { ask!(self, LeaseKeepAlive, api::LeaseKeepAliveRequest { id }) };
        match answer.await {
            Ok(answer) if answer.ttl <= 0 => Ok(Renewal::Gone),
            Ok(answer) => {
                let ttl = Duration::from_secs(answer.ttl.unsigned_abs());
                let until = sent + ttl;
                Ok(Renewal::Alive { until, ttl })
            }
            Err(CallError::Refused { code, .. }) if code == CODE_NOT_FOUND => Ok(Renewal::Gone),
            Err(error) => Err(error),
        }
    }
}

/// As a member says it.
fn lease_not_found() -> CallError {
    CallError::Refused {
        code: CODE_NOT_FOUND,
        message: "etcdserver: requested lease not found".to_owned(),
    }
}

enum Renewal {
    Alive { until: Duration, ttl: Duration },
    Gone,
}

/// What a keeper was told last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// It lives until then, by the clock of the client.
    Alive { until: Duration },
    /// It does not live any more.
    Gone,
}

/// Renews until the keeper is dropped or the lease is gone.
async fn keep<T: Connector, C: Clock>(
    client: Client<T, C>,
    id: i64,
    mut ttl: Duration,
    state: watch::Sender<Known>,
) {
    let clock = client.clock().clone();
    loop {
        let period = ttl / RENEWALS_PER_TTL;
        tokio::select! {
            biased;
            () = state.closed() => return,
            () = clock.sleep(period) => {}
        }
        // A member that does not answer is left in time for the next one.
        let client = client.with_request_timeout(period);
        loop {
            let renewed = tokio::select! {
                biased;
                () = state.closed() => return,
                renewed = client.renew(id) => renewed,
            };
            match renewed {
                Ok(Renewal::Alive {
                    until,
                    ttl: granted,
                }) => {
                    ttl = granted;
                    state.send_modify(|known| *known = known.renewed(until));
                    break;
                }
                Ok(Renewal::Gone) => {
                    state.send_replace(Known::Gone);
                    return;
                }
                Err(_) => {
                    tokio::select! {
                        biased;
                        () = state.closed() => return,
                        () = clock.sleep(client.config().retry_delay) => {}
                    }
                }
            }
        }
    }
}

impl Known {
    fn renewed(self, until: Duration) -> Self {
        match self {
            Self::Alive { until: before } => Self::Alive {
                until: before.max(until),
            },
            Self::Gone => Self::Gone,
        }
    }

    fn at(self, now: Duration) -> LeaseState {
        match self {
            Self::Alive { until } if now < until => LeaseState::Alive,
            Self::Alive { .. } => LeaseState::Uncertain,
            Self::Gone => LeaseState::Gone,
        }
    }
}

/// What is known of a lease at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseState {
    /// It lives, unless somebody has revoked it.
    Alive,
    /// Nobody knows: it was last renewed longer ago than its time to live. It may live still,
    /// since members give leases their time anew when the leader changes.
    Uncertain,
    /// A member has said that it does not live any more.
    Gone,
}

/// Why one can no longer rely on a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaseLost {
    /// A member has said that there is no such lease any more.
    #[error("the lease is gone")]
    Gone,
    /// It could not be renewed within its time to live.
    #[error("the lease could not be renewed in time")]
    Unconfirmed,
}

/// Keeps a lease alive until it is dropped. It does not end the lease then: that ends by itself,
/// or by [`Client::lease_revoke`].
#[derive(Clone, Debug)]
pub struct LeaseKeeper<C: Clock> {
    id: i64,
    state: watch::Receiver<Known>,
    clock: C,
}

impl<C: Clock> LeaseKeeper<C> {
    /// Which lease.
    pub fn id(&self) -> i64 {
        self.id
    }

    /// What is known of the lease now.
    pub fn state(&self) -> LeaseState {
        self.state.borrow().at(self.clock.monotonic())
    }

    /// Until when the lease lives at least, on the monotonic clock of the client: counted from
    /// before the last renewal was sent, so that it is never later than with any member.
    /// Clocks that go at different rates are not accounted for. There is no time until which it
    /// lives at most: a new leader gives every lease its time anew.
    ///
    /// `None`: it is gone.
    pub fn expires_at_least(&self) -> Option<Duration> {
        match *self.state.borrow() {
            Known::Alive { until } => Some(until),
            Known::Gone => None,
        }
    }

    /// Waits until one can no longer rely on the lease. The keeper goes on to renew a lease of
    /// which nothing is known, and [`state`](Self::state) may say again that it lives; what it
    /// protected may have been in other hands meanwhile only if it was gone.
    pub async fn lost(&self) -> LeaseLost {
        let mut state = self.state.clone();
        loop {
            let known = *state.borrow_and_update();
            let now = self.clock.monotonic();
            let until = match known {
                Known::Gone => return LeaseLost::Gone,
                Known::Alive { until } if now >= until => {
                    return LeaseLost::Unconfirmed;
                }
                Known::Alive { until } => until,
            };
            tokio::select! {
                biased;
                changed = state.changed() => {
                    if changed.is_err() {
                        // Nobody renews any more: it lives for as long as was promised.
                        self.clock.sleep(until.saturating_sub(now)).await;
                        return match self.state() {
                            LeaseState::Gone => LeaseLost::Gone,
                            LeaseState::Alive | LeaseState::Uncertain => LeaseLost::Unconfirmed,
                        };
                    }
                }
                () = self.clock.sleep(until - now) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn a_lease_is_never_said_to_live_when_its_time_may_be_over() {
        let known = Known::Alive { until: 5 * S };
        assert_eq!(known.at(4 * S), LeaseState::Alive);
        assert_eq!(known.at(5 * S), LeaseState::Uncertain);
        assert_eq!(Known::Gone.at(Duration::ZERO), LeaseState::Gone);
    }

    #[test]
    fn what_is_gone_does_not_come_back_and_time_is_never_taken_back() {
        assert_eq!(Known::Gone.renewed(9 * S), Known::Gone);
        let known = Known::Alive { until: 5 * S }.renewed(3 * S);
        assert_eq!(known, Known::Alive { until: 5 * S });
    }
}
