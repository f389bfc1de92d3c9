//! What is durable stays, what is not is a prefix, and what is damaged is refused: over
//! a disk that keeps no promise that POSIX does not make.

mod faulty_disk;
mod formats;
mod real_disk;
mod snapshot_files;
mod wal_corruption;
mod wal_crash;
mod wal_faults;
mod wal_model;
mod wal_scenario;

/// The suite that the real disk passes.
#[test]
fn the_faulty_disk_without_faults_conforms() {
    let disk = faulty_disk::FaultyDisk::new(1);
    let dir = std::path::Path::new("/conformance");
    faulty_disk::run(veridical_env::conformance::disk_conformance(&disk, dir));
}
