//! A client's two rings, as the leader sees them: requests come in, completions go out.
//!
//! ```text
//!  request:     tag | group << 32,  slot | is_write << 16,   command
//!  completion:  tag | kind << 32,   epoch, index of the entry,   answer
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
use super::link::{Full, Inlet, Outlet};
use super::pipeline::{Answered, Completion, RequestError};
use crate::ids::{EntryId, GroupId, Slot};
use crate::machine::command::Command;
use crate::output::{Outcome, Refusal};
use crate::sync::sleeper::Sleeper;

const DONE: u32 = 1;
const REFUSED: u32 = 2;
const UNKNOWN: u32 = 3;

/// What does not go through the rings of a port, because it is rare.
#[derive(Debug, Default)]
pub(super) struct Side {
    /// Why requests were refused; one for each completion that says so, in their order.
    refusals: Mutex<VecDeque<Refusal>>,
    /// Completions that did not fit into the ring when the leader stopped.
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
    pub(super) replies: Outlet,
    pub(super) side: Arc<Side>,
    pub(super) client: Client,
    /// Requests taken and not completed, and how many of them are writes.
    pub(super) taken: Taken,
    /// Completions that wait for room in the ring, oldest first.
    pub(super) backlog: VecDeque<Vec<u8>>,
    pub(super) has_news: bool,
    /// A waiter was to be woken and could not be: its desk was locked.
    pub(super) owes_wake: bool,
}

/// Requests of a port that are under way.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Taken {
    pub(super) all: u32,
    pub(super) writes: u32,
}

impl Port {
    pub(super) fn new(requests: Inlet, replies: Outlet, side: Arc<Side>, client: Client) -> Self {
        Self {
            requests,
            replies,
            side,
            client,
            taken: Taken::default(),
            backlog: VecDeque::new(),
            has_news: false,
            owes_wake: false,
        }
    }

    /// Whether there is a request, and room to complete it.
    #[inline]
    pub(super) fn has_request(&self) -> bool {
        !self.requests.is_empty() && self.backlog.is_empty()
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

    /// Tells the client how a request ended.
    #[inline]
    pub(super) fn complete(&mut self, tag: u32, is_write: bool, outcome: &Outcome<'_>) {
        self.taken.all -= 1;
        self.taken.writes -= u32::from(is_write);
        let (kind, id, answer) = match outcome {
            Outcome::Done { id, answer } => (DONE, *id, *answer),
            Outcome::Accepted { id } => (DONE, *id, &[][..]),
            Outcome::Unknown { id } => (UNKNOWN, *id, &[][..]),
            Outcome::Refused(refusal) => {
                self.side.refusals.lock().push_back(*refusal);
                (REFUSED, EntryId::START, &[][..])
            }
        };
        let head = bytes_of::<3, 24>([u64::from(tag) | u64::from(kind) << 32, id.epoch.0, id.index.0]);
        self.has_news = true;
        if !self.backlog.is_empty() || self.replies.push(&[&head, answer]).is_err() {
            self.backlog.push_back([&head[..], answer].concat());
        }
    }

    /// Sends completions that found the ring full.
    pub(super) fn flush_backlog(&mut self) {
        while let Some(record) = self.backlog.front() {
            if self.replies.push(&[record]) == Err(Full) {
                break;
            }
            self.backlog.pop_front();
            self.has_news = true;
        }
    }

    /// Wakes the client if there is something new and it sleeps.
    #[inline]
    pub(super) fn wake(&mut self) {
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

/// A request as it comes out of the ring.
pub(super) struct Incoming<'a> {
    pub(super) tag: u32,
    pub(super) group: GroupId,
    pub(super) slot: Slot,
    pub(super) is_write: bool,
    pub(super) command: &'a [u8],
}

/// Puts a request into the ring.
#[inline]
pub(super) fn push_request(
    requests: &mut Outlet,
    tag: u32,
    group: GroupId,
    slot: Slot,
    command: &Command<'_>,
) -> Result<(), Full> {
    let place = u64::from(slot.0) | u64::from(command.op.is_write()) << 16;
    let head = bytes_of::<2, 16>([u64::from(tag) | u64::from(group.0) << 32, place]);
    requests.push(&[&head, &command.head(), command.key, command.value])
}

/// Reads what [`push_request`] wrote; `None` if it is something else.
#[inline]
pub(super) fn read_request(record: &[u8]) -> Option<Incoming<'_>> {
    let mut words = Words { rest: record };
    let (tag, group) = halves(words.next()?);
    let place = words.next()?;
    let slot = Slot(u16::try_from(place & 0xFFFF).ok()?);
    Some(Incoming { tag, group: GroupId(group), slot, is_write: place >> 16 != 0, command: words.rest })
}

/// Reads what [`Port::complete`] wrote; `None` if it is something else.
#[inline]
pub(super) fn read_completion<'a>(record: &'a [u8], side: &Side) -> Option<Completion<'a>> {
    let mut words = Words { rest: record };
    let (tag, kind) = halves(words.next()?);
    let id = words.entry_id()?;
    let result = match kind {
        DONE => Ok(Answered { id, bytes: words.rest }),
        UNKNOWN => Err(RequestError::Unknown { id }),
        REFUSED => Err(RequestError::Refused(side.refusals.lock().pop_front()?)),
        _ => return None,
    };
    Some(Completion { tag, result })
}

impl Side {
    /// Takes the oldest completion that did not fit into the ring when the leader stopped.
    pub(super) fn take_late(&self) -> Option<Vec<u8>> {
        self.late.lock().pop_front()
    }
}
