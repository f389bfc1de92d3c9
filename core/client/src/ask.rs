//! From a typed request to its typed answer, through [`Client::call`](crate::Client::call).

use veridical_proto::native::response::Body as ResponseBody;

use crate::connection::CallError;

/// Calls with a request of this kind and takes the answer of the same kind.
macro_rules! ask {
    ($client:expr, $kind:ident, $request:expr) => {
        match $client
            .call(::veridical_proto::native::request::Body::$kind($request))
            .await?
        {
            ::veridical_proto::native::response::Body::$kind(answer) => Ok(answer),
            other => Err($crate::ask::mismatch(&other)),
        }
    };
}

pub(crate) use ask;

/// The server answered something else than what was asked: nobody knows what it did.
pub(crate) fn mismatch(answer: &ResponseBody) -> CallError {
    CallError::Unknown(format!("unexpected answer {answer:?}"))
}
