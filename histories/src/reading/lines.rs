//! Texts line by line, with a bound on what a line may take.

use std::io::{self, BufRead, Read};

use super::error::{Place, ReadError};

/// What became of a line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NextLine {
    /// It is in the buffer.
    Line,
    /// It was longer than allowed, and was skipped.
    TooLong,
    /// The text has ended.
    End,
}

/// Reads lines that are not blank.
#[derive(Debug)]
pub(crate) struct Lines<R> {
    source: R,
    length_max: usize,
    line: u64,
    buffer: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    /// Lines of at most `length_max` bytes.
    pub fn new(source: R, length_max: usize) -> Self {
        Self {
            source,
            length_max,
            line: 0,
            buffer: Vec::new(),
        }
    }

    /// The number of the line that was read last, counted from 1.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// The error of a line that was longer than allowed.
    pub fn too_long(&self) -> ReadError {
        let place = Place {
            line: self.line,
            column: self.length_max as u64,
        };
        ReadError::syntax(
            place,
            format!("a line of at most {} bytes", self.length_max),
        )
    }

    /// The line that was read last, without what ends it.
    pub fn bytes(&self) -> &[u8] {
        let line = self.buffer.strip_suffix(b"\n").unwrap_or(&self.buffer);
        line.strip_suffix(b"\r").unwrap_or(line)
    }

    /// Whether the line that was read last has its end.
    pub fn is_ended(&self) -> bool {
        self.buffer.ends_with(b"\n")
    }

    /// Reads the next line that is not blank.
    ///
    /// # Errors
    /// What the source reports.
    pub fn advance(&mut self) -> io::Result<NextLine> {
        loop {
            self.buffer.clear();
            self.line += 1;
            let limit = self.length_max as u64 + 1;
            let read = Read::take(&mut self.source, limit).read_until(b'\n', &mut self.buffer)?;
            if read == 0 {
                return Ok(NextLine::End);
            }
            if read > self.length_max && self.buffer.last() != Some(&b'\n') {
                self.buffer.clear();
                self.buffer.shrink_to(0);
                self.skip_line()?;
                return Ok(NextLine::TooLong);
            }
            if !self.buffer.trim_ascii().is_empty() {
                return Ok(NextLine::Line);
            }
        }
    }

    fn skip_line(&mut self) -> io::Result<()> {
        loop {
            let available = self.source.fill_buf()?;
            if available.is_empty() {
                return Ok(());
            }
            let newline = available.iter().position(|byte| *byte == b'\n');
            let consumed = newline.map_or(available.len(), |at| at + 1);
            self.source.consume(consumed);
            if newline.is_some() {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_too_long_is_skipped_and_the_next_one_is_read() {
        let text = b"short\n\n  \nmuch too long\r\nfine\r\n12345678\nlast";
        let mut lines = Lines::new(&text[..], 8);
        let mut read = Vec::new();
        loop {
            match lines.advance().unwrap() {
                NextLine::Line => read.push((lines.line(), Some(lines.bytes().to_vec()))),
                NextLine::TooLong => read.push((lines.line(), None)),
                NextLine::End => break,
            }
        }
        let expected = [
            (1, Some("short")),
            (4, None),
            (5, Some("fine")),
            (6, Some("12345678")),
            (7, Some("last")),
        ];
        let expected =
            expected.map(|(line, text)| (line, text.map(|text| text.as_bytes().to_vec())));
        assert_eq!(read, expected);
    }
}
