//! Byte strings in JSON: text where they are UTF-8, `{"hex":"00ff"}` where they are not.
//!
//! For `#[serde(with = "text_bytes")]` on a [`Bytes`] field. Binary serde formats get
//! the same two forms, so nothing is lost either way.

use bytes::Bytes;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Deserialize)]
#[serde(untagged)]
enum Form {
    Text(String),
    Hex { hex: String },
}

#[derive(Serialize)]
struct HexForm {
    hex: String,
}

/// Writes `bytes` in the form described in the module's header.
///
/// # Errors
/// What the serializer reports.
pub fn serialize<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    match std::str::from_utf8(bytes) {
        Ok(text) => serializer.serialize_str(text),
        Err(_) => HexForm {
            hex: encode_hex(bytes),
        }
        .serialize(serializer),
    }
}

/// Reads either form.
///
/// # Errors
/// What the deserializer reports, or a hexadecimal string that is not one.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    match Form::deserialize(deserializer)? {
        Form::Text(text) => Ok(Bytes::from(text)),
        Form::Hex { hex } => decode_hex(&hex)
            .map(Bytes::from)
            .ok_or_else(|| D::Error::custom("expected an even number of hexadecimal digits")),
    }
}

/// The same for a list, as `#[serde(with = "text_bytes::list")]`.
pub mod list {
    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Item(#[serde(with = "super")] Bytes);

    /// Writes each element as [`serialize`](super::serialize) does.
    ///
    /// # Errors
    /// What the serializer reports.
    pub fn serialize<S: Serializer>(list: &[Bytes], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(list.iter().map(|bytes| Item(bytes.clone())))
    }

    /// Reads what [`serialize`] writes.
    ///
    /// # Errors
    /// As [`deserialize`](super::deserialize).
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Bytes>, D::Error> {
        let items = Vec::<Item>::deserialize(deserializer)?;
        Ok(items.into_iter().map(|Item(bytes)| bytes).collect())
    }
}

fn encode_hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(2 * bytes.len()), |mut hex, byte| {
            write!(hex, "{byte:02x}").expect("writing to a String does not fail");
            hex
        })
}

fn decode_hex(hex: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = hex
        .chars()
        .map(|c| c.to_digit(16).map(|d| d as u8))
        .collect::<Option<_>>()?;
    digits
        .len()
        .is_multiple_of(2)
        .then(|| digits.chunks(2).map(|d| d[0] << 4 | d[1]).collect())
}

/// The printable form used in reports: text in double quotes, or `0x…`.
pub fn display(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => format!("{text:?}"),
        Err(_) => format!("0x{}", encode_hex(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Holder(#[serde(with = "super")] Bytes);

    proptest! {
        #[test]
        fn every_byte_string_survives_json(bytes in proptest::collection::vec(any::<u8>(), 0..32)) {
            let holder = Holder(Bytes::from(bytes));
            let json = serde_json::to_string(&holder).unwrap();
            prop_assert_eq!(serde_json::from_str::<Holder>(&json).unwrap(), holder);
        }
    }

    #[test]
    fn odd_or_foreign_hexadecimal_digits_are_refused() {
        assert!(serde_json::from_str::<Holder>(r#"{"hex":"0"}"#).is_err());
        assert!(serde_json::from_str::<Holder>(r#"{"hex":"0g"}"#).is_err());
    }
}
