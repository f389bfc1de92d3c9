//! Histories in every format that people write, in all their spellings, and damaged in one place:
//! the same history is read from all of them, and damage makes a verdict `unknown` or leaves it.

mod damage;
mod etcd;
mod lists;
mod objects;
mod streams;
