//! Who the members are, and how that changes.

pub(crate) mod changes;
pub(crate) mod directory;
