//! What is wrong with what a client sent, as the text of the reply.
//!
//! A [`ProtocolError`] ends the connection, because where the next request starts is not known; a [`Refusal`] costs one request.

use thiserror::Error;

/// Why a connection has to be closed. The text is the reply, without the leading `-`.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProtocolError {
    /// The number after `*` is not one.
    #[error("ERR Protocol error: invalid multibulk length")]
    MultibulkLength,
    /// The number after `*` is beyond the limit.
    #[error("ERR Protocol error: invalid multibulk length: {count} arguments, at most {max}")]
    TooManyArguments {
        /// As announced.
        count: i64,
        /// [`Limits::args_max`](crate::resp::Limits::args_max).
        max: u32,
    },
    /// The number after `$` is not one, or is beyond 512 MiB.
    #[error("ERR Protocol error: invalid bulk length")]
    BulkLength,
    /// More than 10 arguments before authentication.
    #[error("ERR Protocol error: unauthenticated multibulk length")]
    UnauthenticatedMultibulk,
    /// More than 16 KiB in one argument before authentication.
    #[error("ERR Protocol error: unauthenticated bulk length")]
    UnauthenticatedBulk,
    /// An argument does not start with `$`.
    #[error("ERR Protocol error: expected '$', got '{}'", got.escape_ascii())]
    ExpectedBulk {
        /// The byte in its place.
        got: u8,
    },
    /// An argument is not followed by CR LF.
    #[error("ERR Protocol error: expected CRLF after {length} bytes of bulk string")]
    UnterminatedBulk {
        /// As announced.
        length: u32,
    },
    /// An inline request beyond the limit.
    #[error("ERR Protocol error: too big inline request")]
    InlineTooLong,
    /// An inline request with a quote that is not closed, or is followed by more than a space.
    #[error("ERR Protocol error: unbalanced quotes in request")]
    UnbalancedQuotes,
}

/// Why one request was thrown away; the connection goes on. The text is the reply, without the leading `-`.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// One argument is larger than any value may be.
    #[error("ERR argument of {length} bytes is larger than the limit of {max} bytes")]
    ArgumentTooLarge {
        /// As announced.
        length: u32,
        /// [`Limits::bulk_bytes_max`](crate::resp::Limits::bulk_bytes_max).
        max: u32,
    },
    /// All arguments together are too large.
    #[error("ERR request is larger than the limit of {max} bytes")]
    RequestTooLarge {
        /// [`Limits::request_bytes_max`](crate::resp::Limits::request_bytes_max).
        max: u32,
    },
}
