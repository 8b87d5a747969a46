//! The search for an order: try each operation that may come next, and take back what leads nowhere.
//!
//! Calls and returns stand in one linked list, in the order of time. Whatever is called before the first return in the list
//! may come next; it is executed and lifted out of the list. A return at the front means that its operation had to come
//! before and did not: the last choice is taken back. A configuration (which operations are done, and the state) that was
//! reached before leads nowhere either, however it was reached.
//!
//! A read that would be answered as it was is executed at once, and that is no choice: whatever order succeeds without it
//! next succeeds with it next.
//!
//! Open operations have no return, so they stay candidates to the end and need not happen at all: the search succeeds as
//! soon as no return is left.
//!
//! Configurations are remembered by a digest of 128 bits: two that share one would be taken for the same, which over 10⁹ of
//! them is as likely as 2⁻⁶⁸.
//!
//! # Bounds
//! Exponential at worst; [`is_linearizable`] gives up after a number of steps that the caller names.
//!
//! # Source
//! J. Wing, C. Gong, "Testing and verifying concurrent objects", 1993 (the search); G. Lowe, "Testing for
//! linearizability", 2017, section 4 (the list, and the cache of configurations).

use core::hash::{Hash, Hasher as _};

use rapidhash::quality::RapidHasher;
use thiserror::Error;

use super::{Model, Operation};

/// The search was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("no verdict on {operations} operations after {steps} steps")]
pub struct Undecided {
    /// Operations in the history.
    pub operations: usize,
    /// Steps that were taken.
    pub steps: u64,
}

/// Returns whether the history could have come from a single copy that behaves as `model`.
///
/// Cost: O(operations) if they hardly overlap, exponential in the overlap at worst. Memory grows with the number of
/// configurations seen, at most one a step.
///
/// # Errors
/// `Undecided`: neither was shown within `steps_max` steps.
///
/// # Panics
/// If an operation returns before it was called, or two events are at the same moment.
pub fn is_linearizable<M: Model>(model: &M, history: &[Operation<M::Op>], steps_max: u64) -> Result<bool, Undecided> {
    let mut search = Search {
        model,
        history,
        list: List::new(history),
        done: BitSet::new(history.len()),
        seen: Seen::default(),
        chosen: Vec::new(),
        state: model.initial(),
    };
    search.do_reads();
    let mut place = search.list.first();
    for _ in 0..steps_max {
        if search.list.returns_left == 0 {
            return Ok(true);
        }
        // Without returns the search is over, so an event is there: behind the last call stands a return.
        let event = search.list.events[place];
        if !event.is_call {
            let Some(last) = search.take_back() else { return Ok(false) };
            place = search.list.next[last];
        } else if search.choose(event.operation) {
            search.do_reads();
            place = search.list.first();
        } else {
            place = search.list.next[place];
        }
    }
    Err(Undecided { operations: history.len(), steps: steps_max })
}

#[expect(clippy::disallowed_types, reason = "it is asked whether something is in it, and never walked")]
type Seen = std::collections::HashSet<[u64; 2]>;

struct Search<'a, M: Model> {
    model: &'a M,
    history: &'a [Operation<M::Op>],
    list: List,
    done: BitSet,
    /// Digests of the configurations that were reached by a choice.
    seen: Seen,
    chosen: Vec<Chosen<M::State>>,
    state: M::State,
}

/// What was executed.
enum Chosen<S> {
    /// An operation that could also come later; and the state before it.
    Choice { operation: usize, before: S },
    /// A read.
    Read { operation: usize },
}

impl<M: Model> Search<'_, M> {
    /// Executes an operation if that leads to a new configuration; returns whether it did.
    fn choose(&mut self, operation: usize) -> bool {
        let Some(next) = self.model.step(&self.state, &self.history[operation].op) else { return false };
        self.done.insert(operation);
        if !self.seen.insert(self.digest(&next)) {
            self.done.remove(operation);
            return false;
        }
        self.list.lift(operation);
        let before = core::mem::replace(&mut self.state, next);
        self.chosen.push(Chosen::Choice { operation, before });
        true
    }

    fn digest(&self, state: &M::State) -> [u64; 2] {
        [1, 2].map(|seed| {
            let mut hasher = RapidHasher::new(seed);
            self.done.words.hash(&mut hasher);
            state.hash(&mut hasher);
            hasher.finish()
        })
    }

    /// Executes all reads that may come next and agree with the state.
    fn do_reads(&mut self) {
        let mut place = self.list.first();
        while let Some(&Event { operation, is_call }) = self.list.events.get(place) {
            let next = self.list.next[place];
            let op = &self.history[operation].op;
            if !is_call {
                return;
            }
            if self.model.is_read(&self.state, op) && self.model.step(&self.state, op).is_some() {
                self.done.insert(operation);
                self.list.lift(operation);
                self.chosen.push(Chosen::Read { operation });
                // Its return may have been the one that stood behind these calls.
                place = self.list.first();
            } else {
                place = next;
            }
        }
    }

    /// Takes the last choice back, and the reads behind it; returns the place of its call, or `None` if there was none.
    fn take_back(&mut self) -> Option<usize> {
        while let Some(chosen) = self.chosen.pop() {
            let (Chosen::Choice { operation, .. } | Chosen::Read { operation }) = chosen;
            self.done.remove(operation);
            self.list.put_back(operation);
            if let Chosen::Choice { before, .. } = chosen {
                self.state = before;
                return Some(self.list.calls[operation]);
            }
        }
        None
    }
}

#[derive(Clone, Copy)]
struct Event {
    operation: usize,
    is_call: bool,
}

/// Calls and returns in the order of time; those of chosen operations are lifted out.
struct List {
    events: Vec<Event>,
    /// The places before and behind each event; the place `events.len()` stands for both ends.
    next: Vec<usize>,
    before: Vec<usize>,
    /// Where each operation's call and return stand.
    calls: Vec<usize>,
    returns: Vec<Option<usize>>,
    returns_left: usize,
}

impl List {
    fn new<O>(history: &[Operation<O>]) -> Self {
        let mut moments: Vec<(u64, Event)> = Vec::with_capacity(2 * history.len());
        for (operation, Operation { called, returned, .. }) in history.iter().enumerate() {
            moments.push((*called, Event { operation, is_call: true }));
            if let Some(returned) = returned {
                assert!(returned > called, "operation {operation} returns at {returned}, called at {called}");
                moments.push((*returned, Event { operation, is_call: false }));
            }
        }
        moments.sort_unstable_by_key(|(moment, _)| *moment);
        assert!(moments.is_sorted_by(|(one, _), (two, _)| one < two), "two events at the same moment");
        let (mut calls, mut returns) = (vec![0; history.len()], vec![None; history.len()]);
        for (place, (_, event)) in moments.iter().enumerate() {
            if event.is_call {
                calls[event.operation] = place;
            } else {
                returns[event.operation] = Some(place);
            }
        }
        let end = moments.len();
        let next = (1..=end).chain([0]).collect();
        let before = [end].into_iter().chain(0..end).collect();
        let returns_left = returns.iter().flatten().count();
        let events = moments.into_iter().map(|(_, event)| event).collect();
        Self { events, next, before, calls, returns, returns_left }
    }

    fn first(&self) -> usize {
        self.next[self.events.len()]
    }

    fn lift(&mut self, operation: usize) {
        self.unlink(self.calls[operation]);
        if let Some(place) = self.returns[operation] {
            self.unlink(place);
            self.returns_left -= 1;
        }
    }

    /// Undoes the last [`List::lift`] that was not undone yet.
    fn put_back(&mut self, operation: usize) {
        if let Some(place) = self.returns[operation] {
            self.link(place);
            self.returns_left += 1;
        }
        self.link(self.calls[operation]);
    }

    fn unlink(&mut self, place: usize) {
        let (before, next) = (self.before[place], self.next[place]);
        self.next[before] = next;
        self.before[next] = before;
    }

    /// The neighbours of an unlinked place are still known to it.
    fn link(&mut self, place: usize) {
        let (before, next) = (self.before[place], self.next[place]);
        self.next[before] = place;
        self.before[next] = place;
    }
}

/// Which operations are done.
struct BitSet {
    words: Box<[u64]>,
}

impl BitSet {
    fn new(len: usize) -> Self {
        Self { words: vec![0; len.div_ceil(64)].into_boxed_slice() }
    }

    fn insert(&mut self, bit: usize) {
        self.words[bit / 64] |= 1 << (bit % 64);
    }

    fn remove(&mut self, bit: usize) {
        self.words[bit / 64] &= !(1 << (bit % 64));
    }
}
