//! Errors with what caused them, for those whose own text leaves it out.

use std::error::Error;

/// What an error says, and each of its causes that is not said yet. The errors of this
/// workspace name their causes themselves; those of the gRPC library do not.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Failure {
        text: &'static str,
        source: Option<Box<Failure>>,
    }

    fn failure(text: &'static str, source: Option<Failure>) -> Failure {
        Failure {
            text,
            source: source.map(Box::new),
        }
    }

    #[test]
    fn every_cause_is_said_once() {
        let refused = failure("connection refused", None);
        let connect = failure("tcp connect error: connection refused", Some(refused));
        let transport = failure("transport error", Some(connect));
        assert_eq!(
            with_causes(&transport),
            "transport error: tcp connect error: connection refused"
        );
    }
}
