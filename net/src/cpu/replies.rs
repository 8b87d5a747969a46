//! The replies that a RESP connection owes, in the order of its requests.
//!
//! Requests of one connection go to different groups and nodes and come back in any order; replies leave in the order of
//! the requests. Each request has a place. A reply whose place is the first is written straight to the connection; any
//! other is kept until those before it have left.
//!
//! # Bounds
//! How many replies a connection may owe decides who reads its requests (`resp`). A reply that is put together from many
//! answers has a limit: when they come to more they are dropped, and the reply is an error. What all connections of the
//! CPU hold back is added up, so that the whole has a limit as well (`front`).

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;

use super::ending::Ending;
use super::meta::Meta;
use super::requests::Effect;
use super::server::Finish;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Replies {
    /// The place of the front.
    first: u64,
    queue: VecDeque<Reply>,
    waiting_reads: usize,
    waiting_writes: usize,
    /// Bytes of the replies that are ready, and of the answers that wait for others.
    held: Held,
    spare: Vec<Vec<u8>>,
}

/// One reply.
#[derive(Debug)]
pub(super) enum Reply {
    /// It can leave as soon as it is the first.
    Ready(Vec<u8>),
    /// Its request is under way.
    Waiting(Waiting),
}

/// A request under way.
#[derive(Debug)]
pub(super) struct Waiting {
    /// How the answers become the reply.
    pub(super) finish: Finish,
    pub(super) effect: Effect,
    /// Whether the client wants the reply.
    pub(super) is_wanted: bool,
    /// For scans: which names are wanted. Empty for all.
    pub(super) pattern: Box<[u8]>,
    pub(super) parts: Parts,
    /// Where in a log it stands, if the client wants to know.
    pub(super) meta: Meta,
}

/// How many answers a reply is made of.
#[derive(Debug)]
pub(super) enum Parts {
    /// One.
    One,
    /// Several: those that have come, in their order.
    Many {
        /// How many are still to come.
        missing: usize,
        /// The answers.
        answers: Vec<Vec<u8>>,
        /// How many bytes they have.
        bytes: usize,
        /// The first error among them; then the answers are dropped.
        error: Option<String>,
    },
}

/// Bytes that one connection holds back, counted in what all connections of the CPU do.
#[derive(Debug, Default)]
struct Held {
    bytes: usize,
    all: Rc<Cell<usize>>,
}

impl Held {
    fn add(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.all.set(self.all.get() + bytes);
    }

    fn remove(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.all.set(self.all.get() - bytes);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.remove(self.bytes);
    }
}

impl Parts {
    /// Returns the parts of a request with `count` of them, none of which has been answered.
    pub(super) fn of(count: usize) -> Self {
        if count == 1 {
            return Self::One;
        }
        Self::Many { missing: count, answers: vec![Vec::new(); count], bytes: 0, error: None }
    }

    /// Returns how many bytes of answers wait for others.
    fn bytes(&self) -> usize {
        match self {
            Self::One => 0,
            Self::Many { bytes, .. } => *bytes,
        }
    }
}

/// Most buffers kept for reuse by one connection, and the largest one worth keeping.
const SPARE_MAX: usize = 32;
const SPARE_BYTES_MAX: usize = 4096;

impl Replies {
    /// Creates the replies of a new connection; `all` counts what all connections hold back.
    pub(super) fn new(all: Rc<Cell<usize>>) -> Self {
        Self { held: Held { bytes: 0, all }, ..Self::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Returns how many bytes wait for earlier replies, or for other answers, except those of the request at `place`.
    pub(super) fn held_beside(&mut self, place: u64) -> usize {
        let own = self.waiting(place).map_or(0, |waiting| waiting.parts.bytes());
        self.held.bytes - own
    }

    /// Whether a read is under way.
    pub(super) fn has_reads(&self) -> bool {
        self.waiting_reads > 0
    }

    /// Whether a write is under way.
    pub(super) fn has_writes(&self) -> bool {
        self.waiting_writes > 0
    }

    /// Adds a request under way; returns its place.
    pub(super) fn add(&mut self, waiting: Waiting) -> u64 {
        *self.counter(waiting.effect) += 1;
        self.queue.push_back(Reply::Waiting(waiting));
        self.first + self.queue.len() as u64 - 1
    }

    /// Returns a buffer for a reply that has to wait for others.
    pub(super) fn buffer(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_default()
    }

    /// Adds a reply that only waits for those before it.
    pub(super) fn add_ready(&mut self, reply: Vec<u8>) {
        self.held.add(reply.len());
        self.queue.push_back(Reply::Ready(reply));
    }

    /// Returns the request at `place`, if it is under way.
    pub(super) fn waiting(&mut self, place: u64) -> Option<&mut Waiting> {
        let position = usize::try_from(place.checked_sub(self.first)?).ok()?;
        match self.queue.get_mut(position)? {
            Reply::Waiting(waiting) => Some(waiting),
            Reply::Ready(_) => None,
        }
    }

    /// Takes the answer to part `part` of the request at `place`. Returns whether that was the last one; `None` if there is
    /// no such request. Of answers that come to more than `bytes_max` none is kept.
    pub(super) fn record(&mut self, place: u64, part: u32, ending: &Ending<'_>, bytes_max: usize) -> Option<bool> {
        let position = usize::try_from(place.checked_sub(self.first)?).ok()?;
        let Some(Reply::Waiting(waiting)) = self.queue.get_mut(position) else { return None };
        let Parts::Many { missing, answers, bytes, error } = &mut waiting.parts else { return Some(true) };
        *missing -= 1;
        match ending {
            Ending::Accepted { .. } => {}
            Ending::Done { .. } if error.is_some() => {}
            Ending::Done { answer, .. } if *bytes + answer.len() > bytes_max => {
                *error = Some(format!(
                    "ERR the reply is longer than {bytes_max} bytes (limits.output_max): ask for fewer keys at a time, or walk \
                     them with SCAN"
                ));
            }
            Ending::Done { answer, .. } => {
                answers[part as usize].extend_from_slice(answer);
                *bytes += answer.len();
                self.held.add(answer.len());
            }
            Ending::Failed(failed) => {
                error.get_or_insert_with(|| failed.text.clone());
            }
        }
        if error.is_some() && *bytes > 0 {
            self.held.remove(core::mem::take(bytes));
            answers.iter_mut().for_each(|answer| *answer = Vec::new());
        }
        Some(*missing == 0)
    }

    /// Whether `place` is the first.
    pub(super) fn is_first(&self, place: u64) -> bool {
        place == self.first
    }

    /// Removes the first reply, which has just been written.
    pub(super) fn pop_first(&mut self) {
        if let Some(reply) = self.queue.pop_front() {
            self.first += 1;
            if let Reply::Waiting(waiting) = reply {
                self.held.remove(waiting.parts.bytes());
                *self.counter(waiting.effect) -= 1;
            }
        }
    }

    /// Keeps a reply at a place that is not the first.
    pub(super) fn set_ready(&mut self, place: u64, bytes: Vec<u8>) {
        let Some(position) = place.checked_sub(self.first).and_then(|position| usize::try_from(position).ok()) else {
            return;
        };
        let len = bytes.len();
        if let Some(reply) = self.queue.get_mut(position)
            && let Reply::Waiting(waiting) = core::mem::replace(reply, Reply::Ready(bytes))
        {
            self.held.add(len);
            self.held.remove(waiting.parts.bytes());
            *self.counter(waiting.effect) -= 1;
        }
    }

    /// Takes the first reply if it is ready.
    pub(super) fn take_ready(&mut self) -> Option<Vec<u8>> {
        if !matches!(self.queue.front(), Some(Reply::Ready(_))) {
            return None;
        }
        self.first += 1;
        match self.queue.pop_front() {
            Some(Reply::Ready(bytes)) => {
                self.held.remove(bytes.len());
                Some(bytes)
            }
            Some(Reply::Waiting(_)) | None => None,
        }
    }

    /// Gives back the buffer of a reply that has left.
    pub(super) fn recycle(&mut self, mut buffer: Vec<u8>) {
        if self.spare.len() < SPARE_MAX && buffer.capacity() <= SPARE_BYTES_MAX {
            buffer.clear();
            self.spare.push(buffer);
        }
    }

    fn counter(&mut self, effect: Effect) -> &mut usize {
        match effect {
            Effect::None => &mut self.waiting_reads,
            Effect::Write => &mut self.waiting_writes,
        }
    }
}

#[cfg(test)]
mod tests {
    use quorate_engine::ids::LogIndex;

    use super::*;
    use crate::wire::About;

    fn waiting(effect: Effect) -> Waiting {
        Waiting {
            finish: Finish::Render(crate::resp::render::Shape::Reply),
            effect,
            is_wanted: true,
            pattern: Box::default(),
            parts: Parts::One,
            meta: Meta::Unwanted,
        }
    }

    #[test]
    fn replies_leave_in_the_order_of_their_requests() {
        let mut replies = Replies::default();
        let (one, two) = (replies.add(waiting(Effect::Write)), replies.add(waiting(Effect::None)));
        replies.add_ready(b"three".to_vec());
        assert!(replies.is_first(one) && !replies.is_first(two));
        replies.set_ready(two, b"two".to_vec());
        assert_eq!(replies.held.bytes, 8);
        assert!(!replies.has_reads() && replies.has_writes());
        assert_eq!(replies.take_ready(), None);
        replies.pop_first();
        assert_eq!(replies.take_ready(), Some(b"two".to_vec()));
        assert_eq!(replies.take_ready(), Some(b"three".to_vec()));
        assert!(replies.is_empty() && !replies.has_writes());
        assert_eq!(replies.held.bytes, 0);
        assert!(replies.waiting(one).is_none());
    }

    #[test]
    fn answers_that_come_to_more_than_there_is_room_for_are_dropped() {
        let all = Rc::new(Cell::new(0));
        let (mut replies, mut others) = (Replies::new(Rc::clone(&all)), Replies::new(Rc::clone(&all)));
        others.add_ready(b"12345".to_vec());
        let many = |count| Waiting { parts: Parts::of(count), ..waiting(Effect::None) };
        let (short, long) = (replies.add(many(2)), replies.add(many(4)));
        let done = |answer| Ending::Done { about: About::NOTHING, loss_gen: 0, index: LogIndex(1), answer };
        assert_eq!(replies.record(short, 1, &done(b"123"), 8), Some(false));
        assert_eq!(replies.record(long, 0, &done(b"12345"), 8), Some(false));
        assert_eq!((replies.held_beside(short), replies.held_beside(long), all.get()), (5, 3, 13));
        // Together they come to more than 8 bytes, whatever comes then.
        assert_eq!(replies.record(long, 1, &done(b"1234"), 8), Some(false));
        assert_eq!((replies.held_beside(short), all.get()), (0, 8));
        assert_eq!(replies.record(long, 3, &done(b"1"), 8), Some(false));
        assert_eq!(replies.record(long, 2, &done(b""), 8), Some(true));
        let Some(Waiting { parts: Parts::Many { error, .. }, .. }) = replies.waiting(long) else { panic!("it waits") };
        let text = "ERR the reply is longer than 8 bytes (limits.output_max): ask for fewer keys at a time";
        assert!(error.as_ref().is_some_and(|error| error.starts_with(text)), "{error:?}");
        assert_eq!(replies.record(short, 0, &done(b"12345"), 8), Some(true));
        replies.pop_first();
        assert_eq!(all.get(), 5);
        drop(others);
        assert_eq!(all.get(), 0);
        assert_eq!(replies.record(short, 0, &done(b"late"), 8), None);
    }
}
