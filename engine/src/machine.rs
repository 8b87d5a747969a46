//! The deterministic state machine that each replica of a group runs over the committed log.
//!
//! Same commands in the same order give the same state, the same answers and the same digest on every replica: the
//! modules here see no clock but the logged time of the entry they apply.

pub mod answer;
pub mod command;
pub mod kv;

pub(crate) mod growth;
mod hash;
mod key;
pub mod scrub;
pub mod snapshot;
pub mod strings;
