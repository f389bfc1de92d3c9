//! The replicated state machine: sharded MVCC map, transactions, leases, watches.
