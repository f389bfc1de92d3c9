//! Who the members are: `directory` holds their names and addresses, `changes` says which
//! changes are safe, `tracker` follows them for the driver, `service` offers them to
//! callers, `announcer` tells the others of this one.

pub(crate) mod announcer;
pub(crate) mod changes;
pub(crate) mod directory;
pub(crate) mod service;
pub(crate) mod tracker;
