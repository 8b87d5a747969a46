//! Everything that acts.

pub mod wire;
