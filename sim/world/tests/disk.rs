//! What disks do over time, one property each. What a crash leaves is tested beside the
//! model.
#![cfg(madsim)]

use std::io;
use std::path::Path;
use std::time::Duration;
use veridical_env::{Disk, DiskFile, Environment, OpenMode};
use veridical_world::{DiskFaults, Fault, Latency, ProcessId, SimFile, World, WorldConfig};

const A: ProcessId = ProcessId(0);
const MS: Duration = Duration::from_millis(1);

fn run<F, Fut>(story: F)
where
    F: FnOnce(World, Box<SimFile>) -> Fut + Send,
    Fut: Future<Output = ()>,
{
    World::run(1, WorldConfig::default(), |world| async move {
        let host = world.add_host("a");
        let file = host
            .disk()
            .open(Path::new("f"), OpenMode::CreateNew)
            .await
            .expect("a new disk");
        story(world, Box::new(file)).await;
    });
}

#[test]
fn operations_take_the_time_that_is_set_for_them() {
    run(|world, file| async move {
        world.set_disk_faults(
            A,
            DiskFaults {
                read_latency: Latency::new(1_000, 0),
                write_latency: Latency::ZERO,
                sync_latency: Latency::new(30_000, 0),
                ..DiskFaults::none()
            },
        );
        let took = async |begun: Duration| (world.now() - begun).as_millis();
        let begun = world.now();
        file.write_at(0, b"data")
            .await
            .expect("nothing is at fault");
        assert_eq!(world.now(), begun, "no time at all");
        file.read_at(0, 4).await.expect("nothing is at fault");
        assert_eq!(took(begun).await, 1);
        file.sync().await.expect("nothing is at fault");
        assert_eq!(took(begun).await, 31);
    });
}

#[test]
fn a_stalled_disk_completes_nothing_not_even_what_was_begun() {
    run(|world, file| async move {
        let begun = world.now();
        let faults = DiskFaults {
            sync_latency: Latency::new(20_000, 0),
            ..DiskFaults::none()
        };
        world.set_disk_faults(A, faults);
        let sync = tokio::spawn(async move {
            file.write_at(0, b"data").await?;
            file.sync().await
        });
        world.sleep(10 * MS).await;
        world.inject(&Fault::DiskStall {
            process: A,
            duration_ms: 500,
        });
        sync.await
            .expect("the task ends")
            .expect("nothing is at fault");
        assert!(world.now() - begun >= 510 * MS);
        assert!(world.now() - begun < 520 * MS);
    });
}

#[test]
fn disk_faults_end_after_their_duration() {
    run(|world, file| async move {
        let faults = DiskFaults {
            write_error_probability: 1.0,
            ..DiskFaults::none()
        };
        world.inject(&Fault::Disk {
            process: A,
            faults,
            duration_ms: Some(100),
        });
        let error = file
            .write_at(0, b"x")
            .await
            .expect_err("it is told to fail");
        assert_eq!(error.raw_os_error(), Some(5));
        world.sleep(101 * MS).await;
        file.write_at(0, b"x").await.expect("it is over");
        assert_eq!(world.counters()["disk.eio"], 1);
    });
}

#[test]
fn a_full_disk_has_room_again_when_the_fault_is_healed() {
    run(|world, file| async move {
        file.write_all_at(0, &[1; 4096])
            .await
            .expect("there is room");
        let full = world.inject(&Fault::DiskFull {
            process: A,
            free_bytes: 0,
            duration_ms: None,
        });
        let error = file
            .write_at(4096, b"x")
            .await
            .expect_err("there is no room");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        world.heal(full);
        file.write_at(4096, b"x")
            .await
            .expect("there is room again");
    });
}

#[test]
fn bit_rot_is_injected_into_the_files_that_are_named() {
    run(|world, file| async move {
        file.write_all_at(0, &[0; 100])
            .await
            .expect("there is room");
        world.inject(&Fault::BitRot {
            process: A,
            bits: 5,
            file_suffix: ".wal".to_owned(),
        });
        assert_eq!(
            file.read_exact_at(0, 100).await.expect("it is there"),
            [0; 100]
        );
        world.inject(&Fault::BitRot {
            process: A,
            bits: 1,
            file_suffix: String::new(),
        });
        assert_ne!(
            file.read_exact_at(0, 100).await.expect("it is there"),
            [0; 100]
        );
    });
}

#[test]
fn a_file_opened_for_reading_cannot_be_written() {
    run(|world, file| async move {
        drop(file);
        let host = world.environment(A).expect("it runs");
        let file = host
            .disk()
            .open(Path::new("f"), OpenMode::Read)
            .await
            .expect("it exists");
        let error = file
            .write_at(0, b"x")
            .await
            .expect_err("it is open for reading");
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    });
}
