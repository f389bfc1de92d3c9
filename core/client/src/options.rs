//! Options of requests about keys. Each has a default that changes nothing; `None` in the place
//! of options is the default, too.

use veridical_proto::etcdserverpb as api;
use veridical_proto::etcdserverpb::watch_create_request::FilterType;

pub use veridical_proto::etcdserverpb::range_request::{SortOrder, SortTarget};

use std::time::Duration;

use bytes::Bytes;

use crate::into_bytes::IntoBytes;
use crate::span::Span;

/// How keys are read.
///
/// ```
/// use veridical_client::{GetOptions, SortOrder, SortTarget};
///
/// let newest_five = GetOptions::new()
///     .with_prefix()
///     .with_sort(SortTarget::Mod, SortOrder::Descend)
///     .with_limit(5);
/// ```
#[derive(Clone, Debug, Default)]
pub struct GetOptions {
    span: Span,
    request: api::RangeRequest,
}

impl GetOptions {
    /// One key, at the newest revision, linearizable.
    pub fn new() -> Self {
        Self::default()
    }

    /// All keys that begin with the given one.
    #[must_use]
    pub fn with_prefix(mut self) -> Self {
        self.span = Span::Prefix;
        self
    }

    /// The keys from the given one up to `end`, which does not belong to them.
    #[must_use]
    pub fn with_range(mut self, end: impl IntoBytes) -> Self {
        self.span = Span::Until(end.into_bytes());
        self
    }

    /// The given key and all behind it.
    #[must_use]
    pub fn with_from_key(mut self) -> Self {
        self.span = Span::FromKey;
        self
    }

    /// All keys, whichever is given.
    #[must_use]
    pub fn with_all_keys(mut self) -> Self {
        self.span = Span::All;
        self
    }

    /// At most so many; 0 for no limit. `more` in the answer says whether there are others.
    #[must_use]
    pub fn with_limit(mut self, limit: i64) -> Self {
        self.request.limit = limit;
        self
    }

    /// As it was at this revision.
    #[must_use]
    pub fn with_revision(mut self, revision: i64) -> Self {
        self.request.revision = revision;
        self
    }

    /// In another order than that of the keys.
    #[must_use]
    pub fn with_sort(mut self, target: SortTarget, order: SortOrder) -> Self {
        self.request.set_sort_target(target);
        self.request.set_sort_order(order);
        self
    }

    /// From the state of whichever member is asked, which may be old. Cheaper, and possible
    /// without a majority.
    #[must_use]
    pub fn with_serializable(mut self) -> Self {
        self.request.serializable = true;
        self
    }

    /// Without the values.
    #[must_use]
    pub fn with_keys_only(mut self) -> Self {
        self.request.keys_only = true;
        self
    }

    /// The number of keys alone.
    #[must_use]
    pub fn with_count_only(mut self) -> Self {
        self.request.count_only = true;
        self
    }

    /// Only keys that were last written at this revision or later.
    #[must_use]
    pub fn with_min_mod_revision(mut self, revision: i64) -> Self {
        self.request.min_mod_revision = revision;
        self
    }

    /// Only keys that were last written at this revision or before.
    #[must_use]
    pub fn with_max_mod_revision(mut self, revision: i64) -> Self {
        self.request.max_mod_revision = revision;
        self
    }

    /// Only keys that were created at this revision or later.
    #[must_use]
    pub fn with_min_create_revision(mut self, revision: i64) -> Self {
        self.request.min_create_revision = revision;
        self
    }

    /// Only keys that were created at this revision or before.
    #[must_use]
    pub fn with_max_create_revision(mut self, revision: i64) -> Self {
        self.request.max_create_revision = revision;
        self
    }

    pub(crate) fn request(self, key: impl IntoBytes) -> api::RangeRequest {
        let (key, range_end) = self.span.bounds(key.into_bytes());
        api::RangeRequest {
            key,
            range_end,
            ..self.request
        }
    }
}

/// How a key is written.
#[derive(Clone, Debug, Default)]
pub struct PutOptions {
    request: api::PutRequest,
}

impl PutOptions {
    /// Without a lease.
    pub fn new() -> Self {
        Self::default()
    }

    /// The key goes with this lease.
    #[must_use]
    pub fn with_lease(mut self, lease: i64) -> Self {
        self.request.lease = lease;
        self
    }

    /// The answer has what was there before.
    #[must_use]
    pub fn with_prev_kv(mut self) -> Self {
        self.request.prev_kv = true;
        self
    }

    /// The value stays as it is; the given one has to be empty, and the key has to exist.
    #[must_use]
    pub fn with_ignore_value(mut self) -> Self {
        self.request.ignore_value = true;
        self
    }

    /// The lease stays as it is; the key has to exist.
    #[must_use]
    pub fn with_ignore_lease(mut self) -> Self {
        self.request.ignore_lease = true;
        self
    }

    pub(crate) fn request(self, key: impl IntoBytes, value: impl IntoBytes) -> api::PutRequest {
        api::PutRequest {
            key: key.into_bytes(),
            value: value.into_bytes(),
            ..self.request
        }
    }
}

/// Which keys are deleted.
#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    span: Span,
    prev_kv: bool,
}

impl DeleteOptions {
    /// One key.
    pub fn new() -> Self {
        Self::default()
    }

    /// All keys that begin with the given one.
    #[must_use]
    pub fn with_prefix(mut self) -> Self {
        self.span = Span::Prefix;
        self
    }

    /// The keys from the given one up to `end`, which does not belong to them.
    #[must_use]
    pub fn with_range(mut self, end: impl IntoBytes) -> Self {
        self.span = Span::Until(end.into_bytes());
        self
    }

    /// The given key and all behind it.
    #[must_use]
    pub fn with_from_key(mut self) -> Self {
        self.span = Span::FromKey;
        self
    }

    /// All keys, whichever is given.
    #[must_use]
    pub fn with_all_keys(mut self) -> Self {
        self.span = Span::All;
        self
    }

    /// The answer has what was deleted.
    #[must_use]
    pub fn with_prev_kv(mut self) -> Self {
        self.prev_kv = true;
        self
    }

    pub(crate) fn request(self, key: impl IntoBytes) -> api::DeleteRangeRequest {
        let (key, range_end) = self.span.bounds(key.into_bytes());
        api::DeleteRangeRequest {
            key,
            range_end,
            prev_kv: self.prev_kv,
        }
    }
}

/// How old revisions are given up.
#[derive(Clone, Copy, Debug, Default)]
pub struct CompactionOptions {
    physical: bool,
}

impl CompactionOptions {
    /// The answer comes when it is agreed on.
    pub fn new() -> Self {
        Self::default()
    }

    /// The answer comes when the member that is asked has freed the room.
    #[must_use]
    pub fn with_physical(mut self) -> Self {
        self.physical = true;
        self
    }

    pub(crate) fn request(self, revision: i64) -> api::CompactionRequest {
        api::CompactionRequest {
            revision,
            physical: self.physical,
        }
    }
}

/// How long a member may be silent before a watch goes on at another one.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// What is watched.
///
/// ```
/// use veridical_client::WatchOptions;
///
/// let deletions_since = WatchOptions::new()
///     .with_prefix()
///     .with_start_revision(1_234)
///     .with_no_put()
///     .with_prev_kv();
/// ```
#[derive(Clone, Debug)]
pub struct WatchOptions {
    span: Span,
    request: api::WatchCreateRequest,
    pub(crate) tells_progress: bool,
    pub(crate) silence_max: Duration,
}

impl Default for WatchOptions {
    fn default() -> Self {
        Self {
            span: Span::default(),
            request: api::WatchCreateRequest::default(),
            tells_progress: false,
            silence_max: SILENCE_MAX,
        }
    }
}

impl WatchOptions {
    /// One key, from now on.
    pub fn new() -> Self {
        Self::default()
    }

    /// All keys that begin with the given one.
    #[must_use]
    pub fn with_prefix(mut self) -> Self {
        self.span = Span::Prefix;
        self
    }

    /// The keys from the given one up to `end`, which does not belong to them.
    #[must_use]
    pub fn with_range(mut self, end: impl IntoBytes) -> Self {
        self.span = Span::Until(end.into_bytes());
        self
    }

    /// The given key and all behind it.
    #[must_use]
    pub fn with_from_key(mut self) -> Self {
        self.span = Span::FromKey;
        self
    }

    /// All keys, whichever is given.
    #[must_use]
    pub fn with_all_keys(mut self) -> Self {
        self.span = Span::All;
        self
    }

    /// From this revision on, which may be of the past; 0 for what comes from now on.
    #[must_use]
    pub fn with_start_revision(mut self, revision: i64) -> Self {
        self.request.start_revision = revision;
        self
    }

    /// Events have what was there before.
    #[must_use]
    pub fn with_prev_kv(mut self) -> Self {
        self.request.prev_kv = true;
        self
    }

    /// Without writes.
    #[must_use]
    pub fn with_no_put(mut self) -> Self {
        self.request.filters.push(FilterType::Noput.into());
        self
    }

    /// Without deletions.
    #[must_use]
    pub fn with_no_delete(mut self) -> Self {
        self.request.filters.push(FilterType::Nodelete.into());
        self
    }

    /// From time to time says how far it is, without events, while nothing happens.
    #[must_use]
    pub fn with_progress_notify(mut self) -> Self {
        self.tells_progress = true;
        self
    }

    /// How long a member may be silent before it is asked whether it is still there, and again
    /// before the watch goes on at another one. 5 s unless this says otherwise.
    #[must_use]
    pub fn with_silence_max(mut self, silence_max: Duration) -> Self {
        self.silence_max = silence_max;
        self
    }

    /// The request with which a stream begins; the start revision is that of the first one.
    pub(crate) fn request(self, key: Bytes) -> api::WatchCreateRequest {
        let (key, range_end) = self.span.bounds(key);
        api::WatchCreateRequest {
            key,
            range_end,
            // Large responses come in parts, and quiet watches get on: neither is seen outside.
            fragment: true,
            progress_notify: true,
            ..self.request
        }
    }
}
