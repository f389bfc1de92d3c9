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

    /// An error whose text leaves out its cause.
    #[derive(Debug)]
    struct Failure {
        text: &'static str,
        cause: Option<Box<Failure>>,
    }

    impl std::fmt::Display for Failure {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(self.text)
        }
    }

    impl Error for Failure {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            let cause = self.cause.as_deref()?;
            Some(cause)
        }
    }

    fn failure(text: &'static str, cause: Option<Failure>) -> Failure {
        Failure {
            text,
            cause: cause.map(Box::new),
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
