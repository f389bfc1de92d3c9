//! The first event at which two runs part that should be the same.

use super::Event;
use std::io::{self, BufRead};

/// The first event in which two traces differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The number of the first event that differs, from 0.
    pub index: u64,
    /// That event in the first trace; none if it ended before.
    pub left: Option<Event>,
    /// That event in the second trace; none if it ended before.
    pub right: Option<Event>,
}

/// The first event in which two traces differ, or `None` if they are the same.
pub fn first_difference(left: &[Event], right: &[Event]) -> Option<Difference> {
    let index = left
        .iter()
        .zip(right)
        .position(|(a, b)| a != b)
        .unwrap_or(left.len().min(right.len()));
    (index < left.len() || index < right.len()).then(|| Difference {
        index: index as u64,
        left: left.get(index).cloned(),
        right: right.get(index).cloned(),
    })
}

/// The same for two traces that were streamed, one event of JSON a line.
///
/// # Errors
/// If one cannot be read, or a line that differs is not an event.
pub fn first_difference_of_streams(
    left: impl BufRead,
    right: impl BufRead,
) -> io::Result<Option<Difference>> {
    let parse = |line: Option<String>| line.map(|line| serde_json::from_str(&line)).transpose();
    let (mut left, mut right) = (left.lines(), right.lines());
    let mut index = 0;
    loop {
        let (a, b) = (left.next().transpose()?, right.next().transpose()?);
        if a != b {
            return Ok(Some(Difference {
                index,
                left: parse(a)?,
                right: parse(b)?,
            }));
        }
        if a.is_none() {
            return Ok(None);
        }
        index += 1;
    }
}
