//! The two kinds of copies that recorded histories are about.

use super::Model;

/// A register of a number that is read, written, and compared and set. Empty at first.
#[derive(Clone, Copy, Debug, Default)]
pub struct CasRegister;

/// What was asked of a [`CasRegister`] and answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CasOp {
    /// What was read.
    Read(Option<i64>),
    /// What was written.
    Write(i64),
    /// Compare and set.
    CompareAndSet {
        /// What had to be there.
        from: i64,
        /// What it was to become.
        to: i64,
        /// Whether it was; `None` if that is not known.
        has_set: Option<bool>,
    },
}

impl Model for CasRegister {
    type State = Option<i64>;
    type Op = CasOp;

    fn initial(&self) -> Self::State {
        None
    }

    fn is_read(&self, _: &Self::State, op: &CasOp) -> bool {
        matches!(op, CasOp::Read(_) | CasOp::CompareAndSet { has_set: Some(false), .. })
    }

    fn step(&self, state: &Self::State, op: &CasOp) -> Option<Self::State> {
        match *op {
            CasOp::Read(seen) => (seen == *state).then_some(*state),
            CasOp::Write(value) => Some(Some(value)),
            CasOp::CompareAndSet { from, to, has_set } => {
                let sets = *state == Some(from);
                has_set.is_none_or(|has_set| has_set == sets).then_some(if sets { Some(to) } else { *state })
            }
        }
    }
}

/// A text that is read, replaced and appended to. Empty at first.
#[derive(Clone, Copy, Debug, Default)]
pub struct AppendStore;

/// What was asked of an [`AppendStore`] and answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppendOp {
    /// What was read.
    Get(Box<str>),
    /// What replaced the text.
    Put(Box<str>),
    /// What was appended.
    Append(Box<str>),
}

impl Model for AppendStore {
    type State = Box<str>;
    type Op = AppendOp;

    fn initial(&self) -> Self::State {
        Box::default()
    }

    fn is_read(&self, _: &Self::State, op: &AppendOp) -> bool {
        matches!(op, AppendOp::Get(_))
    }

    fn step(&self, state: &Self::State, op: &AppendOp) -> Option<Self::State> {
        match op {
            AppendOp::Get(seen) => (seen == state).then(|| state.clone()),
            AppendOp::Put(text) => Some(text.clone()),
            AppendOp::Append(text) => Some([&**state, text].concat().into()),
        }
    }
}
