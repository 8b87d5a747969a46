//! Everything that acts.

pub mod resp;
