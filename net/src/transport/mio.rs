//! The transport for systems without io_uring, and wherever it is refused: non-blocking calls, and epoll through `mio`.
//!
//! It tries the read before it polls. With up to `direct_reads_max` connections every turn reads each of them straight
//! away: one that finds something has saved the poll. Then epoll is asked only every [`POLL_EVERY_TURNS`] turns for what
//! reads do not show: new connections, sockets that take output again, wakes. With more connections every turn asks epoll
//! without waiting and reads what it names, because a failing read costs twice an empty poll (300 and 150 ns on the
//! machine where this was measured).
//!
//! ```text
//!   dial ─► Dialling ─► Open ─► Lingering (ours ended, discards until theirs has) ─► Vacant
//!   accepted ────────────┘└───────────────► Gone (`closed` is still to be said) ───────▲
//! ```
//!
//! # Invariants
//! E1. Epoll speaks once per change, so a connection that may have unread bytes stays in `ready` until a read came back
//! short or empty; nothing parks while `ready` is not empty.
//! E2. Interest in writing is registered exactly while output waits for room, and while dialling. Otherwise the reads of
//! a peer on a Unix socket would wake us each time.
//!
//! # Time and units
//! Epoll waits whole milliseconds, rounded up: a park may end up to 1 ms late.
//!
//! # Bounds
//! One read buffer for all connections; one read of each connection and at most [`ACCEPTS_PER_TURN`] new
//! connections in a turn, so that nobody starves the others.
//!
//! # Threads
//! Single owner.

use std::io;
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use ::mio::unix::SourceFd;
use ::mio::{Events, Interest, Poll, Token};
use quorate_engine::time::Instant;

use super::address::{Address, ListenOptions, ListenerId};
use super::outbox::{ConnId, Outbox};
use super::pending::{Grace, Pending};
use super::settings::TransportSettings;
use super::socket::{Blocking, ListenError, ListenSocket};
use super::waker::Waker;
use super::{Handler, TurnStats, Wait};
use crate::clock;

mod conn;
mod deliver;
mod flush;

use conn::Conn;

/// Turns between two looks at epoll while few connections are read directly.
const POLL_EVERY_TURNS: u32 = 16;

/// New connections of one listener in a turn.
const ACCEPTS_PER_TURN: u32 = 64;

/// Events fetched from epoll at a time; what is left comes with the next call.
const EVENTS_CAPACITY: usize = 256;

const WAKER: Token = Token(usize::MAX >> 1);
const FIRST_LISTENER: usize = 1 << 30;

/// A transport over readiness. See the module's text.
#[derive(Debug)]
pub struct MioTransport {
    epoll: Epoll,
    waker: Waker,
    listeners: Vec<Listener>,
    conns: Vec<Conn>,
    lists: Lists,
    pending: Pending,
    grace: Grace,
    buffer: Box<[u8]>,
    /// Connections of which epoll has to say something: dialling, or waiting for room.
    expecting: u32,
    settings: TransportSettings,
    stats: TurnStats,
}

impl MioTransport {
    /// Sets up epoll and the waker.
    ///
    /// # Errors
    /// What the system says: usually that there are no descriptors left.
    pub(super) fn open(settings: &TransportSettings) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Waker::new()?;
        poll.registry().register(&mut SourceFd(&waker.as_raw_fd()), WAKER, Interest::READABLE)?;
        Ok(Self {
            epoll: Epoll { poll, events: Events::with_capacity(EVENTS_CAPACITY), turns_since_poll: 0 },
            waker,
            listeners: Vec::new(),
            conns: Vec::new(),
            lists: Lists::default(),
            pending: Pending::default(),
            grace: Grace::default(),
            buffer: vec![0; settings.read_buffer_bytes as usize].into_boxed_slice(),
            expecting: 0,
            settings: settings.clone(),
            stats: TurnStats::default(),
        })
    }

    pub(super) fn waker(&self) -> Waker {
        self.waker.clone()
    }

    pub(super) fn listen(&mut self, address: &Address, options: ListenOptions) -> Result<ListenerId, ListenError> {
        let opened = ListenSocket::open(address, options, &self.settings, Blocking::No)?;
        let number = self.listeners.len();
        let id = ListenerId(u32::try_from(number).expect("there are fewer listeners than descriptors"));
        let token = Token(FIRST_LISTENER + number);
        let registered =
            self.epoll.poll.registry().register(&mut SourceFd(&opened.socket.as_raw_fd()), token, Interest::READABLE);
        if let Err(source) = registered {
            return Err(ListenError::Failed { address: address.clone(), source });
        }
        self.listeners.push(Listener { opened: Some(opened), is_ready: false, retry_at: None });
        Ok(id)
    }

    pub(super) fn local_address(&self, listener: ListenerId) -> Option<&Address> {
        self.listeners.get(listener.0 as usize)?.opened.as_ref().map(|opened| &opened.address)
    }

    pub(super) fn stop_listening(&mut self, listener: ListenerId) {
        if let Some(listener) = self.listeners.get_mut(listener.0 as usize) {
            // Closing the descriptor takes it out of epoll.
            listener.opened = None;
            listener.is_ready = false;
            listener.retry_at = None;
        }
    }

    pub(super) fn turn<H: Handler>(&mut self, handler: &mut H, wait: Wait) -> TurnStats {
        self.stats = TurnStats::default();
        if !self.grace.is_empty() {
            self.end_grace(handler.outbox());
        }
        self.flush(handler.outbox());
        self.tell_pending(handler);

        let is_direct = self.is_direct();
        self.epoll.turns_since_poll += 1;
        if !is_direct || self.expecting > 0 || self.epoll.turns_since_poll >= POLL_EVERY_TURNS {
            self.poll_events(Some(Duration::ZERO), handler);
        }
        self.read_some(handler, is_direct);

        if let Wait::Until(until) = wait
            && self.stats.events == 0
            && self.can_park()
        {
            let timeout = self.park_time(until, handler.outbox());
            self.poll_events(timeout, handler);
            self.read_some(handler, false);
        }
        self.flush(handler.outbox());
        self.stats
    }

    /// Whether few enough connections are open to read each of them without asking.
    fn is_direct(&self) -> bool {
        self.lists.open.len() <= self.settings.direct_reads_max as usize
    }

    fn can_park(&self) -> bool {
        self.lists.ready.is_empty()
            && self.lists.writable.is_empty()
            && self.pending.is_empty()
            && self.listeners.iter().all(|listener| !listener.is_ready)
    }

    fn park_time(&mut self, until: Option<Instant>, outbox: &Outbox) -> Option<Duration> {
        let retries = self.listeners.iter().filter_map(|listener| listener.retry_at);
        let end = retries.chain(until).chain(self.grace.next_end(outbox)).min()?;
        let left = end.since(clock::now());
        // Whole milliseconds, rounded up, so that a timer is never found early and asked for again and again.
        Some(Duration::from_millis(u64::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)))
    }
}

#[derive(Debug)]
struct Epoll {
    poll: Poll,
    events: Events,
    turns_since_poll: u32,
}

/// Indexes of connections that need a look.
#[derive(Debug, Default)]
struct Lists {
    /// They are open and read, in no order.
    open: Vec<u32>,
    /// They may have unread bytes (E1).
    ready: Vec<u32>,
    /// They can be flushed again, besides those the outbox names.
    writable: Vec<u32>,
    scratch: Vec<u32>,
}

#[derive(Debug)]
struct Listener {
    opened: Option<ListenSocket>,
    /// Somebody may be waiting.
    is_ready: bool,
    retry_at: Option<Instant>,
}

fn index_of(id: ConnId) -> u32 {
    u32::try_from(id.index()).expect("an index is 32 bits wide")
}

fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}
