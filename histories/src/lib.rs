//! Histories of operations: events, formats, imports, exports.
