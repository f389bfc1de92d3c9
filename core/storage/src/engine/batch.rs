//! Batches of changes.

use bytes::Bytes;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BatchOperation {
    /// Sets a key.
    Put {
        /// The key.
        key: Bytes,
        /// Its new value.
        value: Bytes,
    },
    /// Removes a key; nothing happens if there is none.
    Delete {
        /// The key.
        key: Bytes,
    },
}

/// Changes that are applied together, in order: of several changes of one key the last
/// one holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteBatch {
    operations: Vec<BatchOperation>,
    bytes: usize,
}

impl WriteBatch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a key.
    pub fn put(&mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        let (key, value) = (key.into(), value.into());
        self.bytes += key.len() + value.len();
        self.operations.push(BatchOperation::Put { key, value });
    }

    /// Removes a key.
    pub fn delete(&mut self, key: impl Into<Bytes>) {
        let key = key.into();
        self.bytes += key.len();
        self.operations.push(BatchOperation::Delete { key });
    }

    /// The changes in order.
    pub fn operations(&self) -> &[BatchOperation] {
        &self.operations
    }

    /// How many changes.
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// Bytes of all keys and values.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl IntoIterator for WriteBatch {
    type Item = BatchOperation;
    type IntoIter = std::vec::IntoIter<BatchOperation>;

    fn into_iter(self) -> Self::IntoIter {
        self.operations.into_iter()
    }
}
