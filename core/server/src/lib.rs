//! The production binary.
