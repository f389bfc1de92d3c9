//! A reader for EDN, the notation of Clojure in which Jepsen writes histories.
//!
//! See the specification at github.com/edn-format/edn. Tags are read and dropped; what
//! they tag is kept.

use std::io::BufRead;

use crate::reading::{Place, ReadError};

/// How deep forms may nest before the text is refused.
const DEPTH_MAX: u32 = 64;

/// One EDN form.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Form {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Keyword(String),
    Symbol(String),
    /// A whole number beyond 64 bits, as it is written.
    LargeInt(String),
    /// A vector, a list or a set.
    Sequence(Vec<Form>),
    Map(Vec<(Form, Form)>),
}

impl Form {
    /// The value of a map's field; fields may be named by keywords, strings or symbols.
    pub fn get(&self, field: &str) -> Option<&Form> {
        let Self::Map(pairs) = self else {
            return None;
        };
        let pair = pairs.iter().find(|(key, _)| key.name() == Some(field));
        pair.map(|(_, value)| value)
    }

    /// A symbol in it, if there is one: no value of a history is one, but half a `nil` or a
    /// `true` is.
    pub fn symbol(&self) -> Option<&str> {
        match self {
            Self::Symbol(name) => Some(name),
            Self::Sequence(forms) => forms.iter().find_map(Self::symbol),
            Self::Map(pairs) => pairs
                .iter()
                .find_map(|(key, value)| key.symbol().or_else(|| value.symbol())),
            Self::Nil | Self::Bool(_) | Self::Int(_) | Self::Float(_) | Self::LargeInt(_) => None,
            Self::Text(_) | Self::Keyword(_) => None,
        }
    }

    /// What a keyword, a string or a symbol says.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Keyword(name) | Self::Text(name) | Self::Symbol(name) => Some(name),
            Self::Nil | Self::Bool(_) | Self::Int(_) | Self::Float(_) => None,
            Self::LargeInt(_) => None,
            Self::Sequence(_) | Self::Map(_) => None,
        }
    }
}

/// Reads forms from a text, one after the other.
#[derive(Debug)]
pub(crate) struct Parser<R> {
    source: R,
    place: Place,
    /// Whether the forms stand inside one vector or list around the whole text.
    is_wrapped: bool,
    has_begun: bool,
    /// What one top-level form may take in memory.
    form_bytes_max: u64,
    /// What the form that is being read takes so far, and where it begins.
    form_bytes: u64,
    form_begin: Place,
}

impl<R: BufRead> Parser<R> {
    /// A parser of forms that may take `form_bytes_max` bytes of memory each.
    pub fn new(source: R, form_bytes_max: u64) -> Self {
        let begin = Place { line: 1, column: 1 };
        Self {
            source,
            place: begin,
            is_wrapped: false,
            has_begun: false,
            form_bytes_max,
            form_bytes: 0,
            form_begin: begin,
        }
    }

    pub fn place(&self) -> Place {
        self.place
    }

    /// What the form that was read last takes in memory, in bytes.
    pub fn form_bytes(&self) -> u64 {
        self.form_bytes
    }

    /// The next top-level form; those inside one vector or list around the whole text
    /// count as such.
    pub fn next_form(&mut self) -> Result<Option<(Place, Form)>, ReadError> {
        loop {
            self.skip_blank()?;
            let Some(byte) = self.peek()? else {
                // It is told once, so that whoever goes on after it is at the end.
                return if std::mem::take(&mut self.is_wrapped) {
                    Err(ReadError::syntax(
                        self.place,
                        "the end of the vector, found the end of the text",
                    ))
                } else {
                    Ok(None)
                };
            };
            if !self.has_begun {
                self.has_begun = true;
                if byte == b'[' || byte == b'(' {
                    self.bump()?;
                    self.is_wrapped = true;
                    continue;
                }
            }
            if self.is_wrapped && (byte == b']' || byte == b')') {
                self.bump()?;
                self.is_wrapped = false;
                continue;
            }
            let place = self.place;
            self.form_begin = place;
            self.form_bytes = 0;
            if let Some(form) = self.form(0)? {
                return Ok(Some((place, form)));
            }
        }
    }

    /// The next form, brackets around several of them not seen through.
    pub fn next_inner_form(&mut self) -> Result<Option<Form>, ReadError> {
        loop {
            self.skip_blank()?;
            if self.peek()?.is_none() {
                return Ok(None);
            }
            if let Some(form) = self.form(0)? {
                return Ok(Some(form));
            }
        }
    }

    /// Counts what the form that is being read takes.
    fn take(&mut self, bytes: usize) -> Result<(), ReadError> {
        self.form_bytes += bytes as u64;
        if self.form_bytes > self.form_bytes_max {
            return Err(ReadError::too_large(self.form_begin, self.form_bytes_max));
        }
        Ok(())
    }

    /// Skips the rest of the line, to go on after an error.
    pub fn skip_line(&mut self) -> Result<(), ReadError> {
        while let Some(byte) = self.bump()? {
            if byte == b'\n' {
                break;
            }
        }
        Ok(())
    }

    fn peek(&mut self) -> Result<Option<u8>, ReadError> {
        Ok(self.source.fill_buf()?.first().copied())
    }

    fn bump(&mut self) -> Result<Option<u8>, ReadError> {
        let byte = self.peek()?;
        if let Some(byte) = byte {
            self.source.consume(1);
            if byte == b'\n' {
                self.place = Place {
                    line: self.place.line + 1,
                    column: 1,
                };
            } else {
                self.place.column += 1;
            }
        }
        Ok(byte)
    }

    /// White space, commas and comments.
    fn skip_blank(&mut self) -> Result<(), ReadError> {
        while let Some(byte) = self.peek()? {
            match byte {
                b';' => self.skip_line()?,
                b',' | b' ' | b'\t' | b'\r' | b'\n' | 0x0c => {
                    self.bump()?;
                }
                _ => break,
            }
        }
        Ok(())
    }

    /// One form; `None` for one that is discarded (`#_`).
    fn form(&mut self, depth: u32) -> Result<Option<Form>, ReadError> {
        // Vectors grow by doubling, and a map is read as a vector first.
        self.take(4 * size_of::<Form>())?;
        if depth > DEPTH_MAX {
            return Err(ReadError::syntax(self.place, "less deeply nested forms"));
        }
        let place = self.place;
        let Some(byte) = self.peek()? else {
            return Err(ReadError::syntax(
                place,
                "a form, found the end of the text",
            ));
        };
        Ok(Some(match byte {
            b'"' => Form::Text(self.text()?),
            b'[' => Form::Sequence(self.sequence(b']', depth)?),
            b'(' => Form::Sequence(self.sequence(b')', depth)?),
            b'{' => self.map(depth)?,
            b'#' => {
                self.bump()?;
                match self.peek()? {
                    Some(b'{') => Form::Sequence(self.sequence(b'}', depth)?),
                    Some(b'_') => {
                        self.bump()?;
                        self.skip_blank()?;
                        self.form(depth + 1)?;
                        return Ok(None);
                    }
                    _ => {
                        // This is a tag, and what follows is what it tags.
                        self.token()?;
                        self.skip_blank()?;
                        return self.form(depth + 1);
                    }
                }
            }
            b'\\' => {
                self.bump()?;
                Form::Text(self.token()?)
            }
            b']' | b')' | b'}' => {
                self.bump()?;
                return Err(ReadError::syntax(
                    place,
                    format!("a form, found '{}'", char::from(byte)),
                ));
            }
            _ => {
                let token = self.token()?;
                atom(&token)
                    .ok_or_else(|| ReadError::syntax(place, format!("a form, found {token:?}")))?
            }
        }))
    }

    fn token(&mut self) -> Result<String, ReadError> {
        let mut token = Vec::new();
        while let Some(byte) = self.peek()? {
            if byte.is_ascii_whitespace() || b",;\"()[]{}".contains(&byte) {
                break;
            }
            token.push(byte);
            self.take(2)?;
            self.bump()?;
        }
        String::from_utf8(token).map_err(|_| ReadError::syntax(self.place, "UTF-8"))
    }

    fn text(&mut self) -> Result<String, ReadError> {
        let begin = self.place;
        self.bump()?;
        let mut text = Vec::new();
        loop {
            let Some(byte) = self.bump()? else {
                return Err(ReadError::syntax(begin, "the end of a string"));
            };
            self.take(2)?;
            match byte {
                b'"' => break,
                b'\\' => match self.bump()? {
                    Some(b'n') => text.push(b'\n'),
                    Some(b't') => text.push(b'\t'),
                    Some(b'r') => text.push(b'\r'),
                    Some(other) => text.push(other),
                    None => return Err(ReadError::syntax(begin, "the end of a string")),
                },
                _ => text.push(byte),
            }
        }
        String::from_utf8(text).map_err(|_| ReadError::syntax(begin, "UTF-8"))
    }

    fn sequence(&mut self, end: u8, depth: u32) -> Result<Vec<Form>, ReadError> {
        let begin = self.place;
        self.bump()?;
        let mut forms = Vec::new();
        loop {
            self.skip_blank()?;
            match self.peek()? {
                None => {
                    let expected = format!("'{}' to end this", char::from(end));
                    return Err(ReadError::syntax(begin, expected));
                }
                Some(byte) if byte == end => {
                    self.bump()?;
                    return Ok(forms);
                }
                Some(_) => forms.extend(self.form(depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: u32) -> Result<Form, ReadError> {
        let begin = self.place;
        let forms = self.sequence(b'}', depth)?;
        if !forms.len().is_multiple_of(2) {
            return Err(ReadError::syntax(
                begin,
                "a value for every key of this map",
            ));
        }
        let mut pairs = Vec::with_capacity(forms.len() / 2);
        let mut forms = forms.into_iter();
        while let (Some(key), Some(value)) = (forms.next(), forms.next()) {
            pairs.push((key, value));
        }
        Ok(Form::Map(pairs))
    }
}

fn atom(token: &str) -> Option<Form> {
    Some(match token {
        "" => return None,
        "nil" => Form::Nil,
        "true" => Form::Bool(true),
        "false" => Form::Bool(false),
        _ => {
            if let Some(keyword) = token.strip_prefix(':') {
                return Some(Form::Keyword(keyword.to_owned()));
            }
            let number = token.strip_suffix(['N', 'M']).unwrap_or(token);
            let number = number.strip_prefix('+').unwrap_or(number);
            let digits = number.strip_prefix('-').unwrap_or(number);
            if let Ok(number) = number.parse::<i64>() {
                Form::Int(number)
            } else if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
                // Too large for a number, and not to be rounded.
                Form::LargeInt(number.to_owned())
            } else if number.starts_with(|c: char| c.is_ascii_digit() || c == '-')
                && let Ok(number) = number.parse::<f64>()
            {
                Form::Float(number)
            } else {
                Form::Symbol(token.to_owned())
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Result<Vec<Form>, ReadError> {
        let mut parser = Parser::new(text.as_bytes(), 1 << 20);
        let mut forms = Vec::new();
        while let Some((_, form)) = parser.next_form()? {
            forms.push(form);
        }
        Ok(forms)
    }

    #[test]
    fn forms_may_stand_alone_or_in_a_vector_or_list() {
        let bare = all("{:a 1}\n; comment\n{:a 2} #_ {:a 3}").unwrap();
        assert_eq!(bare.len(), 2);
        assert_eq!(all("[{:a 1}, {:a 2}]").unwrap(), bare);
        assert_eq!(all("({:a 1} {:a 2} )").unwrap(), bare);
    }

    #[test]
    fn every_kind_of_form_is_read() {
        let form = all(r#"{:k "a\"b" :v [nil -3 4N 1.5 true sym #{1} #inst "x"]}"#).unwrap();
        let v = form[0].get("v").unwrap();
        assert_eq!(form[0].get("k"), Some(&Form::Text("a\"b".into())));
        let Form::Sequence(v) = v else {
            panic!("{v:?}")
        };
        assert_eq!(
            v[..4],
            [Form::Nil, Form::Int(-3), Form::Int(4), Form::Float(1.5)]
        );
        assert_eq!(v[7], Form::Text("x".into()));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (text, at) in [
            ("{:a 1}\n {:a", (2, 2)),
            ("{:a}", (1, 1)),
            ("{:a )}", (1, 5)),
        ] {
            match all(text) {
                Err(ReadError::Syntax { line, column, .. }) => assert_eq!((line, column), at),
                other => panic!("{text}: {other:?}"),
            }
        }
        assert!(all(&"[".repeat(10_000)).is_err());
    }

    #[test]
    fn a_text_that_is_cut_off_ends_after_one_error() {
        for text in ["[{:a 1} {:a 2", "[{:a 1}", "({:a [1 2", "[", "{:a \"x"] {
            let mut parser = Parser::new(text.as_bytes(), 1 << 20);
            let mut errors = 0;
            while let Some(form) = parser.next_form().transpose() {
                errors += usize::from(form.is_err());
                assert!(errors <= 2, "{text}: there is no end of errors");
            }
            assert!(errors > 0, "{text}");
        }
    }

    #[test]
    fn a_form_that_takes_too_much_is_refused_with_the_place_where_it_begins() {
        for text in [
            "[".repeat(60) + &"1 ".repeat(40_000),
            format!("\"{}", "a".repeat(600_000)),
        ] {
            let text = format!("{{:a 1}}\n {text}");
            let mut parser = Parser::new(text.as_bytes(), 1 << 20);
            assert!(parser.next_form().unwrap().is_some());
            let error = parser.next_form().unwrap_err();
            assert!(
                matches!(
                    error,
                    ReadError::TooLarge {
                        line: 2,
                        column: 2,
                        ..
                    }
                ),
                "{error}"
            );
        }
    }

    #[test]
    fn large_numbers_are_not_rounded() {
        let forms = all("9223372036854775808 9223372036854775809N -9223372036854775808").unwrap();
        assert_eq!(forms[0], Form::LargeInt("9223372036854775808".into()));
        assert_ne!(forms[0], forms[1]);
        assert_eq!(forms[2], Form::Int(i64::MIN));
    }
}
