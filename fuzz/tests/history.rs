//! Any bytes as a history, in each format that is read.

use std::io::Cursor;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use veridical_fuzz::forge::{native_header, push_native_block};
use veridical_histories::etcd::EtcdEvent;
use veridical_histories::formats::{Events, Format, History, OpenOptions, ReadError, open};
use veridical_histories::native::{Compression, NativeWriter};
use veridical_histories::object::ObjectEvent;

const TEST_TIME: Duration = Duration::from_secs(1);

/// Vocabularies of native files, as `docs/checking.md` numbers them.
const VOCABULARIES: [u8; 2] = [1, 2];

/// Reads a history to its end. Returns how many events were understood. What is understood
/// means the same when it is written in the native format and read once more.
fn check(bytes: &[u8], format: Option<Format>) -> u64 {
    let Ok(opened) = open(Cursor::new(bytes.to_vec()), &OpenOptions::of_format(format)) else {
        return 0;
    };
    match opened.history {
        History::Object(events) => check_objects(events),
        History::ObjectBlocks(events) => check_objects(Box::new(events)),
        History::Etcd(events) => check_etcd(events),
    }
}

/// The events up to the first error that ends a history.
fn taken<E>(events: Events<E>) -> Vec<E> {
    let goes_on = |event: &Result<E, ReadError>| match event {
        Ok(_) => true,
        Err(error) => error.is_local(),
    };
    events.take_while(goes_on).flatten().collect()
}

fn check_objects(events: Events<ObjectEvent>) -> u64 {
    let events = taken(events);
    let sink = NativeWriter::new(Vec::new(), Compression::Zstd).and_then(|mut writer| {
        events.iter().try_for_each(|event| writer.write(event))?;
        writer.finish()
    });
    let written = sink.expect("memory takes what is written");
    let opened = open(
        Cursor::new(written),
        &OpenOptions::of_format(Some(Format::Native)),
    )
    .expect("it is a native file");
    let History::ObjectBlocks(again) = opened.history else {
        panic!("another vocabulary than was written");
    };
    assert_eq!(taken(Box::new(again)), events);
    events.len() as u64
}

fn check_etcd(events: Events<EtcdEvent>) -> u64 {
    let events = taken(events);
    let sink = NativeWriter::new(Vec::new(), Compression::None).and_then(|mut writer| {
        events.iter().try_for_each(|event| writer.write(event))?;
        writer.finish()
    });
    let written = sink.expect("memory takes what is written");
    let opened = open(
        Cursor::new(written),
        &OpenOptions::of_format(Some(Format::Native)),
    )
    .expect("it is a native file");
    let History::Etcd(again) = opened.history else {
        panic!("another vocabulary than was written");
    };
    assert_eq!(taken(again), events);
    events.len() as u64
}

#[test]
fn any_bytes_are_a_history_or_an_error_in_each_format() {
    bolero::check!()
        .with_test_time(TEST_TIME)
        .for_each(|bytes: &[u8]| {
            check(bytes, None);
            for format in Format::ALL {
                check(bytes, Some(*format));
            }
        });
}

#[test]
fn any_content_of_a_native_block_is_a_history_or_an_error() {
    static UNDERSTOOD: AtomicU64 = AtomicU64::new(0);
    bolero::check!()
        .with_test_time(TEST_TIME)
        .with_type::<(bool, Vec<(u8, bool, Vec<u8>)>)>()
        .for_each(|(is_etcd, blocks)| {
            let mut file = native_header(VOCABULARIES[usize::from(*is_etcd)]);
            for (events, is_compressed, payload) in blocks {
                push_native_block(&mut file, u32::from(*events), *is_compressed, payload);
            }
            UNDERSTOOD.fetch_add(check(&file, None), Relaxed);
        });
    // A target that never gets past the checksums tests nothing behind them.
    assert!(UNDERSTOOD.load(Relaxed) > 0);
}

/// Histories as others write them, a few events each.
const EXAMPLES: [&str; 5] = [
    concat!(
        r#"{"t":1,"c":0,"e":"call","op":1,"in":{"key":0,"do":"read"}}"#,
        "\n",
        r#"{"t":2,"c":0,"e":"return","op":1,"out":{"value":null}}"#,
        "\n"
    ),
    concat!(
        "{:process 0, :type :invoke, :f :write, :value 3}\n",
        "{:process 0, :type :ok, :f :write, :value 3}\n",
        "{:process 1, :type :invoke, :f :cas, :value [3 4]}\n",
        "{:process 1, :type :info, :f :cas, :value [3 4]}\n"
    ),
    concat!(
        "INFO  jepsen.util - 0\t:invoke\t:write\t3\n",
        "INFO  jepsen.util - 0\t:ok\t:write\t3\n",
        "INFO  jepsen.util - 1\t:invoke\t:read\tnil\n"
    ),
    r#"{"ClientId":0,"Input":{"Type":"range"},"Call":1,"Output":{"Range":{}},"Return":2}"#,
    r#"{"event":{"Start":{"Append":{"num_records":1}}},"client_id":1,"op_id":2}"#,
];

#[test]
fn an_example_with_some_bytes_changed_is_a_history_or_an_error() {
    static UNDERSTOOD: AtomicU64 = AtomicU64::new(0);
    bolero::check!()
        .with_test_time(TEST_TIME)
        .with_type::<(u8, Vec<(u16, u8)>)>()
        .for_each(|(example, changes)| {
            let mut bytes = EXAMPLES[usize::from(*example) % EXAMPLES.len()]
                .as_bytes()
                .to_vec();
            for (at, byte) in changes {
                let at = usize::from(*at) % bytes.len();
                bytes[at] = *byte;
            }
            UNDERSTOOD.fetch_add(check(&bytes, None), Relaxed);
        });
    assert!(UNDERSTOOD.load(Relaxed) > 0);
}

#[test]
fn a_compressed_example_with_some_bytes_changed_is_a_history_or_an_error() {
    static UNDERSTOOD: AtomicU64 = AtomicU64::new(0);
    let compressed = EXAMPLES.map(|example| {
        let level = ruzstd::encoding::CompressionLevel::Fastest;
        let zstd = ruzstd::encoding::compress_to_vec(example.as_bytes(), level);
        let mut gzip =
            flate2::read::GzEncoder::new(example.as_bytes(), flate2::Compression::fast());
        let mut zipped = Vec::new();
        std::io::Read::read_to_end(&mut gzip, &mut zipped).expect("memory is read");
        [zstd, zipped]
    });
    bolero::check!()
        .with_test_time(TEST_TIME)
        .with_type::<(u8, bool, Vec<(u16, u8)>)>()
        .for_each(|(example, is_gzip, changes)| {
            let example = &compressed[usize::from(*example) % compressed.len()];
            let mut bytes = example[usize::from(*is_gzip)].clone();
            for (at, byte) in changes {
                let at = usize::from(*at) % bytes.len();
                bytes[at] = *byte;
            }
            UNDERSTOOD.fetch_add(check(&bytes, None), Relaxed);
        });
    assert!(UNDERSTOOD.load(Relaxed) > 0);
}
