//! Exponential checkers that try every order: what the others are compared with.
//!
//! They share no code with the engines. Usable up to about eight operations.

pub mod etcd;
pub mod sequential;
