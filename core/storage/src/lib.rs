//! Durable storage: write-ahead log, snapshots, engines.
