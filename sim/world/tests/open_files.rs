//! A process that may open no more files and connections.
#![cfg(madsim)]

use std::io;
use std::path::Path;
use veridical_env::{Disk, DiskFile, Environment, Listener, Network, OpenMode};
use veridical_world::{Counter, Fault, ProcessId, World, WorldConfig};

const A: ProcessId = ProcessId(0);

/// The number on Linux of the error that too many files are open.
const EMFILE: Option<i32> = Some(24);

fn number<T>(result: io::Result<T>) -> Option<i32> {
    result.err().and_then(|error| error.raw_os_error())
}

#[test]
fn too_many_open_files_keep_new_ones_out_and_leave_those_that_are_open() {
    let outcome = World::run(1, WorldConfig::default(), |world| async move {
        let (a, b) = (world.add_host("a"), world.add_host("b"));
        let open = async |name: &str| {
            let opened = a.disk().open(Path::new(name), OpenMode::CreateNew);
            opened.await
        };
        let file = open("before").await.expect("nothing is at fault");
        let mut at_a = a.network().listen("a:1").await.expect("a port is free");
        let at_b = b.network().listen("b:1").await.expect("a port is free");
        let limited = world.inject(&Fault::TooManyOpenFiles {
            process: A,
            spare: 1,
            duration_ms: None,
        });

        let spare = open("spare").await.expect("one more is allowed");
        assert_eq!(number(open("too many").await), EMFILE);
        assert_eq!(number(a.network().connect("b:1").await), EMFILE);
        let waiting = b
            .network()
            .connect("a:1")
            .await
            .expect("the kernel takes it");
        assert_eq!(number(at_a.accept().await), EMFILE);
        file.write_all_at(0, b"x").await.expect("it is open");
        b.disk()
            .open(Path::new("f"), OpenMode::CreateNew)
            .await
            .expect("another process is not concerned");

        drop(spare);
        let accepted = at_a.accept().await.expect("there is room for one again");
        assert_eq!(number(open("one more").await), EMFILE);
        world.heal(limited);
        open("one more").await.expect("the limit is gone");
        a.network().connect("b:1").await.expect("the limit is gone");
        drop((waiting, accepted, at_b));
    });
    let refused = outcome.counters[Counter::TooManyOpenFiles.name()];
    assert_eq!(refused, 4);
}
