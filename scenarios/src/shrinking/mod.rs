//! What a plan consists of, for making a failing one small: parts that can be left out one
//! by one, settings that can be put back to what they usually are, and small plans drawn at
//! random from what a failing one consists of.

mod parts;
mod resample;
mod settings;

pub use parts::{Kind, size};
pub use resample::resampled;
pub use settings::simpler;
