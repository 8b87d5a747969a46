//! The deterministic core of Quorate: replicated logs, write quorums, the waiting list and the state machine.
//!
//! Everything that decides lives in this crate, and nothing in it acts: no clock, socket, file, thread or randomness.
//! The host passes inputs with the time at which they were received, and performs the outputs. Such a host is in this
//! crate too, behind the feature `embed`: three replicas on two threads of one process, with a clock.

#![warn(clippy::wildcard_enum_match_arm)]

pub mod config;
pub mod control;
#[cfg(feature = "embed")]
pub mod embed;
pub mod engine;
pub mod entry;
mod group;
pub mod ids;
pub mod log;
pub mod machine;
pub mod message;
pub mod output;
pub mod planted;
mod replica;
pub mod replication;
pub mod slots;
pub mod sync;
#[cfg(feature = "testing")]
pub mod testing;
pub mod time;
pub mod waiting;

pub use group::{GroupState, GroupStatus, Level, MemberStatus, Request, Standing};

/// The example in the project's README is compiled and run with the others.
#[cfg(all(doctest, feature = "embed"))]
#[doc = include_str!("../../README.md")]
mod readme {}
