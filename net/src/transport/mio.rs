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
//! One read buffer for all connections; at most [`READS_PER_TURN`] reads of one connection and [`ACCEPTS_PER_TURN`] new
//! connections in a turn, so that nobody starves the others.
//!
//! # Threads
//! Single owner.

use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, RawFd};
use std::time::Duration;

use ::mio::unix::SourceFd;
use ::mio::{Events, Interest, Poll, Token};
use quorate_engine::time::Instant;
use socket2::Socket;

use super::address::{Address, ListenOptions, ListenerId};
use super::outbox::{Close, ConnId, Delivery, Outbox, Phase};
use super::pending::{Grace, Pending};
use super::settings::{ACCEPT_RETRY, TransportSettings};
use super::socket::{self, Blocking, ListenError, ListenSocket};
use super::waker::Waker;
use super::{CloseReason, Handler, TurnStats, Wait};
use crate::clock;

/// Turns between two looks at epoll while few connections are read directly.
const POLL_EVERY_TURNS: u32 = 16;

/// Reads of one connection in a turn.
const READS_PER_TURN: u32 = 4;

/// New connections of one listener in a turn.
const ACCEPTS_PER_TURN: u32 = 64;

/// Events fetched from epoll at a time; what is left comes with the next call.
const EVENTS_CAPACITY: usize = 256;

const WAKER: Token = Token(usize::MAX >> 1);
const FIRST_LISTENER: usize = 1 << 30;

/// A transport over readiness. See the module's text.
#[derive(Debug)]
pub struct MioTransport {
    poll: Poll,
    events: Events,
    waker: Waker,
    listeners: Vec<Listener>,
    conns: Vec<Conn>,
    /// Indexes of open connections that are read, in no order.
    open: Vec<u32>,
    /// Indexes that may have unread bytes (E1).
    ready: Vec<u32>,
    /// Indexes that can be flushed again, besides those the outbox names.
    writable: Vec<u32>,
    scratch: Vec<u32>,
    pending: Pending,
    grace: Grace,
    buffer: Box<[u8]>,
    turns_since_poll: u32,
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
            poll,
            events: Events::with_capacity(EVENTS_CAPACITY),
            waker,
            listeners: Vec::new(),
            conns: Vec::new(),
            open: Vec::new(),
            ready: Vec::new(),
            writable: Vec::new(),
            scratch: Vec::new(),
            pending: Pending::default(),
            grace: Grace::default(),
            buffer: vec![0; settings.read_buffer_bytes as usize].into_boxed_slice(),
            turns_since_poll: 0,
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
            self.poll.registry().register(&mut SourceFd(&opened.socket.as_raw_fd()), token, Interest::READABLE);
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
        self.turns_since_poll += 1;
        if !is_direct || self.expecting > 0 || self.turns_since_poll >= POLL_EVERY_TURNS {
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
        self.open.len() <= self.settings.direct_reads_max as usize
    }

    fn can_park(&self) -> bool {
        self.ready.is_empty()
            && self.writable.is_empty()
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

/// Fetching and delivering.
impl MioTransport {
    fn poll_events<H: Handler>(&mut self, timeout: Option<Duration>, handler: &mut H) {
        self.turns_since_poll = 0;
        self.stats.syscalls += 1;
        match self.poll.poll(&mut self.events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.events.clear(),
            Err(error) => panic!("epoll refused a call that is always valid: {error}"),
        }
        let mut is_woken = false;
        for event in &self.events {
            match event.token() {
                WAKER => is_woken = true,
                Token(number) if number >= FIRST_LISTENER => {
                    self.listeners[number - FIRST_LISTENER].is_ready = true;
                }
                Token(index) => {
                    let conn = &mut self.conns[index];
                    // A hang-up is seen by reading, also on a socket that reported nothing else.
                    if event.is_readable() || event.is_read_closed() || event.is_error() {
                        conn.has_ended |= event.is_read_closed() || event.is_error();
                        conn.mark_ready(&mut self.ready);
                    }
                    if event.is_writable() || event.is_error() {
                        self.writable.push(conn.index);
                    }
                }
            }
        }
        if is_woken {
            self.waker.drain();
            self.stats.events += 1;
            self.stats.syscalls += 1;
        }
        self.complete_dials(handler.outbox());
        self.accept_some(handler);
        self.tell_pending(handler);
    }

    fn tell_pending<H: Handler>(&mut self, handler: &mut H) {
        if self.pending.is_empty() {
            return;
        }
        handler.fetched();
        while let Some(ended) = self.pending.tell_next(handler) {
            self.stats.events += 1;
            if let Some(conn) = ended
                && self.conns[conn.index()].stage == Stage::Gone
            {
                self.conns[conn.index()].stage = Stage::Vacant;
                handler.outbox().release(index_of(conn));
            }
        }
    }

    fn read_some<H: Handler>(&mut self, handler: &mut H, is_direct: bool) {
        let mut list = std::mem::take(&mut self.scratch);
        std::mem::swap(&mut list, &mut self.ready);
        for &index in &list {
            self.conns[index as usize].is_listed = false;
        }
        if is_direct {
            list.clear();
            list.extend_from_slice(&self.open);
        }
        for &index in &list {
            self.read_conn(index, handler);
        }
        list.clear();
        self.scratch = list;
        self.tell_pending(handler);
    }

    fn read_conn<H: Handler>(&mut self, index: u32, handler: &mut H) {
        for _ in 0..READS_PER_TURN {
            let conn = &mut self.conns[index as usize];
            if !matches!(conn.stage, Stage::Open | Stage::Lingering) || conn.is_read_to_end {
                return;
            }
            let delivery = handler.outbox().reading(index);
            if delivery == Delivery::Hold {
                conn.is_held = true;
                return;
            }
            let Some(socket) = &conn.socket else { return };
            self.stats.syscalls += 1;
            let mut reader: &Socket = socket;
            match reader.read(&mut self.buffer) {
                Ok(0) => return self.on_end(index, handler),
                Ok(count) => {
                    let is_short = count < self.buffer.len() && !conn.has_ended;
                    let id = conn.id;
                    if delivery == Delivery::Deliver {
                        self.stats.events += 1;
                        self.stats.bytes += count as u64;
                        handler.fetched();
                        handler.received(id, &self.buffer[..count]);
                    }
                    if is_short {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.on_broken(index, errno(&error), handler.outbox()),
            }
        }
        // There may be more: others have their turn first (E1).
        let conn = &mut self.conns[index as usize];
        conn.mark_ready(&mut self.ready);
    }

    fn on_end<H: Handler>(&mut self, index: u32, handler: &mut H) {
        let conn = &mut self.conns[index as usize];
        conn.is_read_to_end = true;
        let id = conn.id;
        match handler.outbox().phase(id) {
            Some(Phase::Live) => {
                self.stats.events += 1;
                handler.ended(id);
            }
            // The flush decides whether the close is complete now.
            Some(Phase::Closing(_)) => self.writable.push(index),
            // We said our end before: the linger is over.
            _ => self.drop_lingering(index, handler.outbox()),
        }
    }

    fn on_broken(&mut self, index: u32, errno: i32, outbox: &mut Outbox) {
        if self.conns[index as usize].stage == Stage::Lingering {
            self.drop_lingering(index, outbox);
        } else {
            self.finish(index, CloseReason::Broken { errno });
        }
    }

    fn accept_some<H: Handler>(&mut self, handler: &mut H) {
        for number in 0..self.listeners.len() {
            let listener = &mut self.listeners[number];
            if let Some(retry_at) = listener.retry_at
                && clock::now() >= retry_at
            {
                listener.retry_at = None;
                listener.is_ready = true;
            }
            if listener.is_ready {
                self.accept_from(number, handler);
            }
        }
    }

    fn accept_from<H: Handler>(&mut self, number: usize, handler: &mut H) {
        for _ in 0..ACCEPTS_PER_TURN {
            let listener = &mut self.listeners[number];
            let Some(opened) = &listener.opened else { return };
            self.stats.syscalls += 1;
            match opened.socket.accept() {
                Ok((socket, _)) => {
                    let address = opened.address.clone();
                    self.admit(number, socket, &address, handler);
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => {
                        listener.is_ready = false;
                        return;
                    }
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                    _ => {
                        // No descriptor or no memory: epoll will not speak again of those who wait already.
                        listener.is_ready = false;
                        listener.retry_at = Some(clock::now().saturating_add(ACCEPT_RETRY));
                        return;
                    }
                },
            }
        }
    }

    fn admit<H: Handler>(&mut self, number: usize, socket: Socket, listener: &Address, handler: &mut H) {
        let Ok(peer) = socket::welcome(&socket, listener, &self.settings) else { return };
        if socket.set_nonblocking(true).is_err() {
            return;
        }
        // One too many: dropping the socket is the answer.
        let Some(id) = handler.outbox().open() else { return };
        self.install(id, socket, Stage::Open);
        if self.register(id, Interest::READABLE).is_err() {
            self.finish(index_of(id), CloseReason::Broken { errno: libc::ENOMEM });
        }
        self.stats.events += 1;
        let listener = ListenerId(u32::try_from(number).expect("listen() checked it"));
        handler.fetched();
        handler.accepted(listener, id, peer);
    }
}

/// Flushing, opening and closing.
impl MioTransport {
    fn flush(&mut self, outbox: &mut Outbox) {
        if outbox.is_idle() && self.writable.is_empty() {
            return;
        }
        let mut list = std::mem::take(&mut self.scratch);
        outbox.take_touched(&mut list);
        list.append(&mut self.writable);
        for &index in &list {
            self.flush_conn(index, outbox);
        }
        list.clear();
        self.scratch = list;
    }

    fn flush_conn(&mut self, index: u32, outbox: &mut Outbox) {
        if let Some(address) = outbox.take_dial(index) {
            self.dial(outbox.conn(index), &address);
        }
        let Some(conn) = self.conns.get_mut(index as usize) else { return };
        if conn.id != outbox.conn(index) {
            return;
        }
        match (conn.stage, outbox.phase(conn.id)) {
            (Stage::Dialling | Stage::Open, Some(Phase::Closing(Close::Now))) => {
                self.finish(index, CloseReason::Asked);
            }
            (Stage::Open, Some(Phase::Live)) => {
                // Reading was resumed: what came in meanwhile is not announced again (E1).
                if conn.is_held && outbox.reading(index) == Delivery::Deliver {
                    conn.is_held = false;
                    conn.mark_ready(&mut self.ready);
                }
                self.send(index, outbox);
            }
            (Stage::Open, Some(Phase::Closing(Close::AfterFlush))) => self.close_after_flush(index, outbox),
            (Stage::Dialling, Some(Phase::Closing(Close::AfterFlush))) => self.be_patient(index),
            _ => {}
        }
    }

    /// Sends what is queued. Returns whether all of it is gone.
    fn send(&mut self, index: u32, outbox: &mut Outbox) -> bool {
        outbox.note_high(index);
        let conn = &mut self.conns[index as usize];
        let Some(socket) = &conn.socket else { return false };
        let mut is_blocked = false;
        while !is_blocked && !outbox.output(index).is_empty() {
            self.stats.syscalls += 1;
            match socket.send_with_flags(outbox.output(index), SEND_FLAGS) {
                Ok(count) => {
                    self.stats.bytes_sent += count as u64;
                    outbox.advance_output(index, count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => is_blocked = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.finish(index, CloseReason::Broken { errno: errno(&error) });
                    return false;
                }
            }
        }
        let id = conn.id;
        if is_blocked != conn.is_blocked {
            conn.is_blocked = is_blocked;
            self.expecting = if is_blocked { self.expecting + 1 } else { self.expecting - 1 };
            let interest = if is_blocked { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
            if let Err(error) = self.reregister(id, interest) {
                self.finish(index, CloseReason::Broken { errno: errno(&error) });
                return false;
            }
        }
        if outbox.note_queued(index) {
            self.pending.drained(id);
        }
        !is_blocked
    }

    fn close_after_flush(&mut self, index: u32, outbox: &mut Outbox) {
        if !self.send(index, outbox) {
            if self.conns[index as usize].stage == Stage::Open {
                self.be_patient(index);
            }
            return;
        }
        let conn = &mut self.conns[index as usize];
        if conn.is_read_to_end {
            return self.finish(index, CloseReason::Ended);
        }
        // Whoever closes a socket with unread input resets the connection, and the peer may lose our last answer. So end
        // our side, and discard until the peer ends its own.
        let Some(socket) = &conn.socket else { return };
        self.stats.syscalls += 1;
        if socket.shutdown(std::net::Shutdown::Write).is_err() {
            return self.finish(index, CloseReason::Asked);
        }
        conn.stage = Stage::Lingering;
        conn.is_held = false;
        conn.mark_ready(&mut self.ready);
        self.pending.closed(conn.id, CloseReason::Asked);
        self.be_patient(index);
    }

    fn be_patient(&mut self, index: u32) {
        let conn = &mut self.conns[index as usize];
        if !conn.is_timed {
            conn.is_timed = true;
            self.grace.begin(conn.id, clock::now());
        }
    }

    fn end_grace(&mut self, outbox: &mut Outbox) {
        let now = clock::now();
        while let Some(id) = self.grace.take_expired(now) {
            let index = index_of(id);
            match (self.conns[id.index()].stage, outbox.phase(id)) {
                (_, None) => {}
                (Stage::Lingering, _) => self.drop_lingering(index, outbox),
                (Stage::Open | Stage::Dialling, _) => self.finish(index, CloseReason::Asked),
                _ => {}
            }
        }
    }

    fn dial(&mut self, id: ConnId, address: &Address) {
        let attempt = socket::dial(address, &self.settings, Blocking::No);
        let (socket, target) = match attempt {
            Ok(made) => made,
            Err(error) => return self.fail_dial(id, &error),
        };
        self.stats.syscalls += 1;
        let connected = socket.connect(&target);
        self.install(id, socket, Stage::Dialling);
        self.expecting += 1;
        match connected {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
            Err(error) => return self.finish(index_of(id), unreachable_because(&error)),
        }
        // A connection that stands already is reported by epoll like one that takes its time.
        if let Err(error) = self.register(id, Interest::READABLE | Interest::WRITABLE) {
            self.finish(index_of(id), unreachable_because(&error));
        }
    }

    fn fail_dial(&mut self, id: ConnId, error: &io::Error) {
        self.place(id);
        self.conns[id.index()].stage = Stage::Gone;
        self.pending.closed(id, unreachable_because(error));
    }

    fn complete_dials(&mut self, outbox: &mut Outbox) {
        if self.expecting == 0 {
            return;
        }
        for at in 0..self.writable.len() {
            let index = self.writable[at];
            let conn = &self.conns[index as usize];
            if conn.stage != Stage::Dialling || !matches!(outbox.phase(conn.id), Some(Phase::Live | Phase::Closing(_)))
            {
                continue;
            }
            let Some(socket) = &conn.socket else { continue };
            self.stats.syscalls += 2;
            let outcome = match socket.take_error() {
                Ok(None) => socket.peer_addr().map(drop),
                Ok(Some(error)) | Err(error) => Err(error),
            };
            match outcome {
                Ok(()) => self.on_connected(index),
                Err(error) if error.kind() == io::ErrorKind::NotConnected => {}
                Err(error) => self.finish(index, unreachable_because(&error)),
            }
        }
    }

    fn on_connected(&mut self, index: u32) {
        let conn = &mut self.conns[index as usize];
        let id = conn.id;
        conn.stage = Stage::Open;
        conn.mark_ready(&mut self.ready);
        self.expecting -= 1;
        conn.open_at = Some(self.open.len());
        self.open.push(index);
        match self.reregister(id, Interest::READABLE) {
            Ok(()) => self.pending.connected(id),
            Err(error) => self.finish(index, unreachable_because(&error)),
        }
    }

    /// Ends a connection of which `closed` is still to be said.
    fn finish(&mut self, index: u32, reason: CloseReason) {
        let conn = &self.conns[index as usize];
        assert!(matches!(conn.stage, Stage::Open | Stage::Dialling), "T1: {:?} finished in {:?}", conn.id, conn.stage);
        let id = conn.id;
        self.shed(index, Stage::Gone);
        self.pending.closed(id, reason);
    }

    /// Ends a connection of which `closed` has been said, or is about to be.
    fn drop_lingering(&mut self, index: u32, outbox: &mut Outbox) {
        let id = self.conns[index as usize].id;
        // While `closed` is pending, the index is given back by whoever says it.
        if outbox.phase(id) == Some(Phase::Retired) {
            self.shed(index, Stage::Vacant);
            outbox.release(index);
        } else {
            self.shed(index, Stage::Gone);
        }
    }

    /// Closes the socket and forgets it everywhere.
    fn shed(&mut self, index: u32, next: Stage) {
        let conn = &mut self.conns[index as usize];
        if conn.stage == Stage::Dialling || conn.is_blocked {
            self.expecting -= 1;
        }
        conn.is_blocked = false;
        conn.stage = next;
        // Closing the only descriptor of a socket takes it out of epoll.
        conn.socket = None;
        self.stats.syscalls += 1;
        if let Some(at) = conn.open_at.take() {
            self.open.swap_remove(at);
            if let Some(&moved) = self.open.get(at) {
                self.conns[moved as usize].open_at = Some(at);
            }
        }
    }
}

/// The table of connections.
impl MioTransport {
    fn place(&mut self, id: ConnId) {
        while self.conns.len() <= id.index() {
            let index = u32::try_from(self.conns.len()).expect("connections_max is below 2^20");
            self.conns.push(Conn::vacant(id, index));
        }
        let conn = &mut self.conns[id.index()];
        assert_eq!(conn.stage, Stage::Vacant, "O1: {id:?} takes the place of {:?}", conn.id);
        *conn = Conn { is_listed: conn.is_listed, ..Conn::vacant(id, index_of(id)) };
    }

    fn install(&mut self, id: ConnId, socket: Socket, stage: Stage) {
        self.place(id);
        let conn = &mut self.conns[id.index()];
        conn.socket = Some(socket);
        conn.stage = stage;
        if stage == Stage::Open {
            conn.open_at = Some(self.open.len());
            self.open.push(index_of(id));
            conn.mark_ready(&mut self.ready);
        }
    }

    fn descriptor(&self, id: ConnId) -> RawFd {
        let socket = self.conns[id.index()].socket.as_ref();
        socket.expect("only connections with a socket are registered").as_raw_fd()
    }

    fn register(&mut self, id: ConnId, interest: Interest) -> io::Result<()> {
        self.stats.syscalls += 1;
        self.poll.registry().register(&mut SourceFd(&self.descriptor(id)), Token(id.index()), interest)
    }

    fn reregister(&mut self, id: ConnId, interest: Interest) -> io::Result<()> {
        self.stats.syscalls += 1;
        self.poll.registry().reregister(&mut SourceFd(&self.descriptor(id)), Token(id.index()), interest)
    }
}

#[derive(Debug)]
struct Listener {
    opened: Option<ListenSocket>,
    /// Somebody may be waiting.
    is_ready: bool,
    retry_at: Option<Instant>,
}

#[derive(Debug)]
struct Conn {
    id: ConnId,
    index: u32,
    stage: Stage,
    socket: Option<Socket>,
    /// Its place in `open`.
    open_at: Option<usize>,
    /// It is in `ready`.
    is_listed: bool,
    /// Epoll has announced the end of the stream: a short read is not the last one.
    has_ended: bool,
    /// The end has been read.
    is_read_to_end: bool,
    /// Output waits for room in the socket (E2).
    is_blocked: bool,
    /// A read was due while reading was paused.
    is_held: bool,
    /// Patience with its close has begun.
    is_timed: bool,
}

impl Conn {
    fn vacant(id: ConnId, index: u32) -> Self {
        Self {
            id,
            index,
            stage: Stage::Vacant,
            socket: None,
            open_at: None,
            is_listed: false,
            has_ended: false,
            is_read_to_end: false,
            is_blocked: false,
            is_held: false,
            is_timed: false,
        }
    }

    fn mark_ready(&mut self, ready: &mut Vec<u32>) {
        if !self.is_listed {
            self.is_listed = true;
            ready.push(self.index);
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Vacant,
    Dialling,
    Open,
    /// Our side is ended and `closed` is said or pending; input is discarded until the peer ends its own.
    Lingering,
    /// There is no socket any more, but `closed` is still to be said.
    Gone,
}

#[cfg(any(target_os = "linux", target_os = "android"))]
const SEND_FLAGS: i32 = libc::MSG_NOSIGNAL;
/// The runtime ignores SIGPIPE.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const SEND_FLAGS: i32 = 0;

fn index_of(id: ConnId) -> u32 {
    u32::try_from(id.index()).expect("an index is 32 bits wide")
}

fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}

fn unreachable_because(error: &io::Error) -> CloseReason {
    CloseReason::Unreachable { errno: errno(error) }
}
