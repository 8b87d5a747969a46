//! The RESP door: what Redis clients speak.
//!
//! Bytes go through [`parse`] into the arguments of a request. The one [`table`] of commands says which command they are
//! and whether they may be one; a [`Session`] answers what needs no data, [`plan`] makes engine commands of the rest,
//! [`render`] makes a reply of the engine's answers, and [`encode`] writes it in the version the connection has chosen.
//! Dispatch, access rules, `COMMAND`, `COMMAND DOCS` and the reference page all read that one table, so they cannot
//! contradict each other.
//!
//! ```text
//! received ─▶ Parser ─▶ Args ─▶ Session::dispatch ─▶ plan ─▶ groups ─▶ render ─▶ Encoder ─▶ send buffer
//!               │                  │ table::resolve    │                            ▲
//!               │                  │                   └─ PlanError (syntax, ..) ───┤
//!               │                  └─ Reject, NOAUTH, or an answer without data ────┤
//!               └─ ProtocolError ───────────────────────────────────────────────────┘
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
