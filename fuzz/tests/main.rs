//! All targets, in one program: each of its own would be linked with the whole store.

mod client_frame;
mod history;
mod peer_frame;
mod snapshot;
mod wal;
