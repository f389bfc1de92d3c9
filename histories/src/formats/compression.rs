//! Compressed sources: gzip and Zstandard, of one or several members, which may be cut off.
//!
//! A source that ends within its compressed data gives what came before and sets the mark that it was cut off; one
//! whose data is damaged, or does not match its checksum, is an error.

use std::io::{self, BufRead, BufReader, Read};

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use crate::reading::Cut;

const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];
const ZSTD_MAGIC: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// The first bytes of frames that hold nothing; any of sixteen (RFC 8878, section 3.1.2).
const ZSTD_SKIPPABLE_MAGIC: &[u8] = &[0x2a, 0x4d, 0x18];

/// How a source is compressed, told from its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compressed {
    Gzip,
    Zstd,
}

impl Compressed {
    pub fn detect(beginning: &[u8]) -> Option<Self> {
        let is_skippable = beginning.len() >= 4
            && beginning[0] & 0xf0 == 0x50
            && beginning[1..4] == *ZSTD_SKIPPABLE_MAGIC;
        if beginning.starts_with(GZIP_MAGIC) {
            Some(Self::Gzip)
        } else if beginning.starts_with(ZSTD_MAGIC) || is_skippable {
            Some(Self::Zstd)
        } else {
            None
        }
    }

    /// What `source` was before it was compressed. A frame that would need a window above
    /// `window_bytes_max` is refused.
    pub fn reader(
        self,
        source: impl Read + Send + 'static,
        window_bytes_max: u64,
        cut: Cut,
    ) -> Box<dyn Read + Send> {
        match self {
            Self::Gzip => {
                let decoder = flate2::read::MultiGzDecoder::new(source);
                Box::new(UntilCut { decoder, cut })
            }
            Self::Zstd => {
                let decoder = ZstdReader::new(BufReader::new(source), window_bytes_max);
                Box::new(UntilCut { decoder, cut })
            }
        }
    }
}

/// Ends where the decoder says that its source ended too early.
struct UntilCut<R> {
    decoder: R,
    cut: Cut,
}

impl<R: Read> Read for UntilCut<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cut.is_set() {
            return Ok(0);
        }
        match self.decoder.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.cut.set();
                Ok(0)
            }
            read => read,
        }
    }
}

/// Frames of Zstandard, one after the other.
struct ZstdReader<R> {
    source: R,
    decoder: FrameDecoder,
    is_within_frame: bool,
}

impl<R: BufRead> ZstdReader<R> {
    fn new(source: R, window_bytes_max: u64) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(window_bytes_max);
        Self {
            source,
            decoder,
            is_within_frame: false,
        }
    }

    /// Goes on to the next frame that holds something; `false` at the end of the source.
    fn next_frame(&mut self) -> io::Result<bool> {
        loop {
            if self.source.fill_buf()?.is_empty() {
                return Ok(false);
            }
            match self.decoder.reset(&mut self.source) {
                Ok(()) => {
                    self.is_within_frame = true;
                    return Ok(true);
                }
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let length = u64::from(length);
                    let mut content = Read::take(&mut self.source, length);
                    if io::copy(&mut content, &mut io::sink())? < length {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(self.failure(&error)),
            }
        }
    }

    /// An error of the decoder: a truncation where nothing is left of the source.
    fn failure(&mut self, error: &FrameDecoderError) -> io::Error {
        match self.source.fill_buf() {
            Err(error) => error,
            Ok([]) => io::ErrorKind::UnexpectedEof.into(),
            Ok(_) => io::Error::new(io::ErrorKind::InvalidData, format!("zstd: {error}")),
        }
    }

    fn end_frame(&mut self) -> io::Result<()> {
        self.is_within_frame = false;
        match self.decoder.get_checksum_from_data() {
            Some(told) if self.decoder.get_calculated_checksum() != Some(told) => {
                Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "zstd: the checksum of a frame is wrong",
                ))
            }
            _ => Ok(()),
        }
    }
}

impl<R: BufRead> Read for ZstdReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.is_within_frame && !self.next_frame()? {
                return Ok(0);
            }
            let read = Read::read(&mut self.decoder, buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            if self.decoder.is_finished() {
                self.end_frame()?;
                continue;
            }
            let one = BlockDecodingStrategy::UptoBlocks(1);
            if let Err(error) = self.decoder.decode_blocks(&mut self.source, one) {
                return Err(self.failure(&error));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    const WINDOW_BYTES_MAX: u64 = 8 << 20;

    fn text() -> Vec<u8> {
        (0..20_000u32)
            .flat_map(|number| format!("{number} ").into_bytes())
            .collect()
    }

    fn read(bytes: Vec<u8>) -> (io::Result<Vec<u8>>, bool) {
        let cut = Cut::default();
        let compressed = Compressed::detect(&bytes).expect("it is compressed");
        let mut reader = compressed.reader(io::Cursor::new(bytes), WINDOW_BYTES_MAX, cut.clone());
        let mut text = Vec::new();
        let result = reader.read_to_end(&mut text).map(|_| text);
        (result, cut.is_set())
    }

    fn zstd(text: &[u8]) -> Vec<u8> {
        compress_to_vec(text, CompressionLevel::Fastest)
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        io::Write::write_all(&mut encoder, text).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn all_frames_of_a_source_are_read_and_those_that_hold_nothing_are_skipped() {
        let text = text();
        let skippable = [&[0x53, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
        let (first, second) = text.split_at(text.len() / 3);
        let frames = [skippable.clone(), zstd(first), skippable, zstd(second)].concat();
        let (read_text, is_cut) = read(frames);
        assert_eq!(read_text.unwrap(), text);
        assert!(!is_cut);
        let members = [gzip(first), gzip(second)].concat();
        assert_eq!(read(members).0.unwrap(), text);
    }

    #[test]
    fn a_source_that_is_cut_off_gives_what_came_before_and_says_so() {
        let text = text();
        for whole in [zstd(&text), gzip(&text)] {
            for length in [whole.len() - 1, whole.len() / 2, 12] {
                let (before, is_cut) = read(whole[..length].to_vec());
                assert!(text.starts_with(&before.unwrap()), "{length}");
                assert!(is_cut, "{length}");
            }
        }
    }

    #[test]
    fn a_source_that_was_changed_is_an_error_and_no_cut() {
        let text = text();
        for whole in [zstd(&text), gzip(&text)] {
            let mut changed = whole.clone();
            // The last bytes are a checksum; those of gzip, a length behind it.
            let at = whole.len() - 5;
            changed[at] ^= 1;
            let (read_text, is_cut) = read(changed);
            assert!(read_text.is_err() && !is_cut);
        }
    }

    #[test]
    fn a_window_above_the_limit_is_refused() {
        // A frame without a single segment, whose window is 2^(10 + 21) bytes.
        let frame = [ZSTD_MAGIC, &[0x00, 21 << 3], &[0; 32]].concat();
        let (read_text, is_cut) = read(frame);
        assert!(read_text.unwrap_err().to_string().contains("indow"));
        assert!(!is_cut);
    }
}
