//! What commands do to the store: the write side of the state machine
//! (etcd: `etcdserver/apply.go`, `mvcc/kvstore_txn.go`).
//!
//! A pure function of state and command. Nothing here is visible to readers until it is
//! published.

use bytes::Bytes;
use veridical_planted::{Planted, PlantedBug};
use veridical_probe::{always, reachable, sometimes};
use veridical_proto::command::write::Write as WriteKind;
use veridical_proto::command::{self as commands, Command, command};
use veridical_proto::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse,
    LeaseGrantRequest, LeaseGrantResponse, LeaseRevokeRequest, LeaseRevokeResponse, PutRequest,
    PutResponse, RangeRequest, RangeResponse, TxnRequest, TxnResponse,
};

use crate::error::ApiError;
use crate::key_range::KeyRange;
use crate::lease::{LEASE_TTL_S_MAX, LEASE_TTL_S_MIN, LeaseStep, LeaseTable};
use crate::memtable::{NEWEST, PutWrite, select};
use crate::outcome::{Applied, CommandResponse};
use crate::session::SessionTable;
use crate::state::State;
use crate::txn::{DecidedTxn, TxnTarget};
use crate::view::{View, header};

/// The writer's own state: ahead of what has been published.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) planted: Planted,
    pub(crate) revision: i64,
    pub(crate) compacted_revision: i64,
    pub(crate) applied_index: u64,
    pub(crate) leases: LeaseTable,
    pub(crate) sessions: SessionTable,
    /// What happened to the leases since the last publish.
    pub(crate) lease_steps: Vec<LeaseStep>,
    /// Keys that exist.
    pub(crate) keys: u64,
    /// Bytes held by keys, values and versions.
    pub(crate) bytes: u64,
}

impl Writer {
    /// Applies the request of a command that is not a duplicate.
    pub(crate) fn apply(&mut self, state: &State, command: &Command) -> Applied {
        let response = match &command.request {
            Some(command::Request::Put(put)) => self.put(state, put).map(CommandResponse::Put),
            Some(command::Request::DeleteRange(delete)) => Ok(CommandResponse::DeleteRange(
                self.delete_range(state, delete),
            )),
            Some(command::Request::Txn(txn)) => self.txn(state, txn).map(CommandResponse::Txn),
            Some(command::Request::Compaction(compaction)) => {
                self.compact(compaction).map(CommandResponse::Compaction)
            }
            Some(command::Request::LeaseGrant(grant)) => {
                self.lease_grant(grant).map(CommandResponse::LeaseGrant)
            }
            Some(command::Request::LeaseRevoke(revoke)) => self
                .lease_revoke(state, revoke)
                .map(CommandResponse::LeaseRevoke),
            // Who the members are is kept beside the keys.
            Some(command::Request::Announcement(_)) => Ok(CommandResponse::Announcement),
            Some(command::Request::Batch(batch)) => Ok(self.batch(state, &batch.writes)),
            None => Err(ApiError::unknown_command()),
        };
        match response {
            Ok(response) => Applied::Response(response),
            Err(error) => Applied::Refused(error),
        }
    }

    /// Applies writes in their order, each as if it had come alone.
    fn batch(&mut self, state: &State, writes: &[commands::Write]) -> CommandResponse {
        sometimes!(writes.len() > 1, "store.batch-of-several-writes");
        let results: Vec<_> = writes
            .iter()
            .map(|write| self.write(state, write))
            .collect();
        sometimes!(
            results.iter().any(Result::is_err) && results.iter().any(Result::is_ok),
            "store.batch-refused-in-part"
        );
        CommandResponse::Batch(results)
    }

    fn write(
        &mut self,
        state: &State,
        write: &commands::Write,
    ) -> Result<CommandResponse, ApiError> {
        match &write.write {
            Some(WriteKind::Put(put)) => self.put(state, put).map(CommandResponse::Put),
            Some(WriteKind::DeleteRange(delete)) => Ok(CommandResponse::DeleteRange(
                self.delete_range(state, delete),
            )),
            Some(WriteKind::Txn(txn)) => self.txn(state, txn).map(CommandResponse::Txn),
            None => Err(ApiError::unknown_command()),
        }
    }

    fn put(&mut self, state: &State, request: &PutRequest) -> Result<PutResponse, ApiError> {
        if request.lease != 0 && !self.leases.contains(request.lease) {
            reachable!("store.put-came-after-the-end-of-its-lease");
            return Err(ApiError::lease_not_found());
        }
        let mut txn = WriteTxn::begin(self, state);
        let response = txn.put(request)?;
        txn.commit();
        Ok(response)
    }

    fn delete_range(&mut self, state: &State, request: &DeleteRangeRequest) -> DeleteRangeResponse {
        let mut txn = WriteTxn::begin(self, state);
        let response = txn.delete_range(request);
        txn.commit();
        response
    }

    fn txn(&mut self, state: &State, request: &TxnRequest) -> Result<TxnResponse, ApiError> {
        let mut txn = WriteTxn::begin(self, state);
        let view = txn.view();
        let plan = DecidedTxn::decide(&view, request);
        plan.check(&view, &txn.writer.leases)?;
        let mut response = plan
            .run(&mut txn)
            .expect("a transaction that passed its check cannot fail half-way");
        response.header = if txn.writer.planted.has(PlantedBug::TxnPhantomRevision) {
            header(txn.write_revision())
        } else {
            header(txn.revision())
        };
        txn.commit();
        Ok(response)
    }

    fn compact(&mut self, request: &CompactionRequest) -> Result<CompactionResponse, ApiError> {
        if request.revision <= self.compacted_revision {
            reachable!("store.compaction-came-after-a-newer-one");
            return Err(ApiError::compacted());
        }
        if request.revision > self.revision {
            return Err(ApiError::future_revision());
        }
        // Forgetting is left to the publish: until then readers work at a revision that
        // may be older.
        self.compacted_revision = request.revision;
        Ok(CompactionResponse {
            header: header(self.revision),
        })
    }

    fn lease_grant(&mut self, request: &LeaseGrantRequest) -> Result<LeaseGrantResponse, ApiError> {
        // An identifier is chosen before the grant is proposed.
        if request.id == 0 {
            return Err(ApiError::lease_not_found());
        }
        if request.ttl > LEASE_TTL_S_MAX {
            return Err(ApiError::lease_ttl_too_large());
        }
        if self.leases.contains(request.id) {
            return Err(ApiError::lease_exists());
        }
        let granted_ttl_s = request.ttl.max(LEASE_TTL_S_MIN);
        self.step_leases(LeaseStep::Grant {
            id: request.id,
            granted_ttl_s,
        });
        Ok(LeaseGrantResponse {
            header: header(self.revision),
            id: request.id,
            ttl: granted_ttl_s,
            error: String::new(),
        })
    }

    fn lease_revoke(
        &mut self,
        state: &State,
        request: &LeaseRevokeRequest,
    ) -> Result<LeaseRevokeResponse, ApiError> {
        if !self.leases.contains(request.id) {
            reachable!("store.lease-revoked-that-was-gone");
            return Err(ApiError::lease_not_found());
        }
        let keys: Vec<Bytes> = self.leases.keys(request.id).cloned().collect();
        sometimes!(keys.len() > 1, "store.lease-ended-with-several-keys");
        let mut txn = WriteTxn::begin(self, state);
        for key in &keys {
            let existed = txn.delete(key).is_some();
            always!(
                existed || txn.writer.planted.has(PlantedBug::LeaseKeepsKeys),
                "store.attached-keys-exist",
                "lease {:#x} has key {key:?}",
                request.id
            );
            if txn.writer.planted.has(PlantedBug::RevokeNotAtomic) {
                txn.commit();
                txn = WriteTxn::begin(self, state);
            }
        }
        txn.commit();
        self.step_leases(LeaseStep::Remove { id: request.id });
        Ok(LeaseRevokeResponse {
            header: header(self.revision),
        })
    }

    fn step_leases(&mut self, step: LeaseStep) {
        self.lease_steps.push(step.clone());
        self.leases.step(step);
    }
}

/// The writes of one revision.
struct WriteTxn<'a> {
    writer: &'a mut Writer,
    state: &'a State,
    /// The keys written so far, by sub-revision.
    changes: Vec<Bytes>,
}

impl<'a> WriteTxn<'a> {
    fn begin(writer: &'a mut Writer, state: &'a State) -> Self {
        Self {
            writer,
            state,
            changes: Vec::new(),
        }
    }

    /// The revision of the next write.
    fn write_revision(&self) -> i64 {
        self.writer.revision + 1
    }

    /// The revision of the store as this transaction sees it: it sees its own writes.
    fn revision(&self) -> i64 {
        self.writer.revision + i64::from(!self.changes.is_empty())
    }

    fn view(&self) -> View<'a> {
        View {
            table: self.state.memtable.as_ref(),
            revision: self.revision(),
            read_at: self.revision(),
            compacted: self.writer.compacted_revision,
            planted: self.writer.planted,
        }
    }

    /// Deletes one key; returns it as stored and what it was, if it existed.
    fn delete(&mut self, key: &[u8]) -> Option<veridical_proto::mvccpb::KeyValue> {
        let sub_revision = self.changes.len() as i64;
        let table = &self.state.memtable;
        let written = table.delete(key, self.write_revision(), sub_revision)?;
        let previous = written.previous.expect("only what exists is deleted");
        let kv = previous
            .key_value(&written.key)
            .expect("what exists is not a tombstone");
        assert!(
            self.writer.keys > 0,
            "a key that is deleted was counted: {key:?}"
        );
        self.writer.bytes += written.added_bytes as u64;
        self.writer.keys -= 1;
        if kv.lease != 0 {
            self.writer.step_leases(LeaseStep::Detach {
                id: kv.lease,
                key: written.key.clone(),
            });
        }
        self.changes.push(written.key);
        Some(kv)
    }

    /// Makes the writes a revision of the store, unless there are none.
    fn commit(self) {
        if self.changes.is_empty() {
            return;
        }
        let revision = self.write_revision();
        assert!(
            revision > self.writer.compacted_revision,
            "nothing is written at or before a compaction"
        );
        self.state.log.write().append(revision, self.changes);
        self.writer.revision = revision;
    }
}

impl TxnTarget for WriteTxn<'_> {
    fn range(&mut self, request: &RangeRequest) -> Result<RangeResponse, ApiError> {
        self.view().range(request)
    }

    /// The caller has checked that the lease exists. On an error nothing has been written.
    fn put(&mut self, request: &PutRequest) -> Result<PutResponse, ApiError> {
        let table = &self.state.memtable;
        let mut value = request.value.clone();
        let mut lease = request.lease;
        if request.ignore_value || request.ignore_lease {
            let Some(live) = table.get(&request.key, NEWEST) else {
                return Err(ApiError::key_not_found());
            };
            if request.ignore_value {
                value = live.put.value;
            }
            if request.ignore_lease {
                lease = live.put.lease;
            }
        }
        let written = table.put(
            &request.key,
            &PutWrite {
                revision: self.write_revision(),
                sub_revision: self.changes.len() as i64,
                value: &value,
                lease,
            },
        );
        let previous = written
            .previous
            .and_then(|previous| previous.key_value(&written.key));
        let old_lease = previous.as_ref().map_or(0, |previous| previous.lease);
        self.writer.bytes += written.added_bytes as u64;
        self.writer.keys += u64::from(previous.is_none());
        sometimes!(
            old_lease != 0 && lease != 0 && old_lease != lease,
            "store.key-moved-between-leases"
        );
        sometimes!(
            old_lease != 0 && lease == 0,
            "store.key-taken-from-its-lease"
        );
        if old_lease != lease {
            for (id, attach) in [(old_lease, false), (lease, true)] {
                let key = written.key.clone();
                match (id, attach) {
                    (0, _) => {}
                    (id, true) => self.writer.step_leases(LeaseStep::Attach { id, key }),
                    _ if self.writer.planted.has(PlantedBug::LeaseKeepsKeys) => {}
                    (id, false) => self.writer.step_leases(LeaseStep::Detach { id, key }),
                }
            }
        }
        self.changes.push(written.key);
        Ok(PutResponse {
            header: header(self.revision()),
            prev_kv: previous.filter(|_| request.prev_kv),
        })
    }

    fn delete_range(&mut self, request: &DeleteRangeRequest) -> DeleteRangeResponse {
        let range = KeyRange::new(&request.key, &request.range_end);
        let found = select(self.state.memtable.as_ref(), &range, NEWEST, usize::MAX);
        let mut prev_kvs = Vec::new();
        for live in &found.live {
            let previous = self.delete(&live.key).expect("the writer is alone");
            if request.prev_kv {
                prev_kvs.push(previous);
            }
        }
        DeleteRangeResponse {
            header: header(self.revision()),
            deleted: found.count as i64,
            prev_kvs,
        }
    }
}
