//! Reading and writing keys.

use veridical_env::Clock;

use crate::ask::ask;
use crate::client::Client;
use crate::connection::CallError;
use crate::connector::Connector;
use crate::into_bytes::IntoBytes;
use crate::options::{CompactionOptions, DeleteOptions, GetOptions, PutOptions};
use crate::txn::Txn;

pub use veridical_proto::etcdserverpb::{
    CompactionResponse, DeleteRangeResponse as DeleteResponse, PutResponse,
    RangeResponse as GetResponse, TxnResponse,
};

impl<T: Connector, C: Clock> Client<T, C> {
    /// Reads a key, or with options many.
    ///
    /// ```no_run
    /// # async fn example(client: veridical_client::PipelinedClient)
    /// # -> Result<(), Box<dyn std::error::Error>> {
    /// use veridical_client::GetOptions;
    ///
    /// if let Some(kv) = client.get("greeting", None).await?.kvs.first() {
    ///     println!("{} since revision {}", kv.value_str()?, kv.mod_revision);
    /// }
    /// let users = client.get("users/", GetOptions::new().with_prefix()).await?;
    /// println!("{} users", users.count);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// See [`Client::call`]; never [`CallError::Unknown`].
    pub async fn get(
        &self,
        key: impl IntoBytes,
        options: impl Into<Option<GetOptions>>,
    ) -> Result<GetResponse, CallError> {
        let request = options.into().unwrap_or_default().request(key);
        ask!(self, Range, request)
    }

    /// Writes a key.
    ///
    /// ```no_run
    /// # async fn example(client: veridical_client::PipelinedClient)
    /// # -> Result<(), veridical_client::CallError> {
    /// use veridical_client::PutOptions;
    ///
    /// let put = client.put("greeting", "hello", None).await?;
    /// println!("written at revision {}", put.revision());
    /// let put = client
    ///     .put("greeting", "good morning", PutOptions::new().with_prev_kv())
    ///     .await?;
    /// println!("before: {:?}", put.prev_kv);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// See [`Client::call`]. [`CallError::Unknown`]: it may take effect at any later time.
    pub async fn put(
        &self,
        key: impl IntoBytes,
        value: impl IntoBytes,
        options: impl Into<Option<PutOptions>>,
    ) -> Result<PutResponse, CallError> {
        let request = options.into().unwrap_or_default().request(key, value);
        ask!(self, Put, request)
    }

    /// Deletes a key, or with options many.
    ///
    /// # Errors
    /// See [`Client::call`]. [`CallError::Unknown`]: it may take effect at any later time.
    pub async fn delete(
        &self,
        key: impl IntoBytes,
        options: impl Into<Option<DeleteOptions>>,
    ) -> Result<DeleteResponse, CallError> {
        let request = options.into().unwrap_or_default().request(key);
        ask!(self, DeleteRange, request)
    }

    /// Runs a transaction; see [`Txn`] for an example.
    ///
    /// # Errors
    /// See [`Client::call`]. [`CallError::Unknown`]: it may take effect at any later time; never
    /// if it only reads.
    pub async fn txn(&self, txn: Txn) -> Result<TxnResponse, CallError> {
        ask!(self, Txn, txn.into_request())
    }

    /// Gives up all revisions below this one, but for what is still the newest of its key.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub async fn compact(
        &self,
        revision: i64,
        options: impl Into<Option<CompactionOptions>>,
    ) -> Result<CompactionResponse, CallError> {
        let request = options.into().unwrap_or_default().request(revision);
        ask!(self, Compaction, request)
    }
}
