//! One suite over both transports: what one does, the other does.
//!
//! Every story runs with the smallest queues and buffers there are, so that submission queues, completion queues, receive
//! buffers and sockets run full all the time, and most of them once more with the default ones. Both ends turn in one
//! thread, in alternation; nothing sleeps and nothing is timed. Where io_uring is refused its half is skipped with a line
//! that says so; under `CI` that is a failure.

#![expect(clippy::unwrap_used, reason = "a story that cannot be set up has failed")]

mod endings;
mod flow;
mod party;
mod streams;

use quorate::transport::{IoChoice, TransportSettings};

/// Defines one test for each way of working and each story.
macro_rules! on_both_transports {
    ($($story:ident),* $(,)?) => {
        mod mio_direct {
            $(
                #[test]
                fn $story() {
                    super::$story(crate::party::Way::MioDirect);
                }
            )*
        }
        mod mio_polled {
            $(
                #[test]
                fn $story() {
                    super::$story(crate::party::Way::MioPolled);
                }
            )*
        }
        mod uring {
            $(
                #[test]
                fn $story() {
                    if crate::uring_is_here() {
                        super::$story(crate::party::Way::Uring);
                    }
                }
            )*
        }
    };
}
pub(crate) use on_both_transports;

/// Whether io_uring can be tested here; says so loudly if not.
fn uring_is_here() -> bool {
    match quorate::transport::open(IoChoice::Uring, &TransportSettings::default()) {
        Ok(_) => true,
        Err(refusal) => {
            assert!(std::env::var_os("CI").is_none(), "io_uring must be tested under CI: {refusal}");
            eprintln!("SKIPPED, io_uring is not tested: {refusal}");
            false
        }
    }
}
