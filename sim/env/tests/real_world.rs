//! The operating system keeps the promises of the traits.

#![cfg(not(madsim))]

use veridical_env::conformance::{disk_conformance, network_conformance};
use veridical_env::{RealDisk, TcpNetwork};

#[tokio::test]
async fn the_real_disk_conforms() {
    let dir = tempfile::tempdir().expect("a folder");
    disk_conformance(&RealDisk, dir.path()).await;
}

#[tokio::test]
async fn tcp_conforms() {
    network_conformance(&TcpNetwork, &TcpNetwork, "127.0.0.1:0").await;
}
