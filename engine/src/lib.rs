//! The deterministic core of Quorate: replicated logs, write quorums, the waiting list and the state machine.
//!
//! Everything that decides lives in this crate, and nothing in it acts: no clock, socket, file, thread or randomness.
//! The host passes inputs with the time at which they were received, and performs the outputs.

pub mod entry;
pub mod ids;
pub mod log;
pub mod machine;
pub mod message;
pub mod slots;
pub mod sync;
pub mod time;
