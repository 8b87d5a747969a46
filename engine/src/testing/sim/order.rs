//! The order that the log gives: does it explain what the clients of one key saw?
//!
//! Each answer names the entry it stands at, so nobody has to search for an order of what was answered: writes stand at
//! their index, reads behind the last entry they saw. What is left to show is that this order agrees with the clients'
//! time (nothing that was answered before another was asked stands behind it), and that one copy answers like this in it.
//!
//! Only what has no answer may stand anywhere behind what had been answered when it was asked, or nowhere; it stands at its
//! entry or nowhere if that was named, as it is for what is said to be unknown by the node that appended it. Equal ones are the
//! same to the key, so it is enough to know how many of them were done, the first asked first. And of two ways to the same
//! state the one that needs less of them is better: whatever can be done behind the other can be done behind it.
//!
//! An order that passes is one that the search for any order would find too; so this says more than that search.
//!
//! # Bounds
//! Linear but for what has no answer; [`explain`] gives up after a number of steps that the caller names.

use core::cmp::Ordering;

use super::key::{Asked, Generation, Held, KeyModel, KeyOp, Open, Seen};
use crate::ids::LogIndex;
use crate::testing::history::{Model as _, Operation};

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The order explains what was seen.
    Explained,
    /// Something was answered before what stands in front of it was asked.
    AgainstTime,
    /// No single copy answers like this in that order.
    Impossible,
    /// There was too much without an answer.
    Undecided,
}

/// Says whether the order of the log explains a generation, in at most `steps_max` steps.
pub(super) fn explain(generation: &Generation, steps_max: u64) -> Verdict {
    let mut answered: Vec<_> = generation.answered.iter().collect();
    answered.sort_by_key(|(index, operation)| (*index, operation.op.asked == Asked::Get, operation.called));
    let mut last_call = 0;
    for (_, operation) in &answered {
        if operation.returned.is_some_and(|returned| returned < last_call) {
            return Verdict::AgainstTime;
        }
        last_call = last_call.max(operation.called);
    }
    let kinds = kinds_of(&answered, &generation.open);
    let start = Way { state: generation.model.initial(), used: vec![0; kinds.len()] };
    let mut walk = Walk { model: generation.model, kinds, steps_left: steps_max };
    let mut ways = vec![start];
    for (place, (_, operation)) in answered.iter().enumerate() {
        let Some(next) = walk.pass(ways, &operation.op, place) else { return Verdict::Undecided };
        if next.is_empty() {
            return Verdict::Impossible;
        }
        ways = next;
    }
    Verdict::Explained
}

/// Equal operations without an answer.
struct Kind {
    op: KeyOp,
    /// How many answered operations stand before each of them at least, ascending.
    least: Vec<usize>,
    /// And at most.
    most: usize,
}

fn kinds_of(answered: &[&(LogIndex, Operation<KeyOp>)], open: &[Open]) -> Vec<Kind> {
    let mut kinds: Vec<Kind> = Vec::new();
    for Open { operation, index } in open {
        if let Some(index) = index {
            let place = answered.partition_point(|(other, _)| other < index);
            kinds.push(Kind { op: operation.op.clone(), least: vec![place], most: place });
            continue;
        }
        let is_before = |(_, other): &&(LogIndex, Operation<KeyOp>)| {
            other.returned.is_some_and(|returned| returned < operation.called)
        };
        let least = answered.iter().rposition(is_before).map_or(0, |place| place + 1);
        match kinds.iter_mut().find(|kind| kind.most == answered.len() && kind.op == operation.op) {
            Some(kind) => kind.least.push(least),
            None => kinds.push(Kind { op: operation.op.clone(), least: vec![least], most: answered.len() }),
        }
    }
    for kind in &mut kinds {
        kind.least.sort_unstable();
    }
    kinds
}

/// One way to a state.
#[derive(Clone)]
struct Way {
    state: Held,
    /// How many of each kind without an answer were done.
    used: Vec<usize>,
}

impl Way {
    /// Whether this is as good as the other.
    fn covers(&self, other: &Self) -> bool {
        self.state == other.state
            && self.used.iter().zip(&other.used).all(|(one, two)| one.cmp(two) != Ordering::Greater)
    }
}

struct Walk {
    model: KeyModel,
    kinds: Vec<Kind>,
    steps_left: u64,
}

impl Walk {
    /// Returns the ways behind an answered operation at `place`, or `None` if there are too many.
    fn pass(&mut self, mut ways: Vec<Way>, op: &KeyOp, place: usize) -> Option<Vec<Way>> {
        let mut passed = Vec::new();
        let mut at = 0;
        while let Some(Way { state, used }) = ways.get(at).cloned() {
            at += 1;
            let next = self.model.step(&state, op);
            let leads_on = next.is_none() || !tells_state(op);
            if let Some(state) = next {
                let mut used = used.clone();
                for (_, used) in self.kinds.iter().zip(&mut used).filter(|(kind, _)| kind.most == place) {
                    // Nobody can do it any more, so it makes no difference any more.
                    *used = 0;
                }
                self.keep(&mut passed, Way { state, used })?;
            }
            // Whatever else is done first costs more and leads to the same state.
            if !leads_on {
                continue;
            }
            for kind in 0..self.kinds.len() {
                let Kind { op: open, least, most } = &self.kinds[kind];
                if *most < place || least.get(used[kind]).is_none_or(|least| *least > place) {
                    continue;
                }
                let Some(state) = self.model.step(&state, open).filter(|state| may_lead_to(state, op)) else {
                    continue;
                };
                let mut used = used.clone();
                used[kind] += 1;
                self.keep(&mut ways, Way { state, used })?;
            }
        }
        Some(passed)
    }

    /// Adds a way unless one as good is there; returns `None` if that took the last step.
    fn keep(&mut self, ways: &mut Vec<Way>, way: Way) -> Option<()> {
        self.steps_left = self.steps_left.checked_sub(u64::try_from(ways.len()).ok()?.max(1))?;
        if !ways.iter().any(|known| known.covers(&way)) {
            ways.push(way);
        }
        Some(())
    }
}

/// Whether the state behind it is known from the answer, whatever was before.
fn tells_state(op: &KeyOp) -> bool {
    !matches!(op.asked, Asked::Append(_))
}

/// Whether a state behind something without an answer can be on the way to this answer. What replaces the state can be done
/// from any, so a state that has to be replaced again leads nowhere.
fn may_lead_to(state: &Held, op: &KeyOp) -> bool {
    let Held::Known(held) = state else { return true };
    let held = held.as_deref();
    match (&op.asked, &op.seen) {
        (Asked::Get, Some(Seen::Text(text))) => held.is_none_or(|held| match (number(held), number(text)) {
            (Some(held), Some(number)) => held <= number,
            _ => text.starts_with(held),
        }),
        (Asked::Get, Some(Seen::Nil)) | (Asked::Delete, Some(Seen::Number(0))) => held.is_none(),
        (Asked::Append(_), Some(Seen::Number(len))) => {
            i64::try_from(held.map_or(0, <[u8]>::len)).is_ok_and(|held| held < *len)
        }
        (Asked::Get | Asked::Append(_) | Asked::Delete | Asked::Set(_) | Asked::Increment, _) => true,
    }
}

fn number(text: &[u8]) -> Option<i64> {
    str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str) -> (Asked, Seen) {
        (Asked::Set(text.into()), Seen::Ok)
    }

    fn get(text: &str) -> (Asked, Seen) {
        (Asked::Get, Seen::Text(text.into()))
    }

    /// What was answered at an index, asked and answered at these moments; and texts set with no answer.
    fn judge(answered: &[(u64, (Asked, Seen), u64, u64)], open: &[(&str, u64)]) -> Verdict {
        let answered = answered.iter().cloned().map(|(index, (asked, seen), called, returned)| {
            let op = KeyOp { asked, seen: Some(seen) };
            (LogIndex(index), Operation { op, called, returned: Some(returned) })
        });
        let open = open.iter().map(|(text, called)| {
            let op = KeyOp { asked: Asked::Set((*text).into()), seen: None };
            Open { operation: Operation { op, called: *called, returned: None }, index: None }
        });
        let generation =
            Generation { model: KeyModel { is_found: false }, answered: answered.collect(), open: open.collect() };
        explain(&generation, 1_000)
    }

    #[test]
    fn reads_stand_behind_the_entry_they_saw() {
        assert_eq!(judge(&[(2, get("a"), 5, 6), (2, set("a"), 1, 7), (3, set("b"), 2, 4)], &[]), Verdict::AgainstTime);
        assert_eq!(judge(&[(2, get("a"), 3, 6), (2, set("a"), 1, 7), (3, set("b"), 2, 4)], &[]), Verdict::Explained);
        assert_eq!(judge(&[(2, set("a"), 1, 2), (3, set("b"), 3, 4), (3, get("a"), 5, 6)], &[]), Verdict::Impossible);
    }

    #[test]
    fn an_index_that_lies_is_found_though_some_order_would_fit() {
        // Both at once: either order fits what was seen, but not the order that the answers name.
        let lies = [(2, set("a"), 1, 10), (3, set("b"), 2, 11), (3, get("a"), 12, 13)];
        assert_eq!(judge(&lies, &[]), Verdict::Impossible);
    }

    #[test]
    fn what_has_no_answer_may_stand_behind_what_was_answered_before_or_nowhere() {
        let seen = [(2, set("a"), 1, 2), (4, get("x"), 5, 6), (5, get("x"), 7, 8)];
        assert_eq!(judge(&seen, &[("x", 3), ("y", 4)]), Verdict::Explained);
        assert_eq!(judge(&[(2, set("a"), 1, 2), (2, get("x"), 5, 6)], &[("x", 9)]), Verdict::Impossible);
        assert_eq!(judge(&seen, &[("y", 3)]), Verdict::Impossible);
        assert_eq!(
            judge(&[(2, set("a"), 1, 2), (4, get("x"), 5, 6), (5, get("a"), 7, 8)], &[("x", 3)]),
            Verdict::Impossible
        );
    }

    #[test]
    fn equal_increments_without_an_answer_are_one_kind() {
        let op = |seen| KeyOp { asked: Asked::Increment, seen };
        let open = (10..50)
            .map(|called| Open { operation: Operation { op: op(None), called, returned: None }, index: None })
            .collect::<Vec<_>>();
        let answered = |number, called| {
            let operation = Operation { op: op(Some(Seen::Number(number))), called, returned: Some(called + 1) };
            (LogIndex(called), operation)
        };
        let verdict = |last| {
            let answered = vec![answered(1, 1), answered(30, 60), answered(last, 70)];
            explain(&Generation { model: KeyModel::default(), answered, open: open.clone() }, 10_000)
        };
        assert_eq!(verdict(42 + 1), Verdict::Explained);
        assert_eq!(verdict(42 + 2), Verdict::Impossible, "more than were asked");
        assert_eq!(verdict(29), Verdict::Impossible, "one was lost");
        let get = KeyOp { asked: Asked::Get, seen: Some(Seen::Text(b"12".into())) };
        let answered = vec![
            answered(1, 1),
            (LogIndex(60), Operation { op: get, called: 60, returned: Some(61) }),
            answered(13, 70),
        ];
        assert_eq!(explain(&Generation { model: KeyModel::default(), answered, open }, 10_000), Verdict::Explained);
    }

    #[test]
    fn what_is_said_to_be_unknown_stands_at_its_entry_or_nowhere() {
        let set = |text: &str, seen| KeyOp { asked: Asked::Set(text.into()), seen };
        let open = Operation { op: set("x", None), called: 5, returned: None };
        let got = Operation {
            op: KeyOp { asked: Asked::Get, seen: Some(Seen::Text(b"x".into())) },
            called: 50,
            returned: Some(51),
        };
        let before = Operation { op: set("a", Some(Seen::Ok)), called: 3, returned: Some(4) };
        let verdict = |index| {
            let answered = vec![(LogIndex(7), before.clone()), (LogIndex(9), got.clone())];
            let open = vec![Open { operation: open.clone(), index: Some(LogIndex(index)) }];
            explain(&Generation { model: KeyModel::default(), answered, open }, 100)
        };
        assert_eq!([8, 9].map(verdict), [Verdict::Explained; 2]);
        assert_eq!([6, 10].map(verdict), [Verdict::Impossible; 2]);
    }
}
