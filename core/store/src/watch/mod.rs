//! Watches: every event of a range of keys from some revision on, in order, none left out
//! (etcd: `mvcc/watchable_store.go`, `v3rpc/watch.go`).
//!
//! A watch is *synced* when it has been given everything that is published; the writer
//! then hands it each new revision at the publish. Or it is *behind*, because it began in
//! the past, its stream's queue was full, or a snapshot was installed; it then reads the
//! history of the store when its stream is polled, at the pace of whoever polls. Nothing
//! is ever dropped: a watch that cannot be served from history any more is canceled with
//! the compacted revision.
//!
//! Lock order: the hub, then one stream's queue; the store's own locks come last.

mod event;
mod hub;
mod index;
mod queue;
mod stream;

use std::sync::Arc;

use veridical_proto::etcdserverpb::{WatchCreateRequest, watch_create_request::FilterType};
use veridical_proto::mvccpb::{Event, event::EventType};

use crate::key_range::KeyRange;

pub(crate) use hub::Hub;
pub use stream::{WATCH_ID_NONE, WatchStream};

/// Called when a stream may have something new to say: by the writer as it publishes, or
/// by the stream's own poll. It should wake whoever polls, and no more: it must not call
/// the store or the stream.
pub type Notify = Arc<dyn Fn() + Send + Sync>;

/// What a client asked a watch to be.
#[derive(Debug)]
struct WatchSpec {
    id: i64,
    range: KeyRange,
    no_put: bool,
    no_delete: bool,
    prev_kv: bool,
    fragment: bool,
    progress_notify: bool,
}

impl WatchSpec {
    fn new(id: i64, range: KeyRange, request: &WatchCreateRequest) -> Self {
        let filters = |filter: FilterType| request.filters.contains(&(filter as i32));
        Self {
            id,
            range,
            no_put: filters(FilterType::Noput),
            no_delete: filters(FilterType::Nodelete),
            prev_kv: request.prev_kv,
            fragment: request.fragment,
            progress_notify: request.progress_notify,
        }
    }

    fn wants(&self, event: &Event) -> bool {
        match event.r#type() {
            EventType::Put => !self.no_put,
            EventType::Delete => !self.no_delete,
        }
    }
}
