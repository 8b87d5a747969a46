//! The replies that a RESP connection owes, in the order of its requests.
//!
//! Requests of one connection go to different groups and nodes and come back in any order; replies leave in the order of
//! the requests. Each request has a place. A reply whose place is the first is written straight to the connection; any
//! other is kept until those before it have left.
//!
//! # Bounds
//! The connection stops reading requests when it owes too many replies.

use std::collections::VecDeque;

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
    /// Bytes of the replies that are ready.
    held_bytes: usize,
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
        /// The first error among them.
        error: Option<String>,
    },
}

impl Parts {
    /// Returns the parts of a request with `count` of them, none of which has been answered.
    pub(super) fn of(count: usize) -> Self {
        if count == 1 {
            return Self::One;
        }
        Self::Many { missing: count, answers: vec![Vec::new(); count], error: None }
    }
}

/// Most buffers kept for reuse by one connection, and the largest one worth keeping.
const SPARE_MAX: usize = 32;
const SPARE_BYTES_MAX: usize = 4096;

impl Replies {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Returns how many bytes wait for earlier replies.
    pub(super) fn held_bytes(&self) -> usize {
        self.held_bytes
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
        self.held_bytes += reply.len();
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

    /// Whether `place` is the first.
    pub(super) fn is_first(&self, place: u64) -> bool {
        place == self.first
    }

    /// Removes the first reply, which has just been written.
    pub(super) fn pop_first(&mut self) {
        if let Some(reply) = self.queue.pop_front() {
            self.first += 1;
            if let Reply::Waiting(waiting) = reply {
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
            self.held_bytes += len;
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
                self.held_bytes -= bytes.len();
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
    use super::*;

    fn waiting(effect: Effect) -> Waiting {
        Waiting {
            finish: Finish::Render(crate::resp::render::Shape::Reply),
            effect,
            is_wanted: true,
            pattern: Box::default(),
            parts: Parts::One,
        }
    }

    #[test]
    fn replies_leave_in_the_order_of_their_requests() {
        let mut replies = Replies::default();
        let (one, two) = (replies.add(waiting(Effect::Write)), replies.add(waiting(Effect::None)));
        replies.add_ready(b"three".to_vec());
        assert!(replies.is_first(one) && !replies.is_first(two));
        replies.set_ready(two, b"two".to_vec());
        assert_eq!(replies.held_bytes(), 8);
        assert!(!replies.has_reads() && replies.has_writes());
        assert_eq!(replies.take_ready(), None);
        replies.pop_first();
        assert_eq!(replies.take_ready(), Some(b"two".to_vec()));
        assert_eq!(replies.take_ready(), Some(b"three".to_vec()));
        assert!(replies.is_empty() && !replies.has_writes());
        assert_eq!(replies.held_bytes(), 0);
        assert!(replies.waiting(one).is_none());
    }
}
