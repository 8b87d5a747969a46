//! One connection over readiness, and the table of them.

use std::io;
use std::os::fd::{AsRawFd as _, RawFd};

use ::mio::unix::SourceFd;
use ::mio::{Interest, Token};
use socket2::Socket;

use super::super::outbox::ConnId;
use super::{MioTransport, index_of};

#[derive(Debug)]
pub(super) struct Conn {
    pub(super) id: ConnId,
    pub(super) index: u32,
    pub(super) stage: Stage,
    pub(super) socket: Option<Socket>,
    /// Its place in `open`.
    pub(super) open_at: Option<usize>,
    /// It is in `ready`.
    pub(super) is_listed: bool,
    /// Epoll has announced the end of the stream: a short read is not the last one.
    pub(super) has_ended: bool,
    /// The end has been read.
    pub(super) is_read_to_end: bool,
    /// Output waits for room in the socket (E2).
    pub(super) is_blocked: bool,
    /// A read was due while reading was paused.
    pub(super) is_held: bool,
    /// Patience with its close has begun.
    pub(super) is_timed: bool,
}

impl Conn {
    pub(super) fn vacant(id: ConnId, index: u32) -> Self {
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

    pub(super) fn mark_ready(&mut self, ready: &mut Vec<u32>) {
        if !self.is_listed {
            self.is_listed = true;
            ready.push(self.index);
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Vacant,
    Dialling,
    Open,
    /// Our side is ended and `closed` is said or pending; input is discarded until the peer ends its own.
    Lingering,
    /// There is no socket any more, but `closed` is still to be said.
    Gone,
}

impl MioTransport {
    pub(super) fn place(&mut self, id: ConnId) {
        while self.conns.len() <= id.index() {
            let index = u32::try_from(self.conns.len()).expect("connections_max is below 2^20");
            self.conns.push(Conn::vacant(id, index));
        }
        let conn = &mut self.conns[id.index()];
        assert_eq!(conn.stage, Stage::Vacant, "O1: {id:?} takes the place of {:?}", conn.id);
        *conn = Conn { is_listed: conn.is_listed, ..Conn::vacant(id, index_of(id)) };
    }

    pub(super) fn install(&mut self, id: ConnId, socket: Socket, stage: Stage) {
        self.place(id);
        let conn = &mut self.conns[id.index()];
        conn.socket = Some(socket);
        conn.stage = stage;
        if stage == Stage::Open {
            conn.open_at = Some(self.lists.open.len());
            self.lists.open.push(index_of(id));
            conn.mark_ready(&mut self.lists.ready);
        }
    }

    fn descriptor(&self, id: ConnId) -> RawFd {
        let socket = self.conns[id.index()].socket.as_ref();
        socket.expect("only connections with a socket are registered").as_raw_fd()
    }

    pub(super) fn register(&mut self, id: ConnId, interest: Interest) -> io::Result<()> {
        self.stats.syscalls += 1;
        self.epoll.poll.registry().register(&mut SourceFd(&self.descriptor(id)), Token(id.index()), interest)
    }

    pub(super) fn reregister(&mut self, id: ConnId, interest: Interest) -> io::Result<()> {
        self.stats.syscalls += 1;
        self.epoll.poll.registry().reregister(&mut SourceFd(&self.descriptor(id)), Token(id.index()), interest)
    }
}
