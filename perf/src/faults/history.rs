//! What clients were told, and whether it could be true.
//!
//! Each client has one request at a time. Calls and returns are numbered in one order, in which the checker of the engine
//! judges the reads and writes of each key. A refusal says that the command never happened: if it did, what it wrote is
//! read where nobody has written it. What is unknown may have happened at any time later, or never.
//!
//! Two more things are judged of what replies of the native protocol carry: of all acknowledged writes of a group none shares its place
//! in the log with another, and epochs never fall from one place to the next. Of counters: no number is given twice,
//! nor a smaller one later, and in the end there are as many as were acknowledged, and at most as many more as are unknown.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use quorate::client::Token;
use quorate_engine::testing::history::parse;

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// Writes a value that nobody else writes.
    Put(String),
    /// Reads.
    Get,
    /// Adds one.
    Increment,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It was written; where, if that was told.
    Written(Option<Token>),
    /// This was read.
    Read(Option<String>),
    /// This is the sum.
    Sum(i64, Option<Token>),
    /// It never happened.
    Refused(String),
    /// Nobody knows.
    Unknown(String),
}

/// A request of a client.
#[derive(Clone, Debug)]
pub struct Call {
    /// Who.
    pub client: usize,
    /// About which key.
    pub key: String,
    /// What was asked.
    pub question: Question,
    /// What became of it.
    pub ending: Ending,
    /// When it was called, in the order of all calls and returns.
    pub called: u64,
    /// When it returned.
    pub returned: u64,
    /// When it returned, on the clock of this machine, in nanoseconds since the harness began.
    pub returned_ns: u64,
}

/// The order of all calls and returns.
#[derive(Debug, Default)]
pub struct Order(AtomicU64);

impl Order {
    /// Returns the next moment.
    pub fn next(&self) -> u64 {
        // Sequentially consistent: a call that begins after another one has returned, at whichever thread, has a later number.
        // With acquire and release alone that would hold only where the two threads talk to each other otherwise.
        self.0.fetch_add(1, Ordering::SeqCst)
    }
}

/// How many requests ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Tally {
    /// Acknowledged.
    pub done: u64,
    /// Certainly not executed.
    pub refused: u64,
    /// Not known.
    pub unknown: u64,
}

impl Tally {
    /// Counts.
    #[must_use]
    pub fn of(calls: &[Call]) -> Self {
        let mut tally = Self::default();
        for call in calls {
            *match call.ending {
                Ending::Written(_) | Ending::Read(_) | Ending::Sum(..) => &mut tally.done,
                Ending::Refused(_) => &mut tally.refused,
                Ending::Unknown(_) => &mut tally.unknown,
            } += 1;
        }
        tally
    }
}

/// Returns the reads and writes as text, as `quorate-sim check` reads it.
#[must_use]
pub fn text_of(calls: &[Call]) -> String {
    let mut lines: Vec<(u64, String)> = Vec::new();
    for Call { client, key, question, ending, called, returned, .. } in calls {
        let mut push = |moment, stage, what, value: &str| {
            let line = format!("{{:process {client}, :type {stage}, :f {what}, :key \"{key}\", :value \"{value}\"}}");
            lines.push((moment, line));
        };
        let (what, value) = match question {
            Question::Put(value) => (":put", value.as_str()),
            Question::Get => (":get", ""),
            Question::Increment => continue,
        };
        push(*called, ":invoke", what, value);
        match ending {
            Ending::Written(_) | Ending::Sum(..) => push(*returned, ":ok", what, value),
            Ending::Read(seen) => push(*returned, ":ok", what, seen.as_deref().unwrap_or_default()),
            Ending::Refused(_) => push(*returned, ":fail", what, value),
            Ending::Unknown(_) => push(*returned, ":info", what, value),
        }
    }
    lines.sort_unstable();
    lines.into_iter().fold(String::new(), |mut text, (_, line)| {
        writeln!(text, "{line}").expect("a string takes all");
        text
    })
}

/// Returns everything that is wrong with what the clients were told. The last call about each counter is a read of it, after
/// all others.
#[must_use]
pub fn violations(calls: &[Call]) -> Vec<String> {
    let mut found = places(calls);
    found.extend(counters(calls));
    let is_judged = |call: &Call| call.question != Question::Increment && !is_counter(&call.key);
    let judged: Vec<Call> = calls.iter().filter(|call| is_judged(call)).cloned().collect();
    if judged.is_empty() {
        return found;
    }
    match parse(&text_of(&judged)).map(|history| history.check(STEPS_MAX)) {
        Ok(Ok(true)) => {}
        Ok(Ok(false)) => found.push("the reads and writes are not linearizable".to_owned()),
        Ok(Err(undecided)) => found.push(format!("no verdict on the reads and writes: {undecided}")),
        Err(error) => found.push(format!("the history cannot be read: {error}")),
    }
    found
}

/// Judges where acknowledged writes lie in the logs.
fn places(calls: &[Call]) -> Vec<String> {
    let mut places: BTreeMap<(u32, u64, u64), (u64, &Call)> = BTreeMap::new();
    let mut found = Vec::new();
    for call in calls {
        let (Ending::Written(Some(token)) | Ending::Sum(_, Some(token))) = &call.ending else { continue };
        let place = (token.group.0, token.loss_gen, token.index.0);
        if let Some((epoch, other)) = places.insert(place, (token.epoch.0, call)) {
            found.push(format!("two writes at one place {place:?}: {call:?}, and at epoch {epoch} {other:?}"));
        }
    }
    let mut before: Option<((u32, u64, u64), u64)> = None;
    for (place, (epoch, call)) in places {
        if let Some((earlier, higher)) = before.filter(|(earlier, _)| (earlier.0, earlier.1) == (place.0, place.1))
            && higher > epoch
        {
            found.push(format!("epoch {higher} at {earlier:?} is before epoch {epoch} at {place:?}: {call:?}"));
        }
        before = Some((place, epoch));
    }
    found
}

/// Judges the counters.
fn counters(calls: &[Call]) -> Vec<String> {
    let mut by_key: BTreeMap<&str, Vec<&Call>> = BTreeMap::new();
    for call in calls.iter().filter(|call| is_counter(&call.key)) {
        by_key.entry(&call.key).or_default().push(call);
    }
    let mut found = Vec::new();
    for (key, mut calls) in by_key {
        calls.sort_by_key(|call| call.called);
        let mut sums: Vec<(u64, u64, i64)> = Vec::new();
        let (mut unknown, mut last) = (0, None);
        for call in calls {
            match (&call.question, &call.ending) {
                (_, Ending::Sum(sum, _)) => sums.push((call.called, call.returned, *sum)),
                (Question::Get, Ending::Read(seen)) => {
                    last = Some(seen.as_deref().unwrap_or("0").parse::<i64>().unwrap_or(i64::MIN));
                }
                (Question::Increment, Ending::Unknown(_)) => unknown += 1,
                _ => {}
            }
        }
        let acknowledged = i64::try_from(sums.len()).expect("a run is short");
        let is_counted = last.is_some_and(|last| (acknowledged..=acknowledged + unknown).contains(&last));
        if !is_counted {
            found.push(format!("{key}: {acknowledged} acknowledged, {unknown} unknown, and it is {last:?}"));
        }
        found.extend(falling(key, &sums));
    }
    found
}

/// Finds a sum that was answered twice, or one that is not above another that had returned before its call. `sums`: when each was
/// called and returned, in the order of calls.
fn falling(key: &str, sums: &[(u64, u64, i64)]) -> Option<String> {
    let mut seen: Vec<i64> = sums.iter().map(|(_, _, sum)| *sum).collect();
    seen.sort_unstable();
    if let Some(pair) = seen.windows(2).find(|pair| pair[0] == pair[1]) {
        return Some(format!("{key}: the sum {} was answered twice", pair[0]));
    }
    let mut by_return: Vec<(u64, i64)> = sums.iter().map(|(_, returned, sum)| (*returned, *sum)).collect();
    by_return.sort_unstable();
    let (mut highest, mut next) = (0, 0);
    for (called, _, sum) in sums {
        while let Some((_, before)) = by_return.get(next).filter(|(returned, _)| returned < called) {
            highest = highest.max(*before);
            next += 1;
        }
        if *sum <= highest {
            return Some(format!("{key}: the sum {sum} was answered after {highest}"));
        }
    }
    None
}

fn is_counter(key: &str) -> bool {
    key.starts_with(COUNTER)
}

/// How keys of counters begin.
pub const COUNTER: &str = "counter:";
/// Steps of the search for an order of one key's operations.
const STEPS_MAX: u64 = 20_000_000;

#[cfg(test)]
mod tests {
    use quorate_engine::ids::{Epoch, GroupId, LogIndex};

    use super::*;

    fn call(key: &str, question: Question, ending: Ending, called: u64, returned: u64) -> Call {
        Call {
            client: usize::try_from(called).unwrap(),
            key: key.to_owned(),
            question,
            ending,
            called,
            returned,
            returned_ns: 0,
        }
    }

    fn put(value: &str, ending: Ending, called: u64) -> Call {
        call("k", Question::Put(value.to_owned()), ending, called, called + 1)
    }

    fn get(value: &str, called: u64) -> Call {
        call("k", Question::Get, Ending::Read(Some(value.to_owned())), called, called + 1)
    }

    fn token(epoch: u64, index: u64) -> Option<Token> {
        Some(Token { group: GroupId(0), epoch: Epoch(epoch), index: LogIndex(index), loss_gen: 0 })
    }

    #[test]
    fn what_was_refused_may_not_be_read() {
        let refused = put("b", Ending::Refused("NOQUORUM".to_owned()), 3);
        let good = [put("a", Ending::Written(None), 1), refused.clone(), get("a", 5)];
        assert_eq!(violations(&good), [""; 0]);
        let bad = [put("a", Ending::Written(None), 1), refused, get("b", 5)];
        assert_eq!(violations(&bad), ["the reads and writes are not linearizable"]);
    }

    #[test]
    fn what_is_unknown_may_come_true_late_and_what_is_acknowledged_may_not_be_lost() {
        let unknown = put("b", Ending::Unknown("lost".to_owned()), 3);
        let good = [put("a", Ending::Written(None), 1), unknown, get("a", 5), get("b", 7)];
        assert_eq!(violations(&good), [""; 0]);
        let bad = [put("a", Ending::Written(None), 1), put("b", Ending::Written(None), 3), get("a", 5)];
        assert_eq!(violations(&bad).len(), 1);
    }

    #[test]
    fn a_place_in_the_log_is_given_once_and_epochs_do_not_fall() {
        let written = |value, epoch, index, called| put(value, Ending::Written(token(epoch, index)), called);
        assert_eq!(violations(&[written("a", 1, 1, 1), written("b", 2, 2, 3)]), [""; 0]);
        assert_eq!(violations(&[written("a", 1, 1, 1), written("b", 2, 1, 3)]).len(), 1);
        assert_eq!(violations(&[written("a", 2, 1, 1), written("b", 1, 2, 3)]).len(), 1);
    }

    #[test]
    fn counters_count_what_was_acknowledged_and_no_more_than_is_unknown() {
        let sum = |sum, at| call("counter:1", Question::Increment, Ending::Sum(sum, None), at, at + 1);
        let unknown = call("counter:1", Question::Increment, Ending::Unknown(String::new()), 5, 6);
        let last = |sum: &str| call("counter:1", Question::Get, Ending::Read(Some(sum.to_owned())), 90, 91);
        for good in ["2", "3"] {
            assert_eq!(violations(&[sum(1, 1), sum(2, 3), unknown.clone(), last(good)]), [""; 0]);
        }
        for bad in ["1", "4"] {
            assert_eq!(violations(&[sum(1, 1), sum(2, 3), unknown.clone(), last(bad)]).len(), 1);
        }
        assert_eq!(violations(&[sum(2, 1), sum(1, 3), last("2")]), ["counter:1: the sum 1 was answered after 2"]);
        assert_eq!(violations(&[sum(2, 1), sum(2, 3), last("2")]), ["counter:1: the sum 2 was answered twice"]);
    }
}
