//! Any bytes as what a client and a member say to each other in the pipelined protocol.

use bytes::BytesMut;
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use veridical_fuzz::forge::push_wire_frame;
use veridical_proto::frame::{decode_message, encode_frame};
use veridical_proto::native::{Request, Response};

const TEST_TIME: Duration = Duration::from_secs(1);

/// Takes the frames of one direction off `wire`. What is understood says the same when it is
/// written and read once more. Returns how many messages were understood.
fn check<M: prost::Message + Default + PartialEq + Debug>(wire: &[u8]) -> u64 {
    let mut buffer = BytesMut::from(wire);
    let mut understood = 0;
    while let Ok(Some(message)) = decode_message::<M>(&mut buffer) {
        let mut again = BytesMut::new();
        encode_frame(&message, &mut again);
        let read = decode_message::<M>(&mut again).expect("what was written can be read");
        assert_eq!(read.as_ref(), Some(&message));
        understood += 1;
    }
    understood
}

#[test]
fn any_bytes_are_messages_or_an_error() {
    bolero::check!()
        .with_test_time(TEST_TIME)
        .for_each(|bytes: &[u8]| {
            check::<Request>(bytes);
            check::<Response>(bytes);
        });
}

#[test]
fn any_payload_in_a_right_frame_is_a_message_or_an_error() {
    static UNDERSTOOD: AtomicU64 = AtomicU64::new(0);
    bolero::check!()
        .with_test_time(TEST_TIME)
        .with_type::<Vec<Vec<u8>>>()
        .for_each(|payloads| {
            let mut wire = Vec::new();
            for payload in payloads {
                push_wire_frame(&mut wire, payload);
            }
            let understood = check::<Request>(&wire) + check::<Response>(&wire);
            UNDERSTOOD.fetch_add(understood, Relaxed);
        });
    // A target that never gets past the checksum tests nothing behind it.
    assert!(UNDERSTOOD.load(Relaxed) > 0);
}
