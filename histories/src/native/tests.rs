use super::*;
use crate::generate::etcd::{EtcdHistory, EtcdWorkload};
use crate::generate::object::{ObjectHistory, ObjectKind, ObjectWorkload};

fn objects(kind: ObjectKind, operations: u64) -> Vec<ObjectEvent> {
    let workload = ObjectWorkload {
        kind,
        operations,
        unknown: 0.1,
        ..ObjectWorkload::default()
    };
    ObjectHistory::new(workload).collect()
}

fn write<E: NativeEvent>(events: &[E], compression: Compression) -> Vec<u8> {
    let mut writer = NativeWriter::new(Vec::new(), compression).unwrap();
    events.iter().for_each(|event| writer.write(event).unwrap());
    writer.finish().unwrap()
}

fn read<E: NativeEvent>(mut file: &[u8]) -> (Vec<E>, Result<bool, ReadError>) {
    assert_eq!(read_header(&mut file).unwrap(), E::VOCABULARY);
    let mut reader = NativeReader::after_header(file);
    let mut events = Vec::new();
    loop {
        match reader.read_block(&mut events) {
            Ok(true) => {}
            end => return (events, end),
        }
    }
}

#[test]
fn every_vocabulary_and_compression_survives_a_round_trip() {
    for compression in [Compression::None, Compression::Zstd] {
        for kind in ObjectKind::ALL {
            let events = objects(*kind, 3_000);
            let file = write(&events, compression);
            let (read, end) = read::<ObjectEvent>(&file);
            assert!(matches!(end, Ok(false)));
            assert_eq!(read, events);
        }
        let workload = EtcdWorkload {
            watches: 1,
            leases: 5.0,
            ..EtcdWorkload::default()
        };
        let events: Vec<EtcdEvent> = EtcdHistory::new(workload).collect();
        let (read, end) = read::<EtcdEvent>(&write(&events, compression));
        assert!(matches!(end, Ok(false)));
        assert_eq!(read, events);
    }
}

#[test]
fn an_event_takes_no_more_than_twenty_bytes() {
    let events = objects(ObjectKind::Kv, 100_000);
    let length = write(&events, Compression::None).len() as f64 / events.len() as f64;
    assert!(length < 20.0, "{length} bytes an event");
}

#[test]
fn a_file_cut_off_anywhere_gives_what_stands_before_the_cut() {
    let events = objects(ObjectKind::Kv, 20_000);
    let file = write(&events, Compression::None);
    let (_, end) = read::<ObjectEvent>(&file);
    assert!(matches!(end, Ok(false)));
    for length in (17..file.len()).step_by(file.len() / 97) {
        let (read, end) = read::<ObjectEvent>(&file[..length]);
        assert_eq!(read, events[..read.len()]);
        match end {
            Err(ReadError::Truncated { events, .. }) => assert_eq!(events, read.len() as u64),
            // Between two blocks nothing can be noticed.
            Ok(false) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_flipped_bit_is_noticed_anywhere() {
    let events = objects(ObjectKind::Kv, 200);
    let file = write(&events, Compression::None);
    for at in 0..file.len() {
        let mut damaged = file.clone();
        damaged[at] ^= 0x10;
        let mut rest = &damaged[..];
        if read_header(&mut rest).is_err() {
            continue;
        }
        let mut reader = NativeReader::<_, ObjectEvent>::after_header(rest);
        let mut read = Vec::new();
        assert!(reader.read_block(&mut read).is_err(), "byte {at}");
    }
}
