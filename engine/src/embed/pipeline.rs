//! A client's two rings, as the client sees them: for hosts that submit many requests and take completions in bulk.

use std::sync::Arc;
use std::time::Instant;

use thiserror::Error;

use super::codec::Words;
use super::idle::Bed;
use super::link::{Inlet, Outlet};
use super::port::{BATCH_BYTES, RequestHead, Side, push_request, read_completion};
use crate::ids::EntryId;
use crate::machine::answer::Answer;
use crate::machine::command::{Command, CommandError};
use crate::output::Refusal;
use crate::slots::{SlotMap, slot_of};

/// A window of requests from one thread: submit many, poll their completions in bulk, nothing allocated for each.
///
/// Requests of one pipeline to one group are executed in the order in which they were submitted; a read sees the writes
/// before it. Completions come in any order; the tag says which request they belong to.
///
/// ```
/// # use quorate_engine::embed::Cluster;
/// # use quorate_engine::machine::command::{Command, Op};
/// # use std::time::{Duration, Instant};
/// let cluster = Cluster::builder().build()?;
/// let mut pipeline = cluster.pipeline();
/// for tag in 0..100 {
///     let key = format!("sensor:{}", tag % 10);
///     pipeline.submit(tag, Command { value: b"21.5", ..Command::new(Op::Set, key.as_bytes()) })?;
/// }
/// let mut done = 0;
/// while done < 100 {
///     pipeline.wait(Instant::now() + Duration::from_secs(5));
///     done += pipeline.poll(64, |completion| assert!(completion.result.is_ok()));
/// }
/// cluster.stop();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Bounds
/// [`Builder::in_flight_max`](super::Builder::in_flight_max) requests, and the bytes of a ring; then [`SubmitError::Busy`]
/// comes back at once.
#[derive(Debug)]
pub struct Pipeline {
    requests: Outlet,
    replies: Inlet,
    side: Arc<Side>,
    leader: Arc<Bed>,
    bed: Arc<Bed>,
    map: SlotMap,
    /// Tags of the last requests, by their number: those that the leader never took are the last ones submitted.
    tags: Box<[u32]>,
    submitted: u64,
    completed: u64,
    /// Requests that are not in the ring yet.
    batch: Vec<u8>,
    /// Bytes of the oldest record of completions that were handed out.
    read_bytes: usize,
    /// That record, once the leader is gone and nothing is in the ring.
    late: Vec<u8>,
}

/// What a [`Pipeline`] is made of.
pub(super) struct Parts {
    pub(super) requests: Outlet,
    pub(super) replies: Inlet,
    pub(super) side: Arc<Side>,
    pub(super) leader: Arc<Bed>,
    pub(super) bed: Arc<Bed>,
    pub(super) map: SlotMap,
    pub(super) in_flight_max: usize,
}

/// How one request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion<'a> {
    /// What was given to [`Pipeline::submit`].
    pub tag: u32,
    /// The answer, or why there is none.
    pub result: Result<Answered<'a>, RequestError>,
}

/// The answer to a request that was executed: a write is held by two replicas, a read saw every write that was
/// acknowledged before it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered<'a> {
    /// The entry of the write, or the last entry that the read has seen.
    pub id: EntryId,
    /// The answer as bytes; see [`crate::machine::answer`].
    pub bytes: &'a [u8],
}

impl<'a> Answered<'a> {
    /// Returns the answer; of arrays and maps, the head, whose members are read from its `rest`.
    ///
    /// # Panics
    /// Never: the state machine writes whole answers.
    #[must_use]
    pub fn answer(&self) -> Answer<'a> {
        Answer::read(self.bytes).expect("the state machine writes whole answers").0
    }
}

/// Why a request was not taken. The command was borrowed, so it is still the caller's, to be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// The ring is full, or as many requests are under way as may be: take completions, then try again.
    #[error("busy: the ring or the window of requests is full")]
    Busy,
    /// The command is not one that can be executed.
    #[error(transparent)]
    Malformed(CommandError),
    /// The cluster has stopped.
    #[error("the cluster has stopped")]
    Stopped,
}

/// Why a request that was taken was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RequestError {
    /// It did not happen and never will.
    #[error(transparent)]
    Refused(Refusal),
    /// It may or may not have happened, or happen later.
    #[error("outcome of entry {id} is not known")]
    Unknown {
        /// The entry of the write.
        id: EntryId,
    },
    /// The cluster stopped before it took the request: it did not happen.
    #[error("the cluster stopped before it took the request")]
    Stopped,
}

impl Pipeline {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { requests, replies, side, leader, bed, map, in_flight_max } = parts;
        let tags = vec![0; in_flight_max].into_boxed_slice();
        let batch = Vec::with_capacity(BATCH_BYTES);
        Self {
            requests,
            replies,
            side,
            leader,
            bed,
            map,
            tags,
            submitted: 0,
            completed: 0,
            batch,
            read_bytes: 0,
            late: Vec::new(),
        }
    }

    /// Submits a command; its completion carries `tag`, which need not be unique.
    ///
    /// The leader may not see it before the next [`Pipeline::flush`], which [`Pipeline::poll`] and [`Pipeline::wait`]
    /// include: until then commands are collected, because one record for many costs less than one for each.
    ///
    /// Cost: copies the command twice, no allocation unless it is longer than a batch (16 KiB).
    ///
    /// # Errors
    /// `Busy`: take completions, then try again. `Malformed`: such a command can never be executed. `Stopped`: nobody
    /// is there. In all cases nothing was submitted.
    #[inline]
    pub fn submit(&mut self, tag: u32, command: Command<'_>) -> Result<(), SubmitError> {
        let head = self.check(tag, &command)?;
        if self.batch.len() + head.len > BATCH_BYTES {
            if !self.push_batch() {
                return Err(SubmitError::Busy);
            }
            if head.len > BATCH_BYTES {
                return self.push_alone(&head, tag, &command);
            }
        }
        push_request(&mut self.batch, &head, &command);
        self.note(tag);
        Ok(())
    }

    /// As [`Pipeline::submit`], into the ring at once.
    #[inline]
    pub(super) fn submit_at_once(&mut self, tag: u32, command: Command<'_>) -> Result<(), SubmitError> {
        let head = self.check(tag, &command)?;
        if !self.push_batch() {
            return Err(SubmitError::Busy);
        }
        self.push_alone(&head, tag, &command)
    }

    /// Makes sure that the leader looks at what was submitted. If the ring is full, the next call goes on.
    #[inline]
    pub fn flush(&mut self) {
        if !self.batch.is_empty() {
            self.push_batch();
        }
    }

    /// Hands up to `max` completions to `handle` and returns how many. Does not wait.
    ///
    /// Cost: one load if there are none; no allocation.
    #[inline]
    pub fn poll(&mut self, max: usize, mut handle: impl FnMut(Completion<'_>)) -> usize {
        self.flush();
        let count = self.poll_ring(max, &mut handle);
        if count == 0 && self.in_flight() > 0 && self.requests.is_abandoned() {
            return self.poll_closed(max, handle);
        }
        count
    }

    /// Waits until there is a completion, or nothing is under way, or `deadline` has come. Returns whether
    /// [`Pipeline::poll`] has something to hand out.
    pub fn wait(&mut self, deadline: Instant) -> bool {
        self.flush();
        let mut empty_turns = 0;
        while !self.is_ready() && self.in_flight() > 0 {
            empty_turns += 1;
            let Some(left) = time_left(deadline) else { return self.is_ready() };
            self.bed.rest(empty_turns, || Some(left), || self.is_ready());
        }
        self.in_flight() > 0
    }

    /// Returns how many requests were submitted and not yet handed out as completions.
    #[must_use]
    #[inline]
    pub fn in_flight(&self) -> usize {
        usize::try_from(self.submitted - self.completed).expect("at most the length of `tags`")
    }

    /// Returns how many requests can be under way at one time.
    #[must_use]
    pub fn in_flight_max(&self) -> usize {
        self.tags.len()
    }

    /// Whether the cluster has stopped. Completions of before can still be polled.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.requests.is_abandoned()
    }

    /// Whether there is something to poll.
    pub(super) fn is_ready(&self) -> bool {
        !self.replies.is_empty() || self.requests.is_abandoned()
    }

    /// Checks what can be checked here, and encodes the head.
    #[inline]
    fn check(&self, tag: u32, command: &Command<'_>) -> Result<RequestHead, SubmitError> {
        if self.in_flight() == self.tags.len() {
            return Err(SubmitError::Busy);
        }
        command.validate().map_err(SubmitError::Malformed)?;
        if self.requests.is_abandoned() {
            return Err(SubmitError::Stopped);
        }
        let slot = slot_of(command.routing_key());
        Ok(RequestHead::new(tag, self.map.group_of(slot), slot, command))
    }

    /// Puts the batch into the ring; returns whether it is empty now.
    fn push_batch(&mut self) -> bool {
        if self.batch.is_empty() {
            return true;
        }
        let is_pushed = self.requests.push(&[&self.batch]).is_ok();
        if is_pushed {
            self.batch.clear();
            self.leader.wake();
        }
        is_pushed
    }

    /// Puts one request into the ring; the batch must be empty.
    fn push_alone(&mut self, head: &RequestHead, tag: u32, command: &Command<'_>) -> Result<(), SubmitError> {
        let padding = &[0; 8][..head.len - head.bytes.len() - command.key.len() - command.value.len()];
        let parts = [&head.bytes, command.key, command.value, padding];
        self.requests.push(&parts).map_err(|_| SubmitError::Busy)?;
        self.leader.wake();
        self.note(tag);
        Ok(())
    }

    /// Notes that a request was submitted.
    #[inline]
    fn note(&mut self, tag: u32) {
        let place = self.place(self.submitted);
        self.tags[place] = tag;
        self.submitted += 1;
    }

    #[inline]
    fn poll_ring(&mut self, max: usize, handle: &mut impl FnMut(Completion<'_>)) -> usize {
        let Self { replies, side, read_bytes, .. } = self;
        let mut count = 0;
        while count < max {
            let Some(record) = replies.peek() else { break };
            let mut words = Words { rest: &record[*read_bytes..] };
            while count < max && !words.rest.is_empty() {
                handle(read(&mut words, side));
                count += 1;
            }
            if words.rest.is_empty() {
                *read_bytes = 0;
                replies.advance();
            } else {
                *read_bytes = record.len() - words.rest.len();
            }
        }
        self.completed += count as u64;
        count
    }

    /// As `poll`, from a leader that is gone: what it left, then what it never took.
    #[cold]
    fn poll_closed(&mut self, max: usize, mut handle: impl FnMut(Completion<'_>)) -> usize {
        let mut count = self.poll_ring(max, &mut handle);
        while count < max && self.in_flight() > 0 {
            if self.late.len() == self.read_bytes {
                (self.late, self.read_bytes) = (self.side.take_late().unwrap_or_default(), 0);
            }
            let completion = if self.late.is_empty() {
                // All that was taken is completed: what is left was submitted last.
                Completion { tag: self.tags[self.place(self.completed)], result: Err(RequestError::Stopped) }
            } else {
                let mut words = Words { rest: &self.late[self.read_bytes..] };
                let completion = read(&mut words, &self.side);
                self.read_bytes = self.late.len() - words.rest.len();
                completion
            };
            handle(completion);
            self.completed += 1;
            count += 1;
        }
        count
    }

    #[inline]
    fn place(&self, number: u64) -> usize {
        usize::try_from(number % self.tags.len() as u64).expect("below the length of `tags`")
    }
}

#[inline]
fn read<'a>(words: &mut Words<'a>, side: &Side) -> Completion<'a> {
    read_completion(words, side).expect("completions are written by the leader's port")
}

/// Returns how long it is until `deadline`; `None` if that has come.
#[expect(clippy::disallowed_methods, reason = "the host's deadline is on the host's clock; nothing is decided by it")]
pub(super) fn time_left(deadline: Instant) -> Option<core::time::Duration> {
    deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
}
