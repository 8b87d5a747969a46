//! Everything that acts.

pub mod config;
