//! A client's two rings, as the leader sees them: requests come in, completions go out, many to a record.
//!
//! ```text
//!  request:     tag | group << 32,   slot | is_write << 16 | length << 32,   command, padded to a word
//!  completion:  tag | kind << 32 | length << 34,   epoch and index of the entry,   answer, padded to a word
//! ```
//!
//! # Bounds
//! A client has at most as many requests under way as its ring of completions takes small answers. Large answers can
//! still fill that ring: then completions wait here, and the port is not served until the client has taken them.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::codec::{Words, bytes_of, halves};
use super::handle::DeskShared;
use super::idle::Bed;
use super::link::{Inlet, Outlet};
use super::pipeline::{Answered, Completion, RequestError};
use crate::ids::{EntryId, GroupId, LogIndex, Slot};
use crate::machine::command::{Command, HEAD_BYTES};
use crate::output::{Outcome, Refusal};
use crate::sync::sleeper::Sleeper;

/// Bytes of requests or completions that are put into one record; one that is longer has a record of its own.
pub(super) const BATCH_BYTES: usize = 16 << 10;

const DONE: u32 = 0;
const REFUSED: u32 = 1;
const UNKNOWN: u32 = 2;
const KIND_BITS: u32 = 2;

/// What does not go through the rings of a port, because it is rare.
#[derive(Debug, Default)]
pub(super) struct Side {
    /// Why requests were refused; one for each completion that says so, in their order.
    refusals: Mutex<VecDeque<Refusal>>,
    /// Records of completions that did not fit into the ring when the leader stopped.
    late: Mutex<VecDeque<Vec<u8>>>,
}

/// Whom to wake when there are completions.
#[derive(Debug)]
pub(super) enum Client {
    /// The thread that owns a pipeline.
    Thread(Arc<Bed>),
    /// Whoever waits for tickets of a handle.
    Desk {
        /// Announces that somebody does.
        sleeper: Arc<Sleeper>,
        /// Where they are.
        desk: Weak<DeskShared>,
    },
}

/// See the module.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) requests: Inlet,
    pub(super) taken: Taken,
    replies: Outlet,
    side: Arc<Side>,
    client: Client,
    /// Completions of this turn.
    batch: Vec<u8>,
    /// Records that wait for room in the ring, oldest first.
    backlog: VecDeque<Vec<u8>>,
    has_news: bool,
    /// A waiter was to be woken and could not be: its desk was locked.
    owes_wake: bool,
}

/// Requests of a client that were taken and not completed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Taken {
    pub(super) all: u32,
    pub(super) writes: u32,
}

impl Taken {
    /// Returns which entry a request must see: behind a write of the same client, a read waits for all that is in the log.
    #[inline]
    pub(super) fn read_after(self, is_write: bool) -> LogIndex {
        if !is_write && self.writes > 0 { LogIndex(u64::MAX) } else { LogIndex(0) }
    }

    #[inline]
    pub(super) fn add(&mut self, is_write: bool) {
        self.all += 1;
        self.writes += u32::from(is_write);
    }

    #[inline]
    pub(super) fn remove(&mut self, is_write: bool) {
        self.all -= 1;
        self.writes -= u32::from(is_write);
    }
}

impl Port {
    pub(super) fn new(requests: Inlet, replies: Outlet, side: Arc<Side>, client: Client) -> Self {
        Self {
            requests,
            taken: Taken::default(),
            replies,
            side,
            client,
            batch: Vec::with_capacity(BATCH_BYTES),
            backlog: VecDeque::new(),
            has_news: false,
            owes_wake: false,
        }
    }

    /// Whether there is a request, and room to complete it.
    #[inline]
    pub(super) fn has_request(&self) -> bool {
        !self.requests.is_empty() && self.is_served()
    }

    /// Whether requests are taken.
    #[inline]
    pub(super) fn is_served(&self) -> bool {
        self.backlog.is_empty()
    }

    /// Whether something is to be done that is no request.
    #[inline]
    pub(super) fn is_owing(&self) -> bool {
        self.owes_wake || !self.backlog.is_empty()
    }

    /// Whether the client is gone and everything it asked for is done.
    pub(super) fn is_over(&self) -> bool {
        self.taken.all == 0 && self.requests.is_abandoned() && self.requests.is_empty()
    }

    /// Notes how a request ended. The client is told at the end of the turn.
    #[inline]
    pub(super) fn complete(&mut self, tag: u32, is_write: bool, outcome: &Outcome<'_>) {
        self.taken.remove(is_write);
        let (kind, id, answer) = match outcome {
            Outcome::Done { id, answer } => (DONE, *id, *answer),
            Outcome::Accepted { id } => (DONE, *id, &[][..]),
            Outcome::Unknown { id } => (UNKNOWN, *id, &[][..]),
            Outcome::Refused(refusal) => {
                self.side.refusals.lock().push_back(*refusal);
                (REFUSED, EntryId::START, &[][..])
            }
        };
        let head = u64::from(tag) | u64::from(kind) << 32 | (answer.len() as u64) << (32 + KIND_BITS);
        if self.batch.len() + 24 + answer.len() > BATCH_BYTES {
            self.send_batch();
        }
        self.batch.extend_from_slice(&bytes_of::<3, 24>([head, id.epoch.0, id.index.0]));
        push_padded(&mut self.batch, answer);
    }

    /// Sends the completions of this turn, and what found the ring full before.
    #[inline]
    pub(super) fn end_turn(&mut self) {
        if !self.backlog.is_empty() {
            self.flush_backlog();
        }
        if !self.batch.is_empty() {
            self.send_batch();
        }
        self.wake();
    }

    fn send_batch(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        if self.backlog.is_empty() && self.replies.push(&[&self.batch]).is_ok() {
            self.has_news = true;
        } else {
            self.backlog.push_back(self.batch.clone());
        }
        self.batch.clear();
        self.batch.shrink_to(BATCH_BYTES);
    }

    fn flush_backlog(&mut self) {
        while let Some(record) = self.backlog.front() {
            if self.replies.push(&[record]).is_err() {
                break;
            }
            self.backlog.pop_front();
            self.has_news = true;
        }
    }

    /// Wakes the client if there is something new and it sleeps.
    #[inline]
    fn wake(&mut self) {
        if !core::mem::take(&mut self.has_news) && !self.owes_wake {
            return;
        }
        match &self.client {
            Client::Thread(bed) => bed.wake(),
            Client::Desk { sleeper, desk } => {
                if self.owes_wake || sleeper.must_wake() {
                    // Without a desk there is nobody to wake. A locked desk is tried again in the next turn: the leader
                    // waits for no client.
                    self.owes_wake = !desk.upgrade().is_none_or(|desk| desk.try_settle());
                }
            }
        }
    }

    /// Ends the port: what the client does not find in the ring or beside it was never taken.
    pub(super) fn close(mut self) {
        self.flush_backlog();
        self.send_batch();
        *self.side.late.lock() = core::mem::take(&mut self.backlog);
        let Self { requests, replies, client, .. } = self;
        // The client takes the loss of its requests' ring for the end; by then everything else must be visible.
        drop(replies);
        drop(requests);
        match client {
            Client::Thread(bed) => bed.wake(),
            Client::Desk { desk, .. } => {
                if let Some(desk) = desk.upgrade() {
                    desk.settle();
                }
            }
        }
    }
}

/// A request as it comes out of a record.
pub(super) struct Incoming<'a> {
    pub(super) tag: u32,
    pub(super) group: GroupId,
    pub(super) slot: Slot,
    pub(super) is_write: bool,
    pub(super) command: &'a [u8],
}

/// A request's head and that of its command, as they stand in a record; key and value follow.
pub(super) struct RequestHead {
    pub(super) bytes: [u8; 16 + HEAD_BYTES],
    /// Bytes of the whole request.
    pub(super) len: usize,
}

impl RequestHead {
    #[inline]
    pub(super) fn new(tag: u32, group: GroupId, slot: Slot, command: &Command<'_>) -> Self {
        let len = command.encoded_len();
        let place = u64::from(slot.0) | u64::from(command.op.is_write()) << 16 | (len as u64) << 32;
        let mut bytes = [0; 16 + HEAD_BYTES];
        let (head, command_head) = bytes.split_at_mut(16);
        head.copy_from_slice(&bytes_of::<2, 16>([u64::from(tag) | u64::from(group.0) << 32, place]));
        command_head.copy_from_slice(&command.head());
        Self { bytes, len: 16 + len.next_multiple_of(8) }
    }
}

/// Appends a request to a batch.
#[inline]
pub(super) fn push_request(batch: &mut Vec<u8>, head: &RequestHead, command: &Command<'_>) {
    let end = batch.len() + head.len;
    batch.reserve(head.len);
    batch.extend_from_slice(&head.bytes);
    batch.extend_from_slice(command.key);
    batch.extend_from_slice(command.value);
    batch.resize(end, 0);
}

/// Hands each request of a record to `handle`.
///
/// # Panics
/// If it is not what [`push_request`] wrote.
#[inline]
pub(super) fn read_requests(record: &[u8], mut handle: impl FnMut(Incoming<'_>)) {
    let mut words = Words { rest: record };
    while !words.rest.is_empty() {
        let incoming = read_request(&mut words).expect("pipelines write whole requests");
        handle(incoming);
    }
}

#[inline]
fn read_request<'a>(words: &mut Words<'a>) -> Option<Incoming<'a>> {
    let (tag, group) = halves(words.next()?);
    let (place, len) = halves(words.next()?);
    let slot = Slot(u16::try_from(place & 0xFFFF).ok()?);
    let command = words.padded(len as usize)?;
    Some(Incoming { tag, group: GroupId(group), slot, is_write: place >> 16 != 0, command })
}

/// Reads the completion at the front of a record and takes it off; `None` if that is none.
#[inline]
pub(super) fn read_completion<'a>(words: &mut Words<'a>, side: &Side) -> Option<Completion<'a>> {
    let (tag, kind_and_len) = halves(words.next()?);
    let id = words.entry_id()?;
    let bytes = words.padded((kind_and_len >> KIND_BITS) as usize)?;
    let result = match kind_and_len & ((1 << KIND_BITS) - 1) {
        DONE => Ok(Answered { id, bytes }),
        UNKNOWN => Err(RequestError::Unknown { id }),
        REFUSED => Err(RequestError::Refused(side.refusals.lock().pop_front()?)),
        _ => return None,
    };
    Some(Completion { tag, result })
}

impl Side {
    /// Takes the oldest record that did not fit into the ring when the leader stopped.
    pub(super) fn take_late(&self) -> Option<Vec<u8>> {
        self.late.lock().pop_front()
    }
}

/// Appends `bytes` and zeros up to a whole word.
#[inline]
fn push_padded(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(bytes);
    out.resize(out.len().next_multiple_of(8), 0);
}
