//! Raft consensus without I/O.
