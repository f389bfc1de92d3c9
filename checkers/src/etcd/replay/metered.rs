//! Content that hypotheses share, and how many bytes there are of it.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts the bytes of all content that was made with it and is still there.
#[derive(Clone, Debug, Default)]
pub(super) struct Meter(Arc<AtomicUsize>);

impl Meter {
    /// The bytes of all content, each once however many share it.
    pub fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// Content whose bytes are counted as long as it is there; a clone is counted for itself.
#[derive(Debug)]
pub(super) struct Metered<T> {
    content: T,
    bytes: usize,
    meter: Meter,
}

impl<T> Metered<T> {
    /// Content of so many bytes.
    pub fn new(content: T, bytes: usize, meter: &Meter) -> Self {
        meter.0.fetch_add(bytes, Ordering::Relaxed);
        Self {
            content,
            bytes,
            meter: meter.clone(),
        }
    }

    /// The content, which is to grow by so many bytes.
    pub fn grow(&mut self, bytes: usize) -> &mut T {
        self.bytes += bytes;
        self.meter.0.fetch_add(bytes, Ordering::Relaxed);
        &mut self.content
    }

    /// The content, which is counted no more.
    pub fn into_content(mut self) -> T
    where
        T: Default,
    {
        std::mem::take(&mut self.content)
    }
}

impl<T> Deref for Metered<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.content
    }
}

impl<T: Clone> Clone for Metered<T> {
    fn clone(&self) -> Self {
        Self::new(self.content.clone(), self.bytes, &self.meter)
    }
}

impl<T> Drop for Metered<T> {
    fn drop(&mut self) {
        let before = self.meter.0.fetch_sub(self.bytes, Ordering::Relaxed);
        debug_assert!(before >= self.bytes, "what is counted off was counted");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_content_is_counted_once_and_a_copy_for_itself() {
        let meter = Meter::default();
        let mut one = Arc::new(Metered::new(vec![1], 10, &meter));
        let mut other = Arc::clone(&one);
        assert_eq!(meter.bytes(), 10);
        Arc::make_mut(&mut other).grow(5).push(2);
        assert_eq!((meter.bytes(), one.len(), other.len()), (25, 1, 2));
        Arc::make_mut(&mut one).grow(1).push(3);
        assert_eq!(meter.bytes(), 26);
        drop(one);
        assert_eq!(meter.bytes(), 15);
        assert_eq!(Arc::unwrap_or_clone(other).into_content(), [1, 2]);
        assert_eq!(meter.bytes(), 0);
    }
}
