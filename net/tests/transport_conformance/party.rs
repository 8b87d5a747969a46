//! Both ends of a test in one thread: a transport, a handler that writes down what it hears, and turns in alternation.
//!
//! The handler checks the contract with every call: nothing is said of a connection that was not named or is closed,
//! `received` is never empty and never comes while reading is paused, bytes follow a `fetched`.

use std::collections::BTreeMap;
use std::fmt;

use quorate::clock;
use quorate::transport::{
    Address, AnyTransport, Close, CloseReason, ConnId, Handler, IoChoice, ListenOptions, ListenerId, Outbox, PeerAddr,
    TransportSettings, TurnStats, Wait,
};
use quorate_engine::time::Instant;

/// The ways in which a transport works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Uring,
    /// Reading each of a few connections in every turn.
    MioDirect,
    /// Asking epoll in every turn.
    MioPolled,
}

/// Rounds of turns after which a story that does not end has failed. Idle rounds park for a millisecond.
const ROUNDS_MAX: u32 = 20_000;

/// What is known of one connection.
#[derive(Debug, Default)]
pub(crate) struct Story {
    pub(crate) accepted_from: Option<PeerAddr>,
    pub(crate) is_connected: bool,
    pub(crate) received: Vec<u8>,
    pub(crate) received_bytes: u64,
    pub(crate) deliveries: u32,
    pub(crate) drained: u32,
    pub(crate) ended: u32,
    pub(crate) closed: Option<CloseReason>,
    pub(crate) is_paused: bool,
}

/// What a party does with bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Keeps them.
    Keep,
    /// Counts them.
    Count,
    /// Sends them back; stops reading while its output is refused or above the high mark.
    Echo,
}

/// What a party does at the end of its peer's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtEnd {
    /// What the contract does by default.
    Close,
    /// Nothing: it still has something to say.
    Stay,
}

/// The handler of a party.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) outbox: Outbox,
    pub(crate) stories: BTreeMap<ConnId, Story>,
    pub(crate) accepted: Vec<ConnId>,
    pub(crate) manner: Manner,
    pub(crate) at_end: AtEnd,
    pub(crate) fetched: u64,
    /// Pauses this connection whenever it brings bytes.
    pub(crate) pausing: Option<ConnId>,
    /// Resumes the second connection whenever the first one brings bytes.
    pub(crate) resuming: Option<(ConnId, ConnId)>,
    refused: BTreeMap<ConnId, Vec<u8>>,
    high_bytes: usize,
    may_receive: bool,
}

impl App {
    fn live(&mut self, conn: ConnId, what: &str) -> &mut Story {
        let story = self.stories.get_mut(&conn).unwrap_or_else(|| panic!("{what} for {conn:?}, which nobody named"));
        assert!(story.closed.is_none(), "T1: {what} for {conn:?}, which is closed");
        story
    }

    pub(crate) fn connect(&mut self, address: &Address) -> ConnId {
        let conn = self.outbox.connect(address.clone()).unwrap();
        assert!(self.stories.insert(conn, Story::default()).is_none(), "{conn:?} was used before");
        conn
    }

    pub(crate) fn pause(&mut self, conn: ConnId) {
        self.stories.get_mut(&conn).unwrap().is_paused = true;
        self.outbox.pause_reading(conn);
    }

    pub(crate) fn resume(&mut self, conn: ConnId) {
        self.stories.get_mut(&conn).unwrap().is_paused = false;
        self.outbox.resume_reading(conn);
    }

    fn echo(&mut self, conn: ConnId, bytes: &[u8]) {
        if self.outbox.send(conn, bytes).is_err() {
            self.refused.entry(conn).or_default().extend_from_slice(bytes);
        }
        if self.refused.contains_key(&conn) || self.outbox.queued_bytes(conn) > self.high_bytes {
            self.pause(conn);
        }
    }
}

impl Handler for App {
    fn fetched(&mut self) {
        self.fetched += 1;
        self.may_receive = true;
    }

    fn accepted(&mut self, _listener: ListenerId, conn: ConnId, peer: PeerAddr) {
        let story = Story { accepted_from: Some(peer), ..Story::default() };
        assert!(self.stories.insert(conn, story).is_none(), "{conn:?} was used before");
        self.accepted.push(conn);
    }

    fn connected(&mut self, conn: ConnId) {
        let story = self.live(conn, "connected");
        assert!(!story.is_connected && story.accepted_from.is_none() && story.received_bytes == 0);
        story.is_connected = true;
    }

    fn received(&mut self, conn: ConnId, bytes: &[u8]) {
        assert!(self.may_receive, "T3: bytes before fetched");
        assert!(!bytes.is_empty(), "an empty delivery");
        let manner = self.manner;
        let story = self.live(conn, "received");
        assert!(!story.is_paused, "{} bytes for {conn:?}, which is paused", bytes.len());
        assert_eq!(story.ended, 0, "bytes after the end");
        assert!(story.is_connected || story.accepted_from.is_some());
        story.received_bytes += bytes.len() as u64;
        story.deliveries += 1;
        if manner == Manner::Keep {
            story.received.extend_from_slice(bytes);
        }
        if manner == Manner::Echo {
            self.echo(conn, bytes);
        }
        if self.pausing == Some(conn) {
            self.pause(conn);
        }
        if let Some((from, to)) = self.resuming
            && from == conn
        {
            self.resume(to);
        }
    }

    fn drained(&mut self, conn: ConnId) {
        self.live(conn, "drained").drained += 1;
        if self.manner == Manner::Echo {
            if let Some(bytes) = self.refused.remove(&conn) {
                self.outbox.send(conn, &bytes).unwrap();
            }
            self.resume(conn);
        }
    }

    fn ended(&mut self, conn: ConnId) {
        let at_end = self.at_end;
        let story = self.live(conn, "ended");
        story.ended += 1;
        assert_eq!(story.ended, 1);
        if at_end == AtEnd::Close {
            self.outbox.close(conn, Close::AfterFlush);
        }
    }

    fn closed(&mut self, conn: ConnId, reason: CloseReason) {
        assert!(!self.outbox.is_open(conn), "T1: the name is still good");
        self.live(conn, "closed").closed = Some(reason);
    }

    fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }
}

/// One end: a transport and its handler.
#[derive(Debug)]
pub(crate) struct Party {
    pub(crate) transport: AnyTransport,
    pub(crate) app: App,
}

impl Party {
    pub(crate) fn new(way: Way, settings: &TransportSettings, manner: Manner) -> Self {
        let direct_reads_max = if way == Way::MioDirect { 1_000 } else { 0 };
        let io = if way == Way::Uring { IoChoice::Uring } else { IoChoice::Mio };
        let settings = &TransportSettings { direct_reads_max, ..settings.clone() };
        let (transport, _) = quorate::transport::open(io, settings).unwrap();
        let app = App {
            outbox: Outbox::new(settings),
            stories: BTreeMap::new(),
            accepted: Vec::new(),
            manner,
            at_end: AtEnd::Close,
            fetched: 0,
            pausing: None,
            resuming: None,
            refused: BTreeMap::new(),
            high_bytes: settings.send_high_bytes,
            may_receive: false,
        };
        Self { transport, app }
    }

    pub(crate) fn turn(&mut self, wait: Wait) -> TurnStats {
        self.app.may_receive = false;
        self.transport.turn(&mut self.app, wait)
    }

    /// A turn that parks for at most a millisecond.
    pub(crate) fn short_turn(&mut self) -> TurnStats {
        self.turn(Wait::Until(Some(Instant(clock::now().0 + 1_000_000))))
    }

    pub(crate) fn listen_tcp(&mut self) -> Address {
        self.listen(&Address::Tcp("127.0.0.1:0".parse().unwrap()))
    }

    pub(crate) fn listen(&mut self, address: &Address) -> Address {
        let listener = self.transport.listen(address, ListenOptions::default()).unwrap();
        self.transport.local_address(listener).unwrap().clone()
    }

    pub(crate) fn story(&self, conn: ConnId) -> &Story {
        &self.app.stories[&conn]
    }

    pub(crate) fn closed(&self, conn: ConnId) -> Option<CloseReason> {
        self.story(conn).closed
    }

    /// Closes what is open, and checks that every connection is heard to be closed and given back.
    pub(crate) fn finish(&mut self) {
        self.close_all();
        self.run_until("the end", |party| party.is_finished());
    }

    fn close_all(&mut self) {
        for (&conn, story) in &self.app.stories {
            if story.closed.is_none() {
                self.app.outbox.close(conn, Close::Now);
            }
        }
    }

    fn is_finished(&self) -> bool {
        self.app.outbox.connection_count() == 0 && self.app.stories.values().all(|story| story.closed.is_some())
    }

    /// Turns until `is_done`, alone.
    pub(crate) fn run_until(&mut self, what: &str, mut is_done: impl FnMut(&mut Self) -> bool) {
        for round in 0..ROUNDS_MAX {
            if is_done(self) {
                return;
            }
            let stats = self.turn(Wait::No);
            if stats.events == 0 && round > 100 {
                self.short_turn();
            }
        }
        panic!("{what} did not happen: {self:#?}");
    }
}

/// A client and a server that turn in alternation.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) client: Party,
    pub(crate) server: Party,
    pub(crate) address: Address,
}

impl Pair {
    pub(crate) fn new(way: Way, settings: &TransportSettings, server: Manner) -> Self {
        let client = Party::new(way, settings, Manner::Keep);
        let mut server = Party::new(way, settings, server);
        let address = server.listen_tcp();
        Self { client, server, address }
    }

    /// Connects and waits until both ends know it: (client's name, server's name).
    pub(crate) fn connect(&mut self) -> (ConnId, ConnId) {
        let conn = self.client.app.connect(&self.address.clone());
        let before = self.server.app.accepted.len();
        self.run_until("connect", |pair| {
            pair.client.story(conn).is_connected && pair.server.app.accepted.len() > before
        });
        (conn, self.server.app.accepted[before])
    }

    pub(crate) fn run_until(&mut self, what: &str, mut is_done: impl FnMut(&mut Self) -> bool) {
        for round in 0..ROUNDS_MAX {
            if is_done(self) {
                return;
            }
            let client = self.client.turn(Wait::No);
            let server = self.server.turn(Wait::No);
            if client.events + server.events == 0 && round > 100 {
                self.client.short_turn();
            }
        }
        panic!("{what} did not happen: {self}");
    }

    /// `turns` turns, the client's first.
    pub(crate) fn alternate(&mut self, turns: usize) {
        for turn in 0..turns {
            if turn % 2 == 0 {
                self.client.turn(Wait::No);
            } else {
                self.server.turn(Wait::No);
            }
        }
    }

    /// As [`Party::finish`], both together.
    pub(crate) fn finish(&mut self) {
        self.client.close_all();
        self.run_until("the end", |pair| {
            pair.server.close_all();
            pair.client.is_finished() && pair.server.is_finished()
        });
    }

    /// Some turns of both, for what must not happen.
    pub(crate) fn run_a_while(&mut self) {
        for _ in 0..50 {
            self.client.turn(Wait::No);
            self.server.turn(Wait::No);
        }
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, party) in [("client", &self.client), ("server", &self.server)] {
            for (conn, story) in &party.app.stories {
                writeln!(
                    f,
                    "{name} {conn:?}: connected {} received {} drained {} ended {} closed {:?} paused {} queued {}",
                    story.is_connected || story.accepted_from.is_some(),
                    story.received_bytes,
                    story.drained,
                    story.ended,
                    story.closed,
                    story.is_paused,
                    party.app.outbox.queued_bytes(*conn),
                )?;
            }
        }
        write!(f, "{:#?}\n{:#?}", self.client.transport, self.server.transport)
    }
}

/// The smallest queues and buffers there are, so that each runs full all the time.
pub(crate) fn tiny() -> TransportSettings {
    TransportSettings {
        submission_entries: 8,
        completion_entries: 8,
        receive_buffers: 4,
        receive_buffer_bytes: 64,
        read_buffer_bytes: 64,
        send_high_bytes: 2_000,
        send_low_bytes: 500,
        socket_send_bytes: Some(1),
        socket_receive_bytes: Some(1),
        ..TransportSettings::default()
    }
}

/// Bytes that name their position, so that a lost, doubled or exchanged one shows.
pub(crate) fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        })
        .collect()
}

/// A number below `bound` from a small deterministic generator.
pub(crate) fn below(state: &mut u64, bound: usize) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    usize::try_from(*state >> 33).expect("31 bits") % bound
}
