//! Locks.

use bytes::Bytes;
use veridical_env::Clock;

use crate::client::Client;
use crate::connection::CallError;
use crate::connector::Connector;
use crate::hold::{Hold, HoldError, HoldOptions};
use crate::into_bytes::IntoBytes;
use crate::lease::{LeaseLost, LeaseState};
use crate::txn::Compare;

impl<T: Connector, C: Clock> Client<T, C> {
    /// Waits for a lock. The same name with `etcdctl lock` or etcd's Go package `concurrency`
    /// is the same lock.
    ///
    /// No lock of this kind can keep its holder from being slow: somebody who is suspended for
    /// longer than the lease lasts wakes up without it and does not know. Whatever the lock
    /// protects has to check: in the same store with [`Lock::guard`], elsewhere with
    /// [`Lock::fencing_token`].
    ///
    /// ```no_run
    /// # async fn example(client: veridical_client::PipelinedClient)
    /// # -> Result<(), Box<dyn std::error::Error>> {
    /// use veridical_client::{HoldOptions, Txn, TxnOp};
    ///
    /// let lock = client.lock("jobs/nightly", HoldOptions::new().with_ttl(5)).await?;
    /// let report = Txn::new()
    ///     .when([lock.guard()])
    ///     .and_then([TxnOp::put("jobs/report", "done", None)]);
    /// if !client.txn(report).await?.succeeded {
    ///     println!("somebody else has the lock by now");
    /// }
    /// lock.unlock().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// See [`HoldError`]. Whoever gives up waiting by dropping this leaves a place in the line
    /// behind, which ends with the lease.
    pub async fn lock(
        &self,
        name: impl IntoBytes,
        options: impl Into<Option<HoldOptions>>,
    ) -> Result<Lock<T, C>, HoldError> {
        let options = options.into().unwrap_or_default();
        let hold = Hold::acquire(self, name, Bytes::new(), options).await?;
        Ok(Lock { hold })
    }
}

/// A lock that is held, for as long as its lease lives. If it is dropped it is free when its
/// lease ends; [`unlock`](Self::unlock) frees it at once.
pub struct Lock<T: Connector, C: Clock> {
    hold: Hold<T, C>,
}

impl<T: Connector, C: Clock> Lock<T, C> {
    /// The key that holds it.
    pub fn key(&self) -> &Bytes {
        &self.hold.key
    }

    /// A number that is greater each time the lock changes hands: the revision at which the key
    /// was created. Whoever remembers the greatest that it has seen, and refuses lower ones,
    /// is safe from those that believe that they hold the lock.
    pub fn fencing_token(&self) -> i64 {
        self.hold.revision
    }

    /// Holds in a transaction as long as the lock is held.
    pub fn guard(&self) -> Compare {
        self.hold.guard()
    }

    /// What is known of its lease now.
    pub fn state(&self) -> LeaseState {
        self.hold.keeper.state()
    }

    /// Waits until the lock can no longer be relied on.
    pub async fn lost(&self) -> LeaseLost {
        self.hold.keeper.lost().await
    }

    /// Frees it.
    ///
    /// # Errors
    /// See [`CallError`]; then it is free when its lease ends.
    pub async fn unlock(self) -> Result<(), CallError> {
        self.hold.release().await
    }
}
