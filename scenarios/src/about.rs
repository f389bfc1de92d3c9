//! What the program says of itself.

use veridical_harness::About;

/// How the program is called.
pub const ABOUT: About = About {
    command: "cargo sim",
    text: "Seeded simulation of the whole store, with every history checked while it is made",
    version: env!("CARGO_PKG_VERSION"),
};
