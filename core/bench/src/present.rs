//! What a store holds when its answers begin to be checked.

use bytes::Bytes;
use veridical_client::CallError;
use veridical_client::record;
use veridical_histories::etcd::KeyValue;
use veridical_proto::etcdserverpb::{RangeRequest, RangeResponse};
use veridical_proto::native::request::Body as Ask;
use veridical_proto::native::response::Body as Answer;

use super::endpoint::Connection;
use super::run::BenchError;
use super::workload::{KEYS_BEGIN, KEYS_END};

/// Keys that are read at once.
const PAGE_KEYS: i64 = 1_000;

/// The store at one revision, as far as the workloads see it.
#[derive(Debug)]
pub(crate) struct Present {
    pub(crate) revision: i64,
    /// The keys of the workloads.
    pub(crate) content: Vec<KeyValue>,
}

impl Present {
    /// Reads it, page by page at the revision of the first one.
    ///
    /// # Errors
    /// The store does not answer, or the revision was compacted meanwhile.
    pub(crate) async fn read(mut connection: Connection) -> Result<Self, BenchError> {
        let mut present = Self {
            revision: 0,
            content: Vec::new(),
        };
        let mut key = Bytes::from_static(KEYS_BEGIN);
        loop {
            let page = RangeRequest {
                key,
                range_end: Bytes::from_static(KEYS_END),
                limit: PAGE_KEYS,
                revision: present.revision,
                ..RangeRequest::default()
            };
            let page = range(&mut connection, page)
                .await
                .map_err(BenchError::Look)?;
            if present.revision == 0 {
                present.revision = page.header.as_ref().map_or(0, |header| header.revision);
            }
            present
                .content
                .extend(page.kvs.iter().map(record::key_value));
            match page.kvs.last() {
                Some(last) if page.more => {
                    key = [&last.key[..], b"\0"].concat().into();
                }
                Some(_) | None => return Ok(present),
            }
        }
    }
}

async fn range(
    connection: &mut Connection,
    range: RangeRequest,
) -> Result<RangeResponse, CallError> {
    match connection.call(Ask::Range(range)).await? {
        Answer::Range(answer) => Ok(answer),
        other => unreachable!("a read was answered with {other:?}"),
    }
}
