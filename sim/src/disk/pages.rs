//! A sparse sequence of bytes.

/// The size of a page in bytes.
pub(super) const PAGE_BYTES: usize = 4096;

type Page = Box<[u8; PAGE_BYTES]>;

/// The contents of a file: pages that were never written read as zeros and take no
/// memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Pages {
    length: u64,
    pages: Vec<Option<Page>>,
    /// How many pages are there.
    present: usize,
}

/// The parts of `offset..offset + length` by page: index, start in the page, bytes.
fn parts(offset: u64, length: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    let mut at = offset;
    let end = offset + length as u64;
    std::iter::from_fn(move || {
        if at >= end {
            return None;
        }
        let index = (at / PAGE_BYTES as u64) as usize;
        let start = (at % PAGE_BYTES as u64) as usize;
        let bytes = (PAGE_BYTES - start).min((end - at) as usize);
        at += bytes as u64;
        Some((index, start, bytes))
    })
}

impl Pages {
    /// The length in bytes.
    pub(super) const fn len(&self) -> u64 {
        self.length
    }

    /// How many bytes of memory, or of a medium, the pages take.
    pub(super) const fn present_bytes(&self) -> u64 {
        self.present as u64 * PAGE_BYTES as u64
    }

    /// How many bytes more a write would take.
    pub(super) fn missing_bytes(&self, offset: u64, length: usize) -> u64 {
        let missing = parts(offset, length)
            .filter(|(index, ..)| !matches!(self.pages.get(*index), Some(Some(_))))
            .count();
        missing as u64 * PAGE_BYTES as u64
    }

    /// Reads `length` bytes, without regard to the length of the file: zeros where
    /// nothing was written.
    pub(super) fn read(&self, offset: u64, length: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(length);
        for (index, start, bytes) in parts(offset, length) {
            match self.pages.get(index) {
                Some(Some(page)) => out.extend_from_slice(&page[start..start + bytes]),
                _ => out.resize(out.len() + bytes, 0),
            }
        }
        out
    }

    /// Writes `data` and extends the length to hold it.
    pub(super) fn write(&mut self, offset: u64, data: &[u8]) {
        self.write_without_length(offset, data);
        self.length = self.length.max(offset + data.len() as u64);
    }

    /// Writes `data` and leaves the length alone.
    pub(super) fn write_without_length(&mut self, offset: u64, data: &[u8]) {
        let mut rest = data;
        for (index, start, bytes) in parts(offset, data.len()) {
            let (part, after) = rest.split_at(bytes);
            rest = after;
            self.page(index)[start..start + bytes].copy_from_slice(part);
        }
    }

    fn page(&mut self, index: usize) -> &mut Page {
        if index >= self.pages.len() {
            self.pages.resize_with(index + 1, || None);
        }
        let present = &mut self.present;
        self.pages[index].get_or_insert_with(|| {
            *present += 1;
            Box::new([0; PAGE_BYTES])
        })
    }

    /// Cuts or extends to `length`; what comes back later reads as zeros.
    pub(super) fn set_len(&mut self, length: u64) {
        if length < self.length {
            let keep = length.div_ceil(PAGE_BYTES as u64) as usize;
            for page in self.pages.drain(keep.min(self.pages.len())..) {
                self.present -= usize::from(page.is_some());
            }
            let edge = (length % PAGE_BYTES as u64) as usize;
            if edge > 0
                && let Some(Some(page)) = self.pages.get_mut(keep - 1)
            {
                page[edge..].fill(0);
            }
        }
        self.length = length;
    }

    /// Sets the length and leaves the pages alone.
    pub(super) fn set_len_only(&mut self, length: u64) {
        self.length = length;
    }

    /// Flips one bit of the page that holds the byte at `offset`.
    pub(super) fn flip(&mut self, offset: u64, bit: u8) {
        let index = (offset / PAGE_BYTES as u64) as usize;
        let start = (offset % PAGE_BYTES as u64) as usize;
        self.page(index)[start] ^= 1 << (bit & 7);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_read_as_zeros_and_take_no_room() {
        let mut pages = Pages::default();
        pages.write(100 * PAGE_BYTES as u64 - 1, b"ab");
        assert_eq!(pages.len(), 100 * PAGE_BYTES as u64 + 1);
        assert_eq!(pages.present_bytes(), 2 * PAGE_BYTES as u64);
        assert_eq!(pages.read(100 * PAGE_BYTES as u64 - 2, 3), b"\0ab");
        assert_eq!(
            pages.missing_bytes(0, PAGE_BYTES + 1),
            2 * PAGE_BYTES as u64
        );
    }

    #[test]
    fn what_was_cut_off_does_not_come_back() {
        let mut pages = Pages::default();
        pages.write(0, &[7; 3 * PAGE_BYTES]);
        pages.set_len(10);
        pages.set_len(3 * PAGE_BYTES as u64);
        let bytes = pages.read(0, 3 * PAGE_BYTES);
        assert!(bytes[..10].iter().all(|byte| *byte == 7));
        assert!(bytes[10..].iter().all(|byte| *byte == 0));
        assert_eq!(pages.present_bytes(), PAGE_BYTES as u64);
    }
}
