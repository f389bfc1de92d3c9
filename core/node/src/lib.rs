//! The asynchronous driver of one member.
