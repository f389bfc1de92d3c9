//! Elections: of many candidates one leads, with a value that everybody can read.

use bytes::Bytes;
use tokio::sync::mpsc;
use veridical_env::Clock;
use veridical_proto::mvccpb::KeyValue;

use crate::client::Client;
use crate::connection::CallError;
use crate::connector::Connector;
use crate::hold::{Hold, HoldError, HoldOptions};
use crate::into_bytes::IntoBytes;
use crate::lease::{LeaseLost, LeaseState};
use crate::options::{GetOptions, SortOrder, SortTarget, WatchOptions};
use crate::txn::Compare;
use crate::watch::WatchError;

/// Leaders that were seen and not taken.
const WAITING_MAX: usize = 4;

impl<T: Connector, C: Clock> Client<T, C> {
    /// Stands for election under a name, and waits until it is won. The same name with
    /// `etcdctl elect` or etcd's Go package `concurrency` is the same election.
    ///
    /// As with a [lock](Client::lock), a leader that was suspended may not know that it leads
    /// no more: what it does should be guarded by [`Leadership::guard`] or
    /// [`Leadership::fencing_token`].
    ///
    /// ```no_run
    /// # async fn example(client: veridical_client::PipelinedClient)
    /// # -> Result<(), Box<dyn std::error::Error>> {
    /// let leadership = client.campaign("scheduler", "10.0.0.7:80", None).await?;
    /// leadership.proclaim("10.0.0.7:81").await?;
    /// println!("no longer certain to lead: {}", leadership.lost().await);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// See [`HoldError`]. Whoever gives up by dropping this stays a candidate until the lease
    /// ends.
    pub async fn campaign(
        &self,
        name: impl IntoBytes,
        value: impl IntoBytes,
        options: impl Into<Option<HoldOptions>>,
    ) -> Result<Leadership<T, C>, HoldError> {
        let options = options.into().unwrap_or_default();
        let hold = Hold::acquire(self, name, value.into_bytes(), options).await?;
        Ok(Leadership { hold })
    }

    /// Who leads now: the key of the leader and what it proclaims. `None` while nobody does.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub async fn leader(&self, name: impl IntoBytes) -> Result<Option<KeyValue>, CallError> {
        let (leader, _) = self.leader_at(&prefix(name)).await?;
        Ok(leader)
    }

    /// The leader, and the revision at which it is.
    async fn leader_at(&self, prefix: &Bytes) -> Result<(Option<KeyValue>, i64), CallError> {
        let first = GetOptions::new()
            .with_prefix()
            .with_sort(SortTarget::Create, SortOrder::Ascend)
            .with_limit(1);
        let mut answer = self.get(prefix, first).await?;
        let leader = (!answer.kvs.is_empty()).then(|| answer.kvs.swap_remove(0));
        Ok((leader, answer.revision()))
    }

    /// Watches who leads. Of several changes in a short time only the last may be seen.
    ///
    /// ```no_run
    /// # async fn example(client: veridical_client::PipelinedClient)
    /// # -> Result<(), Box<dyn std::error::Error>> {
    /// let mut leaders = client.observe("scheduler");
    /// while let Some(leader) = leaders.next().await {
    ///     println!("now led by {}", leader?.value_str()?);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn observe(&self, name: impl IntoBytes) -> Observe {
        let (sender, leaders) = mpsc::channel(WAITING_MAX);
        let client = self.clone();
        let prefix = prefix(name);
        veridical_env::task::spawn(async move {
            let closed = sender.clone();
            tokio::select! {
                biased;
                () = closed.closed() => {}
                error = observe(&client, &prefix, &sender) => {
                    // Nobody observes any more if this fails.
                    let _ = sender.send(Err(error)).await;
                }
            }
        });
        Observe { leaders }
    }
}

/// Below which the candidates of an election are.
fn prefix(name: impl IntoBytes) -> Bytes {
    let mut prefix = name.into_bytes().to_vec();
    prefix.push(b'/');
    prefix.into()
}

/// Tells of every leader, until that fails.
async fn observe<T: Connector, C: Clock>(
    client: &Client<T, C>,
    prefix: &Bytes,
    sender: &mpsc::Sender<Result<KeyValue, HoldError>>,
) -> HoldError {
    let mut told = None;
    loop {
        // What was compacted meanwhile is made up for by reading.
        let result = observe_from_now_on(client, prefix, sender, &mut told).await;
        match result {
            Ok(()) | Err(HoldError::Watch(WatchError::Compacted { .. })) => {}
            Err(error) => return error,
        }
    }
}

async fn observe_from_now_on<T: Connector, C: Clock>(
    client: &Client<T, C>,
    prefix: &Bytes,
    sender: &mpsc::Sender<Result<KeyValue, HoldError>>,
    told: &mut Option<KeyValue>,
) -> Result<(), HoldError> {
    let (mut leader, revision) = client.leader_at(prefix).await?;
    let options = WatchOptions::new()
        .with_prefix()
        .with_start_revision(revision + 1);
    let mut changes = client.watch(prefix, options).await?;
    loop {
        if let Some(leader) = leader
            && told.as_ref() != Some(&leader)
        {
            *told = Some(leader.clone());
            // Whoever observes may be gone, which ends this task elsewhere.
            let _ = sender.send(Ok(leader)).await;
        }
        match changes.next().await {
            Some(batch) => batch?,
            None => return Ok(()),
        };
        (leader, _) = client.leader_at(prefix).await?;
    }
}

/// Those who lead, one after the other. Ends when it is dropped, or after an error.
pub struct Observe {
    leaders: mpsc::Receiver<Result<KeyValue, HoldError>>,
}

impl Observe {
    /// The next one, or what the present one proclaims anew. `None` after an error.
    pub async fn next(&mut self) -> Option<Result<KeyValue, HoldError>> {
        self.leaders.recv().await
    }
}

/// An election that is won, for as long as the lease lives. If it is dropped it ends with the
/// lease; [`resign`](Self::resign) ends it at once.
pub struct Leadership<T: Connector, C: Clock> {
    hold: Hold<T, C>,
}

impl<T: Connector, C: Clock> Leadership<T, C> {
    /// The key of the leader.
    pub fn key(&self) -> &Bytes {
        &self.hold.key
    }

    /// A number that is greater with each leader, see
    /// [`Lock::fencing_token`](crate::Lock::fencing_token).
    pub fn fencing_token(&self) -> i64 {
        self.hold.revision
    }

    /// Holds in a transaction as long as this one leads.
    pub fn guard(&self) -> Compare {
        self.hold.guard()
    }

    /// What is known of its lease now.
    pub fn state(&self) -> LeaseState {
        self.hold.keeper.state()
    }

    /// Waits until the leadership can no longer be relied on.
    pub async fn lost(&self) -> LeaseLost {
        self.hold.keeper.lost().await
    }

    /// Says something else to those who observe.
    ///
    /// # Errors
    /// [`HoldError::KeyChanged`] if this one leads no more; see [`HoldError`].
    pub async fn proclaim(&self, value: impl IntoBytes) -> Result<(), HoldError> {
        self.hold.write(value.into_bytes()).await
    }

    /// Leaves it to the next candidate.
    ///
    /// # Errors
    /// See [`CallError`]; then it ends with the lease.
    pub async fn resign(self) -> Result<(), CallError> {
        self.hold.release().await
    }
}
