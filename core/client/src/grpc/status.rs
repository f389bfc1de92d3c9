//! What a status says about the fate of a request.

use tonic::{Code, ConnectError, Status};

use crate::connection::CallError;

/// What a status says about the fate of a request. Certain is only what a server says
/// after it has looked at the request, and that there was no connection to send it on; an
/// unavailable server may have done it.
pub(super) fn call_error(status: &Status) -> CallError {
    let message = status.message().to_owned();
    let causes = std::iter::successors(std::error::Error::source(status), |cause| cause.source());
    if causes.into_iter().any(|cause| cause.is::<ConnectError>()) {
        return CallError::Unavailable(message);
    }
    match status.code() {
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Unauthenticated => CallError::Refused {
            code: status.code() as u32,
            message,
        },
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => CallError::Unknown(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unavailable_server_may_have_done_it_and_a_refusal_has_not() {
        let unknown = call_error(&Status::unavailable("etcdserver: request timed out"));
        assert!(matches!(unknown, CallError::Unknown(_)));
        let refused = call_error(&Status::out_of_range("etcdserver: mvcc: ..."));
        assert!(matches!(refused, CallError::Refused { code: 11, .. }));
    }
}
