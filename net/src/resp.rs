//! The RESP door: what Redis clients speak.
//!
//! Bytes go through [`parse`] into the arguments of a request, the one [`table`] of commands says which command they are and whether
//! they may be one, and [`encode`] writes the reply in the version the connection has chosen. Dispatch, access rules,
//! `COMMAND`, `COMMAND DOCS` and the reference page all read that one table, so they cannot contradict each other.
//!
//! ```text
//! received bytes ─▶ Parser ─▶ Args ─▶ Session::dispatch ─▶ Forward ─▶ who owns the data ─▶ Encoder ─▶ send buffer
//!                     │                     │ table::resolve                                        ▲
//!                     └ ProtocolError       └ Reject, NOAUTH, or an answer that needs no data ──────┘
//! ```

pub mod docs;
pub mod encode;
pub mod glob;
pub mod parse;
pub mod plan;
pub mod render;
pub mod session;
pub mod table;

pub use encode::{Encoder, Protocol, ReplyBuffer};
pub use parse::{Args, Limits, Parsed, Parser, ProtocolError, Refusal, Trust};
pub use session::{Outcome, ServerView, Session};
pub use table::{CommandId, CommandSpec, Reject};
