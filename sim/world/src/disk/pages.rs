//! A sparse sequence of bytes.

/// The size of a page in bytes.
pub(super) const PAGE_BYTES: usize = 4096;

/// The size of what a page is kept in, in bytes. A log that starts each batch on a page of
/// its own fills little of it.
const CELL_BYTES: usize = 512;
const CELLS: usize = PAGE_BYTES / CELL_BYTES;

/// A part of a page; none where everything is zero.
type Cell = Option<Box<[u8; CELL_BYTES]>>;

/// One page of a file.
#[derive(Clone, Debug, Default)]
enum Page {
    /// Never written: it reads as zeros and takes no room.
    #[default]
    Hole,
    /// Written, but only with zeros, as a log does ahead of its end: it takes room on the
    /// medium and no memory here.
    Zeros,
    Cells(Box<[Cell; CELLS]>),
}

impl Page {
    const fn is_there(&self) -> bool {
        !matches!(self, Self::Hole)
    }

    fn write(&mut self, start: usize, data: &[u8]) {
        if !matches!(self, Self::Cells(_)) && is_zero(data) {
            *self = Self::Zeros;
            return;
        }
        let cells = self.cells();
        let mut rest = data;
        for (index, start, bytes) in parts(start as u64, data.len(), CELL_BYTES) {
            let (part, after) = rest.split_at(bytes);
            rest = after;
            let cell = &mut cells[index];
            if cell.is_some() || !is_zero(part) {
                bytes_of(cell)[start..start + bytes].copy_from_slice(part);
            }
        }
    }

    /// Appends a part of what the page holds to `out`.
    fn read_into(&self, out: &mut Vec<u8>, start: usize, length: usize) {
        let Self::Cells(cells) = self else {
            out.resize(out.len() + length, 0);
            return;
        };
        for (index, start, bytes) in parts(start as u64, length, CELL_BYTES) {
            match &cells[index] {
                Some(cell) => out.extend_from_slice(&cell[start..start + bytes]),
                None => out.resize(out.len() + bytes, 0),
            }
        }
    }

    fn flip(&mut self, at: usize, mask: u8) {
        bytes_of(&mut self.cells()[at / CELL_BYTES])[at % CELL_BYTES] ^= mask;
    }

    fn cells(&mut self) -> &mut [Cell; CELLS] {
        if !matches!(self, Self::Cells(_)) {
            *self = Self::Cells(Box::default());
        }
        match self {
            Self::Cells(cells) => cells,
            Self::Hole | Self::Zeros => unreachable!("it was replaced above"),
        }
    }
}

fn bytes_of(cell: &mut Cell) -> &mut [u8; CELL_BYTES] {
    cell.get_or_insert_with(|| Box::new([0; CELL_BYTES]))
}

fn is_zero(bytes: &[u8]) -> bool {
    let (blocks, rest) = bytes.as_chunks::<64>();
    let any = |bytes: &[u8]| bytes.iter().fold(0, |any, byte| any | byte);
    blocks.iter().all(|block| any(block) == 0) && any(rest) == 0
}

/// The contents of a file.
#[derive(Clone, Debug, Default)]
pub(super) struct Pages {
    length: u64,
    pages: Vec<Page>,
    /// How many pages are there.
    present: usize,
}

/// The parts of `offset..offset + length` by unit of `unit_bytes`: index, start in the
/// unit, bytes.
fn parts(
    offset: u64,
    length: usize,
    unit_bytes: usize,
) -> impl Iterator<Item = (usize, usize, usize)> {
    let mut at = offset;
    let end = offset + length as u64;
    std::iter::from_fn(move || {
        if at >= end {
            return None;
        }
        let index = (at / unit_bytes as u64) as usize;
        let start = (at % unit_bytes as u64) as usize;
        let bytes = (unit_bytes - start).min((end - at) as usize);
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
        let missing = parts(offset, length, PAGE_BYTES)
            .filter(|(index, ..)| !self.pages.get(*index).is_some_and(Page::is_there))
            .count();
        missing as u64 * PAGE_BYTES as u64
    }

    /// Reads `length` bytes, without regard to the length of the file: zeros where
    /// nothing was written.
    pub(super) fn read(&self, offset: u64, length: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(length);
        for (index, start, bytes) in parts(offset, length, PAGE_BYTES) {
            let page = self.pages.get(index).unwrap_or(&Page::Hole);
            page.read_into(&mut out, start, bytes);
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
        for (index, start, bytes) in parts(offset, data.len(), PAGE_BYTES) {
            let (part, after) = rest.split_at(bytes);
            rest = after;
            self.page(index).write(start, part);
        }
    }

    /// A page that is there from now on.
    fn page(&mut self, index: usize) -> &mut Page {
        if index >= self.pages.len() {
            self.pages.resize_with(index + 1, Page::default);
        }
        let page = &mut self.pages[index];
        if !page.is_there() {
            self.present += 1;
            *page = Page::Zeros;
        }
        page
    }

    /// Cuts or extends to `length`; what comes back later reads as zeros.
    pub(super) fn set_len(&mut self, length: u64) {
        if length < self.length {
            let keep = length.div_ceil(PAGE_BYTES as u64) as usize;
            for page in self.pages.drain(keep.min(self.pages.len())..) {
                self.present -= usize::from(page.is_there());
            }
            let edge = (length % PAGE_BYTES as u64) as usize;
            if edge > 0
                && let Some(page @ Page::Cells(_)) = self.pages.get_mut(keep - 1)
            {
                page.write(edge, &[0; PAGE_BYTES][edge..]);
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
        self.page(index).flip(start, 1 << (bit & 7));
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
    fn zeros_that_were_written_take_room_and_can_be_written_over() {
        let mut pages = Pages::default();
        pages.write(10, &[0; 2 * PAGE_BYTES]);
        assert_eq!(pages.present_bytes(), 3 * PAGE_BYTES as u64);
        pages.write(PAGE_BYTES as u64 + 1, b"a");
        pages.flip(0, 0);
        pages.write(0, b"\0");
        assert_eq!(pages.read(PAGE_BYTES as u64, 3), b"\0a\0");
        assert_eq!(pages.read(0, 2), b"\0\0");
        assert_eq!(pages.present_bytes(), 3 * PAGE_BYTES as u64);
        for length in [0, 1, 63, 64, 65, 200] {
            let mut bytes = vec![0; length];
            assert!(is_zero(&bytes));
            for place in 0..length {
                bytes[place] = 1;
                assert!(!is_zero(&bytes), "{place} of {length}");
                bytes[place] = 0;
            }
        }
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
