//! The API as the clients of a run use it, and what is made of the answers.
//!
//! `judge` looks at every answer before anybody makes something of it, `refusals` knows what
//! etcd refuses and how, and `examiner` asks for what the other clients have no use for. The
//! table `coverage.tsv` says of each call, field, option and error of the API where it is sent and
//! where it is compared, or why not; tests hold it against the `.proto` files and against runs.

#[cfg(madsim)]
pub mod examiner;
#[cfg(madsim)]
mod invalid;
#[cfg(madsim)]
pub mod judge;
#[cfg(madsim)]
mod refusals;

#[cfg(all(test, madsim))]
mod coverage;
#[cfg(all(test, madsim))]
mod schema;
#[cfg(all(test, madsim))]
pub mod traffic;
