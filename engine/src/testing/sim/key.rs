//! One key: what was seen of it, and what a single copy of it would show.
//!
//! After a loss that was accepted a key holds whatever was found. So each loss generation is judged for itself, and those
//! behind the first begin with something unknown ([`Held::Found`]), which the first answers tell.

use std::collections::BTreeMap;

use super::LossGen;
use crate::ids::LogIndex;
use crate::testing::history::{Model, Operation};

/// What was asked of a key, and what was answered if that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyOp {
    /// What was asked.
    pub asked: Asked,
    /// What was answered.
    pub seen: Option<Seen>,
}

/// What was asked of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Its value.
    Get,
    /// To hold this text.
    Set(Vec<u8>),
    /// To hold this text behind what it holds.
    Append(Vec<u8>),
    /// To hold one more.
    Increment,
    /// To hold nothing.
    Delete,
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Done.
    Ok,
    /// Nothing is there.
    Nil,
    /// A value.
    Text(Vec<u8>),
    /// A number.
    Number(i64),
}

/// What a key holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Held {
    /// Nothing, or this text.
    Known(Option<Vec<u8>>),
    /// What was found after a loss, and nobody has told yet.
    Found,
    /// What was found and something behind it.
    Longer {
        /// What was put behind it.
        end: Vec<u8>,
        /// The length of all of it.
        len: usize,
    },
}

/// One key of the key-value module.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeyModel {
    /// Whether it begins with what was found after a loss, and not with nothing.
    pub is_found: bool,
}

impl Model for KeyModel {
    type State = Held;
    type Op = KeyOp;

    fn initial(&self) -> Held {
        if self.is_found { Held::Found } else { Held::Known(None) }
    }

    fn is_read(&self, state: &Held, op: &KeyOp) -> bool {
        matches!(state, Held::Known(_)) && op.asked == Asked::Get
    }

    fn step(&self, state: &Held, op: &KeyOp) -> Option<Held> {
        match state {
            Held::Known(text) => step_known(text.as_deref(), op),
            Held::Found => step_found(op),
            Held::Longer { end, len } => step_longer(end, *len, op),
        }
    }
}

fn step_known(held: Option<&[u8]>, op: &KeyOp) -> Option<Held> {
    let (next, seen) = match &op.asked {
        Asked::Get => (held.map(<[u8]>::to_vec), held.map_or(Seen::Nil, |text| Seen::Text(text.to_vec()))),
        Asked::Set(text) => (Some(text.clone()), Seen::Ok),
        Asked::Append(text) => {
            let next = [held.unwrap_or_default(), text].concat();
            let len = i64::try_from(next.len()).expect("short");
            (Some(next), Seen::Number(len))
        }
        Asked::Increment => {
            let number: i64 = str::from_utf8(held.unwrap_or(b"0")).ok()?.parse().ok()?;
            (Some((number + 1).to_string().into_bytes()), Seen::Number(number + 1))
        }
        Asked::Delete => (None, Seen::Number(i64::from(held.is_some()))),
    };
    op.seen.as_ref().is_none_or(|answered| *answered == seen).then_some(Held::Known(next))
}

/// An operation of which nobody knows the end is no step: whatever it has done is part of what was found.
fn step_found(op: &KeyOp) -> Option<Held> {
    Some(match (&op.asked, op.seen.as_ref()?) {
        (Asked::Get, Seen::Nil) => Held::Known(None),
        (Asked::Get, Seen::Text(text)) => Held::Known(Some(text.clone())),
        (Asked::Set(text), Seen::Ok) => Held::Known(Some(text.clone())),
        (Asked::Append(text), Seen::Number(number)) => {
            let len = usize::try_from(*number).ok().filter(|len| *len >= text.len())?;
            Held::Longer { end: text.clone(), len }
        }
        (Asked::Increment, Seen::Number(number)) => Held::Known(Some(number.to_string().into_bytes())),
        (Asked::Delete, Seen::Number(0 | 1)) => Held::Known(None),
        (Asked::Get | Asked::Set(_) | Asked::Append(_) | Asked::Increment | Asked::Delete, _) => return None,
    })
}

fn step_longer(end: &[u8], len: usize, op: &KeyOp) -> Option<Held> {
    match (&op.asked, &op.seen) {
        (Asked::Get, Some(Seen::Text(text))) => {
            (text.len() == len && text.ends_with(end)).then(|| Held::Known(Some(text.clone())))
        }
        (Asked::Set(text), None | Some(Seen::Ok)) => Some(Held::Known(Some(text.clone()))),
        (Asked::Append(text), seen) => {
            let next = Held::Longer { end: [end, text].concat(), len: len + text.len() };
            let told = Seen::Number(i64::try_from(len + text.len()).expect("short"));
            seen.as_ref().is_none_or(|seen| *seen == told).then_some(next)
        }
        (Asked::Delete, None | Some(Seen::Number(1))) => Some(Held::Known(None)),
        (Asked::Get | Asked::Set(_) | Asked::Increment | Asked::Delete, _) => None,
    }
}

/// What all clients saw of one key.
#[derive(Debug, Default)]
pub(super) struct KeyHistory {
    /// What was answered, by the loss generation of the answer, and the entry that each answer names.
    answered: BTreeMap<LossGen, Vec<(LogIndex, Operation<KeyOp>)>>,
    /// What may have been done in a generation up to this one, or never. What a leader has appended can be done in a later one only
    /// as part of what is found there.
    open: Vec<(LossGen, Open)>,
}

/// What may have been done.
#[derive(Clone, Debug)]
pub(super) struct Open {
    pub(super) operation: Operation<KeyOp>,
    /// The index at which it was done if it was, where that is known.
    pub(super) index: Option<LogIndex>,
}

/// What all clients saw of one key in one loss generation.
#[derive(Debug)]
pub(super) struct Generation {
    /// How the key behaves.
    pub(super) model: KeyModel,
    /// What was answered: a write at its entry, a read behind the last one it saw.
    pub(super) answered: Vec<(LogIndex, Operation<KeyOp>)>,
    /// What may have been done.
    pub(super) open: Vec<Open>,
}

impl KeyHistory {
    pub(super) fn answer(&mut self, loss_gen: LossGen, index: LogIndex, operation: Operation<KeyOp>) {
        self.answered.entry(loss_gen).or_default().push((index, operation));
    }

    pub(super) fn leave_open(&mut self, latest: LossGen, index: Option<LogIndex>, operation: Operation<KeyOp>) {
        self.open.push((latest, Open { operation, index }));
    }

    pub(super) fn generations(&self) -> impl Iterator<Item = Generation> {
        self.answered.iter().map(|(loss_gen, answered)| {
            let end = answered.iter().filter_map(|(_, operation)| operation.returned).max();
            // What was called behind the last answer cannot be in any of them.
            let is_open = |(latest, open): &&(LossGen, Open)| latest >= loss_gen && Some(open.operation.called) < end;
            let open = self.open.iter().filter(is_open).map(|(_, open)| open.clone()).collect();
            Generation { model: KeyModel { is_found: *loss_gen > 0 }, answered: answered.clone(), open }
        })
    }
}

impl Generation {
    /// Returns all of it in the time of the clients.
    pub(super) fn history(&self) -> Vec<Operation<KeyOp>> {
        let open = self.open.iter().map(|open| &open.operation);
        self.answered.iter().map(|(_, operation)| operation).chain(open).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::history::is_linearizable;

    const FOUND: KeyModel = KeyModel { is_found: true };

    /// Operations one after the other.
    fn is_possible(ops: &[(Asked, Option<Seen>)]) -> bool {
        let operation = |(moment, (asked, seen)): (u64, &(Asked, Option<Seen>))| {
            let op = KeyOp { asked: asked.clone(), seen: seen.clone() };
            Operation { op, called: 2 * moment, returned: seen.is_some().then_some(2 * moment + 1) }
        };
        let history: Vec<_> = (0..).zip(ops).map(operation).collect();
        is_linearizable(&FOUND, &history, 1_000).expect("a short history")
    }

    fn text(text: &str) -> Option<Seen> {
        Some(Seen::Text(text.into()))
    }

    fn append(text: &str) -> Asked {
        Asked::Append(text.into())
    }

    #[test]
    fn whatever_was_found_stays() {
        let number = |number| Some(Seen::Number(number));
        assert!(is_possible(&[(Asked::Get, text("ab")), (Asked::Get, text("ab"))]));
        assert!(!is_possible(&[(Asked::Get, text("ab")), (Asked::Get, text("a"))]));
        assert!(is_possible(&[(append("c"), number(3)), (Asked::Get, text("abc"))]));
        assert!(!is_possible(&[(append("c"), number(3)), (Asked::Get, text("bc"))]), "another length");
        assert!(!is_possible(&[(append("c"), number(3)), (Asked::Get, text("abd"))]), "it was lost");
        assert!(!is_possible(&[(append("c"), number(3)), (append("d"), number(1))]), "it was lost");
        assert!(!is_possible(&[(append("c"), number(3)), (Asked::Get, Some(Seen::Nil))]));
        assert!(is_possible(&[(Asked::Increment, number(8)), (Asked::Increment, number(9))]));
        assert!(!is_possible(&[(Asked::Increment, number(8)), (Asked::Increment, number(8))]));
        assert!(!is_possible(&[(Asked::Get, Some(Seen::Nil)), (Asked::Delete, number(1))]));
    }

    #[test]
    fn what_nobody_knows_the_end_of_may_have_been_done_before_the_first_read() {
        assert!(is_possible(&[(append("c"), None), (Asked::Get, text("ab")), (Asked::Get, text("abc"))]));
        assert!(is_possible(&[(append("c"), None), (append("d"), Some(Seen::Number(4))), (Asked::Get, text("abcd"))]));
        assert!(is_possible(&[(Asked::Increment, None), (Asked::Get, text("1")), (Asked::Get, text("1"))]));
        assert!(!is_possible(&[(Asked::Delete, None), (Asked::Get, text("a")), (Asked::Get, text("b"))]));
    }
}
