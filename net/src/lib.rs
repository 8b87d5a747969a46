//! Everything that acts.

pub mod cli;
pub mod config;
