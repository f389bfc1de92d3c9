//! The content of a key between two of its changes.

use bytes::Bytes;
use veridical_histories::etcd::KeyValue;

/// A key's content between two of its changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub value: Bytes,
    pub create_revision: i64,
    pub mod_revision: i64,
    pub version: i64,
    pub lease: i64,
    /// Whether the value is only assumed, because several puts may have written it (see
    /// [`super::hypotheses`]).
    pub is_assumed: bool,
}

/// A value that has to be known before anything can be compared with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unresolved {
    pub key: Bytes,
    /// The revision that wrote the value.
    pub revision: i64,
    /// The value that an answer shows, where one does.
    pub shown: Option<Bytes>,
}

/// The effect of one revision on one key: `None` deletes it.
pub(super) type Change = (Bytes, Option<Stored>);

impl Stored {
    /// What a pair shows.
    pub fn of_kv(kv: &KeyValue) -> Self {
        Self {
            value: kv.value.clone(),
            create_revision: kv.create_revision,
            mod_revision: kv.mod_revision,
            version: kv.version,
            lease: kv.lease,
            is_assumed: false,
        }
    }

    /// The value that has to be resolved before this content is compared with `kv`.
    pub fn unresolved(&self, kv: &KeyValue, keys_only: bool) -> Option<Unresolved> {
        let is_asked = self.is_assumed && !keys_only && self.mod_revision == kv.mod_revision;
        is_asked.then(|| self.unresolved_value(&kv.key, Some(&kv.value)))
    }

    /// The value of `key`, to be resolved to `shown`, or to whatever is possible.
    pub fn unresolved_value(&self, key: &Bytes, shown: Option<&Bytes>) -> Unresolved {
        Unresolved {
            key: key.clone(),
            revision: self.mod_revision,
            shown: shown.cloned(),
        }
    }

    pub fn to_kv(&self, key: &Bytes) -> KeyValue {
        KeyValue {
            key: key.clone(),
            value: self.value.clone(),
            create_revision: self.create_revision,
            mod_revision: self.mod_revision,
            version: self.version,
            lease: self.lease,
        }
    }

    /// Whether `kv` says the same, its value left out where `keys_only`. A lease of -1
    /// marks a pair of which not everything was recorded: a field of 0 says nothing then.
    pub fn equals(&self, kv: &KeyValue, keys_only: bool) -> bool {
        if kv.lease == -1 {
            return self.mod_revision == kv.mod_revision
                && (kv.create_revision == 0 || self.create_revision == kv.create_revision)
                && (kv.version == 0 || self.version == kv.version)
                && (keys_only || self.value == kv.value);
        }
        self.mod_revision == kv.mod_revision
            && self.create_revision == kv.create_revision
            && self.version == kv.version
            && self.lease == kv.lease
            && if keys_only {
                kv.value.is_empty()
            } else {
                self.value == kv.value
            }
    }
}

/// A key's content as later answers can show it; an assumed value is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Content<'a> {
    value: Option<&'a Bytes>,
    create_revision: i64,
    mod_revision: i64,
    version: i64,
    lease: i64,
}

impl<'a> Content<'a> {
    pub fn of(stored: &'a Stored) -> Self {
        Self {
            value: (!stored.is_assumed).then_some(&stored.value),
            create_revision: stored.create_revision,
            mod_revision: stored.mod_revision,
            version: stored.version,
            lease: stored.lease,
        }
    }
}
