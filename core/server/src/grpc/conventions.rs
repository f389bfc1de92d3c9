//! Where the gRPC library names an outcome otherwise than gRPC and etcd do.
//!
//! A message above the limit is RESOURCE_EXHAUSTED, and a deadline that passes while the server
//! works on the request is DEADLINE_EXCEEDED: clients decide by these codes whether they try
//! again. The library says OUT_OF_RANGE, which is etcd's code for revisions, and CANCELLED.
//! The words are those of gRPC for Go, which etcd's users see.

use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use http::HeaderMap;
use tonic::body::Body;
use tonic::{Code, Status};

type Response = http::Response<Body>;

/// In which a client says how long it waits.
const TIMEOUT_HEADER: &str = "grpc-timeout";

/// Digits of that time at most ("TimeoutValue" of gRPC's protocol over HTTP/2).
const TIMEOUT_DIGITS_MAX: usize = 8;

/// What the library's error for a message above the limit begins with. It goes on with
/// "found N bytes, the limit is: M bytes".
const TOO_LARGE: &str = "Error, decoded message length too large: ";

/// Waits for an answer for as long as the client does, and gives it the code that clients
/// expect.
pub(crate) async fn answer(
    timeout: Option<Duration>,
    answered: impl Future<Output = Result<Response, Infallible>>,
) -> Response {
    let answered = match timeout {
        None => answered.await,
        Some(timeout) => match tokio::time::timeout(timeout, answered).await {
            Ok(answered) => answered,
            Err(_) => {
                return Status::deadline_exceeded("context deadline exceeded").into_http();
            }
        },
    };
    let Ok(response) = answered;
    // A request that is refused before anything else is answered by headers alone.
    match Status::from_header_map(response.headers()) {
        Some(status) if is_too_large(&status) => conventional(status).into_http(),
        Some(_) | None => response,
    }
}

fn is_too_large(status: &Status) -> bool {
    status.code() == Code::OutOfRange && status.message().starts_with(TOO_LARGE)
}

/// The status with the code that clients expect; for those that a stream of requests ends with.
pub(crate) fn conventional(status: Status) -> Status {
    if !is_too_large(&status) {
        return status;
    }
    let mut numbers = status
        .message()
        .split(|character: char| !character.is_ascii_digit())
        .filter(|digits| !digits.is_empty());
    let (found, limit) = (
        numbers.next().unwrap_or_default(),
        numbers.next().unwrap_or_default(),
    );
    Status::resource_exhausted(format!(
        "grpc: received message larger than max ({found} vs. {limit})"
    ))
}

/// How long the client waits; what cannot be read is for ever.
pub(crate) fn timeout_of(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(TIMEOUT_HEADER)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > TIMEOUT_DIGITS_MAX {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 60 * 60),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeout(text: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(TIMEOUT_HEADER, text.parse().unwrap());
        timeout_of(&headers)
    }

    #[test]
    fn every_unit_of_the_protocol_is_read() {
        for (text, expected) in [
            ("3H", Duration::from_secs(10_800)),
            ("2M", Duration::from_secs(120)),
            ("1S", Duration::from_secs(1)),
            ("99999999m", Duration::from_millis(99_999_999)),
            ("5u", Duration::from_micros(5)),
            ("0n", Duration::ZERO),
        ] {
            assert_eq!(timeout(text), Some(expected), "{text}");
        }
        for text in ["", "S", "123456789S", "1x", "-1S", "1.5S", "1é"] {
            let mut headers = HeaderMap::new();
            headers.insert(
                TIMEOUT_HEADER,
                http::HeaderValue::from_bytes(text.as_bytes()).unwrap(),
            );
            assert_eq!(timeout_of(&headers), None, "{text}");
        }
    }

    #[test]
    fn only_the_librarys_error_for_large_messages_changes_its_code() {
        let large =
            Status::out_of_range(format!("{TOO_LARGE}found 77 bytes, the limit is: 5 bytes"));
        let named = conventional(large);
        assert_eq!(named.code(), Code::ResourceExhausted);
        assert_eq!(
            named.message(),
            "grpc: received message larger than max (77 vs. 5)"
        );
        let compacted = super::super::status_of(veridical_store::ApiError::compacted());
        assert_eq!(conventional(compacted).code(), Code::OutOfRange);
    }
}
