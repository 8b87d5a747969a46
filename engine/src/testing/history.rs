//! Histories of clients, and whether they could have come from a single copy: the judge from outside.
//!
//! A history is what clients saw: operations with the moments at which they were called and at which they returned. It is
//! *linearizable* if each operation can be given one moment between the two, so that a single copy which executes them in
//! that order answers what the clients were answered. An operation whose outcome is not known stays open: it may have
//! taken effect at any moment after its call, or never.
//!
//! Linearizability is local: a history over many keys is linearizable iff its part for each key is. So histories are
//! checked key by key, which is what makes long ones feasible.
//!
//! # Time and units
//! Moments are positions in one total order of all calls and returns; nothing else is known of time.
//!
//! # Source
//! M. Herlihy, J. Wing, "Linearizability: a correctness condition for concurrent objects", 1990, sections 2 and 3 (the
//! definition, and locality).

mod formats;
mod models;
mod wgl;

pub use formats::{FormatError, Recorded, parse};
pub use models::{AppendOp, AppendStore, CasOp, CasRegister};
pub use wgl::{Undecided, is_linearizable};

use core::fmt::Debug;
use core::hash::Hash;

/// What a single copy does.
pub trait Model {
    /// What it keeps.
    type State: Hash + Debug;
    /// What is asked of it, together with what was answered, as far as that is known.
    type Op: Debug;

    /// Returns what it keeps at first.
    fn initial(&self) -> Self::State;

    /// Whether the operation cannot change what is kept, nor what is known of it, when that is `state`.
    fn is_read(&self, state: &Self::State, op: &Self::Op) -> bool;

    /// Executes an operation; `None` if a copy in this state would have answered something else.
    fn step(&self, state: &Self::State, op: &Self::Op) -> Option<Self::State>;
}

/// One operation of one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation<O> {
    /// What was asked and answered.
    pub op: O,
    /// When it was called.
    pub called: u64,
    /// When it returned; `None` if its outcome is not known: it stays open for ever.
    pub returned: Option<u64>,
}

#[cfg(test)]
mod tests;
