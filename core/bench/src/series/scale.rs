//! The numbers of clients of `--scale`.

use std::str::FromStr;

/// Numbers of clients, each of which is measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scale(Vec<usize>);

/// Why a text is no scale.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ScaleError {
    /// It is not about clients.
    #[error("expected clients=1,8,64, or clients=1..512, which doubles")]
    Form,
    /// A number is none, or 0.
    #[error("{0:?} is no number of clients")]
    Number(String),
    /// A range ends before it begins.
    #[error("{0:?} ends before it begins")]
    Backwards(String),
}

impl Scale {
    /// In the order in which they are measured, each once.
    pub(crate) fn clients(&self) -> &[usize] {
        &self.0
    }
}

impl FromStr for Scale {
    type Err = ScaleError;

    /// Reads `clients=1,8,64`, `clients=1..512`, and both together.
    fn from_str(text: &str) -> Result<Self, ScaleError> {
        let list = text.strip_prefix("clients=").ok_or(ScaleError::Form)?;
        let mut clients = Vec::new();
        for part in list.split(',') {
            match part.split_once("..") {
                Some((from, to)) => {
                    let (from, to) = (number(from)?, number(to)?);
                    if to < from {
                        return Err(ScaleError::Backwards(part.to_owned()));
                    }
                    clients.extend(doublings(from, to));
                }
                None => clients.push(number(part)?),
            }
        }
        let mut once = Vec::new();
        for number in clients {
            if !once.contains(&number) {
                once.push(number);
            }
        }
        Ok(Self(once))
    }
}

/// Doubles from one number on, and ends with the other one, whether or not it is among them.
fn doublings(from: usize, to: usize) -> impl Iterator<Item = usize> {
    let doubled = std::iter::successors(Some(from), |number| number.checked_mul(2));
    doubled.take_while(move |number| *number < to).chain([to])
}

fn number(text: &str) -> Result<usize, ScaleError> {
    match text.trim().parse() {
        Ok(0) | Err(_) => Err(ScaleError::Number(text.to_owned())),
        Ok(number) => Ok(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clients(text: &str) -> Result<Vec<usize>, ScaleError> {
        text.parse().map(|scale: Scale| scale.0)
    }

    #[test]
    fn numbers_are_listed_and_ranges_double() {
        assert_eq!(clients("clients=1,8,64"), Ok(vec![1, 8, 64]));
        assert_eq!(clients("clients=1..16"), Ok(vec![1, 2, 4, 8, 16]));
        assert_eq!(clients("clients=3..20"), Ok(vec![3, 6, 12, 20]));
        assert_eq!(clients("clients=1..4,4,100"), Ok(vec![1, 2, 4, 100]));
        assert_eq!(clients("clients=5..5"), Ok(vec![5]));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "1,2", "clients", "keys=1", "clients=", "clients=0"] {
            assert!(clients(text).is_err(), "{text}");
        }
        for text in ["clients=1,,2", "clients=a", "clients=-1", "clients=1...4"] {
            assert!(
                matches!(clients(text), Err(ScaleError::Number(_))),
                "{text}"
            );
        }
        assert!(matches!(
            clients("clients=8..1"),
            Err(ScaleError::Backwards(_))
        ));
    }
}
