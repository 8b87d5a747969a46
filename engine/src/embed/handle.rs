//! Requests one by one: a handle submits, a ticket waits, by polling, blocking or as a future.
//!
//! All tickets of a handle share its pipeline, which sits behind a lock with a place for each ticket: the *desk*.
//! Whoever looks for its own completion first sorts in all that have come. If nobody looks, because everyone sleeps,
//! the leader does it for them; it only tries the lock, so it waits for no client.
//!
//! # Invariants
//! I8. A place is filled exactly once, and emptied once, by its ticket or, if that is gone, when it is filled.
//!
//! # Threads
//! A desk is `armed` from when a waiter announced that it sleeps until the leader has come by. While it is armed the
//! leader will come after the next completion, so further waiters need not announce anything. Arming, registering a
//! waiter and sorting in are all done under the lock:
//! 1. A completion that comes before arming is found by the look that follows the announcement.
//! 2. One that comes after it makes the leader take the announcement and come by. If the lock is held it comes again in
//!    its next turn; who registers in between is found then.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::idle::PollPolicy;
use super::pipeline::{Answered, Pipeline, RequestError, SubmitError, time_left};
use crate::ids::EntryId;
use crate::machine::answer::Answer;
use crate::machine::command::{Command, Op};
use crate::sync::sleeper::Sleeper;

/// Longest answer kept without a place of its own on the heap, in bytes: 64 and what an answer adds to them.
const INLINE_MAX: usize = 72;

/// Submits requests one by one; each comes back as a [`Ticket`].
///
/// Has a ring of requests and one of completions of its own: one handle per thread.
#[derive(Debug)]
pub struct Handle {
    shared: Arc<DeskShared>,
}

/// One request under way. Dropping it does not take the request back.
#[derive(Debug)]
#[must_use = "without its ticket nobody knows how a request ended"]
pub struct Ticket {
    shared: Arc<DeskShared>,
    place: u32,
    is_over: bool,
}

/// How a request of a [`Handle`] ended.
pub type Ended = Result<Reply, RequestError>;

/// The answer to a request that was executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    id: EntryId,
    bytes: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Bytes {
    Inline { len: u8, bytes: [u8; INLINE_MAX] },
    Heap(Box<[u8]>),
}

impl Handle {
    pub(super) fn new(shared: Arc<DeskShared>) -> Self {
        Self { shared }
    }

    /// Submits a command.
    ///
    /// Requests of one handle to one group are executed in the order in which they were submitted.
    ///
    /// # Errors
    /// `Busy`: too many tickets are under way or not dropped yet; try again. `Malformed`: such a command can never be
    /// executed. `Stopped`: the cluster is gone. In all cases nothing was submitted.
    pub fn submit(&mut self, command: Command<'_>) -> Result<Ticket, SubmitError> {
        let mut desk = self.shared.desk.lock();
        if desk.free.is_empty() {
            desk.sort_in();
        }
        let Some(place) = desk.free.pop() else {
            self.shared.leave(desk);
            return Err(SubmitError::Busy);
        };
        let submitted = desk.pipeline.submit_at_once(place, command);
        match submitted {
            Ok(()) => desk.places[place as usize] = Place::Waiting(None),
            Err(_) => desk.free.push(place),
        }
        self.shared.leave(desk);
        submitted.map(|()| Ticket { shared: Arc::clone(&self.shared), place, is_over: false })
    }

    /// Sets `key` to `value`.
    ///
    /// # Errors
    /// As [`Handle::submit`].
    pub fn set(&mut self, key: &[u8], value: &[u8]) -> Result<Ticket, SubmitError> {
        self.submit(Command { value, ..Command::new(Op::Set, key) })
    }

    /// Reads `key` at the leader.
    ///
    /// # Errors
    /// As [`Handle::submit`].
    pub fn get(&mut self, key: &[u8]) -> Result<Ticket, SubmitError> {
        self.submit(Command::new(Op::Get, key))
    }
}

impl Ticket {
    /// Returns how the request ended, once, if it has.
    pub fn poll(&mut self) -> Option<Ended> {
        if self.is_over {
            return None;
        }
        let mut desk = self.shared.desk.lock();
        desk.sort_in();
        let ended = desk.take(self.place);
        self.shared.leave(desk);
        self.is_over = ended.is_some();
        ended
    }

    /// Waits until the request has ended or `deadline` has come; returns how it ended, once.
    pub fn wait(&mut self, deadline: Instant) -> Option<Ended> {
        let mut empty_turns = 0;
        loop {
            let ended = self.poll();
            if ended.is_some() || self.is_over || time_left(deadline).is_none() {
                return ended;
            }
            empty_turns += 1;
            if self.shared.policy.wants_sleep(empty_turns) {
                self.sleep(deadline);
            } else {
                PollPolicy::pass(empty_turns);
            }
        }
    }

    /// Sleeps until something was sorted in.
    fn sleep(&self, deadline: Instant) {
        let mut desk = self.shared.desk.lock();
        desk.blocked += 1;
        if desk.arm(&self.shared.sleeper) && matches!(desk.places[self.place as usize], Place::Waiting(_)) {
            self.shared.ended.wait_until(&mut desk, deadline);
        }
        desk.blocked -= 1;
    }
}

impl Future for Ticket {
    type Output = Ended;

    /// # Panics
    /// If it is polled after it has given its result.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Ended> {
        assert!(!self.is_over, "a ticket was polled after its end");
        let mut desk = self.shared.desk.lock();
        let ended = loop {
            desk.sort_in();
            if let Some(ended) = desk.take(self.place) {
                break Some(ended);
            }
            desk.register(self.place, context.waker());
            if desk.arm(&self.shared.sleeper) {
                break None;
            }
        };
        self.shared.leave(desk);
        match ended {
            Some(ended) => {
                self.is_over = true;
                Poll::Ready(ended)
            }
            None => Poll::Pending,
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.is_over {
            self.shared.desk.lock().abandon(self.place);
        }
    }
}

impl Reply {
    fn new(answered: Answered<'_>) -> Self {
        let source = answered.bytes;
        let bytes = match u8::try_from(source.len()) {
            Ok(len) if source.len() <= INLINE_MAX => {
                let mut bytes = [0; INLINE_MAX];
                bytes[..source.len()].copy_from_slice(source);
                Bytes::Inline { len, bytes }
            }
            _ => Bytes::Heap(source.into()),
        };
        Self { id: answered.id, bytes }
    }

    /// Returns the entry of the write, or the last entry that the read has seen.
    #[must_use]
    pub fn id(&self) -> EntryId {
        self.id
    }

    /// Returns the answer; of arrays and maps, the head, whose members are read from its `rest`.
    #[must_use]
    pub fn answer(&self) -> Answer<'_> {
        Answered { id: self.id, bytes: self.bytes() }.answer()
    }

    /// Returns the answer as bytes; see [`crate::machine::answer`].
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Inline { len, bytes } => &bytes[..usize::from(*len)],
            Bytes::Heap(bytes) => bytes,
        }
    }
}

/// What a handle, its tickets and the leader share.
#[derive(Debug)]
pub(super) struct DeskShared {
    desk: Mutex<Desk>,
    /// Announces to the leader that somebody waits for it to come by.
    sleeper: Arc<Sleeper>,
    /// Something was sorted in while threads were blocked.
    ended: Condvar,
    policy: PollPolicy,
}

impl DeskShared {
    pub(super) fn new(pipeline: Pipeline, sleeper: Arc<Sleeper>, policy: PollPolicy) -> Self {
        let place_count = pipeline.in_flight_max();
        let desk = Desk {
            pipeline,
            places: (0..place_count).map(|_| Place::Free).collect(),
            free: (0..place_count).rev().map(|place| u32::try_from(place).expect("the builder's bound")).collect(),
            woken: Vec::with_capacity(place_count),
            waker_count: 0,
            blocked: 0,
            is_armed: false,
            has_news: false,
        };
        Self { desk: Mutex::new(desk), sleeper, ended: Condvar::new(), policy }
    }

    /// Leader only: sorts in what has come and wakes who waited for it, unless the desk is in use.
    pub(super) fn try_settle(&self) -> bool {
        let Some(desk) = self.desk.try_lock() else { return false };
        self.settle_locked(desk);
        true
    }

    /// As [`DeskShared::try_settle`], waiting for the desk.
    pub(super) fn settle(&self) {
        self.settle_locked(self.desk.lock());
    }

    fn settle_locked(&self, mut desk: MutexGuard<'_, Desk>) {
        desk.is_armed = false;
        loop {
            desk.sort_in();
            let has_waiters = desk.waker_count > 0 || desk.blocked > 0;
            if !has_waiters || desk.pipeline.is_stopped() || desk.arm(&self.sleeper) {
                break;
            }
        }
        self.leave(desk);
    }

    /// Unlocks the desk and wakes those whose completion was sorted in: they may want the lock at once.
    fn leave(&self, mut desk: MutexGuard<'_, Desk>) {
        if core::mem::take(&mut desk.has_news) && desk.blocked > 0 {
            self.ended.notify_all();
        }
        while let Some(waker) = desk.woken.pop() {
            MutexGuard::unlocked(&mut desk, || waker.wake());
        }
    }
}

/// See the module.
#[derive(Debug)]
struct Desk {
    pipeline: Pipeline,
    /// One for each tag.
    places: Box<[Place]>,
    free: Vec<u32>,
    /// Wakers of those whose completion was sorted in, to be woken when the lock is given up.
    woken: Vec<Waker>,
    waker_count: usize,
    /// Threads in [`Ticket::wait`].
    blocked: usize,
    is_armed: bool,
    has_news: bool,
}

#[derive(Debug)]
enum Place {
    Free,
    Waiting(Option<Waker>),
    Ended(Ended),
    /// The ticket is gone; its completion frees the place.
    Abandoned,
}

impl Desk {
    /// Puts the completions that have come where they belong.
    fn sort_in(&mut self) {
        let Self { pipeline, places, free, woken, waker_count, .. } = self;
        let count = pipeline.poll(usize::MAX, |completion| {
            let place = &mut places[completion.tag as usize];
            let ended = completion.result.map(Reply::new);
            match core::mem::replace(place, Place::Ended(ended)) {
                Place::Waiting(waker) => {
                    *waker_count -= usize::from(waker.is_some());
                    woken.extend(waker);
                }
                Place::Abandoned => {
                    *place = Place::Free;
                    free.push(completion.tag);
                }
                before @ (Place::Free | Place::Ended(_)) => panic!("I8: a second end for {before:?}"),
            }
        });
        self.has_news |= count > 0;
    }

    /// Takes what is in a place, if the request has ended.
    fn take(&mut self, place: u32) -> Option<Ended> {
        let found = &mut self.places[place as usize];
        if !matches!(found, Place::Ended(_)) {
            return None;
        }
        let Place::Ended(ended) = core::mem::replace(found, Place::Free) else { return None };
        self.free.push(place);
        Some(ended)
    }

    fn register(&mut self, place: u32, waker: &Waker) {
        let Place::Waiting(known) = &mut self.places[place as usize] else { return };
        match known {
            Some(known) => known.clone_from(waker),
            None => {
                *known = Some(waker.clone());
                self.waker_count += 1;
            }
        }
    }

    fn abandon(&mut self, place: u32) {
        match core::mem::replace(&mut self.places[place as usize], Place::Abandoned) {
            Place::Waiting(waker) => self.waker_count -= usize::from(waker.is_some()),
            Place::Ended(_) => {
                self.places[place as usize] = Place::Free;
                self.free.push(place);
            }
            before @ (Place::Free | Place::Abandoned) => panic!("I8: a ticket without a place: {before:?}"),
        }
    }

    /// Sees to it that the leader comes by after the next completion; `false` if one is there already.
    fn arm(&mut self, sleeper: &Sleeper) -> bool {
        if self.is_armed {
            return true;
        }
        sleeper.announce();
        if self.pipeline.is_ready() {
            sleeper.retract();
            return false;
        }
        self.is_armed = true;
        true
    }
}
