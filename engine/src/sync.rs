//! Memory that several threads may touch: the pool of log segments, mailboxes between threads, doorbells, sleepers.
//!
//! Everything here rests on one block of memory made of 64-bit atomic words (`words`). Whoever may be read by another
//! thread at the same moment stores and loads words with relaxed atomics, which costs the same as plain moves; whoever
//! is alone with a region may look at it as bytes. Which of the two holds is decided by the types: an owner's `&mut`
//! keeps readers of bytes out, a mailbox record belongs to one side at a time.
//!
//! This is the only module of the crate with `unsafe`: views of words as bytes, whose contract is in `words` and is kept by
//! `pool` and `mailbox`. It is checked by `tests/loom.rs` and `tests/loom_sleeper.rs`, where the atomics are loom's.
//!
//! # Threads
//! [`pool::Pool`]: one owner, any number of `PoolReader`s. [`mailbox`]: one producer, one consumer.
//! [`doorbell::Doorbell`]: one owner, any number of ringers. [`sleeper::Sleeper`]: one owner, any number of wakers.
#![cfg_attr(not(loom), expect(unsafe_code, reason = "views of shared memory as bytes; see the contract in `words`"))]

mod atomic;
pub mod doorbell;
pub mod mailbox;
pub mod pool;
pub mod sleeper;
mod words;

pub(crate) use atomic::{AtomicU64, Ordering, fence};
pub(crate) use words::WordWriter;

const _: () = assert!(usize::BITS >= 64, "positions in shared memory are 64-bit and index it");
