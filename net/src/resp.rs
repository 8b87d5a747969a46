//! The RESP door: what Redis clients speak.
//!
//! Bytes go through [`parse`] into the arguments of a request, the one [`table`] of commands says which command they are and whether
//! they may be one, [`plan`] makes engine commands of it, [`render`] makes a reply of the answers of the engine, and [`encode`] writes
//! it in the version the connection has chosen. Dispatch, access rules,
//! `COMMAND`, `COMMAND DOCS` and the reference page all read that one table, so they cannot contradict each other.
//!
//! ```text
//! received bytes ─▶ Parser ─▶ Args ─▶ Session::dispatch ─▶ Forward ─▶ who owns the data ─▶ Encoder ─▶ send buffer
//!                     │                     │ table::resolve                                        ▲
//!                     └ ProtocolError       └ Reject, NOAUTH, or an answer that needs no data ──────┘
//! received bytes ─▶ Parser ─▶ Args ─▶ table::resolve ─▶ CommandId ─▶ plan ─▶ groups ─▶ render ─▶ Encoder ─▶ send buffer
//!                     │                     │                          │
//!                     └ ProtocolError       └ Reject (unknown, ..)     └ PlanError (syntax, ..)
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
